"""The budget of a sweep in seconds: a limit on the wall time of its search and confirmation."""

from __future__ import annotations

import time

from lmhp.sweeping.config import SweepConfig

SEARCH = 'search'
CONFIRMATION = 'confirmation'

SEARCH_FRACTION = 0.5
"""Fraction of the seconds after which the search ends if a confirmation follows."""


def search_seconds(sweep: SweepConfig) -> float | None:
  """Returns the wall time of the search, or None without a budget in seconds."""
  if sweep.seconds is None:
    return None
  return sweep.seconds * (SEARCH_FRACTION if sweep.confirm_points else 1.0)


class TimeBudget:
  """The time that is left for one run of a study.

  Args:
    sweep: Config of the sweep.
    spent: Seconds of earlier runs of the study.
  """

  def __init__(self, sweep: SweepConfig, spent: float):
    self._sweep = sweep
    self._start = time.perf_counter() - spent
    self._phase = SEARCH

  def begin_confirmation(self) -> None:
    """Allows the time of the confirmation, too."""
    self._phase = CONFIRMATION

  def is_spent(self) -> bool:
    """Returns True if the present phase has no time left."""
    limit = self._sweep.seconds
    if self._phase == SEARCH:
      limit = search_seconds(self._sweep)
    return limit is not None and time.perf_counter() - self._start >= limit
