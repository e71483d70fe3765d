"""Variances of groups, moved towards the common one."""

import math

import numpy as np
import pytest

from lmhp.statistics.group_variances import moderated_variances


def test_small_variances_move_up_and_large_ones_stay():
  rng = np.random.default_rng(0)
  before = rng.standard_normal((50, 4)).var(1, ddof=1)
  found = moderated_variances(before, np.full(50, 3))
  is_small = (before > 0.05) & (before < 0.5)
  assert (found.variance[is_small] > before[is_small]).all()
  assert (found.variance >= before).all()
  assert found.variance[before > 2] == pytest.approx(before[before > 2])
  assert found.variance.mean() == pytest.approx(1, rel=0.25)
  assert np.mean(found.freedom > 5) > 0.9


def test_different_variances_stay_apart():
  sd = np.exp(np.linspace(-3, 3, 30))
  values = sd[:, None] * np.random.default_rng(0).standard_normal((30, 6))
  found = moderated_variances(values.var(1, ddof=1), np.full(30, 5))
  assert np.corrcoef(np.log(found.variance), 2 * np.log(sd))[0, 1] > 0.95
  assert (found.freedom < 8).all()


def test_two_groups_keep_their_own():
  found = moderated_variances([1.0, 9.0], [3, 4])
  assert found.variance.tolist() == [1.0, 9.0]
  assert found.freedom.tolist() == [3, 4]


def test_a_group_without_freedom_gets_the_common_variance():
  found = moderated_variances([1.0, 1.1, 0.9, 1.0, 0.0], [5, 5, 5, 5, 0])
  assert found.variance[-1] == pytest.approx(1.0, rel=0.05)


def test_nothing_is_known_without_replicates():
  found = moderated_variances([0.0, 0.0], [0, 0])
  assert math.isnan(found.common)
  assert np.isnan(found.variance).all()


def test_a_variance_that_does_not_belong_stays():
  found = moderated_variances([1e-6, 1.0, 1.1, 0.9, 1.0, 1.2], [4] * 6)
  assert found.variance[0] == 1e-6
  assert found.freedom[0] == 4
  assert found.freedom[1] > 4


def test_groups_that_show_nothing_get_the_pooled_variance():
  found = moderated_variances([2.0, 0.0, 0.0], [4, 3, 0])
  assert found.variance[0] == 2.0
  assert found.variance[1] == found.variance[2] > 0
  assert np.isfinite(found.variance).all()
