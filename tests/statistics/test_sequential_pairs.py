"""Sequential comparison of pairs: looks, repeated intervals, futility and power."""

import numpy as np
import pytest
from scipy import stats

from lmhp.statistics.confirmation import SeedLoss, confirm_on_seeds
from lmhp.statistics.sequential_pairs import (
  critical_values,
  is_futile,
  looks,
  power,
  repeated_interval,
)


def by_seed(losses):
  return {seed: SeedLoss(float(loss)) for seed, loss in enumerate(losses)}


@pytest.mark.parametrize('max_pairs', [2, 3, 4, 5, 6, 8, 12, 20, 50])
def test_looks_rise_to_the_largest_number(max_pairs):
  counts = looks(max_pairs)
  assert counts[-1] == max_pairs
  assert list(counts) == sorted(set(counts))
  assert len(counts) == 1 or counts[0] >= 3


@pytest.mark.parametrize('n_pairs', [2, 3])
def test_one_look_has_students_interval(n_pairs):
  differences = [0.3, 0.5, 0.1][:n_pairs]
  found = repeated_interval(differences, n_pairs)
  interval = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
  np.testing.assert_allclose(found[1:], [interval.low, interval.high], rtol=1e-9)


@pytest.mark.parametrize('max_pairs', [4, 8, 16])
def test_the_error_over_all_looks_is_5_percent(max_pairs):
  draws = np.random.default_rng(5).standard_normal((40_000, max_pairs))
  is_wrong = np.zeros(len(draws), bool)
  for n_pairs, critical in zip(looks(max_pairs), critical_values(max_pairs)):
    statistic = stats.ttest_1samp(draws[:, :n_pairs], 0, axis=1).statistic
    is_wrong |= np.abs(statistic) > critical
  assert np.mean(is_wrong) == pytest.approx(0.05, abs=0.004)


def test_each_look_has_a_wider_interval_than_student():
  differences = np.random.default_rng(0).standard_normal(8)
  for n_pairs in looks(8):
    seen = differences[:n_pairs]
    found = repeated_interval(seen, 8)
    student = stats.ttest_1samp(seen, 0).confidence_interval(0.95)
    assert found.high - found.low > student.high - student.low


def test_the_power_grows_with_pairs_and_difference():
  assert power(8, 0.0) == pytest.approx(0.05, abs=0.005)
  assert power(8, 1.0) < power(8, 2.0) < power(16, 2.0)
  assert power(8, 4.0) > 0.99


def test_futility_needs_a_difference_near_zero():
  assert is_futile([0.01, -0.01, 0.012, -0.012], 8)
  assert not is_futile([0.01, 0.02, 0.012, 0.03], 8)
  # At the last look there is nothing left to decide.
  assert not is_futile([0.01, -0.01, 0.012, -0.012], 4)


def test_equal_losses_are_no_difference():
  found = confirm_on_seeds(by_seed([3.0] * 4), by_seed([3.0] * 4), 8)
  assert (found.low, found.high) == (0, 0)
  assert found.verdict == 'no significant difference'
  assert found.is_decided


def test_a_comparison_stops_at_a_large_difference_and_at_none():
  noise = np.array([0.01, -0.01, 0.012, -0.012])
  large = confirm_on_seeds(by_seed(2.0 + noise), by_seed(3.0 - noise), 8)
  assert (large.verdict, large.is_decided) == ('better', True)
  none = confirm_on_seeds(by_seed(3.0 + noise), by_seed([3.0] * 4), 8)
  assert (none.verdict, none.is_decided) == ('no significant difference', True)
  open_one = confirm_on_seeds(by_seed(2.99 + noise), by_seed([3.0] * 4), 8)
  assert (open_one.verdict, open_one.is_decided) == ('no significant difference', False)
