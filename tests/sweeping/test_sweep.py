"""Small real studies from end to end: rungs, stops, extensions, confirmations and budgets."""

import dataclasses
import functools
import json
import math
import pathlib

import numpy as np
import optuna
import pytest

import lmhp
from lmhp import Choice, ConfigError, Float, Int, When
from lmhp.sweeping.execution import pack_run
from lmhp.sweeping.store import curves

LEARNING_RATE = {'optimizer.learning_rate': Float(1e-3, 1e-1, log=True)}
SPACE = {**LEARNING_RATE, 'schedule.name': Choice('cosine', 'constant')}
TOKENS_PER_TRIAL = 24 * 3 * 8


@pytest.fixture
def sweep(small, tmp_path):
  """`sweep(space, config={...}, workdir=..., **sweep)`: a study of seconds."""

  def run(space=SPACE, config=None, workdir='study', **fields):
    fields = {
      'search': 'halton',
      'trials': 4,
      'confirm_points': 0,
      'execution': 'loop',
      **fields,
    }
    if fields['search'] in ('grid', 'pbt'):
      fields.pop('trials')
    return lmhp.sweep(
      small(**(config or {})),
      lmhp.SweepConfig(space=space, **fields),
      workdir=tmp_path / workdir,
      display='none',
      report=False,
    )

  return run


def lines_of(result):
  """Returns the lines of `trials.jsonl` without the fields that differ between runs."""
  text = pathlib.Path(result.workdir, 'trials.jsonl').read_text()
  lines = [json.loads(line) for line in text.splitlines()]
  for line in lines:
    del line['seconds']
    del line['device']
  return lines


def statuses_of(result):
  return [trial.status for trial in result.trials]


# --- a trial is the run alone ---------------------------------------------------------


def test_a_trial_equals_the_run_of_train(sweep, small, tmp_path):
  space = {**SPACE, 'train.batch_size': Choice(2, 3)}
  result = sweep(space, match_budget='tokens')
  assert statuses_of(result) == ['complete'] * 4
  for trial in result.trials:
    steps = {2: 36, 3: 24}[trial.overrides['train.batch_size']]
    alone = lmhp.train(
      small(),
      workdir=tmp_path / f'run{trial.number}',
      display='none',
      overrides={**trial.overrides, 'train.steps': steps},
    )
    assert trial.values[0] == alone.result['final_eval_loss_nats']
    assert trial.cost.tokens == alone.result['tokens']
    assert trial.cost.steps == steps

    rows = curves.read(f'{result.workdir}/curves/{trial.packs[-1]}.parquet').to_pylist()
    losses = [row['loss_nats'] for row in rows if row['trial'] == trial.number]
    assert losses == alone.history['loss_nats'].astype(np.float32).tolist()


def test_the_best_trial_is_an_experiment_file(sweep, tmp_path):
  result = sweep()
  best = min(result.trials, key=lambda trial: trial.values[0])
  assert result.best == best.overrides
  assert result.summary.best_value == best.values[0]
  again = lmhp.train(
    f'{result.workdir}/best.py', workdir=tmp_path / 'again', display='none'
  )
  assert again.result['final_eval_loss_nats'] == best.values[0]


@pytest.mark.slow
@pytest.mark.parametrize(('method', 'tolerance'), [('vmap', 2e-5), ('map', 1e-6)])
def test_packs_on_four_devices_equal_the_loop(sweep, method, tolerance):
  loop = sweep()
  packed = sweep(execution=method, workdir=method)
  for trial, expected in zip(packed.trials, loop.trials, strict=True):
    assert trial.values[0] == pytest.approx(expected.values[0], rel=tolerance)


@pytest.mark.slow
def test_the_method_is_measured_once_and_stored(sweep, monkeypatch):
  result = sweep(execution='auto')
  stored = json.loads(pathlib.Path(result.workdir, 'autotune.json').read_text())
  (method,) = stored['methods'].values()
  # Several devices do not use the loop.
  assert method['method'] in ('vmap', 'map')
  assert method['member_step_seconds']
  # A second measurement would raise an error.
  monkeypatch.setattr('lmhp.sweeping.execution.autotuning.MethodMeasurement', None)
  assert len(sweep(execution='auto', trials=6).trials) == 6


# --- rungs ----------------------------------------------------------------------------


def test_halving_prunes_trials_and_counts_forks(sweep):
  result = sweep(
    trials=9,
    halving='successive',
    first_rung_fraction=1 / 9,
    n_calibration_trials=3,
    min_rank_correlation=None,
  )
  statuses = statuses_of(result)
  assert set(statuses) == {'complete', 'pruned'}
  assert statuses.count('pruned') >= 4
  assert statuses.count('complete') >= 3
  assert set(result.summary.rank_correlations) == {3, 8}
  for trial in result.trials:
    rungs = sorted(trial.scores)
    last_rung = rungs[-1]
    assert rungs == [3, 8, 24][: len(rungs)]
    cooldowns = [max(1, round(0.2 * rung)) for rung in rungs if rung < 24]
    assert trial.cost.steps == last_rung
    assert trial.cost.cooldown_steps == sum(cooldowns)
    assert trial.cost.tokens == (last_rung + sum(cooldowns)) * 3 * 8
    assert trial.values is not None
    assert (trial.status == 'complete') == (last_rung == 24)


def test_forks_do_not_change_the_trial(sweep):
  without = sweep(trials=3)
  forked = sweep(
    trials=3,
    halving='successive',
    first_rung_fraction=1 / 3,
    n_calibration_trials=3,
    min_rank_correlation=None,
    workdir='forked',
  )
  for trial, expected in zip(forked.trials, without.trials, strict=True):
    assert trial.values == expected.values
    assert trial.cost.tokens > expected.cost.tokens


@pytest.mark.parametrize(
  ('config', 'fields', 'has_forks'),
  [
    ({}, {}, True),
    ({'schedule.name': 'constant'}, {}, False),
    ({}, {'rung_score': 'prefix'}, False),
  ],
)
def test_a_rung_scores_a_fork_unless_a_prefix_is_requested_or_the_rate_is_constant(
  sweep, config, fields, has_forks
):
  result = sweep(
    LEARNING_RATE,
    config,
    trials=3,
    halving='successive',
    first_rung_fraction=1 / 3,
    min_rank_correlation=None,
    **fields,
  )
  cooldown_steps = {trial.cost.cooldown_steps for trial in result.trials}
  assert (cooldown_steps != {0}) == has_forks


def test_the_value_of_a_point_is_the_mean_over_its_seeds(sweep):
  result = sweep(trials=2, seeds_per_point=3)
  points_and_seeds = [(trial.point, trial.seed) for trial in result.trials]
  assert points_and_seeds == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
  values = np.array([trial.values[0] for trial in result.trials]).reshape(2, 3)
  best = values.mean(axis=1).min()
  assert result.summary.best_value == pytest.approx(best, abs=1e-12)
  assert result.summary.seed_noise > 0


def test_a_diverged_trial_is_a_result(sweep):
  space = {'optimizer.learning_rate': Choice(1e-2, 1e9), 'optimizer.name': 'sgd'}
  result = sweep(space, {'optimizer.clip_norm': math.inf}, search='grid')
  complete, diverged = result.trials
  assert complete.status == 'complete'
  assert diverged.status == 'diverged'
  # The text of the tests has at least 9 different characters.
  assert 2 * math.log(9) < diverged.values[0] < math.inf
  assert diverged.cost.steps == diverged.diverged_at < 24
  assert result.summary.trials_by_status == {
    'complete': 1,
    'pruned': 0,
    'diverged': 1,
    'failed': 0,
  }


# --- stopped and extended studies -----------------------------------------------------


@pytest.mark.parametrize('n_packs', [1, 3, 6])
def test_a_study_that_was_killed_ends_as_an_uninterrupted_one(
  sweep, monkeypatch, n_packs
):
  fields = {
    'trials': 5,
    'halving': 'successive',
    'first_rung_fraction': 1 / 9,
    'max_pack_width': 2,
    'n_calibration_trials': 3,
    'min_rank_correlation': None,
  }
  expected = sweep(workdir='uninterrupted', **fields)
  packs = []
  run = pack_run.PackRun.run

  def run_few_packs(self, again=False):
    packs.append(self.pack.name)
    if len(packs) > n_packs:
      raise KeyboardInterrupt
    return run(self, again)

  with monkeypatch.context() as patch:
    patch.setattr(pack_run.PackRun, 'run', run_few_packs)
    with pytest.raises(KeyboardInterrupt):
      sweep(**fields)
  assert lines_of(sweep(**fields)) == lines_of(expected)


def test_a_finished_study_that_is_run_again_trains_nothing(sweep, monkeypatch):
  first = sweep(confirm_points=1, confirm_seeds=2)
  lines = lines_of(first)
  monkeypatch.setattr(pack_run.PackRun, '_train', None)
  again = sweep(confirm_points=1, confirm_seeds=2)
  assert lines_of(again) == lines
  assert again.summary.best_trial == first.summary.best_trial


def test_a_study_is_extended_by_trials_seeds_and_parameters(sweep):
  first = lines_of(sweep(trials=3))
  more_trials = sweep(trials=5)
  lines = lines_of(more_trials)
  assert lines[:3] == first
  assert len(lines) == 5
  # The points are those of a study that had five trials from the beginning.
  at_once = sweep(trials=5, workdir='at_once')
  expected = [trial.parameters for trial in at_once.trials]
  assert [trial.parameters for trial in more_trials.trials] == expected

  more_seeds = sweep(trials=5, seeds_per_point=2)
  assert lines_of(more_seeds)[:5] == lines
  assert sorted(trial.point for trial in more_seeds.trials[5:]) == [0, 1, 2, 3, 4]
  assert {trial.seed for trial in more_seeds.trials[5:]} == {1}

  lines = lines_of(more_seeds)
  wider = {**SPACE, 'optimizer.b2': Float(0.9, 0.99)}
  more_parameters = sweep(wider, trials=7, seeds_per_point=2)
  assert lines_of(more_parameters)[:10] == lines
  assert 'optimizer.b2' in more_parameters.trials[10].parameters


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    (
      {'objective': 'eval_accuracy'},
      r"^sweep.objective: got \['eval_accuracy'\]",
    ),
    (
      {'config': {'train.batch_size': 4}},
      '^train.batch_size: got 4, expected 3',
    ),
  ],
)
def test_trials_that_are_not_comparable_are_refused(sweep, fields, message):
  sweep(trials=2)
  with pytest.raises(ConfigError, match=message):
    sweep(trials=2, **fields)


# --- confirmation ---------------------------------------------------------------------


def test_the_best_points_are_confirmed_on_new_seeds(sweep):
  result = sweep(confirm_points=2, confirm_seeds=3)
  best, second, base = result.confirmed
  assert base.point is None
  assert base.difference == 0
  assert best.point != second.point

  confirming = [t for t in result.trials if t.cohort.startswith('confirm')]
  searched_seeds = {t.seed for t in result.trials if t not in confirming}
  assert len(confirming) == 9
  assert {t.seed for t in confirming}.isdisjoint(searched_seeds)
  for trial in confirming:
    seeds = {trial.overrides['data.seed'], trial.overrides['train.seed'], trial.seed}
    assert len(seeds) == 1
  # Each seed changes the run.
  assert len({t.values[0] for t in confirming}) == 9

  values = [t.values[0] for t in confirming if t.point == best.point]
  base_values = [t.values[0] for t in confirming if t.point == -1]
  difference = np.mean(np.subtract(values, base_values))
  assert best.difference == pytest.approx(difference, abs=1e-12)
  low, high = best.difference_interval
  assert low < best.difference < high


# --- search methods -------------------------------------------------------------------


def test_the_automatic_search_is_first_quasi_random_and_then_bayesian(sweep):
  fields = {'search': 'auto', 'trials': 7, 'ask_batch_size': 2}
  result = sweep(**fields)
  cohorts = [trial.cohort for trial in result.trials]
  assert cohorts == ['search-0'] * 4 + ['search-1'] * 2 + ['search-2']
  assert lines_of(sweep(workdir='again', **fields)) == lines_of(result)


def test_hyperband_runs_in_batches(sweep):
  result = sweep(
    search='auto',
    trials=8,
    ask_batch_size=4,
    halving='hyperband',
    first_rung_fraction=1 / 9,
    n_calibration_trials=3,
    min_rank_correlation=None,
  )
  assert len(result.trials) == 8
  assert set(statuses_of(result)) <= {'complete', 'pruned'}


def test_two_objectives_have_a_pareto_front(sweep):
  space = {
    'model.n_layers': Choice(1, 2),
    'optimizer.learning_rate': Choice(1e-3, 3e-2),
  }
  result = sweep(
    space,
    search='grid',
    objective=('eval_loss_nats', 'parameters'),
    match_budget='steps',
  )
  assert all(t.values[1] == t.model.n_parameters for t in result.trials)
  front = [result.trials[number] for number in result.summary.pareto_front]
  assert front
  for trial in front:
    loss, parameters = trial.values
    for other in result.trials:
      is_no_worse = other.values[0] <= loss and other.values[1] <= parameters
      assert not is_no_worse or other.values == trial.values


def test_a_maximized_objective_has_the_largest_value(sweep):
  result = sweep(objective='eval_accuracy', maximize='eval_accuracy', trials=3)
  values = [trial.values[0] for trial in result.trials]
  assert result.summary.best_value == max(values)


def test_population_based_training_copies_members_and_changes_their_values(sweep):
  space = {'optimizer.learning_rate': Float(1e-5, 1e-1, log=True)}
  fields = {'search': 'pbt', 'population_size': 5, 'pbt_interval_fraction': 0.25}
  result = sweep(space, **fields)
  assert statuses_of(result) == ['complete'] * 5
  n_copies = 0
  for trial in result.trials:
    assert [part.until_step for part in trial.lineage] == [6, 12, 18, 24]
    parents = [part.parent for part in trial.lineage]
    assert set(parents) <= set(range(5))
    rates = {part.values['optimizer.learning_rate'] for part in trial.lineage}
    copies = [parent for parent in parents if parent != trial.number]
    n_copies += len(copies)
    if not copies:
      # A member that is never replaced keeps its values.
      assert len(rates) == 1
  assert n_copies > 0
  assert lines_of(sweep(space, workdir='again', **fields)) == lines_of(result)


def test_population_based_training_varies_only_traced_numbers(sweep):
  with pytest.raises(ConfigError, match='^model.n_layers: got '):
    sweep(
      {'model.n_layers': Int(1, 2)},
      search='pbt',
      population_size=5,
      match_budget='steps',
    )


# --- budgets --------------------------------------------------------------------------


@pytest.mark.parametrize('budget', ['tokens', 'flops'])
def test_a_budget_gives_the_number_of_trials(sweep, budget):
  def spent(result):
    return sum(getattr(trial.cost, budget) for trial in result.trials)

  one = spent(sweep(trials=1, workdir='one'))
  result = sweep(trials=None, **{budget: 3.5 * one})
  assert len(result.trials) == 3
  assert spent(result) <= 3.5 * one
  with pytest.raises(ConfigError, match='^sweep: got a budget of '):
    sweep(trials=None, workdir='none', **{budget: 0.5 * one})


@pytest.mark.slow
def test_a_budget_of_seconds_is_measured_once(sweep):
  fields = {'trials': None, 'seconds': 0.05, 'execution': 'auto', 'max_pack_width': 4}
  first = sweep(**fields)
  assert len(first.trials) >= 1
  assert len(sweep(**fields).trials) == len(first.trials)


def test_halving_spends_no_more_than_a_budget_of_tokens(sweep):
  result = sweep(
    trials=None,
    tokens=6 * TOKENS_PER_TRIAL,
    halving='successive',
    first_rung_fraction=1 / 9,
    n_calibration_trials=3,
    min_rank_correlation=None,
  )
  assert len(result.trials) > 6
  assert sum(trial.cost.tokens for trial in result.trials) <= 6 * TOKENS_PER_TRIAL


# --- refused sweeps -------------------------------------------------------------------


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    (
      {'space': {'optimizer.lr': Float(1e-3, 1)}},
      "^optimizer.lr: no such key; did you mean 'optimizer.learning_rate'",
    ),
    (
      {'space': {'optimizer.learning_rate': Float(1, 1e-3)}},
      '^optimizer.learning_rate: got Float',
    ),
    (
      {'space': {'train.batch_size': Choice(2, 4)}},
      '^sweep.match_budget: got None, expected .*train.batch_size=2 ',
    ),
    (
      {'space': {'model.d_model': Choice(12, 24)}},
      '^sweep.match_budget: got None, expected .*model.d_model=24 ',
    ),
    (
      {'space': {'train.steps': Choice(5, 9)}, 'match_budget': 'tokens'},
      '^sweep.match_budget: got .tokens.*train.steps',
    ),
    (
      {'space': {'data.tokenizer': Choice('byte', 'char')}, 'match_budget': 'steps'},
      "^sweep.objective: got 'eval_loss_nats', expected 'eval_bits_per_byte'.*"
      'data.tokenizer',
    ),
    (
      {'objective': 'eval_los'},
      "^sweep.objective: got .'eval_los',., expected .* eval_loss_nats",
    ),
    ({'trials': None}, '^sweep.trials: got None, expected '),
    ({'tokens': 5}, '^sweep.tokens: got 5.0, expected None'),
    (
      {'halving': 'successive', 'n_calibration_trials': 2},
      '^sweep.n_calibration_trials: got 2, expected at least 5',
    ),
    ({'search': 'bogus'}, '^sweep.search: got .bogus., expected one of auto, grid'),
  ],
)
def test_a_wrong_sweep_is_one_line_before_anything_is_trained(
  sweep, monkeypatch, fields, message
):
  monkeypatch.setattr(pack_run.PackRun, '_train', None)
  with pytest.raises(ConfigError, match=message) as error:
    sweep(**fields)
  assert '\n' not in str(error.value)


# --- spaces ---------------------------------------------------------------------------


@pytest.mark.slow
def test_the_length_can_be_varied(sweep):
  result = sweep({'train.steps': Choice(6, 12)}, search='grid', match_budget='none')
  assert [trial.cost.steps for trial in result.trials] == [6, 12]


def test_each_optimizer_has_only_its_parameters(sweep):
  space = {
    'optimizer.name': Choice('adamw', 'momentum'),
    'optimizer.b2': When('optimizer.name', 'adamw', Float(0.9, 0.99)),
    'optimizer.momentum': When('optimizer.name', 'momentum', Float(0.5, 0.99)),
  }
  result = sweep(space, trials=6)
  for trial in result.trials:
    is_adamw = trial.overrides['optimizer.name'] == 'adamw'
    assert ('optimizer.b2' in trial.overrides) == is_adamw
    assert ('optimizer.momentum' in trial.overrides) != is_adamw
  assert len({trial.model.structure for trial in result.trials}) == 2


@pytest.mark.slow
def test_a_dry_run_writes_nothing(small, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  config = lmhp.SweepConfig(
    space={**SPACE, 'model.n_layers': Choice(1, 2)},
    search='grid',
    grid_levels=3,
    match_budget='flops',
  )
  plan = lmhp.plan_sweep(small(), config)
  assert plan.search.trials == 12
  assert len(plan.structures) == 2
  assert plan.search.tokens > 0
  assert plan.search.hours > 0
  assert not list(tmp_path.glob('**/*.jsonl'))


def test_the_next_pack_is_compiled_while_one_trains(sweep, monkeypatch):
  compiled_ahead = []
  compile_ahead = pack_run.PackRun.compile_ahead

  def noted_compile_ahead(self):
    compiled_ahead.append(self.pack.name)
    compile_ahead(self)

  monkeypatch.setattr(pack_run.PackRun, 'compile_ahead', noted_compile_ahead)
  sweep({'model.n_layers': Choice(1, 2, 3)}, search='grid', match_budget='steps')
  assert len(compiled_ahead) == 2


def test_trials_of_another_program_are_left_out_and_counted(tmp_path, capsys):
  def step(state, h, i):
    return state, {'loss': h['rate']}

  task = lmhp.FunctionTask(lambda h: h['rate'], step, {'rate': 0.1, 'seed': 0}, steps=2)
  sweep = functools.partial(
    lmhp.sweep, task, workdir=tmp_path / 'study', display='plain', report=False
  )
  config = lmhp.SweepConfig(
    space={'rate': lmhp.Float(0.1, 1.0)}, objective='loss', trials=3, confirm_points=0
  )
  first = sweep(config)
  capsys.readouterr()
  # One trial is enqueued, one is added with a result, and one is asked for.
  backend = optuna.storages.journal.JournalFileBackend(
    str(tmp_path / 'study' / 'study.journal')
  )
  study = optuna.load_study(
    study_name='study', storage=optuna.storages.JournalStorage(backend)
  )
  study.enqueue_trial({'rate': 0.2})
  distribution = optuna.distributions.FloatDistribution(0.1, 1.0)
  study.add_trial(
    optuna.create_trial(
      params={'rate': 0.15}, distributions={'rate': distribution}, value=0.0
    )
  )
  study.ask()
  again = sweep(dataclasses.replace(config, trials=4))
  assert again.trials[:3] == first.trials
  assert len(again.trials) == 4
  assert '2 trials of another program' in capsys.readouterr().out
