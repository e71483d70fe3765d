"""Scaling laws L(N, D) = E + A/N^alpha + B/D^beta and L(C) = E + A/C^alpha of final losses.

The method is approach 3 of Hoffmann et al. 2022 (arXiv 2203.15556): the Huber loss (delta
1e-3) of log L, in log-sum-exp form, from many starts. The fit is run to convergence, without
which estimates and intervals are wrong (Besiroglu et al. 2024, arXiv 2404.10102). Intervals
of E, A, B, alpha, beta and of a = beta / (alpha + beta) invert a score test
(`lmhp.analysis.scaling.score_intervals`). Intervals of losses and of compute-optimal sizes
come from the score bootstrap: the fit is repeated with the loss tilted by scores with random
signs. So do covariances.

At a nominal 90%, in simulations of 100 to 300 studies of 48 or 245 runs, resampled residuals
covered the exponents in 80 to 88%, exponential weights in 88 to 92%, tilted losses in 89 to
95%, and the score test in 88 to 91%. The score test is also the cheapest.
`bench/calibration_scaling.py` measures the coverage.

No interval covers two risks: the law may not hold outside the sizes that were run, and a
larger run may have more noise.

Dimension key: n runs, K places.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from lmhp.analysis.scaling.estimates import UNKNOWN, Interval, usable_rows
from lmhp.analysis.scaling.robust_laws import (
  DEFAULT_HUBER,
  LEAST_SQUARES,
  HuberSettings,
  RobustLaw,
  fit_by_huber,
)
from lmhp.analysis.scaling.score_intervals import quantities
from lmhp.errors import ConfigError

MIN_RUNS = 6
"""One more than the law has parameters."""
NO_TERM = -800.0
"""Logarithm of a term that is 0, since exp underflows."""


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
class ScalingLaw(RobustLaw):
  """The law L(N, D) = E + A/N^alpha + B/D^beta.

  Its `estimates` are E, A, B, alpha, beta, and a.

  Attributes:
    E: Irreducible loss in nats.
    A: Loss in nats that one parameter would add.
    B: Loss in nats that one token would add.
    alpha: Exponent of N.
    beta: Exponent of D.
  """

  FORMULA: ClassVar[str] = 'L(N, D) = E + A/N^alpha + B/D^beta, N_opt ~ C^a'
  ESTIMATES: ClassVar[tuple[str, ...]] = ('E', 'A', 'B', 'alpha', 'beta', 'a')

  E: float
  A: float
  B: float
  alpha: float
  beta: float

  @property
  def a(self) -> float:
    """Exponent of the compute-optimal N, beta / (alpha + beta)."""
    return self.beta / (self.alpha + self.beta)

  def predict(self, parameters: npt.ArrayLike, tokens: npt.ArrayLike) -> np.ndarray:
    """Returns the loss in nats of N parameters trained on D tokens.

    >>> law = ScalingLaw(E=1.8172, A=482.01, B=2085.43, alpha=0.3478, beta=0.3658)
    >>> float(law.predict(7e10, 1.4e12).round(3))
    1.974
    """
    n = np.asarray(parameters, float)
    d = np.asarray(tokens, float)
    return self.E + self.A / n**self.alpha + self.B / d**self.beta

  def interval(
    self, parameters: npt.ArrayLike, tokens: npt.ArrayLike
  ) -> tuple[np.ndarray, np.ndarray]:
    """Returns (low, high) of the loss of a new run. NaN if there is no interval.

    It holds the uncertainty of the law, and noise like that of the fitted runs.
    """
    n, d = np.broadcast_arrays(np.asarray(parameters, float), np.asarray(tokens, float))
    return self._interval(n, d)

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
    log_a, log_b = np.log([self.A, self.B])
    size = _optimal_size(c, log_a, log_b, self.alpha, self.beta)

    # Quantiles of the optimal size over the draws of the law.
    a_interval = self.intervals.get('a', UNKNOWN)
    low, high = np.full((2, *c.shape), np.nan)
    fitted = self._draws_from
    if fitted is not None:
      _, log_a, log_b, alpha, beta, _ = quantities(fitted.draws, fitted.runs.centre)
      sizes = _optimal_size(c[..., None], log_a, log_b, alpha, beta)
      low, high = np.quantile(sizes, self._levels, axis=-1)
    # An optimal size of 0 asks for infinitely many tokens.
    with np.errstate(divide='ignore'):
      tokens = c / 6 / size
      tokens_interval = (c / 6 / high, c / 6 / low)
      losses = self.predict(size, tokens)
    return ComputeOptimal(
      flops=c,
      parameters=size,
      tokens=tokens,
      losses=losses,
      a=self.a,
      b=1 - self.a,
      a_interval=a_interval,
      b_interval=(1 - a_interval[1], 1 - a_interval[0]),
      parameters_interval=(low, high),
      tokens_interval=tokens_interval,
    )


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
  E: float | None = None,
  weights: npt.ArrayLike | None = None,
  confidence: float = 0.9,
  huber: HuberSettings = DEFAULT_HUBER,
) -> ScalingLaw:
  """Fits L(N, D) = E + A/N^alpha + B/D^beta to the final losses of n runs.

  Args:
    parameters: (n,) N. Hoffmann et al. count embeddings, Kaplan et al. do not. Predictions
      must use the same count.
    tokens: (n,) D, the number of training tokens.
    losses: (n,) final losses in nats per token. Runs without a finite loss above 0 are left
      out.
    E: Known irreducible loss in nats, at least 0. None fits it.
    weights: (n,) inverse variances of log L, up to a common factor: the error of a run of weight
      4 is half of that of a run of weight 1. None stands for equal weights. A run of weight 0 is
      left out. To count a run w times instead, repeat its row.
    confidence: Confidence of all intervals.
    huber: Settings of the Huber loss and of the bootstrap.

  Raises:
    ConfigError: If a value is no number, columns differ in length, fewer than 6 runs can be used
      (5 with a known E), or all runs have the same N or D.

  >>> n, d = (
  ...   v.ravel() for v in np.meshgrid([1e6, 4e6, 1.6e7, 6.4e7], [1e8, 4e8, 1.6e9])
  ... )
  >>> losses = 1.7 + 400 / n**0.34 + 410 / d**0.28
  >>> law = fit_scaling_law(n, d, losses)
  >>> round(law.E, 4), round(law.alpha, 4), round(law.beta, 4)
  (1.7, 0.34, 0.28)
  >>> round(fit_scaling_law(n, d, losses, E=1.7).alpha, 4)
  0.34
  """
  columns = {'parameters': parameters, 'tokens': tokens, 'losses': losses}
  fixed = _fixed_parameters(E)
  n_needed = 1 + int(np.isnan(fixed).sum())
  table, n_left_out = usable_rows({**columns, 'weights': weights}, n_needed)
  for name, column in zip(columns, table[:2]):
    if len(np.unique(column)) < 2:
      raise ConfigError(
        f'{name}: got {column[0]:g} in all runs, expected at least two values'
      )
  fitted = fit_by_huber(table, fixed, huber)
  return ScalingLaw.from_fit(fitted, confidence, n_left_out)


def variable_projection(
  parameters: npt.ArrayLike, tokens: npt.ArrayLike, losses: npt.ArrayLike
) -> ScalingLaw:
  """Fits L = E + A/N^alpha + B/D^beta by least squares of log L.

  For fixed exponents the law is linear in E, A and B, and nonnegative least squares of the
  relative errors gives the best ones. This projection is searched on a grid of both exponents,
  and the best cells are refined in all five parameters. Least squares is sensitive to an
  outlier, which the Huber fit of `fit_scaling_law` withstands.

  Args:
    parameters: (n,) N.
    tokens: (n,) D.
    losses: (n,) losses in nats.

  Raises:
    ConfigError: As in `fit_scaling_law`.

  Source: Golub and Pereyra 1973. For scaling laws arXiv 2603.22339.

  >>> n, d = (
  ...   v.ravel() for v in np.meshgrid([1e6, 4e6, 1.6e7, 6.4e7], [1e8, 4e8, 1.6e9])
  ... )
  >>> law = variable_projection(n, d, 1.7 + 400 / n**0.34 + 410 / d**0.28)
  >>> round(law.alpha, 5), round(law.beta, 5)
  (0.34, 0.28)
  """
  return fit_scaling_law(
    parameters, tokens, losses, huber=HuberSettings(delta=LEAST_SQUARES)
  )


@dataclasses.dataclass(frozen=True)
class ComputeLaw(RobustLaw):
  """The law L(C) = E + A/C^alpha. Its `estimates` are E, A and alpha.

  Attributes:
    E: Irreducible loss in nats.
    A: Loss in nats that one FLOP would add.
    alpha: Exponent of C.
  """

  FORMULA: ClassVar[str] = 'L(C) = E + A/C^alpha'
  ESTIMATES: ClassVar[tuple[str, ...]] = ('E', 'A', 'alpha')

  E: float
  A: float
  alpha: float

  def predict(self, flops: npt.ArrayLike) -> np.ndarray:
    """Returns the loss in nats at C FLOPs."""
    return self.E + self.A / np.asarray(flops, float) ** self.alpha

  def interval(self, flops: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Returns (low, high) of the loss of a new run. NaN if there is no interval.

    It holds the uncertainty of the law, and noise like that of the fitted runs.
    """
    c = np.asarray(flops, float)
    return self._interval(c, np.ones(c.shape))


def fit_compute_law(
  flops: npt.ArrayLike,
  losses: npt.ArrayLike,
  *,
  E: float | None = None,
  weights: npt.ArrayLike | None = None,
  confidence: float = 0.9,
  huber: HuberSettings = DEFAULT_HUBER,
) -> ComputeLaw:
  """Fits L(C) = E + A/C^alpha, a power law with an offset, in the same way.

  Any size can stand for C. For a power law without an offset, or with a known one and errors
  that are relative to L - E, see `fit_power_law`.

  Args:
    flops: (n,) C of each run, such as the budget of a compute-optimal run.
    losses: (n,) losses in nats.
    E: Known irreducible loss in nats, at least 0. None fits it.
    weights: (n,) inverse variances of log L, as in `fit_scaling_law`.
    confidence: Confidence of all intervals.
    huber: Settings of the Huber loss and of the bootstrap.

  Raises:
    ConfigError: If a value is no number, columns differ in length, fewer than 4 runs can be used
      (3 with a known E), or all runs have the same C.

  >>> c = np.geomspace(1e17, 1e20, 7)
  >>> law = fit_compute_law(c, 1.6 + 95 / c**0.094)
  >>> round(law.E, 4), round(law.A, 2), round(law.alpha, 5)
  (1.6, 95.0, 0.094)
  >>> float(law.predict(1e21).round(4))
  2.6086
  """
  fixed = _fixed_parameters(E)
  # Without the term B/D^beta, N stands for C.
  fixed[[2, 4]] = NO_TERM, 1.0
  n_needed = 1 + int(np.isnan(fixed).sum())
  columns = {'flops': flops, 'no_tokens': None, 'losses': losses, 'weights': weights}
  table, n_left_out = usable_rows(columns, n_needed)
  if len(np.unique(table[0])) < 2:
    raise ConfigError(
      f'flops: got {table[0, 0]:g} in all runs, expected at least two values'
    )
  return ComputeLaw.from_fit(fit_by_huber(table, fixed, huber), confidence, n_left_out)


def _fixed_parameters(E: float | None) -> np.ndarray:
  """Returns (5,) log E if it is known, and NaN for what is fitted."""
  fixed = np.full(5, math.nan)
  if E is not None:
    if not 0 <= E < math.inf:
      raise ConfigError(f'E: got {E}, expected a finite number of at least 0')
    fixed[0] = math.log(E) if E > 0 else NO_TERM
  return fixed
