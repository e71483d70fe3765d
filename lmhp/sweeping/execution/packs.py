"""Packs: groups of trials that one compiled program trains together, and their results.

The trials of a pack, its members, have the same structure (the part of a config that is
compiled into the program). They differ only in traced numbers, such as the learning rate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import logging

from etils import epath
import jax

from lmhp.errors import ConfigError
from lmhp.sweeping.execution.stages import StateRef
from lmhp.sweeping.store import curves
from lmhp.sweeping.store.json_records import read_record, write_record
from lmhp.sweeping.tasks.task import Job, Overrides, Task
from lmhp.typing import PyTree

_log = logging.getLogger(__name__)

# Files in the directory of a pack: its result, and its description (a `Pack`).
RESULT = 'result.json'
SPEC = 'pack.json'
WORTH_SAVING_SECONDS = 2.0
"""The final states of a pack that took less time are not saved. They are computed again if
they are needed."""


@dataclasses.dataclass(frozen=True)
class Pack:
  """Trials that are trained together. A study that is run again makes the same packs.

  Attributes:
    name: Unique name in the study.
    trials: Numbers of the members.
    sources: Saved state from which each member starts. None if the member starts from the
      first state of its trial.
    first_step: Number of updates that the members have made before.
    last_step: Step at which the members are scored.
    cooldown_steps: Length of the cooldown. If it is above 0, a copy of the states (a fork)
      is trained with a falling learning rate and scored. Later packs continue from the
      states, not from the fork. If it is 0, the states themselves are scored.
    final: True if `last_step` is the end of the trials.
    method: Method that runs the members, one of `lmhp.training.population.METHODS`: 'vmap',
      'map' or 'loop'.
    width: Number of members of the compiled program. If it is above the number of trials,
      the last trial is repeated, and the results of the copies are not used.
    data_per_trial: If True, each member reads different batches.
    keep_states: If True, a later pack may start from the final states.
    changes: {number of a trial: {dotted path: value that replaces that of the trial}}.
      Population-based training uses them.
  """

  name: str
  trials: tuple[int, ...]
  sources: tuple[StateRef | None, ...]
  first_step: int
  last_step: int
  cooldown_steps: int = 0
  final: bool = False
  method: str = 'vmap'
  width: int = 1
  data_per_trial: bool = False
  keep_states: bool = False
  changes: Mapping[int, Mapping[str, object]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class PackResult:
  """Result of a pack.

  Attributes:
    metrics: Metrics of each member at the last step.
    nonfinite_steps: For each member, the first step at which its loss was not finite, or
      None.
    seconds: Time of training and scoring. If several processes ran the pack one after the
      other, it is the sum of their times.
    compile_seconds: Part of `seconds` that the last process spent on compiling.
    device: Kind of the device.
    states: Final states of the members, as numpy arrays. None if no later pack continues from
      them, or if the result was read from its file.
  """

  metrics: tuple[Mapping[str, float], ...]
  nonfinite_steps: tuple[int | None, ...]
  seconds: float
  compile_seconds: float
  device: str
  states: tuple[PyTree, ...] | None = None


class Stopped(Exception):
  """A signal stopped the sweep. The states of the running packs are saved."""


def _never() -> bool:
  return False


def _show_nothing(step: int, metrics: Mapping[str, object]) -> None:
  """Shows nothing."""


@dataclasses.dataclass(frozen=True)
class PackRunOptions:
  """Options of a pack's run that do not change its result.

  Attributes:
    should_stop: Returns True after a signal.
    show: Called after each chunk (several updates in one call of a program) with the step and
      {metric: array with a value for each member, or one number}.
    devices: Devices to run on. If empty, the default device is used.
    worth_saving_seconds: The final states of a pack that took less time are not saved. 0 saves
      all final states, for other processes that start from them.
  """

  should_stop: Callable[[], bool] = _never
  show: Callable[[int, Mapping[str, object]], None] = _show_nothing
  # jaxlib has no type stubs.
  devices: Sequence[jax.Device] = ()  # pyright: ignore[reportInvalidTypeForm]
  worth_saving_seconds: float = WORTH_SAVING_SECONDS


DEFAULT_OPTIONS = PackRunOptions()


def directory_of(workdir: epath.Path, pack: str) -> epath.Path:
  """Returns the directory of a pack in the directory of its study.

  Raises:
    ConfigError: If the name of the pack would lead to another directory.
  """
  curves.check_pack_name(pack)
  return workdir / 'packs' / pack


def write_result(directory: epath.Path, result: PackResult) -> None:
  """Writes the result of a pack, without its states."""
  write_record(directory / RESULT, dataclasses.replace(result, states=None))


def read_result(directory: epath.Path) -> PackResult | None:
  """Returns the result of a pack from its directory, or None if it has none.

  Raises:
    ConfigError: If the file is damaged.
  """
  path = directory / RESULT
  return read_record(PackResult, path) if path.exists() else None


def finished_result(workdir: epath.Path, pack: str) -> PackResult | None:
  """Returns the result of a pack that is done, or None if the pack must be run.

  The result of a pack depends only on the pack. So a damaged result is deleted and made again,
  and so is one whose curves are damaged or missing.

  Args:
    workdir: Directory of the study.
    pack: Name of the pack.
  """
  directory = directory_of(workdir, pack)
  try:
    result = read_result(directory)
    if result is not None:
      curves.read(curves.path_of_curves(workdir, pack))
  except (ConfigError, FileNotFoundError) as error:
    reason = error
    if isinstance(error, FileNotFoundError):
      reason = f'{error.filename}: no such file'
    _log.warning('%s; this pack is run again', reason)
    (directory / RESULT).unlink(missing_ok=True)
    return None
  return result


class JobTable:
  """Table {number of a trial: its job}. A job is built when it is first needed.

  A job is the complete config of a trial, divided into its structure and its traced numbers.

  Args:
    task: Task of the study.
    overrides_of: Function from the number of a trial to its overrides (the values that differ
      from the base config).
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
    """Returns the jobs of a pack's members, with the values of `pack.changes`."""
    return [
      self.task.job(self.overrides_in(pack, number))
      if number in pack.changes
      else self[number]
      for number in pack.trials
    ]

  def overrides_in(self, pack: Pack, number: int) -> Overrides:
    """Returns the overrides of a member of a pack, with the values of `pack.changes`."""
    return {**self.overrides_of(number), **pack.changes.get(number, {})}
