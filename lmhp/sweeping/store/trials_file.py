"""`trials.jsonl`: the trials of a study for people and other tools, one line for each."""

from __future__ import annotations

from collections.abc import Sequence
import math
import pathlib
import time

from lmhp.files import write_atomic

TRIALS = 'trials.jsonl'
EXPORT_INTERVAL = 20
"""Pause between two writes of the file, as a multiple of the time that a write took."""


class TrialsFile:
  """Writes `trials.jsonl`. No sweep reads it.

  Args:
    workdir: Directory of the study.
  """

  def __init__(self, workdir: pathlib.Path):
    self.path = workdir / TRIALS
    self._is_stale = True
    self._due = -math.inf

  def write(self, lines: Sequence[str]) -> None:
    """Writes the file if a trial has changed.

    Args:
      lines: Lines of all trials, without newlines.
    """
    if not self._is_stale:
      return
    start = time.monotonic()
    write_atomic(self.path, ''.join(line + '\n' for line in lines).encode())
    self._is_stale = False

    # The interval grows with the size of the study.
    end = time.monotonic()
    self._due = end + EXPORT_INTERVAL * (end - start)

  def note_change(self, lines: Sequence[str]) -> None:
    """Writes the file after a change, but not so often that it takes much of the time."""
    self._is_stale = True
    if time.monotonic() >= self._due:
      self.write(lines)
