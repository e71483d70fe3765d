"""Best-of-n curves: against all subsets, known distributions, and simulated studies."""

import itertools

import numpy as np
import pytest
from scipy import stats

from lmhp.analysis.winner.best_of_n_curve import (
  METHODS,
  best_of_n,
  cdf_band,
  expected_best,
)
from lmhp.errors import ConfigError

# --- expected validation performance ------------------------------------------------


@pytest.mark.parametrize(
  'losses', [[3.0], [2.0, 5.0, 1.0, 4.0, 3.5, 2.5, 9.0], [1.0, 1.0, 2.0, 2.0, 2.0, 0.0]]
)
def test_expected_best_is_the_mean_over_all_subsets(losses):
  k = np.arange(1, len(losses) + 1)
  subsets = [np.mean([min(s) for s in itertools.combinations(losses, i)]) for i in k]
  np.testing.assert_allclose(expected_best(np.sort(losses), k), subsets, rtol=1e-12)


def test_expected_best_is_unbiased():
  draws = np.sort(np.random.default_rng(0).exponential(size=(4000, 10)))
  k = np.arange(1, 11)
  mean = np.mean([expected_best(row, k) for row in draws], axis=0)
  # The best of k exponentials is exponential, with mean 1 / k.
  assert np.all(abs(mean - 1 / k) < 4 / k / np.sqrt(4000))


def test_expected_best_of_a_thousand_does_not_overflow():
  losses = np.sort(np.random.default_rng(0).random(1000))
  curve = expected_best(losses, np.arange(1, 1001))
  assert (
    curve[0] == pytest.approx(losses.mean())
    and curve[-1] == losses.min()
    and np.all(np.diff(curve) <= 1e-15)
  )
  np.testing.assert_allclose(
    curve[1],
    np.minimum.outer(losses, losses)[~np.eye(1000, dtype=bool)].mean(),
    rtol=1e-10,
  )


def test_a_diverged_trial_is_the_worst():
  # Each pair has a trial that is finite.
  curve = best_of_n([1.0, np.nan, 2.0])
  np.testing.assert_allclose(curve.expected, [np.inf, 4 / 3, 1.0])
  assert best_of_n([np.nan, np.inf]).expected.tolist() == [np.inf, np.inf]


# --- bands --------------------------------------------------------------------------


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('n, confidence', [(1, 0.9), (7, 0.8), (40, 0.9), (150, 0.95)])
def test_the_distribution_band_holds_everywhere_at_once(method, n, confidence):
  least, most = cdf_band(n, confidence, method)
  draws = np.sort(
    np.random.default_rng(99).random((10_000, n)), axis=1
  )  # the true function at a draw is the draw
  held = np.mean(np.all((least <= draws) & (draws <= most), axis=1))
  assert held > confidence - 0.012
  if method != 'dkw':
    assert held < confidence + 0.012


@pytest.mark.parametrize('n', [5, 24, 60])
def test_the_medians_band_holds_at_all_k_at_once(n):
  rng, k, studies = np.random.default_rng(n), np.arange(1, n + 1), 4000
  median = np.log(2) / k  # of the best of k exponentials
  template = best_of_n(
    np.arange(1.0, n + 1)
  )  # bands are order statistics: which of them is the same in all studies

  def place(band):
    return np.where(np.isfinite(band), band, np.where(band < 0, 0, n + 1)).astype(int)

  draws = np.sort(rng.exponential(size=(studies, n)), axis=1)
  padded = np.concatenate(
    [np.full((studies, 1), -np.inf), draws, np.full((studies, 1), np.inf)], axis=1
  )
  low, high = (
    padded[:, place(template.median_low)],
    padded[:, place(template.median_high)],
  )
  held = np.mean(np.all((low <= median) & (median <= high), axis=1))
  assert held > 0.9 - 0.015
  assert held < (
    0.92 if n > 20 else 0.97
  )  # few trials have few order statistics to choose from
  one = best_of_n(draws[0])
  np.testing.assert_array_equal([one.median_low, one.median_high], [low[0], high[0]])


@pytest.mark.parametrize('method', METHODS)
def test_bands_of_the_mean_hold_where_the_support_is_known(method):
  rng, k, held = np.random.default_rng(0), np.arange(1, 13), []
  for _ in range(300):
    curve = best_of_n(rng.random(12), method=method, support=(0, 1))
    held.append(
      np.all((curve.expected_low <= 1 / (k + 1)) & (1 / (k + 1) <= curve.expected_high))
    )
  assert np.mean(held) > 0.88


def test_bands_of_the_mean_are_the_integral_of_the_band():
  losses, k = np.array([0.2, 0.5, 0.6]), 4
  curve, (least, most) = best_of_n(losses, trials=[k], support=(0.0, 1.0)), cdf_band(3)
  assert np.isnan(curve.expected[0])  # four of three
  x = (np.arange(200_000) + 0.5) / 200_000
  low = np.mean((1 - np.append(most, 1.0)[np.searchsorted(losses, x)]) ** k)
  high = np.mean((1 - np.append(0.0, least)[np.searchsorted(losses, x)]) ** k)
  assert (curve.expected_low[0], curve.expected_high[0]) == pytest.approx(
    (low, high), abs=1e-4
  )


def test_ties_do_not_break_the_bands():
  rng, k, held = np.random.default_rng(3), np.arange(1, 21), []
  faces = np.arange(1, 7)
  median = np.array([faces[np.searchsorted(1 - (1 - faces / 6) ** i, 0.5)] for i in k])
  for _ in range(400):
    curve = best_of_n(rng.integers(1, 7, 20).astype(float))
    held.append(np.all((curve.median_low <= median) & (median <= curve.median_high)))
  assert np.mean(held) > 0.88


def test_order_statistics_are_sharper_than_dkw():
  losses = np.random.default_rng(0).exponential(size=40)
  sharp, wide = (
    best_of_n(losses, support=(0, 10)),
    best_of_n(losses, method='dkw', support=(0, 10)),
  )
  assert (
    np.all(sharp.median_high[1:] <= wide.median_high[1:])
    and sharp.median_high[9] < wide.median_high[9]
  )
  assert np.all(sharp.median_low >= wide.median_low)
  assert np.mean(sharp.expected_high - sharp.expected_low) < np.mean(
    wide.expected_high - wide.expected_low
  )


def test_the_curve_falls_lies_in_its_band_and_has_the_studys_ends():
  losses = np.random.default_rng(1).random(30)
  curve = best_of_n(losses, trials=np.arange(1, 61))
  for name in ('median', 'median_low', 'median_high'):
    values = getattr(curve, name)
    assert np.all(values[1:] <= values[:-1])
  assert np.all(
    (curve.median_low <= curve.median) & (curve.median <= curve.median_high)
  )
  assert curve.median[0] == np.sort(losses)[14] and curve.expected[29] == losses.min()
  assert np.isnan(curve.expected[30:]).all() and np.isinf(curve.expected_low).all()
  assert curve.median_low[-1] == -np.inf and np.isfinite(
    curve.median_high[-1]
  )  # the unseen may be better, not worse


def test_diverged_trials_and_a_single_one():
  curve = best_of_n([1.0, np.nan, 2.0, np.inf, 3.0, 1.5], support=(0, np.inf))
  assert np.isfinite(curve.median[1:]).all() and not np.isnan(curve.expected_high).any()
  assert np.isinf(
    curve.expected_low
  ).all()  # two of six: some diverge for sure, all k may, and so the mean is infinite
  assert best_of_n([1.0, np.inf, 2.0], support=(0, np.inf)).expected_low[2] == np.inf
  one = best_of_n([2.0])
  assert (one.median[0], one.median_low[0], one.median_high[0]) == (
    2.0,
    -np.inf,
    np.inf,
  )


@pytest.mark.parametrize(
  'call, words',
  [
    (lambda: best_of_n([]), 'losses: got shape'),
    (lambda: best_of_n([[1.0, 2.0]]), 'losses: got shape'),
    (lambda: best_of_n([1.0], trials=[0]), 'whole numbers from 1'),
    (lambda: best_of_n([1.0], confidence=1), 'confidence: got 1'),
    (lambda: best_of_n([1.0], method='DKW'), 'order_statistics, dkw'),
    (lambda: best_of_n([-1.0], support=(0, 1)), 'losses outside'),
  ],
)
def test_mistakes_are_named(call, words):
  with pytest.raises(ConfigError, match=words):
    call()


def test_beta_bounds_are_scipys():
  least, most = cdf_band(9)
  i = np.arange(1, 10)
  tail = stats.beta.cdf(least, i, 10 - i)
  np.testing.assert_allclose(tail, tail[0])
  np.testing.assert_allclose(stats.beta.sf(most, i, 10 - i), tail[0])
