"""Studies that grow, end badly or ask for the impossible: none of it may mix trials up. Mostly on functions, for speed."""

import dataclasses
import json
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lmhp
from lmhp import Choice, ConfigError, Float
from lmhp.sweeping.execution import pack_run
from lmhp.sweeping.store.study import read_manifest

RATE = {'rate': Float(1e-3, 0.5, log=True)}


def task(steps=27, **hypers):
  """Gradient descent on a bowl: the loss is a known function of the rate."""

  def init(h):
    return jnp.full(3, 2.0) + 0.1 * jax.random.normal(jax.random.key(h['seed']), (3,))

  def step(w, h, i):
    loss, grad = jax.value_and_grad(lambda w: jnp.sum(w**2))(w)
    return w - h['rate'] * grad, {'loss': loss, 'reward': -loss}

  return lmhp.FunctionTask(init, step, {'rate': 0.01, 'seed': 0, **hypers}, steps=steps)


@pytest.fixture
def run(tmp_path):
  """`run(space, workdir=..., **fields)`: a study of functions."""

  def sweep(space=RATE, workdir='study', of=None, **fields):
    fields = {
      'search': 'random',
      'trials': 4,
      'confirm_points': 0,
      'execution': 'loop',
      'objective': 'loss',
      **fields,
    }
    if fields['search'] == 'grid':
      fields.pop('trials')
    return lmhp.sweep(
      of or task(),
      lmhp.SweepConfig(space=space, **fields),
      workdir=tmp_path / workdir,
      display='none',
      report=False,
    )

  return sweep


def truth(trial, steps=27):
  """A trial's loss one step after its last, in numpy."""
  w = np.asarray(
    jnp.full(3, 2.0) + 0.1 * jax.random.normal(jax.random.key(trial.seed), (3,)),
    np.float64,
  )
  return float(np.sum((w * (1 - 2 * trial.overrides.get('rate', 0.01)) ** steps) ** 2))


def check(found):
  """Every complete trial has its own result."""
  for trial in found.trials:
    if trial.status == 'complete':
      assert trial.values[0] == pytest.approx(truth(trial), rel=1e-3, abs=1e-9)


def killed(monkeypatch, after, call):
  """Makes a call that dies before its pack number `after`."""
  ran, whole = [], pack_run.PackRun.run

  def few(self, again=False):
    ran.append(self.pack.name)
    if len(ran) > after:
      raise KeyboardInterrupt
    return whole(self, again)

  with monkeypatch.context() as patch:
    patch.setattr(pack_run.PackRun, 'run', few)
    with pytest.raises(KeyboardInterrupt):
      call()


HALVING = dict(
  halving='successive', first_rung_fraction=1 / 9, min_rank_correlation=None
)


@pytest.mark.parametrize('after', [1, 2, 3])
def test_a_study_killed_in_its_halving_and_extended_mixes_nothing_up(
  run, monkeypatch, after
):
  killed(monkeypatch, after, lambda: run(trials=4, max_pack_width=2, **HALVING))
  found = run(trials=9, max_pack_width=4, **HALVING)
  check(found)
  assert len(found.trials) == 9 and {t.status for t in found.trials} == {
    'complete',
    'pruned',
  }
  assert len({t.parameters['rate'] for t in found.trials}) == 9


def test_extended_twice_after_halving_and_confirmation(run):
  for trials in (5, 7, 11):
    found = run(trials=trials, confirm_points=1, confirm_seeds=3, **HALVING)
    check(found)
    assert (
      sum(t.cohort.startswith('search-') for t in found.trials) == trials
      and len(found.confirmed) == 2
    )


def test_a_wider_warmup_does_not_move_the_rungs(small, tmp_path):
  rates = {'optimizer.learning_rate': Float(1e-3, 1e-1, log=True)}
  sweep = lambda space, trials: lmhp.sweep(
    small(),
    lmhp.SweepConfig(
      space=space,
      search='halton',
      trials=trials,
      halving='successive',
      min_rank_correlation=None,
      execution='loop',
      confirm_points=0,
    ),
    workdir=tmp_path / 'study',
    display='none',
    report=False,
  )
  first = sweep(rates, 4)
  found = sweep({**rates, 'schedule.warmup_fraction': Float(0.0, 0.4)}, 6)
  rungs = {step for t in first.trials for step in t.scores}
  assert {step for t in found.trials for step in t.scores} == rungs and len(
    found.trials
  ) == 6


def test_a_grid_is_extended_by_what_it_lacks(run):
  run({'rate': Choice(0.1, 0.2, 0.3)}, search='grid')
  found = run({'rate': Choice(0.05, 0.1, 0.2, 0.3)}, search='grid')
  assert [t.parameters['rate'] for t in found.trials] == [0.1, 0.2, 0.3, 0.05]
  wider = run({'rate': Float(0.05, 0.45)}, search='grid', grid_levels=3)
  assert [t.parameters['rate'] for t in wider.trials[4:]] == [0.25, 0.45]
  check(wider)


def test_more_seeds_keep_a_point_that_sets_its_own_seed(run):
  found = run({'seed': Choice(3, 8)}, search='grid')
  assert [t.seed for t in found.trials] == [3, 8]
  with pytest.raises(
    ConfigError,
    match='^sweep.seeds_per_point: got 2, expected 1, since the space varies seed itself',
  ):
    run({'seed': Choice(3, 8)}, search='grid', seeds_per_point=2)


def test_what_is_held_equal_may_be_said_when_it_comes_to_matter(small, tmp_path):
  rates = {'optimizer.learning_rate': Choice(1e-3, 1e-2)}
  sweep = lambda space, **fields: lmhp.sweep(
    small(),
    lmhp.SweepConfig(
      space=space, search='halton', execution='loop', confirm_points=0, **fields
    ),
    workdir=tmp_path / 'study',
    display='none',
    report=False,
  )
  sweep(rates, trials=2)
  found = sweep(
    {**rates, 'train.batch_size': Choice(2, 6)}, trials=4, match_budget='tokens'
  )
  assert {t.cost.tokens for t in found.trials} == {24 * 3 * 8}


def test_an_impossible_point_is_said_before_anything_is_written(small, tmp_path):
  sweep = lambda sizes: lmhp.sweep(
    small(),
    lmhp.SweepConfig(
      space={'model.d_model': Choice(*sizes)},
      search='grid',
      match_budget='steps',
      execution='loop',
      confirm_points=0,
    ),
    workdir=tmp_path / 'study',
    display='none',
    report=False,
  )
  with pytest.raises(ConfigError, match='^model'):
    sweep((12, 13))
  assert [t.overrides['model.d_model'] for t in sweep((12, 16)).trials] == [12, 16]


# --- best.py --------------------------------------------------------------------------------------------------------


def test_best_py_has_the_length_and_the_references_of_the_winner(small, tmp_path):
  config = small()
  config.model.d_ff = config.model.get_ref('d_model') * 3
  config.train.steps, config.train.tokens_per_parameter = None, 0.5
  found = lmhp.sweep(
    config,
    lmhp.SweepConfig(
      space={'model.d_model': Choice(16, 20), 'train.batch_size': 2},
      search='grid',
      match_budget='tokens',
      execution='loop',
      confirm_points=0,
    ),
    workdir=tmp_path / 'study',
    display='none',
    report=False,
  )
  best = found.trials[found.result['best_trial']]
  alone = lmhp.train(
    tmp_path / 'study' / 'best.py', workdir=tmp_path / 'alone', display='none'
  )
  assert (
    alone.result['final_eval_loss_nats'] == best.values[0]
    and alone.result['steps'] == best.cost.steps
  )
  assert alone.result['parameters'] == best.model.n_parameters


def test_the_values_that_a_member_of_a_population_ended_with_are_its_best(run):
  found = run(search='pbt', trials=None, population_size=5, pbt_interval_fraction=0.2)
  way = found.trials[found.result['best_trial']].lineage
  assert (
    found.best['rate'] == way[-1].values['rate']
    and not pathlib.Path(found.workdir, 'best.py').exists()
  )


# --- directions, divergence -----------------------------------------------------------------------------------------


def test_maximizing_turns_every_comparison_round(run):
  from lmhp.sweeping import summary as words

  found = run(
    {'rate': Choice(0.001, 0.1, 30.0)},
    search='grid',
    objective='reward',
    maximize='reward',
    confirm_points=1,
    confirm_seeds=3,
  )
  slow, good, bad = found.trials[:3]
  assert (
    bad.status == 'diverged'
    and math.isfinite(bad.values[0])
    and bad.values[0] < slow.values[0] < good.values[0]
  )
  assert found.result['best_trial'] == good.number
  assert found.confirmed[0].difference > 0 and 'better' in words.format_result(found)


def test_a_point_of_which_a_seed_diverges_does_not_win(run, monkeypatch):
  broken = pack_run.PackRun._train

  def breaks(self, state, step, checkpoints):
    state = broken(self, state, step, checkpoints)
    for i, job in enumerate(self.jobs):
      if int(job.hypers['seed']) == 1 and float(job.hypers['rate']) > 0.15:
        self.nonfinite_steps[i] = 5
    return state

  monkeypatch.setattr(pack_run.PackRun, '_train', breaks)
  found = run({'rate': Choice(0.1, 0.2)}, search='grid', seeds_per_point=2)
  assert [t.status for t in found.trials] == [
    'complete',
    'complete',
    'complete',
    'diverged',
  ]
  assert found.result['best_overrides']['rate'] == 0.1


def test_a_base_config_that_diverges_is_said_so(run):
  from lmhp.sweeping import summary as words

  found = run(
    {'rate': Choice(0.1, 0.2)},
    search='grid',
    of=task(rate=40.0),
    confirm_points=1,
    confirm_seeds=3,
  )
  assert found.confirmed[0].diverged == 3 and math.isnan(found.confirmed[0].difference)
  assert 'of 3 seeds it or the base config diverged' in words.format_result(found)


def test_all_trials_diverge(run):
  found = run({'rate': Choice(30.0, 40.0)}, search='grid', confirm_points=1)
  assert (
    found.best == {} and found.result['trials']['diverged'] == 2 and not found.confirmed
  )


# --- running again --------------------------------------------------------------------------------------------------


def test_running_again_neither_nags_nor_forgets(run, monkeypatch):
  from lmhp.sweeping import request
  from lmhp.training.manifest import GitState

  of = task(clip=math.inf)
  run(of=of)
  collect = request.collect_provenance

  def collect_with_another_commit(directory):
    return dataclasses.replace(collect(directory), git=GitState('another', False))

  monkeypatch.setattr(request, 'collect_provenance', collect_with_another_commit)
  for _ in range(3):
    found = run(of=of)
  manifest = read_manifest(found.workdir)
  (change,) = manifest.changes
  assert change.startswith('git changed')
  assert manifest.seconds > 0


def test_a_study_keeps_its_precision_on_another_machine(small, tmp_path, monkeypatch):
  config = small()
  config.model.dtype = 'auto'
  sweep = lambda: lmhp.sweep(
    config,
    lmhp.SweepConfig(
      space={'optimizer.learning_rate': Choice(1e-3, 1e-2)},
      execution='loop',
      search='grid',
      confirm_points=0,
    ),
    workdir=tmp_path / 's',
    display='none',
    report=False,
  )
  monkeypatch.setattr(
    'lmhp.sweeping.tasks.language_model.fastest_dtype', lambda: 'float32'
  )
  first = sweep()
  monkeypatch.setattr(
    'lmhp.sweeping.tasks.language_model.fastest_dtype', lambda: 'bfloat16'
  )
  assert [t.values for t in sweep().trials] == [t.values for t in first.trials]


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    (dict(search='grid', tokens=600), '^sweep.tokens: got 600.0, expected None'),
    (
      dict(trials=None, tokens=600),
      '^sweep.tokens: got a budget ',
    ),
    (
      dict(objective='los'),
      r"^sweep.objective: got .'los',., expected one of the metrics loss, reward",
    ),
    (
      dict(rung_score='cooldown', halving='successive'),
      '^sweep.rung_score: got .cooldown., expected prefix',
    ),
  ],
)
def test_what_cannot_be_is_refused_before_anything_runs(
  run, monkeypatch, fields, message
):
  monkeypatch.setattr(pack_run.PackRun, '_train', None)
  with pytest.raises(ConfigError, match=message):
    run(**fields)


def test_a_pack_that_does_not_fit_says_what_would(run, monkeypatch):
  def full(self, again=False):
    raise jax.errors.JaxRuntimeError(
      'RESOURCE_EXHAUSTED: Out of memory allocating 7 bytes'
    )

  with monkeypatch.context() as patch:
    patch.setattr(pack_run.PackRun, 'run', full)
    with pytest.raises(
      ConfigError,
      match='^sweep.max_pack_width: a pack of 4 does not fit .*--sweep.max_pack_width=2',
    ):
      run(execution='vmap')
  assert len(run(execution='vmap', max_pack_width=4).trials) == 4


def test_without_a_seed_nothing_is_confirmed(run):
  of = lmhp.FunctionTask(
    lambda h: jnp.ones(2),
    lambda w, h, i: (w * h['rate'], {'loss': jnp.sum(w**2)}),
    {'rate': 0.5},
    steps=3,
  )
  assert run(of=of, confirm_points=1).confirmed == ()
  with pytest.raises(
    ConfigError,
    match="^sweep.seeds_per_point: got 2, expected 1, since none of the task's numbers is named seed",
  ):
    run(of=of, seeds_per_point=2, workdir='other')
