"""A space as a grid: every combination, children only where they exist."""

from __future__ import annotations

import math
from typing import Any, Iterable, Mapping

import numpy as np

from lmhp.errors import ConfigError, suggest
from lmhp.renamed_keys import stream_name
from lmhp.sweeping.search.quasi_random import key_of, random_words
from lmhp.sweeping.space.combinators import as_space
from lmhp.sweeping.space.compiled_space import CompiledSpace, Parameter, Point, holds
from lmhp.sweeping.space.domains import Choice, Float, Int, round_to_significant
from lmhp.sweeping.space.flattening import Sample

MOST_POINTS = 500_000
Drawn = dict[str, Any]


def grid(space: Any, levels: int | Mapping[str, int] = 5) -> list[Point]:
  """Every combination of the levels of a space's parameters.

  The order is that of :func:`~lmhp.sweeping.space.compiled_space.parameters`, and the last varies fastest; a Chain gives the
  points of its links one after the other. The points of a space that is a Subsample come in the order in which it chose
  them, so that fewer are the beginning of more; within another space they stay in the grid's order.

  Args:
    space: a space or a dict.
    levels: of each Float, and of each Int that has more values: both ends and what lies evenly between, on a
      logarithmic scale where the domain is; 1 is the middle. Or {parameter name: levels}, 5 for the others. A Choice
      has all its values.

  Raises:
    ConfigError: for a level that is not at least 1, the name of no parameter, more than 500,000 points before any is
      thinned, and as `parameters.Plan` says.

  >>> space = {
  ...   'optimizer.learning_rate': Float(1e-3, 1e-1, log=True),
  ...   'optimizer.b2': Choice(0.95, 0.99),
  ... }
  >>> [tuple(point.overrides.values()) for point in grid(space, levels=3)]
  [(0.001, 0.95), (0.001, 0.99), (0.01, 0.95), (0.01, 0.99), (0.1, 0.95), (0.1, 0.99)]
  """
  space = as_space(space)
  plan = CompiledSpace(space)
  points: list[Drawn] = [{}]
  for parameter, values in zip(plan.parameters, _all_levels(plan.parameters, levels)):
    lives = [holds(parameter.condition or (), point) for point in points]
    n = len(points) + sum(lives) * (len(values) - 1)
    if n > MOST_POINTS:
      raise ConfigError(
        f'levels: got a grid of {n} points, and more, expected at most {MOST_POINTS}'
      )
    points = [
      one
      for point, alive in zip(points, lives)
      for one in (
        [{**point, parameter.name: value} for value in values] if alive else [point]
      )
    ]
  points = _thinned(points, plan, space)
  return [
    plan.walk(lambda parameter, point=point: point[parameter.name]) for point in points
  ]


def _all_levels(
  parameters: Iterable[Parameter], levels: int | Mapping[str, int]
) -> list[tuple]:
  names = [p.name for p in parameters]
  given = levels if isinstance(levels, Mapping) else dict.fromkeys(names, levels)
  for name, n in given.items():
    if name not in names:
      raise ConfigError(
        f'levels: got {name!r}, expected the name of a parameter{suggest(name, names)}'
      )
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
      raise ConfigError(
        f'levels: got {n!r} for {name}, expected a whole number, at least 1'
      )
  return [
    levels_of(p.domain, given[p.name] if p.name in given else 5) for p in parameters
  ]


def levels_of(domain: Float | Int | Choice, n: int) -> tuple:
  """n values of a domain, from its lower end to its upper: evenly spaced, or by equal ratios where it is logarithmic.

  Whole numbers are rounded, others have 12 digits at most, so that 1e-3 between 1e-4 and 1e-2 is 1e-3. A Choice has
  all its values, and an Int that has no more than n as well.
  """
  if isinstance(domain, Choice):
    return domain.values
  low, high = domain.low, domain.high
  if isinstance(domain, Int) and high - low < n:
    return tuple(range(low, high + 1))
  shares = [k / (n - 1) for k in range(n)] if n > 1 else [0.5]
  if domain.log:
    values = [
      round_to_significant(low * math.exp(share * math.log(high / low)))
      for share in shares
    ]
  else:
    digits = 12 - math.ceil(math.log10(high - low))
    values = [round(low + share * (high - low), digits) for share in shares]
  if isinstance(domain, Int):
    values = [round(value) for value in values]
  if n > 1:
    values[0], values[-1] = low, high
  return tuple(dict.fromkeys(values))


# --- thinning -------------------------------------------------------------------------------------------------------


def _thinned(points: list[Drawn], plan: CompiledSpace, space: Any) -> list[Drawn]:
  """The points that every Subsample keeps, the inner ones asked first; where nothing of one exists, it keeps all."""
  names: dict[Sample, list[str]] = {}
  for node in plan.nodes:
    for sample in reversed(node.leaf.samples):
      names.setdefault(sample, [])
      if node.parameter is not None:
        names[sample].append(node.parameter.name)
  depth = {
    s: node.leaf.samples.index(s) for node in plan.nodes for s in node.leaf.samples
  }
  for sample in sorted(names, key=depth.get, reverse=True):
    parts = [
      tuple((name, point[name]) for name in names[sample] if name in point)
      for point in points
    ]
    chosen = evenly(
      list(dict.fromkeys(part for part in parts if part)),
      sample.subsample.n,
      sample.subsample.seed,
    )
    rank = {part: i for i, part in enumerate(chosen)}
    kept = [
      (rank.get(part, -1), point)
      for part, point in zip(parts, points)
      if not part or part in rank
    ]
    if sample.subsample is space:
      kept.sort(key=lambda pair: pair[0])
    points = [point for _, point in kept]
  return points


def evenly(points: list[tuple], n: int, seed: int) -> list[tuple]:
  """n points of a list such that each value comes as often as its share of the list allows.

  Each next point is the one whose values, all parameters together, have come least for their share so far. Ties go by
  an order that the seed and the parameters' names draw.

  Args:
    points: each `((name, value), ...)`, all different.
    n: how many; all, where there are no more.
    seed: breaks ties.

  Returns:
    The points in the order in which they were chosen: fewer are the beginning of more.
  """
  names = list(dict.fromkeys(name for point in points for name, _ in point))
  ranks = random_words(
    key_of(seed, 'subsample', *sorted(map(stream_name, names))), 0, len(points)
  )
  points = [points[i] for i in np.argsort(ranks, kind='stable')]
  columns, drawn = [], [dict(point) for point in points]
  for name in names:
    found: dict[Any, int] = {}
    codes = np.array(
      [found.setdefault(point.get(name, ...), len(found)) for point in drawn]
    )
    columns.append((codes, len(points) / np.bincount(codes)))
  used, free, chosen = np.zeros(len(points)), np.zeros(len(points)), []
  for _ in range(min(n, len(points))):
    pick = int(np.argmin(used + free))  # the first of those whose values came least
    chosen.append(points[pick])
    free[pick] = np.inf
    for codes, weight in columns:
      used[codes == codes[pick]] += weight[codes[pick]]
  return chosen
