"""A finding: one thing that a study says, with the number that says it and what to do next.

Findings are ranked by what they are worth in nats, or by how much they change what a reader may conclude.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Mapping, Sequence

LEVELS = ('answer', 'warning', 'advice', 'note')
"""What a finding is to its reader: what was found, why to doubt it, what to do next, what else was seen."""


@dataclasses.dataclass(frozen=True)
class Finding:
  """One finding.

  Attributes:
    kind: its name, of a fixed list in each module, as 'optimum_at_bound'.
    level: of `LEVELS`.
    title: one sentence, plain text; it has the number.
    evidence: further sentences: how it was measured, of how many runs, how sure.
    numbers: the same as numbers, JSON, units in their names.
    axes: the hyperparameters it is about.
    runs: numbers of the runs it is about.
    proposal: what to change in the next study, {axis: {'low': ..., 'high': ..., 'log': ...} or {'choices': [...]}},
      or {} where nothing is proposed.
    worth: nats that are at stake, 0 where none can be said; what findings of one level are ranked by.
  """

  kind: str
  level: str
  title: str
  evidence: str = ''
  numbers: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  axes: Sequence[str] = ()
  runs: Sequence[int] = ()
  proposal: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
  worth: float = 0.0


def ranked(findings: Sequence[Finding]) -> list[Finding]:
  """By level, and then by worth, the most first."""
  return sorted(findings, key=lambda f: (LEVELS.index(f.level), -abs(f.worth)))
