"""The commands of lmhp as Python functions: count, train, sweep, report, generate, export."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import functools
import logging
import os
import tempfile
from typing import TYPE_CHECKING, Any

from lmhp import config as config_lib, experiment
from lmhp.config_keys import check_set_keys_are_read
from lmhp.counting.precision import fastest_dtype, missing_bfloat16
from lmhp.data import dataset as datasets
from lmhp.data.dataset import Dataset
from lmhp.data.stream import TrainStream
from lmhp.data.tokenizer import Tokenizer
from lmhp.errors import ConfigError
from lmhp.experiment import BaseConfig, describe_target
from lmhp.files import as_path
from lmhp.generation import sampling
from lmhp.generation.sampling import TextModel
from lmhp.hub.config_export import export_config
from lmhp.hub.config_json import model_config
from lmhp.hub.conversion import with_zero_biases
from lmhp.hub.generation_ids import read_generation_ids
from lmhp.hub.pretrained import is_pretrained, load_pretrained, save_pretrained
from lmhp.model.config import ModelConfig
from lmhp.model.transformer import Model, build
from lmhp.training.checkpoint import Checkpoints
from lmhp.training.compile_cache import use_compile_cache
from lmhp.training.config import RunConfig
from lmhp.training.manifest import (
  RunManifest,
  check_is_free,
  collect_provenance,
  not_a_manifest,
  read_manifest,
)
from lmhp.training.programs import Programs, pretrained_config
from lmhp.training.progress.heartbeat import announced
from lmhp.training.resumption.comparison import StoredRun, check_same
from lmhp.training.resumption.jax_settings import (
  check_can_train,
  check_device,
  numeric_jax_options,
)
from lmhp.training.run import Run, RunResult
from lmhp.typing import PathLike, PyTree

if TYPE_CHECKING:
  from lmhp.analysis.report.page import Page
  from lmhp.analysis.runs.table import Runs
  from lmhp.sweeping.config import SweepConfig
  from lmhp.sweeping.dry_run import SweepEstimate
  from lmhp.sweeping.result import StudyResult
  from lmhp.sweeping.tasks.task import Task


def count(target: BaseConfig | ModelConfig, **options: Any) -> dict[str, Any]:
  """Counts parameters, FLOPs, memory, training time and cost of a model from its config.

  Args:
    target: Name or Hugging Face id of a preset, path of an experiment file, path of a Hugging
      Face `config.json` or of its directory, a `ModelConfig`, or a config as in `train`.
    **options: `seq_len`, `batch_size`, `compiled`, `device`, `utilization` and `tokens`, as in
      `lmhp.experiment.describe_target`.

  Returns:
    The counts as a dict. `lmhp count --json` prints such a dict for each model.

  Raises:
    ConfigError: If the target is unknown, or cannot be read.
  """
  return describe_target(target, **options).to_json()


def train(
  config: BaseConfig,
  *,
  workdir: PathLike | None = None,
  overrides: Mapping[str, object] | None = None,
  display: str = 'auto',
) -> RunResult:
  """Trains one model, or continues an earlier call with the same workdir.

  Args:
    config: A ConfigDict (see `lmhp.default_config`), the path of an experiment file, or a
      `RunConfig`.
    workdir: Directory of the run. None makes a temporary one.
    overrides: {dotted path: value} to change in the config, such as {'train.steps': 100}.
    display: Progress display: 'terminal', 'plain' (lines of text), 'notebook' or 'none'. 'auto'
      is the one that fits the output.

  Returns:
    The last parameters, the content of `result.json`, the logged metrics and the network.

  Raises:
    ConfigError: If a value is wrong, before anything is trained or written. The message is
      one line that begins with the dotted path of the value.
  """
  use_compile_cache()
  check_can_train()
  # Read and check the config before anything slow.
  config = experiment.base_config(config)
  cfg = config_lib.resolve(config_lib.override(config, overrides or {}))
  check_set_keys_are_read(cfg)

  # The workdir has a run to continue, or it must be free for a new run.
  stored = None if workdir is None else _stored_run(workdir)
  if workdir is not None and stored is None:
    check_is_free(workdir)

  # The data decide the vocabulary and the length of an epoch.
  with announced('reading and tokenizing the data', display):
    dataset = datasets.load(cfg.data)
  cfg = _complete(cfg, dataset, stored)
  line = missing_bfloat16(cfg.model.dtype)
  if line is not None:
    logging.getLogger('lmhp').warning(line)
  config_lib.check_multipliers_are_read(cfg)
  jax_options = numeric_jax_options()
  if workdir is None:
    workdir = tempfile.mkdtemp(prefix='lmhp-')
  elif stored is not None:
    check_same(workdir, stored, cfg, dataset, jax_options)

  init_from = cfg.train.init_from
  manifest = RunManifest(
    config=config_lib.to_json(cfg),
    overrides=dict(overrides or {}),
    data_sha256=dataset.sha256,
    jax_options=jax_options,
    provenance=collect_provenance(os.curdir),
    pretrained_config=None if init_from is None else pretrained_config(init_from),
  )
  return Run(cfg, dataset, workdir, display, manifest).run()


def _stored_run(workdir: PathLike) -> StoredRun | None:
  """Returns the run in a directory, or None if there is none.

  Raises:
    ConfigError: If its `config.json` is damaged, or is not the manifest of a run.
  """
  manifest = read_manifest(workdir)
  if manifest is None:
    return None
  try:
    return StoredRun(manifest, config_lib.from_json(manifest.config))
  except ConfigError as error:
    raise not_a_manifest(workdir, str(error)) from None


def _complete(cfg: RunConfig, dataset: Dataset, stored: StoredRun | None) -> RunConfig:
  """Returns the config with the values that depend on the data and on the machine.

  These are the vocabulary size, the number of steps and the precision. A stored run keeps
  its precision if it continues on another machine.
  """
  dtype = stored.cfg.model.dtype if stored else fastest_dtype()
  n_tokens = sum(len(tokens) for tokens in dataset.train)
  return config_lib.complete(
    cfg, vocab_size=dataset.vocab_size, tokens_per_epoch=n_tokens, dtype=dtype
  )


def sweep(
  config: BaseConfig | Task,
  sweep: SweepConfig | None = None,
  *,
  workdir: PathLike | None = None,
  overrides: Mapping[str, object] | None = None,
  engine: str = 'local',
  storage: str | None = None,
  ray_address: str | None = None,
  display: str = 'auto',
  report: bool = True,
) -> StudyResult:
  """Searches hyperparameters with many trials in one compiled program.

  An earlier call with the same workdir is continued.

  Args:
    config: The base config: a ConfigDict, or the path of an experiment file. Or a
      `FunctionTask`, which tunes user functions instead of a model of lmhp.
    sweep: Search space and search method. None uses `get_sweep()` of the experiment file.
    workdir: Directory of the study. None makes a temporary one.
    overrides: {dotted path: value} to change in the base config, or in the sweep if the path
      begins with `sweep.`.
    engine: 'local', or 'ray' to run on a Ray cluster (needs `pip install "lmhp[ray]"`). Each
      pack (a group of trials that one program trains together) is one Ray task.
    storage: URL of an Optuna storage, such as `postgresql://...`. None is the file
      `study.journal` in the workdir.
    ray_address: Address of the Ray cluster. None finds one on this machine, or starts one.
    display: As in `train`.
    report: If True, the page of `lmhp.report` is written to `report.html` in the workdir at the
      end and after each rung (a step at which bad trials are stopped).

  Returns:
    The trials, the best point, and its results on new seeds (the confirmation).

  Raises:
    ConfigError: As in `train`.
  """
  from lmhp.sweeping.request import build_request
  from lmhp.sweeping.study_run import StudyOptions, StudyRun

  use_compile_cache()
  check_can_train()
  with announced('reading and tokenizing the data', display):
    request = build_request(config, sweep, overrides, workdir, storage)
  if workdir is None:
    workdir = tempfile.mkdtemp(prefix='lmhp-')
  options = StudyOptions(
    engine=engine,
    storage=storage,
    display=display,
    ray_address=ray_address,
    write_report=functools.partial(_write_report, workdir, storage) if report else None,
  )
  return StudyRun(request, workdir, options).run()


def _write_report(workdir: PathLike, storage: str | None) -> None:
  report(workdir, storage=storage).save(as_path(workdir) / 'report.html')


def plan_sweep(
  config: BaseConfig | Task,
  sweep: SweepConfig | None = None,
  *,
  overrides: Mapping[str, object] | None = None,
) -> SweepEstimate:
  """Estimates the cost of a sweep before it is run: trials, memory, FLOPs and hours.

  The arguments and errors are those of `sweep`.

  Returns:
    The estimate that `lmhp sweep --dry_run` prints.
  """
  from lmhp.sweeping.dry_run import estimate_sweep
  from lmhp.sweeping.request import build_request

  use_compile_cache()
  check_can_train()
  request = build_request(config, sweep, overrides)
  return estimate_sweep(request.task, request.sweep)


def report(*sources: PathLike | Runs | RunResult | StudyResult, **options: Any) -> Page:
  """Reports the results of sweeps or runs on one page, which begins with the main results.

  Args:
    *sources: Directories of sweeps and runs, Optuna storages, files with one row per run,
      `lmhp.analysis.runs.table.Runs`, or results of `lmhp.sweep` and `lmhp.train`. Two or
      more sources are compared.
    **options: `objective`, `maximize`, `parameters`, `study` and `storage`, as in
      `lmhp.analysis.runs.sources.read`.

  Returns:
    A page. `answer` has the main results in at most three sentences, `text(format)` returns
    the page as text, and `save(path)` writes it. A notebook displays the page.

  Raises:
    ConfigError: If there is nothing to report on.
  """
  from lmhp.analysis.report.page import page_of
  from lmhp.sweeping.result import StudyResult

  results = (RunResult, StudyResult)
  tables_and_paths = [
    source.workdir if isinstance(source, results) else source for source in sources
  ]
  return page_of(tables_and_paths, **options)


def load_run(workdir: PathLike) -> tuple[Model, PyTree, Tokenizer]:
  """Loads the model of the newest checkpoint of a run.

  Args:
    workdir: Directory of the run.

  Returns:
    The network, its parameters and its tokenizer.

  Raises:
    ConfigError: If the directory has no run, or the run has no checkpoint yet.
  """
  text_model = _load_text_model(workdir)
  return text_model.model, text_model.params, text_model.tokenizer


def _load_text_model(workdir: PathLike) -> TextModel:
  """Returns a run's newest model, tokenizer and traced hyperparameters (such as dropout rates)."""
  check_device()
  workdir = as_path(workdir)
  stored = _stored_run(workdir)
  if stored is None:
    raise ConfigError(
      f'{workdir}: no run there, expected a directory with a config.json'
    )

  cfg = stored.cfg
  dataset = datasets.load(cfg.data)
  # `restore` needs the shapes and dtypes of the run's train state.
  stream = TrainStream(dataset, cfg.train.seq_len, cfg.data)
  programs = Programs(cfg, stream, dataset.sha256)
  with Checkpoints(workdir / 'checkpoints', cfg.checkpoint) as checkpoints:
    latest = checkpoints.latest()
    if latest is None:
      raise ConfigError(f'{workdir}: the run has saved no state yet')
    state, _ = checkpoints.restore(latest, programs.abstract_state(programs.hypers))
  hypers = programs.hypers['model']
  return TextModel(programs.model, state.params, dataset.tokenizer, hypers)


def generate(workdir: PathLike, prompt: str, **options: Any) -> str:
  """Continues a text with a trained run, or with a pretrained model.

  Args:
    workdir: Directory of the run, or a Hugging Face directory with `config.json`,
      safetensors files and `tokenizer.json`.
    prompt: Text to continue.
    **options: `n_tokens`, `temperature`, `top_k` and `seed`, as in
      `lmhp.generation.sampling.generate`.

  Returns:
    The prompt and its continuation. For an encoder-decoder, only the decoder's output.

  Raises:
    ConfigError: If there is no model, or no tokenizer.
  """
  check_device()
  if not is_pretrained(workdir):
    return sampling.generate(_load_text_model(workdir), prompt, **options)
  model, params, tokenizer = load_pretrained(workdir)
  if tokenizer is None:
    raise ConfigError(f'{workdir}: no tokenizer.json, expected one for the prompt')
  ids = read_generation_ids(workdir)
  text_model = TextModel(
    model,
    params,
    tokenizer,
    stop_ids=ids.stop_ids,
    start_id=ids.start_id,
    is_pretrained=True,
  )
  return sampling.generate(text_model, prompt, **options)


def export(workdir: PathLike, path: PathLike) -> None:
  """Writes a run's newest parameters as a directory that Hugging Face transformers loads.

  Args:
    workdir: Directory of the run.
    path: Path of the directory to write, which must be empty or not exist.

  Raises:
    ConfigError: If no model type of Hugging Face transformers can represent the model, or
      `path` exists and is not an empty directory.
  """
  _, params, tokenizer = load_run(workdir)
  stored = _stored_run(workdir)
  assert stored is not None, 'load_run has read it'
  config = export_config(stored.cfg.model, stored.manifest.pretrained_config)
  if config != stored.manifest.pretrained_config:
    # The defaults of the model type are the ids of another tokenizer.
    end = tokenizer.end_of_text
    config = {'bos_token_id': end, 'eos_token_id': end, **config}
  # The model type may have biases that the model lacks.
  model = build(dataclasses.replace(model_config(config), dtype='float32'))
  save_pretrained(path, config, with_zero_biases(params, model.shapes), tokenizer)
