"""Gradient noise scale: the batch size at which a gradient is half noise, from one run.

The gradient of a much smaller batch is mostly noise. A much larger batch mostly repeats
information. The noise scale is an estimate of the critical batch size
(`lmhp.analysis.scaling.critical_batch_size`) that makes strong assumptions, and tends to be
smaller (Merrill et al. 2025, arXiv 2505.23971).

Dimension key: S logged steps, R resamples.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import math
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from lmhp.analysis.scaling.estimates import Fit
from lmhp.errors import ConfigError
from lmhp.statistics.intervals import check_confidence
from lmhp.statistics.ranks import check_paired

MIN_STEPS = 20


@dataclasses.dataclass(frozen=True)
class NoiseScale(Fit):
  """Gradient noise scale. NaN if a number cannot be computed.

  Its `estimates` are batch_size, gradient_norm_sq and covariance_trace, each with an interval.

  Attributes:
    batch_size: The noise scale, B_simple = tr(covariance) / |gradient|^2, in the unit of the
      batches. NaN if the mean of either is not above 0.
    low: Lower end of its interval.
    high: Upper end of the interval. inf if the gradient may be 0.
    gradient_norm_sq: Mean of the unbiased estimates of |gradient|^2.
    covariance_trace: Mean of the unbiased estimates of the trace of the covariance of one
      example's gradient.
    n_runs: Number of steps that were averaged.
  """

  ROWS: ClassVar[str] = 'steps'
  FORMULA: ClassVar[str] = 'batch_size = covariance_trace / gradient_norm_sq'
  ESTIMATES: ClassVar[tuple[str, ...]] = (
    'batch_size',
    'gradient_norm_sq',
    'covariance_trace',
  )

  batch_size: float = math.nan
  low: float = math.nan
  high: float = math.nan
  gradient_norm_sq: float = math.nan
  covariance_trace: float = math.nan

  @property
  def n_steps(self) -> int:
    """Number of steps that were averaged."""
    return self.n_runs


@dataclasses.dataclass(frozen=True)
class BlockBootstrap:
  """Settings of a bootstrap over blocks of steps, since neighbouring steps are alike.

  Attributes:
    draws: Number of resamples.
    block: Length of a block. None takes 1 plus the cube root of the number of steps.
    seed: Seed of the resampling.
  """

  draws: int = 1000
  block: int | None = None
  seed: int = 0


def noise_scale_from_norms(
  small_batch: float,
  big_batch: float,
  small_norm_sq: npt.ArrayLike,
  big_norm_sq: npt.ArrayLike,
  confidence: float = 0.9,
  bootstrap: BlockBootstrap | None = None,
) -> NoiseScale:
  """Estimates the gradient noise scale from squared gradient norms at two batch sizes.

  For a batch of B examples,

    E|g|^2 = |G|^2 + tr(covariance) / B,

  so two batch sizes give both terms without bias. The estimates of one step are noisy and may
  be negative. Each is averaged over steps before the ratio is taken.

  Args:
    small_batch: Size of the small batch, in sequences or tokens.
    big_batch: Size of the large batch, in the same unit.
    small_norm_sq: (S,) squared norm of the small batch's mean gradient at each step, or its
      mean over several small batches. Steps at which a norm is not finite are left out.
    big_norm_sq: (S,) squared norm of the large batch's mean gradient.
    confidence: Confidence of the interval.
    bootstrap: Settings of the bootstrap. None takes the defaults.

  Returns:
    The noise scale. NaN if there are fewer than `MIN_STEPS` steps.

  Raises:
    ConfigError: If shapes differ, or a number is out of its range.

  Source: McCandlish et al. 2018, arXiv 1812.06162, appendix A.1. Moving blocks: Künsch 1989,
  circular: Politis and Romano 1992. Interval for few blocks: Hesterberg 2015.

  >>> result = noise_scale_from_norms(8, 64, np.full(50, 3.0), np.full(50, 1.25))
  >>> result.gradient_norm_sq, result.covariance_trace, result.batch_size
  (1.0, 16.0, 16.0)
  """
  small, big = check_paired(small_norm_sq, big_norm_sq, 'small_norm_sq, big_norm_sq')
  finite = np.isfinite(small) & np.isfinite(big)
  small = small[finite]
  big = big[finite]
  if not 0 < small_batch < big_batch < math.inf:
    raise ConfigError(
      f'small_batch, big_batch: got {small_batch} and {big_batch}, expected two numbers '
      'above 0, the second larger'
    )
  check_confidence(confidence)
  settings = bootstrap or BlockBootstrap()
  n = len(small)
  n_left_out = len(finite) - n
  if n < MIN_STEPS:
    return NoiseScale(
      n_runs=n,
      n_left_out=n_left_out,
      confidence=confidence,
      reason=f'{n} steps have both norms, and {MIN_STEPS} are needed',
    )

  # Unbiased estimates of |G|^2 and tr(covariance) at each step.
  signal = (big_batch * big - small_batch * small) / (big_batch - small_batch)
  noise = (small - big) / (1 / small_batch - 1 / big_batch)

  # Interval of the ratio of their means.
  # Whole blocks of steps are drawn, because neighbouring steps are correlated.
  length = min(n, settings.block or round(n ** (1 / 3)) + 1)
  shape = (settings.draws, -(-n // length))
  starts = np.random.default_rng(settings.seed).integers(0, n, shape)
  signals = _block_means(signal, starts, length)
  noises = _block_means(noise, starts, length)
  # A draw whose signal is not above 0 has an infinite noise scale.
  ratios = np.full(settings.draws, math.inf)
  np.divide(np.maximum(noises, 0), signals, out=ratios, where=signals > 0)
  draws = np.stack([ratios, signals, noises])
  tail = _tail(confidence, n / length)
  low, high = np.quantile(draws, [tail, 1 - tail], axis=1, method='nearest').tolist()
  # The ratio has no variance if the gradient may be 0.
  with np.errstate(invalid='ignore'):
    cov = np.cov(draws)

  # The noise scale is tr(covariance) / |G|^2, if both are above 0.
  mean = float(signal.mean())
  trace = float(noise.mean())
  reason = ''
  if mean <= 0:
    reason = (
      'the gradient is below the noise, so more steps or larger batches are needed'
    )
  elif trace <= 0:
    reason = 'the noise is too small, so more steps or smaller batches are needed'
  return NoiseScale(
    batch_size=math.nan if reason else trace / mean,
    low=low[0],
    high=high[0],
    gradient_norm_sq=mean,
    covariance_trace=trace,
    intervals=dict(zip(NoiseScale.ESTIMATES, zip(low, high))),
    n_runs=n,
    n_left_out=n_left_out,
    _cov=cov,
    confidence=confidence,
    reason=reason,
  )


def _tail(confidence: float, n_blocks: float) -> float:
  """Returns the fraction of resamples beyond each end, which is smaller for few blocks.

  Source: The expanded percentile interval of Hesterberg 2015, What teachers should know about
  the bootstrap.
  """
  from scipy.special import ndtr, stdtrit

  freedom = max(n_blocks - 1, 1.0)
  quantile = stdtrit(freedom, (1 - confidence) / 2)
  return float(ndtr(quantile * math.sqrt((freedom + 1) / freedom)))


def _block_means(values: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
  """Returns (R,) means of values (S,) over resampled blocks.

  Blocks run in a circle. The last one is cut, so that a resample has S values.

  Args:
    values: (S,) values.
    starts: (R, number of blocks) starts of the blocks.
    length: Length of a block.
  """
  n = len(values)
  total = np.concatenate([[0.0], np.cumsum(np.concatenate([values, values]))])
  last = n - (starts.shape[1] - 1) * length
  sums = total[starts[:, :-1] + length] - total[starts[:, :-1]]
  return (sums.sum(axis=1) + total[starts[:, -1] + last] - total[starts[:, -1]]) / n


def noise_scale_of_run(
  curve: Mapping[str, np.ndarray],
  n_microbatches: int,
  batch_tokens: float,
) -> NoiseScale:
  """Estimates the noise scale of a run with `train.measure_noise_scale`, in tokens.

  The small batches are the microbatches of each batch. `microbatch_grad_norm` is the root of
  their mean squared norm, and `grad_norm` is the norm of the whole batch before clipping.
  Dropout differs between microbatches, and counts as noise.

  Args:
    curve: (S,) columns of the run, with 'step', 'grad_norm' and 'microbatch_grad_norm'.
    n_microbatches: Number of microbatches, which is `train.grad_accumulation_steps` and at
      least 2.
    batch_tokens: Tokens of a batch.

  Raises:
    ConfigError: If the norms of microbatches were not logged, or a number is out of its range.

  >>> norms = {
  ...   'step': np.arange(50),
  ...   'grad_norm': np.full(50, 1.0),
  ...   'microbatch_grad_norm': np.full(50, 1.25**0.5),
  ... }
  >>> round(noise_scale_of_run(norms, n_microbatches=2, batch_tokens=1024).batch_size)
  341
  """
  for name in ('step', 'grad_norm', 'microbatch_grad_norm'):
    if name not in curve:
      raise ConfigError(
        f'{name}: is not in the curve, expected a run with train.measure_noise_scale=True'
      )
  if n_microbatches < 2:
    raise ConfigError(f'n_microbatches: got {n_microbatches}, expected at least 2')
  # The small batch is one microbatch. The big batch is the whole batch.
  return noise_scale_from_norms(
    batch_tokens / n_microbatches,
    batch_tokens,
    curve['microbatch_grad_norm'] ** 2,
    curve['grad_norm'] ** 2,
  )
