"""How trials of one structure run together: measured once, written down, and kept when the study is run again."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from typing import Any, Sequence

import jax

from lmhp.files import write_json
from lmhp.sweeping.tasks.task import Job, Task
from lmhp.training.chunks import ChunkSteps
from lmhp.training.population import Population

WIDTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Members that a compiled pack may have, so that few programs serve all."""

MEASURED_STEPS = 3
MEASURED_SECONDS = 0.5
WORTH_MEASURING = 60
"""Another method is tried where the whole study lasts at least this many times what compiling it costs."""


@dataclasses.dataclass(frozen=True)
class PackMethod:
  """How the packs of one structure run.

  Attributes:
    method: 'vmap', 'map' or 'loop'.
    max_pack_width: most members in a pack.
    member_step_seconds: of an update of one member, by each method that was measured.
    bytes_per_member: device memory that a member takes, from the compiled program's own analysis.
    reason: why this method, in words.
  """

  method: str
  max_pack_width: int
  member_step_seconds: dict[str, float]
  bytes_per_member: float
  reason: str


class Autotuner:
  """The choices of a study, in `autotune.json`.

  Args:
    workdir: the study's directory.
    task: what is run.
    pack: the method that is asked for, or 'auto'.
    max_pack_width: most members that are asked for, None what the memory holds.
  """

  def __init__(
    self,
    workdir: Any,
    task: Task,
    pack: str = 'auto',
    max_pack_width: int | None = None,
  ):
    self.path, self.task, self.pack, self.asked_width = (
      workdir / 'autotune.json',
      task,
      pack,
      max_pack_width,
    )
    stored = json.loads(self.path.read_text()) if self.path.exists() else {}
    self._choices = {
      name: PackMethod(**c) for name, c in stored.get('choices', {}).items()
    }
    self.measured: dict[str, float] = stored.get('measured', {})

  def of(self, jobs: Sequence[Job], own: bool, steps: float) -> PackMethod:
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
    stored = self._choices[key]
    return dataclasses.replace(stored, max_pack_width=self._as_asked(stored))

  def _as_asked(self, stored: PackMethod) -> int:
    """A choice's width, or a narrower one where a study that goes on asks for that."""
    most = min(stored.max_pack_width, self.asked_width or stored.max_pack_width)
    allowed = (
      range(1, most + 1)
      if stored.method == 'loop'
      else allowed_widths(len(devices_for(stored.method)))
    )
    return max((w for w in allowed if w <= most), default=allowed[0])

  def value(self, name: str, job: Job) -> float:
    """A metric that is measured once for a structure."""
    key = f'{name} {job.structure}'
    if key not in self.measured:
      self.measured[key] = self._measure(name, job)
      self._write()
    return self.measured[key]

  def _write(self) -> None:
    choices = {name: dataclasses.asdict(c) for name, c in self._choices.items()}
    write_json(self.path, {'choices': choices, 'measured': self.measured})

  # --- measuring ------------------------------------------------------------------------------------------------------

  def _measure(self, name: str, job: Job) -> float:
    return self.task.measure(name, job)

  def _choose(self, jobs: list[Job], own: bool, steps: float) -> PackMethod:
    most = min(self.asked_width or WIDTHS[-1], WIDTHS[-1])
    if self.pack != 'auto':
      trial = _Trial(self.task, jobs, own, self.pack, most)
      seconds = {self.pack: trial.seconds}
      return PackMethod(
        self.pack, trial.most, seconds, trial.bytes_per_member, 'as the config says'
      )
    seconds, trials = {}, {}
    for method in _candidates():
      if (
        seconds
        and _left(steps, seconds)
        < WORTH_MEASURING * next(iter(trials.values())).compile_seconds
      ):
        reason = 'the study is too short to measure another'
        break
      trials[method] = _Trial(self.task, jobs, own, method, most)
      seconds[method] = trials[method].seconds
    else:
      reason = 'the quickest that was measured'
    best = min(seconds, key=seconds.get)
    return PackMethod(
      best, trials[best].most, seconds, trials[best].bytes_per_member, reason
    )


def _candidates() -> tuple[str, ...]:
  """The methods, likeliest first: on a processor the solo program, a few at once, on an accelerator all at once."""
  if len(jax.devices()) > 1:
    return ('vmap', 'map')
  return (
    ('loop', 'vmap', 'map')
    if jax.devices()[0].platform == 'cpu'
    else ('vmap', 'map', 'loop')
  )


def _left(steps: float, seconds: dict[str, float]) -> float:
  """Seconds that all updates take by the quickest method so far."""
  return steps * min(seconds.values())


class _Trial:
  """A method tried on the first members of a structure, at the largest width that fits.

  Attributes:
    width: most members that fit the memory, of those that the trials known so far fill: what is measured.
    most: most members that fit, however many trials there will be.
    seconds: of an update of one member, once all is compiled.
    bytes_per_member: by the compiled program's own analysis, the data not counted.
    compile_seconds: spent here.
  """

  def __init__(self, task: Task, jobs: list[Job], own: bool, method: str, most: int):
    self.task, self.jobs, self.own, self.method = task, jobs, own, method
    compiled = task.member(jobs[0]).programs.compile_seconds
    self.width = self._largest(self._widths(most, len(jobs)))
    self.most = max(
      w for w in self._widths(most, most) if w <= max(self.width, self._fitting())
    )
    self.population = self._population(self.width)
    self.seconds = self._member_step_seconds()
    self.compile_seconds = task.member(jobs[0]).programs.compile_seconds - compiled

  def _fitting(self) -> int:
    """Members that fit the memory, by the bytes that each takes."""
    return int(
      memory_limit(len(devices_for(self.method)) or 1) // max(self.bytes_per_member, 1)
    )

  def _widths(self, most: int, n: int) -> list[int]:
    """Widths that may be tried: up to the first that holds n trials, none above what was asked for."""
    if self.method == 'loop':
      return list(range(1, min(most, n) + 1))
    allowed = allowed_widths(len(devices_for(self.method)))
    enough = next((w for w in allowed if w >= n), allowed[-1])
    return [w for w in allowed if w <= min(most, enough)] or [allowed[0]]

  def _largest(self, widths: list[int]) -> int:
    """The largest width that fits."""
    limit = memory_limit(len(devices_for(self.method)) or 1)
    width = widths[-1]
    while True:
      self.population = self._population(width)
      # The program is compiled and not run: it may be too large.
      measured = 1 if self.method == 'loop' else width
      self.bytes_per_member = self.population.chunk_bytes(self._data()) / measured
      fits = [
        w for w in widths if w <= width and w * self.bytes_per_member <= limit
      ] or widths[:1]
      if fits[-1] == width or self.method == 'loop':
        return fits[-1]
      width = fits[-1]

  def _population(self, width: int) -> Population:
    jobs = (self.jobs * math.ceil(width / len(self.jobs)))[
      : min(width, 8) if self.method == 'loop' else width
    ]
    return Population(
      self.task.member(jobs[0]),
      [job.hypers for job in jobs],
      self.method,
      self.own,
      self.task.data_axis(jobs[0], self.own),
      devices_for(self.method),
    )

  def _data(self) -> Any:
    n = self._n_steps()
    return next(
      self.task.feed(self.jobs[0], self.population.hypers, self.own, 0, iter([n, n]))
    )[1]

  def _n_steps(self) -> int:
    return min(MEASURED_STEPS, self.jobs[0].steps)

  def _member_step_seconds(self) -> float:
    """Seconds of a member's update: the best turn of half a second's, of two at least."""
    state, data, n, turns = self.population.init(), self._data(), self._n_steps(), []
    while len(turns) < 2 or sum(turns) < MEASURED_SECONDS:
      start = time.perf_counter()
      state, metrics = self.population.run(state, data, ChunkSteps(n, 0))
      jax.block_until_ready(metrics)
      turns.append(time.perf_counter() - start)
    return min(turns) / n / self.population.width


def devices_for(method: str) -> tuple[Any, ...]:
  """All devices for the methods that are one program, the first for `loop`."""
  return () if method == 'loop' else tuple(jax.devices())


def memory_limit(n_devices: int = 1, share: float = 0.8) -> float:
  """Bytes that packs may take on so many devices together: a share of what is free."""
  stats = (
    jax.devices()[0].memory_stats() if jax.devices()[0].platform != 'cpu' else None
  )
  if stats and 'bytes_limit' in stats:
    return share * n_devices * (stats['bytes_limit'] - stats.get('bytes_in_use', 0))
  pages = (
    os.sysconf('SC_AVPHYS_PAGES') if 'SC_AVPHYS_PAGES' in os.sysconf_names else 2**20
  )
  return share * pages * os.sysconf('SC_PAGE_SIZE')


def allowed_widths(n_devices: int = 1) -> tuple[int, ...]:
  """The widths that a pack may have on so many devices: each device has one of `WIDTHS`.

  >>> allowed_widths(6)
  (6, 12, 24, 48, 96, 192)
  """
  n = max(n_devices, 1)
  return tuple(w * n for w in WIDTHS if w * n <= max(n, WIDTHS[-1]))


def widths(n: int, choice: PackMethod, n_devices: int = 1) -> list[tuple[int, int]]:
  """How n trials are cut into packs: (trials, width) of each.

  Full packs first; what is left takes the smallest width that holds it. `loop` needs no padding.

  >>> widths(11, PackMethod('vmap', 8, {}, 0.0, ''))
  [(8, 8), (3, 4)]
  """
  full, left = divmod(n, choice.max_pack_width)
  packs = [(choice.max_pack_width, choice.max_pack_width)] * full
  if left:
    padded = (
      left
      if choice.method == 'loop'
      else next((w for w in allowed_widths(n_devices) if w >= left), math.inf)
    )
    packs.append((left, min(padded, choice.max_pack_width)))
  return packs
