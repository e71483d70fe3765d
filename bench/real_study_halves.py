"""Coverage of the intervals for the chosen config's loss on a real study with many seeds.

    python bench/real_study_halves.py [--study DIR] [--seeds 48] [--steps 300] [--splits 2000]

The study has eight learning rates near the best one of a small byte model on the built-in
corpus. Each is trained with 48 seeds of initial parameters and batches, and the points share
their seeds. --study reads another study instead.

Halves. In each of 2,000 splits, a random half of the seeds (n of N) chooses the best point.
Its 90% interval is compared with the mean of the winner over all N seeds. The seeds are drawn
without replacement, so the half's mean differs from that mean by noise / sqrt(n) *
sqrt(1 - n / N). Therefore the interval is computed with the half's noise times
sqrt(1 - n / N).

Fresh seeds. The half chooses, and k seeds of the other half confirm. The truth is the mean of
the other half, which contains the k seeds. Therefore Student's interval is
sqrt(1 - k / (N - n)) as long.

Small studies. n seeds are drawn with replacement from the N and numbered 0 to n - 1. The
truth is the mean over all N, and the interval is not changed.
"""

from __future__ import annotations

import argparse
import tempfile
import time

import numpy as np

from lmhp.analysis.winner.winner import (
  Winner,
  expected_loss_of_best,
)
from lmhp.statistics.intervals import student_quantile
from lmhp.statistics.seed_noise import seed_noise

RATES = (0.006, 0.007, 0.0082, 0.0096, 0.0112, 0.0131, 0.0153, 0.018)


def run_study(workdir: str, n_seeds: int, steps: int) -> None:
  """Trains the study."""
  import lmhp

  config = lmhp.default_config()
  config.data.path, config.data.tokenizer = ('docstrings',), 'byte'
  (
    config.model.max_seq_len,
    config.model.n_layers,
    config.model.n_heads,
    config.model.d_model,
  ) = 32, 1, 2, 16
  config.train.steps, config.train.batch_size = steps, 8
  config.evaluate.sequences = config.evaluate.final_sequences = 256
  space = {'optimizer.learning_rate': lmhp.Choice(*RATES)}
  sweep = lmhp.SweepConfig(
    space=space,
    search='grid',
    seeds_per_point=n_seeds,
    data_order='per_trial',
    confirm_points=0,
  )
  lmhp.sweep(config, sweep, workdir=workdir, display='none', report=False)


def read_table(workdir: str) -> np.ndarray:
  """Returns the losses of the points that are complete for every seed, (P, N).

  Seeds are in the order of the study.
  """
  from lmhp.analysis.runs.sources import read

  runs = read(workdir).complete_runs()
  by_point = [
    dict(zip(runs.seed[rows].tolist(), runs.losses[rows].tolist()))
    for rows in runs.rows_by_point().values()
  ]
  n_seeds = max(map(len, by_point))
  whole = [one for one in by_point if len(one) == n_seeds]
  return np.array([[one[seed] for seed in sorted(whole[0])] for one in whole])


# --- intervals ----------------------------------------------------------------------


def choose(
  part: np.ndarray,
  uses_seeds: bool,
  shrink: float = 1.0,
  confirm: np.ndarray | None = None,
) -> Winner:
  """Returns the winner of a table (P, n).

  The noise is `shrink` times the noise that the table shows.
  """
  losses = part.ravel()
  points, seeds = np.indices(part.shape).reshape(2, -1)
  seeds = seeds if uses_seeds else None
  if shrink == 1:
    return expected_loss_of_best(losses, points, seeds=seeds, fresh_losses=confirm)
  noise = seed_noise(losses, points, seeds)
  return expected_loss_of_best(
    losses,
    points,
    noise_sd=shrink * noise.noise,
    noise_freedom=noise.degrees_of_freedom,
    seeds=seeds,
  )


def held_by_halves(
  table: np.ndarray, uses_seeds: bool, splits: int, rng: np.random.Generator
) -> np.ndarray:
  """Returns the result of each split in halves, (splits, 3).

  The columns are: True if the interval contains the truth, True if Student's interval does,
  and the length in multiples of the noise.
  """
  n_all = table.shape[1]
  n, rows = n_all // 2, []
  for _ in range(splits):
    half = rng.permutation(n_all)[:n]
    won = choose(table[:, half], uses_seeds, shrink=np.sqrt(1 - n / n_all))
    rows.append(judged(won, table[won.point].mean(), n))
  return np.array(rows)


def held_by_small(
  table: np.ndarray, uses_seeds: bool, n: int, splits: int, rng: np.random.Generator
) -> np.ndarray:
  """Returns the same columns as `held_by_halves` for n seeds drawn with replacement."""
  rows = []
  for _ in range(splits):
    won = choose(table[:, rng.integers(0, table.shape[1], n)], uses_seeds)
    if won.method == 'among_contenders':  # False if all n seeds are equal
      rows.append(judged(won, table[won.point].mean(), n))
  return np.array(rows)


def judged(won: Winner, truth: float, n: int) -> tuple[bool, bool, float]:
  student = student_quantile(0.95, won.freedom) * won.noise_sd / np.sqrt(n)
  return (
    won.low <= truth <= won.high,
    abs(won.mean - truth) <= student,
    (won.high - won.low) / won.noise_sd,
  )


def held_by_fresh(
  table: np.ndarray, k: int, splits: int, rng: np.random.Generator
) -> np.ndarray:
  """Returns the result of each split with fresh seeds, (splits, 2).

  The columns are: True if the interval of k fresh seeds contains the mean of the other half,
  and True if the mean of the choosing half is above it.
  """
  n_all = table.shape[1]
  n, rows = n_all // 2, []
  for _ in range(splits):
    order = rng.permutation(n_all)
    half, other = order[:n], order[n:]
    chosen = table[:, half].mean(axis=1).argmin()
    won = choose(table[:, half], True, confirm=table[chosen, other[:k]])
    short, truth = np.sqrt(1 - k / len(other)), table[chosen, other].mean()
    low, high = (
      won.expected + short * (end - won.expected) for end in (won.low, won.high)
    )
    rows.append((low <= truth <= high, won.mean > truth))
  return np.array(rows)


def report(table: np.ndarray, splits: int, seed: int = 0) -> None:
  """Prints the table and the coverage."""
  rng, (n_points, n_all) = np.random.default_rng(seed), table.shape
  noise = seed_noise(table.ravel(), *np.indices(table.shape).reshape(2, -1))
  print(
    f'{n_points} points of {n_all} seeds; noise {noise.noise:.4f} nats, '
    f'{noise.correlation:.0%} of its square common '
    'to all points of a seed; means '
    f'{np.array2string(table.mean(axis=1), precision=4)}, standard deviations '
    f'{np.array2string(table.std(axis=1, ddof=1), precision=4)}'
  )
  wins = np.bincount(
    [
      table[:, rng.permutation(n_all)[: n_all // 2]].mean(axis=1).argmin()
      for _ in range(1000)
    ],
    minlength=n_points,
  )
  print(
    f'of 1,000 halves each point won {wins.tolist()}\n{splits} draws a line; 90% intervals'
  )
  print(
    f'{"what":34} {"uses common seeds":>20} {"held":>7} {"Student":>8} {"length":>7}'
  )
  for uses_seeds in (False, True):
    rows = held_by_halves(table, uses_seeds, splits, rng)
    print(
      f'{f"halves, {n_all // 2} seeds to choose by":34} {uses_seeds!s:>20} '
      f'{rows[:, 0].mean():7.1%} '
      f'{rows[:, 1].mean():8.1%} {np.median(rows[:, 2]):7.2f}',
      flush=True,
    )
  for n in (2, 3, 5, 8):
    for uses_seeds in (False, True):
      rows = held_by_small(table, uses_seeds, n, splits, rng)
      print(
        f'{f"small studies, {n} seeds":34} {uses_seeds!s:>20} {rows[:, 0].mean():7.1%} '
        f'{rows[:, 1].mean():8.1%} '
        f'{np.median(rows[:, 2]):7.2f}',
        flush=True,
      )
  for k in (3, 5, 8):
    held, above = held_by_fresh(table, k, splits, rng).mean(axis=0)
    print(
      f'{f"halves, {k} fresh seeds of the other":34} {"":>20} {held:7.1%}   the half '
      'that chose shows more '
      f'than the other in {above:.1%}',
      flush=True,
    )


def main() -> None:
  """Trains or reads the study, and prints the report."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument(
    '--study',
    help='directory of a study with several seeds per point; default: train one',
  )
  parser.add_argument('--seeds', type=int, default=48)
  parser.add_argument('--steps', type=int, default=300)
  parser.add_argument('--splits', type=int, default=2000)
  options, start = parser.parse_args(), time.time()
  if options.study:
    table = read_table(options.study)
  else:
    with tempfile.TemporaryDirectory() as workdir:
      run_study(workdir, options.seeds, options.steps)
      table = read_table(workdir)
    print(f'trained in {time.time() - start:.0f} s')
  report(table, options.splits)
  print(f'{time.time() - start:.0f} s')


if __name__ == '__main__':
  main()
