"""The interface through which a sweep reports its progress.

The members of a pack are trials that one compiled program trains together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Self

from lmhp.sweeping.budget import SearchPlan
from lmhp.sweeping.execution.packs import Pack
from lmhp.sweeping.store.trial import Trial


class StudyProgress:
  """A context manager that shows the progress of a study. This base class shows nothing."""

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *exception: object) -> None:
    """Ends the display."""

  def start(self, plan: SearchPlan, trials: Iterable[Trial]) -> None:
    """Shows the planned size of the search, and the trials that the study has already."""

  def start_pack(self, pack: Pack) -> None:
    """Shows that a pack begins."""

  def update_pack(self, pack: Pack, step: int, metrics: Mapping[str, object]) -> None:
    """Shows the metrics of a pack's members at a step.

    Args:
      pack: The pack.
      step: Number of updates of each member so far.
      metrics: {name: value}. The training loss is an array with one value for each member. A
        single number belongs to the whole pack, such as `tokens_per_second`.
    """

  def update_trials(self, trials: Iterable[Trial]) -> None:
    """Shows the newest state of all trials."""

  def message(self, text: str) -> None:
    """Shows one line of text."""
