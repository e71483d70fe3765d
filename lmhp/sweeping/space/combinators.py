"""How domains make a space: together, zipped, one after the other, under a condition, thinned.

Everything here is frozen and hashable, and is written to JSON and back without loss. What the parts mean together
(names, conditions, points) is worked out in `lmhp.sweeping.space.compiled_space`.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Mapping

from lmhp.errors import ConfigError
from lmhp.sweeping.space.domains import (
  Choice,
  Domain,
  Fixed,
  Float,
  Int,
  keyword_role,
  to_tuples,
)


class Space:
  """Points to try, each a set of values by dotted path."""


@dataclasses.dataclass(frozen=True, repr=False, init=False)
class Product(Space):
  """Every part varies on its own. A dict is the product of its items.

  Attributes:
    parts: `(dotted path, Domain or When)` pairs and spaces, products within taken apart.
  """

  parts: tuple

  def __init__(self, *spaces: Any):
    parts = []
    for space in spaces:
      if isinstance(space, Mapping):
        parts += [
          (_path(path), _under(path, _content(value))) for path, value in space.items()
        ]
      else:
        space = as_space(space)
        parts += space.parts if isinstance(space, Product) else (space,)
    object.__setattr__(self, 'parts', tuple(parts))

  def __repr__(self) -> str:
    groups = []
    for part in self.parts:
      if not isinstance(part, tuple):
        groups.append(part)
      elif groups and isinstance(groups[-1], dict) and part[0] not in groups[-1]:
        groups[-1][part[0]] = part[1]
      else:
        groups.append({part[0]: part[1]})
    return f'Product({", ".join(map(repr, groups))})'


@dataclasses.dataclass(frozen=True, repr=False)
class Zip(Space):
  """Several paths that vary together, as one parameter: its value is the number of the row, 0 and up.

  Attributes:
    columns: `(dotted path, values)` pairs; a dict is taken.
    role: scientific or nuisance.
  """

  columns: tuple
  role: str = 'scientific'

  def __post_init__(self):
    columns = (
      self.columns.items() if isinstance(self.columns, Mapping) else self.columns
    )
    columns = tuple((_path(path), to_tuples(tuple(values))) for path, values in columns)
    object.__setattr__(self, 'columns', columns)

  def __repr__(self) -> str:
    return f'Zip({dict(self.columns)!r}{keyword_role(self)})'


@dataclasses.dataclass(frozen=True, repr=False, init=False)
class Chain(Space):
  """The points of one space, then of the next; which of them is one parameter more: its number, 0 and up.

  Attributes:
    spaces: the links.
    role: scientific or nuisance, of the choice between them.
  """

  spaces: tuple[Space, ...]
  role: str

  def __init__(self, *spaces: Any, role: str = 'scientific'):
    object.__setattr__(self, 'spaces', tuple(map(as_space, spaces)))
    object.__setattr__(self, 'role', role)

  def __repr__(self) -> str:
    return f'Chain({", ".join(map(repr, self.spaces))}{keyword_role(self)})'


@dataclasses.dataclass(frozen=True, repr=False)
class When(Space):
  """What exists only where another path of the space takes one of some values.

  Attributes:
    path: the parent's dotted path.
    values: a value, or a tuple of them.
    content: under a path, a domain or a plain value (or another When of one); elsewhere, a dict or a space.
  """

  path: str
  values: tuple
  content: Any

  def __post_init__(self):
    values = to_tuples(self.values)
    object.__setattr__(self, 'path', _path(self.path))
    object.__setattr__(
      self, 'values', values if isinstance(values, tuple) else (values,)
    )
    object.__setattr__(self, 'content', _content(self.content))

  def __repr__(self) -> str:
    one = len(self.values) == 1 and not isinstance(self.values[0], tuple)
    return f'When({self.path!r}, {(self.values[0] if one else self.values)!r}, {self.content!r})'


@dataclasses.dataclass(frozen=True, repr=False)
class Subsample(Space):
  """At most n of the points of a grid, such that each value comes about as often as each other.

  In any other search it caps the number of points, and must hold the whole space.

  Attributes:
    space: what is thinned.
    n: points kept.
    seed: breaks ties; another seed keeps other points.
  """

  space: Space
  n: int
  seed: int = 0

  def __post_init__(self):
    object.__setattr__(self, 'space', as_space(self.space))
    object.__setattr__(self, 'n', to_tuples(self.n))

  def __repr__(self) -> str:
    return f'Subsample({self.space!r}, {self.n!r}{f", seed={self.seed}" if self.seed else ""})'


def as_space(value: Any) -> Space:
  """A space, from a dict of dotted paths or from a space.

  Raises:
    ConfigError: for anything else.

  >>> as_space(
  ...   {'optimizer.learning_rate': Float(1e-4, 1e-1, log=True), 'optimizer.b2': 0.95}
  ... )
  Product({'optimizer.learning_rate': Float(0.0001, 0.1, log=True), 'optimizer.b2': Fixed(0.95)})
  """
  if isinstance(value, Mapping):
    return Product(value)
  if isinstance(value, When) and isinstance(_innermost(value), Domain):
    raise ConfigError(
      f'space: got {value!r} without a path of its own, expected it under one, as in '
      "{'some.path': When(...)}, or a dict of paths inside it"
    )
  if not isinstance(value, Space):
    raise ConfigError(
      f'space: got {value!r}, expected a dict of dotted paths, Product, Zip, Chain, When or Subsample'
    )
  return value


def _path(path: Any) -> str:
  if not isinstance(path, str):
    raise ConfigError(
      f'space: got the key {path!r}, expected a dotted path such as optimizer.learning_rate'
    )
  return path


def _content(value: Any) -> Domain | Space:
  if isinstance(value, (Domain, Space)):
    return value
  return Product(value) if isinstance(value, Mapping) else Fixed(value)


def _innermost(content: Any) -> Any:
  while isinstance(content, When):
    content = content.content
  return content


def _under(path: str, content: Domain | Space) -> Domain | Space:
  if not isinstance(_innermost(content), Domain):
    raise ConfigError(
      f'{path}: got {content!r}, expected a value, Float, Int, Choice, Fixed, or a When of one of '
      'these'
    )
  return content


# --- JSON -----------------------------------------------------------------------------------------------------------

_TYPES = {
  cls.__name__: cls
  for cls in (Float, Int, Choice, Fixed, Product, Zip, Chain, When, Subsample)
}


def to_json(space: Any) -> dict[str, Any]:
  """A space as strict JSON can hold it; :func:`from_json` makes an equal one.

  >>> to_json(Zip({'train.batch_size': (8, 16)}))
  {'type': 'Zip', 'columns': [['train.batch_size', [8, 16]]], 'role': 'scientific'}
  """
  return _encode(as_space(space))


def from_json(obj: Mapping[str, Any]) -> Space:
  """The space that :func:`to_json` wrote.

  Raises:
    ConfigError: where it wrote something else.

  >>> from_json(to_json({'model.n_layers': Int(2, 8)}))
  Product({'model.n_layers': Int(2, 8)})
  """
  try:
    return as_space(_decode(obj))
  except (KeyError, TypeError, AttributeError) as error:
    raise ConfigError(
      f'space: got JSON that to_json did not write ({error!r})'
    ) from None


def _encode(value: Any) -> Any:
  if isinstance(value, (Domain, Space)):
    fields = {
      f.name: _encode(getattr(value, f.name)) for f in dataclasses.fields(value)
    }
    return {'type': type(value).__name__, **fields}
  if isinstance(value, tuple):
    return [_encode(v) for v in value]
  if isinstance(value, float) and not math.isfinite(value):
    return {'float': str(value)}  # JSON has no infinity, and 'inf' might be a word
  return value


def _decode(value: Any) -> Any:
  if isinstance(value, list):
    return tuple(_decode(v) for v in value)
  if not isinstance(value, Mapping):
    return value
  if 'float' in value:
    return float(value['float'])
  cls = _TYPES[value['type']]
  made = object.__new__(cls)  # not cls(...): two of them take any number of arguments
  for f in dataclasses.fields(cls):
    object.__setattr__(made, f.name, _decode(value[f.name]))
  if hasattr(made, '__post_init__'):
    made.__post_init__()
  return made
