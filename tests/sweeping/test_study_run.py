"""Studies that are extended, killed, refused or run again. Mostly on functions, for speed."""

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
from lmhp.sweeping import request, summary
from lmhp.sweeping.execution import pack_run
from lmhp.sweeping.store.study import read_manifest
from lmhp.training.manifest import GitState

RATE = {'rate': Float(1e-3, 0.5, log=True)}
LEARNING_RATE = {'optimizer.learning_rate': Choice(1e-3, 1e-2)}
HALVING = {
  'halving': 'successive',
  'first_rung_fraction': 1 / 9,
  'n_calibration_trials': 3,
  'min_rank_correlation': None,
}


def bowl(steps=27, **hypers):
  """Returns gradient descent on a bowl. Its loss is a known function of the rate."""

  def init(h):
    return jnp.full(3, 2.0) + 0.1 * jax.random.normal(jax.random.key(h['seed']), (3,))

  def step(w, h, i):
    loss, grad = jax.value_and_grad(lambda w: jnp.sum(w**2))(w)
    return w - h['rate'] * grad, {'loss': loss, 'reward': -loss}

  base = {'rate': 0.01, 'seed': 0, **hypers}
  return lmhp.FunctionTask(init, step, base, steps=steps)


def expected_loss(trial, steps=27):
  """Returns the loss of a trial after its last step, in float64."""
  start = jnp.full(3, 2.0) + 0.1 * jax.random.normal(jax.random.key(trial.seed), (3,))
  factor = (1 - 2 * trial.overrides.get('rate', 0.01)) ** steps
  return float(np.sum((np.asarray(start, np.float64) * factor) ** 2))


def check_losses(result):
  """Checks that each complete trial has the loss of its own rate and seed."""
  complete = [trial for trial in result.trials if trial.status == 'complete']
  assert complete
  for trial in complete:
    expected = pytest.approx(expected_loss(trial), rel=1e-3, abs=1e-9)
    assert trial.values[0] == expected


@pytest.fixture
def run(tmp_path):
  """`run(space, workdir=..., task=..., **sweep)`: a study of functions."""

  def sweep(space=RATE, workdir='study', task=None, display='none', **fields):
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
      task or bowl(),
      lmhp.SweepConfig(space=space, **fields),
      workdir=tmp_path / workdir,
      display=display,
      report=False,
    )

  return sweep


@pytest.fixture
def run_language_model(tmp_path):
  """`run_language_model(config, space, **sweep)`: a study of a language model."""

  def sweep(config, space, workdir='study', display='none', **fields):
    fields = {'execution': 'loop', 'confirm_points': 0, **fields}
    return lmhp.sweep(
      config,
      lmhp.SweepConfig(space=space, **fields),
      workdir=tmp_path / workdir,
      display=display,
      report=False,
    )

  return sweep


# --- early stopping -------------------------------------------------------------------

GUARDED = {'search': 'halton', 'halving': 'successive', 'first_rung_fraction': 1 / 9}


def reversed_late(steps=27):
  """Returns a task whose losses at the end have the reversed order of those at the rungs."""

  def step(w, h, i):
    return w, {'loss': jnp.where(i < steps // 2, -h['rate'], h['rate'])}

  return lmhp.FunctionTask(lambda h: jnp.zeros(1), step, {'rate': 0.01}, steps=steps)


def test_rungs_that_predict_the_end_stop_trials(run):
  result = run(trials=24, **GUARDED)
  check_losses(result)
  statuses = [trial.status for trial in result.trials]
  assert statuses.count('pruned') >= 10
  assert result.summary.rank_correlations[3] > 0.9
  best = min(result.trials, key=expected_loss)
  assert result.summary.best_trial == best.number


def test_rungs_that_do_not_predict_the_end_stop_no_trial(run):
  result = run(trials=24, task=reversed_late(), **GUARDED)
  assert {trial.status for trial in result.trials} == {'complete'}
  assert result.summary.rank_correlations == {3: -1.0, 9: -1.0}
  assert result.summary.unaffordable_calibration is None


def test_a_study_that_cannot_afford_its_calibration_stops_no_trial(run, tmp_path):
  result = run(trials=23, **GUARDED)
  check_losses(result)
  assert {trial.status for trial in result.trials} == {'complete'}
  assert {trial.cost.steps for trial in result.trials} == {27}
  # 6 of 23 trials of 27 steps are more than a quarter. 24 points would be enough.
  cost = result.summary.unaffordable_calibration
  assert (cost.calibration_steps, cost.search_steps) == (6 * 27, 23 * 27)
  assert cost.n_points_needed == 24

  stored = json.loads((tmp_path / 'study/result.json').read_text())
  assert stored['unaffordable_calibration']['search_steps'] == 23 * 27
  assert read_manifest(tmp_path / 'study').rungs.unaffordable_calibration == cost
  text = summary.format_result(result)
  assert len(repr(result)) < 500 and str(result.workdir) in repr(result)
  assert {'26%', '162', '621', '24'} <= set(text.replace(',', '').split())
  report = json.loads(lmhp.report(result).text('json'))
  (finding,) = [one for one in report['findings'] if one['kind'] == 'no_early_stopping']
  assert finding['numbers'] == {
    'fraction': 6 / 23,
    'points': 23,
    'points_needed': 24,
  }


def test_a_study_says_before_its_first_trial_that_it_stops_none(run, capsys):
  run(trials=5, display='plain', **GUARDED)
  lines = capsys.readouterr().out.splitlines()
  (number,) = [i for i, line in enumerate(lines) if 'stopped early' in line][:1]
  assert {'120%', '162', '135', '24'} <= set(lines[number].split())
  assert not any('search-0' in line for line in lines[:number])


@pytest.mark.parametrize('n_trials, is_affordable', [(23, False), (24, True)])
def test_an_estimate_states_that_no_trial_is_stopped(n_trials, is_affordable):
  sweep = lmhp.SweepConfig(
    space=RATE, objective='loss', execution='loop', trials=n_trials, **GUARDED
  )
  estimate = lmhp.plan_sweep(bowl(), sweep)
  assert estimate.stopped_early == is_affordable
  assert estimate.rungs == ((3, 9, 27) if is_affordable else (27,))
  text = summary.format_estimate(estimate)
  assert ('26% of the 621' in text) != is_affordable


def test_an_extended_study_keeps_the_decision_to_stop_no_trial(run):
  run(trials=9, **GUARDED)
  result = run(trials=30, **GUARDED)
  assert {trial.status for trial in result.trials} == {'complete'}
  assert result.summary.unaffordable_calibration.n_points == 9


def test_a_budget_is_kept_if_no_trial_is_stopped(run_language_model, small):
  """With halving, the budget of 11 trials would allow more points."""
  space = {'optimizer.learning_rate': Float(1e-3, 1e-1, log=True)}
  tokens = 11 * 24 * 3 * 8
  result = run_language_model(small(), space, tokens=tokens, **GUARDED)
  assert len(result.trials) == 11
  assert result.summary.tokens == tokens
  assert result.summary.unaffordable_calibration.n_points > 11
  assert result.summary.unaffordable_calibration.tokens_per_step == 3 * 8


# --- extended studies -----------------------------------------------------------------


@pytest.mark.parametrize('n_packs', [1, 2, 3])
def test_a_study_that_was_killed_at_a_rung_can_be_extended(run, monkeypatch, n_packs):
  packs = []
  run_pack = pack_run.PackRun.run

  def run_few_packs(self, again=False):
    packs.append(self.pack.name)
    if len(packs) > n_packs:
      raise KeyboardInterrupt
    return run_pack(self, again)

  with monkeypatch.context() as patch:
    patch.setattr(pack_run.PackRun, 'run', run_few_packs)
    with pytest.raises(KeyboardInterrupt):
      run(trials=4, max_pack_width=2, **HALVING)

  result = run(trials=9, max_pack_width=4, **HALVING)
  check_losses(result)
  assert len(result.trials) == 9
  assert {trial.status for trial in result.trials} == {'complete', 'pruned'}
  assert len({trial.parameters['rate'] for trial in result.trials}) == 9


def test_a_study_can_be_extended_after_halving_and_confirmation(run):
  for n_trials in (5, 7, 11):
    result = run(trials=n_trials, confirm_points=1, confirm_seeds=3, **HALVING)
    check_losses(result)
    searched = [t for t in result.trials if t.cohort.startswith('search-')]
    assert len(searched) == n_trials
    assert len(result.confirmed) == 2


def test_a_wider_warmup_does_not_move_the_rungs(run_language_model, small):
  space = {'optimizer.learning_rate': Float(1e-3, 1e-1, log=True)}
  fields = {
    'search': 'halton',
    'halving': 'successive',
    'n_calibration_trials': 3,
    'min_rank_correlation': None,
  }
  first = run_language_model(small(), space, trials=4, **fields)
  wider = {**space, 'schedule.warmup_fraction': Float(0.0, 0.4)}
  result = run_language_model(small(), wider, trials=6, **fields)
  assert len(result.trials) == 6
  rungs = {step for trial in first.trials for step in trial.scores}
  assert {step for trial in result.trials for step in trial.scores} == rungs


def test_a_grid_is_extended_by_its_new_points(run):
  run({'rate': Choice(0.1, 0.2, 0.3)}, search='grid')
  result = run({'rate': Choice(0.05, 0.1, 0.2, 0.3)}, search='grid')
  assert [t.parameters['rate'] for t in result.trials] == [0.1, 0.2, 0.3, 0.05]
  result = run({'rate': Float(0.05, 0.45)}, search='grid', grid_levels=3)
  assert [t.parameters['rate'] for t in result.trials[4:]] == [0.25, 0.45]
  check_losses(result)


def test_a_point_that_sets_the_seed_has_one_trial(run):
  space = {'seed': Choice(3, 8)}
  result = run(space, search='grid')
  assert [trial.seed for trial in result.trials] == [3, 8]
  with pytest.raises(ConfigError, match='^sweep.seeds_per_point: got 2, expected 1'):
    run(space, search='grid', seeds_per_point=2)


def test_an_extended_study_may_set_the_matched_budget(run_language_model, small):
  run_language_model(small(), LEARNING_RATE, search='halton', trials=2)
  space = {**LEARNING_RATE, 'train.batch_size': Choice(2, 6)}
  result = run_language_model(
    small(), space, search='halton', trials=4, match_budget='tokens'
  )
  assert {trial.cost.tokens for trial in result.trials} == {24 * 3 * 8}


def test_impossible_points_are_left_out_and_counted(run_language_model, small, capsys):
  def sweep(sizes, workdir='grid', **fields):
    space = {'model.d_model': Choice(*sizes)}
    return run_language_model(
      small(), space, workdir=workdir, match_budget='steps', display='plain', **fields
    )

  # Without a valid point, no study exists.
  with pytest.raises(ConfigError, match='^model'):
    sweep((13, 15), search='grid')
  trials = sweep((12, 13, 16), search='grid').trials
  assert [trial.overrides['model.d_model'] for trial in trials] == [12, 16]
  assert '1 of 3 different points, which' in capsys.readouterr().out
  # A design has as many valid points as were requested.
  sizes = range(12, 32)
  trials = sweep(sizes, workdir='halton', search='halton', trials=4).trials
  sizes_of_trials = [trial.overrides['model.d_model'] for trial in trials]
  assert len(set(sizes_of_trials)) == 4 and not any(n % 4 for n in sizes_of_trials)


@pytest.mark.parametrize('search', ['random', 'halton', 'sobol', 'tpe'])
def test_a_space_of_few_points_has_each_of_them_once(run, search):
  rates = {'rate': Choice(0.01, 0.1, 0.2)}
  for n_trials in (2, 30, 30, 5):
    result = run(rates, search=search, trials=n_trials)
    expected = min(len(rates['rate'].values), max(n_trials, 2))
    found = {trial.overrides['rate'] for trial in result.trials}
    assert len(result.trials) == len(found) == min(expected, 3)


def test_points_that_are_the_same_trial_are_trained_once(run):
  # The first two numbers are equal in float32.
  rates = {'rate': Choice(0.1, 0.1 + 1e-12, 0.2)}
  result = run(rates, search='grid')
  assert [trial.overrides['rate'] for trial in result.trials] == [0.1, 0.2]


@pytest.mark.parametrize('search', ['halton', 'tpe', 'random'])
@pytest.mark.parametrize('budgets', [(4, 2, 4), (4, 3, 4, 3, 4, 6)])
def test_a_budget_at_or_below_what_exists_adds_nothing(run, search, budgets):
  largest = 0
  for n_trials in budgets:
    result = run(RATE, search=search, trials=n_trials)
    largest = max(largest, n_trials)
    assert len(result.trials) == largest
    assert [trial.point for trial in result.trials] == list(range(largest))
  manifest = read_manifest(result.workdir)
  assert all(cohort.n_points > 0 for cohort in manifest.cohorts)


def test_a_study_of_dropped_points_that_was_killed_goes_on(run, monkeypatch):
  space = {'rate': Choice(0.1, 0.1 + 1e-12, 0.2, 0.3)}
  expected = run(space, workdir='whole', search='tpe', trials=4).trials
  with monkeypatch.context() as patch:
    patch.setattr(
      pack_run.PackRun, 'run', lambda *args: exec('raise KeyboardInterrupt')
    )
    with pytest.raises(KeyboardInterrupt):
      run(space, search='tpe', trials=4)
  again = run(space, search='tpe', trials=4).trials
  assert [t.overrides for t in again] == [t.overrides for t in expected]
  assert len(again) == 3


# --- best.py --------------------------------------------------------------------------


def test_best_py_trains_the_best_trial_again(run_language_model, small, tmp_path):
  config = small()
  config.model.d_ff = config.model.get_ref('d_model') * 3
  config.train.steps = None
  config.train.tokens_per_parameter = 0.5
  space = {'model.d_model': Choice(16, 20), 'train.batch_size': 2}
  result = run_language_model(config, space, search='grid', match_budget='tokens')

  best = result.trials[result.summary.best_trial]
  alone = lmhp.train(
    tmp_path / 'study' / 'best.py', workdir=tmp_path / 'alone', display='none'
  )
  assert alone.result['final_eval_loss_nats'] == best.values[0]
  assert alone.result['steps'] == best.cost.steps
  assert alone.result['parameters'] == best.model.n_parameters


def test_the_best_values_of_a_population_are_the_last_ones_of_its_best_member(run):
  result = run(search='pbt', trials=None, population_size=5, pbt_interval_fraction=0.2)
  lineage = result.trials[result.summary.best_trial].lineage
  assert result.best['rate'] == lineage[-1].values['rate']
  assert not pathlib.Path(result.workdir, 'best.py').exists()


# --- directions and divergence --------------------------------------------------------


def test_a_maximized_objective_prefers_the_largest_value(run):
  result = run(
    {'rate': Choice(0.001, 0.1, 30.0)},
    search='grid',
    objective='reward',
    maximize='reward',
    confirm_points=1,
    confirm_seeds=3,
  )
  slow, good, diverging = result.trials[:3]
  assert diverging.status == 'diverged'
  assert -math.inf < diverging.values[0] < slow.values[0] < good.values[0]
  assert result.summary.best_trial == good.number
  assert result.confirmed[0].difference > 0


def test_a_point_with_a_seed_that_diverges_does_not_win(run, monkeypatch):
  train = pack_run.PackRun._train

  def train_and_diverge(self, state, step, checkpoints):
    state = train(self, state, step, checkpoints)
    for i, job in enumerate(self.jobs):
      if int(job.hypers['seed']) == 1 and float(job.hypers['rate']) > 0.15:
        self.nonfinite_steps[i] = 5
    return state

  monkeypatch.setattr(pack_run.PackRun, '_train', train_and_diverge)
  result = run({'rate': Choice(0.1, 0.2)}, search='grid', seeds_per_point=2)
  statuses = [trial.status for trial in result.trials]
  assert statuses == ['complete', 'complete', 'complete', 'diverged']
  assert result.summary.best_overrides['rate'] == 0.1


def test_a_base_config_that_diverges_gives_no_difference(run):
  result = run(
    {'rate': Choice(0.1, 0.2)},
    search='grid',
    task=bowl(rate=40.0),
    confirm_points=1,
    confirm_seeds=3,
  )
  assert result.confirmed[0].diverged == (0, 3)
  assert result.confirmed[0].verdict == 'better'
  assert math.isnan(result.confirmed[0].difference)
  assert 'diverged' in summary.format_result(result)


def test_a_study_whose_trials_all_diverge_has_no_best_trial(run):
  result = run({'rate': Choice(30.0, 40.0)}, search='grid', confirm_points=1)
  assert result.best == {}
  assert result.summary.trials_by_status['diverged'] == 2
  assert not result.confirmed


# --- run again ------------------------------------------------------------------------


def test_a_change_of_the_commit_is_noted_once(run, monkeypatch):
  # The infinite number must equal itself in the stored manifest.
  task = bowl(clip=math.inf)
  run(task=task)
  collect = request.collect_provenance

  def collect_with_another_commit(directory):
    return dataclasses.replace(collect(directory), git=GitState('another', False))

  monkeypatch.setattr(request, 'collect_provenance', collect_with_another_commit)
  for _ in range(3):
    result = run(task=task)
  manifest = read_manifest(result.workdir)
  (change,) = manifest.changes
  assert change.startswith('git changed')
  assert manifest.seconds > 0


def test_a_study_keeps_its_precision_on_another_machine(
  run_language_model, small, monkeypatch
):
  config = small()
  config.model.dtype = 'auto'
  values = []
  for dtype in ('float32', 'bfloat16'):
    monkeypatch.setattr(
      'lmhp.sweeping.tasks.language_model.fastest_dtype', lambda dtype=dtype: dtype
    )
    result = run_language_model(config, LEARNING_RATE, search='grid')
    values.append([trial.values for trial in result.trials])
  assert values[0] == values[1]


# --- refused sweeps -------------------------------------------------------------------


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'search': 'grid', 'tokens': 600}, '^sweep.tokens: got 600.0, expected None'),
    ({'trials': None, 'tokens': 600}, '^sweep.tokens: got a budget '),
    (
      {'objective': 'los'},
      "^sweep.objective: got .'los',., expected .* loss, reward",
    ),
    (
      {'rung_score': 'cooldown', 'halving': 'successive'},
      "^sweep.rung_score: got .cooldown., expected 'prefix'",
    ),
  ],
)
def test_a_wrong_sweep_is_refused_before_anything_is_trained(
  run, monkeypatch, fields, message
):
  monkeypatch.setattr(pack_run.PackRun, '_train', None)
  with pytest.raises(ConfigError, match=message):
    run(**fields)


def test_a_pack_that_does_not_fit_the_memory_can_be_made_narrower(run, monkeypatch):
  def raise_out_of_memory(self, again=False):
    raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: allocating 7 bytes')

  message = '^sweep.max_pack_width: a pack of 4 .*--sweep.max_pack_width=2'
  with monkeypatch.context() as patch:
    patch.setattr(pack_run.PackRun, 'run', raise_out_of_memory)
    with pytest.raises(ConfigError, match=message):
      run(execution='vmap')
  assert len(run(execution='vmap', max_pack_width=4).trials) == 4


def test_a_task_without_a_seed_is_not_confirmed(run):
  task = lmhp.FunctionTask(
    lambda h: jnp.ones(2),
    lambda w, h, i: (w * h['rate'], {'loss': jnp.sum(w**2)}),
    {'rate': 0.5},
    steps=3,
  )
  assert run(task=task, confirm_points=1).confirmed == ()
  with pytest.raises(ConfigError, match='^sweep.seeds_per_point: got 2, expected 1'):
    run(task=task, seeds_per_point=2, workdir='other')
