"""The gradient noise scale: the batch size at which a gradient is as much noise as signal, measured in one run.

A batch that is much smaller is mostly noise, one that is much larger is mostly repetition. It estimates the critical
batch size (`lmhp.analysis.scaling.critical_batch_size`), but assumes much, and tends to be below it (Merrill et al. 2025, arXiv
2505.23971).

Dimension key: S logged steps.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Mapping

import numpy as np

from lmhp.errors import ConfigError

FEWEST_STEPS = 20


@dataclasses.dataclass(frozen=True)
class NoiseScale:
  """What :func:`noise_scale_from_norms` found.

  Attributes:
    batch_size: B_simple = tr(covariance) / |gradient|^2, in the unit of the batches; NaN where the mean of either is
      not above 0.
    low: of its interval.
    high: infinity where the gradient may be 0.
    gradient_norm_sq: |G|^2, mean of its unbiased estimates.
    noise: tr(covariance) of one example's gradient, mean of its unbiased estimates.
    steps: how many were averaged.
    confidence: of the interval.
    reason: why a number is missing, or ''.
  """

  batch_size: float = math.nan
  low: float = math.nan
  high: float = math.nan
  gradient_norm_sq: float = math.nan
  noise: float = math.nan
  steps: int = 0
  confidence: float = 0.9
  reason: str = ''


def noise_scale_from_norms(
  small_batch: float,
  big_batch: float,
  small_norm_sq: np.ndarray,
  big_norm_sq: np.ndarray,
  confidence: float = 0.9,
  draws: int = 1000,
  block: int | None = None,
  seed: int = 0,
) -> NoiseScale:
  """The gradient noise scale, from squared norms of gradients at two batch sizes.

  Of a batch of B examples E|g|^2 = |G|^2 + tr(covariance) / B, so two batch sizes give both terms without bias. One
  step's estimates are noisy and may be negative: each is averaged over steps before the ratio is taken.

  Args:
    small_batch: size of the small batch, sequences or tokens.
    big_batch: of the large one, in the same unit.
    small_norm_sq: (S,) squared norm of the small batch's mean gradient at each step (may itself be a mean over several
      small batches). Steps at which one of the two is not finite are left out.
    big_norm_sq: (S,) of the large batch's.
    confidence: of the interval.
    draws: of the bootstrap, which resamples runs of steps, since neighbours are alike.
    block: length of these; None for the cube root of the number of steps, and one.
    seed: of it.

  Returns:
    A `NoiseScale`; all NaN below `FEWEST_STEPS` steps.

  Raises:
    ConfigError: shapes differ, or a number is out of its range.

  Source: McCandlish et al. 2018, arXiv 1812.06162, appendix A.1; Künsch 1989 (moving blocks), Politis and Romano 1992
  (in a circle); Hesterberg 2015 (the interval, wider where blocks are few).

  >>> found = noise_scale_from_norms(8, 64, np.full(50, 3.0), np.full(50, 1.25))
  >>> found.gradient_norm_sq, found.noise, found.batch_size
  (1.0, 16.0, 16.0)
  """
  small, big = _checked_norms(
    small_batch, big_batch, small_norm_sq, big_norm_sq, confidence
  )
  n = len(small)
  if n < FEWEST_STEPS:
    return NoiseScale(
      steps=n,
      confidence=confidence,
      reason=f'{n} steps with both norms; needs {FEWEST_STEPS}',
    )
  signal = (big_batch * big - small_batch * small) / (big_batch - small_batch)
  noise = (small - big) / (1 / small_batch - 1 / big_batch)
  length = min(n, block or round(n ** (1 / 3)) + 1)
  starts = np.random.default_rng(seed).integers(0, n, (draws, -(-n // length)))
  signals, noises = (_block_means(v, starts, length) for v in (signal, noise))
  ratios = np.where(
    signals > 0, np.maximum(noises, 0) / np.where(signals > 0, signals, 1), math.inf
  )
  tail = _tail(confidence, n / length)
  low, high = np.quantile(ratios, [tail, 1 - tail], method='nearest')
  mean, trace = float(signal.mean()), float(noise.mean())
  reason = ''
  if mean <= 0:
    reason = 'the gradient is lost in the noise: more steps, or larger batches'
  elif trace <= 0:
    reason = 'the noise is too small to be seen: more steps, or smaller batches'
  return NoiseScale(
    math.nan if reason else trace / mean,
    float(low),
    float(high),
    mean,
    trace,
    n,
    confidence,
    reason,
  )


def _checked_norms(
  small_batch, big_batch, small_norm_sq, big_norm_sq, confidence
) -> tuple[np.ndarray, np.ndarray]:
  if not 0 < small_batch < big_batch < math.inf:
    raise ConfigError(
      f'big_batch: got {big_batch} beside small_batch={small_batch}, expected more, and both above 0'
    )
  if not 0 < confidence < 1:
    raise ConfigError(
      f'confidence: got {confidence}, expected more than 0 and less than 1'
    )
  small, big = (
    np.asarray(small_norm_sq, np.float64),
    np.asarray(big_norm_sq, np.float64),
  )
  if small.ndim != 1 or small.shape != big.shape:
    raise ConfigError(
      f'big_norm_sq: got shape {big.shape} and small norms of shape {small.shape}, expected one of '
      'each for each step'
    )
  finite = np.isfinite(small) & np.isfinite(big)
  return small[finite], big[finite]


def _tail(confidence: float, blocks: float) -> float:
  """The share of resamples to leave out at either end: fewer than the confidence says, where blocks are few.

  Source: Hesterberg 2015, What teachers should know about the bootstrap (the expanded percentile interval).
  """
  from scipy.special import ndtr, stdtrit  # slow to import, and only here

  freedom = max(blocks - 1, 1.0)
  return float(
    ndtr(stdtrit(freedom, (1 - confidence) / 2) * math.sqrt((freedom + 1) / freedom))
  )


def _block_means(values: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
  """Means of (S,) values over resampled blocks that begin at starts (draws, blocks), in a circle."""
  n, blocks = len(values), starts.shape[1]
  total = np.concatenate([[0.0], np.cumsum(np.concatenate([values, values]))])
  last = (
    n - (blocks - 1) * length
  )  # the last block is cut so that a resample has as many steps
  sums = total[starts[:, :-1] + length] - total[starts[:, :-1]]
  return (sums.sum(axis=1) + total[starts[:, -1] + last] - total[starts[:, -1]]) / n


def noise_scale_of_run(
  curves: Mapping[str, np.ndarray],
  parts: int,
  batch_tokens: float,
  last_fraction: float = 0.5,
  **options: float,
) -> NoiseScale:
  """The gradient noise scale of a run of lmhp's that was trained with `train.measure_noise_scale`, in tokens.

  Its small batches are the parts of each batch, of which `microbatch_grad_norm` is the root of the mean squared norm; its
  large one is the whole batch, of which `grad_norm` is the norm (before clipping). Dropout differs between parts and
  counts as noise.

  Args:
    curves: of the run, (S,) each, with 'step', 'grad_norm' and 'microbatch_grad_norm'.
    parts: `train.parts`: `train.grad_accumulation_steps`, 2 at least.
    batch_tokens: tokens of a whole batch.
    last_fraction: of the run, the part at its end that is averaged: the noise scale grows while the loss falls.
    **options: `confidence`, `draws`, `block`, `seed` of :func:`noise_scale_from_norms`.

  Raises:
    ConfigError: the norms of parts were not logged, or a number is out of its range.

  >>> norms = {
  ...   'step': np.arange(50),
  ...   'grad_norm': np.full(50, 1.0),
  ...   'microbatch_grad_norm': np.full(50, 1.25**0.5),
  ... }
  >>> noise_scale_of_run(norms, parts=2, batch_tokens=1024).batch_size.__round__()
  341
  """
  missing = [
    name for name in ('step', 'grad_norm', 'microbatch_grad_norm') if name not in curves
  ]
  if missing:
    raise ConfigError(
      f'{missing[0]}: is not in the curves, expected a run with train.measure_noise_scale=True'
    )
  if parts < 2:
    raise ConfigError(f'parts: got {parts}, expected 2 or more')
  if not 0 < last_fraction <= 1:
    raise ConfigError(
      f'last_fraction: got {last_fraction}, expected more than 0 and at most 1'
    )
  steps, whole, part = (
    np.asarray(curves[name], np.float64)
    for name in ('step', 'grad_norm', 'microbatch_grad_norm')
  )
  logged = np.flatnonzero(np.isfinite(whole) & np.isfinite(part) & np.isfinite(steps))
  late = logged[len(logged) - math.ceil(last_fraction * len(logged)) :]
  return noise_scale_from_norms(
    batch_tokens / parts, batch_tokens, part[late] ** 2, whole[late] ** 2, **options
  )
