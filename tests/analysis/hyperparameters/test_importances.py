"""Tests of importances: shares of Optuna itself, planted effects, noise, and refusals."""

import importlib.util
import time

import numpy as np
import optuna
import pytest

from lmhp.analysis.hyperparameters.importances import (
  CLIP_QUANTILE,
  MIN_POINTS,
  Replicates,
  importance,
)
from lmhp.analysis.hyperparameters.optuna_evaluators import (
  N_TREES,
  TARGET_QUANTILE,
  TREE_DEPTH,
)
from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.table import Runs
from lmhp.errors import ConfigError

SKLEARN = pytest.mark.skipif(
  importlib.util.find_spec('sklearn') is None, reason='needs scikit-learn'
)


def study(seed, n=40, axes=4, effect=0.0, **columns):
  """Runs of which axis_0 matters by a parabola whose deviation is `effect` times the noise."""
  rng = np.random.default_rng(seed)
  values = {f'axis_{i}': rng.uniform(size=n) for i in range(axes)}
  losses = rng.standard_normal(n) + effect * (values['axis_0'] - 0.4) ** 2 / 0.1012
  return Runs(
    'a study',
    {name: Axis(name, low=0, high=1) for name in values},
    values,
    losses,
    **columns,
  )


def quick(runs, method='ped_anova', **options):
  return importance(runs, method, replicates=Replicates(0, 0), **options)


def optunas(distributions, trials, losses, evaluator):
  """Shares that Optuna says of a study built with its own functions."""
  optuna.logging.set_verbosity(optuna.logging.ERROR)
  own = optuna.create_study()
  for params, loss in zip(trials, losses):
    own.add_trial(
      optuna.create_trial(
        params=params, value=loss, distributions={k: distributions[k] for k in params}
      )
    )
  result = evaluator.evaluate(own)
  total = sum(result.values())
  return {name: value / total for name, value in result.items()}


def oracle(runs, method):
  losses = np.minimum(runs.losses, np.quantile(runs.losses, CLIP_QUANTILE))
  scaled = {
    name: (column - column.min()) / np.ptp(column)
    for name, column in runs.values.items()
  }
  evaluator = (
    optuna.importance.PedAnovaImportanceEvaluator(target_quantile=TARGET_QUANTILE)
    if method == 'ped_anova'
    else optuna.importance.FanovaImportanceEvaluator(
      n_trees=N_TREES, max_depth=TREE_DEPTH, seed=0
    )
  )
  trials = [
    {name: float(column[i]) for name, column in scaled.items()}
    for i in range(len(runs))
  ]
  return optunas(
    {name: optuna.distributions.FloatDistribution(0, 1) for name in scaled},
    trials,
    losses,
    evaluator,
  )


@pytest.mark.parametrize('method', ['ped_anova', pytest.param('fanova', marks=SKLEARN)])
def test_shares_are_optunas(method):
  runs = study(0, effect=2)
  result, expected = quick(runs, method), oracle(runs, method)
  assert dict(zip(result.names, result.fraction)) == pytest.approx(expected, rel=1e-9)
  assert list(result.fraction) == sorted(
    result.fraction, reverse=True
  ) and result.fraction.sum() == pytest.approx(1)
  assert result.n_points == 40 and result.reason == '' and np.isnan(result.low).all()


def test_a_log_axis_is_read_in_logs_and_a_choice_as_a_choice():
  rng, n = np.random.default_rng(1), 50
  rates, words = (
    10 ** rng.uniform(-4, -1, n),
    np.array(rng.choice(['gelu', 'relu', 'silu'], n), object),
  )
  losses = (
    (np.log10(rates) + 2.5) ** 2 + (words == 'relu') + 0.1 * rng.standard_normal(n)
  )
  axes = {
    'lr': Axis('lr', low=1e-4, high=1e-1, log=True),
    'act': Axis('act', is_choice=True, choices=('gelu', 'relu', 'silu')),
  }
  result = quick(Runs('a study', axes, {'lr': rates, 'act': words}, losses))
  logs = (np.log(rates) - np.log(rates).min()) / np.ptp(np.log(rates))
  expected = optunas(
    {
      'lr': optuna.distributions.FloatDistribution(0, 1),
      'act': optuna.distributions.CategoricalDistribution(['gelu', 'relu', 'silu']),
    },
    [{'lr': float(x), 'act': str(w)} for x, w in zip(logs, words)],
    np.minimum(losses, np.quantile(losses, CLIP_QUANTILE)),
    optuna.importance.PedAnovaImportanceEvaluator(target_quantile=TARGET_QUANTILE),
  )
  assert dict(zip(result.names, result.fraction)) == pytest.approx(expected, rel=1e-9)


def test_a_grid_is_a_ladder_of_levels():
  rates = np.tile(10.0 ** np.arange(-5, 0), 8)
  decays = np.repeat([0.0, 0.1, 0.2, 0.3], 10)
  losses = (np.log10(rates) + 3) ** 2 + 0.01 * np.random.default_rng(0).standard_normal(
    40
  )
  axes = {'lr': Axis('lr', log=True), 'wd': Axis('wd')}
  result = importance(Runs('a grid', axes, {'lr': rates, 'wd': decays}, losses))
  assert (
    result.names == ('lr', 'wd')
    and result.significant == ('lr',)
    and result.fraction[0] > 0.9
  )


# --- what rules and what does not ---------------------------------------------------


def test_a_diverged_tail_does_not_rule():
  """The loss explodes along axis_1, at whatever height; among the others axis_0 alone matters."""
  heights = {}
  for height in (20.0, 1e6):
    runs = study(3, n=80, effect=4)
    bad = runs.values['axis_1'] > 0.85
    status = np.where(bad, 'diverged', 'complete')
    heights[height] = importance(
      Runs(
        'a study',
        runs.axes,
        runs.values,
        np.where(bad, height, runs.objective),
        status=status,
      ),
      replicates=Replicates(20, 39),
    )
  small, large = heights.values()
  assert small.names[0] == 'axis_0' and 'axis_0' in small.significant
  np.testing.assert_array_equal(small.fraction, large.fraction)
  assert small.clipped_at == large.clipped_at < 20 and small.n_clipped >= np.sum(bad)


def test_the_clip_is_of_complete_trials_and_in_the_objectives_own_sign():
  runs = study(0, n=40)
  turned = Runs('a study', runs.axes, runs.values, -runs.objective, maximize=True)
  one, two = quick(runs), quick(turned)
  assert (
    one.clipped_at
    == -two.clipped_at
    == pytest.approx(np.quantile(runs.objective, CLIP_QUANTILE))
  )
  assert one.n_clipped == two.n_clipped == 8 and one.names == two.names
  np.testing.assert_array_equal(one.fraction, two.fraction)


def test_fresh_seeds_failures_and_stopped_runs_are_left_out_and_seeds_are_averaged():
  runs = study(0, n=40, effect=2)

  def more(column):
    return np.concatenate([np.repeat(column, 2), column[:3]])

  losses = np.concatenate([np.repeat(runs.objective, 2), [-99.0, -99, -99]])
  status = np.array(['complete'] * 80 + ['complete', 'pruned', 'failed'])
  cohort = np.array(['search'] * 80 + ['confirm', 'search', 'search'])
  twice = Runs(
    'a study',
    runs.axes,
    {k: more(v) for k, v in runs.values.items()},
    losses,
    status=status,
    cohort=cohort,
    point=np.concatenate([np.repeat(np.arange(40), 2), [0, 41, 42]]),
  )
  one, two = quick(runs), quick(twice)
  assert two.n_points == 40 and one.names == two.names
  np.testing.assert_allclose(
    one.fraction, two.fraction, rtol=0.2
  )  # the clip interpolates between other neighbours


@pytest.mark.slow
def test_a_planted_axis_is_found():
  result = [
    importance(study(seed, n=60, effect=4), replicates=Replicates(0, 19))
    for seed in range(30)
  ]
  assert sum(f.names[0] == 'axis_0' and 'axis_0' in f.significant for f in result) >= 28
  few = [quick(study(seed, n=MIN_POINTS, effect=4)).names[0] for seed in range(60)]
  assert few.count('axis_0') >= 55


@pytest.mark.slow
def test_noise_is_called_noise():
  result = [
    importance(study(seed, n=MIN_POINTS), replicates=Replicates(0, 19))
    for seed in range(40)
  ]
  assert sum(bool(f.significant) for f in result) <= 7  # 99.7% of binomial(40, 0.05)


def test_intervals_hold_the_share_and_repeat():
  runs = study(0, n=60, effect=2)
  one, two = (importance(runs, replicates=Replicates(30, 9)) for _ in range(2))
  other = importance(runs, replicates=Replicates(30, 9), seed=1)
  assert ((0 <= one.low) & (one.low <= one.high) & (one.high <= 1)).all()
  np.testing.assert_array_equal(one.low, two.low)
  assert (one.low != other.low).any() and (one.fraction == other.fraction).all()
  assert one.low[0] <= one.fraction[0] <= one.high[0]


def test_p_values_are_counts_of_permutations():
  result = importance(study(2), replicates=Replicates(0, 9))
  np.testing.assert_allclose(result.p_value * 10, np.round(result.p_value * 10))
  assert (result.p_value >= 0.1).all() and (np.diff(result.p_value) >= 0).all()


# --- conditional axes ---------------------------------------------------------------


def conditional(seed=0, n=60):
  """Momentum matters, and only sgd has it."""
  rng = np.random.default_rng(seed)
  words = np.array(rng.choice(['sgd', 'adam'], n), object)
  momentum = np.where(words == 'sgd', rng.uniform(size=n), np.nan)
  losses = 4 * (
    np.nan_to_num(momentum, nan=0.5) - 0.8
  ) ** 2 + 0.05 * rng.standard_normal(n)
  axes = {
    'name': Axis('name', is_choice=True, choices=('sgd', 'adam')),
    'momentum': Axis('momentum', low=0, high=1),
    'useless': Axis('useless', low=0, high=1),
  }
  return Runs(
    'a study',
    axes,
    {'name': words, 'momentum': momentum, 'useless': rng.uniform(size=n)},
    losses,
  )


def test_ped_anova_reads_an_axis_that_not_all_have():
  result = importance(conditional(), replicates=Replicates(10, 39))
  assert (
    set(result.names) == {'name', 'momentum', 'useless'}
    and np.isfinite(result.fraction).all()
  )
  assert (
    'momentum' in result.significant
    and 'useless' not in result.significant
    and result.notes == ()
  )


@SKLEARN
def test_fanova_says_what_it_leaves_out():
  result = importance(conditional(), 'fanova', replicates=Replicates(2, 2))
  assert (
    result.names[-1] == 'momentum'
    and np.isnan([result.fraction[-1], result.p_value[-1]]).all()
  )
  assert 'momentum' in result.notes[0] and np.nansum(result.fraction) == pytest.approx(
    1
  )


@SKLEARN
def test_fanova_finds_what_matters_and_calls_noise_noise():
  planted = importance(study(0, n=60, effect=4), 'fanova')
  assert planted.names[0] == 'axis_0' and planted.significant == ('axis_0',)
  assert importance(study(1, n=60), 'fanova').significant == ()


# --- refusals -----------------------------------------------------------------------


@pytest.mark.parametrize(
  'runs, reason',
  [
    (
      study(0, n=MIN_POINTS - 1, effect=9),
      f'{MIN_POINTS - 1} points',
    ),
    (
      Runs('fixed', {'lr': Axis('lr')}, {'lr': np.ones(40)}, np.arange(40.0)),
      'no hyperparameter was varied',
    ),
    (
      Runs('flat', {'lr': Axis('lr')}, {'lr': np.arange(40.0)}, np.ones(40)),
      'all points have the same objective',
    ),
    (
      Runs(
        'all diverged',
        {'lr': Axis('lr')},
        {'lr': np.arange(40.0)},
        np.ones(40),
        status=np.full(40, 'diverged'),
      ),
      '0 of 40 points',
    ),
    (
      Runs(
        'nearly all',
        {'lr': Axis('lr')},
        {'lr': np.arange(40.0)},
        np.arange(40.0),
        status=np.array(['complete'] * 9 + ['diverged'] * 31),
      ),
      '7 of 40 points',
    ),
    (
      Runs('nothing', {'lr': Axis('lr')}, {'lr': np.zeros(0)}, np.zeros(0)),
      'no hyperparameter was varied',
    ),
  ],
)
def test_what_cannot_be_said_is_refused(runs, reason):
  result = importance(runs)
  assert result.reason and reason in result.reason
  assert (
    result.significant == ()
    and np.isnan(result.fraction).all()
    and len(result.names) == len(result.fraction)
  )


def test_seeds_do_not_count_as_points():
  points = np.repeat(np.arange(20), 3)
  runs = study(0, n=20, effect=9)
  result = importance(
    Runs(
      'a study',
      runs.axes,
      {k: v[points] for k, v in runs.values.items()},
      runs.objective[points],
      point=points,
    )
  )
  assert result.n_points == 20 and result.reason


def test_an_unknown_method_and_a_missing_forest(monkeypatch):
  with pytest.raises(ConfigError, match='expected one of ped_anova, fanova'):
    importance(study(0), 'shap')
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(ConfigError, match='scikit-learn'):
    importance(study(0), 'fanova')


def test_optuna_is_left_as_talkative_as_it_was():
  optuna.logging.set_verbosity(optuna.logging.WARNING)
  importance(study(0), replicates=Replicates(1, 1))
  assert optuna.logging.get_verbosity() == optuna.logging.WARNING


def test_sixty_four_points_take_seconds():
  started = time.process_time()
  importance(study(0, n=64))
  assert time.process_time() - started < 3
