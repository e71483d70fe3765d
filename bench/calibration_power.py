"""Power of the test of effects, in comparison with an oracle.

  python bench/calibration_power.py [--draws=2000] [--only=valley] [--first=0]

A study has n runs of four axes, drawn at random. One axis has an effect. The size of the effect
is the distance from its best to its worst value, in standard deviations between seeds. In half
of the studies another axis has a valley that is four standard deviations deep.

Both oracles know which axes have an effect and of which form, and that losses are normal. The
first knows the form alone, and estimates the place of a valley and the losses of choices. The
second knows the planted curve up to its size. Both test all four axes, each by an F test, with
Holm's correction at the level of `effects`.

Bounds: the power is at least .9 of that of the first oracle. It is below if the difference is
more than 2.5 of its standard errors. Printed too: the rate of effects found on the two axes
without one.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time

import numpy as np

from lmhp.analysis.hyperparameters.design import design_columns, orthonormal_columns
from lmhp.analysis.hyperparameters.effects import LEVEL, effects
from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.table import Runs
from lmhp.statistics.hypothesis_tests import adjust_p_values

RATIO = 0.9
Z = 2.5
NOISE = 0.01
CHOICES = ('a', 'b', 'c')
CURVES = {
  'line': lambda u: u,
  'valley': lambda u: (u - 0.4) ** 2 / 0.36,
  'choice': lambda u: (u > 1 / 3).astype(float),
}
"""{name of a form: function of unit values (P,) to losses (P,) from 0 to 1}. One of three
choices is better than the other two."""


def study(
  form: str, n_runs: int, size: float, other: float, rng: np.random.Generator
) -> tuple[Runs, list[np.ndarray], list[np.ndarray], np.ndarray]:
  """Returns a study, and what the oracles know.

  Returns:
    The runs, the columns of the form of each axis, the curve of each axis, and the column of
    the second axis's effect, (n, 0 or 2).
  """
  units = rng.random((n_runs, 4))
  forms = (form, 'valley', form, form)
  losses = 3 + NOISE * rng.standard_normal(n_runs)
  losses = losses + NOISE * size * CURVES[form](units[:, 0])
  losses = losses + NOISE * other * CURVES['valley'](units[:, 1])
  axes = {}
  values = {}
  for i, name in enumerate(('a0', 'a1', 'a2', 'a3')):
    if forms[i] == 'choice':
      axes[name] = Axis(name, is_choice=True, choices=CHOICES)
      column = np.empty(n_runs, object)
      column[:] = [CHOICES[int(3 * unit)] for unit in units[:, i]]
      values[name] = column
    else:
      axes[name] = Axis(name, low=0.0, high=1.0)
      values[name] = units[:, i]
  runs = Runs('', axes, values, losses)
  columns = [
    design_columns(runs, name, square=forms[i] != 'line') for i, name in enumerate(axes)
  ]
  curves = [CURVES[forms[i]](units[:, i])[:, None] for i in range(4)]
  return runs, columns, curves, columns[1][:, : 2 * (other > 0)]


def oracle(losses: np.ndarray, columns: list[np.ndarray], known: np.ndarray) -> bool:
  """Returns True if F tests of the true columns find the first axis.

  Args:
    losses: (P,) losses.
    columns: (P, C) columns of each axis.
    known: (P, Q) columns of the other axis that has an effect.
  """
  from scipy.special import fdtrc

  constant = np.full((len(losses), 1), len(losses) ** -0.5)
  others = np.column_stack([constant, orthonormal_columns(known, constant)])
  residuals = losses - others @ (others.T @ losses)
  p_values = []
  for i, each in enumerate(columns):
    if i == 1 and known.shape[1]:
      p_values.append(0.0)
      continue
    added = orthonormal_columns(each, others)
    count = added.shape[1]
    freedom = len(losses) - others.shape[1] - count
    if not count:
      p_values.append(1.0)
      continue
    explained = float(np.sum((added.T @ residuals) ** 2))
    rest = float(np.sum(residuals**2)) - explained
    p_values.append(float(fdtrc(count, freedom, explained / count / (rest / freedom))))
  return adjust_p_values(p_values)[0] <= LEVEL


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--draws', type=int, default=2000)
  parser.add_argument('--only', choices=tuple(CURVES))
  parser.add_argument('--first', type=int, default=0, help='first seed')
  options = parser.parse_args()
  start = time.perf_counter()
  print(
    '| form | other axis | runs | effect | draws | power | oracle | ratio |', end=''
  )
  print(' knows the curve | ratio | false | verdict |')
  print('|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|', flush=True)
  product = itertools.product(CURVES, (0.0, 4.0), (16, 64, 256), (1.0, 2.0, 4.0))
  for number, (form, other, n_runs, size) in enumerate(product):
    if options.only not in (None, form):
      continue
    draws = min(options.draws, 2000 if n_runs <= 64 else 500)
    rng = np.random.default_rng(options.first + number)
    found = np.zeros((draws, 4))
    for row in range(draws):
      runs, columns, curves, known = study(form, n_runs, size, other, rng)
      results = {one.axis: one.significant() for one in effects(runs)}
      false = results['a2'] or results['a3']
      of_form = oracle(runs.losses, columns, known)
      found[row] = results['a0'], of_form, oracle(runs.losses, curves, known), false
    power, of_form, of_curve, false = found.mean(0)
    # Standard error of a difference of paired rates.
    error = float(np.std(found[:, 0] - RATIO * found[:, 1])) / math.sqrt(draws)
    is_met = power - RATIO * of_form >= -Z * error
    print(
      f'| {form} | {other:g} | {n_runs} | {size:g} | {draws} | {power:.3f} | {of_form:.3f} '
      f'| {power / max(of_form, 1e-9):.2f} | {of_curve:.3f} '
      f'| {power / max(of_curve, 1e-9):.2f} | {false:.3f} | {"met" if is_met else "missed"} |',
      flush=True,
    )
  print(f'\n{time.perf_counter() - start:.0f} s')


if __name__ == '__main__':
  main()
