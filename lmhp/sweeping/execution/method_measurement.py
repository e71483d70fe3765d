"""Measurement of one method of running packs.

The members of a pack are trials that one compiled program trains together. The method
is how the members run: `vmap`, `map` or `loop`. The width is the number of members.
"""

from __future__ import annotations

from collections.abc import Sequence
import itertools
import time

import jax

from lmhp.sweeping.execution.pack_widths import (
  allowed_widths,
  devices_for,
  memory_limit_bytes,
)
from lmhp.sweeping.tasks.task import Job, Task
from lmhp.training.chunks import ChunkSteps
from lmhp.training.population import Population
from lmhp.typing import PyTree

MEASURED_STEPS = 3
"""Number of updates of each member in one measurement."""

MEASURED_SECONDS = 0.5
"""Measurements are repeated for at least this time."""

LOOP_MEMBERS = 8
"""Largest number of members that "loop" is measured with."""


class MethodMeasurement:
  """Measures a method with the first trials of a structure.

  The structure is the part of a config that is compiled into the program.

  Args:
    task: Task of the study.
    jobs: Jobs of the first trials of the structure. More trials may follow later.
    data_per_trial: If True, each member reads different batches.
    method: Method that is measured: "vmap", "map" or "loop".
    max_width: Largest requested width.

  Attributes:
    width: Width that is measured: the largest one that fits in memory, but not more than the
      jobs need. For example, 3 jobs need width 4 with "vmap".
    max_pack_width: Largest width that fits in memory, for any number of trials.
    member_step_seconds: Time of one member's update, without compiling.
    bytes_per_member: Device memory of a member, without its data, by the analysis of the
      compiled program.
    compile_seconds: Seconds spent on compiling.
  """

  def __init__(
    self,
    task: Task,
    jobs: Sequence[Job],
    *,
    data_per_trial: bool,
    method: str,
    max_width: int,
  ):
    self._task = task
    self._jobs = list(jobs)
    self._data_per_trial = data_per_trial
    self._method = method
    self._n_devices = len(devices_for(method)) or 1
    self._n_steps = min(MEASURED_STEPS, self._jobs[0].steps)
    cache = task.programs(self._jobs[0]).program_cache
    compile_seconds_before = cache.compile_seconds

    # The measured pack holds the jobs that exist now. Later packs may be wider.
    self.bytes_per_member = 0.0
    self.width = self._largest_fitting(self._candidate_widths(max_width, len(jobs)))

    # The memory of wider packs is extrapolated, so that no second program is compiled.
    limit_bytes = memory_limit_bytes(self._n_devices)
    n_fitting = int(limit_bytes // max(self.bytes_per_member, 1))
    self.max_pack_width = max(
      w
      for w in self._candidate_widths(max_width, max_width)
      if w <= max(self.width, n_fitting)
    )

    self.member_step_seconds = self._measure_member_step_seconds()
    self.compile_seconds = cache.compile_seconds - compile_seconds_before

  def _candidate_widths(self, max_width: int, n_trials: int) -> list[int]:
    """Returns the allowed widths up to `max_width`.

    The list ends at the first width that is enough for `n_trials`.
    """
    if self._method == 'loop':
      return list(range(1, min(max_width, n_trials) + 1))
    allowed = allowed_widths(self._n_devices)
    enough = next((w for w in allowed if w >= n_trials), allowed[-1])
    # With several devices, the smallest allowed width may be above `max_width`.
    return [w for w in allowed if w <= min(max_width, enough)] or [allowed[0]]

  def _largest_fitting(self, widths: Sequence[int]) -> int:
    """Returns the largest width whose program fits in memory, or the smallest if none fits.

    No program is run.
    """
    limit_bytes = memory_limit_bytes(self._n_devices)
    width = widths[-1]
    while True:
      # The compiler reports the memory of a program that was not run.
      population = self._population(width)
      self.bytes_per_member = population.chunk_bytes(self._data(population))
      if self._method != 'loop':
        # The program of a loop holds one member. Other programs hold all members at once.
        self.bytes_per_member /= width
      fitting = [
        w for w in widths if w <= width and w * self.bytes_per_member <= limit_bytes
      ]
      largest = fitting[-1] if fitting else widths[0]
      # A narrower program may need more memory per member, so it is analyzed too.
      if largest == width or self._method == 'loop':
        return largest
      width = largest

  def _population(self, width: int) -> Population:
    """Returns a population of a width. If there are too few trials, they are repeated."""
    # A loop calls a program of one member for each member, so a few members show its speed.
    n_members = min(width, LOOP_MEMBERS) if self._method == 'loop' else width
    jobs = list(itertools.islice(itertools.cycle(self._jobs), n_members))
    return Population(
      self._task.programs(jobs[0]),
      [job.hypers for job in jobs],
      self._method,
      self._data_per_trial,
      self._task.data_axis(jobs[0], self._data_per_trial),
      devices_for(self._method),
    )

  def _data(self, population: Population) -> PyTree:
    """Returns the data of the first chunk (several updates in one call of a program)."""
    # A feed of streamed data prepares the next chunk before it yields one. So it needs the
    # lengths of two chunks, although only the first chunk is used.
    _, data = next(
      self._task.feed(
        self._jobs[0],
        population.hypers,
        self._data_per_trial,
        0,
        iter([self._n_steps] * 2),
      )
    )
    return data

  def _measure_member_step_seconds(self) -> float:
    """Returns the seconds of one update of one member, the shortest of several measurements."""
    population = self._population(self.width)
    state = population.init()
    data = self._data(population)
    n_steps = self._n_steps
    # At least two measurements, because the first may include work that is done only once.
    measured: list[float] = []
    while len(measured) < 2 or sum(measured) < MEASURED_SECONDS:
      start = time.perf_counter()
      state, metrics = population.run(state, data, ChunkSteps(n_steps, 0))
      jax.block_until_ready(metrics)
      measured.append(time.perf_counter() - start)
    # The minimum, because other work on the machine only adds time.
    return min(measured) / n_steps / population.width
