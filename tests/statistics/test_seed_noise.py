"""Noise between seeds, against sums written out, a known law, and groups of values."""

import numpy as np
import pytest
from scipy import stats

from lmhp.statistics.seed_noise import (
  pooled_standard_deviation,
  rows_by_point,
  seed_noise,
)


def flat(table):
  """Returns the losses, points and seeds of a table (P, n)."""
  points, seeds = np.indices(table.shape).reshape(2, -1)
  return table.ravel(), points, seeds


def random_table(n_points, n_seeds, shared, rng):
  """Returns normal noise (P, n) of variance 1, of which a part is shared by all points."""
  of_seeds = rng.standard_normal((1, n_seeds))
  of_runs = rng.standard_normal((n_points, n_seeds))
  return np.sqrt(shared) * of_seeds + np.sqrt(1 - shared) * of_runs


# --- analysis of variance -----------------------------------------------------------


def test_mean_squares_are_those_of_the_two_way_table():
  table = random_table(5, 4, 0.5, np.random.default_rng(0))
  effects = table.mean(axis=0) - table.mean()
  rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
  between = 5 * np.sum(effects**2) / 3
  residual = np.sum(rest**2) / (4 * 3)
  square = (between + 4 * residual) / 5

  estimate = seed_noise(*flat(table))
  assert square == pytest.approx(table.var(axis=1, ddof=1).mean())
  assert estimate.noise**2 == pytest.approx(square)
  assert estimate.correlation == pytest.approx((between - residual) / 5 / square)
  # Satterthwaite's rule for a sum of mean squares with 3 and 12 degrees of freedom.
  expected = square**2 / ((between / 5) ** 2 / 3 + (4 * residual / 5) ** 2 / 12)
  assert estimate.degrees_of_freedom == pytest.approx(expected)


@pytest.mark.parametrize('shared', [0.0, 0.5, 0.9])
def test_a_known_correlation_is_estimated(shared):
  table = random_table(6, 4000, shared, np.random.default_rng(0))
  estimate = seed_noise(*flat(table))
  assert estimate.correlation == pytest.approx(shared, abs=0.03)
  assert estimate.noise == pytest.approx(1, abs=0.03)
  # Half the variance of the mean of the 6 squares.
  variance = shared**2 + (1 - shared) ** 2 / 6 + 2 * shared * (1 - shared) / 6
  assert estimate.degrees_of_freedom / 3999 == pytest.approx(1 / variance, rel=0.06)


def test_noise_that_is_all_shared_has_one_degree_of_freedom_less_than_seeds():
  table = np.array([[0.1, 0.3, 0.9]]) + np.array([[1.0], [2.0], [5.0], [9.0]])
  estimate = seed_noise(*flat(table))
  assert estimate.degrees_of_freedom == pytest.approx(2)
  assert estimate.correlation == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
  'seeds', [None, np.arange(6), np.zeros(6, int), np.array([0, 1, 0, 2, 3, 0])]
)
def test_without_common_seeds_the_noise_is_pooled(seeds):
  losses = np.array([1.0, 1.3, 2.0, 2.2, 2.9, 4.0])
  points = np.array([0, 0, 1, 1, 1, 2])
  estimate = seed_noise(losses, points, seeds)
  pooled = np.sqrt((0.3**2 / 2 + 3 * np.var([2.0, 2.2, 2.9])) / 3)
  assert estimate.noise == pytest.approx(pooled)
  assert estimate.degrees_of_freedom == 3
  assert estimate.correlation == 0


def test_single_runs_have_no_noise():
  assert np.isnan(seed_noise([1.0, 2.0], [0, 1], [0, 0]).noise)


def test_correlation_is_that_of_the_common_seeds():
  losses, points, seeds = flat(random_table(3, 4, 0.5, np.random.default_rng(2)))
  common = seed_noise(losses, points, seeds)
  longer = seed_noise(np.append(losses, 0.5), np.append(points, 0), np.append(seeds, 9))
  assert longer.correlation == common.correlation
  expected = common.degrees_of_freedom * 10 / 9
  assert longer.degrees_of_freedom == pytest.approx(expected)


def test_rows_by_point_are_in_the_order_of_first_runs():
  rows = rows_by_point([7, 3, 7])
  assert list(rows) == [7, 3]
  assert rows[7].tolist() == [0, 2]


# --- pooled standard deviation ------------------------------------------------------


def test_pooled_standard_deviation_is_the_spread_within_groups():
  rng = np.random.default_rng(0)
  groups = []
  for _ in range(3000):
    center = 100 * rng.standard_normal()
    groups.append(center + 0.3 * rng.standard_normal(rng.integers(1, 6)))
  assert pooled_standard_deviation(groups) == pytest.approx(0.3, rel=0.02)


def test_its_square_is_the_mean_square_within_groups():
  rng = np.random.default_rng(0)
  groups = [rng.standard_normal(n) + n for n in (2, 3, 4, 5, 2)]
  # The F ratio is the mean square between groups over the mean square within.
  grand_mean = np.mean(np.concatenate(groups))
  between = sum(len(g) * (np.mean(g) - grand_mean) ** 2 for g in groups) / 4
  ratio = stats.f_oneway(*groups).statistic
  assert pooled_standard_deviation(groups) ** 2 == pytest.approx(between / ratio)


def test_values_that_are_not_finite_and_single_values_are_left_out():
  groups = [[1.0, 3.0, np.inf], [7.0], [], [np.nan, np.nan]]
  assert pooled_standard_deviation(groups) == pytest.approx(np.sqrt(2))
  assert pooled_standard_deviation([[2.0, 2.0]]) == 0.0


@pytest.mark.parametrize('groups', [[[1.0], [2.0, np.inf]], []])
def test_no_group_of_two_values_has_no_standard_deviation(groups):
  assert np.isnan(pooled_standard_deviation(groups))
