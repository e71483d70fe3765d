"""Number of trials that importance needs, from noise and from planted effects.

For each number of trials and axes, there are studies of noise alone, and studies in which one
axis matters. Its effect is a parabola whose standard deviation over the range is `--effect`
times the noise. Printed for each:

  top share     mean share of the most important axis in noise, as PED-ANOVA alone gives it
  claims        fraction of the noise studies in which PED-ANOVA gives one axis more than
                half of all importance, and more than 1.5 / axes
  shown         fraction of the noise studies in which the permutation test finds an effect
                (aim: 5%)
  planted       fraction of the planted studies in which the axis that matters has the
                largest share, and in which its effect is found
  held          fraction of the planted studies whose 90% interval contains the mean share

  python bench/calibration_importance.py [--studies=200] [--axes=4] [--effect=2]
    [--bootstrap=0] [--trials 30 60]
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from lmhp.analysis.hyperparameters import importances as module
from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.table import Runs

TRIALS = (8, 12, 16, 20, 25, 30, 40, 60, 100)


def study(trials: int, axes: int, effect: float, seed: int, planted: bool) -> Runs:
  rng = np.random.default_rng(seed)
  values = {f'axis_{i}': rng.uniform(size=trials) for i in range(axes)}
  parabola = (values['axis_0'] - 0.4) ** 2
  losses = rng.standard_normal(trials) + (
    effect * parabola / 0.1012 if planted else 0
  )  # 0.1012: its deviation
  return Runs(
    'synthetic', {name: Axis(name, low=0, high=1) for name in values}, values, losses
  )


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--studies', type=int, default=200)
  parser.add_argument('--axes', type=int, default=4)
  parser.add_argument('--effect', type=float, default=2)
  parser.add_argument(
    '--bootstrap',
    type=int,
    default=0,
    help='bootstrap replicates; 0 skips the intervals',
  )
  parser.add_argument('--method', default='ped_anova')
  parser.add_argument('--trials', type=int, nargs='*', default=TRIALS)
  options = parser.parse_args()
  module.MIN_POINTS = 2  # what is asked is where it should be

  def make(trials, seed, planted):
    return study(trials, options.axes, options.effect, seed, planted)

  def find(runs, n=0):
    return module.importance(runs, options.method, module.Replicates(n, 19))

  for trials in options.trials:
    started = time.perf_counter()
    noise = [find(make(trials, seed, False)) for seed in range(options.studies)]
    planted = [
      find(make(trials, seed, True), options.bootstrap)
      for seed in range(options.studies)
    ]
    top = np.array([result.fraction[0] for result in noise])
    first = np.mean([result.names[0] == 'axis_0' for result in planted])
    shown = np.mean(['axis_0' in result.significant for result in planted])
    places = [result.names.index('axis_0') for result in planted]
    limit = np.mean([result.fraction[i] for result, i in zip(planted, places)])
    held = np.mean(
      [result.low[i] <= limit <= result.high[i] for result, i in zip(planted, places)]
    )
    print(
      f'{trials:4d} trials, {options.axes} axes: noise: top share {np.nanmean(top):.2f}, '
      f'above half {np.mean(top > 0.5):.1%}, shown '
      f'{np.mean([bool(result.significant) for result in noise]):.1%}; '
      f'planted: first {first:.1%}, shown {shown:.1%}'
      + (f', interval holds {limit:.2f}: {held:.1%}' if options.bootstrap else '')
      + f'  ({time.perf_counter() - started:.0f} s)',
      flush=True,
    )


if __name__ == '__main__':
  main()
