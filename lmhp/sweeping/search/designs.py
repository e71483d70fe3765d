"""Random and quasi-random designs. Point i does not depend on the number of points.

A design is the sequence of points of a random or quasi-random search. A point is one assignment
of values to the parameters of a space. Each parameter has a stream of numbers. Number i of the
stream is a pure function of (study seed, parameter name, i). The numbers are in [0, 1), and are
called unit values. The domain of the parameter maps a unit value to a value, such as a learning
rate. If a parameter is added to the space, removed from it or moved to another place, the values
of all other parameters stay unchanged. In a quasi-random design, the stream is one dimension of
a Halton or Sobol sequence. A parameter with a condition has a stream too, which is read only at
points at which the parameter exists.

==========  ==========================================================================
method      stream of a parameter
==========  ==========================================================================
random      Philox random numbers. The key is a hash of the seed and the name.
halton      Van der Corput sequence. The bases of the dimensions are the prime numbers 2, 3,
            5 and so on. The seed and the name choose a permutation of the digits.
sobol       Sobol sequence with the direction numbers of the dimension. The seed and the
            name choose a random matrix and a digital shift that scramble the bits.
==========  ==========================================================================

If a domain gets wider bounds, another scale or one more choice, the values change, but not the
unit values. Another seed, method, dimension or parameter name gives another stream. The name of
a parameter contains its condition only if several parameters set the same path. So the first
parameter gets another name and another stream when a second one is added for its path (see
`lmhp.sweeping.space.compiled_space`).

A `Subsample` of a space limits the number of its points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
import functools

import numpy as np
import numpy.typing as npt

from lmhp.errors import ConfigError
from lmhp.renamed_keys import stream_name
from lmhp.sweeping.search import quasi_random
from lmhp.sweeping.search.method import SearchMethod, SearchState
from lmhp.sweeping.space import (
  CompiledSpace,
  Parameter,
  Point,
  Space,
  SpaceLike,
  Subsample,
  as_space,
)

SEQUENCES = {'halton': quasi_random.halton, 'sobol': quasi_random.sobol}
"""{method: quasi-random sequence}."""


class Design:
  """Points of a space, by number.

  Args:
    space: A space or a dict.
    method: 'random', 'halton' or 'sobol'.
    seed: Seed of the study.
    dimensions: {parameter name: dimension of the sequence, from 0}. A parameter that is not in
      this dict gets the next free dimension, in the order of the space. The dimension of a
      parameter that the space no longer has stays reserved. A random design uses no dimensions.

  Attributes:
    dimensions: The given dimensions and those of all parameters of the space. Empty for a
      random design.

  Raises:
    ConfigError: If a dimension is 21,201 or more, if a Subsample is used for only a part of the
      space, or if the space is not valid for `CompiledSpace`.

  >>> from lmhp.sweeping.space import Float
  >>> space = {'optimizer.learning_rate': Float(1e-4, 1e-1, log=True)}
  >>> design = Design(space, 'sobol', seed=0)
  >>> design.dimensions, design.points(7, 8) == design.points(0, 10)[7:8]
  ({'optimizer.learning_rate': 0}, True)
  """

  def __init__(
    self,
    space: SpaceLike,
    method: str,
    seed: int,
    dimensions: Mapping[str, int] | None = None,
  ):
    self.space = as_space(space)
    self.method = method
    self.seed = seed
    self._max_points = max_points(self.space)
    self._compiled = CompiledSpace(self.space)
    self.dimensions: dict[str, int] = {}
    if method in SEQUENCES:
      self.dimensions = extend_dimensions(dimensions or {}, self._compiled.parameters)

  def points(self, start: int, stop: int) -> list[Point]:
    """Returns the points with the numbers `start` to `stop - 1`.

    Raises:
      ConfigError: If the Subsample or the sequence has fewer points.
    """
    self._check_limits(stop)
    # Each parameter has its own stream of numbers, which gives point i its value i.
    streams = {
      parameter.name: self.unit_values(parameter, start, stop).tolist()
      for parameter in self._compiled.parameters
    }
    points = []
    for i in range(stop - start):
      unit_values = {name: stream[i] for name, stream in streams.items()}
      points.append(self._compiled.point_at(unit_values))
    return points

  def _check_limits(self, stop: int) -> None:
    limits = {'the Subsample': self._max_points}
    if self.method in SEQUENCES:
      limits[f'a {self.method} sequence'] = quasi_random.MAX_POINTS
    for owner, limit in limits.items():
      if limit is not None and stop > limit:
        raise ConfigError(
          f'points: got {stop}, expected at most {limit}, the number of points of {owner}'
        )

  def unit_values(
    self, parameter: Parameter, start: int, stop: int
  ) -> npt.NDArray[np.float64]:
    """Returns a part of the stream of a parameter.

    Args:
      parameter: The parameter. It need not exist at the points.
      start: First point.
      stop: Last point plus one.

    Returns:
      (stop - start,) unit values of the parameter's domain, in [0, 1).
    """
    # `stream_name` replaces new names of keys by their first names, so that renaming a key does
    # not change the stream.
    key = quasi_random.key_of(self.seed, self.method, stream_name(parameter.name))
    if self.method not in SEQUENCES:
      return quasi_random.random(key, start, stop)
    dimension = self.dimensions[parameter.name]
    return SEQUENCES[self.method](key, dimension, start, stop)


def max_points(space: SpaceLike) -> int | None:
  """Returns the number of points of a Subsample of the whole space, or None if there is none.

  Raises:
    ConfigError: If a Subsample is used for only a part of the space. Only the method 'grid'
      accepts such a Subsample.
  """
  space = as_space(space)
  limit = None
  # If Subsamples are nested, the smallest limit counts.
  while isinstance(space, Subsample):
    limit = space.n if limit is None else min(space.n, limit)
    space = space.space
  for entry in space.entries():
    if entry.subsamples:
      raise ConfigError(
        f'{entry.label}: got a Subsample of a part of the space, expected one of the whole '
        'space, or search=grid'
      )
  return limit


def extend_dimensions(
  dimensions: Mapping[str, int], parameters: Iterable[Parameter]
) -> dict[str, int]:
  """Returns `dimensions`, extended by a new dimension for each parameter that has none.

  Args:
    dimensions: {parameter name: dimension} so far.
    parameters: Parameters of the space.

  Raises:
    ConfigError: If the sequence has too few dimensions.
  """
  extended = dict(dimensions)
  # Old parameters keep their dimensions, so their streams do not change.
  for name in [p.name for p in parameters if p.name not in dimensions]:
    dimension = 1 + max(extended.values(), default=-1)
    extended[name] = dimension
    if dimension >= quasi_random.MAX_DIMENSIONS:
      raise ConfigError(
        f'{name}: got dimension {dimension}, expected less than '
        f'{quasi_random.MAX_DIMENSIONS}, the number of dimensions of a quasi-random sequence, '
        'or search=random'
      )
  return extended


# --- search methods -------------------------------------------------------------------


def propose(method: str, state: SearchState, n_points: int) -> list[Point]:
  """Returns the next points of a design.

  Args:
    method: 'random', 'halton' or 'sobol'.
    state: State of the study.
    n_points: Number of points.
  """
  # A cohort is the set of points that are chosen at one time. The dimensions of the earlier
  # cohorts stay, and new parameters get further dimensions.
  dimensions: dict[str, int] = {}
  for space in state.earlier_spaces:
    dimensions = Design(space, method, state.seed, dimensions).dimensions
  design = Design(state.space, method, state.seed, dimensions)
  return design.points(state.n_drawn, state.n_drawn + n_points)


def check_subsamples(space: Space, is_traced: Callable[[str], bool]) -> None:
  """Checks that a Subsample is used only around the whole space."""
  # Part of the interface (`SearchMethod.check_space`). A design accepts all paths.
  del is_traced
  max_points(space)


def search_method(name: str) -> SearchMethod:
  """Returns the search method 'random', 'halton' or 'sobol'."""
  return SearchMethod(
    propose=functools.partial(propose, name),
    check_space=check_subsamples,
    extends=True,
  )
