"""Coverage of the 90% intervals of the winner's loss and of differences between settings.

  python bench/calibration_intervals.py [--draws=2000] [--only=two] [--first=0]

A study has P settings with n seeds each. Losses are normal. Distances between true losses are
in standard errors of a mean. The winner is the setting with the lowest observed mean. A
difference is that of another setting and the winner, and the mean over all other settings is
counted. Both are covered if the interval holds the true value of the setting that won.

Bounds: at least 88.3% in each cell. At most 91.7% if all settings are four standard errors
or more apart, and at most 97% otherwise. They are for 2,000 draws, and wider by 2.5 standard
errors of a share for fewer draws. A cell that misses is run once more with a new seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
import dataclasses
import math
import time

import numpy as np

from lmhp.analysis.runs.table import Runs
from lmhp.analysis.winner.setting_differences import setting_differences
from lmhp.analysis.winner.winner import expected_loss_of_best

LOW = 0.883
HIGH_APART = 0.917
HIGH = 0.97
DRAWS = 2000
Z = 2.5


@dataclasses.dataclass(frozen=True)
class Cell:
  """One condition.

  Attributes:
    group: Name of its group.
    layout: Name of the layout of the true losses, a key of `LAYOUTS`.
    n_settings: Number P of settings.
    n_seeds: Number n of seeds of each setting.
    noise_spread: Standard deviation of the logarithm of the settings' noise.
    shared: Fraction of the variance that all settings of a seed share.
  """

  group: str
  layout: str
  n_settings: int
  n_seeds: int
  noise_spread: float = 0.0
  shared: float = 0.0


LAYOUTS = {
  'all equal': lambda n: np.zeros(n),
  'within 1': lambda n: np.linspace(0, 1, n),
  '1 apart': lambda n: 1.0 * np.arange(n),
  '2 apart': lambda n: 2.0 * np.arange(n),
  'best by 2': lambda n: np.append(0.0, np.full(n - 1, 2.0)),
  'best by 3': lambda n: np.append(0.0, np.full(n - 1, 3.0)),
  'best by 4, others equal': lambda n: np.append(0.0, np.full(n - 1, 4.0)),
  'best 2 equal, others by 4': lambda n: np.append([0.0, 0.0], np.full(n - 2, 4.0)),
  'normal, sd 2': lambda n: 2 * np.sort(np.random.default_rng(n).standard_normal(n)),
  '4 apart': lambda n: 4.0 * np.arange(n),
}
"""{name: function of the number of settings to their true losses, in standard errors}."""


def cells() -> Iterator[Cell]:
  """Yields all conditions."""
  for n_seeds in (3, 10):
    for layout in ('all equal', '1 apart', '2 apart', '4 apart'):
      yield Cell('two', layout, 2, n_seeds)
  for layout in ('all equal', '4 apart'):
    yield Cell('two', layout, 2, 5, shared=0.5)
  for layout in ('all equal', '4 apart'):
    yield Cell('two', layout, 2, 5, noise_spread=1.0)
  near = [name for name in LAYOUTS if name != '4 apart']
  for n_settings, n_seeds in ((8, 3), (16, 4), (60, 4), (50, 40), (400, 5)):
    for layout in near:
      yield Cell('ties', layout, n_settings, n_seeds)
  yield Cell('ties', 'all equal', 32, 2)
  yield Cell('ties', 'within 1', 16, 4, shared=0.5)
  yield Cell('ties', 'best by 3', 16, 4, shared=0.5)
  for n_settings, n_seeds in ((8, 3), (8, 8), (16, 4), (60, 4), (50, 40), (400, 5)):
    for layout in ('all equal', 'best by 3', 'normal, sd 2'):
      for noise_spread in (0.5, 1.0):
        yield Cell('unequal', layout, n_settings, n_seeds, noise_spread)
  for n_settings, n_seeds in ((3, 3), (8, 3), (16, 4), (60, 4), (50, 40), (400, 5)):
    for noise_spread in (0.0, 0.5, 1.0):
      yield Cell('apart', '4 apart', n_settings, n_seeds, noise_spread)
  yield Cell('apart', '4 apart', 16, 4, shared=0.5)


def coverage(cell: Cell, draws: int, seed: int) -> tuple[float, float]:
  """Returns the coverage of the winner's loss, and of the differences."""
  rng = np.random.default_rng(seed)
  shape = (cell.n_settings, cell.n_seeds)
  points, seeds = np.indices(shape).reshape(2, -1)
  winner_held = []
  difference_held = []
  for _ in range(draws):
    sd_P = np.exp(cell.noise_spread * rng.standard_normal(cell.n_settings))
    # The distance of two neighbours counts in the larger of their standard errors.
    steps_P = np.diff(LAYOUTS[cell.layout](cell.n_settings), prepend=0.0)
    larger_P = np.maximum(sd_P, np.append(sd_P[0], sd_P[:-1]))
    error = math.sqrt((1 - cell.shared) / cell.n_seeds)
    true_P = 3 + 0.01 * error * np.cumsum(steps_P * larger_P)
    common = math.sqrt(cell.shared) * rng.standard_normal((1, cell.n_seeds))
    own = math.sqrt(1 - cell.shared) * rng.standard_normal(shape)
    losses = (true_P[:, None] + 0.01 * sd_P[:, None] * (common + own)).ravel()

    won = expected_loss_of_best(losses, points, seeds=seeds)
    winner_held.append(won.low <= true_P[won.point] <= won.high)
    runs = Runs('', {}, {}, losses, point=points, seed=seeds)
    held = [
      one.low <= true_P[one.point] - true_P[won.point] <= one.high
      for one in setting_differences(runs, won.point)
    ]
    difference_held.append(np.mean(held))
  return float(np.mean(winner_held)), float(np.mean(difference_held))


def band(cell: Cell, draws: int) -> tuple[float, float]:
  """Returns the lowest and the highest coverage that meets the bounds."""
  more = 1 / math.sqrt(draws) - 1 / math.sqrt(DRAWS)
  high = HIGH_APART if cell.layout == '4 apart' else HIGH
  nominal = 0.9 if cell.layout == '4 apart' else HIGH
  low = LOW - Z * math.sqrt(0.9 * 0.1) * more
  return low, high + Z * math.sqrt(nominal * (1 - nominal)) * more


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--draws', type=int, default=DRAWS)
  parser.add_argument('--only', choices=('two', 'ties', 'unequal', 'apart'))
  parser.add_argument('--first', type=int, default=0, help='first seed')
  options = parser.parse_args()
  start = time.perf_counter()
  print('| group | true losses | settings | seeds | noise | shared | draws |', end='')
  print(' band | winner | differences | verdict |')
  print('|---|---|--:|--:|--:|--:|--:|--:|--:|--:|---|', flush=True)
  n_cells = 0
  missed = []
  for number, cell in enumerate(cells()):
    if options.only not in (None, cell.group):
      continue
    n_cells += 1
    rows = cell.n_settings * cell.n_seeds
    most = DRAWS if rows <= 64 else 500 if rows <= 256 else 200
    draws = min(options.draws, most)
    low, high = band(cell, draws)
    for again in (0, 1):
      shares = coverage(cell, draws, options.first + 1000 * again + number)
      names = ('winner', 'differences')
      out = [name for name, one in zip(names, shares) if not low <= one <= high]
      verdict = f'{" and ".join(out)} missed' if out else 'met'
      print(
        f'| {cell.group} | {cell.layout} | {cell.n_settings} | {cell.n_seeds} '
        f'| {cell.noise_spread:g} | {cell.shared:g} | {draws} | {low:.1%} to {high:.1%} '
        f'| {shares[0]:.1%} | {shares[1]:.1%} | {verdict}{" (again)" if again else ""} |',
        flush=True,
      )
      if not out:
        break
    else:
      missed.append(number)
  print(f'\n{len(missed)} of {n_cells} cells missed twice', end='')
  print(f' ({time.perf_counter() - start:.0f} s)')


if __name__ == '__main__':
  main()
