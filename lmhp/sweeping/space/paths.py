"""Paths of a space, and the values that each path can take over all points.

A path is the dotted name of a config key, such as 'train.batch_size'. An entry of a space
sets one or more paths, at all points or only under conditions (`When`).
"""

from __future__ import annotations

import types

from lmhp.sweeping.space.combinators import SpaceLike, as_space
from lmhp.sweeping.space.domains import Range, Value, is_number


def paths_of(space: SpaceLike) -> set[str]:
  """Returns all dotted paths that a point may set, with fixed or drawn values.

  Args:
    space: A space or a dict.

  >>> from lmhp.sweeping.space import Zip
  >>> columns = {'train.batch_size': (8, 16), 'optimizer.learning_rate': (1e-3, 2e-3)}
  >>> sorted(paths_of(Zip(columns)))
  ['optimizer.learning_rate', 'train.batch_size']
  """
  return set().union(*[entry.paths for entry in as_space(space).entries()])


def values_of(
  space: SpaceLike, path: str, default: Value | types.EllipsisType = ...
) -> tuple[Value, ...]:
  """Returns the values that a path can take over all points.

  Args:
    space: A space or a dict.
    path: A dotted path.
    default: Value of the path in the base config. It is added to the values if every entry of
      the path has a condition, even if the conditions together cover all points. `...` means
      that there is no default, because None can be a value.

  Returns:
    - If all values can be listed: each value once, in the order in which they are written.
    - If some entry of the path is a Float, or an Int with more than 10,000 values: a `Range`
      from the lowest to the highest number of all entries. If other entries have values that
      are not numbers: a tuple of these values, followed by the lowest and the highest number.
    - If the path is never set and there is no default: an empty tuple.

  >>> from lmhp.sweeping.space import Float, Int, When
  >>> values_of({'train.z_loss': Float(0, 0.3)}, 'train.z_loss')
  Range(low=0.0, high=0.3)
  >>> space = {
  ...   'train.z_loss': When('model.n_layers', 2, 0.1),
  ...   'model.n_layers': Int(2, 4),
  ... }
  >>> values_of(space, 'train.z_loss', default=0.0)
  (0.1, 0.0)
  """
  values: list[Value] = []
  range_ends: list[Value] = []
  entries = [entry for entry in as_space(space).entries() if path in entry.paths]
  for entry in entries:
    entry_values = entry.values_of(path)
    if isinstance(entry_values, Range):
      range_ends += entry_values
    else:
      values += entry_values
  # Points at which no condition of the path holds have the default.
  if default is not ... and all(entry.conditions for entry in entries):
    values.append(default)
  if not range_ends:
    return tuple(dict.fromkeys(values))

  # The range covers all numbers. Other values, such as None, are listed before it.
  numbers = [value for value in range_ends + values if is_number(value)]
  others = [value for value in values if not is_number(value)]
  span = Range(min(numbers), max(numbers))
  return tuple(dict.fromkeys([*others, *span])) if others else span
