"""Tests of effects: the level over noise, an F test, a permutation test, and refusals."""

import itertools
import time

import numpy as np
import pytest
from scipy import stats

from lmhp.analysis.hyperparameters.design import (
  clipped_losses,
  fit_near_best,
  normal_scores,
)
from lmhp.analysis.hyperparameters.effects import effect, effects
from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.table import Runs
from lmhp.errors import ConfigError


def table(values, losses, **columns):
  """Runs over axes in [0, 1], or of choices where the values are words."""
  values = {name: np.asarray(column) for name, column in values.items()}
  axes = {
    name: Axis(name, is_choice=True)
    if column.dtype == object
    else Axis(name, low=0.0, high=1.0)
    for name, column in values.items()
  }
  return Runs('a study', axes, values, np.asarray(losses, float), **columns)


def bowl(seed, n=40, size=1.0, noise=0.1, axes='ab'):
  rng = np.random.default_rng(seed)
  values = {name: rng.random(n) for name in axes}
  return table(
    values, 3 + size * (values['a'] - 0.3) ** 2 + noise * rng.standard_normal(n)
  )


@pytest.mark.parametrize('design', ['random', 'grid'])
def test_the_level_holds_with_heavy_tails_and_divergence(design):
  p = []
  for seed in range(300):
    rng = np.random.default_rng(seed)
    u = (
      rng.random((27, 3))
      if design == 'random'
      else np.array(list(itertools.product((0.1, 0.5, 0.9), repeat=3)))
    )
    losses = 5 + (u[:, 1] - 0.2) ** 2 * 20 + rng.standard_t(2, 27)
    diverged = u[:, 1] > 0.85
    losses[diverged] = 1000.0
    p.append(effect(table(dict(zip('abc', u.T)), losses), 'a').p_value)
  p = np.array(p)
  for level in (0.02, 0.05, 0.2):
    assert np.mean(p <= level) <= level + 3 * np.sqrt(level * (1 - level) / 300)
  assert np.mean(p <= 0.5) > 0.3  # and it is no constant 1


@pytest.mark.parametrize('effect_of_b', [0.0, 2.0])
def test_the_p_value_combines_f_tests_beside_the_axes_that_explain_losses(
  effect_of_b,
):
  for seed in range(3):
    runs = bowl(seed, n=60, size=0.25)
    a, b = runs.values['a'] - 0.5, runs.values['b'] - 0.5
    losses = runs.objective + effect_of_b * b**2
    median = np.median(losses)
    limit = 3 * stats.median_abs_deviation(losses, scale=1 / 1.4826)
    cut = np.clip(losses, median - limit, median + limit)

    def fit(columns, cut=cut):
      return np.linalg.lstsq(columns, cut, rcond=None)[1][0]

    def p_value(columns, rest):
      small, large = fit(rest), fit(np.column_stack([rest, *columns]))
      freedom = 60 - len(columns) - rest.shape[1]
      ratio = (small - large) / len(columns) / (large / freedom)
      return stats.f.sf(ratio, len(columns), freedom)

    rest = np.ones((60, 1))
    if p_value([b, b**2], rest) <= 0.1:
      rest = np.column_stack([rest, b, b**2])
    # Cauchy's combination of the tests of a line and of a valley.
    line_and_valley = np.array([p_value([a], rest), p_value([a, a**2], rest)])
    expected = stats.cauchy.sf(np.mean(stats.cauchy.isf(line_and_valley)))
    found = effect(table(runs.values, losses), 'a')
    assert found.p_value == pytest.approx(expected, rel=1e-6)


def test_the_p_value_is_about_that_of_all_permutations_of_a_small_study():
  rng = np.random.default_rng(3)
  x, losses = (
    np.array([0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
    rng.standard_normal(9),
  )
  cut = clipped_losses(losses)

  def gap(chosen):
    return abs(np.mean(cut[list(chosen)]) - np.mean(np.delete(cut, list(chosen))))

  every = [gap(chosen) for chosen in itertools.combinations(range(9), 4)]
  exact = np.mean(np.array(every) >= gap(range(4)) - 1e-12)
  assert effect(table({'x': x}, losses), 'x').p_value == pytest.approx(exact, abs=0.03)


@pytest.mark.parametrize('seed', range(5))
def test_what_a_planted_bowl_is_worth(seed):
  runs = bowl(seed, n=60, size=2.0)
  found = effect(runs, 'a')
  truth = 2.0 * np.median((np.linspace(0, 1, 1001) - 0.3) ** 2)
  assert found.significant(0.001) and abs(found.best_value - 0.3) < 0.12
  assert 0 < found.gain_low < truth * 1.2 and found.gain_high > truth * 0.8
  assert found.gain_low < found.gain < found.gain_high
  assert (
    not effect(runs, 'b').significant(0.001) and effect(runs, 'a') == found
  )  # repeats


def test_an_interval_holds_what_an_axis_is_worth():
  truth = 0.4 * np.median((np.linspace(0, 1, 1001) - 0.3) ** 2)
  held = [
    found.gain_low <= truth <= found.gain_high
    for found in (
      effect(bowl(seed, n=40, size=0.4, noise=0.03), 'a') for seed in range(200)
    )
  ]
  assert 0.84 < np.mean(held) < 0.97


def test_diverged_runs_do_not_rule():
  runs = bowl(1, n=60, size=2.0)
  bad = runs.values['b'] > 0.8
  status = np.where(bad, 'diverged', 'complete')
  worst = [
    effect(table(runs.values, np.where(bad, end, runs.objective), status=status), 'a')
    for end in (20.0, 1e9)
  ]
  assert worst[0].p_value == worst[1].p_value and worst[0].significant(0.01)
  assert worst[0].gain == pytest.approx(worst[1].gain, rel=0.01)


def test_a_choice_and_a_direction():
  rng = np.random.default_rng(0)
  name = np.array(['adam', 'lion', 'sgd'] * 12, object)
  losses = (
    3 + 0.5 * (name == 'sgd') + 0.1 * (name == 'adam') + 0.02 * rng.standard_normal(36)
  )
  found = effect(table({'optimizer': name}, losses), 'optimizer')
  assert found.best_value == 'lion' and found.significant(0.001)
  assert found.gain == pytest.approx(0.3, abs=0.05)  # the median of 0.1 and 0.5
  runs = table({'optimizer': name}, -losses)
  assert effect(runs, 'optimizer').best_value == 'sgd'
  assert (
    effect(Runs('s', runs.axes, runs.values, -losses, maximize=True), 'optimizer')
    == found
  )


def test_only_runs_that_have_the_axis_count():
  rng = np.random.default_rng(2)
  has = np.arange(40) % 2 == 0
  momentum = np.where(has, rng.random(40), np.nan)
  losses = np.where(has, (momentum - 0.5) ** 2, 5.0) + 0.01 * rng.standard_normal(40)
  found = effect(
    table({'momentum': momentum, 'other': rng.random(40)}, losses), 'momentum'
  )
  assert (
    found.n_points == 20
    and found.significant(0.01)
    and abs(found.best_value - 0.5) < 0.1
  )


def test_seeds_of_one_point_count_once():
  runs = bowl(0, n=20)
  rows = np.repeat(np.arange(20), 5)
  twin = table(
    {name: column[rows] for name, column in runs.values.items()},
    runs.objective[rows],
    point=rows,
  )
  found, once = effect(twin, 'a'), effect(runs, 'a')
  assert found.p_value == pytest.approx(once.p_value) and found.n_points == 20
  assert found.gain_high == pytest.approx(once.gain_high)


def test_refused():
  assert '6 points' in effect(bowl(0, n=6), 'a').reason and np.isnan(
    effect(bowl(0, n=6), 'a').p_value
  )
  runs = bowl(0, n=20)
  same = table({'a': runs.values['a'], 'b': np.full(20, 0.5)}, runs.objective)
  assert 'not varied' in effect(same, 'b').reason and not effect(same, 'b').significant(
    1.0
  )
  assert (
    'together'
    in effect(
      table({'a': runs.values['a'], 'b': runs.values['a']}, runs.objective), 'b'
    ).reason
  )
  assert 'equal' in effect(table(runs.values, np.full(20, 3.0)), 'a').reason
  assert (
    effect(table({'a': np.zeros(0)}, np.zeros(0)), 'a').reason
    and effects(table({'a': [0.5]}, [3.0])) == []
  )
  with pytest.raises(ConfigError, match="got 'c', expected one of"):
    effect(runs, 'c')
  with pytest.raises(ConfigError, match='confidence'):
    effect(runs, 'a', confidence=1.0)


def test_effects_are_adjusted_and_ordered():
  runs = bowl(4, n=64, size=3.0, axes='zyxwa')
  started = time.process_time()
  found = effects(runs)
  assert (time.process_time() - started) / 5 < 0.3
  assert found[0].axis == 'a' and len(found) == 5
  assert [one.p_value for one in found] == sorted(one.p_value for one in found)
  assert (
    found[0].p_holm == pytest.approx(5 * found[0].p_value) and found[0].significant()
  )
  assert all(one.p_holm >= one.p_value for one in found)


def test_more_axes_than_points_can_bear():
  rng = np.random.default_rng(0)
  values = {f'a{i}': rng.random(24) for i in range(15)}
  found = effect(
    table(values, 3 + (values['a0'] - 0.2) ** 2 + 0.01 * rng.standard_normal(24)), 'a0'
  )
  assert not found.reason and found.significant(0.01)


def test_normal_scores_are_quantiles_of_ranks():
  losses = np.array([3.0, 1.0, 3.0, 7.0, 1e9])
  expected = stats.norm.ppf(stats.rankdata(losses) / 6)
  assert normal_scores(losses) == pytest.approx(expected)


def test_outliers_are_cut_near_the_others():
  losses = np.array([3.0, 1.0, 2.0, 4.0, 1e9])
  assert clipped_losses(losses)[:4] == pytest.approx(losses[:4] - 3)
  assert clipped_losses(losses)[4] == pytest.approx(3 * 1.4826)
  # More than half of the losses are equal.
  assert np.ptp(clipped_losses(np.array([3.0, 3.0, 3.0, 9.0, 9.0]))) > 1


def test_the_fit_is_least_squares_where_all_is_near_and_knows_no_wall():
  x = np.linspace(-1, 1, 41)
  design = np.column_stack([np.ones(41), x, x**2])
  exact = design @ [3.0, 0.2, 1.0]
  assert fit_near_best(design, exact)[0] == pytest.approx([3.0, 0.2, 1.0], abs=1e-9)
  coefficients, weights = fit_near_best(design, exact + np.where(x > 0.9, 1e6, 0))
  assert (
    weights.mean() == pytest.approx(1)
    and abs(-coefficients[1] / 2 / coefficients[2] + 0.1) < 0.15
  )
