"""Compiled spaces: named parameters, each parent before its children, and points.

A condition tests the values of other parameters, its parents. A parameter with a condition is a
child of these parents.

The names of the parameters must be stable. The random stream of a parameter, its quasi-random
dimension and its values in a stored study are found by its name.

- A parameter has the name of its path.
- A Zip has the names of its paths, joined by '+'.
- The first Chain is called `chain`, the next one `chain2`, and so on.
- If several parameters set one path, under conditions that exclude each other, each name
  states its condition: `optimizer.learning_rate[optimizer.name=lion]`. So if a second parameter
  of a path is added, the first one gets a new name, and with it another random stream.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator, Mapping
import dataclasses
from typing import cast

import numpy as np

from lmhp.errors import ConfigError
from lmhp.sweeping.space.combinators import SpaceLike, as_space
from lmhp.sweeping.space.conditions import (
  Condition,
  Parameter,
  ResolvedCondition,
  ResolvedEntry,
  ancestors_of,
  resolve_conditions,
)
from lmhp.sweeping.space.domains import Choice, Fixed, Value
from lmhp.sweeping.space.intervals import Float, Int


@dataclasses.dataclass(frozen=True)
class Point:
  """One point of a space: a value for each parameter that exists there.

  Attributes:
    parameters: {parameter name: value}, for the parameters that exist at the point.
    overrides: {dotted path: value}, fixed values included.
  """

  parameters: dict[str, Value]
  overrides: dict[str, Value]


class CompiledSpace:
  """A space with resolved names and conditions, from which many points can be made.

  Args:
    space: A space or a dict.

  Attributes:
    space: The space.
    entries: All domains of the space with their parents, each parent before its children.
    parameters: Parameters that a search draws, in the order of `entries`. Fixed entries have
      no parameter.

  Raises:
    ConfigError: If a condition cannot be met, two parameters set one path at the same time, a
      Zip has columns of different lengths, or a Zip or Chain is empty.

  >>> from lmhp.sweeping.space import Choice, Float, When
  >>> space = CompiledSpace(
  ...   {
  ...     'optimizer.name': Choice('adamw', 'lion'),
  ...     'optimizer.b2': When('optimizer.name', 'lion', Float(0.9, 0.99)),
  ...   }
  ... )
  >>> [parameter.name for parameter in space.parameters]
  ['optimizer.name', 'optimizer.b2']
  >>> space.point_at({'optimizer.name': 0.0, 'optimizer.b2': 0.5}).overrides
  {'optimizer.name': 'adamw'}
  """

  def __init__(self, space: SpaceLike):
    self.space = as_space(space)
    self.entries = resolve_conditions(list(self.space.entries()))
    _check_no_overlap(self.entries)
    # Each entry that is not fixed gets a parameter.
    drawn = [r for r in self.entries if not isinstance(r.entry.domain, Fixed)]
    n_of_label = collections.Counter(resolved.entry.label for resolved in drawn)
    for resolved in drawn:
      resolved.parameter = _parameter(resolved, n_of_label[resolved.entry.label] > 1)
    self.parameters = tuple(
      entry.parameter for entry in self.entries if entry.parameter is not None
    )
    self._named_conditions = [_named_condition(entry.parents) for entry in self.entries]

  def draw_point(self, suggest: Callable[[Parameter], Value]) -> Point:
    """Makes one point. See the function `draw_point`."""
    drawn: dict[str, Value] = {}
    overrides: dict[str, Value] = {}
    # Parents come first, so the values that a condition reads have been drawn.
    for resolved, condition in zip(self.entries, self._named_conditions, strict=True):
      if not condition_holds(condition, drawn):
        continue
      parameter = resolved.parameter
      if parameter is None:
        # A fixed entry has one value, and is not drawn.
        (value,) = resolved.entry.domain.values_or_range()
      else:
        value = suggest(parameter)
        drawn[parameter.name] = value
        if value not in parameter.domain:
          raise ValueError(
            f'{parameter.name}: {value!r} is not in {parameter.domain!r}'
          )
      overrides.update(resolved.entry.settings(value))
    return Point(drawn, overrides)

  def point_at(self, unit_values: Mapping[str, float]) -> Point:
    """Returns the point with given unit values (places in the domains, from 0 to 1).

    Args:
      unit_values: {parameter name: unit value}. Parameters that do not exist at the point are
        ignored.
    """
    return self.draw_point(lambda p: p.domain.value_at(unit_values[p.name]))

  def random_points(self, n_points: int) -> Iterator[Point]:
    """Yields random points, the same ones at each call."""
    rng = np.random.default_rng(0)
    for _ in range(n_points):
      yield self.point_at({p.name: rng.random() for p in self.parameters})

  def point_of(self, values: Mapping[str, object]) -> Point:
    """Returns the point with given values.

    Args:
      values: {parameter name: value}. Values of parameters that do not exist at the point are
        ignored.

    Raises:
      KeyError: If the value of a parameter is missing.
      ValueError: If a value is outside its domain.
    """
    # The cast is safe: `draw_point` checks that the value is in its domain.
    return self.draw_point(lambda parameter: cast(Value, values[parameter.name]))


def _check_no_overlap(entries: list[ResolvedEntry]) -> None:
  """Checks that no two entries set one path at the same time."""
  setters = collections.defaultdict(list)
  for resolved in entries:
    for path in resolved.entry.paths:
      for other in setters[path]:
        # Two entries can exist together if the conditions of both can hold together.
        both = (*resolved.ancestors.items(), *other.ancestors.items())
        if ancestors_of(both) is not None:
          raise ConfigError(
            f'{path}: got {other.entry.domain!r} and {resolved.entry.domain!r} at the same '
            'time, expected one of them, or conditions that exclude each other'
          )
      setters[path].append(resolved)


def condition_holds(condition: Condition, values: Mapping[str, Value]) -> bool:
  """Returns True if all parents of a condition exist and take an accepted value.

  Args:
    condition: `(parameter name, accepted values)` pairs.
    values: {parameter name: value}.

  >>> condition_holds(
  ...   (('optimizer.name', ('adamw', 'lion')),), {'optimizer.name': 'lion'}
  ... )
  True
  >>> condition_holds((('optimizer.name', ('adamw', 'lion')),), {})
  False
  """
  return all(
    name in values and values[name] in accepted for name, accepted in condition
  )


def _named_condition(parents: ResolvedCondition) -> Condition:
  """Returns a condition with the parameter names of the parents in place of their entries."""
  condition = []
  for parent, values in parents:
    # `resolve_conditions` replaces a fixed parent by the parents of that parent.
    assert parent.parameter is not None
    condition.append((parent.parameter.name, values))
  return tuple(condition)


def _parameter(resolved: ResolvedEntry, is_shared: bool) -> Parameter:
  """Returns the parameter of a drawn entry.

  Args:
    resolved: The entry.
    is_shared: True if other drawn entries have the same label. Then the name of the parameter
      states its condition.
  """
  entry = resolved.entry
  domain = entry.domain
  # The only other domain is Fixed, which is not drawn.
  assert isinstance(domain, (Float, Int, Choice))
  condition = _named_condition(resolved.parents)
  name = entry.label
  if is_shared:
    parts = [f'{parent}={"|".join(map(str, values))}' for parent, values in condition]
    name = f'{entry.label}[{",".join(parts)}]'
  return Parameter(name, entry.paths, domain, domain.role, condition or None)


def parameters(space: SpaceLike) -> tuple[Parameter, ...]:
  """Returns the parameters that a search draws, each parent before its children.

  Apart from this, they have the order in which they are written. Fixed values are no parameters.

  Args:
    space: A space or a dict.

  Raises:
    ConfigError: For the same reasons as `CompiledSpace`.

  >>> from lmhp.sweeping.space import Choice, Float, When
  >>> space = {
  ...   'schedule.cooldown_fraction': When(
  ...     'schedule.name', 'wsd_linear', Float(0.05, 0.5)
  ...   ),
  ...   'schedule.name': Choice('cosine', 'wsd_linear'),
  ... }
  >>> for parameter in parameters(space):
  ...   print(parameter.name, parameter.condition)
  schedule.name None
  schedule.cooldown_fraction (('schedule.name', ('wsd_linear',)),)
  """
  return CompiledSpace(space).parameters


def draw_point(space: SpaceLike, suggest: Callable[[Parameter], Value]) -> Point:
  """Makes one point. Calls `suggest` once for each parameter that exists at the point.

  Parents come before their children. For many points, keep a `CompiledSpace` and call its
  method of the same name.

  Args:
    space: A space or a dict.
    suggest: Function that returns a value of the parameter's domain.

  Raises:
    ConfigError: For the same reasons as `CompiledSpace`.
    ValueError: If a value is outside its domain.

  >>> from lmhp.sweeping.space import Int
  >>> space = {'model.n_layers': Int(2, 8), 'optimizer.b2': 0.95}
  >>> draw_point(space, lambda parameter: parameter.domain.low).overrides
  {'model.n_layers': 2, 'optimizer.b2': 0.95}
  """
  return CompiledSpace(space).draw_point(suggest)
