"""What a Ray worker does: it makes the driver's task again, takes a pack over, and trains it.

The functions here that Ray calls are `run_pack`, `choose` and `measure`; `describe` and `publish` are the driver's side
of the same files and bytes. See `lmhp.sweeping.execution.ray_runner`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import math
import os
import pickle
import signal
import socket
import tempfile
from typing import Any, Iterator, Mapping, Sequence
import uuid

from etils import epath
import jax

from lmhp import config as config_lib
from lmhp.errors import ConfigError
from lmhp.files import as_path
from lmhp.sweeping.execution.autotuning import Autotuner, PackMethod, devices_for
from lmhp.sweeping.execution.pack_states import PackStateStore
from lmhp.sweeping.execution.packs import Pack, PackResult, PackRun
from lmhp.sweeping.tasks.function_task import FunctionTask
from lmhp.sweeping.tasks.language_model import LanguageModel
from lmhp.sweeping.tasks.task import Job, Task
from lmhp.training.checkpoint import Checkpoints

SAME_JAX = (
  'jax_enable_x64',
  'jax_default_matmul_precision',
  'jax_default_prng_impl',
  'jax_threefry_partitionable',
  'jax_compilation_cache_dir',
  'jax_persistent_cache_min_compile_time_secs',
  'jax_persistent_cache_min_entry_size_bytes',
)
"""Options of jax that a worker takes from the driver: those that results depend on, and where programs are kept."""


class Superseded(Exception):
  """Another worker has taken this attempt's pack over."""


# --- tasks and files --------------------------------------------------------------------------------------------------


def describe(task: Task) -> dict[str, Any]:
  """What a worker makes the same task from."""
  about = {
    'cwd': os.getcwd(),
    'jax': {name: getattr(jax.config, name) for name in SAME_JAX},
  }
  if isinstance(task, LanguageModel):
    options = {
      'present': task.present,
      'match_budget': task.match_budget,
      'dtype': task.dtype,
    }
    return {
      **about,
      'config': task.config_tree({}),
      'options': options,
      'base': config_lib.to_json(task.base),
      'data_sha256': task.dataset(task.base).sha256,
    }
  if isinstance(task, FunctionTask):
    init, step, evaluate = task._functions
    options = {'steps': task.steps, 'evaluate': evaluate, 'loss': task.loss}
    return {**about, 'functions': (init, step, task.base), 'options': options}
  return {**about, 'task': task}


def publish(workdir: Any, pack: Pack, attempt: str) -> None:
  """Moves what an attempt left to where the study has it, the result last; what is there already stays."""
  source, directory, curves = (
    workdir / 'attempts' / attempt,
    workdir / 'packs' / pack.name,
    f'{pack.name}.parquet',
  )
  left = source / 'packs' / pack.name
  if pack.keep and (left / 'checkpoints').exists():
    (directory / 'checkpoints').rmtree(missing_ok=True)
    (left / 'checkpoints').rename(directory / 'checkpoints')
  if not (directory / 'result.json').exists():
    (workdir / 'curves').mkdir(parents=True, exist_ok=True)
    if (
      source / 'curves' / curves
    ).exists():  # else a driver was killed between these two moves
      (source / 'curves' / curves).replace(workdir / 'curves' / curves)
    (left / 'result.json').replace(directory / 'result.json')


# --- on a worker ------------------------------------------------------------------------------------------------------


def run_pack(
  described: bytes,
  step_seconds: Mapping[str, float],
  workdir: str,
  pack: Pack,
  board: Any,
) -> tuple[PackResult, str]:
  """Trains a pack; its result and the name of the attempt's directory.

  Raises:
    ConfigError: where this node does not see the workdir, or makes another task of the description.
    Stopped: when Ray cancels it; its states are saved.
  """
  workdir = as_path(workdir)
  task, overrides = _task(described, step_seconds), _overrides(workdir, pack.name)
  attempt, states = claim(workdir, pack.name), PackStateStore(task, workdir)
  with _interrupts() as interrupted:

    def stop() -> bool:
      if not attempt.exists():
        raise Superseded(pack.name)
      return bool(interrupted)

    devices = devices_for(pack.method)
    run = PackRun(
      task,
      pack,
      [task.job(o) for o in overrides],
      attempt,
      lambda population: states.start(pack, population),
      stop=stop,
      show=lambda step, metrics: board.note.remote(pack.name, step, metrics),
      devices=devices[: math.gcd(pack.width, len(devices))],
      worth_saving_seconds=0.0,
    )
    result = run.run()
  return dataclasses.replace(result, states=None), attempt.name


def choose(
  described: bytes,
  step_seconds: Mapping[str, float],
  jobs: Sequence[Job],
  own: bool,
  steps: float,
  pack: str,
  max_pack_width: int,
) -> PackMethod:
  """How packs of a structure run best here."""
  task = _task(described, step_seconds)
  with tempfile.TemporaryDirectory() as folder:
    return Autotuner(epath.Path(folder), task, pack, max_pack_width).of(
      jobs, own, steps
    )


def measure(
  described: bytes, step_seconds: Mapping[str, float], name: str, job: Job
) -> float:
  """A metric that is measured once for a structure."""
  return _task(described, step_seconds).measure(name, job)


def claim(workdir: Any, name: str) -> Any:
  """A new attempt's directory, with what the attempt before it had saved; that one has none from then on."""
  attempts = workdir / 'attempts'
  attempts.mkdir(parents=True, exist_ok=True)
  mine = attempts / f'{name}.{uuid.uuid4().hex}'
  before = sorted(
    (path for path in attempts.iterdir() if path.name.rpartition('.')[0] == name),
    key=lambda path: _saved_step(path, name),
  )
  for path in reversed(before):
    with contextlib.suppress(OSError):  # taken by another
      if not mine.exists():
        path.rename(mine)
      else:
        path.rmtree()
  mine.mkdir(exist_ok=True)
  return mine


def _saved_step(attempt: Any, name: str) -> float:
  """How far an attempt's newest checkpoint is; infinite where it came to its end."""
  directory = attempt / 'packs' / name
  if (directory / 'result.json').exists():
    return math.inf
  return Checkpoints(directory / 'checkpoints').latest() or 0


def _overrides(workdir: Any, name: str) -> list[dict[str, Any]]:
  """What a pack's members set, as the driver wrote it down."""
  path = workdir / 'packs' / name / 'pack.json'
  if not path.exists():
    raise ConfigError(
      f'workdir: got {str(workdir)!r}, but {socket.gethostname()} sees no {path.name} of {name} there, '
      'expected a directory that all nodes of the cluster share, or gs://'
    )
  return json.loads(path.read_text())['overrides']


def _task(described: bytes, step_seconds: Mapping[str, float]) -> Task:
  """The driver's task, made once in a process."""
  task = _made(described)
  if step_seconds:
    task.step_seconds.update(step_seconds)
  return task


@functools.lru_cache(maxsize=1)
def _made(described: bytes) -> Task:
  about = pickle.loads(described)
  if os.path.isdir(about['cwd']):
    os.chdir(about['cwd'])  # what a relative path of the config is relative to
  for name, value in about['jax'].items():
    jax.config.update(name, value)
  if 'functions' in about:
    return FunctionTask(*about['functions'], **about['options'])
  if 'task' in about:
    return about['task']
  task = LanguageModel(about['config'], **about['options'])
  _check_same(task, about)
  return task


def _check_same(task: LanguageModel, about: Mapping[str, Any]) -> None:
  """Refuses a node on which the same description means another task."""
  for path, (then, now) in config_lib.differences(
    config_lib.from_json(about['base']), task.base
  ).items():
    raise ConfigError(
      f'{path}: got {now!r} on {socket.gethostname()}, expected {then!r} as on the driver: the same '
      'version of lmhp, and the same data'
    )
  if task.dataset(task.base).sha256 != about['data_sha256']:
    raise ConfigError(
      f'data.path: another text on {socket.gethostname()} than on the driver'
    )


@contextlib.contextmanager
def _interrupts() -> Iterator[list[int]]:
  """Notes the interrupt that Ray cancels a task with; filled once it came."""
  came: list[int] = []
  before = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
  try:
    yield came
  finally:
    signal.signal(signal.SIGINT, before)
