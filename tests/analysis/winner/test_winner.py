"""Tests of the interval of the winner: simulated selection, scipy, and limits."""

import numpy as np
import pytest
from scipy import stats

from lmhp.analysis.winner.contenders import contender_weights
from lmhp.analysis.winner.winner import expected_loss_of_best
from lmhp.errors import ConfigError

# --- coverage -----------------------------------------------------------------------


def coverage(true, sd, n_seeds, shared=0.0, studies=600, seed=0):
  """Returns the fraction of studies whose 90% interval holds the winner's true loss.

  Args:
    true: (P,) true losses.
    sd: (P,) or one number, standard deviation between seeds.
    n_seeds: Seeds per point.
    shared: Fraction of the variance that all points of a seed share.
  """
  rng = np.random.default_rng(seed)
  points, seeds = np.indices((len(true), n_seeds)).reshape(2, -1)
  own_sd = np.broadcast_to(sd, len(true))[:, None]
  held = []
  for _ in range(studies):
    own = rng.standard_normal((len(true), n_seeds))
    common = rng.standard_normal((1, n_seeds))
    noise = np.sqrt(1 - shared) * own + np.sqrt(shared) * common
    losses = true[:, None] + own_sd * noise
    won = expected_loss_of_best(losses.ravel(), points, seeds=seeds)
    held.append(won.low <= true[won.point] <= won.high)
  return np.mean(held)


@pytest.mark.parametrize('shared', [0.0, 0.5, 0.9])
@pytest.mark.parametrize('n_points, n_seeds', [(2, 3), (16, 3), (32, 5)])
def test_near_ties_are_covered_and_not_by_far(n_points, n_seeds, shared):
  held = coverage(3 + np.zeros(n_points), 0.1, n_seeds, shared)
  assert 0.86 < held < 0.98


@pytest.mark.parametrize('n_points, n_seeds', [(2, 3), (16, 5), (32, 4)])
def test_settings_far_apart_have_students_interval(n_points, n_seeds):
  true = 3 + np.arange(n_points) * 4 * 0.1 / np.sqrt(n_seeds)
  assert 0.86 < coverage(true, 0.1, n_seeds) < 0.94


def test_points_may_differ_in_their_noise():
  sd = np.exp(np.linspace(-2, 2, 12))
  assert 0.86 < coverage(3 + np.zeros(12), sd, 5) <= 1
  # A quiet winner beside noisy others has a short interval.
  rng = np.random.default_rng(0)
  quiet = 0.04 + 0.0002 * rng.standard_normal(5)
  noisy = 30 + 10 * rng.standard_normal((10, 5))
  losses = np.concatenate([quiet, noisy.ravel()])
  won = expected_loss_of_best(losses, np.repeat(np.arange(11), 5))
  assert won.point == 0
  assert won.high - won.low < 0.002


def test_student_alone_would_not_hold_the_winners_loss():
  rng = np.random.default_rng(0)
  points = np.repeat(np.arange(20), 2)
  held = []
  for _ in range(300):
    true = 0.02 * rng.standard_normal(20) + 3
    losses = true[points] + 0.05 * rng.standard_normal(40)
    won = expected_loss_of_best(losses, points)
    half = stats.t.ppf(0.95, 20) * 0.05 / np.sqrt(2)
    held.append(abs(won.mean - true[won.point]) <= half)
  assert np.mean(held) < 0.75


# --- contenders ---------------------------------------------------------------------


@pytest.mark.parametrize('gap', [0.0, 1e-5, 1e-3, 1e-2])
def test_a_near_tie_keeps_the_estimate_near_the_winner(gap):
  won = expected_loss_of_best([1.0, 1.0 + gap, 1.05, 1.06, 1.07], noise_sd=0.01)
  assert 1.0 < won.expected < 1.01
  assert won.low < 1.0 < won.high < 1.03


def test_the_closer_the_others_the_longer_the_interval():
  weights = contender_weights(np.linspace(0, 8, 50))
  assert (np.diff(weights) <= 0).all()
  assert weights[0] == 1
  assert weights[-1] < 1e-4
  far, near = (
    expected_loss_of_best([3.0, 3.0 + gap, 3.0 + gap], noise_sd=0.1)
    for gap in (5.0, 0.01)
  )
  assert far.expected == pytest.approx(3.0, abs=1e-3)
  assert near.expected > far.expected
  assert near.high > far.high
  assert near.low == pytest.approx(far.low)


def test_more_contenders_cost_more():
  few, many = (expected_loss_of_best([3.0] * n, noise_sd=0.1).high for n in (2, 30))
  # The luckiest of 30 normal errors.
  expected = 3.0 - 0.1 * stats.norm.ppf(1 - 0.95 ** (1 / 30))
  assert many == pytest.approx(expected)
  assert few < many


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
  assert won.point == 1
  assert won.n_points == 2
  assert won.noise_sd == pytest.approx(np.sqrt((0.02 + 0.005) / 2), rel=0.5)


def test_one_point_was_not_chosen():
  won, expected = (
    expected_loss_of_best([3.0, 3.2, 3.3], [7, 7, 7]),
    stats.ttest_1samp([3.0, 3.2, 3.3], 0),
  )
  interval = expected.confidence_interval(0.9)
  assert (won.low, won.high) == pytest.approx(
    (interval.low, interval.high)
  ) and won.runner_up == np.inf


def test_ties_go_to_the_first():
  won = expected_loss_of_best([3.2, 3.1, 3.1], points=['a', 'b', 'c'], noise_sd=0.1)
  assert won.point == 'b'
  assert won.mean < won.expected <= won.high <= won.mean + 5 * 0.1


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
