"""False positive rate of the tests of effects and interactions.

First, studies in which the tested axis or pair has no effect. The losses are noise alone, or
other axes have large effects. Printed for each design: the fraction of the studies with a
p-value of at most 1%, 2% and 5%, and with any Holm-adjusted p-value of at most 5%.

`bench/calibration_power.py` measures the power.

  python bench/calibration_effects.py [--studies=500] [--only effects|interactions|families]
"""

from __future__ import annotations

import argparse
import itertools
import time

import numpy as np

from lmhp.analysis.hyperparameters.effects import effect
from lmhp.analysis.hyperparameters.interactions import interaction
from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.table import Runs
from lmhp.statistics.hypothesis_tests import adjust_p_values

DESIGNS = ('random', 'qmc', 'grid')


def places(design: str, n: int, axes: int, rng: np.random.Generator) -> np.ndarray:
  """Returns about n points in the unit cube, (n, axes)."""
  if design == 'qmc':
    from scipy.stats import qmc

    return qmc.Halton(axes, seed=rng).random(n)
  if design == 'grid':
    levels = (
      [5, 4, 3, 2, 2][:axes] if axes > 2 else [max(3, round(n ** (1 / axes)))] * axes
    )
    full = np.array(
      list(itertools.product(*[(np.arange(k) + 0.5) / k for k in levels]))
    )
    return full[rng.permutation(len(full))[:n]]
  return rng.random((n, axes))


def noise(kind: str, n: int, rng: np.random.Generator) -> np.ndarray:
  return {
    'normal': rng.standard_normal,
    'heavy': lambda m: rng.standard_t(2, m),
    'skewed': lambda m: rng.lognormal(0, 1.5, m),
  }[kind](n)


def study(
  design: str,
  n: int,
  axes: int,
  kind: str,
  diverged: float,
  others: float,
  seed: int,
  planted: float = 0.0,
) -> Runs:
  """Returns a study whose losses are noise, plus effects of other axes.

  The effects are `others` times a bowl and a cliff. They are in all axes but a0, or in all
  axes if products are tested.
  """
  rng = np.random.default_rng(seed)
  u = places(design, n, axes, rng)
  losses = noise(kind, len(u), rng) + planted * ((u[:, 0] - 0.4) ** 2 - 0.0933) / 0.0943
  if axes > 1:
    bowl = np.sum((u[:, 1:] - 0.35) ** 2 / 0.08, 1) / np.sqrt(axes - 1)
    losses = losses + others * (bowl + np.expm1(np.maximum(u[:, 1] - 0.6, 0) * 10))
  status = np.full(len(u), 'complete', object).astype('U8')
  bad = (
    rng.random(len(u)) < diverged
    if others == 0 or axes == 1
    else u[:, 1] > 1 - diverged
  )
  losses, status = (
    np.where(bad, losses.max() + 50, losses),
    np.where(bad, 'diverged', status),
  )
  names = [f'a{i}' for i in range(axes)]
  values = {name: u[:, i] for i, name in enumerate(names)}
  return Runs(
    's',
    {name: Axis(name, low=0.0, high=1.0) for name in names},
    values,
    3 + 0.05 * losses,
    status=status,
  )


def shares(p: np.ndarray) -> str:
  p = p[~np.isnan(p)]
  return (
    '  '.join(f'{np.mean(p <= level):6.1%}' for level in (0.01, 0.02, 0.05))
    + f'  of {len(p)}'
  )


def of_effects(studies: int) -> None:
  print(
    'effects: a0 does nothing; others 3 times the noise or nothing        p <= 1%, 2%, 5%'
  )
  every = []
  for design, axes in itertools.product(DESIGNS, (1, 3, 5)):
    for i, (n, kind) in enumerate(((20, 'heavy'), (64, 'skewed'), (40, 'normal'))):
      others, diverged = (0.0, 3.0)[i == 1 and axes > 1], (0.3, 0.15, 0.0)[i]
      every.append(
        np.array(
          [
            effect(study(design, n, axes, kind, diverged, others, s), 'a0').p_value
            for s in range(studies)
          ]
        )
      )
      print(
        f'  {design:7} {axes} axes {n} runs {kind:7} {diverged:4.0%} diverged, others {others:g}: '
        f'{shares(every[-1])}',
        flush=True,
      )
  print(f'  all: {shares(np.concatenate(every))}')


def of_interactions(studies: int) -> None:
  print(
    'interactions: none; axes but a0 3 times the noise or nothing           p <= 1%, 2%, 5%'
  )
  every = []
  for design, axes in itertools.product(DESIGNS, (2, 3, 5)):
    for i, (n, kind) in enumerate(((24, 'heavy'), (64, 'skewed'), (40, 'normal'))):
      others, diverged = (0.0, 3.0)[i == 1], (0.3, 0.15, 0.0)[i]

      p_values = []
      for s in range(studies):
        runs = study(design, n, axes, kind, diverged, others, s, planted=others)
        p_values.append(interaction(runs, 'a0', 'a1').p_value)
      every.append(np.array(p_values))
      print(
        f'  {design:7} {axes} axes {n} runs {kind:7} {diverged:4.0%} diverged, others {others:g}: '
        f'{shares(every[-1])}',
        flush=True,
      )
  print(f'  all: {shares(np.concatenate(every))}')


def of_families(studies: int) -> None:
  """Prints the rate of any Holm-adjusted finding in noise, for 4 axes."""
  any_axis = np.zeros(studies)
  for s in range(studies):
    runs = study('random', 32, 4, 'heavy', 0.15, 0.0, s)
    any_axis[s] = min(
      adjust_p_values([effect(runs, name).p_value for name in runs.axes])
    )
  print(f'any of 4 axes, adjusted: {shares(any_axis)}')


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--studies', type=int, default=500)
  parser.add_argument('--only', choices=('effects', 'interactions', 'families'))
  options = parser.parse_args()
  for name, part in (
    ('effects', of_effects),
    ('interactions', of_interactions),
    ('families', of_families),
  ):
    if options.only in (None, name):
      started = time.perf_counter()
      part(options.studies)
      print(f'{time.perf_counter() - started:.0f} s', flush=True)


if __name__ == '__main__':
  main()
