"""The shape of a loss along one axis: a constant plus a valley, and how likely each valley is.

A valley is a parabola that may be steeper on one side (by a factor, smoothly, or as an exponential wall) and steeper
or flatter far out. All such valleys are tried on a grid; each is weighed by the marginal likelihood of the losses, in
which the level, the depth, the covariates and the noise are integrated out under flat priors, and by a prior under
which a plain parabola is the likeliest. Valleys are held to fit within a tenth to a third of a run's height above the
bottom: so runs far above the best, which no simple curve fits, count less where the noise is small.

Dimension key: T runs, K valleys, J variances, C columns.
"""

from __future__ import annotations

import dataclasses

import numpy as np

KINDS = ('kink', 'linex', 'wall')
LACKS = ((0.1, 0.5), (0.3, 0.5))
"""(share, chance): by how much of its height a run may be off the valley."""
STARTS = (np.linspace(-3, 3, 61), np.linspace(-2.5, 2.5, 9), np.linspace(-1.5, 1.5, 5))
"""The grid of place, skew and tail; no valley lies outside."""
STEPS = np.array([g[1] - g[0] for g in STARTS])
STAGES, DRAWS = 4, 400
SKEW_SD, TAIL_SD = 1.0, 0.8
STEEPEST, HIGHEST = 30.0, 1e8
"""Of an exponent and of a rise; draws so far out have no weight, and must not overflow."""


def rise_of(d: np.ndarray, kind: str, skew: np.ndarray, tail: np.ndarray) -> np.ndarray:
  """How high each valley is at a distance d from its bottom, about d**2 near it; skew above 0 is steeper above."""
  if kind == 'kink':
    rise = d**2 * np.exp(np.sign(d) * skew / 2)
  elif kind == 'linex':
    k = np.where(np.abs(skew) < 1e-3, 1e-3, 1.3 * skew)
    rise = 2 * (np.expm1(np.minimum(k * d, STEEPEST)) - k * d) / k**2
  else:
    k = np.where(skew < 0, -6.0, 6.0)
    rise = d**2 + 0.02 * np.abs(skew) * (np.expm1(np.minimum(k * d, STEEPEST)) - k * d)
  rise = np.minimum(rise, HIGHEST)
  outer, flat = np.maximum(tail, 0), np.maximum(-tail, 0)
  return rise * (1 + outer * (1 + 1.5 * outer**2) * d**2) / np.sqrt(1 + 2 * flat * rise)


@dataclasses.dataclass
class Valleys:
  """K weighted valleys, over an axis on which what was tried goes from -1 to 1.

  Attributes:
    kind: (K,) index into `KINDS`.
    place: (K,) where the bottom is.
    skew: (K,) above 0 where it is steeper above the bottom.
    tail: (K,) above 0 where it is steeper far out than a parabola, below 0 where flatter.
    weight: (K,) posterior weight, adds up to 1.
    depth: (K,) loss at a distance of 1 or so: what :func:`rise_of` is multiplied with.
    depth_sd: (K,) its error.
    noise_sd: of a run near the bottom, of the losses' unit.
    bottom: loss at the bottom, covariates as in the run with the lowest fit.
  """

  kind: np.ndarray
  place: np.ndarray
  skew: np.ndarray
  tail: np.ndarray
  weight: np.ndarray
  depth: np.ndarray
  depth_sd: np.ndarray
  noise_sd: float
  bottom: float


def weigh_valleys(
  z: np.ndarray, y: np.ndarray, fixed: np.ndarray, rng: np.random.Generator
) -> Valleys:
  """Weighs valleys on a coarse grid, and then draws from ever better proposals.

  Args:
    z: (T,) the axis, on -1 to 1.
    y: (T,) losses.
    fixed: (T, C) independent columns, the first all 1.
    rng: of the draws.

  Source: Cappe et al. 2004, population Monte Carlo: of each kind, multivariate t around its weighted mean.
  """
  grid = np.stack([g.ravel() for g in np.meshgrid(*STARTS, indexing='ij')], 1)
  valleys, proposal = [grid] * len(KINDS), [np.zeros(len(grid))] * len(KINDS)
  noises, height = np.ptp(y) * np.logspace(-3, 0, 7), np.zeros(len(y))
  for stage in range(STAGES + 1):
    rises = np.concatenate(
      [
        rise_of(z - v[:, :1], kind, v[:, 1:2], v[:, 2:])
        for v, kind in zip(valleys, KINDS)
      ]
    )
    every = np.concatenate(valleys)
    prior = -0.5 * np.sum((every[:, 1:] / (SKEW_SD, TAIL_SD)) ** 2, 1)
    prior[np.any(np.abs(every) > [g[-1] for g in STARTS], 1)] = -np.inf
    log_weight, depth, depth_sd = _weigh(rises, y, fixed, height, noises)
    log_weight = log_weight + (prior - np.concatenate(proposal))[:, None]
    weight = np.exp(log_weight - log_weight.max())
    own, of_noise = (
      weight.sum(1),
      weight.reshape(len(every), len(LACKS), -1).sum((0, 1)),
    )
    best = int(
      np.argmax(
        own * np.exp(np.concatenate(proposal) - np.max(np.concatenate(proposal)))
      )
    )
    at = np.argmax(weight, 1)
    height = np.maximum(depth[best, at[best]], 0) * rises[best]
    if stage < STAGES:
      drawn = [
        _draw(v, w, STEPS / 2**stage, rng)
        for v, w in zip(valleys, np.split(own, len(KINDS)))
      ]
      valleys, proposal = [d[0] for d in drawn], [d[1] for d in drawn]
      near = np.log(noises)[of_noise > 1e-3 * of_noise.max()]
      step = np.log(noises[1] / noises[0])
      noises = np.exp(np.linspace(near.min() - step, near.max() + step, 7))
  level = fixed @ np.linalg.lstsq(fixed, y - height, rcond=None)[0]
  rows = np.arange(len(every))
  return Valleys(
    np.repeat(np.arange(len(KINDS)), len(valleys[0])),
    *every.T,
    own / own.sum(),
    depth[rows, at],
    depth_sd[rows, at],
    float(np.exp(np.sum(of_noise * np.log(noises)) / of_noise.sum())),
    float(level[np.argmin(level + height)]),
  )


def _draw(
  valleys: np.ndarray, weight: np.ndarray, step: np.ndarray, rng
) -> tuple[np.ndarray, np.ndarray]:
  """(DRAWS, 3) valleys and their log density (DRAWS,), from t with 4 degrees of freedom around the weighted ones."""
  weight = (
    weight / weight.sum() if weight.sum() > 0 else np.full(len(weight), 1 / len(weight))
  )
  mean = weight @ valleys
  spread = 1.3 * (valleys - mean).T @ ((valleys - mean) * weight[:, None]) + np.diag(
    (0.3 * step) ** 2
  )
  factor = np.linalg.cholesky(spread)
  normal = rng.standard_normal((DRAWS, 3))
  standard = normal / np.sqrt(rng.chisquare(4, (DRAWS, 1)) / 4)
  return (
    mean + standard @ factor.T,
    -3.5 * np.log1p(np.sum(standard**2, 1) / 4) - np.sum(np.log(np.diag(factor))),
  )


def _weigh(
  rises: np.ndarray,
  y: np.ndarray,
  fixed: np.ndarray,
  height: np.ndarray,
  noises: np.ndarray,
):
  """Log evidence (K, J) of each valley under J variances of the runs, its depth and the depth's error.

  A variance is that of the noise plus a lack of fit in proportion to the run's height. The level, the covariates and
  the depth (above 0) are integrated out under flat priors; flat in the parabola's coefficients, so times the depth.
  """
  from scipy.special import log_ndtr

  variance = np.concatenate(
    [noises[:, None] ** 2 + (lack * height) ** 2 for lack, _ in LACKS]
  )
  chance = np.repeat(np.log([chance for _, chance in LACKS]), len(noises))
  y = y - y.mean()
  product, square = np.empty((2, len(rises), len(variance)))
  constant = np.empty(len(variance))
  whole = (rises**2) @ (1 / variance).T
  for j, own in enumerate(variance):
    factor = np.linalg.cholesky((fixed.T / own) @ fixed)
    basis = np.linalg.solve(factor, fixed.T / own)
    along, target = rises @ basis.T, basis @ y
    square[:, j] = whole[:, j] - np.sum(along**2, 1)
    product[:, j] = rises @ (y / own) - along @ target
    constant[j] = (
      -0.5 * np.sum(np.log(own))
      - np.sum(np.log(np.diag(factor)))
      - 0.5 * (np.sum(y**2 / own) - target @ target)
      + chance[j]
    )
  square = np.maximum(square, 1e-9 * whole)
  depth = product / square
  log_weight = (
    constant
    + 0.5 * depth * product
    - 0.5 * np.log(square)
    + np.log(np.maximum(np.abs(depth), 1e-300))
    + log_ndtr(depth * np.sqrt(square))
  )
  return log_weight, depth, 1 / np.sqrt(square)
