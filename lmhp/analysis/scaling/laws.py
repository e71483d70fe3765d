"""L(N, D) = E + A/N^alpha + B/D^beta: fitted to final losses, with intervals, predictions and the compute-optimal N, D.

The recipe is approach 3 of Hoffmann et al. 2022 (arXiv 2203.15556): the Huber loss (delta 1e-3) of log L, in
log-sum-exp form, from many starts; taken to convergence, without which estimates and intervals are wrong (Besiroglu et
al. 2024, arXiv 2404.10102). Intervals of E, A, B, alpha, beta and of a = beta / (alpha + beta) invert a score test
(`lmhp/analysis/scaling/huber_fit.py`); those of losses and of compute-optimal sizes come from draws of the score bootstrap:
the fit is repeated with the loss tilted by randomly signed scores. Of what was tried, at 90% meant, in prototypes of
100 to 300 studies of 48 or 245 runs: resampled residuals held the exponents in 80 to 88%, exponential weights in 88 to
92%, tilted losses in 89 to 95%, the score test in 88 to 91%; it is also the cheapest and needs no draws.
`bench/calibration_scaling.py` prints what it holds now.

What no interval knows: whether the law holds outside the sizes that were run, and that a larger run has noise like
theirs.

Dimension key: n runs, K places.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Mapping

import numpy as np

from lmhp.analysis.scaling import huber_fit as scaling_fit
from lmhp.errors import ConfigError

MIN_RUNS = 6
"""One more than the law has parameters."""

MIN_RUNS_FOR_INTERVALS = 10

_EXPONENTS = np.geomspace(0.03, 2.5, 14)
_KEPT_STARTS = 40


@dataclasses.dataclass(frozen=True)
class ComputeOptimal:
  """The loss-minimizing split of C = 6 N D.

  Attributes:
    flops: (K,) C.
    parameters: (K,) N = G (C/6)^a with G = (alpha A / (beta B))^(1/(alpha + beta)).
    tokens: (K,) D = (C/6)^b / G.
    losses: (K,) nats, of the law there.
    a: exponent of N, beta / (alpha + beta); b: of D, 1 - a.
    a_interval, b_interval: (low, high).
    parameters_interval, tokens_interval: (low, high), (K,) each; NaN where none can be said.
  """

  flops: np.ndarray
  parameters: np.ndarray
  tokens: np.ndarray
  losses: np.ndarray
  a: float
  b: float
  a_interval: tuple[float, float]
  b_interval: tuple[float, float]
  parameters_interval: tuple[np.ndarray, np.ndarray]
  tokens_interval: tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class ScalingLaw:
  """A fitted law.

  Attributes:
    E: irreducible loss, nats.
    A, B: nats, the shares of N and D at one parameter and one token.
    alpha, beta: exponents.
    intervals: (low, high) of each of these and of 'a', the exponent of the compute-optimal N; NaN where none is said.
    confidence: how often such an interval holds the truth.
    n: runs that were fitted.
    left_out: runs that were not: diverged, not finite, or not above 0.
    objective: mean Huber loss of log L.
    residual_spread: robust standard deviation of log L around the law: about the relative error of one run.
    reason: why an interval is not said, or is infinite; '' where all are.
  """

  E: float
  A: float
  B: float
  alpha: float
  beta: float
  intervals: Mapping[str, tuple[float, float]]
  confidence: float
  n: int
  left_out: int
  objective: float
  residual_spread: float
  reason: str = ''
  _data: tuple = dataclasses.field(default=(), repr=False, compare=False)
  _bootstrap: tuple = dataclasses.field(default=(), repr=False, compare=False)

  def predict(self, parameters, tokens) -> np.ndarray:
    """Losses in nats of N parameters trained on D tokens.

    >>> law = ScalingLaw(
    ...   1.8172, 482.01, 2085.43, 0.3478, 0.3658, {}, 0.9, 0, 0, 0.0, 0.0
    ... )
    >>> float(law.predict(7e10, 1.4e12).round(3))
    1.974
    """
    return (
      self.E
      + self.A / np.asarray(parameters, float) ** self.alpha
      + self.B / np.asarray(tokens, float) ** self.beta
    )

  def interval(self, parameters, tokens) -> tuple[np.ndarray, np.ndarray]:
    """(low, high) that hold the loss of a new run: the law's uncertainty, and noise like that of the runs fitted.

    NaN where none can be said.
    """
    parameters, tokens = np.broadcast_arrays(
      np.asarray(parameters, float), np.asarray(tokens, float)
    )
    nothing = np.full(parameters.shape, np.nan)
    if self._unsaid:
      return nothing, nothing
    draws, rng = self._draws, np.random.default_rng(self._bootstrap[1] + 1)
    x, z, y, centre, theta, _ = self._data
    residuals = y - scaling_fit.log_law(theta[None], x, z)[0][0]
    residuals = (residuals - np.median(residuals)) * np.sqrt(self.n / (self.n - 5))
    at = np.log(parameters).ravel() - centre[0], np.log(tokens).ravel() - centre[1]
    new = np.repeat(scaling_fit.log_law(draws, *at)[0], 20, axis=0)
    new += rng.choice(residuals, new.shape)
    low, high = np.exp(
      np.quantile(new, [(1 - self.confidence) / 2, (1 + self.confidence) / 2], axis=0)
    )
    return low.reshape(parameters.shape), high.reshape(parameters.shape)

  def compute_optimal(self, flops) -> ComputeOptimal:
    """N and D that give the least loss for C = 6 N D, in closed form. Source: Hoffmann et al. 2022, equation 4.

    Args:
      flops: (K,) or one, C.

    >>> law = ScalingLaw(
    ...   1.8172, 482.01, 2085.43, 0.3478, 0.3658, {}, 0.9, 0, 0, 0.0, 0.0
    ... )
    >>> best = law.compute_optimal(5.76e23)
    >>> round(best.a, 3), float((best.tokens / best.parameters).round(1))
    (0.513, 18.4)
    """
    flops = np.asarray(flops, float)
    a = self.beta / (self.alpha + self.beta)
    size = _optimal_size(flops, *np.log([self.A, self.B]), self.alpha, self.beta)
    a_interval = self.intervals.get('a', (np.nan, np.nan))
    sizes = np.full((2, *flops.shape), np.nan)
    if not self._unsaid:
      draws, centre = self._draws, self._data[3]
      log_a, log_b = (
        draws[:, 1] + draws[:, 3] * centre[0],
        draws[:, 2] + draws[:, 4] * centre[1],
      )
      all_sizes = _optimal_size(
        flops[..., None], log_a, log_b, draws[:, 3], draws[:, 4]
      )
      sizes = np.quantile(
        all_sizes, [(1 - self.confidence) / 2, (1 + self.confidence) / 2], axis=-1
      )
    return ComputeOptimal(
      flops,
      size,
      flops / 6 / size,
      self.predict(size, flops / 6 / size),
      a,
      1 - a,
      a_interval,
      (1 - a_interval[1], 1 - a_interval[0]),
      (sizes[0], sizes[1]),
      (flops / 6 / sizes[1], flops / 6 / sizes[0]),
    )

  @property
  def _unsaid(self) -> bool:
    return not self._data or not np.isfinite(self.intervals['alpha']).any()

  @functools.cached_property
  def _draws(self) -> np.ndarray:
    """(draws, 5) of theta, by the score bootstrap: less a sum of resampled, randomly signed scores * residual."""
    x, z, y, _, theta, delta = self._data
    draws, seed = self._bootstrap
    rng = np.random.default_rng(seed)
    residuals = y - scaling_fit.log_law(theta[None], x, z)[0][0]
    scores = np.clip(residuals, -delta, delta)
    tilt = rng.choice(scores, (draws, self.n)) * rng.choice([-1, 1], (draws, self.n))
    return scaling_fit.fit(np.repeat(theta[None], draws, 0), x, z, y, delta, tilt=tilt)[
      0
    ]


def _optimal_size(flops, log_a, log_b, alpha, beta) -> np.ndarray:
  """argmin over N of A/N^alpha + B/(C/6N)^beta."""
  return np.exp(
    (np.log(alpha) + log_a - np.log(beta) - log_b + beta * np.log(flops / 6))
    / (alpha + beta)
  )


def fit_scaling_law(
  parameters,
  tokens,
  losses,
  *,
  confidence: float = 0.9,
  delta: float = 1e-3,
  bootstrap: int = 1000,
  seed: int = 0,
  diverged=None,
) -> ScalingLaw:
  """Fits L(N, D) = E + A/N^alpha + B/D^beta to the final losses of n runs.

  Args:
    parameters: (n,) N. Hoffmann et al. count embeddings, Kaplan et al. do not; predict with what was fitted.
    tokens: (n,) D, tokens trained on.
    losses: (n,) final losses, nats per token.
    confidence: of all intervals.
    delta: where the Huber loss turns linear, in units of log L.
    bootstrap: draws for the intervals of predictions and of compute-optimal sizes.
    seed: of these draws.
    diverged: (n,) bool, runs to leave out; those without a finite loss above 0 are in any case.

  Returns:
    The law.

  Raises:
    ConfigError: columns of different length, fewer than 6 usable runs, or one N or one D in all of them.

  >>> n, d = np.meshgrid([1e6, 4e6, 1.6e7, 6.4e7], [1e8, 4e8, 1.6e9])
  >>> law = fit_scaling_law(
  ...   n.ravel(), d.ravel(), (1.7 + 400 / n**0.34 + 410 / d**0.28).ravel()
  ... )
  >>> round(law.E, 4), round(law.alpha, 4), round(law.beta, 4)
  (1.7, 0.34, 0.28)
  """
  columns, left_out = usable(parameters, tokens, losses, diverged)
  if not 0 < confidence < 1 or not delta > 0 or bootstrap < 1:
    raise ConfigError(
      f'confidence, delta, bootstrap: got {confidence}, {delta}, {bootstrap}; accepted are a share '
      'between 0 and 1, a width above 0, and 1 draw or more'
    )
  log_n, log_d, y = np.log(columns)
  centre = float(log_n.mean()), float(log_d.mean())
  x, z, n = log_n - centre[0], log_d - centre[1], len(y)
  theta, objective = _best_fit(columns, x, z, y, delta)
  spread = 1.4826 * float(
    np.median(np.abs(y - scaling_fit.log_law(theta[None], x, z)[0][0]))
  )
  intervals, reason = _intervals(theta, x, z, y, delta, confidence, centre)
  logs = scaling_fit.quantity(np.arange(5), np.repeat(theta[None], 5, 0), centre)
  return ScalingLaw(
    *np.exp(logs[:3]).tolist(),
    *logs[3:].tolist(),
    intervals,
    confidence,
    n,
    left_out,
    float(objective) / n,
    spread,
    reason,
    (x, z, y, centre, theta, delta),
    (bootstrap, seed),
  )


def usable(parameters, tokens, losses, diverged=None) -> tuple[np.ndarray, int]:
  """(3, n) of the rows that can be fitted, and how many others there were. Raises: ConfigError, see fit_scaling_law."""
  rows = [np.asarray(column, np.float64) for column in (parameters, tokens, losses)]
  shapes = [row.shape for row in rows]
  if rows[0].ndim != 1 or len(set(shapes)) > 1:
    raise ConfigError(
      f'parameters, tokens, losses: got shapes {shapes}; accepted are three lists of one length'
    )
  rows = np.stack(rows)
  with np.errstate(invalid='ignore'):
    good = (np.isfinite(rows) & (rows > 0)).all(axis=0)
  if diverged is not None:
    if np.shape(diverged) != good.shape:
      raise ConfigError(
        f'diverged: got shape {np.shape(diverged)}; accepted is {good.shape}, one for each run'
      )
    good &= ~np.asarray(diverged, bool)
  kept = rows[:, good]
  if kept.shape[1] < MIN_RUNS:
    raise ConfigError(
      f'losses: got {kept.shape[1]} usable runs of {rows.shape[1]}; accepted are {MIN_RUNS} or more'
    )
  for name, column in zip(('parameters', 'tokens'), kept):
    if len(np.unique(column)) < 2:
      raise ConfigError(
        f'{name}: got {column[0]:g} in all runs; accepted are two values or more'
      )
  return kept, int(np.sum(~good))


def _best_fit(columns, x, z, y, delta) -> tuple[np.ndarray, float]:
  """(5,) and its objective: the best of a grid of exponents, each with the E, A, B that suit it best, all refined."""
  alpha, beta = (grid.ravel() for grid in np.meshgrid(_EXPONENTS, _EXPONENTS))
  linear, error = scaling_fit.linear_part(
    columns[2], columns[0], columns[1], alpha, beta
  )
  linear = np.maximum(linear, 1e-3 * np.exp(y.mean()))  # its logarithm is taken
  best = np.argsort(error, kind='stable')[:_KEPT_STARTS]
  starts = np.concatenate([np.log(linear), alpha[:, None], beta[:, None]], axis=1)[best]
  theta, _, _, objective = scaling_fit.fit(
    starts, x, z, y, delta, iterations=300, tolerance=1e-4
  )
  best = np.argsort(objective, kind='stable')[:3]
  theta, _, _, objective = scaling_fit.fit(
    theta[best], x, z, y, delta, iterations=3000, tolerance=1e-12
  )
  return theta[np.argmin(objective)], objective.min()


def _intervals(theta, x, z, y, delta, confidence, centre) -> tuple[dict, str]:
  names, n = scaling_fit.QUANTITIES, len(y)
  unsaid = {name: (float('nan'), float('nan')) for name in names}
  if n < MIN_RUNS_FOR_INTERVALS:
    return unsaid, f'{n} runs: intervals are said from {MIN_RUNS_FOR_INTERVALS}'
  if min(len(np.unique(x)), len(np.unique(z))) < 3:
    return unsaid, 'two values of N or of D: an exponent wants three, to be told from E'
  if (
    max(theta[3:]) > 0.999 * scaling_fit.EXPONENT_BOUNDS[1]
    or min(theta[3:]) < 1.001 * scaling_fit.EXPONENT_BOUNDS[0]
  ):
    return (
      unsaid,
      f'alpha {theta[3]:.3g}, beta {theta[4]:.3g}: these runs do not show all three terms of the law',
    )
  if abs(np.corrcoef(x, z)[0, 1]) > 0.999:
    return (
      unsaid,
      'N and D rise together in all runs: which of the two lowers the loss cannot be said',
    )
  which, side = np.repeat(np.arange(len(names)), 2), np.tile([-1.0, 1.0], len(names))
  many = np.repeat(theta[None], len(which), axis=0)
  ends = scaling_fit.score_bounds(
    many,
    x,
    z,
    np.repeat(y[None], len(which), 0),
    delta,
    confidence,
    which,
    side,
    centre,
  )
  ends = np.where(
    which < 3, np.exp(np.minimum(ends, 700)), np.maximum(ends, 0)
  ).reshape(-1, 2)
  ends = np.where(np.isinf(ends) | (ends > 1e300), np.inf, ends)
  ends[5] = np.clip(ends[5], 0, 1)
  open_ = [
    name
    for name, (low, high) in zip(names, ends)
    if low == 0 or high == np.inf or (name == 'a' and high == 1)
  ]
  reason = f'these runs do not bound {", ".join(open_)}' if open_ else ''
  return {name: tuple(pair) for name, pair in zip(names, ends.tolist())}, reason
