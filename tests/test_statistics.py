"""Smoothing, divergence, errors, ranks and intervals, against direct sums, resampling and scipy in float64."""

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy import stats

from lmhp.statistics.divergence import diverged_at
from lmhp.statistics.intervals import mean_interval, paired_difference, standard_error
from lmhp.statistics.ranks import spearman
from lmhp.statistics.seed_noise import trial_noise
from lmhp.statistics.smoothing import smooth


@pytest.mark.parametrize('half_life', [0.5, 1.0, 20.0])
def test_smooth_is_the_weighted_mean_of_the_past(half_life):
  values = np.random.default_rng(0).standard_normal(50)
  ages = np.arange(50)
  expected = [
    np.average(values[: i + 1], weights=2.0 ** (-ages[: i + 1][::-1] / half_life))
    for i in range(50)
  ]
  np.testing.assert_allclose(
    smooth(values, half_life), expected, rtol=1e-10, atol=1e-12
  )


def test_smooth_keeps_constants_and_infinity():
  np.testing.assert_allclose(smooth(np.full(30, 7.0), 3.0), 7.0)
  assert np.isfinite(smooth(np.array([1, 2, np.nan, 4.0]), 2.0)).tolist() == [
    True,
    True,
    False,
    False,
  ]
  assert smooth(np.array([]), 2.0).shape == (0,)


@pytest.mark.parametrize(
  'losses, expected',
  [
    ([4.0, 3.0, np.nan, 3.0], 2),
    ([4.0, np.inf], 1),
    ([np.nan], 0),
    ([4.0, 3.0, -np.inf, np.nan], 2),
    ([], None),
    ([4.0], None),
    ([4.0, 9.0, 9.0], None),  # too short to say
    (np.linspace(4, 2, 200), None),
    (np.full(200, 4.0), None),
    (
      np.concatenate([np.linspace(4, 5, 30), np.linspace(5, 2, 170)]),
      None,
    ),  # a bad start is forgiven
  ],
)
def test_diverged_at(losses, expected):
  assert diverged_at(np.array(losses)) == expected


def test_a_spike_is_no_divergence_and_a_plateau_above_the_start_is():
  rng = np.random.default_rng(0)
  losses = np.linspace(4, 2, 400) + 0.05 * rng.standard_normal(400)
  spiky = losses.copy()
  spiky[200:205] = 50
  assert diverged_at(spiky) is None
  lost = losses.copy()
  lost[200:] = 6
  assert 200 < diverged_at(lost) <= 240
  assert diverged_at(lost, first_step=1000) == 1000 + diverged_at(lost)
  assert diverged_at(lost, half_life=5.0) < diverged_at(lost, half_life=40.0)
  assert (
    diverged_at(np.concatenate([[4.0], np.full(100, 5.0)])) == 1
  )  # never below again


def test_standard_error_of_equal_weights_is_the_usual_one():
  values = np.random.default_rng(0).standard_normal(37)
  expected = np.std(values, ddof=1) / np.sqrt(37)
  assert standard_error(values, np.ones(37)) == pytest.approx(expected, rel=1e-12)
  assert standard_error(values, np.full(37, 5.0)) == pytest.approx(expected, rel=1e-12)


def test_standard_error_of_unequal_weights_is_that_of_resampling():
  rng = np.random.default_rng(0)
  weights = rng.integers(1, 60, 400).astype(float)
  values = rng.standard_normal(400) + 5 / np.sqrt(
    weights
  )  # short sequences score worse
  drawn = rng.integers(0, 400, (4000, 400))
  means = np.sum((weights * values)[drawn], axis=1) / np.sum(weights[drawn], axis=1)
  assert standard_error(values, weights) == pytest.approx(np.std(means), rel=0.05)


def test_padding_is_left_out():
  values, weights = np.array([1.0, 2.0, 4.0]), np.array([3.0, 1.0, 2.0])
  padded = standard_error(
    np.append(values, [99.0, 0.0]), np.append(weights, [0.0, 0.0])
  )
  assert padded == pytest.approx(standard_error(values, weights), rel=1e-12)


@pytest.mark.parametrize('n', [0, 1])
def test_below_two_values_there_is_no_error(n):
  assert np.isnan(standard_error(np.ones(n), np.ones(n)))
  assert np.isnan(standard_error(np.ones(n + 3), np.r_[np.ones(n), np.zeros(3)]))


# --- comparing ------------------------------------------------------------------------------------------------------


@given(
  st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 5) | st.just(np.inf)),
    min_size=2,
    max_size=20,
  )
)
def test_spearman_is_scipys(pairs):
  a, b = np.array(pairs, float).T
  if len(set(a)) == 1 or len(set(b)) == 1:
    assert np.isnan(spearman(a, b))  # where scipy warns
  else:
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b)[0], abs=1e-12)
    assert spearman(a, -b) == -spearman(a, b) and abs(spearman(a, b)) <= 1


def test_spearman_of_ranks_alone():
  a = np.random.default_rng(0).standard_normal(50)
  assert spearman(a, np.exp(3 * a)) == 1.0 and spearman(a, -(a**3)) == -1.0
  assert np.isnan(spearman([1.0, 2.0, np.nan], [1.0, 2.0, 3.0]))
  assert np.isnan(spearman([], [])) and np.isnan(spearman([1.0], [2.0]))
  with pytest.raises(ValueError, match='one length'):
    spearman([1.0, 2.0], [1.0])


@pytest.mark.parametrize('n', [2, 3, 8, 40])
@pytest.mark.parametrize('confidence', [0.5, 0.95, 0.999])
def test_mean_interval_is_scipys(n, confidence):
  values = np.random.default_rng(n).standard_normal(n) + 3
  expected = stats.ttest_1samp(values, 0).confidence_interval(confidence)
  mean, low, high = mean_interval(values, confidence)
  np.testing.assert_allclose(
    [mean, low, high], [np.mean(values), expected.low, expected.high], rtol=1e-10
  )


def test_mean_interval_holds_the_mean_as_often_as_it_says():
  rows = np.random.default_rng(0).standard_normal((4000, 4)) * 2 + 5
  held = sum(
    low <= 5 <= high for _, low, high in (mean_interval(row, 0.9) for row in rows)
  )
  assert abs(held / 4000 - 0.9) < 5 * np.sqrt(0.9 * 0.1 / 4000)


def test_one_value_or_a_diverged_one_has_no_interval():
  mean, low, high = mean_interval([3.0])
  assert mean == 3 and np.isnan(low) and np.isnan(high)
  mean, low, high = mean_interval([3.0, np.inf, 2.0])
  assert mean == np.inf and np.isnan(low) and np.isnan(high)


def test_paired_difference_cancels_what_pairs_share():
  rng = np.random.default_rng(0)
  seeds, noise = 10 * rng.standard_normal(8), 0.1 * rng.standard_normal((2, 8))
  a, b = seeds + noise[0], seeds + noise[1] + 0.5
  mean, low, high = paired_difference(a, b, 0.9)
  expected = stats.ttest_rel(a, b).confidence_interval(0.9)
  np.testing.assert_allclose(
    [mean, low, high], [np.mean(a) - np.mean(b), expected.low, expected.high], rtol=1e-9
  )
  assert high < -0.3
  assert np.isnan(paired_difference([1.0, np.inf], [1.0, np.inf])).all()
  with pytest.raises(ValueError, match='one length'):
    paired_difference([1.0, 2.0], [1.0])


def test_trial_noise_is_the_spread_within_settings():
  rng = np.random.default_rng(0)
  groups = [
    list(100 * rng.standard_normal() + 0.3 * rng.standard_normal(rng.integers(1, 6)))
    for _ in range(3000)
  ]
  assert trial_noise(groups) == pytest.approx(0.3, rel=0.02)
  several = [group for group in groups if len(group) > 1][:5]
  table = stats.f_oneway(*several)  # its mean square within is the square of the noise
  between = (
    sum(len(g) * (np.mean(g) - np.mean(np.concatenate(several))) ** 2 for g in several)
    / 4
  )
  assert trial_noise(several) ** 2 == pytest.approx(between / table.statistic, rel=1e-6)


def test_trial_noise_leaves_out_what_diverged_and_what_stands_alone():
  assert trial_noise(
    [[1.0, 3.0, np.inf], [7.0], [], [np.nan, np.nan]]
  ) == pytest.approx(np.sqrt(2))
  assert trial_noise([[2.0, 2.0]]) == 0.0
  assert np.isnan(trial_noise([[1.0], [2.0, np.inf]])) and np.isnan(trial_noise([]))
