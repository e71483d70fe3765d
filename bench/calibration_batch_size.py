"""Coverage of the intervals of batch sizes, kinds of parameters and stability.

Each measure is printed for synthetic studies with a planted truth:

  critical batch size, fewest steps, fewest examples: fraction of the studies whose 90%
    interval contains the planted value (aim: 87 to 93%)
  gradient noise scale: the same, by number of steps
  kinds of parameters without an effect: fraction of the studies that report one (aim: at
    most 5%)
  divergence at random: fraction of the studies that report a threshold (aim: at most 5%)

  python bench/calibration_batch_size.py [--studies=2000]
"""

from __future__ import annotations

import argparse

import numpy as np

from lmhp.analysis.curves.divergence import find_divergence
from lmhp.analysis.hyperparameters.parameter_kinds import effects_by_kind
from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.table import Runs
from lmhp.analysis.scaling.critical_batch_size import critical_batch_size
from lmhp.analysis.scaling.gradient_noise import noise_scale_from_norms

KINDS = ('embedding', 'attention', 'feed_forward')


def critical(rng: np.random.Generator, noise: float) -> list[bool]:
  """Returns True for each interval that contains the truth, at seven batch sizes."""
  batches = 2.0 ** np.arange(4, 11)
  result = critical_batch_size(
    batches, 500 * (1 + 128 / batches) * np.exp(noise * rng.standard_normal(7))
  )
  return [
    result.batch_size_low <= 128 <= result.batch_size_high,
    result.steps_min_low <= 500 <= result.steps_min_high,
    result.examples_min_low <= 64_000 <= result.examples_min_high,
  ]


def noise_scale(rng: np.random.Generator, steps: int, seed: int) -> bool:
  """Returns True if the interval contains the noise scale of 50.

  Batches of 64 sequences have two microbatches, and gradients have 50 numbers.
  """
  parts = 50**-0.5 + 32**-0.5 * rng.standard_normal((steps, 2, 50))
  small, big = (
    np.mean(np.sum(parts**2, axis=-1), axis=1),
    np.sum(parts.mean(axis=1) ** 2, axis=-1),
  )
  result = noise_scale_from_norms(32, 64, small, big, draws=300, seed=seed)
  return result.low <= 50 <= result.high


def kinds(rng: np.random.Generator, models: int) -> tuple[float, bool]:
  """Returns the fraction of the kinds whose interval contains the true effect of 0, and
  whether an effect is reported.
  """
  counts = rng.uniform(1, 3, (models, 3)) * 10 ** rng.uniform(6, 7, (models, 1))
  losses = 3 - 0.1 * np.log2(counts.sum(axis=1)) + 0.01 * rng.standard_normal(models)
  result = effects_by_kind(
    Runs(
      'noise',
      {},
      {},
      losses,
      measured={f'parameters_{kind}': counts[:, i] for i, kind in enumerate(KINDS)},
    )
  )
  return float(np.mean((result.low <= 0) & (result.high >= 0))), bool(
    result.significant
  )


def chance(rng: np.random.Generator, runs: int, share: float, seed: int) -> bool:
  """Returns True if a threshold is reported although divergence is random."""
  values = {f'axis_{i}': rng.uniform(size=runs) for i in range(4)}
  status = np.where(rng.random(runs) < share, 'diverged', 'complete')
  study = Runs(
    'chance',
    {name: Axis(name, low=0, high=1) for name in values},
    values,
    np.ones(runs),
    status=status,
  )
  return any(
    cut.significant for cut in find_divergence(study, permutations=199, seed=seed).cuts
  )


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--studies', type=int, default=2000)
  n = parser.parse_args().studies
  rng = np.random.default_rng(0)
  for steps in (50, 200, 1000):
    held = np.mean([noise_scale(rng, steps, seed) for seed in range(n)])
    print(f'noise scale, {steps} steps: {held:.1%}', flush=True)
  for models in (14, 40):
    held, shown = np.mean([kinds(rng, models) for _ in range(n)], axis=0)
    print(f'kinds, {models} models: {held:.1%}, shown in noise {shown:.1%}', flush=True)
  for share in (0.1, 0.3):
    shown = np.mean([chance(rng, 32, share, seed) for seed in range(n)])
    print(
      f'stability, 32 runs, {share:.0%} diverge by chance: a cut is shown in {shown:.1%}',
      flush=True,
    )
  for noise in (0.05, 0.2):
    held = np.mean([critical(rng, noise) for _ in range(n)], axis=0)
    print(
      f'critical batch, noise {noise:.0%}: batch {held[0]:.1%}, steps {held[1]:.1%}, '
      f'examples {held[2]:.1%}',
      flush=True,
    )


if __name__ == '__main__':
  main()
