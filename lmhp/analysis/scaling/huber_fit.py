"""Huber fits of L(N, D) = E + A/N^alpha + B/D^beta, many at once.

A law is theta = (log E, a, b, alpha, beta) with

  log L = logsumexp(log E, a - alpha x, b - beta z),

where x and z are log N and log D minus their means. Centred like this, the five parameters
are far less correlated than log A and log B. A parameter can be fixed, such as a known E. With
B near 0 and beta fixed, the law is L(N) = E + A/N^alpha. Fits are batched over starts, studies,
bootstrap draws or values held fixed, in one NumPy loop.

A residual is multiplied by the root of its run's weight, which makes the errors of all runs
equal if weights are inverse variances.

Dimension key: R fits, n runs, k free directions.
"""

from __future__ import annotations

import dataclasses

import numpy as np

ALPHA = 3
BETA = 4
RELAXATION = 1.6
"""Step length of reweighted least squares. Absolute deviations gain from more than 1."""

SUBSETS = ([0], [1], [2], [0, 1], [0, 2], [1, 2], [0, 1, 2])
"""Subsets of the terms E, A/N^alpha and B/D^beta."""

EXPONENT_BOUNDS = (1e-3, 10.0)
"""Bounds of fitted exponents. A negative one would raise the loss with size."""


@dataclasses.dataclass(frozen=True)
class LogRuns:
  """Runs in logarithms, for a fit.

  Attributes:
    x: (n,) log N minus its mean.
    z: (n,) log D minus its mean.
    y: (n,) or (R, n) log losses.
    centre: Means that were subtracted from log N and log D.
    delta: Residual at which the Huber loss becomes linear, in units of log L.
    root: (n,) roots of the weights.
    fixed: (5,) values of fixed parameters, NaN for those that are fitted.
  """

  x: np.ndarray
  z: np.ndarray
  y: np.ndarray
  centre: tuple[float, float]
  delta: float
  root: np.ndarray
  fixed: np.ndarray

  @property
  def free(self) -> np.ndarray:
    """(5,) True for the parameters that are fitted."""
    return np.isnan(self.fixed)

  def residuals(self, expected: np.ndarray) -> np.ndarray:
    """Returns (R, n) weighted residuals of expected log losses (R, n)."""
    return (self.y - expected) * self.root

  def slopes(self, term_fractions: np.ndarray) -> np.ndarray:
    """Returns (R, 5, n) the weighted derivatives of log L by theta, 0 for fixed parameters.

    Args:
      term_fractions: (3, R, n) fractions of the terms in L, as in `log_law`.
    """
    e, a, b = term_fractions
    slopes = np.stack([e, a, b, -a * self.x, -b * self.z], axis=1)
    return slopes * self.root * self.free[:, None]

  def select(self, fits: np.ndarray) -> LogRuns:
    """Returns the runs of some fits, if each fit has its own losses."""
    return dataclasses.replace(self, y=self.y[fits])


@dataclasses.dataclass(frozen=True)
class Fits:
  """Result of R fits.

  Attributes:
    theta: (R, 5) parameters.
    residuals: (R, n) weighted residuals of log L.
    term_fractions: (3, R, n) fractions of the terms E, A/N^alpha and B/D^beta in L.
    objective: (R,) Huber loss.
  """

  theta: np.ndarray
  residuals: np.ndarray
  term_fractions: np.ndarray
  objective: np.ndarray


def log_law(
  theta: np.ndarray, x: np.ndarray, z: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Returns (R, n) log L, and (3, R, n) the fractions of its terms E, A/N^alpha and B/D^beta.

  Args:
    theta: (R, 5) parameters.
    x: (n,) or (R, n) centred log N.
    z: (n,) or (R, n) centred log D.
  """
  terms = np.stack(
    np.broadcast_arrays(
      theta[:, :1] + 0 * x,
      theta[:, 1:2] - theta[:, 3:4] * x,
      theta[:, 2:3] - theta[:, 4:5] * z,
    )
  )
  # Log of a sum of exponentials. The largest term is taken out, so that none overflows.
  top = terms.max(axis=0)
  term_fractions = np.exp(terms - top)
  total = term_fractions.sum(axis=0)
  return top + np.log(total), term_fractions / total


def huber(
  residuals: np.ndarray, delta: float, tilt: np.ndarray | float = 0.0
) -> np.ndarray:
  """Returns (R,) the sum over runs of the Huber loss minus tilt * residual.

  The Huber loss is quadratic below delta.
  """
  size = np.abs(residuals)
  loss = np.where(size <= delta, 0.5 * size**2, delta * (size - 0.5 * delta))
  return np.sum(loss - tilt * residuals, axis=-1)


def linear_part(
  runs: LogRuns, alpha: np.ndarray, beta: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the E, A and B >= 0 of least squared relative error, for fixed exponents.

  This is nonnegative least squares in the unknowns that are not fixed: the best feasible one of
  the subsets of positive unknowns.

  Args:
    runs: Runs to fit, with (n,) losses.
    alpha: (R,) exponents of N.
    beta: (R,) exponents of D.

  Returns:
    (R, 3) E, A / N0^alpha and B / D0^beta, with N0 and D0 the geometric means, and (R,) sums
    of squares.
  """
  terms = np.broadcast_arrays(
    np.ones_like(runs.x),
    np.exp(-alpha[:, None] * runs.x),
    np.exp(-beta[:, None] * runs.z),
  )
  # (R, 3, n) relative to the losses, so that high losses do not dominate.
  columns = np.stack(terms, 1) * runs.root / np.exp(runs.y)
  known = np.exp(np.where(runs.free, -np.inf, runs.fixed)[:3])
  best = np.tile(known, (len(alpha), 1))
  target = runs.root - known @ columns
  error = np.sum(target**2, axis=1)

  # Normal equations of target = columns * (E, A, B).
  gram = columns @ columns.transpose(0, 2, 1)
  right = (columns @ target[..., None])[..., 0]
  # The solution with E, A, B >= 0 is the plain solution of a subset of the terms, so
  # the best of all subsets is exact.
  for subset in SUBSETS:
    if not runs.free[subset].all():
      continue
    diagonal = gram[:, subset, subset].max(1)[:, None, None]
    # The small diagonal keeps nearly collinear terms solvable.
    part = gram[:, subset][:, :, subset] + 1e-13 * np.eye(len(subset)) * diagonal
    solved = np.tile(known, (len(alpha), 1))
    solved[:, subset] = np.linalg.solve(part, right[:, subset, None])[..., 0]
    rest = runs.root - np.einsum('rk,rkn->rn', solved, columns)
    squares = np.sum(rest**2, axis=1)
    better = (solved >= 0).all(axis=1) & (squares < error)
    best[better] = solved[better]
    error[better] = squares[better]
  return best, error


def fit(
  theta: np.ndarray,
  runs: LogRuns,
  *,
  tilt: np.ndarray | float = 0.0,
  basis: np.ndarray | None = None,
  iterations: int = 150,
  tolerance: float = 1e-3,
) -> Fits:
  """Runs R Huber fits by damped, iteratively reweighted least squares.

  Args:
    theta: (R, 5) starts.
    runs: Runs to fit.
    tilt: (R, n) factor of the residuals that is subtracted from the loss, for a draw of the
      score bootstrap.
    basis: (R, 5, k) directions in which theta may move. None allows all five, with exponents
      in `EXPONENT_BOUNDS`.
    iterations: Largest number of iterations.
    tolerance: A fit stops if a step would gain less than tolerance * delta^2, or less than
      that fraction of the mean square if residuals are smaller.
  """
  delta = runs.delta
  theta = theta.copy()
  expected, term_fractions = log_law(theta, runs.x, runs.z)
  runs = dataclasses.replace(runs, y=np.broadcast_to(runs.y, expected.shape))
  tilts = np.broadcast_to(tilt, expected.shape)
  residuals = runs.residuals(expected)
  value = huber(residuals, delta, tilts)
  damping = np.full(len(theta), 1e-6)
  # Indices of the fits that have not converged.
  active = np.arange(len(theta))
  for _ in range(iterations):
    # Try a damped step of the active fits.
    step, gain = _step(
      Fits(theta[active], residuals[active], term_fractions[:, active], value[active]),
      runs,
      tilts[active],
      damping[active],
      None if basis is None else basis[active],
    )
    trial = theta[active] + step
    # A basis holds one direction of theta fixed. Clipping would leave that subspace.
    if basis is None:
      trial[:, ALPHA:] = np.clip(trial[:, ALPHA:], *EXPONENT_BOUNDS)
    expected, trial_term_fractions = log_law(trial, runs.x, runs.z)
    trial_residuals = runs.select(active).residuals(expected)
    trial_value = huber(trial_residuals, delta, tilts[active])

    # Keep the steps that lower the loss, and adapt the damping.
    # The margins allow for rounding, so that a converged fit counts as better.
    better = trial_value <= value[active] * (1 + 1e-15) + 1e-18 * delta**2
    moved = active[better]
    theta[moved] = trial[better]
    residuals[moved] = trial_residuals[better]
    value[moved] = trial_value[better]
    term_fractions[:, moved] = trial_term_fractions[:, better]
    damping[active] = np.where(
      better,
      np.maximum(damping[active] / 10, 1e-9),
      np.maximum(damping[active] * 10, 1e-4),
    )

    # Stop the fits that have converged.
    scale = np.minimum(delta**2, np.mean(residuals[active] ** 2, axis=1))
    done = better & (gain < tolerance * scale)
    done |= (damping[active] > 1e8) | (np.abs(step).max(axis=1) < 1e-12)
    active = active[~done]
    if not len(active):
      break
  return Fits(theta, residuals, term_fractions, value)


def _step(
  fits: Fits,
  runs: LogRuns,
  tilt: np.ndarray,
  damping: np.ndarray,
  basis: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
  """Returns (R, 5) damped steps, and (R,) twice the decrease of their quadratic models."""
  # Gradient and Hessian of the weighted squares.
  # Huber weight: 1 up to delta, and delta / |residual| above.
  weights = np.minimum(1, runs.delta / np.maximum(np.abs(fits.residuals), 1e-300))
  jacobian = runs.slopes(fits.term_fractions)
  if basis is not None:
    # Derivatives along the directions that are free.
    jacobian = basis.transpose(0, 2, 1) @ jacobian
  gradient = (jacobian @ (fits.residuals * weights - tilt)[..., None])[..., 0]
  hessian = (jacobian * weights[:, None]) @ jacobian.transpose(0, 2, 1)

  # Solve with damping.
  diagonal = np.einsum('rkk->rk', hessian)
  largest = diagonal.max(axis=1, keepdims=True)
  # Marquardt's damping scales with the diagonal, so it does not depend on units.
  extra = damping[:, None] * diagonal + 1e-13 * largest + 1e-300
  damped = hessian + extra[:, :, None] * np.eye(hessian.shape[1])
  step = np.linalg.solve(damped, gradient[..., None])[..., 0]
  gain = np.sum(step * gradient, axis=1)
  if basis is not None:
    step = (basis @ step[..., None])[..., 0]
  step *= runs.free

  # Bound the step, and lengthen it if most residuals are in the linear part.
  step *= np.minimum(1, 2 / np.maximum(np.abs(step).max(axis=1), 1e-300))[:, None]
  length = 1 + (RELAXATION - 1) * np.mean(weights < 1, axis=1)
  return step * length[:, None], gain
