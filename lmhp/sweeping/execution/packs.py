"""Packs: groups of trials that one compiled program trains together, and their results.

The trials of a pack, its members, have the same structure (the part of a config that is
compiled into the program). They differ only in traced numbers, such as the learning rate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import json

from etils import epath
import jax

from lmhp.files import write_json
from lmhp.sweeping.execution.stages import StateRef
from lmhp.sweeping.store.json_records import from_json, to_json
from lmhp.typing import PyTree

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
      is trained with a falling learning rate and scored, and the states are kept as they
      are. If it is 0, the states are scored.
    final: True if `last_step` is the end of the trials.
    method: Method that runs the members, one of `lmhp.training.population.METHODS`: 'vmap',
      'map' or 'loop'.
    width: Number of members of the compiled program. If it is above the number of trials,
      the last trial is repeated, and the results of the copies are not used.
    data_per_trial: If True, each member reads different batches.
    keep_states: If True, a later pack may start from the final states.
    changes: Values that replace those of a trial, by trial number and dotted path.
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
    seconds: Time of training and scoring, over all processes.
    compile_seconds: Part of `seconds` that was spent on compiling.
    device: Kind of the device.
    states: Final states of the members in numpy, if they are in memory.
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
  del step, metrics


@dataclasses.dataclass(frozen=True)
class PackRunOptions:
  """Options of a pack's run that do not change its result.

  Attributes:
    should_stop: Returns True after a signal.
    show: Called with the step and {metric: values of the members} after each chunk.
    devices: Devices to run on. Empty is the default device.
    worth_saving_seconds: The final states of a pack that took less time are not saved. 0 if
      another process starts from them.
  """

  should_stop: Callable[[], bool] = _never
  show: Callable[[int, Mapping[str, object]], None] = _show_nothing
  # jaxlib has no type stubs.
  devices: Sequence[jax.Device] = ()  # pyright: ignore[reportInvalidTypeForm]
  worth_saving_seconds: float = WORTH_SAVING_SECONDS


DEFAULT_OPTIONS = PackRunOptions()


def directory_of(workdir: epath.Path, pack: str) -> epath.Path:
  """Returns the directory of a pack in the directory of its study."""
  return workdir / 'packs' / pack


def write_result(directory: epath.Path, result: PackResult) -> None:
  """Writes the result of a pack, without its states."""
  stored = dataclasses.replace(result, states=None)
  write_json(directory / RESULT, to_json(stored))


def read_result(directory: epath.Path) -> PackResult | None:
  """Returns the result of a pack from its directory, or None if it has none."""
  path = directory / RESULT
  if not path.exists():
    return None
  return from_json(PackResult, json.loads(path.read_text()), str(path))


def write_spec(workdir: epath.Path, pack: Pack) -> None:
  """Writes the description of a pack, if it does not exist."""
  path = directory_of(workdir, pack.name) / SPEC
  if not path.exists():
    write_json(path, to_json(pack))


def read_spec(workdir: epath.Path, name: str) -> Pack:
  """Returns the pack that `write_spec` wrote."""
  path = directory_of(workdir, name) / SPEC
  return from_json(Pack, json.loads(path.read_text()), str(path))
