"""Scaling law L(N, D) = E + A/N^alpha + B/D^beta, fitted to final losses.

The method is approach 3 of Hoffmann et al. 2022 (arXiv 2203.15556): the Huber loss (delta
1e-3) of log L, in log-sum-exp form, from many starts. The fit is run to convergence, without
which estimates and intervals are wrong (Besiroglu et al. 2024, arXiv 2404.10102). Intervals
of E, A, B, alpha, beta and of a = beta / (alpha + beta) invert a score test
(`lmhp.analysis.scaling.score_intervals`). Intervals of losses and of compute-optimal sizes
come from the score bootstrap: the fit is repeated with the loss tilted by scores with random
signs.

At a nominal 90%, in simulations of 100 to 300 studies of 48 or 245 runs, resampled residuals
covered the exponents in 80 to 88%, exponential weights in 88 to 92%, tilted losses in 89 to
95%, and the score test in 88 to 91%. The score test is also the cheapest.
`bench/calibration_scaling.py` measures the coverage.

No interval covers two risks: the law may not hold outside the sizes that were run, and a
larger run may have more noise.

Dimension key: n runs, K places, R draws.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import functools
import math

import numpy as np
import numpy.typing as npt

from lmhp.analysis.scaling.huber_fit import LogRuns, fit, linear_part, log_law
from lmhp.analysis.scaling.score_intervals import Interval, law_intervals, quantity
from lmhp.errors import ConfigError

MIN_RUNS = 6
"""One more than the law has parameters."""
START_EXPONENTS = np.geomspace(0.03, 2.5, 14)
N_STARTS = 40
N_NOISE_DRAWS = 20
"""Draws of the noise of a new run for each draw of the law."""

_UNKNOWN: Interval = (math.nan, math.nan)


@dataclasses.dataclass(frozen=True)
class ComputeOptimal:
  """Split of C = 6 N D with the lowest loss.

  Attributes:
    flops: (K,) C.
    parameters: (K,) N = G (C/6)^a with G = (alpha A / (beta B))^(1/(alpha + beta)).
    tokens: (K,) D = (C/6)^b / G.
    losses: (K,) loss of the law there, in nats.
    a: Exponent of N, beta / (alpha + beta).
    b: Exponent of D, 1 - a.
    a_interval: (low, high) of a.
    b_interval: (low, high) of b.
    parameters_interval: (low, high), (K,) each. NaN if there is no interval.
    tokens_interval: (low, high), (K,) each. NaN if there is no interval.
  """

  flops: np.ndarray
  parameters: np.ndarray
  tokens: np.ndarray
  losses: np.ndarray
  a: float
  b: float
  a_interval: Interval
  b_interval: Interval
  parameters_interval: tuple[np.ndarray, np.ndarray]
  tokens_interval: tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Law:
  """The law L(N, D) = E + A/N^alpha + B/D^beta.

  Attributes:
    E: Irreducible loss in nats.
    A: Loss in nats that one parameter would add.
    B: Loss in nats that one token would add.
    alpha: Exponent of N.
    beta: Exponent of D.
  """

  E: float
  A: float
  B: float
  alpha: float
  beta: float

  def predict(self, parameters: npt.ArrayLike, tokens: npt.ArrayLike) -> np.ndarray:
    """Returns the loss in nats of N parameters trained on D tokens.

    >>> law = Law(E=1.8172, A=482.01, B=2085.43, alpha=0.3478, beta=0.3658)
    >>> float(law.predict(7e10, 1.4e12).round(3))
    1.974
    """
    n = np.asarray(parameters, float)
    d = np.asarray(tokens, float)
    return self.E + self.A / n**self.alpha + self.B / d**self.beta


@dataclasses.dataclass(frozen=True)
class ScalingLaw(Law):
  """A fitted scaling law.

  Attributes:
    intervals: (low, high) of each parameter of the law, and of 'a', the exponent of the
      compute-optimal N. NaN if there is no interval.
    confidence: Confidence of the intervals.
    n_runs: Number of runs that were fitted.
    n_left_out: Number of runs that diverged, or whose numbers are not finite or not above 0.
    objective: Mean Huber loss of log L.
    residual_spread: Robust standard deviation of log L around the law, which is about the
      relative error of one run.
    reason: Reason why an interval is missing or infinite. Empty if all are finite.
  """

  intervals: Mapping[str, Interval] = dataclasses.field(default_factory=dict)
  confidence: float = 0.9
  n_runs: int = 0
  n_left_out: int = 0
  objective: float = 0.0
  residual_spread: float = 0.0
  reason: str = ''
  _fitted: _Fitted | None = dataclasses.field(default=None, repr=False, compare=False)

  def interval(
    self, parameters: npt.ArrayLike, tokens: npt.ArrayLike
  ) -> tuple[np.ndarray, np.ndarray]:
    """Returns (low, high) of the loss of a new run. NaN if there is no interval.

    It holds the uncertainty of the law, and noise like that of the fitted runs.
    """
    # Without intervals of the law, a new run has none either.
    n, d = np.broadcast_arrays(np.asarray(parameters, float), np.asarray(tokens, float))
    if not self._fitted or not self._has_intervals:
      unknown = np.full(n.shape, np.nan)
      return unknown, unknown
    runs = self._fitted.runs
    rng = np.random.default_rng(self._fitted.seed + 1)

    # Residuals around 0, with the variance that the five fitted parameters take up.
    residuals = self._fitted.residuals - np.median(self._fitted.residuals)
    residuals = residuals * np.sqrt(self.n_runs / (self.n_runs - 5))

    # Losses of new runs: the law of each draw plus a residual.
    x = np.log(n).ravel() - runs.centre[0]
    z = np.log(d).ravel() - runs.centre[1]
    new = np.repeat(log_law(self._fitted.draws, x, z)[0], N_NOISE_DRAWS, axis=0)
    new += rng.choice(residuals, new.shape)
    low, high = np.exp(np.quantile(new, self._levels, axis=0))
    return low.reshape(n.shape), high.reshape(n.shape)

  def compute_optimal(self, flops: npt.ArrayLike) -> ComputeOptimal:
    """Returns N and D with the lowest loss for C = 6 N D, in closed form.

    Args:
      flops: (K,) C, or one number.

    Source: Hoffmann et al. 2022, equation 4.

    >>> law = ScalingLaw(E=1.8172, A=482.01, B=2085.43, alpha=0.3478, beta=0.3658)
    >>> best = law.compute_optimal(5.76e23)
    >>> round(best.a, 3), float((best.tokens / best.parameters).round(1))
    (0.513, 18.4)
    """
    c = np.asarray(flops, float)

    # N grows as C^a with a = beta / (alpha + beta), for C = 6 N D.
    a = self.beta / (self.alpha + self.beta)
    log_a, log_b = np.log([self.A, self.B])
    size = _optimal_size(c, log_a, log_b, self.alpha, self.beta)

    # Quantiles of the optimal size over the draws of the law.
    a_interval = self.intervals.get('a', _UNKNOWN)
    low, high = np.full((2, *c.shape), np.nan)
    if self._fitted and self._has_intervals:
      draws = self._fitted.draws
      centre = self._fitted.runs.centre
      # Draws are in centred logs: log A = theta_1 + alpha mean(log N), and so for B.
      log_a = draws[:, 1] + draws[:, 3] * centre[0]
      log_b = draws[:, 2] + draws[:, 4] * centre[1]
      sizes = _optimal_size(c[..., None], log_a, log_b, draws[:, 3], draws[:, 4])
      low, high = np.quantile(sizes, self._levels, axis=-1)
    # An optimal size of 0 asks for infinitely many tokens.
    with np.errstate(divide='ignore'):
      tokens = c / 6 / size
      tokens_interval = (c / 6 / high, c / 6 / low)
    return ComputeOptimal(
      flops=c,
      parameters=size,
      tokens=tokens,
      losses=self.predict(size, tokens),
      a=a,
      b=1 - a,
      a_interval=a_interval,
      b_interval=(1 - a_interval[1], 1 - a_interval[0]),
      parameters_interval=(low, high),
      tokens_interval=tokens_interval,
    )

  @property
  def _levels(self) -> list[float]:
    return [(1 - self.confidence) / 2, (1 + self.confidence) / 2]

  @property
  def _has_intervals(self) -> bool:
    return bool(np.isfinite(self.intervals['alpha']).any())


@dataclasses.dataclass(frozen=True)
class _Fitted:
  """Runs and parameters of a fit, for its bootstrap."""

  runs: LogRuns
  theta: np.ndarray
  n_draws: int
  seed: int

  @property
  def residuals(self) -> np.ndarray:
    """(n,) residuals of log L."""
    return self.runs.y - log_law(self.theta[None], self.runs.x, self.runs.z)[0][0]

  @functools.cached_property
  def draws(self) -> np.ndarray:
    """Draws theta (R, 5) by the score bootstrap.

    The loss is tilted by resampled scores with random signs, times the residuals.
    """
    rng = np.random.default_rng(self.seed)
    shape = (self.n_draws, len(self.runs.y))
    # The scores are the derivatives of the Huber loss. Each draw tilts the objective by
    # resampled scores with random signs, and fits again.
    scores = np.clip(self.residuals, -self.runs.delta, self.runs.delta)
    tilt = rng.choice(scores, shape) * rng.choice([-1, 1], shape)
    return fit(np.repeat(self.theta[None], shape[0], 0), self.runs, tilt=tilt).theta


def _optimal_size(
  flops: np.ndarray,
  log_a: np.ndarray | float,
  log_b: np.ndarray | float,
  alpha: np.ndarray | float,
  beta: np.ndarray | float,
) -> np.ndarray:
  """Returns the N that minimizes A/N^alpha + B/(C/6N)^beta."""
  log_ratio = np.log(alpha) + log_a - np.log(beta) - log_b
  return np.exp((log_ratio + beta * np.log(flops / 6)) / (alpha + beta))


def fit_scaling_law(
  parameters: npt.ArrayLike,
  tokens: npt.ArrayLike,
  losses: npt.ArrayLike,
  *,
  confidence: float = 0.9,
  delta: float = 1e-3,
  bootstrap: int = 1000,
  seed: int = 0,
) -> ScalingLaw:
  """Fits L(N, D) = E + A/N^alpha + B/D^beta to the final losses of n runs.

  Args:
    parameters: (n,) N. Hoffmann et al. count embeddings, Kaplan et al. do not. Predictions
      must use the same count.
    tokens: (n,) D, the number of training tokens.
    losses: (n,) final losses in nats per token. Runs without a finite loss above 0 are left
      out.
    confidence: Confidence of all intervals.
    delta: Residual at which the Huber loss becomes linear, in units of log L.
    bootstrap: Number of draws for the intervals of predictions and compute-optimal sizes.
    seed: Seed of these draws.

  Raises:
    ConfigError: If columns differ in length, fewer than 6 runs can be used, all runs have the
      same N or D, or the runs do not determine the law.

  >>> n, d = (
  ...   v.ravel() for v in np.meshgrid([1e6, 4e6, 1.6e7, 6.4e7], [1e8, 4e8, 1.6e9])
  ... )
  >>> law = fit_scaling_law(n, d, 1.7 + 400 / n**0.34 + 410 / d**0.28)
  >>> round(law.E, 4), round(law.alpha, 4), round(law.beta, 4)
  (1.7, 0.34, 0.28)
  """
  if not 0 < confidence < 1 or not delta > 0 or bootstrap < 1:
    raise ConfigError(
      f'confidence, delta, bootstrap: got {confidence}, {delta}, {bootstrap}, expected a '
      'number between 0 and 1, a number above 0, and at least 1'
    )

  # Centre log N and log D, so that the parameters of the fit depend less on each other.
  columns, n_left_out = usable_runs(parameters, tokens, losses)
  log_n, log_d, y = np.log(columns)
  centre = (float(log_n.mean()), float(log_d.mean()))
  runs = LogRuns(log_n - centre[0], log_d - centre[1], y, centre, delta)

  # Fit the law, and invert its score tests for the intervals.
  theta, objective = _best_fit(columns, runs)
  try:
    intervals, reason = law_intervals(theta, runs, confidence)
  except np.linalg.LinAlgError:
    raise ConfigError(
      'losses: got runs that do not determine the five parameters of the law, expected runs '
      'that differ more in N and D'
    ) from None

  # Convert the fit back to E, A, B, alpha and beta.
  fitted = _Fitted(runs, theta, bootstrap, seed)
  logs = quantity(np.arange(5), np.repeat(theta[None], 5, 0), centre)
  e, a, b = np.exp(logs[:3]).tolist()
  return ScalingLaw(
    E=e,
    A=a,
    B=b,
    alpha=float(logs[3]),
    beta=float(logs[4]),
    intervals=intervals,
    confidence=confidence,
    n_runs=len(y),
    n_left_out=n_left_out,
    objective=float(objective) / len(y),
    residual_spread=1.4826 * float(np.median(np.abs(fitted.residuals))),
    reason=reason,
    _fitted=fitted,
  )


def usable_runs(
  parameters: npt.ArrayLike, tokens: npt.ArrayLike, losses: npt.ArrayLike
) -> tuple[np.ndarray, int]:
  """Returns (3, n) the runs that can be fitted, and the number of the others.

  Raises:
    ConfigError: As `fit_scaling_law` does.
  """
  rows = [np.asarray(column, np.float64) for column in (parameters, tokens, losses)]
  shapes = [row.shape for row in rows]
  if len(shapes[0]) != 1 or len(set(shapes)) > 1:
    raise ConfigError(
      f'parameters, tokens, losses: got shapes {shapes}, expected three lists of one length'
    )
  table = np.stack(rows)

  # Keep the runs whose numbers are finite and above 0.
  with np.errstate(invalid='ignore'):
    good = (np.isfinite(table) & (table > 0)).all(axis=0)
  kept = table[:, good]
  if kept.shape[1] < MIN_RUNS:
    raise ConfigError(
      f'losses: got {kept.shape[1]} usable runs of {table.shape[1]}, expected at least '
      f'{MIN_RUNS}'
    )
  for name, column in zip(('parameters', 'tokens'), kept):
    if len(np.unique(column)) < 2:
      raise ConfigError(
        f'{name}: got {column[0]:g} in all runs, expected at least two values'
      )
  return kept, int(np.sum(~good))


def _best_fit(columns: np.ndarray, runs: LogRuns) -> tuple[np.ndarray, float]:
  """Returns theta (5,) of the best fit, and its objective.

  Each pair of exponents on a grid starts with the E, A and B that fit it best. The best starts
  are refined twice.
  """
  alpha, beta = (grid.ravel() for grid in np.meshgrid(START_EXPONENTS, START_EXPONENTS))
  linear, error = linear_part(columns[2], columns[0], columns[1], alpha, beta)
  # The logarithm of the linear part must exist.
  linear = np.maximum(linear, 1e-3 * np.exp(runs.y.mean()))
  starts = np.concatenate([np.log(linear), alpha[:, None], beta[:, None]], axis=1)
  # Fit the best starts coarsely, and the best three of the results to convergence.
  best = np.argsort(error, kind='stable')[:N_STARTS]
  coarse = fit(starts[best], runs, iterations=300, tolerance=1e-4)
  best = np.argsort(coarse.objective, kind='stable')[:3]
  fine = fit(coarse.theta[best], runs, iterations=3000, tolerance=1e-12)
  return fine.theta[np.argmin(fine.objective)], float(fine.objective.min())
