"""The functions that Ray calls on its workers: `run_pack`, `choose_method` and `measure`.

A pack is a group of trials that one compiled program trains together. The driver is the
process that runs the study. A worker is a process of a Ray cluster that runs packs for the
driver.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import dataclasses
import functools
import math
import os
import pickle
import signal
import socket
import types

import jax

from lmhp import experiment
from lmhp.errors import ConfigError
from lmhp.files import as_path
from lmhp.registry import importable_plugin_modules, load_plugin_modules
from lmhp.sweeping.execution import autotuning
from lmhp.sweeping.execution.autotuning import PackMethod
from lmhp.sweeping.execution.pack_states import PackStateStore
from lmhp.sweeping.execution.pack_widths import devices_for
from lmhp.sweeping.execution.packs import (
  SPEC,
  JobTable,
  Pack,
  PackResult,
  PackRunOptions,
  directory_of,
)
from lmhp.sweeping.execution.ray_attempts import claim
from lmhp.sweeping.execution.ray_cluster import Actor
from lmhp.sweeping.tasks.task import Job, Overrides, Task, TaskRecipe
from lmhp.training.resumption.jax_settings import NUMERIC_JAX_OPTIONS

JAX_OPTIONS = (
  *NUMERIC_JAX_OPTIONS,
  'jax_compilation_cache_dir',
  'jax_persistent_cache_min_compile_time_secs',
  'jax_persistent_cache_min_entry_size_bytes',
)
"""Options of jax that a worker takes from the driver.

`NUMERIC_JAX_OPTIONS` change results. The others set the cache of compiled programs.
"""


class Superseded(Exception):
  """Another worker has taken over the pack of this attempt."""


def worker_recipe(task: Task, experiment_file: str | None = None) -> TaskRecipe:
  """Returns a recipe, a function with which a worker makes the same task as the driver.

  Args:
    task: Task of the driver.
    experiment_file: Experiment file that the worker runs, or None. It may register new
      optimizers, schedules and so on.
  """
  return functools.partial(
    set_up_worker,
    directory=os.getcwd(),
    jax_options={name: jax.config.values[name] for name in JAX_OPTIONS},
    plugins=importable_plugin_modules(),
    experiment_file=experiment_file,
    recipe=task.recipe(),
  )


def set_up_worker(
  *,
  directory: str,
  jax_options: Mapping[str, object],
  plugins: tuple[str, ...],
  experiment_file: str | None,
  recipe: TaskRecipe,
) -> Task:
  """Makes the driver's task in this process.

  Args:
    directory: Working directory of the driver, for relative paths in the config.
    jax_options: Values of `JAX_OPTIONS`.
    plugins: Modules outside lmhp that have registered optimizers, schedules and so on.
    experiment_file: As in `worker_recipe`.
    recipe: Function that makes the task.

  Raises:
    ConfigError: If a plugin is missing, or the recipe cannot make the same task on this node.
  """
  if os.path.isdir(directory):
    os.chdir(directory)
  for name, value in jax_options.items():
    jax.config.update(name, value)
  # The plugins must be imported before the config of the task is checked. The text is for the
  # error message about a missing plugin.
  load_plugin_modules(plugins, f'the sweep, on {socket.gethostname()},')
  if experiment_file is not None:
    experiment.load(experiment_file)
  return recipe()


@functools.lru_cache(maxsize=1)
def _make_task(pickled_recipe: bytes) -> Task:
  """Makes the driver's task, once in a process."""
  return pickle.loads(pickled_recipe)()


# --- functions that Ray calls ---------------------------------------------------------


def run_pack(
  pickled_recipe: bytes,
  workdir: str,
  pack: Pack,
  overrides: Mapping[int, Overrides],
  progress: Actor,
) -> tuple[PackResult, str]:
  """Trains a pack in the directory of a new attempt.

  Args:
    pickled_recipe: The pickled result of `worker_recipe`.
    workdir: Directory of the study.
    pack: The pack.
    overrides: {number of a trial: its overrides}, for the trials of this pack and of all
      packs that it continues.
    progress: Actor with a method `report(name of the pack, step, metrics)`.

  Returns:
    The result, and the name of the attempt's directory.

  Raises:
    ConfigError: If this node has no access to the directory of the study.
    Stopped: If Ray interrupts the worker. The states are saved then.
    Superseded: If another worker has taken over the pack.
  """
  path = as_path(workdir)
  if not (directory_of(path, pack.name) / SPEC).exists():
    raise ConfigError(
      f'workdir: got {str(path)!r}, but {socket.gethostname()} finds no {SPEC} of '
      f'{pack.name} in it, expected a directory that all nodes of the cluster share, or '
      'gs://'
    )
  jobs = JobTable(_make_task(pickled_recipe), overrides.__getitem__)
  attempt = claim(path, pack.name)

  with _noted_interrupts() as interrupts:

    def should_stop() -> bool:
      # Another worker has taken over this attempt by renaming its directory.
      if not attempt.exists():
        raise Superseded(pack.name)
      return bool(interrupts)

    devices = devices_for(pack.method)
    options = PackRunOptions(
      should_stop=should_stop,
      show=functools.partial(progress.report.remote, pack.name),
      # Each device has the same number of members, so the number of devices divides the width.
      devices=devices[: math.gcd(pack.width, len(devices))],
      # Another worker may start from the final states.
      worth_saving_seconds=0.0,
    )
    result = PackStateStore(jobs, path).run_of(pack, attempt, options).run()
  return dataclasses.replace(result, states=None), attempt.name


def choose_method(
  pickled_recipe: bytes,
  jobs: Sequence[Job],
  data_per_trial: bool,
  n_steps: float,
  method: str,
  max_pack_width: int,
) -> PackMethod:
  """Measures the methods of a structure on this node (see `autotuning.choose_method`)."""
  task = _make_task(pickled_recipe)
  return autotuning.choose_method(
    task, jobs, data_per_trial, n_steps, method, max_pack_width
  )


def measure(pickled_recipe: bytes, metric: str, job: Job) -> float:
  """Measures on this node a metric that is measured once for each structure."""
  return _make_task(pickled_recipe).measure(metric, job)


@contextlib.contextmanager
def _noted_interrupts() -> Iterator[list[int]]:
  """Collects the interrupt signals by which Ray cancels a function."""
  interrupts: list[int] = []

  def note(number: int, frame: types.FrameType | None) -> None:
    interrupts.append(number)

  handler = signal.signal(signal.SIGINT, note)
  try:
    yield interrupts
  finally:
    signal.signal(signal.SIGINT, handler)
