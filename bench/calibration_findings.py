"""Detection rate of planted findings, and rate of false findings in noise.

  python bench/calibration_findings.py [--studies=2000] [--planted=100] [--workers=2]

The studies come from `tests/analysis/planted_studies.py`. Each has 48 points of four
hyperparameters, noise of 0.01 nats between seeds, and 8 fresh seeds of the winner and of the
base config. In a study without effects, every finding that claims one is false. Findings
that are true of every study do not count.
"""

import argparse
import collections
from concurrent import futures
import os
import sys

os.environ.setdefault('OMP_NUM_THREADS', '1')
sys.path.insert(0, os.path.join(os.path.dirname(__file__), '..', 'tests', 'analysis'))

import planted_studies as planted

WANTED = {
  'no_effect': 'no_significant_difference',
  'at_bound': 'optimum_at_bound',
  'one_effect': 'no_effect',
  'interacting': 'interaction',
  'diverging': 'many_diverged',
  'unfair_stop': 'unfair_early_stopping',
}
TRUE_OF_ANY = (
  'no_significant_difference',
  'winner_within_noise',
  'too_few_trials',
  'not_confirmed',
)
ABOUT = {
  'at_bound': 'optimizer.learning_rate',
  'one_effect': 'optimizer.weight_decay',
  'interacting': 'optimizer.learning_rate',
}


def kinds(law, seed, noise='normal', search='random'):
  """Returns the kinds of the findings of one study, with the axes of each."""
  from lmhp.analysis.analysis import analyze

  study = planted.study(getattr(planted, law), seed, noise=noise, search=search)
  return [(one.kind, tuple(one.axes)) for one in analyze(study).findings]


def is_found(law, seed):
  """Returns True if the planted situation is found, on the axis that has it."""
  axis = ABOUT.get(law)
  return any(
    kind == WANTED[law] and (axis is None or axis in axes)
    for kind, axes in kinds(law, seed)
  )


def false_findings(seed):
  """Returns the kinds of the false findings of one study of noise.

  Odd seeds have heavy tails.
  """
  found_kinds = kinds('no_effect', 10**6 + seed, 'tails' if seed % 2 else 'normal')
  return [kind for kind, _ in found_kinds if kind not in TRUE_OF_ANY]


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--studies', type=int, default=2000)
  parser.add_argument('--planted', type=int, default=100)
  parser.add_argument('--workers', type=int, default=2)
  args = parser.parse_args()
  with futures.ProcessPoolExecutor(args.workers) as pool:
    for law, wanted in WANTED.items():
      n = sum(
        pool.map(is_found, [law] * args.planted, range(args.planted), chunksize=10)
      )
      print(f'{law:<12} {wanted:<22} found in {n} of {args.planted}', flush=True)
    false = list(pool.map(false_findings, range(args.studies), chunksize=20))
  wrong = sum(bool(one) for one in false)
  print(
    f'noise alone: a false finding in {wrong} of {args.studies} studies '
    f'({wrong / args.studies:.1%})'
  )
  for kind, n in collections.Counter(
    kind for one in false for kind in set(one)
  ).most_common():
    print(f'  {kind:<22} {n}')


if __name__ == '__main__':
  main()
