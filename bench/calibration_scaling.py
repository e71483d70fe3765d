"""Coverage of the intervals of scaling laws, and error of isoFLOP parabolas.

  python bench/calibration_scaling.py [--studies 500] [--designs isoflop,grid,small]
    [--noises normal,laplace,t3]

A study has runs of a known law, with noise in log L. Its design is one of: 245 points around
the compute-optimal line (as in the figure of Hoffmann et al.), a 6 x 6 grid, or 48 small
models of another law. The aim is 87 to 93% for the 90% intervals of alpha and beta.

  new run   fraction of the prediction intervals that contain the loss of a new run at ten
            times the largest N and D
  best N    fraction of the intervals that contain the compute-optimal N at a hundred times
            the largest C
"""

from __future__ import annotations

import argparse
import itertools
import time

import numpy as np

from lmhp.analysis.scaling.isoflops import fit_isoflops
from lmhp.analysis.scaling.laws import fit_scaling_law, variable_projection
from lmhp.analysis.scaling.power_laws import fit_power_law
from lmhp.analysis.scaling.robust_laws import HuberSettings

NAMES = ('E', 'A', 'B', 'alpha', 'beta', 'a')
SPREADS = {'normal': 0.005, 'laplace': 0.002, 't3': 0.01}
CHINCHILLA = (1.8172, 482.01, 2085.43, 0.3478, 0.3658)
"""Source: Besiroglu et al. 2404.10102, table 1."""


def design(name: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, tuple]:
  """Returns N and D of the runs, and E, A, B, alpha and beta of the law."""
  if name == 'isoflop':
    flops = np.exp(rng.uniform(np.log(6e18), np.log(3e21), 245))
    n = 0.09 * flops**0.5 * np.exp(rng.uniform(-1.6, 1.6, 245))
    return n, flops / 6 / n, CHINCHILLA
  sizes = {
    'grid': (np.geomspace(4e7, 1e10, 6), np.geomspace(1e9, 3e11, 6)),
    'small': (np.geomspace(3e4, 1e7, 8), np.geomspace(2e6, 1e9, 6)),
  }[name]
  n, d = (v.ravel() for v in np.meshgrid(*sizes))
  return n, d, CHINCHILLA if name == 'grid' else (1.2, 40.0, 300.0, 0.30, 0.33)


def draw_noise(kind: str, shape, rng: np.random.Generator) -> np.ndarray:
  """Returns noise of mean 0 and variance 1."""
  if kind == 'laplace':
    return rng.laplace(size=shape) / np.sqrt(2)
  return (
    rng.standard_t(3, shape) / np.sqrt(3)
    if kind == 't3'
    else rng.standard_normal(shape)
  )


def loss_of(law: tuple, n, d):
  return law[0] + law[1] / n ** law[3] + law[2] / d ** law[4]


def coverage(name: str, kind: str, spread: float, studies: int, seed: int = 0) -> str:
  """Returns one line of the table."""
  rng = np.random.default_rng(seed)
  n, d, law = design(name, rng)
  truth = dict(zip(NAMES, (*law, law[4] / (law[3] + law[4]))))
  far_n, far_d, flops = 10 * n.max(), 10 * d.max(), 600 * np.max(n * d)
  best_n = (law[3] * law[1] / (law[4] * law[2])) ** (1 / (law[3] + law[4])) * (
    flops / 6
  ) ** truth['a']
  held, below, width, started = [], [], [], time.perf_counter()
  for _ in range(studies):
    losses = loss_of(law, n, d) * np.exp(spread * draw_noise(kind, len(n), rng))
    result = fit_scaling_law(n, d, losses, huber=HuberSettings(draws=400))
    low, high = result.interval(far_n, far_d)
    new = loss_of(law, far_n, far_d) * np.exp(spread * draw_noise(kind, (), rng))
    sizes = result.compute_optimal(flops).parameters_interval
    held.append(
      [result.intervals[k][0] <= truth[k] <= result.intervals[k][1] for k in NAMES]
      + [low <= new <= high, sizes[0] <= best_n <= sizes[1]]
    )
    below.append([result.intervals[k][0] > truth[k] for k in ('alpha', 'beta')])
    width.append(
      [result.intervals[k][1] - result.intervals[k][0] for k in ('alpha', 'beta')]
    )
  seconds = (time.perf_counter() - started) / studies
  return (
    f'{name:>8} {kind:>8} {spread:>6}  '
    + ' '.join(f'{100 * v:8.1f}' for v in np.mean(held, axis=0))
    + '  '
    + ' '.join(f'{100 * v:5.1f}' for v in np.mean(below, axis=0))
    + '  '
    + ' '.join(f'{v:7.4f}' for v in np.median(width, axis=0))
    + f' {seconds:7.3f}'
  )


def exponents(studies: int) -> None:
  """Prints the exponent a of isoFLOP studies with and without noise, by three methods."""
  law, rng = (1.69, 406.4, 410.7, 0.34, 0.28), np.random.default_rng(0)
  true = law[4] / (law[3] + law[4])
  print(
    f'\nexponent a of the compute-optimal N, true {true:.4f}; five budgets of nine '
    'sizes; noise sd in log L; '
    'drift: the sizes of the least budget are e times too small, of the largest e times too large'
  )
  print(
    f'{"log N / best":>17} {"noise":>6} {"parabolas":>18} {"projection":>18} '
    f'{"Huber":>18}   (mean, sd)'
  )
  for (low, high, drift), spread in itertools.product(
    ((-1.5, 1.5, 0), (-2.5, 2.5, 0), (-0.5, 2.5, 0), (-1.5, 1.5, 1)), (0.0, 0.003)
  ):
    flops = np.repeat(np.geomspace(1e18, 1e21, 5), 9)
    best = (law[3] * law[1] / (law[4] * law[2])) ** (1 / (law[3] + law[4])) * (
      flops / 6
    ) ** true
    n = best * np.exp(
      np.tile(np.linspace(low, high, 9), 5)
      + np.repeat(np.linspace(-drift, drift, 5), 9)
    )
    d, rows = flops / 6 / n, []
    for _ in range(studies if spread else 1):
      losses = loss_of(law, n, d) * np.exp(spread * rng.standard_normal(len(n)))
      huber = fit_scaling_law(n, d, losses)
      rows.append(
        (
          fit_isoflops(n, d, losses, flops).a,
          variable_projection(n, d, losses).a,
          huber.beta / (huber.alpha + huber.beta),
        )
      )
    figures = ' '.join(
      f'{m:9.4f} {s:8.4f}' for m, s in zip(np.mean(rows, axis=0), np.std(rows, axis=0))
    )
    print(f'{low:>5} {high:>5} {"drift" if drift else "":>5} {spread:>6} {figures}')


def power_laws(studies: int) -> None:
  """Prints the coverage of the interval of the exponent, and of the prediction interval
  of a new value.
  """
  rng, sizes, held = np.random.default_rng(0), np.geomspace(1e6, 1e8, 6), []
  for _ in range(studies):

    def noisy(x):
      return 3.0 * x**-0.25 * np.exp(0.1 * rng.standard_normal(np.shape(x)))

    law = fit_power_law(sizes, noisy(sizes))
    (low, high), new = law.interval(1e9), noisy(1e9)
    held.append(
      (
        law.intervals['exponent'][0] <= -0.25 <= law.intervals['exponent'][1],
        low <= new <= high,
      )
    )
  exponent_held, new_held = np.mean(held, axis=0)
  print(
    f'\npower law of six sizes: exponent held {exponent_held:.1%}, '
    f'a new value at ten times the size {new_held:.1%}'
  )


def main() -> None:
  parser = argparse.ArgumentParser()
  parser.add_argument('--studies', type=int, default=500)
  parser.add_argument('--designs', default='isoflop,grid,small')
  parser.add_argument('--noises', default='normal,laplace,t3')
  parser.add_argument('--spread', type=float, help='instead of ' + str(SPREADS))
  args = parser.parse_args()
  print(
    f'{args.studies} studies a row; 90% intervals; share in % that holds the truth; '
    'above: share that lies wholly '
    'above it\n'
    + f'{"design":>8} {"noise":>8} {"sd":>6}  '
    + ' '.join(f'{k:>8}' for k in (*NAMES, 'new run', 'best N'))
    + '  above (alpha, beta), median width, seconds'
  )
  for name, kind in itertools.product(args.designs.split(','), args.noises.split(',')):
    print(coverage(name, kind, args.spread or SPREADS[kind], args.studies), flush=True)
  exponents(min(args.studies, 40))
  power_laws(args.studies)


if __name__ == '__main__':
  main()
