"""Random and quasi-random designs: point i of a space, whatever else was or will be drawn.

Each parameter has a stream of its own, a pure function of (study seed, the parameter's name, i): numbers in [0, 1),
which its domain turns into values. So another parameter, fewer, or another order in the dict leave all others' values
as they were. In a quasi-random design the stream runs along one dimension of the sequence; which one is recorded, to be
handed back when the study goes on. A parameter under a condition has its own too, read only where it exists.

==========  ==========================================================================================
`kind`      a parameter's stream
==========  ==========================================================================================
random      Philox, its key the hash of seed and name
halton      van der Corput's sequence in the dimension's prime, its digits permuted by seed and name
sobol       the dimension's direction numbers, a matrix and a shift on its bits by seed and name
==========  ==========================================================================================

What a name's stream gives is a place in the domain, not a value: wider bounds, another scale or one choice more move
the values that it lands on. Another seed, kind or dimension is another stream, and so is another name, which a second
parameter on the same path brings with it (see `lmhp.sweeping.space.compiled_space`).
"""

from __future__ import annotations

import dataclasses
from typing import Any, Mapping

import numpy as np

from lmhp.errors import ConfigError, suggest
from lmhp.renamed_keys import stream_name
from lmhp.sweeping.search import quasi_random as streams
from lmhp.sweeping.space.combinators import Space, Subsample, as_space
from lmhp.sweeping.space.compiled_space import CompiledSpace, Parameter, Point
from lmhp.sweeping.space.domains import from_unit
from lmhp.sweeping.space.flattening import leaves

KINDS = ('random', 'halton', 'sobol')


@dataclasses.dataclass(frozen=True, eq=False)
class Design:
  """Points of a space, by number.

  Attributes:
    space: a space or a dict.
    kind: random, halton or sobol.
    seed: of the study.
    dimensions: {parameter name: dimension, 0 and up}, as recorded; at creation those that are missing get the next
      free ones, in order of appearance. Of parameters that are gone they are kept, so that none is given twice. A
      random design has none.

  Raises:
    ConfigError: for another kind, dimensions that are not different whole numbers below 21,201, a Subsample that holds
      a part of the space, and as `parameters.Plan` says.

  >>> from lmhp.sweeping.space import Float
  >>> design = Design(
  ...   {'optimizer.learning_rate': Float(1e-4, 1e-1, log=True)}, 'sobol', seed=0
  ... )
  >>> design.dimensions, design.point(7) == design.points(0, 10)[7]
  ({'optimizer.learning_rate': 0}, True)
  """

  space: Space
  kind: str
  seed: int
  dimensions: dict[str, int] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    if self.kind not in KINDS:
      raise ConfigError(
        f'kind: got {self.kind!r}, expected {", ".join(KINDS)}{suggest(self.kind, KINDS)}'
      )
    space = as_space(self.space)
    object.__setattr__(self, 'space', space)
    object.__setattr__(self, 'most_points', most_points(space))
    object.__setattr__(self, '_plan', CompiledSpace(space))
    dimensions = (
      {}
      if self.kind == 'random'
      else _extended(self.dimensions or {}, self._plan.parameters)
    )
    object.__setattr__(self, 'dimensions', dimensions)

  def point(self, i: int) -> Point:
    """Point i, 0 and up; as :meth:`points`."""
    return self.points(i, i + 1)[0]

  def points(self, start: int, stop: int) -> list[Point]:
    """Points start to stop, without the last.

    Raises:
      ConfigError: beyond what a Subsample or the sequence has.
      ValueError: for a number below 0.
    """
    if start < 0:
      raise ValueError(f'points are numbered from 0, not {start}')
    limits = [self.most_points, None if self.kind == 'random' else streams.MOST_POINTS]
    for limit, of in zip(limits, ('the Subsample', f'a {self.kind} sequence')):
      if limit is not None and stop > limit:
        raise ConfigError(
          f'points: got {stop}, expected at most {limit}, the points of {of}'
        )
    units = {p.name: self.units(p, start, stop).tolist() for p in self._plan.parameters}
    return [
      self._plan.walk(
        lambda parameter, i=i: from_unit(parameter.domain, units[parameter.name][i])
      )
      for i in range(max(stop - start, 0))
    ]

  def units(self, parameter: Parameter, start: int, stop: int) -> np.ndarray:
    """A parameter's stream, (stop - start,) float64 in [0, 1): also where the parameter does not exist."""
    if stop <= start:
      return np.zeros(0)
    key = streams.key_of(self.seed, self.kind, stream_name(parameter.name))
    if self.kind == 'random':
      return streams.random(key, start, stop)
    return getattr(streams, self.kind)(
      key, self.dimensions[parameter.name], start, stop
    )


def most_points(space: Any) -> int | None:
  """How many points a Subsample around the whole space leaves, in a search that is no grid; None without one.

  Raises:
    ConfigError: for one around a part of the space, which says nothing there.
  """
  most, space = None, as_space(space)
  while isinstance(space, Subsample):
    most, space = min(space.n, most or space.n), space.space
  for leaf in leaves(space):
    if leaf.samples:
      raise ConfigError(
        f'{leaf.label}: got a Subsample of a part of the space, expected one of the whole, or a grid '
        'search'
      )
  return most


def _extended(
  dimensions: Mapping[str, int], parameters: tuple[Parameter, ...]
) -> dict[str, int]:
  """The recorded dimensions, and new ones for the parameters that have none."""
  out: dict[str, int] = {}
  for name, dimension in dimensions.items():
    if not isinstance(dimension, int) or dimension < 0 or dimension in out.values():
      raise ConfigError(
        f'{name}: got dimension {dimension!r}, expected a whole number of its own, 0 and up'
      )
    out[name] = dimension
  for parameter in parameters:
    if parameter.name not in out:
      out[parameter.name] = 1 + max(out.values(), default=-1)
  for name, dimension in out.items():
    if dimension >= streams.MOST_DIMENSIONS:
      raise ConfigError(
        f'{name}: got dimension {dimension}, expected one of the {streams.MOST_DIMENSIONS} that a '
        'quasi-random sequence has; use random'
      )
  return out
