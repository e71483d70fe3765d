"""Analysis of variance of points by seeds: against sums written out, a known law, and its edges."""

import numpy as np
import pytest

from lmhp.analysis.winner.winner import expected_loss_of_best
from lmhp.statistics.seed_noise import rows_of, seed_noise


def flat(table):
  points, seeds = np.indices(table.shape).reshape(2, -1)
  return table.ravel(), points, seeds


def test_the_mean_squares_are_those_of_the_two_way_table():
  table = np.random.default_rng(0).standard_normal((5, 4)) + np.random.default_rng(
    1
  ).standard_normal((1, 4))
  effects = table.mean(axis=0) - table.mean()
  rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
  between, residual = 5 * np.sum(effects**2) / 3, np.sum(rest**2) / (4 * 3)
  found = seed_noise(*flat(table))
  square = (between + 4 * residual) / 5
  assert found.noise**2 == pytest.approx(square) and square == pytest.approx(
    table.var(axis=1, ddof=1).mean()
  )
  assert found.correlation == pytest.approx((between - residual) / 5 / square)
  # Satterthwaite: the square is a sum of two independent mean squares of 3 and 12 degrees of freedom
  assert found.freedom == pytest.approx(
    square**2 / ((between / 5) ** 2 / 3 + (4 * residual / 5) ** 2 / 12)
  )


@pytest.mark.parametrize('share', [0.0, 0.5, 0.9])
def test_a_known_share_is_found(share):
  rng = np.random.default_rng(0)
  table = np.sqrt(share) * rng.standard_normal((1, 4000)) + np.sqrt(
    1 - share
  ) * rng.standard_normal((6, 4000))
  found = seed_noise(*flat(table))
  assert found.correlation == pytest.approx(
    share, abs=0.03
  ) and found.noise == pytest.approx(1, abs=0.03)
  variance = (
    share**2 + (1 - share) ** 2 / 6 + 2 * share * (1 - share) / 6
  )  # of the mean of the 6 squares, over 2
  assert found.freedom / 3999 == pytest.approx(1 / variance, rel=0.06)


def test_seeds_that_are_everything_leave_one_less_than_their_number():
  found = seed_noise(
    *flat(np.array([[0.1, 0.3, 0.9]]) + np.array([[1.0], [2.0], [5.0], [9.0]]))
  )
  assert found.freedom == pytest.approx(2) and found.correlation == pytest.approx(
    1, abs=1e-5
  )


def test_without_seeds_in_common_it_is_the_pooled_noise():
  losses, points = (
    np.array([1.0, 1.3, 2.0, 2.2, 2.9, 4.0]),
    np.array([0, 0, 1, 1, 1, 2]),
  )
  pooled = np.sqrt((0.3**2 / 2 + 3 * np.var([2.0, 2.2, 2.9])) / 3)
  for seeds in (None, np.arange(6), np.zeros(6, int), np.array([0, 1, 0, 2, 3, 0])):
    found = seed_noise(losses, points, seeds)
    assert found.noise == pytest.approx(pooled) and (
      found.freedom,
      found.correlation,
    ) == (3, 0)
  assert np.isnan(seed_noise([1.0, 2.0], [0, 1], [0, 0]).noise)
  assert rows_of(['b', 'a', 'b'])['b'].tolist() == [0, 2]


def test_a_longer_point_is_looked_at_where_seeds_are_common():
  table = np.random.default_rng(2).standard_normal((3, 4)) + np.random.default_rng(
    3
  ).standard_normal((1, 4))
  losses, points, seeds = flat(table)
  more = seed_noise(np.append(losses, 0.5), np.append(points, 0), np.append(seeds, 9))
  same = seed_noise(losses, points, seeds)
  assert more.correlation == same.correlation and more.freedom == pytest.approx(
    same.freedom * 10 / 9
  )


def test_what_all_points_have_in_common_did_not_help_the_winner():
  rng, points, seeds = np.random.default_rng(4), *np.indices((6, 8)).reshape(2, -1)
  table = 3 + 0.01 * rng.standard_normal((6, 8)) + 0.2 * rng.standard_normal((1, 8))
  told, untold = (
    expected_loss_of_best(table.ravel(), points, seeds=known) for known in (seeds, None)
  )
  assert (
    told.point == untold.point and told.correlation > 0.98 and untold.correlation == 0
  )
  assert abs(told.curse) < 0.02 < untold.curse and 'common to all points' in told.reason
  np.testing.assert_allclose(told.noise, untold.noise)


def test_the_winners_lead_counts_over_what_the_two_have_in_common():
  # Both ran seeds 0 to 3, the runner-up four more: half of its mean moves with the winner's.
  from lmhp.analysis.winner.winner import hybrid_quantiles

  rng = np.random.default_rng(5)
  common = rng.standard_normal(8)
  first, second = (
    common[:4] + 0.3 * rng.standard_normal(4),
    2 + common + 0.3 * rng.standard_normal(8),
  )
  losses, points, seeds = (
    np.r_[first, second],
    np.repeat([0, 1], [4, 8]),
    np.r_[np.arange(4), np.arange(8)],
  )
  won = expected_loss_of_best(losses, points, seeds=seeds)
  error = won.noise / 2
  gap = (second.mean() - first.mean()) / (1 - won.correlation / 2) / error
  np.testing.assert_allclose(
    (won.low, won.expected, won.high),
    first.mean() - error * hybrid_quantiles(gap, won.freedom, 2),
  )
