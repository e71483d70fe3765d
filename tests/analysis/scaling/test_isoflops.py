"""Tests of isoFLOP fits and variable projection: exact parabolas, known bias, least squares."""

import numpy as np
import pytest
from scipy import optimize

from lmhp.analysis.scaling.isoflops import fit_isoflops
from lmhp.analysis.scaling.laws import variable_projection
from lmhp.errors import ConfigError

LAW = (1.69, 406.4, 410.7, 0.34, 0.28)
A_TRUE = 0.28 / 0.62


def loss_of(n, d, law=LAW):
  return law[0] + law[1] / n ** law[3] + law[2] / d ** law[4]


def study(low=-1.5, high=1.5, drift=0.0, sizes=9, flops=(1e18, 1e21), budgets=5):
  """Returns N, D, C around the optimum of each budget. The centre in log N drifts by `drift`."""
  c = np.repeat(np.geomspace(*flops, budgets), sizes)
  best = (0.34 * 406.4 / (0.28 * 410.7)) ** (1 / 0.62) * (c / 6) ** A_TRUE
  n = best * np.exp(
    np.tile(np.linspace(low, high, sizes), budgets)
    + np.repeat(np.linspace(-drift, drift, budgets), sizes)
  )
  return n, c / 6 / n, c


def test_exact_parabolas_give_their_minima():
  c = np.repeat([1e18, 1e19, 1e21], 6)
  best = 0.3 * c**0.47
  u = np.tile([-1.0, -0.4, 0.1, 0.3, 0.9, 1.4], 3)
  found = fit_isoflops(
    best * np.exp(u), c / 6 / best / np.exp(u), 2 + (c / 1e18) ** -0.05 + 0.07 * u**2, c
  )
  np.testing.assert_allclose(found.parameters, 0.3 * found.flops**0.47, rtol=1e-6)
  np.testing.assert_allclose(found.losses, 2 + (found.flops / 1e18) ** -0.05, rtol=1e-9)
  np.testing.assert_allclose(found.coefficients[:, 2], 0.07, rtol=1e-6)
  np.testing.assert_allclose(6 * found.parameters * found.tokens, found.flops)
  assert (found.a, found.b) == (
    pytest.approx(0.47, abs=1e-7),
    pytest.approx(0.53, abs=1e-7),
  )
  assert (
    found.tokens_law.exponent == pytest.approx(0.53, abs=1e-7)
    and '2603.22339' in found.caveat
  )


def test_the_coefficients_are_of_log_n():
  n, d, c = study()
  found = fit_isoflops(n, d, loss_of(n, d), c)
  for i, (flops, row) in enumerate(zip(found.flops, found.coefficients)):
    mine = np.isclose(c, flops)
    oracle = (
      np.polynomial.Polynomial.fit(np.log(n[mine]), loss_of(n[mine], d[mine]), 2)
      .convert()
      .coef
    )
    np.testing.assert_allclose(row, oracle, rtol=1e-6)
    assert np.log(found.parameters[i]) == pytest.approx(
      -oracle[1] / 2 / oracle[2], rel=1e-6
    )


def test_alike_sizes_bias_the_intercept_and_not_the_exponent():
  n, d, c = study(-0.5, 2.5)
  found = fit_isoflops(n, d, loss_of(n, d), c, window=np.inf)
  assert found.a == pytest.approx(A_TRUE, abs=1e-6) and np.ptp(found.bias_factor) < 1e-4
  true = (0.34 * 406.4 / (0.28 * 410.7)) ** (1 / 0.62) * (found.flops / 6) ** A_TRUE
  np.testing.assert_allclose(found.bias_factor, found.parameters / true, rtol=1e-4)
  assert abs(found.bias_factor[0] - 1) > 0.01


@pytest.mark.parametrize('drift', [-1.0, 1.0])
def test_drifting_sizes_bias_the_exponent_and_projection_does_not_care(drift):
  n, d, c = study(drift=drift)
  found = fit_isoflops(n, d, loss_of(n, d), c, window=np.inf)
  assert abs(found.a - A_TRUE) > 0.003
  assert found.bias_of_a == pytest.approx(found.a - A_TRUE, abs=1e-5)
  assert variable_projection(n, d, loss_of(n, d)).a == pytest.approx(A_TRUE, abs=1e-5)


def test_budgets_are_found_from_n_and_d():
  n, d, c = study()
  wobble = np.exp(np.random.default_rng(0).uniform(-0.02, 0.02, len(n)))
  order = np.random.default_rng(1).permutation(len(n))
  found = fit_isoflops(n[order], (d * wobble)[order], loss_of(n, d)[order])
  np.testing.assert_allclose(found.flops, np.unique(c), rtol=0.02)
  np.testing.assert_allclose(
    found.parameters, fit_isoflops(n, d, loss_of(n, d), c).parameters, rtol=1e-6
  )


def test_budgets_without_a_minimum_are_named_and_left_out():
  n, d, c = study()
  losses = loss_of(n, d)
  below = (c == np.unique(c)[0]) & (n < np.quantile(n[c == np.unique(c)[0]], 0.4))
  few = (c == np.unique(c)[1]) & (np.arange(len(n)) % 9 > 2)
  losses[(c == np.unique(c)[2])] = -losses[c == np.unique(c)[2]] + 10  # a mountain
  keep = ~few & ~((c == np.unique(c)[0]) & ~below)
  found = fit_isoflops(n[keep], d[keep], losses[keep], c[keep])
  np.testing.assert_allclose(found.outside, np.unique(c)[:1])
  np.testing.assert_allclose(found.without_minimum, np.unique(c)[1:3])
  np.testing.assert_allclose(found.flops, np.unique(c)[3:])
  assert (
    found.parameters_law.reason
    and np.isnan(found.parameters_law.intervals['exponent']).all()
  )  # of two budgets


def test_one_budget_has_a_minimum_and_no_power_law():
  n, d, c = study(budgets=1)
  found = fit_isoflops(n, d, loss_of(n, d), c)
  assert len(found.flops) == 1 and np.isnan(found.a) and found.parameters_law is None
  assert np.isnan(found.bias_factor).all()


def test_diverged_runs_are_left_out():
  n, d, c = study()
  losses = loss_of(n, d)
  losses[4] = np.nan
  assert fit_isoflops(n, d, losses, c).a == pytest.approx(A_TRUE, abs=2e-3)


def test_the_projection_is_least_squares_of_the_log_loss():
  n, d, _ = study(drift=0.5)
  losses = loss_of(n, d) * np.exp(
    0.003 * np.random.default_rng(0).standard_normal(len(n))
  )
  law = variable_projection(n, d, losses)
  scale = np.array([1, 1e3, 1e3, 1, 1])
  oracle = (
    optimize.least_squares(
      lambda t: np.log(loss_of(n, d, t * scale) / losses),
      np.array(LAW) / scale,
      xtol=1e-15,
      ftol=1e-15,
      gtol=1e-15,
      x_scale='jac',
    ).x
    * scale
  )
  np.testing.assert_allclose(
    [law.E, law.A, law.B, law.alpha, law.beta], oracle, rtol=1e-3
  )
  # The objective is half of the mean square.
  squares = np.mean(np.log(loss_of(n, d, oracle) / losses) ** 2)
  assert 2 * law.objective == pytest.approx(squares, rel=1e-6)
  assert law.reason == ''


def test_the_projection_finds_a_known_law_and_says_when_a_term_is_missing():
  n, d, _ = study(drift=0.5)
  law = variable_projection(n, d, loss_of(n, d))
  np.testing.assert_allclose([law.E, law.A, law.B, law.alpha, law.beta], LAW, rtol=1e-4)
  np.testing.assert_allclose(law.predict(n, d), loss_of(n, d), rtol=1e-8)
  best = optimize.minimize_scalar(
    lambda u: loss_of(np.exp(u), 1e20 / 6 / np.exp(u)), (18, 23), tol=1e-12
  )
  assert law.compute_optimal(1e20).parameters == pytest.approx(np.exp(best.x), rel=1e-3)
  assert 'do not show' in variable_projection(n, d, 1.7 + 400 / d**0.28).reason


@pytest.mark.parametrize(
  'call, words',
  [
    (lambda: fit_isoflops(*study()[:2], np.ones(45), [1e18]), 'flops: got shape'),
    (lambda: fit_isoflops(*study()[:2], np.ones(45), window=1), 'window: got 1'),
    (
      lambda: fit_isoflops(*study(sizes=3)[:2], loss_of(*study(sizes=3)[:2])),
      'flops: got 5 budgets',
    ),
    (lambda: fit_isoflops([1, 2], [1, 2], [1]), 'got shapes'),
    (lambda: variable_projection([1, 2], [1, 2], [1, 1]), 'usable runs'),
  ],
)
def test_mistakes_are_named(call, words):
  with pytest.raises(ConfigError, match=words):
    call()


def test_a_window_leaves_out_sizes_far_from_the_minimum():
  # A wall of losses beyond a factor of 5, which no parabola has.
  n, d, c = study(-2.5, 2.5, sizes=15)
  best = np.repeat(n.reshape(5, 15)[:, 7], 15)
  losses = loss_of(n, d) + 0.5 * (n > 5 * best)
  found = fit_isoflops(n, d, losses, c, window=4)
  assert found.a == pytest.approx(A_TRUE, abs=1e-3)
  np.testing.assert_allclose(found.parameters, best[::15], rtol=0.1)
  assert (found.n_fitted == 7).all()
  everything = fit_isoflops(n, d, losses, c, window=np.inf)
  assert (everything.n_fitted == 15).all()
  assert abs(np.log(everything.parameters / best[::15])).min() > 0.2


def test_a_narrow_window_keeps_the_four_nearest_sizes():
  n, d, c = study()
  assert (fit_isoflops(n, d, loss_of(n, d), c, window=1.01).n_fitted == 4).all()


def test_weights_of_runs_are_those_of_the_parabola():
  n, d, c = study(budgets=1)
  rng = np.random.default_rng(0)
  losses = loss_of(n, d) + 0.003 * rng.standard_normal(9)
  weights = rng.uniform(0.2, 5, 9)
  found = fit_isoflops(n, d, losses, c, weights=weights)
  u = np.log(n) - np.log(n).mean()
  design = np.vander(u, 3) * np.sqrt(weights)[:, None]
  c2, c1, _ = np.linalg.lstsq(design, losses * np.sqrt(weights), rcond=None)[0]
  assert np.log(found.parameters[0]) == pytest.approx(np.log(n).mean() - c1 / 2 / c2)


def test_the_errors_of_a_and_b_are_those_of_the_power_law():
  n, d, c = study()
  noise = 0.003 * np.random.default_rng(0).standard_normal(len(n))
  found = fit_isoflops(n, d, loss_of(n, d) + noise, c)
  assert found.se['a'] == found.se['b'] == found.parameters_law.se['exponent']
  assert found.cov[0, 1] == -found.cov[0, 0]
  assert found.intervals['b'] == pytest.approx(found.tokens_law.intervals['exponent'])


def test_the_bias_is_refused_if_the_law_does_not_fit():
  # Losses of another shape, whose optimum grows as C^0.7.
  c = np.repeat(np.geomspace(1e18, 1e21, 5), 9)
  u = np.tile(np.linspace(-1.5, 1.5, 9), 5)
  n = 1e-4 * c**0.7 * np.exp(u)
  losses = 2 + (c / 1e18) ** -0.1 + 0.05 * u**2 + 0.02 * u**3
  found = fit_isoflops(n, c / 6 / n, losses, c)
  assert found.a == pytest.approx(0.7, abs=1e-6)
  assert np.isnan(found.bias_of_a) and np.isnan(found.bias_factor).all()
