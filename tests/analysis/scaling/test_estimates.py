"""Each fit has the same estimates, errors and tables."""

import numpy as np
import pytest

from lmhp.analysis.scaling.critical_batch_size import critical_batch_size
from lmhp.analysis.scaling.gradient_noise import noise_scale_from_norms
from lmhp.analysis.scaling.isoflops import fit_isoflops
from lmhp.analysis.scaling.laws import (
  fit_compute_law,
  fit_scaling_law,
  variable_projection,
)
from lmhp.analysis.scaling.power_laws import fit_power_law

RNG = np.random.default_rng(0)
N, D = (
  v.ravel() for v in np.meshgrid(np.geomspace(1e7, 1e9, 6), np.geomspace(1e9, 1e11, 6))
)
LOSSES = (1.8 + 480 / N**0.35 + 2100 / D**0.37) * np.exp(
  0.003 * RNG.standard_normal(36)
)
FLOPS = np.repeat([1e18, 1e19, 1e20, 1e21], 9)
OFFSETS = np.tile(np.linspace(-1, 1, 9), 4)
SIZES = 0.1 * FLOPS**0.5 * np.exp(OFFSETS)
AT_BUDGETS = 2 + (FLOPS / 1e18) ** -0.05 + 0.05 * OFFSETS**2
AT_BUDGETS += 0.003 * RNG.standard_normal(36)
BATCHES = 2.0 ** np.arange(4, 12)
STEPS = 500 * (1 + 128 / BATCHES) * np.exp(0.05 * RNG.standard_normal(8))
NOISE = RNG.standard_normal((2, 200))

FITS = [
  fit_scaling_law(N, D, LOSSES),
  fit_scaling_law(N, D, LOSSES, E=1.8),
  variable_projection(N, D, LOSSES),
  fit_compute_law(N, (1.8 + 480 / N**0.35) * np.exp(0.003 * RNG.standard_normal(36))),
  fit_power_law(N, 2 * N**-0.3 * np.exp(0.1 * RNG.standard_normal(36))),
  fit_isoflops(SIZES, FLOPS / 6 / SIZES, AT_BUDGETS, FLOPS),
  critical_batch_size(BATCHES, STEPS),
  noise_scale_from_norms(8, 64, 3 + 0.3 * NOISE[0], 1.25 + 0.1 * NOISE[1]),
]


@pytest.mark.parametrize('fit', FITS, ids=lambda fit: type(fit).__name__)
def test_every_fit_has_estimates_with_errors(fit):
  k = len(fit.estimates)
  assert fit.cov.shape == (k, k)
  np.testing.assert_allclose(fit.cov, fit.cov.T)
  np.testing.assert_allclose(list(fit.se.values()), np.sqrt(np.diag(fit.cov)))
  for name, value in fit.estimates.items():
    # A fixed E has neither an error nor an interval.
    if name in fit.intervals:
      low, high = fit.intervals[name]
      assert low < value < high and fit.se[name] > 0
      # An interval of 90% is about 3.3 standard errors wide.
      assert 2 < (high - low) / fit.se[name] < 7
    else:
      assert fit.se[name] == 0


@pytest.mark.parametrize('fit', FITS, ids=lambda fit: type(fit).__name__)
def test_a_summary_has_the_formula_the_number_of_runs_and_each_estimate(fit):
  lines = fit.summary().splitlines()
  assert lines[0] == fit.FORMULA
  assert lines[1].startswith(f'{fit.n_runs} {fit.ROWS}, {fit.n_left_out} left out')
  rows = [line.split() for line in lines[-len(fit.estimates) :]]
  assert [row[0] for row in rows] == list(fit.estimates)
  for row, value in zip(rows, fit.estimates.values()):
    assert float(row[1]) == pytest.approx(value, rel=1e-4)


def test_the_reason_for_missing_errors_is_in_the_summary():
  law = fit_power_law([1, 10], [5, 50])
  assert law.reason in law.summary() and np.isnan(law.cov).all()
