"""Tests of the optimum of one axis: coverage, exact parabolas, a fit by scipy, and refusals."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import optimize, stats

from lmhp.analysis.hyperparameters.optimum import CEILING, fit_optimum
from lmhp.analysis.hyperparameters.unimodal_fit import SHAPES, rise_of, weigh_valleys
from lmhp.errors import ConfigError

GRID = np.linspace(-1, 1, 15)


def parabola(seed=0, best=0.2, noise=0.02, x=GRID):
  return (
    3
    + 0.5 * (x - best) ** 2
    + noise * np.random.default_rng(seed).standard_normal(len(x))
  )


@pytest.mark.parametrize('kind', SHAPES)
def test_a_valley_has_its_bottom_at_0_and_a_parabola_there(kind):
  d = np.array([-1e-3, 0.0, 1e-3])
  for skew in (-1.5, 0.0, 1.5):
    for tail in (-1.0, 0.0, 1.0):
      rise = rise_of(d, kind, np.array(skew), np.array(tail))
      assert rise[1] == 0 and (rise[[0, 2]] > 0).all()
      assert np.prod(rise[[0, 2]]) ** 0.5 == pytest.approx(1e-6, rel=0.6)
      away = rise_of(np.linspace(0, 3, 50), kind, np.array(skew), np.array(tail))
      assert (np.diff(away) > 0).all() and np.isfinite(away).all()
  assert rise_of(
    np.linspace(-2, 2, 9), 'kink', np.array(0.0), np.array(0.0)
  ) == pytest.approx(np.linspace(-2, 2, 9) ** 2)


@pytest.mark.parametrize('kind', SHAPES)
def test_a_skew_of_the_other_sign_is_the_mirror(kind):
  d = np.linspace(-2, 2, 21)
  for skew, tail in ((0.7, 0.5), (-1.3, -0.8)):
    assert rise_of(d, kind, np.array(skew), np.array(tail)) == pytest.approx(
      rise_of(-d, kind, np.array(-skew), np.array(tail))
    )


SHAPES = (
  lambda d: d**2,
  lambda d: d**2 * np.where(d > 0, 2.5, 1),
  lambda d: d**2 + d**4,
  lambda d: 2 * (np.expm1(1.2 * d) - 1.2 * d) / 1.44,
)


@pytest.mark.slow
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
  assert held / studies > 0.9 - 3 * math.sqrt(0.09 / studies)


def test_an_exact_parabola():
  found = fit_optimum(GRID, parabola(noise=1e-5), log=False, rise_fraction=0.01)
  assert found.value == pytest.approx(0.2, abs=2e-3) and found.high - found.low < 0.02
  assert found.loss == pytest.approx(3, abs=1e-3) and found.curvature == pytest.approx(
    1.0, rel=0.1
  )
  width = math.sqrt(0.01 * 3 / 0.5)
  assert found.basin_low[0] == pytest.approx(width, rel=0.05) and found.basin_high[
    0
  ] == pytest.approx(width, rel=0.05)
  assert found.basin_low[1] <= found.basin_low[0] <= found.basin_low[2]
  assert found.curvature_low <= found.curvature <= found.curvature_high


def test_a_log_axis_is_the_logarithm():
  plain = fit_optimum(GRID, parabola(), log=False)
  found = fit_optimum(np.exp(GRID), parabola(), log=True)
  assert math.log(found.value) == pytest.approx(plain.value, abs=0.01)
  assert (math.log(found.low), math.log(found.high)) == pytest.approx(
    (plain.low, plain.high), abs=0.02
  )
  assert found.basin_high[0] == pytest.approx(math.exp(plain.basin_high[0]), rel=0.05)


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
    0.9 < (found.high - found.low) / (2 * 1.645 * sd) < 5
  )  # it does not know that a parabola is true
  assert found.noise_sd == pytest.approx(0.05, rel=0.2)


def test_the_tests_of_a_minimum_are_students():
  x, y = GRID, parabola(1, noise=0.1)
  design = np.column_stack([np.ones(15), x, x**2])
  coefficients, residual, *_ = np.linalg.lstsq(design, y, rcond=None)
  covariance = residual[0] / 12 * np.linalg.inv(design.T @ design)

  def p(c):
    return stats.t.sf(c @ coefficients / math.sqrt(c @ covariance @ c), 12)

  found = fit_optimum(x, y, log=False)
  assert found.curvature_p == pytest.approx(p(np.array([0, 0, 1.0])))
  assert found.minimum_p == pytest.approx(
    max(p(np.array([0, -1.0, 2])), p(np.array([0, 1.0, 2])))
  )


@pytest.mark.parametrize('side', [-1, 1])
def test_an_optimum_beyond_the_range_is_at_its_bound(side):
  found = fit_optimum(np.exp(GRID), parabola(best=2.5 * side))
  assert found.at_bound == {-1: 'low', 1: 'high'}[side] and found.minimum_p > 0.5
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


def test_what_diverged_is_left_out():
  x, y = np.append(GRID, [0.9, 1.0]), np.append(parabola(), [np.nan, 1e6])
  found = fit_optimum(x, y, log=False)
  assert found.n_runs == 15 and repr(found) == repr(
    fit_optimum(GRID, parabola(), log=False)
  )
  height = np.median(parabola() - parabola().min())
  assert (
    fit_optimum(
      np.append(GRID, 1.0),
      np.append(parabola(), parabola().min() + 0.9 * CEILING * height),
      log=False,
    ).n_runs
    == 16
  )


@pytest.mark.parametrize(
  'x, y, reason',
  [
    (GRID[:4], parabola()[:4], '4 runs at 4 values'),
    ([], [], '0 runs at 0 values'),
    ([0.1] * 20, np.arange(20.0), 'at 1 values'),
    (GRID, np.full(15, 3.0), 'all losses are equal'),
    (GRID, np.full(15, np.nan), '0 runs at 0 values'),
  ],
)
def test_refused(x, y, reason):
  found = fit_optimum(np.array(x), np.array(y), log=False)
  assert (
    reason in found.reason
    and math.isnan(found.value)
    and math.isnan(found.low)
    and math.isnan(found.basin_low[0])
  )


def test_a_flat_response_has_no_short_interval():
  noise = [0.01 * np.random.default_rng(seed).standard_normal(15) for seed in range(8)]
  every = [fit_optimum(GRID, 3 + own, log=False) for own in noise]
  assert np.median([min(found.high, 1) - max(found.low, -1) for found in every]) > 0.3
  assert sum(found.minimum_p < 0.05 for found in every) <= 2


def test_ties_and_levels_and_repeats():
  x = np.repeat(np.linspace(-1, 1, 5), 4)
  found = fit_optimum(x, parabola(2, x=x), log=False)
  assert found.low < 0.2 < found.high and repr(found) == repr(
    fit_optimum(x, parabola(2, x=x), log=False)
  )


def test_weights_are_a_distribution_whatever_the_seed():
  fixed = np.ones((15, 1))
  one, other = (
    weigh_valleys(GRID, parabola(), fixed, np.random.default_rng(seed))
    for seed in (0, 1)
  )
  for found in (one, other):
    assert (
      found.weight.sum() == pytest.approx(1)
      and (found.weight >= 0).all()
      and found.noise_sd > 0
    )
  assert one.weight @ one.place == pytest.approx(other.weight @ other.place, abs=0.02)
  assert dataclasses.asdict(one)['bottom'] == pytest.approx(3, abs=0.03)


def test_mistakes():
  with pytest.raises(ConfigError, match='log axis'):
    fit_optimum(GRID, parabola())
  with pytest.raises(ConfigError, match='shape'):
    fit_optimum(GRID, parabola()[:-1], log=False)
  for share, confidence in ((0, 0.9), (0.01, 1.0)):
    with pytest.raises(ConfigError, match='between 0 and 1'):
      fit_optimum(
        GRID, parabola(), log=False, rise_fraction=share, confidence=confidence
      )
