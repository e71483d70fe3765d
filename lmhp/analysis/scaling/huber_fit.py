"""Many Huber fits of L(N, D) = E + A/N^alpha + B/D^beta at once, and confidence intervals from their scores.

A law is theta = (log E, a, b, alpha, beta) with log L = logsumexp(log E, a - alpha x, b - beta z), where x and z are
log N and log D less their means: so centred, the five are far less entangled than log A and log B. The fits are batched
over starts, studies, bootstrap draws or values held fixed: one numpy loop, a few microseconds for each point and step.

An interval holds all values v of a quantity at which the score test does not reject: fit the law with the quantity held
at v, take the Huber scores psi(r) of its residuals, and correlate them with the direction in which the quantity would
move the law, cleaned of what the other parameters can do. It needs no estimate of the density of the noise at zero (the
Huber width of 1e-3 is far below most noise, so that the fit is one of absolute deviations in all but name), follows the
law's curvature, and gives the same for any parametrization. Source: Rao's score test; for M-estimators Hampel et al.,
Robust Statistics (1986), chapter 7; inverted as in Koenker, Quantile Regression (2005), section 3.5.

Dimension key: R fits, n runs, k free directions.
"""

from __future__ import annotations

import numpy as np

ALPHA, BETA = 3, 4
QUANTITIES = ('E', 'A', 'B', 'alpha', 'beta', 'a')
"""What intervals are for; a = beta / (alpha + beta) is the exponent of the compute-optimal N."""

RELAXATION = 1.6
"""Step length of reweighted least squares; 1 is the plain one. Absolute deviations gain by more."""

EXPONENT_BOUNDS = (1e-3, 10.0)
"""Of alpha and beta where they are fitted; a negative one would raise the loss with size."""

_EXPANSIONS, _BISECTIONS = 14, 10


def log_law(
  theta: np.ndarray, x: np.ndarray, z: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """(R, n) of log L, and the (3, R, n) shares of E, A/N^alpha and B/D^beta in L.

  Args:
    theta: (R, 5).
    x, z: (n,) or (R, n), centred log N and log D.
  """
  terms = np.stack(
    np.broadcast_arrays(
      theta[:, :1] + 0 * x,
      theta[:, 1:2] - theta[:, 3:4] * x,
      theta[:, 2:3] - theta[:, 4:5] * z,
    )
  )
  top = terms.max(axis=0)
  shares = np.exp(terms - top)
  total = shares.sum(axis=0)
  return top + np.log(total), shares / total


def slopes(shares: np.ndarray, x: np.ndarray, z: np.ndarray) -> np.ndarray:
  """(R, 5, n): derivative of log L by theta."""
  return np.stack(
    [shares[0], shares[1], shares[2], -shares[1] * x, -shares[2] * z], axis=1
  )


def huber(
  residuals: np.ndarray, delta: float, tilt: np.ndarray | float = 0.0
) -> np.ndarray:
  """(R,): sum over runs of the Huber loss, quadratic below delta, less tilt * residual."""
  size = np.abs(residuals)
  return np.sum(
    np.where(size <= delta, 0.5 * size**2, delta * (size - 0.5 * delta))
    - tilt * residuals,
    axis=-1,
  )


def linear_part(
  losses: np.ndarray,
  parameters: np.ndarray,
  tokens: np.ndarray,
  alpha: np.ndarray,
  beta: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
  """For fixed exponents E, A and B >= 0 of least squared relative error, and that error.

  Nonnegative least squares in three unknowns: of the eight subsets of positive unknowns the best feasible one.

  Args:
    losses, parameters, tokens: (n,), above 0.
    alpha, beta: (R,) exponents.

  Returns:
    (R, 3) of E, A / N0^alpha, B / D0^beta with N0, D0 the geometric means, and (R,) sums of squares.
  """
  x, z = (
    np.log(parameters) - np.log(parameters).mean(),
    np.log(tokens) - np.log(tokens).mean(),
  )
  columns = np.stack(
    np.broadcast_arrays(
      np.ones_like(x), np.exp(-alpha[:, None] * x), np.exp(-beta[:, None] * z)
    ),
    1,
  )
  columns = (
    columns / losses
  )  # (R, 3, n): relative errors, so that high losses do not rule
  gram, right = columns @ columns.transpose(0, 2, 1), columns.sum(axis=2)
  best, error = np.zeros((len(alpha), 3)), np.full(len(alpha), float(len(losses)))
  for subset in ([0], [1], [2], [0, 1], [0, 2], [1, 2], [0, 1, 2]):
    part = (
      gram[:, subset][:, :, subset]
      + 1e-13 * np.eye(len(subset)) * gram[:, subset, subset].max(1)[:, None, None]
    )
    solved = np.zeros_like(best)
    solved[:, subset] = np.linalg.solve(part, right[:, subset, None])[..., 0]
    squares = np.sum((1 - np.einsum('rk,rkn->rn', solved, columns)) ** 2, axis=1)
    better = (solved >= 0).all(axis=1) & (squares < error)
    best[better], error[better] = solved[better], squares[better]
  return best, error


def fit(
  theta: np.ndarray,
  x: np.ndarray,
  z: np.ndarray,
  y: np.ndarray,
  delta: float,
  *,
  tilt=0.0,
  basis: np.ndarray | None = None,
  iterations: int = 150,
  tolerance: float = 1e-3,
):
  """R Huber fits, by iteratively reweighted least squares with damping.

  Args:
    theta: (R, 5) starts.
    x, z: (n,) centred log N, log D.
    y: (n,) or (R, n) log losses.
    delta: of the Huber loss, in nats per nat.
    tilt: (R, n), subtracts tilt * residual from the loss: a draw of the score bootstrap.
    basis: (R, 5, k) directions in which theta may move; by default all five, with exponents in `EXPONENT_BOUNDS`.
    iterations, tolerance: at most that many, until a step would gain less than tolerance * delta^2, or less than that
      share of the mean square where residuals are smaller.

  Returns:
    (R, 5) theta, (R, n) residuals, (3, R, n) shares, (R,) objective.
  """
  theta, (n_fits, n) = theta.copy(), (len(theta), len(x))
  y, tilt = np.broadcast_to(y, (n_fits, n)), np.broadcast_to(tilt, (n_fits, n))
  expected, shares = log_law(theta, x, z)
  residuals = y - expected
  value, damping, active = (
    huber(residuals, delta, tilt),
    np.full(n_fits, 1e-6),
    np.arange(n_fits),
  )
  for _ in range(iterations):
    step, gain = _step(
      residuals[active],
      shares[:, active],
      x,
      z,
      delta,
      tilt[active],
      damping[active],
      None if basis is None else basis[active],
    )
    trial = theta[active] + step
    if basis is None:
      trial[:, ALPHA:] = np.clip(trial[:, ALPHA:], *EXPONENT_BOUNDS)
    expected, trial_shares = log_law(trial, x, z)
    trial_residuals = y[active] - expected
    trial_value = huber(trial_residuals, delta, tilt[active])
    better = trial_value <= value[active] * (1 + 1e-15) + 1e-18 * delta**2
    moved = active[better]
    theta[moved], residuals[moved], value[moved] = (
      trial[better],
      trial_residuals[better],
      trial_value[better],
    )
    shares[:, moved] = trial_shares[:, better]
    damping[active] = np.where(
      better,
      np.maximum(damping[active] / 10, 1e-9),
      np.maximum(damping[active] * 10, 1e-4),
    )
    scale = np.minimum(delta**2, np.mean(residuals[active] ** 2, axis=1))
    done = (
      (better & (gain < tolerance * scale))
      | (damping[active] > 1e8)
      | (np.abs(step).max(axis=1) < 1e-12)
    )
    active = active[~done]
    if not len(active):
      break
  return theta, residuals, shares, value


def _step(residuals, shares, x, z, delta, tilt, damping, basis):
  """(R, 5) damped steps, and (R,) what each promises: twice the decrease of its quadratic model."""
  weights = np.minimum(1, delta / np.maximum(np.abs(residuals), 1e-300))
  jacobian = slopes(shares, x, z)
  if basis is not None:
    jacobian = basis.transpose(0, 2, 1) @ jacobian
  gradient = (jacobian @ (residuals * weights - tilt)[..., None])[..., 0]
  hessian = (jacobian * weights[:, None]) @ jacobian.transpose(0, 2, 1)
  diagonal = np.einsum('rkk->rk', hessian)
  extra = (
    damping[:, None] * diagonal + 1e-13 * diagonal.max(axis=1, keepdims=True) + 1e-300
  )
  step = np.linalg.solve(
    hessian + extra[:, :, None] * np.eye(hessian.shape[1]), gradient[..., None]
  )[..., 0]
  gain = np.sum(step * gradient, axis=1)
  if basis is not None:
    step = (basis @ step[..., None])[..., 0]
  step *= np.minimum(1, 2 / np.maximum(np.abs(step).max(axis=1), 1e-300))[:, None]
  return step * (1 + (RELAXATION - 1) * np.mean(weights < 1, axis=1))[
    :, None
  ], gain  # 1 where all is quadratic


# --- intervals ------------------------------------------------------------------------------------------------------


def score_correlation(
  residuals: np.ndarray, shares: np.ndarray, x, z, delta: float, normal: np.ndarray
) -> np.ndarray:
  """(R,): partial correlation of the scores with the direction that was held, of a fit with normal . theta held.

  Args:
    residuals, shares: of fits with the constraint.
    normal: (R, 5) what was held.
  """
  jacobian = slopes(shares, x, z)
  along = (normal[:, None] @ jacobian)[:, 0]
  others = complement(normal).transpose(0, 2, 1) @ jacobian
  gram = others @ others.transpose(0, 2, 1)
  gram += 1e-13 * np.einsum('rkk->rk', gram).max(axis=1)[:, None, None] * np.eye(4)
  shadow = np.linalg.solve(gram, others @ along[..., None])
  along = along - (others.transpose(0, 2, 1) @ shadow)[..., 0]
  scores = np.clip(residuals, -delta, delta)
  size = np.sqrt(np.sum(along**2, axis=1) * np.sum(scores**2, axis=1))
  return np.sum(along * scores, axis=1) / np.maximum(size, 1e-300)


def complement(normal: np.ndarray) -> np.ndarray:
  """(R, 5, 4): an orthonormal basis of the directions along which normal . theta stays."""
  return np.linalg.svd(normal[:, None])[2][:, 1:].transpose(0, 2, 1)


def critical_correlation(n: int, confidence: float) -> float:
  """Above which the partial correlation of n scores is rejected: Student's, of n - 5 degrees of freedom."""
  from scipy import stats

  t = stats.t.ppf((1 + confidence) / 2, n - 5)
  return float(t / np.sqrt(t**2 + n - 5))


def quantity(
  which: np.ndarray, theta: np.ndarray, centre: tuple[float, float]
) -> np.ndarray:
  """(R,): the quantity `QUANTITIES[which]` of each theta; of E, A and B the logarithm.

  Args:
    which: (R,) int.
    theta: (R, 5).
    centre: what was subtracted of log N and log D.
  """
  log_e, log_a, log_b, alpha, beta = theta.T
  values = np.stack(
    [
      log_e,
      log_a + alpha * centre[0],
      log_b + beta * centre[1],
      alpha,
      beta,
      beta / (alpha + beta),
    ]
  )
  return values[which, np.arange(len(theta))]


def held_at(
  which: np.ndarray, value: np.ndarray, centre: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
  """normal (R, 5) and level (R,), where normal . theta = level holds the quantity at a value."""
  normals = np.zeros((len(QUANTITIES), len(value), 5))
  normals[[0, 1, 2, 3, 4], :, [0, 1, 2, 3, 4]] = 1
  normals[1, :, ALPHA], normals[2, :, BETA] = centre
  normals[5, :, ALPHA], normals[5, :, BETA] = value, value - 1  # v alpha = (1 - v) beta
  return normals[which, np.arange(len(value))], np.where(which == 5, 0.0, value)


def score_bounds(
  theta: np.ndarray,
  x,
  z,
  y: np.ndarray,
  delta: float,
  confidence: float,
  which: np.ndarray,
  side: np.ndarray,
  centre: tuple[float, float],
) -> np.ndarray:
  """(R,) ends of confidence intervals: the value that is only just not rejected.

  Args:
    theta: (R, 5) fits.
    x, z, y: (n,), (n,) and (R, n), what they are fits of.
    which: (R,) of the quantity.
    side: (R,) the upper end where 1, the lower where -1.
    centre: what was subtracted of log N and log D.

  Returns:
    The ends, of the logarithm of E, A and B; infinite where nothing is rejected, however far.
  """
  critical, middle = (
    critical_correlation(len(x), confidence),
    quantity(which, theta, centre),
  )
  unit = _standard_errors(theta, x, z, y, which, centre)
  inside, outside, reached = (
    np.zeros(len(theta)),
    np.full(len(theta), np.inf),
    theta.copy(),
  )
  for turn in range(_EXPANSIONS + _BISECTIONS):
    open_ = np.isinf(outside)
    todo = np.flatnonzero(open_ if turn < _EXPANSIONS else ~open_)
    if not len(todo):
      continue
    distance = np.where(open_, np.maximum(1.6, 1.6 * inside), 0.5 * (inside + outside))[
      todo
    ]
    normal, level = held_at(
      which[todo], middle[todo] + (side * unit)[todo] * distance, centre
    )
    start = _moved(reached[todo], x, z, normal, level)
    fitted, residuals, shares, _ = fit(
      start, x, z, y[todo], delta, basis=complement(normal)
    )
    rejected = (
      np.abs(score_correlation(residuals, shares, x, z, delta, normal)) > critical
    )
    outside[todo[rejected]] = distance[rejected]
    inside[todo[~rejected]], reached[todo[~rejected]] = (
      distance[~rejected],
      fitted[~rejected],
    )
  return middle + side * unit * np.where(
    np.isinf(outside), np.inf, 0.5 * (inside + outside)
  )


def _standard_errors(theta, x, z, y, which, centre) -> np.ndarray:
  """(R,): of the quantities, roughly (normal noise): the steps in which their ends are looked for."""
  expected, shares = log_law(theta, x, z)
  normal, _ = held_at(which, quantity(which, theta, centre), centre)
  spread = 1.5 * np.median(np.abs(y - expected), axis=1)
  variance = np.einsum('rk,rk->r', normal, _solved(shares, x, z, normal))
  scale = np.where(which == 5, 1 / (theta[:, ALPHA] + theta[:, BETA]), 1.0)
  return np.maximum(spread * np.sqrt(np.maximum(variance, 0)) * scale, 1e-9)


def _moved(theta, x, z, normal, level) -> np.ndarray:
  """(R, 5): to where normal . theta = level, the way that changes log L least."""
  way = _solved(log_law(theta, x, z)[1], x, z, normal)
  short = level - np.sum(normal * theta, axis=1)
  return theta + way * (short / np.sum(normal * way, axis=1))[:, None]


def _solved(shares, x, z, normal) -> np.ndarray:
  """(R, 5): (J J^T)^-1 normal."""
  jacobian = slopes(shares, x, z)
  gram = jacobian @ jacobian.transpose(0, 2, 1)
  gram += 1e-13 * np.einsum('rkk->rk', gram).max(axis=1)[:, None, None] * np.eye(5)
  return np.linalg.solve(gram, normal[..., None])[..., 0]
