"""Scaling laws: against scipy's minimizers, known laws, and simulated studies."""

import numpy as np
import pytest
from scipy import optimize, special

from lmhp.analysis.scaling.huber_fit import LogRuns, linear_part
from lmhp.analysis.scaling.laws import fit_compute_law, fit_scaling_law
from lmhp.analysis.scaling.robust_laws import HuberSettings
from lmhp.analysis.scaling.score_intervals import critical_correlation
from lmhp.errors import ConfigError

CHINCHILLA = (1.8172, 482.01, 2085.43, 0.3478, 0.3658)  # Besiroglu et al. 2404.10102
HOFFMANN = (1.69, 406.4, 410.7, 0.34, 0.28)
SMALL = (1.2, 40.0, 300.0, 0.30, 0.33)
NAMES = ('E', 'A', 'B', 'alpha', 'beta')


def loss_of(law, n, d):
  return law[0] + law[1] / n ** law[3] + law[2] / d ** law[4]


def grid(sizes=6, tokens=6, small=False):
  ends = ((3e4, 1e7), (2e6, 1e9)) if small else ((4e7, 1e10), (1e9, 3e11))
  return tuple(
    v.ravel()
    for v in np.meshgrid(np.geomspace(*ends[0], sizes), np.geomspace(*ends[1], tokens))
  )


def isoflop(n_runs=245, seed=0):
  rng = np.random.default_rng(seed)
  flops = np.exp(rng.uniform(np.log(6e18), np.log(3e21), n_runs))
  n = 0.09 * flops**0.5 * np.exp(rng.uniform(-1.6, 1.6, n_runs))
  return n, flops / 6 / n


def noisy(law, n, d, spread=0.005, seed=0):
  return loss_of(law, n, d) * np.exp(
    spread * np.random.default_rng(seed).standard_normal(len(n))
  )


def objective(theta, n, d, losses, delta=1e-3):
  """As Hoffmann et al. write it, equation 3, with scipy's Huber."""
  a, b, e, alpha, beta = theta
  terms = [a - alpha * np.log(n), b - beta * np.log(d), e + 0 * n]
  return special.huber(delta, special.logsumexp(terms, axis=0) - np.log(losses)).sum()


def theta_of(law):
  return np.array([np.log(law.A), np.log(law.B), np.log(law.E), law.alpha, law.beta])


# --- the fit ------------------------------------------------------------------------


@pytest.mark.parametrize(
  'law, design',
  [
    (CHINCHILLA, isoflop()),
    (HOFFMANN, isoflop(60)),
    (CHINCHILLA, grid()),
    (SMALL, grid(8, 6, small=True)),
    (HOFFMANN, grid(3, 3)),
    ((0.5, 3.0, 8.0, 0.1, 0.9), grid(5, 5, small=True)),
  ],
)
def test_a_known_law_is_recovered(law, design):
  found = fit_scaling_law(*design, loss_of(law, *design))
  np.testing.assert_allclose([getattr(found, name) for name in NAMES], law, rtol=1e-4)
  assert found.objective < 1e-15 and found.residual_spread < 1e-7


@pytest.mark.parametrize('design', [isoflop(80), grid()])
def test_no_minimizer_of_scipy_finds_less(design):
  losses = noisy(CHINCHILLA, *design, seed=3)
  law = fit_scaling_law(*design, losses)
  mine = objective(theta_of(law), *design, losses)
  assert law.objective == pytest.approx(mine / len(losses), rel=1e-6)
  others = []
  for alpha, beta, e in ((0.2, 0.5, 0.0), (0.5, 0.2, 0.5), (0.35, 0.35, 0.6)):
    start, args = [alpha * 20, beta * 22, e, alpha, beta], (*design, losses)
    near = optimize.minimize(
      objective,
      start,
      args,
      method='Nelder-Mead',
      options={'maxfev': 4000, 'maxiter': 4000},
    )
    others.append(optimize.minimize(objective, near.x, args, method='Powell').fun)
  others.append(
    optimize.minimize(
      objective, theta_of(law), (*design, losses), method='Nelder-Mead'
    ).fun
  )
  assert mine <= min(others) * (1 + 1e-6)


def test_the_optimum_satisfies_its_equations():
  # At the minimum, the scores are orthogonal to the slopes of log L (finite differences).
  n, d = isoflop()
  losses = noisy(CHINCHILLA, n, d)
  theta = theta_of(fit_scaling_law(n, d, losses))

  def log_l(t):
    return special.logsumexp(
      [t[0] - t[3] * np.log(n), t[1] - t[4] * np.log(d), t[2] + 0 * n], axis=0
    )

  scores = np.clip(np.log(losses) - log_l(theta), -1e-3, 1e-3)
  for j in range(5):
    step = 1e-6 * np.eye(5)[j]
    slope = (log_l(theta + step) - log_l(theta - step)) / 2e-6
    assert abs(slope @ scores) < 1e-3 * 1e-3 * np.linalg.norm(slope)


def test_a_run_gone_wrong_does_not_pull():
  n, d = grid()
  losses = noisy(CHINCHILLA, n, d, 0.001)
  clean, losses[7] = fit_scaling_law(n, d, losses), 3 * losses[7]
  assert abs(fit_scaling_law(n, d, losses).alpha - clean.alpha) < 0.005


def test_what_cannot_be_fitted_is_left_out_and_counted():
  n, d = grid()
  losses = loss_of(CHINCHILLA, n, d)
  bad = losses.copy()
  bad[[0, 5, 9, 14]] = np.nan, np.inf, -1.0, 0.0
  law = fit_scaling_law(n, d, bad)
  assert (law.n_runs, law.n_left_out) == (32, 4)
  np.testing.assert_allclose(law.alpha, CHINCHILLA[3], rtol=1e-4)
  assert fit_scaling_law(n, d, losses).n_left_out == 0


def test_other_units_and_order_change_nothing():
  n, d = grid()
  losses = noisy(CHINCHILLA, n, d)
  law, order = fit_scaling_law(n, d, losses), np.random.default_rng(0).permutation(36)
  other = fit_scaling_law(n[order] / 1e6, d[order] / 1e9, 2 * losses[order])
  np.testing.assert_allclose(
    [other.alpha, other.beta, other.E / 2], [law.alpha, law.beta, law.E], rtol=1e-5
  )
  np.testing.assert_allclose(
    other.intervals['alpha'], law.intervals['alpha'], rtol=1e-3
  )
  np.testing.assert_allclose(
    other.predict(1e5, 1e4), 2 * law.predict(1e11, 1e13), rtol=1e-5
  )


@pytest.mark.parametrize(
  'call, words',
  [
    (lambda: fit_scaling_law([1, 2], [1, 2], [1]), 'got shapes'),
    (lambda: fit_scaling_law(*(np.ones((3, 3)),) * 3), 'got shapes'),
    (
      lambda: fit_scaling_law([1, 2, 3, 4, 5], [1, 2, 1, 2, 3], [5, 4, 3, 2, 1]),
      'got 5 usable runs of 5',
    ),
    (
      lambda: fit_scaling_law(*grid(), np.r_[np.ones(5), [np.nan] * 31]),
      'got 5 usable runs of 36',
    ),
    (
      lambda: fit_scaling_law(np.full(8, 1e6), np.arange(1, 9), np.ones(8)),
      'parameters: got 1e',
    ),
    (
      lambda: fit_scaling_law(np.arange(1, 9), np.full(8, 1e6), np.ones(8)),
      'tokens: got 1e',
    ),
    (lambda: fit_scaling_law(*grid(), np.ones(36), confidence=90), 'confidence'),
    (
      lambda: fit_scaling_law(*grid(), np.ones(36), huber=HuberSettings(delta=0)),
      'delta',
    ),
  ],
)
def test_mistakes_are_named(call, words):
  with pytest.raises(ConfigError, match=words):
    call()


# --- intervals ----------------------------------------------------------------------


@pytest.mark.slow
def test_intervals_hold_the_truth():
  # The aim is 90%. The standard error over 80 studies is 3.4%. The whole table is in
  # bench/calibration_scaling.py.
  design, law, far, held = grid(4, 4), CHINCHILLA, (1e11, 3e12), []
  rng, truth = np.random.default_rng(0), (*law[3:], law[4] / (law[3] + law[4]))
  for _ in range(80):
    found = fit_scaling_law(
      *design,
      loss_of(law, *design) * np.exp(0.005 * rng.standard_normal(len(design[0]))),
      huber=HuberSettings(draws=100),
    )
    low, high = found.interval(*far)
    new = loss_of(law, *far) * np.exp(0.005 * rng.standard_normal())
    held.append(
      [
        found.intervals[k][0] <= v <= found.intervals[k][1]
        for k, v in zip(('alpha', 'beta', 'a'), truth)
      ]
      + [low <= new <= high]
    )
  assert np.all(np.mean(held, axis=0) > 0.81) and np.all(np.mean(held, axis=0) < 0.99)


def test_the_ends_are_where_the_score_test_turns():
  # Oracle: alpha is fixed, scipy fits the rest, least squares give the partial correlation.
  n, d = grid()
  losses, delta = (
    noisy(CHINCHILLA, n, d, seed=1),
    0.02,
  )  # a smooth problem, which scipy's minimizer solves well
  law = fit_scaling_law(n, d, losses, huber=HuberSettings(delta))

  def correlation(alpha):
    def free(t):
      return np.insert(t, 3, alpha)

    start = np.array(
      [
        np.log(law.A) + (alpha - law.alpha) * np.log(n).mean(),
        np.log(law.B),
        np.log(law.E),
        law.beta,
      ]
    )
    found = optimize.least_squares(
      lambda t: (
        (
          special.logsumexp(
            [t[0] - alpha * np.log(n), t[1] - t[3] * np.log(d), t[2] + 0 * n], axis=0
          )
          - np.log(losses)
        )
        / delta
      ),
      start,
      x_scale=[1, 1, 0.1, 0.1],
      xtol=1e-14,
      ftol=1e-14,
      gtol=1e-14,
    )

    def log_l(t):
      return special.logsumexp(
        [t[0] - t[3] * np.log(n), t[1] - t[4] * np.log(d), t[2] + 0 * n], axis=0
      )

    at = free(found.x)
    slope = np.stack(
      [(log_l(at + s) - log_l(at - s)) / 2e-6 for s in 1e-6 * np.eye(5)], axis=1
    )
    others = np.delete(slope, 3, axis=1)
    along = slope[:, 3] - others @ np.linalg.lstsq(others, slope[:, 3], rcond=None)[0]
    return (
      np.corrcoef(along, np.log(losses) - log_l(at))[0, 1]
      if abs(along.sum()) < 1e-9
      else along
      @ (np.log(losses) - log_l(at))
      / np.linalg.norm(along)
      / np.linalg.norm(np.log(losses) - log_l(at))
    )

  critical = critical_correlation(31, 0.9)
  for end in law.intervals['alpha']:
    assert abs(correlation(end)) == pytest.approx(critical, rel=2e-3)
  from scipy import stats

  assert critical * np.sqrt(31 / (1 - critical**2)) == pytest.approx(
    stats.t.ppf(0.95, 31)
  )


def test_intervals_narrow_with_runs_and_confidence():
  def wide(law):
    return law.intervals['alpha'][1] - law.intervals['alpha'][0]

  def mean(n, d):
    return np.mean(
      [wide(fit_scaling_law(n, d, noisy(CHINCHILLA, n, d, seed=s))) for s in range(6)]
    )

  assert (
    1.5 < mean(*grid(6, 6)) / mean(*grid(12, 12)) < 3
  )  # 2 but for chance and degrees of freedom
  few = (*grid(), noisy(CHINCHILLA, *grid()))
  assert wide(fit_scaling_law(*few, confidence=0.5)) < 0.7 * wide(fit_scaling_law(*few))
  law = fit_scaling_law(*few)
  for name in NAMES:
    assert law.intervals[name][0] < getattr(law, name) < law.intervals[name][1]


def test_no_interval_where_none_can_be_said():
  n, d = grid(2, 4)
  law = fit_scaling_law(n, d, noisy(CHINCHILLA, n, d))
  assert (
    law.reason
    and np.isnan(law.intervals['alpha']).all()
    and np.isnan(law.interval(1e9, [1e10])).all()
  )
  assert np.isnan(law.compute_optimal(1e21).parameters_interval).all() and np.isfinite(
    law.compute_optimal(1e21).tokens
  )
  sizes = np.geomspace(1e7, 1e10, 20)
  law = fit_scaling_law(sizes, 20 * sizes, noisy(CHINCHILLA, sizes, 20 * sizes))
  assert law.reason and np.isnan(law.intervals['beta']).all()


def test_losses_without_any_law_do_not_bound_the_exponents():
  n, d = grid()
  law = fit_scaling_law(
    n, d, 3 * np.exp(0.02 * np.random.default_rng(0).standard_normal(36))
  )
  assert (
    law.reason
    and not np.all(np.isfinite(law.intervals['alpha']))
    and min(law.alpha, law.beta) > 0
  )
  assert np.isfinite(law.predict(1e8, 1e10))


def test_a_term_that_is_not_there():
  n, d = grid()
  law = fit_scaling_law(
    n,
    d,
    (1.7 + 400 / d**0.28)
    * np.exp(0.005 * np.random.default_rng(0).standard_normal(36)),
  )
  assert law.reason and not (
    law.intervals['alpha'][0] > 0 and law.intervals['alpha'][1] < np.inf
  )


def test_two_sizes_do_not_determine_an_exponent():
  law = fit_scaling_law(*grid(2, 8), noisy(CHINCHILLA, *grid(2, 8)))
  assert law.reason
  assert np.isnan(law.intervals['alpha']).all()


def test_the_seed_repeats_and_the_draws_agree():
  n, d = grid()
  losses = noisy(CHINCHILLA, n, d)
  first, again, other = (
    fit_scaling_law(n, d, losses, huber=HuberSettings(seed=s)).interval(
      [1e10, 1e11], 1e12
    )
    for s in (0, 0, 1)
  )
  np.testing.assert_array_equal(first, again)
  assert np.any(np.array(first) != np.array(other))
  np.testing.assert_allclose(first, other, rtol=3e-3)


def test_a_prediction_further_away_is_less_sure_and_never_surer_than_one_run():
  n, d = grid()
  law = fit_scaling_law(n, d, noisy(CHINCHILLA, n, d))
  low, high = law.interval([2e8, 1e10, 1e12], [2e10, 1e12, 1e14])
  widths = np.log(high / low)
  assert (
    np.all(np.diff(widths) > 0)
    and 2 * 1.645 * 0.005 * 0.6 < widths[0] < 2 * 1.645 * 0.005 * 1.6
  )
  assert law.interval(np.ones((2, 3)) * 1e9, 1e10)[0].shape == (2, 3)


# --- compute-optimal ----------------------------------------------------------------


def test_the_best_split_is_scipys():
  n, d = grid()
  law = fit_scaling_law(n, d, loss_of(HOFFMANN, n, d))
  best = law.compute_optimal([1e19, 5.76e23])
  for flops, size, tokens, loss in zip(
    best.flops, best.parameters, best.tokens, best.losses
  ):
    found = optimize.minimize_scalar(
      lambda u, c=flops: loss_of(HOFFMANN, np.exp(u), c / 6 / np.exp(u)),
      (18, 24),
      tol=1e-12,
    )
    assert (np.exp(found.x), found.fun) == (
      pytest.approx(size, rel=1e-3),
      pytest.approx(loss, rel=1e-5),
    )
    assert 6 * size * tokens == pytest.approx(flops)
  assert best.a == pytest.approx(0.28 / 0.62, rel=1e-4) and best.a + best.b == 1
  slope = np.diff(np.log(best.parameters)) / np.diff(np.log(best.flops))
  assert slope[0] == pytest.approx(best.a)


def test_intervals_of_the_best_split():
  n, d = grid()
  best = fit_scaling_law(n, d, noisy(CHINCHILLA, n, d)).compute_optimal([1e21, 1e25])
  (low, high), (few, many) = best.parameters_interval, best.tokens_interval
  assert np.all(
    (low < best.parameters)
    & (best.parameters < high)
    & (few < best.tokens)
    & (best.tokens < many)
  )
  np.testing.assert_allclose(low * many, best.flops / 6)
  assert high[1] / low[1] > high[0] / low[0]
  assert (
    best.b_interval[0] == 1 - best.a_interval[1]
    and best.a_interval[0] < best.a < best.a_interval[1]
  )


def logs_of(n, d, losses, weights=None, log_e=np.nan):
  weights = np.ones(len(n)) if weights is None else weights
  x, z = np.log(n), np.log(d)
  fixed = np.array([log_e, *[np.nan] * 4])
  centre = (x.mean(), z.mean())
  return LogRuns(
    x - centre[0], z - centre[1], np.log(losses), centre, 1e-3, np.sqrt(weights), fixed
  )


def test_nonnegative_least_squares_is_scipys():
  rng, (n, d) = np.random.default_rng(0), grid(4, 3)
  for _ in range(20):
    losses, alpha, beta = rng.uniform(1, 4, 12), *rng.uniform(0.1, 1, 2)
    weights = rng.uniform(0.1, 2, 12)
    runs = logs_of(n, d, losses, weights)
    columns = np.stack([np.ones(12), np.exp(-alpha * runs.x), np.exp(-beta * runs.z)])
    design = (columns / losses).T * runs.root[:, None]
    oracle, error = optimize.nnls(design, runs.root)
    linear, squares = linear_part(runs, np.array([alpha]), np.array([beta]))
    np.testing.assert_allclose(linear[0], oracle, atol=1e-8)
    assert squares[0] == pytest.approx(error**2)

    # With a known E, the rest is fitted to what E leaves.
    runs = logs_of(n, d, losses, weights, log_e=np.log(0.5))
    oracle, error = optimize.nnls(design[:, 1:], runs.root - 0.5 * design[:, 0])
    linear, squares = linear_part(runs, np.array([alpha]), np.array([beta]))
    np.testing.assert_allclose(linear[0], [0.5, *oracle], atol=1e-8)
    assert squares[0] == pytest.approx(error**2)


# --- a known E, weights, covariance -----------------------------------------------------


def test_a_known_e_is_kept_and_the_rest_is_fitted():
  n, d = grid()
  losses = noisy(CHINCHILLA, n, d, seed=3)
  law = fit_scaling_law(n, d, losses, E=1.9)
  assert law.E == pytest.approx(1.9, rel=1e-15) and law.se['E'] == 0
  assert 'E' not in law.intervals
  # Oracle: scipy's minimizer of the four other parameters.
  found = optimize.minimize(
    lambda t: objective((t[0], t[1], np.log(1.9), t[2], t[3]), n, d, losses),
    np.delete(theta_of(law), 2),
    method='Nelder-Mead',
    options={'xatol': 1e-10, 'fatol': 1e-16, 'maxfev': 8000, 'maxiter': 8000},
  )
  assert 36 * law.objective <= found.fun * (1 + 1e-9)
  np.testing.assert_allclose(found.x[2:], [law.alpha, law.beta], rtol=1e-3)
  assert law.se['alpha'] < fit_scaling_law(n, d, losses).se['alpha']


def test_an_e_of_zero_is_possible():
  n, d = grid()
  losses = noisy((0.0, *CHINCHILLA[1:]), n, d, 1e-4)
  law = fit_scaling_law(n, d, losses, E=0)
  assert law.E == 0 and law.alpha == pytest.approx(CHINCHILLA[3], rel=0.02)
  assert law.reason == ''


def test_weights_are_inverse_variances():
  # Oracle: scipy's least squares with sigma, as the errors are below delta.
  n, d = grid()
  rng = np.random.default_rng(0)
  weights = rng.uniform(0.2, 5, 36)
  losses = loss_of(CHINCHILLA, n, d) * np.exp(
    0.005 / np.sqrt(weights) * rng.standard_normal(36)
  )
  law = fit_scaling_law(n, d, losses, weights=weights, huber=HuberSettings(delta=1))

  def log_l(_, a, b, e, alpha, beta):
    return special.logsumexp(
      [a - alpha * np.log(n), b - beta * np.log(d), e + 0 * n], axis=0
    )

  oracle, cov = optimize.curve_fit(
    log_l,
    n,
    np.log(losses),
    theta_of(law),
    1 / np.sqrt(weights),
    xtol=1e-14,
    ftol=1e-14,
  )
  np.testing.assert_allclose(theta_of(law), oracle, rtol=1e-4)
  # The bootstrap of the scores has the errors of normal theory, nearly.
  errors = np.sqrt(np.diag(cov))
  assert law.se['alpha'] == pytest.approx(errors[3], rel=0.15)
  assert law.se['beta'] == pytest.approx(errors[4], rel=0.15)
  scaled = fit_scaling_law(
    n, d, losses, weights=9 * weights, huber=HuberSettings(delta=1)
  )
  assert scaled.alpha == pytest.approx(law.alpha, rel=1e-6)


def test_standard_errors_are_the_spread_of_estimates():
  n, d = grid(8, 8)
  laws = [
    fit_scaling_law(
      n, d, noisy(CHINCHILLA, n, d, 0.003, seed), huber=HuberSettings(draws=100)
    )
    for seed in range(12)
  ]
  for name in ('E', 'alpha', 'beta', 'a'):
    spread = np.std([law.estimates[name] for law in laws], ddof=1)
    error = np.median([law.se[name] for law in laws])
    # The spread of 12 has an error of 21%.
    assert 0.5 < error / spread < 2


def test_the_covariance_of_a_is_that_of_its_exponents():
  n, d = grid()
  law = fit_scaling_law(n, d, noisy(CHINCHILLA, n, d, 0.001))
  # a = beta / (alpha + beta), by its slopes.
  slopes = np.array([-law.beta, law.alpha]) / (law.alpha + law.beta) ** 2
  variance = slopes @ law.cov[3:5, 3:5] @ slopes
  assert law.se['a'] == pytest.approx(np.sqrt(variance), rel=0.05)
  assert list(law.estimates) == [*NAMES, 'a'] and law.cov.shape == (6, 6)


def test_a_law_that_is_not_determined_has_a_reason_and_no_errors():
  # Losses of N alone.
  n, d = grid()
  law = fit_scaling_law(n, d, np.full(36, 3.0))
  assert law.reason and np.isnan(law.cov).all()


# --- loss against compute ---------------------------------------------------------------

FLOPS = np.geomspace(1e17, 1e21, 12)


def compute_losses(noise=0.0, seed=0):
  rng = np.random.default_rng(seed)
  return (1.6 + 95 / FLOPS**0.094) * np.exp(noise * rng.standard_normal(12))


def test_a_known_compute_law_is_recovered():
  law = fit_compute_law(FLOPS, compute_losses())
  np.testing.assert_allclose([law.E, law.A, law.alpha], [1.6, 95, 0.094], rtol=1e-4)
  np.testing.assert_allclose(law.predict(1e23), 1.6 + 95 / 1e23**0.094, rtol=1e-5)


def test_the_compute_law_is_scipys_least_squares():
  losses = compute_losses(0.003)
  law = fit_compute_law(FLOPS, losses, huber=HuberSettings(delta=1))

  def log_l(c, e, a, alpha):
    return np.log(e + a / c**alpha)

  start = (law.E, law.A, law.alpha)
  oracle, cov = optimize.curve_fit(log_l, FLOPS, np.log(losses), start, xtol=1e-14)
  np.testing.assert_allclose(start, oracle, rtol=1e-4)
  known = fit_compute_law(FLOPS, losses, E=1.6, huber=HuberSettings(delta=1))
  oracle, cov = optimize.curve_fit(
    lambda c, a, alpha: log_l(c, 1.6, a, alpha),
    FLOPS,
    np.log(losses),
    (known.A, known.alpha),
    xtol=1e-14,
  )
  np.testing.assert_allclose((known.A, known.alpha), oracle, rtol=1e-4)
  errors = np.sqrt(np.diag(cov))
  np.testing.assert_allclose([known.se['A'], known.se['alpha']], errors, rtol=0.15)


@pytest.mark.slow
def test_intervals_of_the_compute_law_hold_the_truth():
  held = []
  for seed in range(60):
    law = fit_compute_law(
      FLOPS, compute_losses(0.003, seed), huber=HuberSettings(draws=100)
    )
    low, high = law.intervals['alpha']
    held.append(low <= 0.094 <= high)
  # The standard error of 60 is 3.9%.
  assert 0.8 < np.mean(held) < 0.99


def test_the_loss_of_a_new_run_has_an_interval():
  law = fit_compute_law(FLOPS, compute_losses(0.003))
  low, high = law.interval([1e19, 1e24])
  assert np.all((low < law.predict([1e19, 1e24])) & (law.predict([1e19, 1e24]) < high))
  assert high[1] / low[1] > high[0] / low[0]


@pytest.mark.parametrize(
  'call, words',
  [
    (lambda: fit_compute_law([1, 2, 3], [1, 2, 3]), 'got 3 usable runs of 3'),
    (lambda: fit_compute_law(np.ones(9), np.ones(9)), 'flops: got 1 in all'),
    (lambda: fit_compute_law(FLOPS, compute_losses(), E=-1), 'E: got -1'),
    (lambda: fit_compute_law(['a'] * 9, np.ones(9)), 'flops: expected numbers'),
    (lambda: fit_scaling_law(*grid(), np.ones(36), weights=[1]), 'got shapes'),
  ],
)
def test_other_mistakes_are_named(call, words):
  with pytest.raises(ConfigError, match=words):
    call()


def test_ends_with_a_known_e_are_where_the_score_test_turns():
  # Oracle: A is fixed at an end, scipy fits alpha, and the correlation of the scores with
  # the slope by log A, cleaned of the slope by alpha, is the critical one.
  losses = compute_losses(0.003)
  law = fit_compute_law(FLOPS, losses, E=1.6, huber=HuberSettings(delta=3e-3))
  for end in law.intervals['A']:
    found = optimize.minimize_scalar(
      lambda alpha, a=end: np.sum(
        special.huber(3e-3, np.log(losses / (1.6 + a / FLOPS**alpha)))
      ),
      (0.09, 0.095),
      tol=1e-12,
    )
    term = end / FLOPS**found.x
    by_log_a = term / (1.6 + term)
    by_alpha = by_log_a * np.log(FLOPS)
    along = by_log_a - by_alpha * (by_log_a @ by_alpha) / (by_alpha @ by_alpha)
    scores = np.clip(np.log(losses / (1.6 + term)), -3e-3, 3e-3)
    correlation = along @ scores / np.sqrt((along @ along) * (scores @ scores))
    assert abs(correlation) == pytest.approx(critical_correlation(10, 0.9), rel=0.01)
