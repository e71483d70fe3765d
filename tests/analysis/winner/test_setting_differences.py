"""Differences between settings against the noise between seeds."""

import numpy as np
import pytest
from scipy import stats

from lmhp.analysis.runs.table import Runs
from lmhp.analysis.winner.setting_differences import setting_differences, worse_settings


def runs_of(table, own_seeds=False, **more):
  """Runs of a table (P, S) of losses. All settings have the same seeds, or each its own."""
  points, seeds = np.indices(table.shape).reshape(2, -1)
  seeds = np.arange(table.size) if own_seeds else seeds
  return Runs('s', {}, {}, table.ravel(), point=points, seed=seeds, **more)


def test_two_settings_with_seeds_of_their_own_have_welchs_test():
  rng = np.random.default_rng(0)
  table = np.array([[3.0], [3.2]]) + np.array([[0.05], [0.2]]) * rng.standard_normal(
    (2, 8)
  )
  (found,) = setting_differences(runs_of(table, own_seeds=True), 0)
  expected = stats.ttest_ind(table[1], table[0], equal_var=False)
  assert found.p_holm == pytest.approx(expected.pvalue)
  interval = expected.confidence_interval(0.9)
  assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_shared_seeds_are_paired():
  rng = np.random.default_rng(1)
  common = rng.standard_normal(10)
  table = 3 + common + np.array([[0.0], [0.2]]) + 0.02 * rng.standard_normal((2, 10))
  (found,) = setting_differences(runs_of(table), 0)
  assert found.p_holm == pytest.approx(stats.ttest_rel(table[1], table[0]).pvalue)
  assert found.is_significant


def test_no_difference_is_rarely_shown():
  shown = 0
  for seed in range(200):
    table = 3 + 0.1 * np.random.default_rng(seed).standard_normal((8, 4))
    winner = int(table.mean(1).argmin())
    shown += worse_settings(setting_differences(runs_of(table), winner)) > 0
  assert shown / 200 < 0.1


def test_without_seeds_nothing_is_said():
  assert setting_differences(Runs('s', {}, {}, np.array([3.0, 2.0])), 1) == []


def test_other_sizes_are_no_competitors():
  table = np.array([[3.0, 3.1], [2.0, 2.1], [3.5, 3.6]])
  sizes = {'parameters': np.repeat([1e6, 1e9, 1e6], 2)}
  runs = runs_of(table, measured=sizes, sizes=('parameters',))
  assert [found.point for found in setting_differences(runs, 0)] == [2]


def held_differences(n_settings, draws=150):
  """Returns the fraction of 90% intervals that hold 0, if all settings are equal."""
  held = []
  for seed in range(draws):
    table = 3 + 0.1 * np.random.default_rng(seed).standard_normal((n_settings, 4))
    winner = int(table.mean(1).argmin())
    found = setting_differences(runs_of(table), winner)
    held.append(np.mean([each.low <= 0 <= each.high for each in found]))
  return np.mean(held)


@pytest.mark.parametrize('n_settings', [2, 12])
def test_intervals_hold_in_spite_of_the_winners_luck(n_settings):
  assert 0.85 < held_differences(n_settings) < 0.98
