"""Choice between `vmap`, `map` and `loop` for trials that are trained together.

A pack is a group of trials that one compiled program trains together. The trials are its
members. They have one structure, the part of a config that is compiled into the program. A
pack runs its members by one of the methods `vmap`, `map` and `loop` (see
`lmhp.training.population`). All packs of a structure use the same method. The methods are
measured once, and the choice is stored in the storage of the study. A study that is run again
uses the stored choice. `autotune.json` is a copy for people. It is read only for choices that the
storage lacks, so that a new study can take over those of another study.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import gc
import logging
import math

from etils import epath
import jax

from lmhp.errors import ConfigError, is_out_of_memory
from lmhp.sweeping.execution.method_measurement import MethodMeasurement
from lmhp.sweeping.execution.pack_starts import OutOfMemory, PackStarts
from lmhp.sweeping.execution.pack_widths import WIDTHS, allowed_widths, devices_for
from lmhp.sweeping.store.json_records import (
  from_json,
  read_record,
  to_json,
  write_record,
)
from lmhp.sweeping.tasks.task import Job, Task
from lmhp.typing import JSON

_log = logging.getLogger(__name__)

FILE = 'autotune.json'

MEASUREMENTS = 'measurements'
"""Directory with the journals of the measurements."""

WORTH_MEASURING = 60
"""Another method is measured only if the study will last at least this many times as long as
the compilation of the first method."""


@dataclasses.dataclass(frozen=True)
class PackMethod:
  """Method that runs the packs of one structure, with the measurements behind the choice.

  Attributes:
    method: "vmap", "map" or "loop".
    max_pack_width: Largest number of members of a pack.
    member_step_seconds: {measured method: seconds of one update of one member}.
    bytes_per_member: Device memory of a member, by the analysis of the compiled program.
    reason: Reason for the choice.
  """

  method: str
  max_pack_width: int
  member_step_seconds: Mapping[str, float]
  bytes_per_member: float
  reason: str


@dataclasses.dataclass(frozen=True)
class Measurements:
  """Content of `autotune.json`.

  Attributes:
    methods: {structure: method}. If each member reads different batches, the key ends in
      "-data_per_trial".
    metrics: {"METRIC STRUCTURE": value}, for metrics that are measured once per structure,
      such as `latency_seconds`.
  """

  methods: Mapping[str, PackMethod] = dataclasses.field(default_factory=dict)
  metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)


def choose_method(
  task: Task,
  jobs: Sequence[Job],
  data_per_trial: bool,
  n_steps: float,
  requested_method: str,
  requested_width: int | None,
) -> PackMethod:
  """Measures the requested method, or chooses the fastest of several methods.

  Args:
    task: Task of the study.
    jobs: Jobs (complete configs) of trials of one structure. The first ones are measured.
    data_per_trial: If True, each member reads different batches.
    n_steps: Updates that all trials of the structure will make together.
    requested_method: One of `lmhp.training.population.METHODS`, or "auto".
    requested_width: Largest number of members of a pack that `sweep.max_pack_width` allows.
      None: no limit.
  """
  candidates = _candidate_methods()
  reason = 'the fastest that was measured'
  if requested_method != 'auto':
    candidates = (requested_method,)
    reason = 'requested by sweep.execution'

  # A measurement compiles a program, which pays only in a long study.
  measured: dict[str, MethodMeasurement] = {}
  for method in candidates:
    if measured and not _is_worth_measuring(n_steps, list(measured.values())):
      reason = 'the study is too short to measure another method'
      break
    measurement = _measurement(task, jobs, data_per_trial, method, requested_width)
    if measurement is None:
      # Another method needs as much memory for one member.
      break
    measured[method] = measurement
  if not measured:
    return unmeasured_method(requested_method, 'out of memory')

  # Compare the methods by the time that one update of one member takes.
  seconds = {
    method: measurement.member_step_seconds for method, measurement in measured.items()
  }
  fastest = min(seconds, key=seconds.__getitem__)
  return PackMethod(
    method=fastest,
    max_pack_width=measured[fastest].max_pack_width,
    member_step_seconds=seconds,
    bytes_per_member=measured[fastest].bytes_per_member,
    reason=reason,
  )


def _measurement(
  task: Task,
  jobs: Sequence[Job],
  data_per_trial: bool,
  method: str,
  requested_width: int | None,
) -> MethodMeasurement | None:
  """Measures a method. If memory is short, it is measured with fewer members.

  The arguments are those of `choose_method`.

  Returns:
    The measurement, or None if not even one member fits in memory.
  """
  width = min(requested_width or WIDTHS[-1], WIDTHS[-1])
  while width:
    try:
      return MethodMeasurement(
        task,
        jobs[:width],
        data_per_trial=data_per_trial,
        method=method,
        max_width=width,
      )
    except Exception as error:
      if not is_out_of_memory(error):
        raise
    # The arrays of the failed measurement are freed before the next one.
    gc.collect()
    width = min(width, len(jobs)) // 2
  return None


def unmeasured_method(requested_method: str, reason: str) -> PackMethod:
  """Returns the method of a structure that cannot be measured: one member at a time.

  Args:
    requested_method: As in `choose_method`.
    reason: Reason for which it cannot be measured.
  """
  method = 'loop' if requested_method == 'auto' else requested_method
  return PackMethod(method, 1, {}, 0.0, reason)


def _candidate_methods() -> tuple[str, ...]:
  """Returns the methods to measure, first the one that is usually the fastest."""
  if len(jax.devices()) > 1:
    return ('vmap', 'map')
  if jax.devices()[0].platform == 'cpu':
    return ('loop', 'vmap', 'map')
  return ('vmap', 'map', 'loop')


def _is_worth_measuring(n_steps: float, measured: Sequence[MethodMeasurement]) -> bool:
  """Returns True if the study is long compared with the compile time of a method."""
  step_seconds = min(measurement.member_step_seconds for measurement in measured)
  return n_steps * step_seconds >= WORTH_MEASURING * measured[0].compile_seconds


def measure_metric(task: Task, metric: str, job: Job) -> float:
  """Measures a metric that is measured once for each structure."""
  return task.measure(metric, job)


@dataclasses.dataclass(frozen=True)
class MeasurementStore:
  """The place in which a study stores its measurements.

  Attributes:
    stored: Measurements of earlier processes, as JSON, or None if there are none.
    save: Function that stores measurements.
  """

  stored: Mapping[str, JSON] | None
  save: Callable[[Mapping[str, JSON]], None]


class Autotuner:
  """Chooses the method of the packs of a study.

  Args:
    task: Task of the study.
    workdir: Directory of the study.
    method: Requested method, or "auto".
    max_pack_width: Largest number of members of a pack that the user allows. None: as many as
      fit in memory.
    store: Storage of the measurements. None stores them only in `autotune.json`.
    choose: Function with the arguments of `choose_method`. With Ray, it calls `choose_method`
      on a worker.
    measure: Function with the arguments of `measure_metric`. With Ray, it measures on a worker.
  """

  def __init__(
    self,
    task: Task,
    workdir: epath.Path,
    method: str = 'auto',
    max_pack_width: int | None = None,
    store: MeasurementStore | None = None,
    *,
    choose: Callable[..., PackMethod] = choose_method,
    measure: Callable[[Task, str, Job], float] = measure_metric,
  ):
    self.task = task
    self.path = workdir / FILE
    self.requested_method = method
    self.requested_width = max_pack_width
    self._choose = choose
    self._measure = measure
    self._store = store
    # Measurements of an earlier process are used again.
    is_stored = store is not None and store.stored is not None
    copied = _read_measurements(self.path, is_needed=not is_stored)
    stored = Measurements()
    if store is not None and store.stored is not None:
      stored = from_json(Measurements, store.stored, 'measurements')
    self._methods = {**copied.methods, **stored.methods}
    self._metrics = {**copied.metrics, **stored.metrics}
    self._unmeasurable: set[str] = set()
    if self._methods or self._metrics:
      self._write()

  def method_of(
    self, jobs: Sequence[Job], data_per_trial: bool, n_steps: float
  ) -> PackMethod:
    """Returns the method of a structure. Measures it if it was not measured before.

    Args:
      jobs: One job (complete config) for each trial of the structure. The first ones are
        measured.
      data_per_trial: If True, each member reads different batches.
      n_steps: Updates that all trials of the structure will make together.
    """
    key = _key(jobs[0], data_per_trial)
    if key not in self._methods:
      self._methods[key] = self._chosen(key, jobs, data_per_trial, n_steps)
      self._write()
    stored = self._methods[key]
    return dataclasses.replace(stored, max_pack_width=self._allowed_width(stored))

  def is_measured(self, job: Job, data_per_trial: bool) -> bool:
    """Returns True if the method of a structure is known."""
    return _key(job, data_per_trial) in self._methods

  def _chosen(
    self, key: str, jobs: Sequence[Job], data_per_trial: bool, n_steps: float
  ) -> PackMethod:
    """Measures a structure, unless the measurement does not fit in memory."""
    # A process that is killed for lack of memory raises nothing, so the start is noted.
    starts = PackStarts(self.path.parent / MEASUREMENTS / key, f'measurement of {key}')
    reason = starts.failure()
    if reason is None:
      try:
        with starts.running():
          chosen = self._choose(
            self.task,
            jobs,
            data_per_trial,
            n_steps,
            self.requested_method,
            self.requested_width,
          )
        if chosen.member_step_seconds:
          return chosen
        reason = chosen.reason
      except OutOfMemory:
        reason = 'out of memory'
    n_parameters = jobs[0].model.n_parameters
    size = '' if n_parameters is None else f' with {n_parameters:,} parameters'
    _log.warning('a trial%s does not fit in memory (%s)', size, reason)
    return unmeasured_method(self.requested_method, reason)

  def _allowed_width(self, stored: PackMethod) -> int:
    """Returns the largest number of members that a pack may have with a method."""
    largest = stored.max_pack_width
    if self.requested_width is not None:
      largest = min(largest, self.requested_width)
    if stored.method == 'loop':
      return largest
    # Programs are compiled for a few widths only. The smallest has one member per device.
    allowed = allowed_widths(len(devices_for(stored.method)))
    return max((w for w in allowed if w <= largest), default=allowed[0])

  def measured(self, metric: str, job: Job) -> float:
    """Returns a metric that is measured once for each structure. NaN without the memory."""
    key = f'{metric} {job.structure}'
    if key in self._unmeasurable:
      return math.nan
    if key not in self._metrics:
      try:
        self._metrics[key] = self._measure(self.task, metric, job)
      except Exception as error:
        if not is_out_of_memory(error):
          raise
        self._unmeasurable.add(key)
        return math.nan
      self._write()
    return self._metrics[key]

  def _write(self) -> None:
    measurements = Measurements(self._methods, self._metrics)
    content = to_json(measurements)
    if self._store is not None and self._store.stored != content:
      self._store.save(content)
    write_record(self.path, measurements)


def _read_measurements(path: epath.Path, is_needed: bool) -> Measurements:
  """Returns the measurements of a file. A damaged file that is not needed is empty."""
  if not path.exists():
    return Measurements()
  try:
    return read_record(Measurements, path)
  except ConfigError as error:
    if not is_needed:
      return Measurements()
    raise ConfigError(
      f'{error}; delete this file, and the methods are measured again'
    ) from None


def _key(job: Job, data_per_trial: bool) -> str:
  """Returns the name of a structure in `autotune.json`."""
  return f'{job.structure}-data_per_trial' if data_per_trial else job.structure
