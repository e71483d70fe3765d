"""Conditions of a space, resolved: each entry with the entries that it depends on.

An entry is a domain at one place of a space. A condition tests the value of a dotted path.
Several entries, the possible parents, may set this path under different conditions. An entry
with several possible parents becomes several resolved entries, one for each parent.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import itertools
from typing import TypeAlias

from lmhp.errors import ConfigError, suggest
from lmhp.sweeping.space.domains import Choice, Fixed, Value
from lmhp.sweeping.space.entries import SpaceEntry, WrittenCondition
from lmhp.sweeping.space.intervals import Float, Int

Condition: TypeAlias = tuple[tuple[str, tuple[Value, ...]], ...]
"""`(parameter name, accepted values)` pairs. Each parameter must have one of its values."""


@dataclasses.dataclass(frozen=True)
class Parameter:
  """One number or word that a search draws.

  Attributes:
    name: Name, unique in the space.
    paths: Dotted paths that the parameter sets: several for a Zip, none for a Chain.
    domain: Domain of the parameter. For a Zip, it is a Choice of the index of a row. For a
      Chain, which chooses one of several spaces, it is a Choice of the index of a space.
      Indices start at 0.
    role: 'scientific' or 'nuisance'.
    condition: Condition under which the parameter exists. None if it always exists.
  """

  name: str
  paths: tuple[str, ...]
  domain: Float | Int | Choice
  role: str
  condition: Condition | None = None


@dataclasses.dataclass(eq=False)
class ResolvedEntry:
  """An entry with one set of parents.

  Attributes:
    entry: The entry.
    parents: `(parent, accepted values)` pairs. Each parent must have one of its values.
    ancestors: {ancestor: accepted values}, for the parents, their parents, and so on.
    parameter: The parameter that the entry becomes. None if its value is fixed.
  """

  entry: SpaceEntry
  parents: ResolvedCondition
  ancestors: dict[ResolvedEntry, tuple[Value, ...]]
  parameter: Parameter | None = None


ResolvedCondition: TypeAlias = tuple[tuple[ResolvedEntry, tuple[Value, ...]], ...]
"""`(parent, accepted values)` pairs. Each parent must have one of its values."""


def ancestors_of(
  condition: ResolvedCondition,
) -> dict[ResolvedEntry, tuple[Value, ...]] | None:
  """Returns, for each ancestor, the values with which a condition can hold.

  The ancestors are the parents in the condition, the parents of these parents, and so on.

  Returns:
    {ancestor: accepted values}, or None if the condition can never hold.
  """
  required: dict[ResolvedEntry, tuple[Value, ...]] = {}
  # If an ancestor is required several times, only values that are accepted each time remain.
  for parent, values in condition:
    for ancestor, accepted in ((parent, values), *parent.ancestors.items()):
      if ancestor in required:
        accepted = tuple(value for value in required[ancestor] if value in accepted)
      required[ancestor] = accepted
  return required if all(required.values()) else None


def resolve_conditions(entries: Sequence[SpaceEntry]) -> list[ResolvedEntry]:
  """Returns the entries with their parents, each parent before its children.

  Apart from this, the order is that of `entries`.

  Args:
    entries: All entries of a space.

  Raises:
    ConfigError: If the space does not set the path of a condition, if the path never has a
      value of the condition, or if the conditions of an entry form a cycle or exclude each
      other.
  """
  resolver = _ConditionResolver(entries)
  for entry in entries:
    resolver.resolve(entry)
  return resolver.resolved


class _ConditionResolver:
  """Finds the parents of entries.

  Attributes:
    resolved: Entries resolved so far, each parent before its children.
  """

  def __init__(self, entries: Sequence[SpaceEntry]):
    self.resolved: list[ResolvedEntry] = []
    self._entries = entries
    self._resolved_of: dict[SpaceEntry, list[ResolvedEntry]] = {}
    self._in_progress: list[SpaceEntry] = []

  def resolve(self, entry: SpaceEntry) -> list[ResolvedEntry]:
    """Returns the resolved entries of an entry, one for each possible set of parents."""
    self._check_no_cycle(entry)
    if entry in self._resolved_of:
      return self._resolved_of[entry]

    # Each condition can be met by several parents. The product gives all sets of parents.
    self._in_progress.append(entry)
    alternatives = [self._alternatives(entry, c) for c in entry.conditions]
    self._in_progress.pop()
    resolved = []
    for parts in itertools.product(*alternatives):
      parents = tuple(itertools.chain.from_iterable(parts))
      ancestors = ancestors_of(parents)
      if ancestors is not None:
        resolved.append(ResolvedEntry(entry, parents, ancestors))
    if not resolved:
      raise ConfigError(
        f'{entry.label}: got conditions that exclude each other, expected conditions that '
        'can hold together'
      )
    self._resolved_of[entry] = resolved
    self.resolved += resolved
    return resolved

  def _check_no_cycle(self, entry: SpaceEntry) -> None:
    if entry in self._in_progress:
      start = self._in_progress.index(entry)
      labels = [one.label for one in (*self._in_progress[start:], entry)]
      raise ConfigError(
        f'{entry.label}: got conditions that form a cycle ({" -> ".join(labels)}), expected '
        'at least one of these entries to have no condition on the others'
      )

  def _alternatives(
    self, entry: SpaceEntry, condition: WrittenCondition
  ) -> list[ResolvedCondition]:
    """Returns the ways to meet one written condition, one for each possible parent."""
    # The parent of an entry in a Chain is the entry of the Chain, and not a path.
    if not isinstance(condition.parent, str):
      return [
        ((parent, condition.values),) for parent in self.resolve(condition.parent)
      ]
    # Several entries may set the path. Each value must be possible in at least one of them.
    path = condition.parent
    candidates = self._candidates(entry, path)
    for value in condition.values:
      if not any(one.values_that_set(path, (value,)) for one in candidates):
        raise _impossible_value(entry, path, value, candidates)

    alternatives = []
    for candidate in candidates:
      # Values of the candidate's domain (row indices for a Zip) that meet the condition.
      accepted = candidate.values_that_set(path, condition.values)
      if not accepted:
        continue
      for parent in self.resolve(candidate):
        if isinstance(candidate.domain, Fixed):
          # A fixed parent has the value whenever it exists, so only its own parents count.
          alternatives.append(parent.parents)
        else:
          alternatives.append(((parent, accepted),))
    return alternatives

  def _candidates(self, entry: SpaceEntry, path: str) -> list[SpaceEntry]:
    """Returns the entries that set `path` and can exist at the same point as `entry`."""
    candidates = [
      one
      for one in self._entries
      if path in one.paths and not _are_exclusive(one, entry)
    ]
    if not candidates:
      all_paths = dict.fromkeys(path for one in self._entries for path in one.paths)
      raise ConfigError(
        f'{entry.label}: got a condition on {path}, expected a path of the space'
        f'{suggest(path, all_paths)}'
      )
    return candidates


def _are_exclusive(a: SpaceEntry, b: SpaceEntry) -> bool:
  """Returns True if the written conditions of two entries exclude each other."""
  return any(
    one.parent == other.parent and not _intersect(one.values, other.values)
    for one, other in itertools.product(a.conditions, b.conditions)
  )


def _intersect(a: tuple[Value, ...], b: tuple[Value, ...]) -> bool:
  return any(value in b for value in a)


def _impossible_value(
  entry: SpaceEntry, path: str, value: Value, candidates: Sequence[SpaceEntry]
) -> ConfigError:
  """Builds the error for a condition on a value that its parent never takes."""
  domains = [
    candidate.domain if candidate.rows is None else Choice(*candidate.column(path))
    for candidate in candidates
  ]
  # The values of choices, to suggest one that is similar.
  words = []
  for domain in domains:
    if isinstance(domain, Choice):
      words += [str(item) for item in domain.values]
  accepted = ' or '.join(repr(domain) for domain in dict.fromkeys(domains))
  return ConfigError(
    f'{entry.label}: got a condition on {path}={value!r}, expected a value of {accepted}'
    f'{suggest(str(value), words)}'
  )
