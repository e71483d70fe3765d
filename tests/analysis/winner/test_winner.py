"""Tests of the interval of the winner: simulated selection, scipy, and limits."""

import numpy as np
import pytest
from scipy import integrate, stats

from lmhp.analysis.winner.conditional_interval import (
  PROJECTION_SHARE,
  hybrid_pivot,
  hybrid_quantiles,
)
from lmhp.analysis.winner.winner import expected_loss_of_best
from lmhp.errors import ConfigError

# --- coverage -----------------------------------------------------------------------

RESPONSES = {
  'all equal': lambda rng, shape: np.zeros(shape),
  'one good': lambda rng, shape: (
    np.where(np.arange(shape[1]) == 0, 0.0, 3.0) + np.zeros(shape)
  ),
  'quadratic': lambda rng, shape: (
    2 * np.sum((rng.random((*shape, 3)) * 4 - 2) ** 2, axis=-1)
  ),
  'cliff': lambda rng, shape: np.where(
    rng.random(shape) < 0.4, rng.random(shape), 30.0
  ),
}


@pytest.mark.parametrize('response', RESPONSES)
@pytest.mark.parametrize('n_points, seeds', [(8, 1), (32, 2), (3, 2), (16, 5)])
def test_the_interval_holds_the_winners_true_loss(response, n_points, seeds):
  rng, studies = np.random.default_rng(n_points), 10_000
  true = RESPONSES[response](rng, (studies, n_points))
  losses = true[..., None] + rng.standard_normal((studies, n_points, seeds))
  means = losses.mean(axis=2)
  winner, ordered = means.argmin(axis=1), np.sort(means, axis=1)
  truth = true[np.arange(studies), winner]
  if seeds == 1:
    freedom, error = np.inf, np.ones(studies)
  else:
    freedom, error = (
      n_points * (seeds - 1),
      np.sqrt(losses.var(axis=2, ddof=1).mean(axis=1) / seeds),
    )
  first, median, last = hybrid_quantiles(
    (ordered[:, 1] - ordered[:, 0]) / error, freedom, n_points, 0.9
  )
  low, high = ordered[:, 0] - first * error, ordered[:, 0] - last * error
  held = np.mean((low <= truth) & (truth <= high))
  assert (
    0.9 - 0.01 < held < 0.9 / 0.99 + 0.01
  )  # Andrews et al., proposition: 0.9 to 0.9 / (1 - 0.01)
  assert (
    abs(np.mean(ordered[:, 0] - median * error > truth) - 0.5) < 0.025
  )  # and the estimate is median-unbiased


def test_through_the_front_door_it_holds_too_and_student_does_not():
  rng, held, naive = np.random.default_rng(0), [], []
  points = np.repeat(np.arange(20), 2)
  for _ in range(600):
    true = 0.02 * rng.standard_normal(20) + 3
    losses = true[points] + 0.05 * rng.standard_normal(40)
    won = expected_loss_of_best(losses, points)
    held.append(won.low <= true[won.point] <= won.high)
    half = stats.t.ppf(0.95, 20) * won.noise_sd / np.sqrt(2)
    naive.append(abs(won.mean - true[won.point]) <= half)
  assert 0.86 < np.mean(held) < 0.94 and np.mean(naive) < 0.7


def test_points_of_unequal_seeds_hold_the_truth():
  rng, held = np.random.default_rng(1), []
  points = np.repeat(np.arange(8), [1, 2, 3, 4, 1, 2, 3, 4])
  for _ in range(800):
    true = rng.standard_normal(8)
    won = expected_loss_of_best(true[points] + rng.standard_normal(20), points)
    assert won.freedom == 12 and won.n_seeds == np.sum(points == won.point)
    held.append(won.low <= true[won.point] <= won.high)
  assert 0.865 < np.mean(held) < 0.94


# --- the pivot ----------------------------------------------------------------------


def test_a_known_noise_gives_the_truncated_normal():
  error, gap = np.linspace(-3, 3, 13), 0.7
  expected = [stats.truncnorm.cdf(e, -3.5, min(e + gap, 3.5)) for e in error]
  np.testing.assert_allclose(
    hybrid_pivot(error, gap, np.inf, 3.5), expected, rtol=1e-10
  )


@pytest.mark.parametrize(
  'freedom, error, gap', [(1, -0.4, 0.3), (3, 0.8, 0.5), (8, -1.5, 2.0), (30, 1.0, 0.2)]
)
def test_an_estimated_noise_gives_the_share_of_the_sphere(freedom, error, gap):
  # The winner's error and the residuals lie on a sphere of dimension freedom + 1. Its first
  # coordinate u has the density
  # (1 - u^2)^(freedom / 2 - 1). The runner-up's place, and the outer bound, are two values of u.
  radius, bound = np.hypot(error, np.sqrt(freedom)), 6.0

  def u_of(t):
    return t / np.hypot(t, np.sqrt(freedom))

  def density(u):
    return (1 - u * u) ** (freedom / 2 - 1)

  top = min((error + gap) / radius, u_of(bound))
  part, whole = (
    integrate.quad(density, -u_of(bound), end)[0] for end in (error / radius, top)
  )
  assert hybrid_pivot(error, gap, freedom, bound) == pytest.approx(
    part / whole, rel=1e-6
  )


@pytest.mark.parametrize('freedom', [2, 2.5, 5, 40, np.inf])
@pytest.mark.parametrize('gap', [1e-6, 0.1, 1.0, 10.0, np.inf])
def test_the_pivot_rises_so_that_its_ends_make_one_interval(freedom, gap):
  shares = hybrid_pivot(np.linspace(-20, 20, 4001), gap, freedom, 20.0)
  assert np.all(np.diff(shares) >= -1e-12) and shares[0] == pytest.approx(0, abs=1e-9)
  assert shares[-1] == pytest.approx(1)


def test_a_clear_winner_needs_no_correction():
  first, median, last = hybrid_quantiles(np.inf, np.inf, 10)
  assert abs(median) < 1e-9 and first == pytest.approx(-last)
  assert (
    stats.norm.ppf(0.95) < first < 1.04 * stats.norm.ppf(0.95)
  )  # what the outer bound costs
  np.testing.assert_allclose(
    hybrid_quantiles(np.inf, 4, 1)[[0, 2]], stats.t.ppf([0.95, 0.05], 4)
  )


def test_the_closer_the_runner_up_the_worse_the_winner():
  gaps = np.geomspace(1e-3, 10, 30)
  for freedom in (3, np.inf):
    errors = hybrid_quantiles(gaps, freedom, 12)
    assert (
      np.all(np.diff(errors, axis=1) >= -1e-9)
      and np.all(errors[0] > errors[1])
      and np.all(errors[1] > errors[2])
    )


# --- fresh seeds --------------------------------------------------------------------


def test_three_fresh_seeds_stand_alone():
  confirm = [3.12, 3.05, 3.10]
  won = expected_loss_of_best([3.0, 3.2, 3.1], fresh_losses=confirm, noise_sd=9.0)
  expected = stats.ttest_1samp(confirm, 0).confidence_interval(0.9)
  assert (won.low, won.high) == pytest.approx((expected.low, expected.high))
  assert won.method == 'fresh_seeds'
  assert won.expected == pytest.approx(np.mean(confirm))


def test_one_or_two_fresh_seeds_take_the_noise_of_the_search():
  z = stats.norm.ppf(0.95)
  won = expected_loss_of_best([3.0, 3.2], noise_sd=0.1, fresh_losses=[3.1])
  assert (won.low, won.high) == pytest.approx((3.1 - 0.1 * z, 3.1 + 0.1 * z))
  search, confirm = [3.0, 3.04, 3.3, 3.4], [3.1, 3.16]
  pooled = np.sqrt((np.var(search[:2]) + np.var(search[2:]) + np.var(confirm)) * 2 / 3)
  won = expected_loss_of_best(search, [5, 5, 6, 6], fresh_losses=confirm)
  assert won.noise_sd == pytest.approx(pooled) and won.freedom == 3
  assert won.high - won.low == pytest.approx(
    2 * stats.t.ppf(0.95, 3) * pooled / np.sqrt(2)
  )
  own = stats.ttest_1samp(confirm, 0).confidence_interval(0.9)
  assert expected_loss_of_best([3.0, 3.2], fresh_losses=confirm).low == pytest.approx(
    own.low
  )  # nothing to borrow


@pytest.mark.parametrize(
  'confirm, words',
  [
    ([3.1], 'one fresh seed'),
    ([3.1, 3.1, 3.1], 'equal'),
    ([3.1, np.nan, 3.2], '1 of 3 fresh seeds diverged'),
  ],
)
def test_fresh_seeds_that_say_too_little(confirm, words):
  won = expected_loss_of_best([3.0, 3.2], fresh_losses=confirm)
  assert (
    np.isnan([won.low, won.high]).all() and won.method == 'none' and words in won.reason
  )


# --- edges --------------------------------------------------------------------------


def test_where_nobody_knows_the_noise_there_is_no_interval():
  won = expected_loss_of_best([3.3, 3.1, 3.2])
  assert (
    won.point == 1
    and won.mean == 3.1
    and won.method == 'none'
    and 'one seed per point' in won.reason
  )
  assert np.isnan([won.low, won.expected, won.high, won.noise_sd]).all()
  copies = expected_loss_of_best([3.3, 3.3, 3.1, 3.1, 3.1], [0, 0, 1, 1, 1])
  assert copies.method == 'none' and 'copies' in copies.reason


def test_a_point_with_a_diverged_seed_neither_wins_nor_counts():
  won = expected_loss_of_best(
    [1.0, np.nan, 3.0, 3.2, 3.4, 3.5, np.inf], [0, 0, 1, 1, 2, 2, 3]
  )
  assert won.point == 1 and won.n_points == 2 and won.freedom == 2
  assert won.noise_sd == pytest.approx(np.sqrt((0.02 + 0.005) / 2))


def test_one_point_was_not_chosen():
  won, expected = (
    expected_loss_of_best([3.0, 3.2, 3.3], [7, 7, 7]),
    stats.ttest_1samp([3.0, 3.2, 3.3], 0),
  )
  interval = expected.confidence_interval(0.9)
  assert (won.low, won.high) == pytest.approx(
    (interval.low, interval.high)
  ) and won.runner_up == np.inf


def test_ties_go_to_the_first_and_are_told():
  won = expected_loss_of_best([3.2, 3.1, 3.1], points=['a', 'b', 'c'], noise_sd=0.1)
  assert (
    won.point == 'b'
    and 'nearly tied' in won.reason
    and np.isfinite([won.low, won.high]).all()
  )
  assert won.mean < won.expected <= won.high <= won.mean + 5 * 0.1
  assert 'tied' not in expected_loss_of_best([3.2, 3.1, 3.15], noise_sd=0.1).reason


def test_units_and_zero_do_not_matter():
  losses, points = np.random.default_rng(0).random(24), np.repeat(np.arange(8), 3)
  a, b = (
    expected_loss_of_best(losses, points),
    expected_loss_of_best(7 * losses - 50, points),
  )
  np.testing.assert_allclose(
    [b.low, b.expected, b.high], 7 * np.array([a.low, a.expected, a.high]) - 50
  )


def test_fewer_degrees_of_freedom_and_more_confidence_widen_it():
  def length(**more):
    return np.ptp(
      [
        getattr(expected_loss_of_best([3.0, 3.1, 3.2], noise_sd=0.05, **more), end)
        for end in ('low', 'high')
      ]
    )

  assert (
    length(noise_freedom=2) > length(noise_freedom=5) > length()
    and length(confidence=0.99) > length()
  )
  assert length(noise_freedom=1e6) == pytest.approx(length(), rel=1e-4)


@pytest.mark.parametrize(
  'arguments, words',
  [
    ({'losses': []}, 'no point whose runs are all finite'),
    ({'losses': [np.nan]}, 'no point'),
    ({'losses': [1.0, 2.0], 'points': [1]}, 'of one length'),
    ({'losses': [1.0], 'noise_sd': 0.0}, 'noise_sd: got 0.0'),
    ({'losses': [1.0], 'noise_sd': np.nan}, 'noise_sd: got nan'),
    ({'losses': [1.0], 'confidence': 90}, 'confidence: got'),
    ({'losses': [1.0], 'noise_freedom': 0}, 'noise_freedom'),
  ],
)
def test_mistakes_are_named(arguments, words):
  with pytest.raises(ConfigError, match=words):
    expected_loss_of_best(**arguments)


def test_the_share_that_is_spent_is_a_tenth():
  # The factor 0.99 of the coverage test follows from it.
  assert PROJECTION_SHARE == 0.1


# --- seeds that several points share ------------------------------------------------


def test_noise_that_all_points_share_did_not_help_the_winner():
  rng = np.random.default_rng(4)
  points, seeds = np.indices((6, 8)).reshape(2, -1)
  table = 3 + 0.01 * rng.standard_normal((6, 8)) + 0.2 * rng.standard_normal((1, 8))
  with_seeds = expected_loss_of_best(table.ravel(), points, seeds=seeds)
  without_seeds = expected_loss_of_best(table.ravel(), points)
  assert with_seeds.point == without_seeds.point
  assert with_seeds.correlation > 0.98
  assert without_seeds.correlation == 0
  assert abs(with_seeds.expected - with_seeds.mean) < 0.02
  assert without_seeds.expected - without_seeds.mean > 0.02
  np.testing.assert_allclose(with_seeds.noise_sd, without_seeds.noise_sd)


def test_the_lead_of_the_winner_is_measured_against_the_noise_that_is_not_shared():
  # Both points ran seeds 0 to 3, and the second four more. Half of its mean moves with the
  # mean of the first.
  rng = np.random.default_rng(5)
  shared = rng.standard_normal(8)
  first = shared[:4] + 0.3 * rng.standard_normal(4)
  second = 2 + shared + 0.3 * rng.standard_normal(8)
  losses = np.r_[first, second]
  points = np.repeat([0, 1], [4, 8])
  seeds = np.r_[np.arange(4), np.arange(8)]
  won = expected_loss_of_best(losses, points, seeds=seeds)
  error = won.noise_sd / 2
  gap = (second.mean() - first.mean()) / (1 - won.correlation / 2) / error
  np.testing.assert_allclose(
    (won.low, won.expected, won.high),
    first.mean() - error * hybrid_quantiles(gap, won.freedom, 2),
  )
