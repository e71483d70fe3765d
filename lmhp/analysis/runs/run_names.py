"""Settings that stand in the names of the runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
import re

from lmhp.analysis.runs.cells import parse_number
from lmhp.analysis.runs.raw_table import Column, RawTable, names_with
from lmhp.statistics.column_names import (
  HYPERPARAMETER,
  IDENTITY,
  SEED,
  SIZE,
  YARDSTICK,
)

_SETTING = re.compile(r'([A-Za-z]+(?:_[A-Za-z]+)*)[_=:]?(-?\d[\d.]*(?:e-?\d+)?[KMB]?)')
_NUMBERED = re.compile(r'(.+?)[\W_]+(\d+)')


def split_numbered_names(
  table: RawTable, roles: Mapping[str, Column]
) -> tuple[RawTable, Mapping[str, Column]]:
  """Takes the words of names such as `cnn_0` and `resnet_0` as a setting.

  This is done if the number stands for the values of the other settings, and rows that agree in
  these have other words. Such rows are not repeats of one setting.

  Args:
    table: The table.
    roles: {column: its role}.

  Returns:
    The table with the words in place of the names, and the roles.
  """
  separate = (HYPERPARAMETER, SIZE, SEED, YARDSTICK)
  settings = [name for name, column in roles.items() if column.role in separate]
  keys = table.row_keys(settings)
  n_keys = len(set(keys))
  for name in names_with(roles, IDENTITY):
    names = [_NUMBERED.fullmatch(str(value)) for value in table.columns[name]]
    words = [match.group(1) for match in names if match]
    numbers = [match.group(2) for match in names if match]
    if len(words) < len(table) or 2 * max(n_keys, len(set(words))) > len(table):
      continue
    tells_apart = len(set(zip(keys, words))) == len(table)
    if tells_apart and len(set(zip(keys, numbers))) == n_keys:
      table = dataclasses.replace(table, columns={**table.columns, name: words})
      reason = 'it tells runs with equal settings apart'
      return table, {**roles, name: Column(HYPERPARAMETER, reason)}
  return table, roles


def settings_in_names(names: Sequence[str]) -> list[dict[str, object]]:
  """Returns the settings in names such as `lr_0.001` and `lr=0.1,wd=0.2`.

  Empty, unless all names are made of the same settings and nothing else.
  """
  settings = []
  for name in names:
    rest = _SETTING.sub('', name)
    if rest.strip(' _,;/-|'):
      return [{} for _ in names]
    pairs = _SETTING.findall(name)
    settings.append({key: parse_number(value) for key, value in pairs})
  if len({tuple(each) for each in settings}) > 1 or not settings[0]:
    return [{} for _ in names]
  return settings
