"""Coverage, error and length of the sequential confirmation, over simulated comparisons.

  python bench/calibration_confirmation.py [--studies=10000] [--max_pairs=8]

The losses of two configs are normal and independent. The difference of their means is given in
standard deviations between the seeds of one config. Bounds: the interval at the last look
contains the true difference in at least 94% of comparisons, an error without a difference in at
most 5.5%, and at most 80% and 60% of the pairs at differences of two and four.
"""

from __future__ import annotations

import argparse
import math

import numpy as np

from lmhp.statistics.confirmation import BETTER, WORSE, SeedLoss, confirm_on_seeds
from lmhp.statistics.sequential_pairs import looks

DIFFERENCES = (0.0, 0.5, 1.0, 2.0, 4.0)
MOST_PAIRS = {2.0: 0.8, 4.0: 0.6}
LEAST_COVERAGE = 0.94
MOST_ERROR = 0.055


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--studies', type=int, default=10_000)
  parser.add_argument('--max_pairs', type=int, default=8)
  args = parser.parse_args()
  print('| difference | covered | decided | mean pairs | of all pairs | verdict |')
  print('|--:|--:|--:|--:|--:|---|')
  for difference in DIFFERENCES:
    rng = np.random.default_rng(0)
    results = np.array(
      [comparison(rng, difference, args.max_pairs) for _ in range(args.studies)]
    )
    covered, decided, n_pairs = results.mean(0)
    is_met = covered >= LEAST_COVERAGE
    is_met &= n_pairs <= MOST_PAIRS.get(difference, 1.0) * args.max_pairs
    if not difference:
      is_met &= decided <= MOST_ERROR
    print(
      f'| {difference:g} | {covered:.1%} | {decided:.1%} | {n_pairs:.2f} '
      f'| {n_pairs / args.max_pairs:.0%} | {"met" if is_met else "missed"} |',
      flush=True,
    )


def comparison(
  rng: np.random.Generator, difference: float, max_pairs: int
) -> tuple[float, float, float]:
  """Returns if the interval is right, if the comparison is decided, and its pairs."""
  winner = rng.standard_normal(max_pairs) - difference
  base = rng.standard_normal(max_pairs)
  for n_pairs in looks(max_pairs):
    found = confirm_on_seeds(
      {i: SeedLoss(loss) for i, loss in enumerate(winner[:n_pairs])},
      {i: SeedLoss(loss) for i, loss in enumerate(base[:n_pairs])},
      max_pairs,
    )
    assert found is not None and math.isfinite(found.low)
    if found.is_decided:
      break
  is_covered = found.low <= -difference <= found.high
  return float(is_covered), float(found.verdict in (BETTER, WORSE)), float(n_pairs)


if __name__ == '__main__':
  main()
