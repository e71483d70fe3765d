"""Configs and jobs of the trials of a language model.

A job is the complete config of a trial in two parts. The structure is compiled into a program.
The traced numbers, such as the learning rate, are arguments of the program.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import hashlib
import json
from typing import cast

from lmhp import config as config_lib, config_keys
from lmhp.config import ConfigDict
from lmhp.counting.flops import encoder_decoder_flops, flops_per_token
from lmhp.counting.memory import cache_bytes_per_token
from lmhp.counting.parameters import count
from lmhp.data import dataset as datasets
from lmhp.data.config import DataConfig
from lmhp.data.objectives import make_span_corruption
from lmhp.hypers import split
from lmhp.sweeping.store.trial import ModelSummary
from lmhp.sweeping.tasks.task import Job, Overrides
from lmhp.training.config import LENGTHS, RunConfig


class ModelJobs:
  """Completes the configs of trials, and builds their jobs.

  Args:
    config: Base config, not resolved (derived values are not filled in): a ConfigDict, a
      RunConfig or {section: {key: value}}.
    dtype: Value that replaces 'auto' as `model.dtype`.
    present: Dotted paths of the dropout rates that are above 0 in at least one trial.

  Attributes:
    base: The completed base config.
    dtype: Value that replaces 'auto' as `model.dtype`.
    validation_documents: Number of last documents of each source to which the validation split
      is limited. None: no limit.
  """

  def __init__(self, config: object, dtype: str, present: frozenset[str]):
    self.dtype = dtype
    self._config = config_lib.to_config_dict(config)
    self._present = present
    self._datasets: dict[DataConfig, datasets.Dataset] = {}
    self.validation_documents: tuple[int, ...] | None = None
    # Static values are the overrides of a trial that are not traced numbers.
    # {static values of a trial: the first job with these values}.
    self._first_jobs: dict[tuple[object, ...], Job] = {}
    # {static values of a trial: number of steps that matches the budget}.
    self._matched_steps: dict[tuple[object, ...], int] = {}
    self.base = self.complete({})

  # --- configs ------------------------------------------------------------------------

  def override(self, overrides: Overrides) -> ConfigDict:
    """Returns the base config with the values of a trial, not resolved."""
    return config_lib.override(config_lib.to_config_dict(self._config), overrides)

  def complete(self, overrides: Overrides) -> RunConfig:
    """Returns the complete config of a trial.

    Raises:
      ConfigError: If the config with these values is not valid.
    """
    cfg = config_lib.resolve(self.override(overrides))
    dataset = self.dataset(cfg)
    return config_lib.complete(
      cfg,
      vocab_size=dataset.vocab_size,
      tokens_per_epoch=sum(len(tokens) for tokens in dataset.train),
      dtype=self.dtype,
    )

  def dataset(self, cfg: RunConfig) -> datasets.Dataset:
    """Returns the dataset of a config. A dataset that configs share is loaded once."""
    # The key has no traced numbers, such as the seed: they do not change the dataset.
    key, _ = split(cfg.data)
    if key not in self._datasets:
      dataset = datasets.load(cfg.data)
      if self.validation_documents is not None:
        dataset = last_documents(dataset, self.validation_documents)
      self._datasets[key] = dataset
    return self._datasets[key]

  def limit_validation(self, n_documents: tuple[int, ...]) -> None:
    """Limits the validation split of each source to its last documents."""
    self.validation_documents = n_documents
    for key, dataset in self._datasets.items():
      self._datasets[key] = last_documents(dataset, n_documents)

  # --- lengths ------------------------------------------------------------------------

  def with_matched_length(
    self,
    overrides: Overrides,
    budget: str,
    step_seconds: Callable[[RunConfig], float],
  ) -> dict[str, object]:
    """Adds the number of steps with which a trial has the budget of the base config.

    Nothing is added if this is the number of steps of the base config.

    Args:
      overrides: Values of the trial.
      budget: Name of the budget: "steps", "tokens", "flops" or "seconds".
      step_seconds: Returns the seconds of one training step with a config.
    """
    # Traced numbers do not change the cost of a step, so the key has only static values.
    static = tuple(
      (path, repr(value))
      for path, value in overrides.items()
      if not is_traced_key(path)
    )
    # Trials with equal static values have one length, which is computed once.
    if static not in self._matched_steps:
      self._matched_steps[static] = self._steps_of_budget(
        self.complete(overrides), budget, step_seconds
      )
    steps = self._matched_steps[static]
    if steps == self.base.train.steps:
      return dict(overrides)
    # Only one key may set the length, so the others become None.
    other_lengths = dict.fromkeys(f'train.{name}' for name in LENGTHS)
    return {**overrides, **other_lengths, 'train.steps': steps}

  def _steps_of_budget(
    self, cfg: RunConfig, budget: str, step_seconds: Callable[[RunConfig], float]
  ) -> int:
    """Returns the number of steps with which a config has the budget of the base config."""
    base = self.base
    tokens_per_step = cfg.train.batch_size * cfg.train.seq_len
    base_tokens = base.train.steps * base.train.batch_size * base.train.seq_len
    # The total, steps * tokens per step * cost per token, equals that of the base config.
    if budget == 'steps':
      steps = base.train.steps
    elif budget == 'tokens':
      steps = base_tokens / tokens_per_step
    elif budget == 'flops':
      base_flops = base_tokens * self.flops_per_token(base)
      steps = base_flops / (tokens_per_step * self.flops_per_token(cfg))
    else:  # 'seconds'
      steps = base.train.steps * step_seconds(base) / step_seconds(cfg)
    return max(1, round(float(steps)))

  def flops_per_token(self, cfg: RunConfig) -> float:
    """Returns the training FLOPs per token of the training text.

    An encoder-decoder splits each sequence of the text into an encoder and a decoder sequence.
    The FLOPs of both are divided by the tokens of the sequence of the text.
    """
    if not cfg.model.is_encoder_decoder:
      return float(flops_per_token(cfg.model, cfg.train.seq_len, causal=True).train)
    # The objective of an encoder-decoder is always span corruption.
    spans = make_span_corruption(self.dataset(cfg), cfg.train.seq_len, cfg.data)
    forward_flops = encoder_decoder_flops(
      cfg.model, spans.target_len, spans.encoder_len, causal=True
    )
    # The backward pass takes twice the FLOPs of the forward pass.
    return 3.0 * forward_flops / cfg.train.seq_len

  # --- jobs ---------------------------------------------------------------------------

  def job(self, overrides: Overrides) -> Job:
    """Returns the job of a trial with these values.

    Completing a config takes milliseconds, and a study has many trials. If an earlier trial
    had the same static values, its job is copied, and the traced numbers are replaced.

    Raises:
      ConfigError: If the config with these values is not valid.
    """
    # None stands for a value that `complete` fills in, so it is not a traced number.
    traced = {
      path: value
      for path, value in overrides.items()
      if is_traced_key(path) and value is not None
    }
    static = [repr(value) for path, value in overrides.items() if path not in traced]
    key = (tuple(overrides), tuple(static))
    if key not in self._first_jobs:
      self._first_jobs[key] = self._new_job(self.complete(overrides))
      return self._first_jobs[key]
    return self._copy_with(self._first_jobs[key], traced)

  def _copy_with(self, first: Job, traced: Overrides) -> Job:
    """Returns a copy of a job with other traced numbers."""
    first_cfg = config_of(first)
    hypers = dict(first.hypers)
    sections = {}
    # Each section that has new numbers is replaced once.
    for section, values in config_lib.sections_of(traced).items():
      if values:
        sections[section] = dataclasses.replace(getattr(first_cfg, section), **values)
        hypers[section] = split(sections[section], self._present)[1]
    cfg = dataclasses.replace(first_cfg, **sections)
    model = dataclasses.replace(first.model, config_sha256=_config_digest(cfg))
    return dataclasses.replace(first, hypers=hypers, model=model, config=cfg)

  def _new_job(self, cfg: RunConfig) -> Job:
    # Trials with equal static parts share the compiled programs of their structure.
    structure, hypers = split(cfg, self._present)
    static_parts = (
      structure.model,
      structure.optimizer,
      structure.train,
      structure.data,
      cfg.evaluate,
    )
    # The name of a structure is a digest of all values that its programs depend on.
    name = _short_digest(repr(static_parts))

    # Metrics that are known before the trial is trained.
    counts = count(cfg.model)
    tokens_per_step = cfg.train.batch_size * cfg.train.seq_len
    flops_per_step = float(self.flops_per_token(cfg) * tokens_per_step)
    return Job(
      structure=name,
      hypers=hypers,
      steps=cfg.train.steps,
      tokens_per_step=tokens_per_step,
      flops_per_step=flops_per_step,
      known_metrics={
        'parameters': counts.total,
        'non_embedding_parameters': counts.non_embedding,
        'tokens': cfg.train.steps * tokens_per_step,
        'flops': cfg.train.steps * flops_per_step,
        'kv_cache_bytes_per_token': float(
          cache_bytes_per_token(cfg.model, cfg.train.seq_len)
        ),
      },
      model=ModelSummary(
        structure=name,
        config_sha256=_config_digest(cfg),
        n_parameters=counts.total,
        parameters_by_kind=counts.by_kind,
      ),
      config=cfg,
    )


def last_documents(
  dataset: datasets.Dataset, n_documents: tuple[int, ...]
) -> datasets.Dataset:
  """Returns a dataset whose validation streams have only their last documents.

  The token before the first document stays, as the context of the first target. So exactly the
  tokens of the documents are targets.

  Args:
    dataset: The dataset.
    n_documents: Number of documents of each stream.
  """
  streams = []
  for stream, n in zip(dataset.validation, n_documents, strict=True):
    start = int(stream.starts[-n]) - 1
    streams.append(stream.part(start, len(stream)))
  return dataclasses.replace(dataset, validation=tuple(streams))


def config_of(job: Job) -> RunConfig:
  """Returns the complete config of a job."""
  return cast(RunConfig, job.config)  # `ModelJobs` builds the jobs


def is_traced_key(path: str) -> bool:
  """Returns True if a path is a traced number of the config."""
  declarations = config_keys.keys()
  return path in declarations and declarations[path].traced


def _config_digest(cfg: RunConfig) -> str:
  """Returns a short digest of a complete config."""
  return _short_digest(json.dumps(config_lib.to_json(cfg), sort_keys=True))


def _short_digest(text: str) -> str:
  """Returns a digest of 12 characters. Unlike `hash`, it is the same in every process."""
  return hashlib.sha256(text.encode()).hexdigest()[:12]
