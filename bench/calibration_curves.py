"""Detection rate of problems in training curves, and rate of false findings.

  python bench/calibration_curves.py [--studies=2000] [--planted=100] [--curves=2000] [--workers=2]

The studies come from `tests/analysis/synthetic_curves.py`. Each has 8 to 32 runs of 50 to 500
rows. A curve is a power law, bent by a cosine or a cooldown, with autoregressive noise. All
configs are equally good. A third of the studies have runs that were stopped early, and half
of them have several seeds of one point. Every finding other than a note is false.

For the extrapolation, the script prints the fraction of the 90% intervals that contain the
loss at 1.25 to 4 times the steps, at a constant learning rate.
"""

import argparse
import collections
from concurrent import futures
import os
import sys

os.environ.setdefault('OMP_NUM_THREADS', '1')
sys.path.insert(0, os.path.join(os.path.dirname(__file__), '..', 'tests', 'analysis'))

import synthetic_curves as synthetic


def findings(situation, seed, tails):
  """Returns the findings about the curves of one study."""
  from lmhp.analysis.analysis import analyze

  return analyze(synthetic.study(situation, seed, tails)).findings_of_single_run


def kinds(situation, seed, tails=False):
  """Returns the kinds of the findings of one study."""
  return [finding.kind for finding in findings(situation, seed, tails)]


def false_findings(seed, tails=False):
  """Returns the kinds of the false findings of one study without problems."""
  return [
    finding.kind
    for finding in findings('nothing', 10**6 + seed, tails)
    if finding.level != 'note'
  ]


def covered(seed):
  """Returns whether a 90% interval contains the truth, its width and the error in nats.

  None if the extrapolation is refused.
  """
  from lmhp.analysis.curves.extrapolation import extrapolate

  steps, losses, to_step, truth = synthetic.curve_with_a_later_loss(seed)
  result = extrapolate(steps, losses, to_step)
  if result.reason:
    return None
  return (
    result.low <= truth <= result.high,
    result.high - result.low,
    result.loss - truth,
  )


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  for name, default in (
    ('studies', 2000),
    ('planted', 100),
    ('curves', 2000),
    ('workers', 2),
  ):
    parser.add_argument(f'--{name}', type=int, default=default)
  args = parser.parse_args()
  with futures.ProcessPoolExecutor(args.workers) as pool:
    for situation, words in synthetic.PLANTED.items() if args.planted else ():
      kinds_by_study = list(
        pool.map(kinds, [situation] * args.planted, range(args.planted), chunksize=10)
      )
      n = sum(situation in kinds_of_study for kinds_of_study in kinds_by_study)
      others = collections.Counter(
        kind
        for kinds_of_study in kinds_by_study
        for kind in kinds_of_study
        if kind != situation
      )
      print(
        f'{situation:<20} found in {n} of {args.planted}: {words}\n{"":<20} beside it '
        f'{dict(others)}',
        flush=True,
      )
    for tails, name in (
      ((False, 'normal'), (True, "Student's t, 5")) if args.studies else ()
    ):
      false = list(
        pool.map(
          false_findings, range(args.studies), [tails] * args.studies, chunksize=20
        )
      )
      wrong = sum(bool(one) for one in false)
      print(
        f'healthy curves, {name} noise: a false finding in {wrong} of {args.studies} studies '
        f'({wrong / args.studies:.2%}) '
        f'{dict(collections.Counter(k for one in false for k in one))}',
        flush=True,
      )
    results = [
      one
      for one in pool.map(covered, range(args.curves), chunksize=20)
      if one is not None
    ]
  if results:
    inside, widths, errors = zip(*results)

    def middle(values):
      return sorted(values)[len(values) // 2]

    print(
      f'extrapolation: 90% intervals held the truth in {sum(inside) / len(inside):.1%} '
      f'of {len(results)} curves '
      f'({args.curves - len(results)} refused); median width {middle(widths):.4f} '
      'nats, median error '
      f'{middle([abs(e) for e in errors]):.4f} nats'
    )


if __name__ == '__main__':
  main()
