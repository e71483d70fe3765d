"""Rate of pages with a false finding, and detection rate of planted findings.

  python bench/calibration_findings.py [--draws=2000] [--only=wide] [--planted=100] [--workers=1]

In a table without effects, every finding that claims one is false. Findings that are true of
every study do not count. The tables:

  ordinary    48 points of four hyperparameters, with 8 fresh seeds of the winner and the base
              config (`tests/analysis/planted_studies.py`)
  seeds       16 points of four hyperparameters, with 4 seeds each
  correlated  64 points of four hyperparameters, with correlations of .9
  wide        48 points of 24 hyperparameters
  long        2,000 points of four hyperparameters

Losses are normal in even draws, and have Student's t distribution with 4 degrees of freedom in
odd draws. Bound: at most 6.3% of 2,000 pages, and more by 2.5 standard errors for fewer pages.
A table that misses is run once more with new seeds.
"""

import argparse
import collections
from concurrent import futures
import functools
import math
import os
import sys

os.environ.setdefault('OMP_NUM_THREADS', '1')
sys.path.insert(0, os.path.join(os.path.dirname(__file__), '..', 'tests', 'analysis'))

import numpy as np
import planted_studies as planted

DRAWS = 2000
BOUND = 0.063
TABLES = {
  'ordinary': (48, 4, 1, 0.0),
  'seeds': (16, 4, 4, 0.0),
  'correlated': (64, 4, 1, 0.9),
  'wide': (48, 24, 1, 0.0),
  'long': (2000, 4, 1, 0.0),
}
"""{name: (points, hyperparameters, seeds, correlation of two hyperparameters)}."""

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


def table_of_noise(name, seed):
  """Returns a table in which nothing has an effect."""
  from scipy.special import ndtr

  from lmhp.analysis.runs.axis import Axis
  from lmhp.analysis.runs.table import Runs

  n_points, n_axes, n_seeds, correlation = TABLES[name]
  rng = np.random.default_rng([seed, len(name)])
  common = math.sqrt(correlation) * rng.standard_normal((n_points, 1))
  own = math.sqrt(1 - correlation) * rng.standard_normal((n_points, n_axes))
  units = np.repeat(ndtr(common + own), n_seeds, axis=0)
  names = [f'a{i}' for i in range(n_axes)]
  return Runs(
    name,
    {each: Axis(each, low=0.0, high=1.0) for each in names},
    dict(zip(names, units.T)),
    3 + 0.01 * planted.draw(rng, 'tails' if seed % 2 else 'normal', len(units)),
    point=np.repeat(np.arange(n_points), n_seeds),
    seed=np.tile(np.arange(n_seeds), n_points),
  )


def false_findings(name, seed):
  """Returns the kinds of the false findings of one table of noise.

  Rules that need the fitted optima report axes with a significant effect alone. They take most
  of the time, so they are left out if there is none.
  """
  from lmhp.analysis.analysis import Analysis
  from lmhp.analysis.findings import FINDINGS

  noise = 'tails' if seed % 2 else 'normal'
  if name == 'ordinary':
    runs = planted.study(planted.no_effect, 10**6 + seed, noise=noise)
  else:
    runs = table_of_noise(name, seed)
  analysis = Analysis(runs)
  is_any = any(effect.significant() for effect in analysis.effects)
  findings = []
  for rule in FINDINGS.values():
    if is_any or 'optima' not in rule.needs:
      findings += rule.rule(**analysis.results(rule.needs))
  return {one.kind for one in findings if one.kind not in TRUE_OF_ANY}


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--draws', type=int, default=DRAWS)
  parser.add_argument('--only', choices=tuple(TABLES))
  parser.add_argument('--first', type=int, default=0, help='first seed')
  parser.add_argument('--planted', type=int, default=100)
  parser.add_argument('--workers', type=int, default=1)
  args = parser.parse_args()
  with futures.ProcessPoolExecutor(args.workers) as pool:
    if not args.only:
      for law, wanted in WANTED.items():
        n = sum(
          pool.map(is_found, [law] * args.planted, range(args.planted), chunksize=10)
        )
        print(f'{law:<12} {wanted:<22} found in {n} of {args.planted}', flush=True)
    print(
      '| table | rows | hyperparameters | pages | bound | false | verdict | kinds |'
    )
    print('|---|--:|--:|--:|--:|--:|---|---|', flush=True)
    for name, (n_points, n_axes, n_seeds, _) in TABLES.items():
      if args.only not in (None, name):
        continue
      draws = min(args.draws, 200 if n_points == 2000 else DRAWS)
      error = math.sqrt(0.05 * 0.95) * (1 / math.sqrt(draws) - 1 / math.sqrt(DRAWS))
      bound = BOUND + 2.5 * error
      for again in (0, 1):
        first = args.first + again * DRAWS
        find = functools.partial(false_findings, name)
        false = list(pool.map(find, range(first, first + draws), chunksize=10))
        share = sum(bool(one) for one in false) / draws
        count = collections.Counter(kind for one in false for kind in one)
        which = ', '.join(f'{kind} {n}' for kind, n in count.most_common())
        verdict = 'met' if share <= bound else 'missed'
        print(
          f'| {name} | {n_points * n_seeds} | {n_axes} | {draws} | {bound:.1%} '
          f'| {share:.1%} | {verdict}{" (again)" if again else ""} | {which} |',
          flush=True,
        )
        if share <= bound:
          break


if __name__ == '__main__':
  main()
