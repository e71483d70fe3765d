"""How often the test of halving lets a rung stop trials, by the number of calibration points.

  python bench/halving_guard.py [--studies=1000] [--rungs=3] [--replays=200] [DIRECTORY]

Simulated studies. A study has 9 / 2 points for each calibration point, about the fewest that can
afford the calibration. The final score of a point and its scores at the rungs are normal, with a
given rank correlation, and the rungs are independent given the final score. The table has the
fraction of studies in which at least one rung passes (at the correlation 0, each of them is a
mistake), and in which the first rung passes. One more row has noise and the default number of
calibration points, and a third of the points diverge between the first rung and the second.

Real runs. DIRECTORY holds bare clones, one in OWNER+NAME/repo for each repository. The table
`data/deberta/*.jsonl` of nicholaslourie/opda has 1,024 fine-tuning runs with their accuracies at
every 1,000 steps. A replay draws a study from them at random. Its only rung is at step 1,000.

Targets: at most 10% of studies of noise, at least 80% at the correlation 0.9 for the default
number, and refusal in at least 95% of the replays with 12 calibration points.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import pathlib
import subprocess

import numpy as np

from lmhp import SweepConfig
from lmhp.statistics.ranks import spearman
from lmhp.sweeping.search.calibration import calibration_points, rung_tests

DEFAULTS = SweepConfig(trials=1)
CORRELATIONS = (0.0, 0.45, 0.7, 0.9)
POINTS_PER_CALIBRATION_POINT = 4.5
TABLES = ('deberta-base_tuning', 'deberta-v3-base_tuning')


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('directory', nargs='?', type=pathlib.Path)
  parser.add_argument('--studies', type=int, default=1000)
  parser.add_argument('--rungs', type=int, default=3)
  parser.add_argument('--replays', type=int, default=200)
  options = parser.parse_args()
  print(f'min_rank_correlation {DEFAULTS.min_rank_correlation}')
  if options.directory is not None:
    for name in TABLES:
      for task in ('matched', 'mismatched'):
        replay_runs(options.directory, name, task, options.replays)
  for correlation in CORRELATIONS:
    print(f'rank correlation {correlation}: any of {options.rungs} rungs, first rung')
    for n in range(3, 17):
      print_rates(f'n = {n:2}', n, correlation, options)
  n = DEFAULTS.n_calibration_trials
  print_rates(f'n = {n:2}, noise, a third diverges', n, 0.0, options, 1 / 3)


# --- simulated studies ----------------------------------------------------------------


def print_rates(
  name: str,
  n: int,
  correlation: float,
  options: argparse.Namespace,
  diverged_fraction: float = 0.0,
) -> None:
  """Prints the fractions of studies in which any rung passes, and the first rung."""
  rng = np.random.default_rng([n, round(100 * correlation)])
  n_points = math.ceil(POINTS_PER_CALIBRATION_POINT * n)
  passes = []
  for _ in range(options.studies):
    scores = simulated_scores(rng, n_points, correlation, options.rungs)
    diverged = rng.random(n_points) < diverged_fraction
    scores[1:, diverged] = math.inf
    passes.append(passing_rungs(scores, n))
  table = np.array(passes)
  print(
    f'  {name}: {table.any(axis=1).mean():6.1%} {table[:, 0].mean():6.1%}', flush=True
  )


def simulated_scores(
  rng: np.random.Generator, n_points: int, correlation: float, n_rungs: int
) -> np.ndarray:
  """Returns (n_rungs + 1, n_points) normal scores. The last row has the final scores."""
  # Pearson's correlation of normal numbers with this rank correlation (Pearson 1907).
  pearson = 2 * math.sin(math.pi / 6 * correlation)
  noise = rng.standard_normal((n_rungs, n_points))
  final = rng.standard_normal((1, n_points))
  return np.vstack([pearson * final + math.sqrt(1 - pearson**2) * noise, final])


def passing_rungs(scores: np.ndarray, n: int) -> list[bool]:
  """Returns True for each rung that passes the test with n calibration points.

  Args:
    scores: (n_rungs + 1, n_points). Lower is better. The last row has the final scores.
    n: Number of calibration points.
  """
  chosen = calibration_points(dict(enumerate(scores[0])), n)
  by_step = {
    step: {point: row[point] for point in chosen} for step, row in enumerate(scores)
  }
  tests = rung_tests(by_step, DEFAULTS.min_rank_correlation)
  return [test.failure is None for test in tests.values()]


# --- real runs ------------------------------------------------------------------------


def replay_runs(directory: pathlib.Path, name: str, task: str, n_replays: int) -> None:
  """Prints how often the rung at step 1,000 is refused in studies drawn from real runs."""
  first, last = read_losses(directory, name, task)
  print(
    f'{name} {task}: {len(first)} runs, rank correlation of step 1,000 with the end '
    f'{spearman(first, last):.2f}'
  )
  for n in (6, 12):
    rng = np.random.default_rng(n)
    n_points = math.ceil(POINTS_PER_CALIBRATION_POINT * n)
    n_refused = 0
    for _ in range(n_replays):
      drawn = rng.choice(len(first), n_points, replace=False)
      (passed,) = passing_rungs(np.array([first[drawn], last[drawn]]), n)
      n_refused += not passed
    print(
      f'  {n} calibration runs of {n_points}: refused in {n_refused} of {n_replays} replays '
      f'({n_refused / n_replays:.1%})'
    )


def read_losses(
  directory: pathlib.Path, name: str, task: str
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the error rates of all runs at step 1,000 and at the end."""
  repository = directory / 'nicholaslourie+opda' / 'repo'
  path = f'HEAD:data/deberta/{name}.results.jsonl'
  command = ['git', '-C', os.fspath(repository), 'show', path]
  text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
  curves = [json.loads(line)['learning_curves'][task] for line in text.splitlines()]
  first = [1 - curve[0][1] for curve in curves]
  last = [1 - curve[-1][1] for curve in curves]
  return np.array(first), np.array(last)


if __name__ == '__main__':
  main()
