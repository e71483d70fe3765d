"""Tests of the optimum of one axis: coverage, exact parabolas, a fit by scipy, and refusals."""

import math

import numpy as np
import pytest
from scipy import optimize

from lmhp.analysis.hyperparameters.optimum import fit_optimum
from lmhp.errors import ConfigError

GRID = np.linspace(-1, 1, 15)


def parabola(seed=0, best=0.2, noise=0.02, x=GRID):
  return (
    3
    + 0.5 * (x - best) ** 2
    + noise * np.random.default_rng(seed).standard_normal(len(x))
  )


SHAPES = (
  lambda d: d**2,
  lambda d: d**2 * np.where(d > 0, 2.5, 1),
  lambda d: d**2 + d**4,
  lambda d: 2 * (np.expm1(1.2 * d) - 1.2 * d) / 1.44,
)


def test_the_interval_holds_the_optimum():
  held, studies = 0, 80
  for seed in range(studies):
    rng = np.random.default_rng(seed)
    z, best = rng.uniform(-1, 1, int(rng.integers(10, 30))), rng.uniform(-0.6, 0.6)
    others = rng.random((len(z), seed % 2))
    height = SHAPES[seed % len(SHAPES)](z - best)
    noise_sd = np.median(height) * rng.choice([0.03, 0.3])
    losses = (
      height + np.sum((others - 0.3) ** 2, 1) + noise_sd * rng.standard_normal(len(z))
    )
    found = fit_optimum(z, losses, log=False, covariates=others)
    held += found.low <= best <= found.high
  assert 0.8 < held / studies


def test_an_exact_parabola():
  found = fit_optimum(GRID, parabola(noise=1e-5), log=False, rise_fraction=0.01)
  assert found.value == pytest.approx(0.2, abs=0.01)
  assert found.high - found.low < 0.1
  assert found.loss == pytest.approx(3, abs=1e-3)
  # The loss rises by 1% of 3 at a distance of sqrt(0.03 / 0.5).
  width = math.sqrt(0.03 / 0.5)
  assert found.basin == pytest.approx((0.2 - width, 0.2 + width), abs=0.03)


def test_a_log_axis_is_the_logarithm():
  plain = fit_optimum(GRID, parabola(), log=False)
  found = fit_optimum(np.exp(GRID), parabola(), log=True)
  assert math.log(found.value) == pytest.approx(plain.value, abs=0.03)
  assert math.log(found.low) == pytest.approx(plain.low, abs=0.05)
  assert math.log(found.high) == pytest.approx(plain.high, abs=0.05)


def test_covariates_may_interact_with_the_axis():
  # The best x is 0.8 times the covariate, and the lowest loss has the covariate at 0.5.
  rng = np.random.default_rng(0)
  x, other = rng.random((2, 80))
  losses = 3 + (x - 0.8 * other) ** 2 + (other - 0.5) ** 2
  losses += 0.005 * rng.standard_normal(80)
  found = fit_optimum(x, losses, log=False, covariates=other[:, None])
  assert found.low < 0.4 < found.high
  assert found.high - found.low < 0.35


def test_runs_that_diverged_are_left_out():
  x = np.append(GRID, 0.9)
  y = np.append(parabola(), np.nan)
  found = fit_optimum(x, y, log=False)
  assert found.n_runs == 15
  assert repr(found) == repr(fit_optimum(GRID, parabola(), log=False))


def test_other_units_and_the_mirror():
  plain = fit_optimum(GRID, parabola(), log=False)
  moved = fit_optimum(100 + 7 * GRID, 2 * parabola(), log=False)
  assert (moved.low - 100) / 7 == pytest.approx(plain.low, abs=0.03)
  assert (moved.high - 100) / 7 == pytest.approx(plain.high, abs=0.03)
  assert moved.noise_sd == pytest.approx(2 * plain.noise_sd, rel=0.1)
  turned = fit_optimum(-GRID, parabola(), log=False)
  assert (-turned.high, -turned.low) == pytest.approx((plain.low, plain.high), abs=0.04)


def test_it_is_near_the_delta_method_where_a_parabola_is_true_and_runs_are_many():
  x = np.linspace(-1, 1, 200)
  y = parabola(3, noise=0.05, x=x)
  (a, b, c), covariance = optimize.curve_fit(
    lambda x, a, b, c: a + b * (x - c) ** 2, x, y, p0=(3, 0.5, 0)
  )
  found = fit_optimum(x, y, log=False)
  sd = math.sqrt(covariance[2, 2])
  assert abs(found.value - c) < 2.5 * sd
  assert (
    0.9 < (found.high - found.low) / (2 * 1.645 * sd) < 8
  )  # it does not know that a parabola is true
  assert found.noise_sd == pytest.approx(0.05, rel=0.6)


@pytest.mark.parametrize('side', [-1, 1])
def test_an_optimum_beyond_the_range_is_at_its_bound(side):
  found = fit_optimum(np.exp(GRID), parabola(best=2.5 * side))
  assert found.at_bound == {-1: 'low', 1: 'high'}[side]
  assert found.value == pytest.approx(math.exp(side))
  assert (
    (found.low == 0 and found.high < 1)
    if side < 0
    else (found.high == math.inf and found.low > 1)
  )
  assert fit_optimum(np.exp(GRID), parabola(best=0.1)).at_bound == ''


def test_covariates_are_taken_out():
  rng = np.random.default_rng(0)
  other = rng.random((40, 2))
  x = rng.uniform(-1, 1, 40)
  y = parabola(0, x=x, noise=0.01) + 3 * (other[:, 0] - 0.7) ** 2 + other[:, 1]
  found, without = (
    fit_optimum(x, y, log=False, covariates=other),
    fit_optimum(x, y, log=False),
  )
  assert found.low < 0.2 < found.high and found.high - found.low < 0.3 * (
    without.high - without.low
  )
  constant = np.column_stack([other, np.ones(40), other[:, 0]])
  again = fit_optimum(x, y, log=False, covariates=constant)
  assert (again.low, again.high) == pytest.approx((found.low, found.high), abs=0.02)


@pytest.mark.parametrize(
  'x, y, reason',
  [
    (GRID[:4], parabola()[:4], 'expected at least 5 points, a varied axis'),
    ([], [], 'expected at least 5 points, a varied axis'),
    ([0.1] * 20, np.arange(20.0), 'expected at least 5 points, a varied axis'),
    (GRID, np.full(15, 3.0), 'expected at least 5 points, a varied axis'),
    (GRID, np.full(15, np.nan), 'expected at least 5 points, a varied axis'),
  ],
)
def test_refused(x, y, reason):
  found = fit_optimum(np.array(x), np.array(y), log=False)
  assert (
    reason in found.reason
    and math.isnan(found.value)
    and math.isnan(found.low)
    and math.isnan(found.basin[0])
  )


def test_a_flat_response_has_no_short_interval():
  noise = [0.01 * np.random.default_rng(seed).standard_normal(15) for seed in range(8)]
  every = [fit_optimum(GRID, 3 + own, log=False) for own in noise]
  assert np.median([min(found.high, 1) - max(found.low, -1) for found in every]) > 0.3


def test_ties_and_levels_and_repeats():
  x = np.repeat(np.linspace(-1, 1, 5), 4)
  found = fit_optimum(x, parabola(2, x=x), log=False)
  assert found.low < 0.2 < found.high and repr(found) == repr(
    fit_optimum(x, parabola(2, x=x), log=False)
  )


def test_mistakes():
  with pytest.raises(ConfigError, match='log axis'):
    fit_optimum(GRID, parabola())
  with pytest.raises(ConfigError, match='shape'):
    fit_optimum(GRID, parabola()[:-1], log=False)
  for share, confidence in ((0, 0.9), (0.01, 1.0)):
    with pytest.raises(ConfigError, match='rise_fraction|confidence'):
      fit_optimum(
        GRID, parabola(), log=False, rise_fraction=share, confidence=confidence
      )
