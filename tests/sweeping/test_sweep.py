"""Sweeps from end to end: small real studies, each trial the solo run's, killed and extended as people do."""

import json
import math
import pathlib

import numpy as np
import pytest

import lmhp
from lmhp import Choice, ConfigError, Float, Int, When
from lmhp.sweeping.execution import curves, pack_run

RATES = {
  'optimizer.learning_rate': Float(1e-3, 1e-1, log=True),
  'schedule.name': Choice('cosine', 'constant'),
}


@pytest.fixture
def sweep(small, tmp_path):
  """`sweep(space, config={...}, workdir=..., **fields)`: a study of seconds."""

  def run(space=None, config=None, workdir='study', task=None, **fields):
    fields = {
      'search': 'halton',
      'trials': 4,
      'confirm_points': 0,
      'execution': 'loop',
      **fields,
    }
    if fields['search'] in ('grid', 'pbt'):
      fields.pop('trials')
    asked = lmhp.SweepConfig(space=RATES if space is None else space, **fields)
    return lmhp.sweep(
      small(**(config or {})) if task is None else task,
      asked,
      workdir=tmp_path / workdir,
      display='none',
      report=False,
    )

  return run


def lines(result):
  """The mirror, without what differs between two runs of the same."""
  with open(f'{result.workdir}/trials.jsonl') as file:
    return [
      {k: v for k, v in json.loads(line).items() if k not in ('seconds', 'device')}
      for line in file
    ]


def statuses(result):
  return [t.status for t in result.trials]


# --- each trial is the solo run -------------------------------------------------------------------------------------


def test_a_trial_is_the_run_that_train_makes_of_it(sweep, small, tmp_path):
  found = sweep(
    space={**RATES, 'train.batch_size': Choice(2, 3)}, match_budget='tokens'
  )
  assert statuses(found) == ['complete'] * 4
  for trial in found.trials:
    steps = {2: 36, 3: 24}[trial.overrides['train.batch_size']]
    alone = lmhp.train(
      small(),
      workdir=tmp_path / f'run{trial.number}',
      display='none',
      overrides={**trial.overrides, 'train.steps': steps},
    )
    assert trial.values[0] == alone.result['final_eval_loss_nats']
    table = curves.read(f'{found.workdir}/curves/{trial.packs[-1]}.parquet').to_pydict()
    mine = [
      loss for loss, n in zip(table['loss_nats'], table['trial']) if n == trial.number
    ]
    assert mine == alone.history['loss_nats'].astype(np.float32).tolist()
    assert trial.cost.tokens == alone.result['tokens'] and trial.cost.steps == steps


def test_the_winner_is_an_experiment_file(sweep, tmp_path):
  found = sweep()
  best = min(found.trials, key=lambda t: t.values[0])
  assert found.best == best.overrides and found.summary.best_value == best.values[0]
  again = lmhp.train(
    f'{found.workdir}/best.py', workdir=tmp_path / 'again', display='none'
  )
  assert again.result['final_eval_loss_nats'] == best.values[0]


@pytest.mark.parametrize('pack', ['vmap', 'map'])
def test_packs_over_four_devices_find_what_the_loop_finds(sweep, pack):
  serial, packed = sweep(), sweep(execution=pack, workdir=pack)
  values = [[t.values[0] for t in found.trials] for found in (serial, packed)]
  np.testing.assert_allclose(
    values[0], values[1], rtol=2e-5 if pack == 'vmap' else 1e-6
  )


def test_auto_measures_writes_its_choice_down_and_keeps_it(sweep, monkeypatch):
  found = sweep(execution='auto')
  (choice,) = json.loads(pathlib.Path(found.workdir, 'autotune.json').read_text())[
    'methods'
  ].values()
  assert (
    choice['method'] in ('vmap', 'map') and choice['member_step_seconds']
  )  # four devices: no loop
  monkeypatch.setattr(
    'lmhp.sweeping.execution.autotuning.MethodTrial', None
  )  # measuring again would fail
  assert len(sweep(execution='auto', trials=6).trials) == 6


# --- rungs ----------------------------------------------------------------------------------------------------------


def test_halving_stops_trials_and_counts_its_forks(sweep):
  found = sweep(
    trials=9,
    halving='successive',
    first_rung_fraction=1 / 9,
    n_calibration_trials=3,
    min_rank_correlation=None,
  )
  ended = statuses(found)
  assert (
    ended.count('pruned') >= 4
    and ended.count('complete') >= 3
    and set(ended) == {'complete', 'pruned'}
  )
  assert set(found.summary.rank_correlations) == {3, 8}
  for trial in found.trials:
    reached = sorted(trial.scores)
    assert reached == [3, 8, 24][: len(reached)] and trial.cost.steps == reached[-1]
    forks = sum(max(1, round(0.2 * step)) for step in reached if step < 24)
    assert trial.cost.cooldown_steps == forks
    assert trial.cost.tokens == (reached[-1] + forks) * 3 * 8
    assert trial.values is not None and (trial.status == 'complete') == (24 in reached)


def test_forks_leave_the_trial_that_goes_on_as_it_was(sweep):
  whole, halved = (
    sweep(trials=3),
    sweep(
      trials=3,
      halving='successive',
      first_rung_fraction=1 / 3,
      n_calibration_trials=3,
      workdir='h',
    ),
  )
  assert [t.values for t in whole.trials] == [t.values for t in halved.trials]
  assert all(h.cost.tokens > w.cost.tokens for w, h in zip(whole.trials, halved.trials))


def test_a_rung_that_does_not_predict_stops_nobody(sweep, monkeypatch):
  monkeypatch.setattr('lmhp.sweeping.search.score_order.spearman', lambda a, b: 0.4)
  assert 'pruned' not in statuses(
    sweep(trials=6, halving='successive', first_rung_fraction=1 / 3)
  )
  monkeypatch.setattr('lmhp.sweeping.search.score_order.spearman', lambda a, b: 0.6)
  assert 'pruned' in statuses(
    sweep(trials=6, halving='successive', first_rung_fraction=1 / 3, workdir='other')
  )


def test_a_prefix_is_scored_where_asked_for_or_where_nothing_decays(sweep):
  space = {'optimizer.learning_rate': Float(1e-3, 1e-1, log=True)}
  constant = {'schedule.name': 'constant'}
  rungs = dict(trials=3, halving='successive', first_rung_fraction=1 / 3)
  forks = lambda found: {t.cost.cooldown_steps for t in found.trials} != {0}
  assert not forks(sweep(space, constant, 'a', **rungs))
  assert forks(sweep(space, {}, 'b', **rungs))
  assert not forks(sweep(space, {}, 'c', rung_score='prefix', **rungs))


def test_seeds_are_averaged(sweep):
  found = sweep(trials=2, seeds_per_point=3)
  assert [(t.point, t.seed) for t in found.trials] == [
    (0, 0),
    (0, 1),
    (0, 2),
    (1, 0),
    (1, 1),
    (1, 2),
  ]
  means = [np.mean([t.values[0] for t in found.trials if t.point == p]) for p in (0, 1)]
  assert (
    found.summary.best_value == pytest.approx(min(means), abs=1e-12)
    and found.summary.seed_noise > 0
  )


def test_a_diverged_trial_is_a_result(sweep):
  space = {'optimizer.learning_rate': Choice(1e-2, 1e9), 'optimizer.name': 'sgd'}
  found = sweep(space, {'optimizer.clip_norm': math.inf}, search='grid')
  good, bad = found.trials
  assert (good.status, bad.status) == ('complete', 'diverged')
  vocabulary = 9  # what the words of small_runs are spelt with, and the unknown
  assert math.isfinite(bad.values[0]) and bad.values[0] > 2 * math.log(vocabulary)
  assert bad.diverged_at < 24 and bad.cost.steps == bad.diverged_at
  assert found.summary.trials_by_status == {
    'complete': 1,
    'pruned': 0,
    'diverged': 1,
    'failed': 0,
  }


# --- stopped, killed, extended --------------------------------------------------------------------------------------


@pytest.mark.parametrize('stop_at', [1, 3, 6])
def test_a_study_that_is_stopped_goes_on_and_ends_the_same(sweep, monkeypatch, stop_at):
  rungs = dict(
    trials=5,
    halving='successive',
    first_rung_fraction=1 / 9,
    max_pack_width=2,
    min_rank_correlation=None,
  )
  whole = sweep(workdir='whole', **rungs)
  ran = []
  run = pack_run.PackRun.run

  def few(self, again=False):
    ran.append(self.pack.name)
    if len(ran) > stop_at:
      raise KeyboardInterrupt
    return run(self, again)

  monkeypatch.setattr(pack_run.PackRun, 'run', few)
  with pytest.raises(KeyboardInterrupt):
    sweep(**rungs)
  monkeypatch.setattr(pack_run.PackRun, 'run', run)
  assert lines(sweep(**rungs)) == lines(whole)


def test_running_a_finished_study_again_trains_nothing(sweep, monkeypatch):
  first = sweep(confirm_points=1, confirm_seeds=2)
  monkeypatch.setattr(pack_run.PackRun, '_train', None)
  again = sweep(confirm_points=1, confirm_seeds=2)
  assert (
    lines(first) == lines(again)
    and again.summary.best_trial == first.summary.best_trial
  )


def test_a_study_is_extended(sweep):
  first = lines(sweep(trials=3))
  more = sweep(trials=5)
  assert lines(more)[:3] == first and len(more.trials) == 5
  assert [t.parameters for t in more.trials] == [
    t.parameters for t in sweep(trials=5, workdir='at once').trials
  ]
  more, seeds = lines(more), sweep(trials=5, seeds_per_point=2)
  assert lines(seeds)[:5] == more and sorted(t.point for t in seeds.trials[5:]) == [
    0,
    1,
    2,
    3,
    4,
  ]
  assert {t.seed for t in seeds.trials[5:]} == {1}
  wider, seeds = {**RATES, 'optimizer.b2': Float(0.9, 0.99)}, lines(seeds)
  parameter = sweep(wider, trials=7, seeds_per_point=2)
  assert (
    lines(parameter)[:10] == seeds and 'optimizer.b2' in parameter.trials[10].parameters
  )


def test_what_would_not_compare_is_refused(sweep):
  sweep(trials=2)
  with pytest.raises(
    ConfigError,
    match=r"^sweep.objective: got \['eval_accuracy'\], but the study in .* has",
  ):
    sweep(trials=2, objective='eval_accuracy')
  with pytest.raises(
    ConfigError,
    match='^train.batch_size: got 4, expected 3, but the study in',
  ):
    sweep(trials=2, config={'train.batch_size': 4})


# --- confirmation ---------------------------------------------------------------------------------------------------


def test_the_winner_is_confirmed_on_new_seeds(sweep):
  found = sweep(confirm_points=2, confirm_seeds=3)
  best, second, base = found.confirmed
  assert (
    base.point is None and base.difference == 0 and len({best.point, second.point}) == 2
  )
  new = [t for t in found.trials if t.cohort.startswith('confirm')]
  assert len(new) == 9 and {t.seed for t in new}.isdisjoint(
    {t.seed for t in found.trials if t not in new}
  )
  assert all(
    t.overrides['data.seed'] == t.overrides['train.seed'] == t.seed for t in new
  )
  mine = [t.values[0] for t in new if t.point == best.point]
  theirs = [t.values[0] for t in new if t.point == -1]
  assert best.difference == pytest.approx(np.mean(np.subtract(mine, theirs)), abs=1e-12)
  assert best.difference_interval[0] < best.difference < best.difference_interval[1]
  assert len({t.values[0] for t in new}) == 9  # seeds do change the run


# --- other searches -------------------------------------------------------------------------------------------------


def test_quasi_random_first_and_bayesian_after(sweep):
  found = sweep(search='auto', trials=7, ask_batch_size=2)
  assert [t.cohort for t in found.trials] == ['search-0'] * 4 + ['search-1'] * 2 + [
    'search-2'
  ]
  assert lines(found) == lines(
    sweep(search='auto', trials=7, ask_batch_size=2, workdir='again')
  )


def test_hyperband_with_batches(sweep):
  found = sweep(
    search='auto',
    trials=8,
    ask_batch_size=4,
    halving='hyperband',
    first_rung_fraction=1 / 9,
    min_rank_correlation=None,
  )
  assert len(found.trials) == 8 and set(statuses(found)) <= {'complete', 'pruned'}


def test_two_objectives_give_a_front(sweep):
  space = {
    'model.n_layers': Choice(1, 2),
    'optimizer.learning_rate': Choice(1e-3, 3e-2),
  }
  found = sweep(
    space,
    search='grid',
    objective=('eval_loss_nats', 'parameters'),
    match_budget='steps',
  )
  front = [found.trials[n] for n in found.summary.pareto_front]
  for one in front:
    assert not any(
      t.values[0] <= one.values[0]
      and t.values[1] <= one.values[1]
      and t.values != one.values
      for t in found.trials
    )
  assert len(front) >= 1 and {t.values[1] for t in found.trials} == {
    t.model.n_parameters for t in found.trials
  }


def test_maximizing(sweep):
  found = sweep(objective='eval_accuracy', maximize='eval_accuracy', trials=3)
  assert found.summary.best_value == max(t.values[0] for t in found.trials)


def test_population_based_training(sweep):
  space = {'optimizer.learning_rate': Float(1e-5, 1e-1, log=True)}
  found = sweep(space, search='pbt', population_size=5, pbt_interval_fraction=0.25)
  assert statuses(found) == ['complete'] * 5
  ways = [t.lineage for t in found.trials]
  assert all([stage.until_step for stage in way] == [6, 12, 18, 24] for way in ways)
  copied = [stage for n, way in enumerate(ways) for stage in way if stage.parent != n]
  assert copied and {t.number for t in found.trials} >= {
    stage.parent for stage in copied
  }
  rates = lambda way: [stage.values['optimizer.learning_rate'] for stage in way]
  assert all(
    len(set(rates(way))) == 1
    for n, way in enumerate(ways)
    if all(s.parent == n for s in way)
  )
  assert lines(found) == lines(
    sweep(
      space,
      search='pbt',
      population_size=5,
      pbt_interval_fraction=0.25,
      workdir='again',
    )
  )
  with pytest.raises(
    ConfigError,
    match='^model.n_layers: got ',
  ):
    sweep(
      {'model.n_layers': Int(1, 2)},
      search='pbt',
      population_size=5,
      match_budget='steps',
      workdir='no',
    )


# --- budgets, and what is refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize('budget', ['tokens', 'flops'])
def test_a_budget_buys_trials(sweep, small, budget):
  one = sweep(trials=1, workdir='one').trials[0].cost.__dict__[budget]
  found = sweep(trials=None, **{budget: 3.5 * one})
  assert (
    len(found.trials) == 3
    and sum(t.cost.__dict__[budget] for t in found.trials) <= 3.5 * one
  )
  with pytest.raises(ConfigError, match='^sweep: got a budget of '):
    sweep(trials=None, workdir='none', **{budget: 0.5 * one})


def test_a_budget_of_seconds_is_measured_once(sweep):
  found = sweep(trials=None, seconds=0.05, execution='auto', max_pack_width=4)
  assert (
    len(sweep(trials=None, seconds=0.05, execution='auto', max_pack_width=4).trials)
    == len(found.trials)
    >= 1
  )


def test_halving_stays_within_a_budget_of_tokens(sweep):
  full = 24 * 3 * 8
  found = sweep(
    trials=None,
    tokens=6 * full,
    halving='successive',
    first_rung_fraction=1 / 9,
    min_rank_correlation=None,
  )
  assert len(found.trials) > 6 and sum(t.cost.tokens for t in found.trials) <= 6 * full


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    (
      dict(space={'optimizer.lr': Float(1e-3, 1)}),
      r"^optimizer.lr: no such key; did you mean 'optimizer.learning_rate'",
    ),
    (
      dict(space={'optimizer.learning_rate': Float(1, 1e-3)}),
      '^optimizer.learning_rate: got Float',
    ),
    (
      dict(space={'train.batch_size': Choice(2, 4)}),
      r'^sweep.match_budget: got None, expected steps, tokens, flops, seconds or none, since train.batch_size=2 ',
    ),
    (
      dict(space={'model.d_model': Choice(12, 24)}),
      'since model.d_model=24 ',
    ),
    (
      dict(space={'train.steps': Choice(5, 9)}, match_budget='tokens'),
      '^sweep.match_budget: got .tokens.*train.steps',
    ),
    (
      dict(space={'data.tokenizer': Choice('byte', 'char')}, match_budget='steps'),
      r"^sweep.objective: got 'eval_loss_nats', expected 'eval_bits_per_byte', since the space varies data.tokenizer,",
    ),
    (
      dict(objective='eval_los'),
      r"^sweep.objective: got .'eval_los',., expected one of the metrics eval_loss_nats",
    ),
    (
      dict(trials=None),
      '^sweep.trials: got None, expected a budget: one of trials, tokens, flops, seconds',
    ),
    (
      dict(tokens=5),
      '^sweep.tokens: got 5.0, expected None, since sweep.trials is the budget',
    ),
    (
      dict(halving='successive', n_calibration_trials=2),
      '^sweep.n_calibration_trials: got 2, expected at least 3',
    ),
    (dict(search='bogus'), r'^sweep.search: got .bogus., expected one of auto, grid'),
  ],
)
def test_mistakes_are_one_line_before_anything_runs(
  sweep, monkeypatch, fields, message
):
  monkeypatch.setattr(pack_run.PackRun, '_train', None)
  with pytest.raises(ConfigError, match=message) as error:
    sweep(**fields)
  assert '\n' not in str(error.value)


def test_a_length_that_is_the_question_itself(sweep):
  found = sweep({'train.steps': Choice(6, 12)}, search='grid', match_budget='none')
  assert [t.cost.steps for t in found.trials] == [6, 12]


def test_conditional_parameters_and_optimizers(sweep):
  space = {
    'optimizer.name': Choice('adamw', 'momentum'),
    'optimizer.b2': When('optimizer.name', 'adamw', Float(0.9, 0.99)),
    'optimizer.momentum': When('optimizer.name', 'momentum', Float(0.5, 0.99)),
  }
  found = sweep(space, trials=6)
  for trial in found.trials:
    assert ('optimizer.b2' in trial.overrides) == (
      trial.overrides['optimizer.name'] == 'adamw'
    )
  assert len({t.model.structure for t in found.trials}) == 2


def test_a_dry_run_spends_nothing(small, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  asked = lmhp.SweepConfig(
    space={**RATES, 'model.n_layers': Choice(1, 2)},
    search='grid',
    grid_levels=3,
    match_budget='flops',
  )
  plan = lmhp.plan_sweep(small(), asked)
  assert (
    plan.search.trials == 12
    and len(plan.structures) == 2
    and plan.search.tokens > 0
    and plan.search.hours > 0
  )
  assert not list(tmp_path.glob('**/*.jsonl'))


def test_the_runner_compiles_the_next_structure_meanwhile(sweep, monkeypatch):
  ahead = []
  compile_ahead = pack_run.PackRun.compile_ahead
  monkeypatch.setattr(
    pack_run.PackRun,
    'compile_ahead',
    lambda self: (ahead.append(self.pack.name), compile_ahead(self)),
  )
  sweep({'model.n_layers': Choice(1, 2, 3)}, search='grid', match_budget='steps')
  assert len(ahead) == 2
