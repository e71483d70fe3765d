"""Grid search: all combinations of the levels of the parameters of a space.

The levels of a parameter are the values that the grid uses, such as 0.001, 0.01 and 0.1. A
Subsample (`lmhp.sweeping.space`) keeps some of the points of a grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from lmhp.declarations import static
from lmhp.errors import ConfigError
from lmhp.renamed_keys import stream_name
from lmhp.sections import keys, keys_of
from lmhp.sweeping.search.method import CohortPlan, SearchMethod, SearchState
from lmhp.sweeping.search.quasi_random import key_of, random_words
from lmhp.sweeping.space import (
  CompiledSpace,
  Parameter,
  Point,
  Range,
  SpaceLike,
  Value,
  condition_holds,
)
from lmhp.sweeping.space.entries import PlacedSubsample
from lmhp.sweeping.space.intervals import MAX_LISTED

MAX_GRID_POINTS = 500_000
"""Largest number of points of a grid, before a Subsample removes points."""


@keys
class GridKeys:
  """Keys of a grid search."""

  grid_levels: int = static(
    5,
    'for search=grid: number of levels of each Float, and of each Int that has more values '
    'than this number',
    low=2,
  )


Values = Mapping[str, Value]
"""{parameter name: value} of one point."""

Part = tuple[tuple[str, Value], ...]
"""`(parameter name, value)` pairs: the values of a point for the parameters of a Subsample."""


def grid(space: SpaceLike, n_levels: int) -> list[Point]:
  """Returns all combinations of the levels of the parameters of a space.

  The parameters have the order of `lmhp.sweeping.space.parameters`, and the last one varies
  fastest. For a Chain, the points of its first space come first, then those of the second, and
  so on. If the whole space is a Subsample, its points have the order in which they were chosen.
  So a smaller Subsample is the beginning of a larger one. The points of a Subsample inside
  another space have the order of the grid.

  Args:
    space: A space or a dict.
    n_levels: Number of levels of each Float, and of each Int that has more than `n_levels`
      values, at least 1. The levels are evenly spaced between both ends, on a logarithmic
      scale if the domain has one. A single level is the middle. A Choice always has all of
      its values.

  Raises:
    ConfigError: If the grid has more than 500,000 points before Subsamples remove points, or
      for the reasons of `CompiledSpace`.

  >>> from lmhp.sweeping.space import Choice, Float
  >>> space = {
  ...   'optimizer.learning_rate': Float(1e-3, 1e-1, log=True),
  ...   'optimizer.b2': Choice(0.95, 0.99),
  ... }
  >>> [tuple(point.overrides.values()) for point in grid(space, n_levels=3)]
  [(0.001, 0.95), (0.001, 0.99), (0.01, 0.95), (0.01, 0.99), (0.1, 0.95), (0.1, 0.99)]
  """
  compiled = CompiledSpace(space)
  points: list[Values] = [{}]
  for parameter in compiled.parameters:
    points = _extended(points, parameter, parameter.domain.grid_values(n_levels))
  return [compiled.point_of(values) for values in _thinned(points, compiled)]


def number_of_points(space: SpaceLike) -> int | None:
  """Returns the number of points of a space, or None if it has more than 10,000.

  >>> from lmhp.sweeping.space import Choice, Int
  >>> number_of_points({'model.n_layers': Int(1, 4), 'optimizer.b2': Choice(0.9, 0.99)})
  8
  """
  largest = 1
  for parameter in CompiledSpace(space).parameters:
    values = parameter.domain.values_or_range()
    if isinstance(values, Range):
      return None
    largest *= len(values) + (parameter.condition is not None)
  if largest > MAX_LISTED:
    return None
  return len(grid(space, n_levels=MAX_LISTED))


def _extended(
  points: Sequence[Values], parameter: Parameter, levels: Sequence[Value]
) -> list[Values]:
  """Returns each point once for each level of one more parameter.

  A point at which the condition of the parameter does not hold stays unchanged.
  """
  # The size is checked first, because a larger grid may not fit in memory.
  exists = [condition_holds(parameter.condition or (), point) for point in points]
  n_points = len(points) + sum(exists) * (len(levels) - 1)
  if n_points > MAX_GRID_POINTS:
    raise ConfigError(
      f'levels: got a grid of {n_points} points or more, expected at most {MAX_GRID_POINTS}'
    )
  extended: list[Values] = []
  for point, parameter_exists in zip(points, exists, strict=True):
    if parameter_exists:
      extended += [{**point, parameter.name: level} for level in levels]
    else:
      extended.append(point)
  return extended


# --- thinning -------------------------------------------------------------------------


def _thinned(points: list[Values], compiled: CompiledSpace) -> list[Values]:
  """Returns the points that all Subsamples keep.

  A Subsample also keeps the points at which none of its parameters exists.
  """
  names = _names_within(compiled)
  # The innermost Subsample chooses first. The Subsamples around it choose from its points.
  for subsample in sorted(names, key=lambda one: one.depth, reverse=True):
    # The part of each point: its values for the parameters of the Subsample.
    parts = [_part(point, names[subsample]) for point in points]
    different = list(dict.fromkeys(part for part in parts if part))
    chosen = choose_evenly(different, subsample.n, subsample.seed)

    # Keep the points whose part was chosen. A point without any parameter of the Subsample has
    # the empty part, and is kept too.
    rank = {(): -1, **{part: i for i, part in enumerate(chosen)}}
    pairs = zip(parts, points, strict=True)
    kept = [(rank[part], point) for part, point in pairs if part in rank]
    # If the whole space is this Subsample, its points get the order of the choice. So a smaller
    # Subsample is the beginning of a larger one.
    if subsample.is_outermost:
      kept.sort(key=lambda pair: pair[0])
    points = [point for _, point in kept]
  return points


def _names_within(compiled: CompiledSpace) -> dict[PlacedSubsample, list[str]]:
  """Returns the names of the parameters within each Subsample."""
  names: dict[PlacedSubsample, list[str]] = {}
  # An entry without a parameter has a fixed value.
  for resolved in compiled.entries:
    for subsample in resolved.entry.subsamples:
      inner = names.setdefault(subsample, [])
      if resolved.parameter is not None:
        inner.append(resolved.parameter.name)
  return names


def _part(point: Values, names: Iterable[str]) -> Part:
  """Returns the parameters of a point that are among `names`, with their values."""
  return tuple((name, point[name]) for name in names if name in point)


def choose_evenly(points: Sequence[Part], n: int, seed: int) -> list[Part]:
  """Chooses points so that each value is about as frequent among them as in the list.

  The share of a value is the fraction of all points that have the value. For each value of a
  point, divide the number of chosen points that have this value by its share. The next point is
  the one for which the sum of these quotients is smallest. Ties are broken by a random order,
  which depends on the seed and on the names of the parameters.

  Args:
    points: Different points, each as `((name, value), ...)`.
    n: Number of points to choose. If there are fewer points, all are chosen.
    seed: Seed of the order that breaks ties.

  Returns:
    The points in the order in which they were chosen. A smaller `n` gives the beginning of
    this list.
  """
  # A random order breaks ties, because `argmin` returns the first minimum. For a renamed key,
  # `stream_name` returns its old name, so that the order stays the same.
  names = list(dict.fromkeys(name for point in points for name, _ in point))
  key = key_of(seed, 'subsample', *sorted(stream_name(name) for name in names))
  order = np.argsort(random_words(key, 0, len(points)), kind='stable')
  points = [points[i] for i in order]

  # For each parameter: the code of its value at each point, and the weight of each code. The
  # weight is 1 divided by the share of the value.
  columns = [
    (codes, len(points) / np.bincount(codes)) for codes in _value_codes(points, names)
  ]

  # For each point: the sum over its values of the weight times the number of chosen points
  # that have the value.
  weight_used = np.zeros(len(points))
  chosen = []
  for _ in range(min(n, len(points))):
    i = int(np.argmin(weight_used))
    chosen.append(points[i])
    weight_used[i] = np.inf  # a point is chosen only once
    for codes, weights in columns:
      weight_used[codes == codes[i]] += weights[codes[i]]
  return chosen


def _value_codes(
  points: Sequence[Part], names: Iterable[str]
) -> list[npt.NDArray[np.int64]]:
  """Returns for each name an array (points,) with a code of the value at each point.

  The codes are 0, 1, 2, and so on. A parameter that does not exist at a point counts as having
  the value Ellipsis (`...`) there (None may be a real value), so it has a code too.
  """
  values_of_point = [dict(point) for point in points]
  columns = []
  for name in names:
    values = [values.get(name, ...) for values in values_of_point]
    code_of_value = {value: code for code, value in enumerate(dict.fromkeys(values))}
    columns.append(np.array([code_of_value[value] for value in values]))
  return columns


# --- search method --------------------------------------------------------------------


def _new_points(state: SearchState) -> list[Point]:
  """Returns the points of the grid that no earlier cohort has."""
  # The cohorts of the search are search-0, search-1, ... The other cohorts (confirm-0, ...) train
  # points of the search again.
  earlier = {
    repr(sorted(trial.parameters.items()))
    for trial in state.trials
    if trial.cohort.startswith('search-')
  }
  points = grid(state.space, keys_of(state.sweep, GridKeys).grid_levels)
  return [
    point for point in points if repr(sorted(point.parameters.items())) not in earlier
  ]


GRID = SearchMethod(
  propose=lambda state, n_points: _new_points(state),
  next_cohort=lambda state: CohortPlan('grid', len(_new_points(state))),
  keys=GridKeys,
  changeable_keys=('grid_levels',),  # may change when a study is extended
  n_points=lambda sweep, space: len(grid(space, keys_of(sweep, GridKeys).grid_levels)),
)
