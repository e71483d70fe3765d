"""Entries of a space: each domain with its paths, and with the conditions around it.

`Space.entries` (`lmhp.sweeping.space.combinators`) lists the entries of a space. Three
combinators of that module appear here. A Zip varies several paths together. A Chain chooses
one of several spaces, and this choice is an entry that sets no path. A Subsample keeps some of
the points of a grid.
"""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import itertools

from lmhp.sweeping.space.domains import Domain, Value


@dataclasses.dataclass(frozen=True)
class WrittenCondition:
  """A condition as the space states it.

  Attributes:
    parent: Dotted path whose value is tested, or the entry of a Chain, whose value is the index
      of the chosen space.
    values: Values of the parent with which the condition holds.
  """

  parent: str | SpaceEntry
  values: tuple[Value, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class PlacedSubsample:
  """A Subsample at one place of a space.

  Objects are compared by identity. Two Subsamples with the same fields at two places are not
  equal.

  Attributes:
    n: Number of points to keep.
    seed: Seed of the choice between points that are equally good to keep.
    depth: Number of Subsamples around this one.
    is_outermost: True if the whole space is this Subsample.
  """

  n: int
  seed: int
  depth: int
  is_outermost: bool


@dataclasses.dataclass(frozen=True, eq=False)
class SpaceEntry:
  """A domain at one place of a space.

  Objects are compared by identity. Two entries with the same fields at two places are not
  equal.

  Attributes:
    label: Name of the parameter. If several entries have one label, the condition is added to
      the names of their parameters, such as `a[b=1]`.
    paths: Dotted paths that the entry sets: several for a Zip, none for a Chain.
    domain: Domain of the entry. For a Zip, it is a Choice of the index of a row. For a Chain, it
      is a Choice of the index of a space.
    rows: For a Zip, the values of each row, in the order of `paths`. None for other entries.
    conditions: Conditions around the entry, the outermost first.
    subsamples: Subsamples around the entry, the outermost first.
  """

  label: str
  paths: tuple[str, ...]
  domain: Domain
  rows: tuple[tuple[Value, ...], ...] | None
  conditions: tuple[WrittenCondition, ...]
  subsamples: tuple[PlacedSubsample, ...]

  def settings(self, value: Value) -> dict[str, Value]:
    """Returns {dotted path: value that it gets}, for one value of the domain."""
    if self.rows is None:
      return dict.fromkeys(self.paths, value)
    assert isinstance(value, int)  # the index of a row of a Zip
    return dict(zip(self.paths, self.rows[value], strict=True))

  def column(self, path: str) -> tuple[Value, ...]:
    """Returns the values of one path of a Zip, row by row."""
    index = self.paths.index(path)
    return tuple(row[index] for row in self.rows or ())

  def values_of(self, path: str) -> tuple[Value, ...]:
    """Returns the values that a path takes: all of them, or a `Range` if they are too many."""
    if self.rows is not None:
      return self.column(path)
    return self.domain.values_or_range()

  def values_that_set(self, path: str, values: tuple[Value, ...]) -> tuple[Value, ...]:
    """Returns the values of the domain with which the entry sets `path` to one of `values`.

    For a Zip, the values of the domain are indices of rows.
    """
    if self.rows is None:
      return self.domain.accepted(values)
    return tuple(i for i, value in enumerate(self.column(path)) if value in values)


@dataclasses.dataclass(frozen=True)
class Surroundings:
  """The conditions and Subsamples that contain a part of a space.

  `Space.entries_within` passes them from each combinator to its parts.

  Attributes:
    conditions: Conditions around the part, the outermost first.
    subsamples: Subsamples around the part, the outermost first.
    is_whole: True if the part is the whole space.
    chain_numbers: Iterator from which each Chain takes its number, from 1. All parts of a space
      share it.
  """

  conditions: tuple[WrittenCondition, ...] = ()
  subsamples: tuple[PlacedSubsample, ...] = ()
  is_whole: bool = True
  chain_numbers: Iterator[int] = dataclasses.field(
    default_factory=lambda: itertools.count(1)
  )

  def inside(
    self,
    condition: WrittenCondition | None = None,
    subsample: PlacedSubsample | None = None,
  ) -> Surroundings:
    """Returns the surroundings of an inner part.

    Args:
      condition: Condition that this part adds to the inner part.
      subsample: This part, if it is a Subsample.
    """
    return Surroundings(
      conditions=self.conditions + ((condition,) if condition else ()),
      subsamples=self.subsamples + ((subsample,) if subsample else ()),
      is_whole=False,
      chain_numbers=self.chain_numbers,
    )
