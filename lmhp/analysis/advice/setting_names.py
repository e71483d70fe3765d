"""Names of settings in sentences: a label, or the values of the hyperparameters, and the size."""

from __future__ import annotations

import numpy as np

from lmhp.analysis.phrases import amount, listed, setting, shortened
from lmhp.analysis.runs.role_relations import ONLY_NAME
from lmhp.analysis.runs.table import SIZE_GAP, Runs

MAIN_SIZES = ('parameters', 'tokens', 'flops', 'steps', 'epochs')
MAX_SIZES = 2
MAX_LABEL = 60
MAX_VALUES = 4
"""Number of values that name a setting."""


def describe_point(runs: Runs, point: int, beside: int | None = None) -> str:
  """Returns the name of a setting: its label, or its values.

  Args:
    runs: Table of runs.
    point: Number of the setting.
    beside: Another setting. Only values that differ from its own are named.

  >>> runs = Runs('s', {}, {}, np.array([1.0]), labels=('rope',))
  >>> describe_point(runs, 0)
  'rope'
  """
  rows = np.flatnonzero(runs.point == point)
  # A label that several runs of one point share, and no other, is the name of the setting.
  labels = {runs.labels[row] for row in rows} if runs.labels else set()
  n_pairs = len(set(zip(runs.labels, runs.point.tolist())))
  is_shared = n_pairs == len(set(runs.labels)) < len(runs.labels)
  other_row = None if beside is None else np.flatnonzero(runs.point == beside)[0]
  values = []
  for name in runs.varied_axes():
    column = runs.values[name]
    value = column[rows[0]]
    if value is None or value != value:
      continue
    if other_row is not None and repr(value) == repr(column[other_row]):
      continue
    # A column of names needs no name of its own.
    is_name = name in runs.columns and runs.columns[name].reason == ONLY_NAME
    values.append(setting(value) if is_name else f'{name}={setting(value)}')
  if len(labels) == 1 and (is_shared or not values):
    name = shortened(labels.pop(), MAX_LABEL)
  else:
    name = listed(values, MAX_VALUES) or f'trial {runs.first_run(point)}'
  size = describe_size(runs, point) if beside is None else ''
  return f'{name} at {size}' if size else name


def describe_size(runs: Runs, point: int) -> str:
  """Returns the sizes of a point, if runs differ in them. Empty if all are equal.

  >>> sizes = {'parameters': np.array([1e6, 1e9])}
  >>> runs = Runs(
  ...   's', {}, {}, np.array([3.0, 2.0]), measured=sizes, sizes=('parameters',)
  ... )
  >>> describe_size(runs, 1)
  '1,000,000,000 parameters'
  """
  row = np.flatnonzero(runs.point == point)[0]
  sizes = []
  for name, column in runs.compared_within.items():
    if len(set(map(repr, column.tolist()))) > 1:
      sizes.append(f'{name}={setting(column[row])}')
  # The shape of a model follows from its parameters, and needs no name beside them.
  known = [name for name in MAIN_SIZES if name in runs.sizes] or list(runs.sizes)
  for name in known[:MAX_SIZES]:
    values = runs.measured[name]
    if np.nanmax(values) > SIZE_GAP * np.nanmin(values):
      sizes.append(f'{amount(float(values[row]))} {name}')
  return listed(sizes, MAX_VALUES)
