"""Combinators: classes that make a space from domains and from other spaces.

A domain is the set of values that one hyperparameter may take. An entry is a domain at one
place of a space (see `lmhp.sweeping.space.entries`). All combinators are frozen and hashable.
`lmhp.sweeping.space.space_json` writes them as JSON. `lmhp.sweeping.space.compiled_space` works
out the names, the conditions and the points.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator, Mapping
import dataclasses
from typing import TypeAlias

from lmhp.errors import ConfigError
from lmhp.sections import assign
from lmhp.sweeping.space.domains import (
  Choice,
  Domain,
  Fixed,
  Value,
  keyword_role,
  to_tuples,
)
from lmhp.sweeping.space.entries import (
  PlacedSubsample,
  SpaceEntry,
  Surroundings,
  WrittenCondition,
)


class Space(abc.ABC):
  """A set of points. Each point sets values by dotted path."""

  def entries(self) -> Iterator[SpaceEntry]:
    """Lists the entries of the space, in the order in which they are written.

    Raises:
      ConfigError: If a Zip has columns of different lengths, or a Zip or Chain is empty.
    """
    return self.entries_within(Surroundings())

  @abc.abstractmethod
  def entries_within(self, around: Surroundings) -> Iterator[SpaceEntry]:
    """Lists the entries of the space.

    Args:
      around: Conditions and Subsamples of the combinators that contain this space.
    """


SpaceLike: TypeAlias = Space | Mapping[str, object]
"""A space, or a dict from dotted path to a domain, a `When` or a plain value."""


@dataclasses.dataclass(frozen=True, repr=False, init=False)
class Product(Space):
  """All combinations of its parts. A dict is the product of its items.

  Attributes:
    parts: `(dotted path, Domain or When)` pairs and spaces. A Product among the arguments is
      replaced by its parts.

  >>> Product({'optimizer.b2': 0.95}, {'optimizer.b1': 0.9})
  Product({'optimizer.b2': Fixed(0.95), 'optimizer.b1': Fixed(0.9)})
  """

  parts: tuple[tuple[str, Domain | When] | Space, ...]

  def __init__(self, *spaces: SpaceLike):
    parts: list[tuple[str, Domain | When] | Space] = []
    for space in spaces:
      if isinstance(space, Mapping):
        for path, value in space.items():
          parts.append((_checked_path(path), _checked_item(path, value)))
      else:
        space = as_space(space)
        parts += space.parts if isinstance(space, Product) else (space,)
    assign(self, parts=tuple(parts))

  def __repr__(self) -> str:
    # Consecutive paths form one dict. If the dict already has the path, a new dict begins.
    groups: list[dict[str, Domain | When] | Space] = []
    for part in self.parts:
      if isinstance(part, Space):
        groups.append(part)
        continue
      path, content = part
      last = groups[-1] if groups else None
      if isinstance(last, dict) and path not in last:
        last[path] = content
      else:
        groups.append({path: content})
    return f'Product({", ".join(repr(group) for group in groups)})'

  def entries_within(self, around: Surroundings) -> Iterator[SpaceEntry]:
    inner = around.inside()
    for part in self.parts:
      if isinstance(part, Space):
        yield from part.entries_within(inner)
      else:
        yield _entry_of_path(*part, inner)


def _entry_of_path(
  path: str, content: Domain | Space, around: Surroundings
) -> SpaceEntry:
  """Returns the entry of a path whose content is a domain, or a `When` around a domain."""
  while isinstance(content, When):
    around = around.inside(content.condition)
    content = content.content
  assert isinstance(content, Domain)  # `_checked_item` checked it
  return SpaceEntry(
    label=path,
    paths=(path,),
    domain=content,
    rows=None,
    conditions=around.conditions,
    subsamples=around.subsamples,
  )


@dataclasses.dataclass(frozen=True, repr=False, init=False)
class Zip(Space):
  """Paths that vary together, as one parameter.

  Row i has value i of each path. The value of the parameter is the index of a row, from 0.

  Attributes:
    columns: `(dotted path, values)` pairs, all with equally many values. The argument may be
      a dict.
    role: 'scientific' or 'nuisance'.

  >>> Zip({'train.batch_size': (8, 16), 'optimizer.learning_rate': (1e-3, 2e-3)})
  Zip({'train.batch_size': (8, 16), 'optimizer.learning_rate': (0.001, 0.002)})
  """

  columns: tuple[tuple[str, tuple[Value, ...]], ...]
  role: str

  def __init__(
    self,
    columns: Mapping[str, Iterable[object]] | Iterable[tuple[str, Iterable[object]]],
    role: str = 'scientific',
  ):
    pairs = columns.items() if isinstance(columns, Mapping) else columns
    checked = [
      (_checked_path(path), to_tuples(tuple(values))) for path, values in pairs
    ]
    assign(self, columns=tuple(checked), role=role)

  def __repr__(self) -> str:
    return f'Zip({dict(self.columns)!r}{keyword_role(self.role)})'

  def entries_within(self, around: Surroundings) -> Iterator[SpaceEntry]:
    self._check_lengths()
    paths = tuple(path for path, _ in self.columns)
    rows = tuple(zip(*[values for _, values in self.columns], strict=True))
    yield SpaceEntry(
      label='+'.join(paths),
      paths=paths,
      # The chosen row sets all paths.
      domain=Choice(*range(len(rows)), role=self.role),
      rows=rows,
      conditions=around.conditions,
      subsamples=around.subsamples,
    )

  def _check_lengths(self) -> None:
    if not any(values for _, values in self.columns):
      label = '+'.join(path for path, _ in self.columns) or 'zip'
      raise ConfigError(
        f'{label}: got an empty Zip, expected at least one value of each path'
      )
    first_path, first_values = self.columns[0]
    for path, values in self.columns:
      if len(values) != len(first_values):
        raise ConfigError(
          f'{path}: got {len(values)} values in a Zip, expected {len(first_values)}, '
          f'the number of values of {first_path}'
        )


@dataclasses.dataclass(frozen=True, repr=False, init=False)
class Chain(Space):
  """The points of one space, then those of the next.

  The choice between the spaces is one more parameter. Its value is the index of the chosen
  space, from 0.

  Attributes:
    spaces: The spaces, in order.
    role: Role of the choice between them, 'scientific' or 'nuisance'.

  >>> Chain(
  ...   {'optimizer.name': 'lion'}, {'optimizer.name': 'adamw', 'optimizer.b2': 0.95}
  ... )
  ... # doctest: +NORMALIZE_WHITESPACE
  Chain(Product({'optimizer.name': Fixed('lion')}),
        Product({'optimizer.name': Fixed('adamw'), 'optimizer.b2': Fixed(0.95)}))
  """

  spaces: tuple[Space, ...]
  role: str

  def __init__(self, *spaces: SpaceLike, role: str = 'scientific'):
    assign(self, spaces=tuple(as_space(space) for space in spaces), role=role)

  def __repr__(self) -> str:
    return f'Chain({", ".join(map(repr, self.spaces))}{keyword_role(self.role)})'

  def entries_within(self, around: Surroundings) -> Iterator[SpaceEntry]:
    if not self.spaces:
      raise ConfigError('chain: got no spaces, expected at least one')
    number = next(around.chain_numbers)
    # The entry of the choice comes first. The entries of a space exist if this space is chosen.
    entry = SpaceEntry(
      label='chain' if number == 1 else f'chain{number}',
      paths=(),
      domain=Choice(*range(len(self.spaces)), role=self.role),
      rows=None,
      conditions=around.conditions,
      subsamples=around.subsamples,
    )
    yield entry
    for i, space in enumerate(self.spaces):
      yield from space.entries_within(around.inside(WrittenCondition(entry, (i,))))


@dataclasses.dataclass(frozen=True, repr=False, init=False)
class When(Space):
  """A part of a space that exists only if another path, the parent, has a given value.

  There are two uses. In `{'some.path': When(path, values, x)}`, x is a domain, a plain value or
  another `When` around one of them. Otherwise, x is a dict or a space.

  Attributes:
    path: Dotted path of the parent.
    values: Values of the parent with which the part exists. The argument may be a single value.
    content: The part of the space, x above.

  >>> When('schedule.name', 'wsd_linear', 0.2)
  When('schedule.name', 'wsd_linear', Fixed(0.2))
  """

  path: str
  values: tuple[Value, ...]
  content: Domain | Space

  def __init__(self, path: str, values: object, content: object):
    accepted = to_tuples(values)
    if not isinstance(accepted, tuple):
      accepted = (accepted,)
    assign(
      self, path=_checked_path(path), values=accepted, content=_as_content(content)
    )

  def __repr__(self) -> str:
    values: object = self.values
    if len(self.values) == 1 and not isinstance(self.values[0], tuple):
      values = self.values[0]
    return f'When({self.path!r}, {values!r}, {self.content!r})'

  @property
  def condition(self) -> WrittenCondition:
    """Condition under which the content exists."""
    return WrittenCondition(self.path, self.values)

  def entries_within(self, around: Surroundings) -> Iterator[SpaceEntry]:
    return as_space(self.content).entries_within(around.inside(self.condition))


@dataclasses.dataclass(frozen=True, repr=False, init=False)
class Subsample(Space):
  """At most `n` points of the grid of a space.

  They are chosen so that each value is about as frequent among them as in the grid.

  In a search other than a grid search, a Subsample must be the whole space, and it limits the
  number of points.

  Attributes:
    space: Space from whose grid the points are chosen.
    n: Number of points to keep.
    seed: Seed of the choice between points that are equally good to keep.

  >>> Subsample({'optimizer.b2': Choice(0.9, 0.95, 0.99)}, 2)
  Subsample(Product({'optimizer.b2': Choice(0.9, 0.95, 0.99)}), 2)
  """

  space: Space
  n: int
  seed: int

  def __init__(self, space: SpaceLike, n: int, seed: int = 0):
    # `to_tuples` converts a NumPy integer to an int.
    assign(self, space=as_space(space), n=to_tuples(n), seed=seed)

  def __repr__(self) -> str:
    seed = f', seed={self.seed}' if self.seed else ''
    return f'Subsample({self.space!r}, {self.n!r}{seed})'

  def entries_within(self, around: Surroundings) -> Iterator[SpaceEntry]:
    subsample = PlacedSubsample(
      n=self.n,
      seed=self.seed,
      depth=len(around.subsamples),
      is_outermost=around.is_whole,
    )
    return self.space.entries_within(around.inside(subsample=subsample))


# --- conversion of arguments ----------------------------------------------------------


def as_space(value: object) -> Space:
  """Returns a space for a space or for a dict of dotted paths.

  Raises:
    ConfigError: If the value is neither.

  >>> as_space({'optimizer.b2': Choice(0.9, 0.95), 'optimizer.b1': 0.9})
  Product({'optimizer.b2': Choice(0.9, 0.95), 'optimizer.b1': Fixed(0.9)})
  """
  if isinstance(value, Mapping):
    return Product(value)
  if isinstance(value, When) and isinstance(_innermost(value), Domain):
    raise ConfigError(
      f"space: got {value!r} without a path, expected {{'some.path': When(...)}}, or a "
      'dict of paths inside the When'
    )
  if not isinstance(value, Space):
    raise ConfigError(
      f'space: got {value!r}, expected a dict of dotted paths, Product, Zip, Chain, When '
      'or Subsample'
    )
  return value


def _checked_path(path: object) -> str:
  if not isinstance(path, str):
    raise ConfigError(
      f'space: got the key {path!r}, expected a dotted path such as optimizer.learning_rate'
    )
  return path


def _checked_item(path: str, value: object) -> Domain | When:
  """Returns the value of a dict's item as a domain, or as a `When` around a domain."""
  content = _as_content(value)
  if isinstance(_innermost(content), Domain) and isinstance(content, (Domain, When)):
    return content
  raise ConfigError(
    f'{path}: got {value!r}, expected a value, a Fixed, a range as lmhp.Float(LOW, HIGH, '
    'log=True) or lmhp.Int(LOW, HIGH), a list as lmhp.Choice(A, B), or a When of one of them'
  )


def _as_content(value: object) -> Domain | Space:
  """Returns a domain or a space: a dict becomes a Product, and a plain value a Fixed."""
  if isinstance(value, (Domain, Space)):
    return value
  if isinstance(value, Mapping):
    return Product(value)
  return Fixed(value)


def _innermost(content: Domain | Space) -> Domain | Space:
  """Returns the domain or the space inside a `When`, or inside several nested ones."""
  while isinstance(content, When):
    content = content.content
  return content
