"""The verbs, each a few lines over the rooms."""

from __future__ import annotations

import dataclasses
import functools
import os
import tempfile
import time
from typing import TYPE_CHECKING, Any, Mapping

from etils import epath
import jax
import numpy as np

from lmhp import config as config_lib
from lmhp import experiment
from lmhp.counting.description import describe
from lmhp.data import dataset as datasets
from lmhp.data.config import DataConfig
from lmhp.data.stream import TrainStream
from lmhp.errors import ConfigError
from lmhp.files import as_path
from lmhp.generation import sampling
from lmhp.hub.config_export import export_config
from lmhp.hub.config_json import read_config
from lmhp.hub.experiment_file import experiment_text
from lmhp.hub.pretrained import load_pretrained, save_pretrained
from lmhp.model.config import ModelConfig
from lmhp.model.presets import PRESETS, preset
from lmhp.training.checkpoint import Checkpoints
from lmhp.training.compile_cache import compile_cache_directory, use_compile_cache
from lmhp.training.config import RunConfig
from lmhp.training.manifest import (
  RunManifest,
  check_is_free,
  collect_provenance,
  not_a_manifest,
  read_manifest,
)
from lmhp.training.precision import fastest_dtype
from lmhp.training.programs import Programs, pretrained_config
from lmhp.training.run import Run, RunResult

if (
  TYPE_CHECKING
):  # sweeping brings Optuna and pyarrow, which counting and training do without
  from lmhp.analysis.report.page import Page
  from lmhp.sweeping.config import SweepConfig
  from lmhp.sweeping.result import StudyResult

# --- count ----------------------------------------------------------------------------------------------------------


def count(target: Any, **options) -> dict[str, Any]:
  """Counts a model before it exists: parameters by kind, FLOPs, memory, time and cost.

  Args:
    target: a preset's name, an experiment file, a Hugging Face `config.json` or its directory, a `ModelConfig`, or a
      config.
    **options: `seq_len`, `batch_size`, `device`, `utilization`, `tokens`, as in `lmhp.counting.description.describe`.

  Returns:
    A dict, as `lmhp count --json` prints it.
  """
  return describe(*model_of(target), **options)


def model_of(target: Any) -> tuple[str, ModelConfig]:
  """The name and the `ModelConfig` that a target of `count` means."""
  if isinstance(target, ModelConfig):
    return 'model', target
  if not isinstance(target, (str, os.PathLike)):
    return 'config', _with_vocabulary(
      config_lib.resolve(config_lib.to_config_dict(target))
    )
  name = os.fspath(target)
  if name.lower() in PRESETS:
    return name.lower(), preset(name)
  if name.partition(':')[0].endswith('.py'):
    return name, _with_vocabulary(config_lib.resolve(experiment.load(name)[0]))
  if name.endswith('.json') or epath.Path(name).is_dir():
    return name, read_config(name)
  return name, preset(name)


def _with_vocabulary(cfg: RunConfig) -> ModelConfig:
  if cfg.model.vocab_size is not None:
    return cfg.model
  return dataclasses.replace(cfg.model, vocab_size=datasets.load(cfg.data).vocab_size)


# --- train ----------------------------------------------------------------------------------------------------------


def train(
  config: Any,
  *,
  workdir: str | os.PathLike | None = None,
  overrides: Mapping[str, Any] | None = None,
  display: str = 'auto',
) -> RunResult:
  """Trains one model, or goes on where an earlier call with the same workdir was stopped.

  Args:
    config: a ConfigDict (see `lmhp.default_config`), the path of an experiment file, or a `RunConfig`.
    workdir: the run's directory; None makes a temporary one.
    overrides: {dotted path: value}, set before the config is resolved.
    display: 'auto', 'terminal', 'plain', 'notebook' or 'none'.

  Returns:
    The parameters, the result and the history.

  Raises:
    ConfigError: one line that names what is wrong, before anything is trained or written.
  """
  use_compile_cache()
  is_file = isinstance(config, (str, os.PathLike))
  config = experiment.load(config)[0] if is_file else config_lib.to_config_dict(config)
  cfg = config_lib.resolve(config_lib.override(config, overrides or {}))
  stored = None if workdir is None else _stored_run(workdir)
  if stored is None and workdir is not None:
    check_is_free(workdir)
  dataset = datasets.load(cfg.data)
  cfg = _complete(cfg, dataset, stored)
  init_from = cfg.train.init_from
  manifest = RunManifest(
    config=config_lib.to_json(cfg),
    overrides=dict(overrides or {}),
    data_sha256=dataset.sha256,
    provenance=collect_provenance(os.curdir),
    pretrained_config=None if init_from is None else pretrained_config(init_from),
  )
  if workdir is None:
    workdir = tempfile.mkdtemp(prefix='lmhp-')
  elif stored is not None:
    _check_same(workdir, stored, cfg, dataset)
  return Run(cfg, dataset, workdir, display, manifest).run()


@dataclasses.dataclass(frozen=True)
class _StoredRun:
  """The manifest of a run, and the config in it."""

  manifest: RunManifest
  cfg: RunConfig


def _stored_run(workdir: str | os.PathLike) -> _StoredRun | None:
  """Returns the run in a directory, or None if there is none.

  Raises:
    ConfigError: If its `config.json` is damaged, or is not the manifest of a run.
  """
  manifest = read_manifest(workdir)
  if manifest is None:
    return None
  try:
    return _StoredRun(manifest, config_lib.from_json(manifest.config))
  except ConfigError as error:
    raise not_a_manifest(workdir, str(error)) from None


def _check_same(
  workdir: str | os.PathLike,
  stored: _StoredRun,
  cfg: RunConfig,
  dataset: datasets.Dataset,
) -> None:
  """Refuses to go on with another config, or with the same files holding another text."""
  for path, (then, now) in config_lib.differences(stored.cfg, cfg).items():
    raise ConfigError(
      f'{path}: got {now!r}, but the run in {workdir} has {then!r}; use its config, or another workdir'
    )
  if stored.manifest.data_sha256 != dataset.sha256:
    raise ConfigError(
      f'data.path: {", ".join(cfg.data.path)} changed since the run in {workdir} began; use another '
      'workdir'
    )


def _complete(
  cfg: RunConfig, dataset: datasets.Dataset, stored: _StoredRun | None
) -> RunConfig:
  """The config with its vocabulary, steps and precision; a stored run keeps its precision on another machine."""
  dtype = stored.cfg.model.dtype if stored else fastest_dtype()
  tokens = sum(len(tokens) for tokens in dataset.train)
  return config_lib.complete(
    cfg, vocab_size=dataset.vocab_size, tokens_per_epoch=tokens, dtype=dtype
  )


# --- sweep ----------------------------------------------------------------------------------------------------------


def sweep(
  config: Any,
  sweep: SweepConfig | None = None,
  *,
  workdir: str | os.PathLike | None = None,
  overrides: Mapping[str, Any] | None = None,
  engine: str = 'local',
  storage: str | None = None,
  ray_address: str | None = None,
  display: str = 'auto',
  report: bool = True,
) -> StudyResult:
  """Searches hyperparameters, many trials in one compiled program; or goes on where an earlier call was stopped.

  Args:
    config: the base config: a ConfigDict, or the path of an experiment file; or a `FunctionTask`, for a model of one's
      own.
    sweep: what is varied and how it is searched; None asks the experiment file's `get_sweep()`.
    workdir: the study's directory; None makes a temporary one.
    overrides: {dotted path: value} of the base config, and of the sweep under `sweep.`.
    engine: 'local', or 'ray' (extra `ray`): each pack a task on a Ray cluster.
    storage: an Optuna storage as a URL, as `postgresql://...`; None is a journal in the workdir.
    ray_address: Address of the Ray cluster. None finds one here, or starts one.
    display: 'auto', 'terminal', 'plain', 'notebook' or 'none'.
    report: whether `report.html` is written in the workdir, at rungs and at the end, as `lmhp.report` makes it.

  Returns:
    The trials, the best point and what the confirmation says of it.

  Raises:
    ConfigError: one line that names what is wrong, before anything is trained.
  """
  from lmhp.sweeping.request import build_request
  from lmhp.sweeping.study_run import StudyOptions, StudyRun

  use_compile_cache()
  request = build_request(config, sweep, overrides, workdir, storage)
  workdir = tempfile.mkdtemp(prefix='lmhp-') if workdir is None else workdir
  write_report = functools.partial(_write_report, workdir, storage) if report else None
  options = StudyOptions(
    engine=engine,
    storage=storage,
    display=display,
    ray_address=ray_address,
    write_report=write_report,
  )
  return StudyRun(request, workdir, options).run()


def _write_report(workdir: Any, storage: str | None) -> None:
  report(workdir, storage=storage).save(as_path(workdir) / 'report.html')


def plan_sweep(
  config: Any,
  sweep: SweepConfig | None = None,
  *,
  overrides: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
  """What a sweep would be: trials, packs, compiles, memory, FLOPs and hours, before they are spent.

  Args:
    config: as for `sweep`.
    sweep: as for `sweep`.
    overrides: as for `sweep`.

  Returns:
    A dict, as `lmhp sweep --dry_run` shows it.
  """
  from lmhp.sweeping import dry_run
  from lmhp.sweeping.request import build_request

  use_compile_cache()
  request = build_request(config, sweep, overrides)
  return dry_run.describe(request.task, request.sweep)


# --- report ---------------------------------------------------------------------------------------------------------


def report(*sources: Any, **options: Any) -> Page:
  """What runs say: one page, the answer first.

  Args:
    *sources: directories of sweeps and runs, Optuna storages, files of runs; tables (`lmhp.analysis.runs.table.Runs`); or
      what `lmhp.sweep` and `lmhp.train` returned. Several are compared.
    **options: `objective`, `maximize`, `parameters`, `study` and `storage`, as in `lmhp.analysis.runs.sources.read`.

  Returns:
    A page: `answer`, three sentences; `text(format)`; `save(path)`. A notebook shows it.

  Raises:
    ConfigError: where there is nothing to report of.
  """
  from lmhp.analysis.report.page import page_of

  return page_of([getattr(source, 'workdir', source) for source in sources], **options)


# --- a finished run -------------------------------------------------------------------------------------------------


def load_run(workdir: str | os.PathLike) -> tuple[Any, Any, Any]:
  """The newest saved state of a run: `(model, params, tokenizer)`.

  Raises:
    ConfigError: where there is no run, or nothing was saved.
  """
  workdir = as_path(workdir)
  stored = _stored_run(workdir)
  if stored is None:
    raise ConfigError(
      f'{workdir}: no run there, expected a directory with a config.json'
    )
  cfg = stored.cfg
  dataset = datasets.load(cfg.data)
  programs = Programs(
    cfg, TrainStream(dataset, cfg.train.seq_len, cfg.data), dataset.sha256
  )
  with Checkpoints(workdir / 'checkpoints', cfg.checkpoint) as checkpoints:
    latest = checkpoints.latest()
    if latest is None:
      raise ConfigError(f'{workdir}: the run has saved no state yet')
    state, _ = checkpoints.restore(latest, programs.abstract_state(programs.hypers))
  return programs.model, state.params, dataset.tokenizer


def generate(workdir: str | os.PathLike, prompt: str, **options) -> str:
  """Continues a text with a trained run, or with a pretrained model.

  Args:
    workdir: the run's directory, or a Hugging Face directory with config.json, safetensors and tokenizer.json.
    prompt: the text to continue.
    **options: `n_tokens`, `temperature`, `top_k`, `seed`, as in `lmhp.generation.sampling.generate`.
  """
  model, params, tokenizer = (
    load_pretrained(workdir) if _is_pretrained(workdir) else load_run(workdir)
  )
  if tokenizer is None:
    raise ConfigError(
      f'{workdir}: no tokenizer.json, without which no text can be read'
    )
  text_model = sampling.TextModel(model, params, tokenizer)
  return sampling.generate(text_model, prompt, **options)


def import_pretrained(
  path: str | os.PathLike, output: str | os.PathLike | None = None
) -> str:
  """Reads a Hugging Face directory to its last number, and writes an experiment file that fine-tunes it.

  Args:
    path: of a directory with config.json and safetensors.
    output: of the experiment file; None is the directory's name with .py. It must not exist.

  Returns:
    The experiment file's path.

  Raises:
    ConfigError: where the directory cannot be read exactly, or the file exists.
  """
  path = os.path.abspath(os.fspath(path))
  name = os.path.basename(path)
  output = f'{name}.py' if output is None else os.fspath(output)
  if os.path.lexists(output):
    raise ConfigError(
      f'{output}: exists, expected the name of a new file (--output=FILE)'
    )
  model, _, tokenizer = load_pretrained(path)
  with open(output, 'x') as file:
    file.write(experiment_text(name, path, model.cfg, tokenizer is not None))
  return output


def export(workdir: str | os.PathLike, path: str | os.PathLike) -> None:
  """Writes a run's newest parameters as a Hugging Face directory that transformers loads.

  Args:
    workdir: the run's directory.
    path: of the directory to write, which must not exist or be empty.

  Raises:
    ConfigError: where no family of transformers expresses the model, or the directory is taken.
  """
  _, params, tokenizer = load_run(workdir)
  stored = _stored_run(workdir)
  assert stored is not None, 'load_run has read it'
  config = export_config(stored.cfg.model, stored.manifest.pretrained_config)
  save_pretrained(path, config, params, tokenizer)


def _is_pretrained(directory: str | os.PathLike) -> bool:
  """Whether a directory holds safetensors beside a config.json, and no run's checkpoints."""
  directory = as_path(directory)
  return (
    any(True for _ in directory.glob('*.safetensors*'))
    and not (directory / 'checkpoints').exists()
  )


# --- the installation ---------------------------------------------------------------

SELF_TEST_STEPS = 40


def doctor() -> dict[str, Any]:
  """Describes the installation, and trains a small model twice as a self-test.

  Returns:
    `versions` by package; `device`, a `lmhp.training.manifest.DeviceDescription`; `dtype`, the
    precision of matrix products that 'auto' stands for; `caches`, the `path` (None if off)
    and `bytes` of each; and `self_test`: `passed`, `seconds`, `steps`, `first_loss_nats`,
    `last_loss_nats`, and `repeatable`, True if both runs gave the same bits.
  """
  use_compile_cache()
  provenance = collect_provenance(os.curdir)
  return {
    'versions': dict(provenance.versions),
    'device': dataclasses.asdict(provenance.device),
    'dtype': fastest_dtype(),
    'caches': {
      'compiled programs': _describe_cache(compile_cache_directory()),
      'data': _describe_cache(os.fspath(datasets.cache_dir(DataConfig()))),
    },
    'self_test': _self_test(),
  }


def _describe_cache(path: str | None) -> dict[str, Any]:
  n_bytes = 0
  if path is not None:
    for directory, _, names in os.walk(path):
      n_bytes += sum(os.path.getsize(os.path.join(directory, name)) for name in names)
  return {'path': path, 'bytes': n_bytes}


def _self_test() -> dict[str, Any]:
  """Trains the same small model twice, and compares losses and parameters."""
  overrides = {
    'model.n_layers': 2,
    'model.d_model': 64,
    'model.max_seq_len': 64,
    'train.steps': SELF_TEST_STEPS,
    'evaluate.final_sequences': 32,
    'log.tensorboard': False,
    'log.every_steps': 1,
  }
  config = config_lib.override(config_lib.default_config(), overrides)

  start = time.perf_counter()
  runs = []
  for _ in range(2):
    with tempfile.TemporaryDirectory() as workdir:
      runs.append(train(config, workdir=workdir, display='none'))
  losses = runs[0].history['loss_nats']
  pairs = zip(jax.tree.leaves(runs[0].params), jax.tree.leaves(runs[1].params))
  repeatable = all(np.array_equal(a, b) for a, b in pairs)
  first_loss = float(losses[0])
  last_loss = float(losses[-1])
  return {
    'passed': repeatable and last_loss < first_loss - 0.5,
    'seconds': time.perf_counter() - start,
    'steps': SELF_TEST_STEPS,
    'first_loss_nats': first_loss,
    'last_loss_nats': last_loss,
    'repeatable': repeatable,
  }
