"""A space as the list of its leaves: where each domain stands, and under what.

Below names and conditions (`lmhp.sweeping.space.compiled_space`): what a path may take at all needs no more.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, Iterator, NamedTuple

from lmhp.errors import ConfigError
from lmhp.sweeping.space.combinators import (
  Chain,
  Product,
  Space,
  Subsample,
  When,
  Zip,
  as_space,
)
from lmhp.sweeping.space.domains import Choice, Domain, Fixed, Float

MOST_LISTED = 10_000


@dataclasses.dataclass(frozen=True, eq=False)
class Leaf:
  """A domain where it stands in the tree; two are the same only if they stand at one place.

  Attributes:
    label: the name it has where nothing else has it.
    paths: the dotted paths that it sets.
    domain: what it takes.
    role: of its parameter.
    rows: what each value of a Zip sets, in the order of `paths`; else None.
    guards: `(dotted path or a Chain's leaf, accepted values)` pairs, from the outside in.
    samples: the Subsamples around it, from the outside in.
  """

  label: str
  paths: tuple[str, ...]
  domain: Domain
  role: str
  rows: tuple[tuple, ...] | None
  guards: tuple[tuple[Any, tuple], ...]
  samples: tuple[Sample, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
  """A Subsample where it stands."""

  subsample: Subsample


def leaves(space: Space) -> list[Leaf]:
  """The leaves of a space, in the order in which they are written.

  Raises:
    ConfigError: for a Zip of different lengths or of nothing, a Chain of nothing.
  """
  chains = itertools.count(1)

  def walk(part: Any, guards: tuple, samples: tuple) -> Iterator[Leaf]:
    if isinstance(part, tuple):
      path, content = part
      while isinstance(content, When):
        guards, content = (*guards, (content.path, content.values)), content.content
      yield Leaf(path, (path,), content, content.role, None, guards, samples)
    elif isinstance(part, Product):
      for inner in part.parts:
        yield from walk(inner, guards, samples)
    elif isinstance(part, When):
      yield from walk(part.content, (*guards, (part.path, part.values)), samples)
    elif isinstance(part, Subsample):
      yield from walk(part.space, guards, (*samples, Sample(part)))
    elif isinstance(part, Zip):
      yield _zipped(part, guards, samples)
    elif isinstance(part, Chain):
      if not part.spaces:
        raise ConfigError('chain: got no spaces, expected at least one')
      number = next(chains)
      links = Choice(*range(len(part.spaces)), role=part.role)
      leaf = Leaf(
        f'chain{number if number > 1 else ""}',
        (),
        links,
        part.role,
        None,
        guards,
        samples,
      )
      yield leaf
      for i, link in enumerate(part.spaces):
        yield from walk(link, (*guards, (leaf, (i,))), samples)

  return list(walk(as_space(space), (), ()))


def _zipped(part: Zip, guards: tuple, samples: tuple) -> Leaf:
  paths = tuple(path for path, _ in part.columns)
  lengths = [len(values) for _, values in part.columns]
  if not any(lengths):
    raise ConfigError(
      f'{"+".join(paths) or "zip"}: got a Zip of nothing, expected at least one value of each path'
    )
  for path, length in zip(paths, lengths):
    if length != lengths[0]:
      raise ConfigError(
        f'{path}: got {length} values zipped with {lengths[0]} of {paths[0]}, expected as many'
      )
  rows = tuple(zip(*(values for _, values in part.columns)))
  return Leaf(
    '+'.join(paths),
    paths,
    Choice(*range(len(rows)), role=part.role),
    part.role,
    rows,
    guards,
    samples,
  )


def taken(leaf: Leaf, path: str, values: tuple) -> tuple:
  """Which of its parameter's values make a leaf set a path to one of some values; of a Float, none."""
  if leaf.rows is not None:
    column = leaf.paths.index(path)
    return tuple(i for i, row in enumerate(leaf.rows) if row[column] in values)
  if isinstance(leaf.domain, Choice):
    return tuple(v for v in leaf.domain.values if v in values)
  return (
    ()
    if isinstance(leaf.domain, Float)
    else tuple(v for v in values if v in leaf.domain)
  )


# --- what a path may take -------------------------------------------------------------------------------------------


class Range(NamedTuple):
  """An interval, both ends included."""

  low: float
  high: float


def varied_paths(space: Any) -> set[str]:
  """All dotted paths that a point may set, Fixed ones included.

  >>> sorted(
  ...   varied_paths(
  ...     Zip({'train.batch_size': (8, 16), 'optimizer.learning_rate': (1e-3, 2e-3)})
  ...   )
  ... )
  ['optimizer.learning_rate', 'train.batch_size']
  """
  return {path for leaf in leaves(space) for path in leaf.paths}


def values_of(space: Any, path: str, default: Any = ...) -> tuple:
  """What a path may take over all points.

  Args:
    space: a space or a dict.
    path: a dotted path; one that the space does not set takes nothing, or the default.
    default: the base config's value, counted too where every parameter of the path has a condition (whether or not
      the conditions leave a gap).

  Returns:
    Every value once, in the order written. Where it varies continuously, or over more than 10,000 whole numbers: a
    `Range`, the lowest and the highest; with what is no number (None for one) beside it, these and then the two ends.

  >>> from lmhp.sweeping.space import Float, Int, When
  >>> values_of({'model.dropout': Float(0, 0.3)}, 'model.dropout')
  Range(low=0.0, high=0.3)
  >>> values_of(
  ...   {'model.dropout': When('model.n_layers', 2, 0.1), 'model.n_layers': Int(2, 4)},
  ...   'model.dropout',
  ...   0.0,
  ... )
  (0.1, 0.0)
  """
  values, ranges, always = [], [], False
  for leaf in leaves(space):
    if path in leaf.paths:
      always |= not leaf.guards
      found = _listed(leaf, path)
      (ranges if isinstance(found, Range) else values).extend(
        [found] if isinstance(found, Range) else found
      )
  if default is not ... and not always:
    values.append(default)
  if ranges:
    ends = [end for one in ranges for end in one]
    others = [v for v in values if isinstance(v, (str, bool, tuple)) or v is None]
    numbers = ends + [v for v in values if v not in others]
    span = Range(min(numbers), max(numbers))
    return tuple(dict.fromkeys([*others, *span])) if others else span
  return tuple(dict.fromkeys(values))


def _listed(leaf: Leaf, path: str) -> tuple | Range:
  domain = leaf.domain
  if leaf.rows is not None:
    return tuple(row[leaf.paths.index(path)] for row in leaf.rows)
  if isinstance(domain, Fixed):
    return (domain.value,)
  if isinstance(domain, Choice):
    return domain.values
  many = isinstance(domain, Float) or domain.high - domain.low >= MOST_LISTED
  return (
    Range(domain.low, domain.high)
    if many
    else tuple(range(domain.low, domain.high + 1))
  )
