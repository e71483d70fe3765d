"""Jobs of the trials of a study, each built once.

A job is the complete config of a trial, divided into the structure (which is compiled) and
traced numbers. The members of a pack are trials that are trained together.
"""

from __future__ import annotations

from collections.abc import Callable

from lmhp.sweeping.execution.packs import Pack
from lmhp.sweeping.tasks.task import Job, Overrides, Task


class JobTable:
  """Builds the job of a trial when it is first needed.

  Args:
    task: Task of the study.
    overrides_of: Returns the overrides of a trial by its number.
  """

  def __init__(self, task: Task, overrides_of: Callable[[int], Overrides]):
    self.task = task
    self.overrides_of = overrides_of
    self._jobs: dict[int, Job] = {}

  def __getitem__(self, number: int) -> Job:
    """Returns the job of a trial."""
    if number not in self._jobs:
      self._jobs[number] = self.task.job(self.overrides_of(number))
    return self._jobs[number]

  def of_pack(self, pack: Pack) -> list[Job]:
    """Returns the jobs of a pack's members, with the values that the pack changes."""
    jobs = []
    for number in pack.trials:
      if number in pack.changes:
        jobs.append(self.task.job(self.overrides_in(pack, number)))
      else:
        jobs.append(self[number])
    return jobs

  def overrides_in(self, pack: Pack, number: int) -> Overrides:
    """Returns the overrides of a member of a pack."""
    return {**self.overrides_of(number), **pack.changes.get(number, {})}
