"""What a space comes to: named parameters, parents before children, and the points they make.

Names are stable: a study keys its streams, its dimensions and its history by them. A path that one parameter sets gives
it its name; a Zip is its paths joined by '+'; a Chain is `chain`, `chain2`, ... Where several parameters have one path,
under conditions that exclude each other, each carries its condition: `optimizer.learning_rate[optimizer.name=lion]`.
(So a second one for a path renames the first, and its values are drawn anew.)
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
from typing import Any, Callable, Mapping

from lmhp.errors import ConfigError
from lmhp.errors import suggest as nearest
from lmhp.sweeping.space.domains import Choice, Fixed, Float, Int
from lmhp.sweeping.space.flattening import Leaf, leaves, taken

Condition = tuple[tuple[str, tuple], ...]


@dataclasses.dataclass(frozen=True)
class Parameter:
  """One number or word that a search draws.

  Attributes:
    name: unique in its space.
    paths: the dotted paths that it sets; several for a Zip, none for a Chain.
    domain: a Float, Int or Choice; of a Zip or a Chain the Choice of its rows or links by number, 0 and up.
    role: scientific or nuisance.
    condition: None, or `(parameter name, accepted values)` pairs, all of which must hold for it to exist.
  """

  name: str
  paths: tuple[str, ...]
  domain: Float | Int | Choice
  role: str
  condition: Condition | None = None


@dataclasses.dataclass(frozen=True)
class Point:
  """One setting of a space.

  Attributes:
    parameters: what was drawn, {parameter name: value}.
    overrides: what it sets, Fixed values included, {dotted path: value}.
  """

  parameters: dict[str, Any]
  overrides: dict[str, Any]


# --- from leaves to parameters --------------------------------------------------------------------------------------


@dataclasses.dataclass(eq=False)
class Node:
  """A leaf under one set of parents.

  Attributes:
    leaf: what it is.
    condition: `(parent, accepted values)` pairs: those of its guards.
    closure: all of its ancestors and what each must take, {node: values}.
    parameter: as a search sees it; None where it is Fixed.
  """

  leaf: Leaf
  condition: tuple[tuple[Node, tuple], ...]
  closure: dict[Node, tuple]
  parameter: Parameter | None = None

  def settings(self, value: Any) -> dict[str, Any]:
    """What a value of its parameter sets, {dotted path: value}."""
    row = (value,) if self.leaf.rows is None else self.leaf.rows[value]
    return dict(zip(self.leaf.paths, row))


def _closure(condition: tuple[tuple[Node, tuple], ...]) -> dict[Node, tuple] | None:
  """What a condition and those of its parents ask of every ancestor; None where they exclude each other."""
  out: dict[Node, tuple] = {}
  for node, values in condition:
    for ancestor, accepted in ((node, values), *node.closure.items()):
      out[ancestor] = (
        tuple(v for v in out[ancestor] if v in accepted)
        if ancestor in out
        else accepted
      )
  return out if all(out.values()) else None


class Resolver:
  """Finds the parents of every leaf; a leaf with several possible parents becomes several nodes."""

  def __init__(self, all_leaves: list[Leaf]):
    self.leaves = all_leaves
    self.nodes: list[Node] = []  # parents before children, else as written
    self._found: dict[Leaf, list[Node]] = {}
    self._active: list[Leaf] = []
    for leaf in all_leaves:
      self.of(leaf)

  def of(self, leaf: Leaf) -> list[Node]:
    """The nodes of a leaf."""
    if leaf in self._active:
      circle = ' -> '.join(
        one.label for one in [*self._active[self._active.index(leaf) :], leaf]
      )
      raise ConfigError(
        f'{leaf.label}: got conditions that go in a circle ({circle}), expected a first one'
      )
    if leaf not in self._found:
      self._active.append(leaf)
      conditions = [
        sum(parts, ())
        for parts in itertools.product(*(self._parents(leaf, *g) for g in leaf.guards))
      ]
      self._active.pop()
      nodes = [
        Node(leaf, c, closure)
        for c in conditions
        if (closure := _closure(c)) is not None
      ]
      if not nodes:
        raise ConfigError(
          f'{leaf.label}: got conditions that exclude each other, expected some that hold together'
        )
      self._found[leaf] = nodes
      self.nodes += nodes
    return self._found[leaf]

  def _parents(self, leaf: Leaf, parent: Any, values: tuple) -> list[tuple]:
    """The ways to meet one guard, each a condition."""
    if isinstance(parent, Leaf):
      return [((node, values),) for node in self.of(parent)]
    candidates = [
      one for one in self.leaves if parent in one.paths and not _apart(one, leaf)
    ]
    if not candidates:
      known = dict.fromkeys(path for one in self.leaves for path in one.paths)
      raise ConfigError(
        f'{leaf.label}: got a condition on {parent}, expected a path of the space'
        f'{nearest(parent, known)}'
      )
    for value in values:
      if not any(taken(one, parent, (value,)) for one in candidates):
        raise _never(leaf, parent, value, candidates)
    ways = []
    for one in candidates:
      if accepted := taken(one, parent, values):
        fixed = isinstance(one.domain, Fixed)  # always takes the value where it exists
        ways += [
          node.condition if fixed else ((node, accepted),) for node in self.of(one)
        ]
    return ways


def _apart(a: Leaf, b: Leaf) -> bool:
  """Whether the guards of two leaves exclude each other as they are written."""
  return any(
    p is q or (isinstance(p, str) and p == q)
    for p, v in a.guards
    for q, w in b.guards
    if not any(x in w for x in v)
  )


def _never(leaf: Leaf, parent: str, value: Any, candidates: list[Leaf]) -> ConfigError:
  domains = [
    one.domain
    if one.rows is None
    else Choice(*(row[one.paths.index(parent)] for row in one.rows))
    for one in candidates
  ]
  words = [
    str(v) for domain in domains if isinstance(domain, Choice) for v in domain.values
  ]
  accepted = ' or '.join(map(repr, dict.fromkeys(domains)))
  return ConfigError(
    f'{leaf.label}: got a condition on {parent}={value!r}, expected a value that it takes, of '
    f'{accepted}{nearest(str(value), words)}'
  )


# --- the plan -------------------------------------------------------------------------------------------------------


class CompiledSpace:
  """A space worked out once, for many points.

  Attributes:
    nodes: parents before children.
    parameters: those that are drawn, in the same order.

  Raises:
    ConfigError: for conditions on what is not there, in a circle or never met, two parameters on one path at the same
      time, a Zip of different lengths.
  """

  def __init__(self, space: Any):
    self.nodes = Resolver(leaves(space)).nodes
    self._refuse_overlaps()
    count = collections.Counter(
      node.leaf.label for node in self.nodes if not isinstance(node.leaf.domain, Fixed)
    )
    for node in self.nodes:
      if not isinstance(node.leaf.domain, Fixed):
        node.parameter = _parameter(node, count[node.leaf.label] > 1)
    self.parameters = tuple(
      node.parameter for node in self.nodes if node.parameter is not None
    )
    self._steps = [(node, _by_name(node.condition)) for node in self.nodes]

  def _refuse_overlaps(self) -> None:
    setters = collections.defaultdict(list)
    for node in self.nodes:
      for path in node.leaf.paths:
        for other in setters[path]:
          if _closure((*node.closure.items(), *other.closure.items())) is not None:
            raise ConfigError(
              f'{path}: got {other.leaf.domain!r} and {node.leaf.domain!r} at the same time, expected '
              'one of them, or conditions that exclude each other'
            )
        setters[path].append(node)

  def walk(self, suggest: Callable[[Parameter], Any]) -> Point:
    """As :func:`walk`."""
    drawn, overrides = {}, {}
    for node, condition in self._steps:
      if not holds(condition, drawn):
        continue
      if (parameter := node.parameter) is None:
        value = node.leaf.domain.value
      else:
        drawn[parameter.name] = value = suggest(parameter)
        if value not in parameter.domain:
          raise ValueError(
            f'{parameter.name}: {value!r} is not in {parameter.domain!r}'
          )
      overrides.update(node.settings(value))
    return Point(drawn, overrides)


def holds(condition: Condition, drawn: Mapping[str, Any]) -> bool:
  """Whether parents that took these values, {parameter name: value}, meet a condition."""
  return all(name in drawn and drawn[name] in values for name, values in condition)


def _by_name(condition: tuple[tuple[Node, tuple], ...]) -> Condition:
  return tuple((node.parameter.name, values) for node, values in condition)


def _parameter(node: Node, several: bool) -> Parameter:
  condition = _by_name(node.condition)
  text = ','.join(f'{name}={"|".join(map(str, values))}' for name, values in condition)
  name = f'{node.leaf.label}[{text}]' if several else node.leaf.label
  return Parameter(
    name, node.leaf.paths, node.leaf.domain, node.leaf.role, condition or None
  )


def parameters(space: Any) -> tuple[Parameter, ...]:
  """What a search draws: parents before children, else as written. Fixed values are no parameters.

  Raises:
    ConfigError: as :class:`Plan` says.

  >>> from lmhp.sweeping.space import Choice, Float, Int, When
  >>> space = {
  ...   'schedule.cooldown_fraction': When(
  ...     'schedule.name', 'wsd_linear', Float(0.05, 0.5)
  ...   ),
  ...   'schedule.name': Choice('cosine', 'wsd_linear'),
  ... }
  >>> [(p.name, p.condition) for p in parameters(space)]
  [('schedule.name', None), ('schedule.cooldown_fraction', (('schedule.name', ('wsd_linear',)),))]
  """
  return CompiledSpace(space).parameters


def walk(space: Any, suggest: Callable[[Parameter], Any]) -> Point:
  """One point: asks once for each parameter that exists there, parents before children.

  Args:
    space: a space or a dict. For many points keep a :class:`Plan`, and call its `walk`.
    suggest: gives a value of the parameter's domain.

  Raises:
    ConfigError: as :class:`Plan` says.
    ValueError: for a value outside the domain.

  >>> from lmhp.sweeping.space import Int
  >>> walk(
  ...   {'model.n_layers': Int(2, 8), 'optimizer.b2': 0.95},
  ...   lambda parameter: parameter.domain.low,
  ... )
  Point(parameters={'model.n_layers': 2}, overrides={'model.n_layers': 2, 'optimizer.b2': 0.95})
  """
  return CompiledSpace(space).walk(suggest)
