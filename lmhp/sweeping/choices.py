"""How trials of one structure run together: measured once, written down, and kept when the study is run again."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from typing import Any, Sequence

import jax
import numpy as np

from lmhp.hypers import ConfigError
from lmhp.sweeping.task import Job, Task
from lmhp.training.history import write_json
from lmhp.training.population import Population

WIDTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Members that a compiled pack may have, so that few programs serve all."""

MEASURED_STEPS = 3
WORTH_MEASURING = 20
"""Another method is tried where the whole study lasts at least this many times what compiling it costs."""


@dataclasses.dataclass(frozen=True)
class Choice:
  """How the packs of one structure run.

  Attributes:
    method: 'vmap', 'map' or 'loop'.
    max_width: most members in a pack.
    member_step_seconds: of an update of one member, by each method that was measured.
    bytes_per_member: device memory that a member takes, from the compiled program's own analysis.
    reason: why this method, in words.
  """

  method: str
  max_width: int
  member_step_seconds: dict[str, float]
  bytes_per_member: float
  reason: str


class Choices:
  """The choices of a study, in `choices.json`.

  Args:
    workdir: the study's directory.
    task: what is run.
    pack: the method that is asked for, or 'auto'.
    max_width: most members that are asked for, None what the memory holds.
  """

  def __init__(self, workdir: Any, task: Task, pack: str = 'auto', max_width: int | None = None):
    self.path, self.task, self.pack, self.asked_width = workdir / 'choices.json', task, pack, max_width
    stored = json.loads(self.path.read_text()) if self.path.exists() else {}
    self._choices = {name: Choice(**c) for name, c in stored.get('choices', {}).items()}
    self.measured: dict[str, float] = stored.get('measured', {})

  def of(self, jobs: Sequence[Job], own: bool, steps: float) -> Choice:
    """The choice for a structure; measured and written down where it is not yet.

    Args:
      jobs: the trials of the structure that are known; the first are measured with.
      own: whether members read batches of their own.
      steps: updates that all its members together will make, as far as known.
    """
    key = f'{jobs[0].structure}{"-own" if own else ""}'
    if key not in self._choices:
      self._choices[key] = self._choose(list(jobs), own, steps)
      self._write()
    return self._choices[key]

  def value(self, name: str, job: Job) -> float:
    """A metric that is measured once for a structure."""
    key = f'{name} {job.structure}'
    if key not in self.measured:
      self.measured[key] = self.task.measure(name, job)
      self._write()
    return self.measured[key]

  def _write(self) -> None:
    choices = {name: dataclasses.asdict(c) for name, c in self._choices.items()}
    write_json(self.path, {'choices': choices, 'measured': self.measured})

  # --- measuring ------------------------------------------------------------------------------------------------------

  def _choose(self, jobs: list[Job], own: bool, steps: float) -> Choice:
    wish = min(self.asked_width or WIDTHS[-1], len(jobs))
    if self.pack != 'auto':
      trial = _Trial(self.task, jobs, own, self.pack, wish)
      return Choice(self.pack, trial.width, {}, trial.bytes_per_member, 'as the config says')
    seconds, trials = {}, {}
    for method in _candidates():
      if seconds and _left(steps, seconds) < WORTH_MEASURING * next(iter(trials.values())).compile_seconds:
        reason = 'the study is too short to measure another'
        break
      trials[method] = _Trial(self.task, jobs, own, method, wish)
      seconds[method] = trials[method].member_step_seconds()
    else:
      reason = 'the quickest that was measured'
    best = min(seconds, key=seconds.get)
    return Choice(best, trials[best].width, seconds, trials[best].bytes_per_member, reason)


def _candidates() -> tuple[str, ...]:
  """The methods, likeliest first: on a processor the solo program, a few at once, on an accelerator all at once."""
  if len(jax.devices()) > 1:
    return ('vmap', 'map')
  return ('loop', 'vmap', 'map') if jax.devices()[0].platform == 'cpu' else ('vmap', 'map', 'loop')


def _left(steps: float, seconds: dict[str, float]) -> float:
  """Seconds that all updates take by the quickest method so far."""
  return steps * min(seconds.values())


class _Trial:
  """A method tried on the first members of a structure, at the largest width that fits."""

  def __init__(self, task: Task, jobs: list[Job], own: bool, method: str, wish: int):
    self.task, self.own, self.method = task, own, method
    compiled = task.member(jobs[0]).compiled().seconds
    n_devices = len(jax.devices()) if method != 'loop' else 1
    self.width = max(n_devices, next(w for w in WIDTHS if w >= min(wish, WIDTHS[-1]))) if method != 'loop' else wish
    self.jobs = (jobs * math.ceil(self.width / len(jobs)))
    limit = memory_limit()
    while True:
      self.population = self._population()
      self.seconds, needed = self._first_steps()
      self.bytes_per_member = needed / (1 if method == 'loop' else self.width)
      if method == 'loop':
        self.width = max(1, min(self.width, int(limit / max(self.bytes_per_member, 1))))
        break
      if needed <= limit or self.width <= n_devices:
        break
      fits = [w for w in WIDTHS if w < self.width and w * self.bytes_per_member <= limit and w >= n_devices]
      self.width = fits[-1] if fits else n_devices
    self.compile_seconds = task.member(jobs[0]).compiled().seconds - compiled

  def _population(self) -> Population:
    jobs = self.jobs[: self.width] if self.method != 'loop' else self.jobs[: min(self.width, 8)]
    return Population(self.task.member(jobs[0]), [job.hypers for job in jobs], self.method, self.own,
                      self.task.data_axis(jobs[0], self.own), devices_for(self.method))

  def _first_steps(self) -> tuple[float, float]:
    """Seconds of a member's update once all is compiled, and bytes that the program needs besides the data."""
    job, hypers = self.jobs[0], self.population.hypers
    n = min(MEASURED_STEPS, job.steps)
    _, data = next(self.task.feed(job, hypers, self.own, 0, iter([n, n])))
    state = self.population.init()
    seconds = []
    for _ in range(2):
      start = time.perf_counter()
      state, metrics = self.population.run(state, data, n, 0)
      jax.block_until_ready(metrics)
      seconds.append((time.perf_counter() - start) / n / self.population.width)
    return min(seconds), self.population.bytes_needed()

  def member_step_seconds(self) -> float:
    return self.seconds


def devices_for(method: str) -> tuple[Any, ...]:
  """All devices for the methods that are one program, the first for `loop`."""
  return () if method == 'loop' else tuple(jax.devices())


def memory_limit(share: float = 0.8) -> float:
  """Bytes that packs may take on one device: a share of what is free."""
  stats = jax.devices()[0].memory_stats() if jax.devices()[0].platform != 'cpu' else None
  if stats and 'bytes_limit' in stats:
    return share * len(jax.devices()) * (stats['bytes_limit'] - stats.get('bytes_in_use', 0))
  pages = os.sysconf('SC_AVPHYS_PAGES') if 'SC_AVPHYS_PAGES' in os.sysconf_names else 2**20
  return share * pages * os.sysconf('SC_PAGE_SIZE')


def widths(n: int, choice: Choice, n_devices: int = 1) -> list[tuple[int, int]]:
  """How n trials are cut into packs: (trials, width) of each.

  Full packs first; what is left takes the smallest width that holds it. `loop` needs no padding.

  >>> widths(11, Choice('vmap', 8, {}, 0.0, ''))
  [(8, 8), (3, 4)]
  """
  packs = [(choice.max_width, choice.max_width)] * (n // choice.max_width)
  left = n % choice.max_width
  if left:
    smallest = left if choice.method == 'loop' else next(w for w in WIDTHS if w >= max(left, n_devices))
    packs.append((left, min(smallest, choice.max_width) if choice.method != 'loop' else left))
  return packs
