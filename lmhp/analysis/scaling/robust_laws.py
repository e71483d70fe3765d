"""Laws of the loss that are fitted by Huber's loss of log L, with their errors.

Intervals of the parameters invert a score test (`lmhp.analysis.scaling.score_intervals`).
Covariances, and intervals of losses and of compute-optimal sizes, come from the score
bootstrap: the fit is repeated with the loss tilted by scores with random signs.

Dimension key: n runs, R draws.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, Self

import numpy as np

from lmhp.analysis.scaling.estimates import Fit
from lmhp.analysis.scaling.huber_fit import LogRuns, fit, linear_part, log_law
from lmhp.analysis.scaling.score_intervals import QUANTITIES, law_intervals, quantities
from lmhp.errors import ConfigError
from lmhp.statistics.intervals import check_confidence

START_EXPONENTS = np.geomspace(0.03, 2.5, 14)
N_STARTS = 40
N_NOISE_DRAWS = 20
"""Draws of the noise of a new run for each draw of the law."""
LEAST_SQUARES = 1.0
"""Huber's delta above all residuals of log L, so that the fit is one of least squares."""


@dataclasses.dataclass(frozen=True)
class HuberSettings:
  """Settings of a Huber fit.

  Attributes:
    delta: Residual at which the loss becomes linear, in units of log L.
    draws: Number of draws of the bootstrap.
    seed: Seed of the draws.

  Raises:
    ConfigError: If `delta` is not above 0, or there are fewer than 2 draws.

  >>> HuberSettings(draws=200).delta
  0.001
  """

  delta: float = 1e-3
  draws: int = 1000
  seed: int = 0

  def __post_init__(self) -> None:
    if not self.delta > 0 or self.draws < 2:
      raise ConfigError(
        f'delta, draws: got {self.delta} and {self.draws}, expected a number above 0, and at '
        'least 2'
      )


DEFAULT_HUBER = HuberSettings()


@dataclasses.dataclass(frozen=True)
class HuberFit:
  """Best theta (5,) for some runs, its objective, and the settings of its bootstrap."""

  runs: LogRuns
  settings: HuberSettings
  theta: np.ndarray
  objective: float

  @functools.cached_property
  def residuals(self) -> np.ndarray:
    """(n,) weighted residuals of log L."""
    runs = self.runs
    return runs.residuals(log_law(self.theta[None], runs.x, runs.z)[0])[0]

  @property
  def lost_variance(self) -> float:
    """Variance of the noise over that of the residuals, which the parameters take up."""
    n = len(self.residuals)
    return n / (n - int(self.runs.free.sum()))

  @functools.cached_property
  def draws(self) -> np.ndarray:
    """Draws theta (R, 5) by the score bootstrap.

    The loss is tilted by resampled scores with random signs, times the residuals.
    """
    rng = np.random.default_rng(self.settings.seed)
    shape = (self.settings.draws, len(self.runs.y))
    # The scores are the derivatives of the Huber loss. Each draw tilts the objective by
    # resampled scores with random signs, and fits again.
    scores = np.clip(self.residuals, -self.runs.delta, self.runs.delta)
    tilt = rng.choice(scores, shape) * rng.choice([-1, 1], shape)
    return fit(np.repeat(self.theta[None], shape[0], 0), self.runs, tilt=tilt).theta

  def values(self, theta: np.ndarray) -> dict[str, Any]:
    """Returns {name: (R,) values} of all `QUANTITIES` at theta (R, 5)."""
    values = quantities(theta, self.runs.centre)
    values[:3] = np.exp(values[:3])
    return dict(zip(QUANTITIES, values))


def fit_by_huber(
  columns: np.ndarray, fixed: np.ndarray, settings: HuberSettings
) -> HuberFit:
  """Fits a law to usable runs.

  Each pair of exponents on a grid starts with the E, A and B that fit it best. The best starts
  are refined twice.

  Args:
    columns: (4, n) N, D, losses and weights.
    fixed: (5,) fixed parameters, as in `LogRuns`.
    settings: Settings of the fit.
  """
  # Centre log N and log D, so that the parameters of the fit depend less on each other.
  log_n, log_d, y = np.log(columns[:3])
  centre = (float(log_n.mean()), float(log_d.mean()))
  root = np.sqrt(columns[3] / columns[3].mean())
  x = log_n - centre[0]
  z = log_d - centre[1]
  runs = LogRuns(x, z, y, centre, settings.delta, root, fixed)

  grids = [
    START_EXPONENTS if is_free else fixed[k : k + 1]
    for k, is_free in ((3, runs.free[3]), (4, runs.free[4]))
  ]
  alpha, beta = (grid.ravel() for grid in np.meshgrid(*grids))
  linear, error = linear_part(runs, alpha, beta)
  # The logarithm of the linear part must exist.
  linear = np.maximum(linear, 1e-3 * np.exp(y.mean()))
  starts = np.concatenate([np.log(linear), alpha[:, None], beta[:, None]], axis=1)
  starts = np.where(runs.free, starts, fixed)

  # Fit the best starts coarsely, and the best three of the results to convergence.
  best = np.argsort(error, kind='stable')[:N_STARTS]
  coarse = fit(starts[best], runs, iterations=300, tolerance=1e-4)
  best = np.argsort(coarse.objective, kind='stable')[:3]
  fine = fit(coarse.theta[best], runs, iterations=3000, tolerance=1e-12)
  theta = fine.theta[np.argmin(fine.objective)]
  return HuberFit(runs, settings, theta, float(fine.objective.min()))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RobustLaw(Fit):
  """Base of the laws that are fitted by Huber's loss.

  Attributes:
    objective: Mean Huber loss of log L.
    residual_spread: Robust standard deviation of log L around the law, which is about the
      relative error of one run.
  """

  objective: float = 0.0
  residual_spread: float = 0.0
  _fit: HuberFit | None = dataclasses.field(default=None, repr=False, compare=False)

  @classmethod
  def from_fit(cls, fitted: HuberFit, confidence: float, n_left_out: int) -> Self:
    """Returns the law with its intervals.

    Raises:
      ConfigError: If the confidence is outside (0, 1).
    """
    check_confidence(confidence)
    intervals, reason = law_intervals(fitted.theta, fitted.runs, confidence)
    values = fitted.values(fitted.theta[None])
    fields = [field.name for field in dataclasses.fields(cls) if field.name in values]
    parameters: dict[str, Any] = {name: float(values[name][0]) for name in fields}
    return cls(
      **parameters,
      intervals=intervals,
      confidence=confidence,
      n_runs=len(fitted.residuals),
      n_left_out=n_left_out,
      objective=fitted.objective / len(fitted.residuals),
      residual_spread=1.4826 * float(np.median(np.abs(fitted.residuals))),
      reason=reason,
      _fit=fitted,
    )

  @property
  def cov(self) -> np.ndarray:
    """(k, k) covariance of the `estimates` over the draws of the bootstrap, NaN without one.

    A fixed parameter has the variance 0.
    """
    fitted = self._draws_from
    if fitted is None:
      return super().cov
    values = fitted.values(fitted.draws)
    errors = [values[name] - value for name, value in self.estimates.items()]
    return fitted.lost_variance * np.cov(errors)

  @property
  def _draws_from(self) -> HuberFit | None:
    """The fitted, if its parameters have intervals."""
    is_known = any(math.isfinite(low) for low, _ in self.intervals.values())
    return self._fit if is_known else None

  @property
  def _levels(self) -> list[float]:
    return [(1 - self.confidence) / 2, (1 + self.confidence) / 2]

  def _interval(
    self, parameters: np.ndarray, tokens: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    """Returns (low, high) of the loss of a new run, NaN if there is no interval.

    Args:
      parameters: N in any shape.
      tokens: D in the same shape.
    """
    fitted = self._draws_from
    if fitted is None:
      unknown = np.full(parameters.shape, np.nan)
      return unknown, unknown
    rng = np.random.default_rng(fitted.settings.seed + 1)

    # Residuals around 0, with the variance that the fitted parameters take up.
    residuals = fitted.residuals - np.median(fitted.residuals)
    residuals = residuals * np.sqrt(fitted.lost_variance)

    # Losses of new runs: the law of each draw plus a residual.
    x = np.log(parameters).ravel() - fitted.runs.centre[0]
    z = np.log(tokens).ravel() - fitted.runs.centre[1]
    new = np.repeat(log_law(fitted.draws, x, z)[0], N_NOISE_DRAWS, axis=0)
    new += rng.choice(residuals, new.shape)
    low, high = np.exp(np.quantile(new, self._levels, axis=0))
    return low.reshape(parameters.shape), high.reshape(parameters.shape)
