"""The task and the sweep that a user requests, with overrides applied and checked."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import json
import logging
import os

from lmhp import config as config_lib, experiment
from lmhp.config import ConfigDict
from lmhp.config_keys import parse
from lmhp.counting.precision import missing_bfloat16
from lmhp.errors import ConfigError
from lmhp.experiment import BaseConfig
from lmhp.registry import importable_plugin_modules, load_plugin_modules
from lmhp.sections import types_of
from lmhp.sweeping import space as spaces
from lmhp.sweeping.config import BUDGETS, SweepConfig, sweep_keys, unknown_key
from lmhp.sweeping.key_effects import set_keys_of_train
from lmhp.sweeping.language_model_checks import checked_language_model
from lmhp.sweeping.search.method import changeable_keys
from lmhp.sweeping.store.manifest import Origin, StudyManifest, extended_manifest
from lmhp.sweeping.store.study import read_manifest
from lmhp.sweeping.tasks.task import Task
from lmhp.training.config import RunConfig
from lmhp.training.manifest import collect_provenance
from lmhp.typing import PathLike

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class SweepRequest:
  """A checked task and sweep.

  Attributes:
    task: The task.
    sweep: Config of the sweep.
    manifest: Manifest of a new study with this task and sweep. A study that exists is compared
      with it.
    experiment_file: Path of the experiment file that returned the config, or None.
  """

  task: Task
  sweep: SweepConfig
  manifest: StudyManifest
  experiment_file: str | None = None


def build_request(
  config: BaseConfig | Task,
  sweep: SweepConfig | None,
  overrides: Mapping[str, object] | None,
  workdir: PathLike | None = None,
  storage: str | None = None,
) -> SweepRequest:
  """Builds the request of `lmhp.sweep`, and checks it.

  Args:
    config: Base config, path of an experiment file, or a `Task`, such as `FunctionTask`, which
      trains something other than a language model.
    sweep: Config of the sweep. None uses `get_sweep()` of the experiment file.
    overrides: Values by dotted path. Those of the sweep begin with "sweep.".
    workdir: Directory of a study that may exist, or None. If the study exists, its plugins are
      imported. The value 'auto' of `model.dtype` then stands for the precision with which the
      study began, even if this machine would choose another precision.
    storage: URL of the study's database, or None for its journal.

  Raises:
    ConfigError: If a value is wrong. The message is one line that begins with the path of the
      value.
  """
  # Overrides of the sweep and of the base config are applied separately.
  config_overrides = dict(overrides or {})
  sweep_overrides = {}
  for path in [path for path in config_overrides if path.startswith('sweep.')]:
    sweep_overrides[path.removeprefix('sweep.')] = config_overrides.pop(path)

  # The plugins of a study must be registered before its config is checked.
  stored = None if workdir is None else read_manifest(workdir, storage)
  if stored is not None:
    load_plugin_modules(stored.plugins, f'the study in {workdir}')

  experiment_file = None
  # An experiment file gives the config, and the sweep unless one is passed.
  requested_sweep: object = sweep
  if isinstance(config, (str, os.PathLike)):
    experiment_file = os.fspath(config)
    config, module = experiment.load(experiment_file)
    if sweep is None:
      requested_sweep = experiment.sweep_of(module)
  if not isinstance(requested_sweep, SweepConfig):
    raise ConfigError(
      f'sweep: got {type(requested_sweep).__name__}, expected an lmhp.SweepConfig'
    )
  checked_sweep = override(requested_sweep, sweep_overrides)

  task: Task
  # A config is trained by lmhp's trainer. Any other object is itself a task. A number, a list
  # and other built-in objects are neither, and `to_config_dict` raises an error for them.
  is_builtin = type(config).__module__ == 'builtins'
  if is_builtin or isinstance(config, (ConfigDict, RunConfig, Mapping)):
    base = config_lib.override(config_lib.to_config_dict(config), config_overrides)
    # A study that exists keeps its precision.
    dtype = stored.task.base_values.get('model.dtype') if stored else None
    task = checked_language_model(base, checked_sweep, str(dtype) if dtype else None)
    line = missing_bfloat16(str(task.base_values()['model.dtype']))
    if line is not None:
      _log.warning('%s', line)
    for path in set_keys_of_train(config_lib.resolve(base)):
      _log.warning('%s: only lmhp train reads it, a sweep does not', path)
  else:
    task = config
    if config_overrides:
      raise ConfigError(
        f'{min(config_overrides)}: got an override, expected none, because the task has '
        'its own base values'
      )
    task.check(checked_sweep)
  manifest = _manifest(task, checked_sweep)
  if stored is not None:
    # Raises an error if the new trials would not be comparable with those of the study.
    extended_manifest(stored, manifest, workdir, changeable_keys())
  return SweepRequest(task, checked_sweep, manifest, experiment_file)


def _manifest(task: Task, sweep: SweepConfig) -> StudyManifest:
  """Returns the manifest of a new study."""
  provenance = collect_provenance(os.curdir)
  # The keys of the sweep as JSON, without the space.
  keys = [field.name for field in dataclasses.fields(sweep) if field.name != 'space']
  sweep_json = json.dumps({key: getattr(sweep, key) for key in keys})
  return StudyManifest(
    task=task.describe(),
    sweep=json.loads(sweep_json),
    space=spaces.to_json(spaces.as_space(sweep.space)),
    origin=Origin(
      versions=provenance.versions,
      git=None if provenance.git is None else dataclasses.asdict(provenance.git),
      device=dataclasses.asdict(provenance.device),
      command=provenance.command,
    ),
    plugins=importable_plugin_modules(),
  )


def override(sweep: SweepConfig, values: Mapping[str, object]) -> SweepConfig:
  """Returns a sweep with other values.

  If one of the values is a budget (trials, tokens, flops or seconds), it replaces the budget of
  the sweep.

  Args:
    sweep: The sweep.
    values: {key without `sweep.`: value, or text as on the command line}.

  Raises:
    ConfigError: If a key does not exist, or a value is not accepted.
  """
  types = types_of(SweepConfig)
  changes: dict[str, object] = {}
  if any(name in BUDGETS for name in values):
    # At most one budget may be set, so all budgets of the sweep are removed.
    changes.update(dict.fromkeys(BUDGETS))
  for name, value in values.items():
    if f'sweep.{name}' not in sweep_keys():
      raise unknown_key(name)
    changes[name] = parse(value, types[name]) if isinstance(value, str) else value
  return dataclasses.replace(sweep, **changes)
