"""Jobs of trials of a language model."""

from __future__ import annotations

import dataclasses
from typing import cast

from lmhp import config_keys
from lmhp.counting.memory import cache_bytes_per_token
from lmhp.counting.parameters import count
from lmhp.hypers import split
from lmhp.sweeping.store.trial import ModelSummary
from lmhp.sweeping.tasks.model_configs import ModelConfigs, config_digest, short_digest
from lmhp.sweeping.tasks.task import Job, Overrides
from lmhp.training.config import RunConfig


class ModelJobs:
  """Builds the jobs of trials.

  Completing a config takes milliseconds, and a study has many trials. So a trial that differs
  from an earlier one only in traced numbers copies its job, and replaces the sections of
  these numbers.

  Args:
    configs: Completes the configs of trials.
    present: Dropout rates that some trial has above 0.
  """

  def __init__(self, configs: ModelConfigs, present: frozenset[str]):
    self._configs = configs
    self._present = present
    # The first job of the trials that differ only in traced numbers.
    self._first_jobs: dict[tuple[object, ...], Job] = {}

  def job(self, overrides: Overrides) -> Job:
    """Returns the job of a trial with these values.

    Raises:
      ConfigError: If no config can have these values.
    """
    traced = {
      path: value
      for path, value in overrides.items()
      if is_traced_key(path) and value is not None
    }
    static = [repr(value) for path, value in overrides.items() if path not in traced]
    key = (tuple(overrides), tuple(static))
    if key not in self._first_jobs:
      self._first_jobs[key] = self._new_job(self._configs.complete(overrides))
      return self._first_jobs[key]
    return self._copy_with(self._first_jobs[key], traced)

  def _copy_with(self, first: Job, traced: Overrides) -> Job:
    """Returns a copy of a job with other traced numbers."""
    values_by_section: dict[str, dict[str, object]] = {}
    for path, value in traced.items():
      section, _, name = path.partition('.')
      values_by_section.setdefault(section, {})[name] = value

    first_cfg = config_of(first)
    hypers = dict(first.hypers)
    sections = {}
    for section, values in values_by_section.items():
      sections[section] = dataclasses.replace(getattr(first_cfg, section), **values)
      hypers[section] = split(sections[section], self._present)[1]
    cfg = dataclasses.replace(first_cfg, **sections)
    model = dataclasses.replace(first.model, config_sha256=config_digest(cfg))
    return dataclasses.replace(first, hypers=hypers, model=model, config=cfg)

  def _new_job(self, cfg: RunConfig) -> Job:
    structure, hypers = split(cfg, self._present)
    static_parts = (
      structure.model,
      structure.optimizer,
      structure.train,
      structure.data,
      cfg.evaluate,
    )
    name = short_digest(repr(static_parts))
    counts = count(cfg.model)
    tokens_per_step = cfg.train.batch_size * cfg.train.seq_len
    flops_per_step = float(self._configs.flops_per_token(cfg) * tokens_per_step)
    cache_bytes = float(cache_bytes_per_token(cfg.model, cfg.train.seq_len))
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
        'kv_cache_bytes_per_token': cache_bytes,
      },
      model=ModelSummary(
        structure=name,
        config_sha256=config_digest(cfg),
        n_parameters=counts.total,
        parameters_by_kind=counts.by_kind,
      ),
      config=cfg,
    )


def config_of(job: Job) -> RunConfig:
  """Returns the complete config of a job."""
  return cast(RunConfig, job.config)  # `ModelJobs` makes the jobs


def is_traced_key(path: str) -> bool:
  """Returns True if a path is a traced number of the config."""
  declarations = config_keys.keys()
  return path in declarations and declarations[path].traced
