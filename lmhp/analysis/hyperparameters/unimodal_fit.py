"""Unimodal fit of the loss along one axis: a constant plus a valley, with weights.

A valley is a parabola that may be steeper on one side (by a smooth factor, or with an
exponential wall) and steeper or flatter far from its minimum. Valleys on a grid are weighed
by the marginal likelihood of the losses and by a prior that favours a plain parabola. The
level, the depth, the covariates and the noise are integrated out under flat priors. A run may
be off the valley by a tenth to a third of its height above the minimum. Runs far above the
best one, which no simple curve fits, therefore have little weight if the noise is small.

Dimension key: T runs, K valleys, J variances, C columns.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses

import numpy as np

SHAPES = ('kink', 'linex', 'wall')
LACK_OF_FIT = ((0.1, 0.5), (0.3, 0.5))
"""(fraction, prior probability): lack of fit of a run as a fraction of its height."""
GRIDS = (np.linspace(-3, 3, 61), np.linspace(-2.5, 2.5, 9), np.linspace(-1.5, 1.5, 5))
"""Grids of place, skew and tail. No valley lies outside."""
GRID_STEPS = np.array([grid[1] - grid[0] for grid in GRIDS])
N_STAGES = 4
N_DRAWS = 400
SKEW_SD = 1.0
TAIL_SD = 0.8
MAX_EXPONENT = 30.0
"""Bound of an exponent, which prevents overflow. Valleys that reach it have no weight."""
MAX_RISE = 1e8


def rise_of(
  distance: np.ndarray, shape: str, skew: np.ndarray, tail: np.ndarray
) -> np.ndarray:
  """Returns the height of valleys of depth 1 at a distance from their minimum.

  It is about distance^2 near the minimum.

  Args:
    distance: Distance from the minimum. Positive above it.
    shape: One of `SHAPES`.
    skew: Above 0 if the valley is steeper above its minimum.
    tail: Above 0 if it is steeper than a parabola far out, below 0 if it is flatter.
  """
  if shape == 'kink':
    # Two half parabolas of different steepness.
    rise = distance**2 * np.exp(np.sign(distance) * skew / 2)
  elif shape == 'linex':
    # 2 (exp(k d) - k d - 1) / k^2 tends to d^2 for small k, where it is 0 / 0.
    k = np.where(np.abs(skew) < 1e-3, 1e-3, 1.3 * skew)
    exponent = np.minimum(k * distance, MAX_EXPONENT)
    rise = 2 * (np.expm1(exponent) - k * distance) / k**2
  else:
    k = np.where(skew < 0, -6.0, 6.0)
    exponent = np.minimum(k * distance, MAX_EXPONENT)
    # A parabola plus an exponential term that is steep on one side only.
    wall = 0.02 * np.abs(skew) * (np.expm1(exponent) - k * distance)
    rise = distance**2 + wall
  rise = np.minimum(rise, MAX_RISE)

  # Make the valley steeper or flatter far from its minimum.
  steeper = np.maximum(tail, 0)
  flatter = np.maximum(-tail, 0)
  growth = 1 + steeper * (1 + 1.5 * steeper**2) * distance**2
  return rise * growth / np.sqrt(1 + 2 * flatter * rise)


@dataclasses.dataclass(frozen=True)
class Valleys:
  """K weighted valleys, on an axis scaled so that the values that were tried span -1 to 1.

  Attributes:
    shape: (K,) index into `SHAPES`.
    place: (K,) place of the minimum.
    skew: (K,) above 0 if the valley is steeper above its minimum.
    tail: (K,) above 0 if it is steeper than a parabola far out, below 0 if it is flatter.
    weight: (K,) posterior weight. The weights add up to 1.
    depth: (K,) factor of `rise_of`, in the unit of the losses.
    depth_sd: (K,) standard error of the depth.
    noise_sd: Standard deviation of a run near the minimum, in the unit of the losses.
    bottom: Loss at the minimum, with covariates as in the run with the lowest fit.
  """

  shape: np.ndarray
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
  """Weighs valleys on a coarse grid, and then draws from proposals that get better.

  Args:
    z: (T,) axis, scaled to -1 to 1.
    y: (T,) losses.
    fixed: (T, C) independent columns. All of the first one is 1.
    rng: Generator of the draws.

  Source: Population Monte Carlo, Cappe et al. 2004. The proposal of each shape is a
  multivariate t distribution around its weighted mean.
  """
  meshes = np.meshgrid(*GRIDS, indexing='ij')
  # The first proposal of each shape is the whole grid, with equal density.
  grid = np.stack([mesh.ravel() for mesh in meshes], 1)
  proposals = [_Proposal(grid, np.zeros(len(grid)))] * len(SHAPES)
  noises = np.ptp(y) * np.logspace(-3, 0, 7)
  weighed = _weigh_proposals(z, y, fixed, proposals, np.zeros(len(y)), noises)
  for stage in range(N_STAGES):
    # Draw valleys of each shape near its good ones, and noises near the good ones.
    proposals = [
      _draw(proposal.valleys, weight, GRID_STEPS / 2**stage, rng)
      for proposal, weight in zip(proposals, np.split(weighed.weight, len(SHAPES)))
    ]
    # Noises with hardly any weight are dropped. The next ones span the others.
    near = weighed.noise_weight > 1e-3 * weighed.noise_weight.max()
    log_noises = np.log(noises)[near]
    step = np.log(noises[1] / noises[0])
    noises = np.exp(np.linspace(log_noises.min() - step, log_noises.max() + step, 7))
    weighed = _weigh_proposals(z, y, fixed, proposals, weighed.height, noises)

  # Level of the losses under the likeliest valley, and the mean log noise.
  level = fixed @ np.linalg.lstsq(fixed, y - weighed.height, rcond=None)[0]
  log_noise = np.sum(weighed.noise_weight * np.log(noises)) / weighed.noise_weight.sum()
  return Valleys(
    shape=np.repeat(np.arange(len(SHAPES)), len(proposals[0].valleys)),
    place=weighed.valleys[:, 0],
    skew=weighed.valleys[:, 1],
    tail=weighed.valleys[:, 2],
    weight=weighed.weight / weighed.weight.sum(),
    depth=weighed.depth,
    depth_sd=weighed.depth_sd,
    noise_sd=float(np.exp(log_noise)),
    bottom=float(level[np.argmin(level + weighed.height)]),
  )


@dataclasses.dataclass(frozen=True)
class _Proposal:
  """Valleys (K, 3) of one shape, and the log density (K,) that they were drawn from."""

  valleys: np.ndarray
  log_density: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Weighed:
  """Valleys of all shapes with their weights.

  Attributes:
    valleys: (K, 3) place, skew and tail.
    weight: (K,) weight of each valley.
    noise_weight: Weight of each noise.
    depth: (K,) depth of each valley under its best variance.
    depth_sd: (K,) standard error of the depth.
    height: (T,) height of the runs above the minimum of the best valley.
  """

  valleys: np.ndarray
  weight: np.ndarray
  noise_weight: np.ndarray
  depth: np.ndarray
  depth_sd: np.ndarray
  height: np.ndarray


def _weigh_proposals(
  z: np.ndarray,
  y: np.ndarray,
  fixed: np.ndarray,
  proposals: Sequence[_Proposal],
  height: np.ndarray,
  noises: np.ndarray,
) -> _Weighed:
  """Weighs the valleys of all shapes."""
  rises = np.concatenate(
    [
      rise_of(z - each.valleys[:, :1], shape, each.valleys[:, 1:2], each.valleys[:, 2:])
      for each, shape in zip(proposals, SHAPES)
    ]
  )
  valleys = np.concatenate([proposal.valleys for proposal in proposals])
  log_proposal = np.concatenate([proposal.log_density for proposal in proposals])

  # Normal prior of skew and tail, limited to the grid.
  prior = -0.5 * np.sum((valleys[:, 1:] / (SKEW_SD, TAIL_SD)) ** 2, 1)
  prior[np.any(np.abs(valleys) > [grid[-1] for grid in GRIDS], 1)] = -np.inf

  # Importance weight: evidence times prior over the density of the proposal.
  log_weight, depth, depth_sd = _log_evidence(rises, y, fixed, height, noises)
  log_weight = log_weight + (prior - log_proposal)[:, None]
  weight = np.exp(log_weight - log_weight.max())
  valley_weight = weight.sum(1)

  # The likeliest valley sets the heights of the runs.
  best = int(np.argmax(valley_weight * np.exp(log_proposal - np.max(log_proposal))))
  # Depth of each valley under its likeliest variance.
  at = np.argmax(weight, 1)
  rows = np.arange(len(valleys))
  return _Weighed(
    valleys=valleys,
    weight=valley_weight,
    noise_weight=weight.reshape(len(valleys), len(LACK_OF_FIT), -1).sum((0, 1)),
    depth=depth[rows, at],
    depth_sd=depth_sd[rows, at],
    height=np.maximum(depth[best, at[best]], 0) * rises[best],
  )


def _draw(
  valleys: np.ndarray, weight: np.ndarray, step: np.ndarray, rng: np.random.Generator
) -> _Proposal:
  """Draws valleys from a t distribution with 4 degrees of freedom around weighted ones.

  Args:
    valleys: (K, 3) place, skew and tail.
    weight: (K,) weights.
    step: (3,) step of the grid, which bounds the spread from below.
    rng: Generator of the draws.
  """
  total = weight.sum()
  weight = weight / total if total > 0 else np.full(len(weight), 1 / len(weight))

  # Student's distribution with 4 degrees of freedom around the weighted valleys.
  mean = weight @ valleys
  spread = 1.3 * (valleys - mean).T @ ((valleys - mean) * weight[:, None])
  spread = spread + np.diag((0.3 * step) ** 2)
  factor = np.linalg.cholesky(spread)
  normal = rng.standard_normal((N_DRAWS, 3))
  standard = normal / np.sqrt(rng.chisquare(4, (N_DRAWS, 1)) / 4)
  # Log density up to a constant: -(4 + 3) / 2 log(1 + |s|^2 / 4) in three dimensions.
  log_density = -3.5 * np.log1p(np.sum(standard**2, 1) / 4)
  log_density = log_density - np.sum(np.log(np.diag(factor)))
  return _Proposal(mean + standard @ factor.T, log_density)


def _log_evidence(
  rises: np.ndarray,
  y: np.ndarray,
  fixed: np.ndarray,
  height: np.ndarray,
  noises: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns the log evidence of each valley under J variances, and its depth.

  A variance is the noise plus a lack of fit in proportion to the run's height. The level,
  the covariates and the depth (above 0) are integrated out under flat priors. The prior is
  flat in the coefficients of the parabola, which gives a factor of the depth.

  Args:
    rises: (K, T) height of each valley of depth 1 at each run.
    y: (T,) losses.
    fixed: (T, C) columns of level and covariates.
    height: (T,) height of each run above the minimum, from the stage before.
    noises: Standard deviations of the noise.

  Returns:
    (K, J) log evidence, (K, J) depth and (K, J) its standard error.
  """
  from scipy.special import log_ndtr

  # Variance of each run: the noise, and a lack of fit that grows with its height.
  variance = np.concatenate(
    [noises[:, None] ** 2 + (lack * height) ** 2 for lack, _ in LACK_OF_FIT]
  )
  log_prior = np.repeat(np.log([prior for _, prior in LACK_OF_FIT]), len(noises))
  y = y - y.mean()
  product, square = np.empty((2, len(rises), len(variance)))
  constant = np.empty(len(variance))
  total = (rises**2) @ (1 / variance).T
  for j, variances in enumerate(variance):
    # Project the level and the covariates out of the valleys and the losses.
    factor = np.linalg.cholesky((fixed.T / variances) @ fixed)
    basis = np.linalg.solve(factor, fixed.T / variances)
    along = rises @ basis.T
    target = basis @ y
    square[:, j] = total[:, j] - np.sum(along**2, 1)
    product[:, j] = rises @ (y / variances) - along @ target
    constant[j] = (
      -0.5 * np.sum(np.log(variances))
      - np.sum(np.log(np.diag(factor)))
      - 0.5 * (np.sum(y**2 / variances) - target @ target)
      + log_prior[j]
    )

  # Integrate the depth over the positive half of its normal likelihood.
  square = np.maximum(square, 1e-9 * total)
  depth = product / square
  log_weight = (
    constant
    + 0.5 * depth * product
    - 0.5 * np.log(square)
    + np.log(np.maximum(np.abs(depth), 1e-300))
    + log_ndtr(depth * np.sqrt(square))
  )
  return log_weight, depth, 1 / np.sqrt(square)
