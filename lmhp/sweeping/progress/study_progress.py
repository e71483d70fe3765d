"""The interface through which a sweep reports its progress."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from lmhp.sweeping.budget import SearchPlan
from lmhp.sweeping.execution.packs import Pack
from lmhp.sweeping.store.trial import Trial


class StudyProgress(Protocol):
  """Shows the progress of a study."""

  def plan(self, plan: SearchPlan, trials: Iterable[Trial]) -> None:
    """Shows the size of the search, and the trials that exist already."""
    ...

  def message(self, text: str) -> None:
    """Shows one line of text."""
    ...

  def trials(self, trials: Iterable[Trial]) -> None:
    """Shows the newest state of all trials."""
    ...

  def pack(self, pack: Pack) -> None:
    """Shows that a pack begins."""
    ...

  def step(self, pack: Pack, step: int, metrics: Mapping[str, object]) -> None:
    """Shows the metrics of a pack's members at a step.

    Args:
      pack: The pack.
      step: Updates made so far.
      metrics: Arrays with one value for each member, and numbers of the whole pack.
    """
    ...
