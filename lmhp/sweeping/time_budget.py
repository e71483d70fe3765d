"""The budget of a sweep in seconds: a limit on the wall time of its search and confirmation."""

from __future__ import annotations

from collections.abc import Callable
import time

from lmhp.sweeping.config import SweepConfig

SEARCH = 'search'
CONFIRMATION = 'confirmation'

SEARCH_FRACTION = 0.5
"""Fraction of the seconds after which the search ends if a confirmation follows.

A search without a complete trial has nothing to confirm, so it may use all seconds."""


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
    has_result: Function that returns True if a trial is complete.
  """

  def __init__(
    self, sweep: SweepConfig, spent: float, has_result: Callable[[], bool]
  ) -> None:
    self._sweep = sweep
    self._has_result = has_result
    self._start = time.perf_counter() - spent
    self._phase = SEARCH

  def begin_confirmation(self) -> None:
    """Allows the time of the confirmation, too."""
    self._phase = CONFIRMATION

  def is_spent(self) -> bool:
    """Returns True if the present phase has no time left."""
    share = search_seconds(self._sweep)
    if self._sweep.seconds is None or share is None:
      return False
    spent = time.perf_counter() - self._start
    if spent >= self._sweep.seconds:
      return True
    return self._phase == SEARCH and spent >= share and self._has_result()
