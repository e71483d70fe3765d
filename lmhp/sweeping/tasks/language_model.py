"""The task of lmhp's own trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import dataclasses
import hashlib
import json
import math
import socket
import time
from typing import cast

import jax
import numpy as np

from lmhp import config as config_lib
from lmhp import config_keys
from lmhp.counting.flops import encoder_decoder_flops, flops_per_token
from lmhp.counting.memory import cache_bytes_per_token
from lmhp.counting.parameters import count
from lmhp.data import dataset as datasets
from lmhp.data.batches import evaluation_batches
from lmhp.data.config import DataConfig
from lmhp.data.spans import SpanCorruption
from lmhp.data.stream import TrainStream, objective_of
from lmhp.declarations import declared
from lmhp.errors import ConfigError
from lmhp.hypers import flatten, split
from lmhp.sweeping import space as spaces
from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.space import Space
from lmhp.sweeping.store.manifest import TaskDescription
from lmhp.sweeping.store.trial import ModelSummary
from lmhp.sweeping.tasks.task import Job, Overrides, SeededOverrides
from lmhp.training.chunks import ChunkSteps, Hypers
from lmhp.training.config import LENGTHS, RunConfig
from lmhp.training.evaluation import SCORES, ScoreInputs, summarize
from lmhp.training.population import Population
from lmhp.training.precision import fastest_dtype
from lmhp.training.programs import Programs
from lmhp.training.step import metric_names
from lmhp.typing import PyTree

LATENCY = 'latency_seconds'
MEASUREMENTS = 5
"""Times are medians of this many measurements."""

MEASURED_STEPS = 4
"""Updates that one measurement of the training speed makes."""


@dataclasses.dataclass(frozen=True)
class LanguageModelRecipe:
  """Makes a `LanguageModel` again in another process.

  Attributes:
    config: Base config, not resolved, as {section: {key: value}}.
    present: Dropout rates that some trial has above 0.
    match_budget: Budget that all trials share.
    dtype: Precision that "auto" stands for.
    base_values: Values of the completed base config, by dotted path.
    data_sha256: Digest of the training data.
  """

  config: Mapping[str, Mapping[str, object]]
  present: frozenset[str]
  match_budget: str | None
  dtype: str
  base_values: Mapping[str, object]
  data_sha256: str

  def make_task(self) -> LanguageModel:
    """Returns the task.

    Raises:
      ConfigError: If this machine reads other data, or completes the config differently.
    """
    task = LanguageModel(
      self.config,
      present=self.present,
      match_budget=self.match_budget,
      dtype=self.dtype,
    )
    host = socket.gethostname()
    for path, value in task.base_values().items():
      if value != self.base_values[path]:
        raise ConfigError(
          f'{path}: got {value!r} on {host}, expected {self.base_values[path]!r} as on '
          'the driver: the same version of lmhp, and the same data'
        )
    if task.dataset(task.base).sha256 != self.data_sha256:
      raise ConfigError(
        f'data.path: got another text on {host}, expected that of the driver'
      )
    return task


class LanguageModel:
  """lmhp's trainer as a task.

  Args:
    config: Base config, not resolved. A trial's optimizer decides its defaults.
    present: Dropout rates that some trial has above 0.
    match_budget: Budget that every trial matches to the base config, or None if no trial
      differs in it.
    dtype: Precision that "auto" stands for. None is the fastest of this machine.
  """

  loss = 'loss_nats'
  seed_paths: tuple[str, ...] = ('train.seed', 'data.seed')

  def __init__(
    self,
    config: object,
    *,
    present: Iterable[str] = (),
    match_budget: str | None = None,
    dtype: str | None = None,
  ):
    self.config = config
    self.present = frozenset(present)
    self.match_budget = match_budget
    self.dtype = dtype or fastest_dtype()
    self._datasets: dict[DataConfig, datasets.Dataset] = {}
    self._programs: dict[str, Programs] = {}
    self._step_seconds_of: dict[str, float] = {}
    # The first job, and the length, of the trials that differ only in traced numbers.
    self._first_jobs: dict[tuple[object, ...], Job] = {}
    self._lengths: dict[tuple[object, ...], int] = {}
    self.base = self._complete({})
    self.evaluate_every_steps = self.base.evaluate.every_steps
    self.checkpoint_seconds = self.base.checkpoint.every_seconds or math.inf
    self.log_every_steps = self.base.log.every_steps

  # --- the task as a whole ------------------------------------------------------------

  def describe(self) -> TaskDescription:
    """Returns the base config and the digest of the training data."""
    return TaskDescription(
      kind='language_model',
      base_values=self.base_values(),
      data_sha256=self.dataset(self.base).sha256,
    )

  def check(self, sweep: SweepConfig) -> None:
    """Checks the objectives of a sweep.

    `lmhp.sweeping.budget.checked_language_model` checks the space before it makes the task.

    Raises:
      ConfigError: If an objective is not a metric.
    """
    evaluated = [f'eval_{name}' for name in SCORES]
    trained = metric_names(self.base.train)
    known = self.job({}).known_metrics
    sweep.check_objective((*evaluated, *trained, *known, LATENCY))

  def base_values(self) -> dict[str, object]:
    """Returns all values of the completed base config, by dotted path."""
    return flatten(self.base)

  def experiment_config(
    self, overrides: Overrides
  ) -> Mapping[str, Mapping[str, object]]:
    """Returns the config of a trial as {section: {key: value}}, not completed."""
    config = config_lib.to_config_dict(self.config)
    return config_lib.override(config, overrides).to_dict()

  def recipe(self) -> LanguageModelRecipe:
    """Returns a recipe that makes the task again in another process."""
    return LanguageModelRecipe(
      config=self.experiment_config({}),
      present=self.present,
      match_budget=self.match_budget,
      dtype=self.dtype,
      base_values=self.base_values(),
      data_sha256=self.dataset(self.base).sha256,
    )

  # --- the space ----------------------------------------------------------------------

  def is_traced(self, path: str) -> bool:
    """Returns True for a traced number that is not a seed."""
    return _is_traced(path) and not path.endswith('.seed')

  def decays(self) -> bool:
    """Returns True if the learning rate of the base config falls towards the end."""
    return self.base.schedule.name != 'constant'

  def longest_warmup_fraction(self, space: Space) -> float:
    """Returns the longest warmup of all trials, as a fraction of training."""
    path = 'schedule.warmup_fraction'
    base_fraction = self.base.schedule.warmup_fraction
    if path not in spaces.varied_paths(space):
      return base_fraction
    return max(base_fraction, *spaces.values_of(space, path))

  def varies_data_per_trial(self, space: Space) -> bool:
    """Returns True if the space varies a traced number of the data section."""
    traced = {
      f'data.{name}'
      for name, declaration in declared(DataConfig).items()
      if declaration.traced
    }
    return bool(traced & spaces.varied_paths(space))

  # --- trials -------------------------------------------------------------------------

  def with_seed(
    self, overrides: Overrides, replicate: int, *, reseed_data: bool
  ) -> SeededOverrides:
    """Adds `train.seed`: the seed of the base config plus the number of the replicate.

    Args:
      overrides: Values of the point. A seed among them is kept.
      replicate: Number of the trial among those of its point, 0 and up.
      reseed_data: If True, `data.seed` is added too.
    """
    seed = (self.base.train.seed + replicate) % 2**32
    seeds: dict[str, object] = {'train.seed': seed}
    if reseed_data:
      seeds['data.seed'] = (self.base.data.seed + replicate) % 2**32
    seeded = {**seeds, **overrides}
    return SeededOverrides(seeded, cast(int, seeded['train.seed']))  # checked as a key

  def with_matched_length(self, overrides: Overrides) -> dict[str, object]:
    """Adds `train.steps` if the matched budget gives a trial another length."""
    if self.match_budget in (None, 'none'):
      return dict(overrides)
    static = tuple(
      (path, repr(value)) for path, value in overrides.items() if not _is_traced(path)
    )
    if static not in self._lengths:
      self._lengths[static] = self._matched_steps(self._complete(overrides))
    steps = self._lengths[static]
    if steps == self.base.train.steps:
      return dict(overrides)
    other_lengths = {f'train.{name}': None for name in LENGTHS}
    return {**overrides, **other_lengths, 'train.steps': steps}

  def _matched_steps(self, cfg: RunConfig) -> int:
    """Returns the steps that give a config the budget of the base config."""
    base = self.base
    tokens_per_step = cfg.train.batch_size * cfg.train.seq_len
    base_tokens = base.train.steps * base.train.batch_size * base.train.seq_len
    if self.match_budget == 'steps':
      steps = base.train.steps
    elif self.match_budget == 'tokens':
      steps = base_tokens / tokens_per_step
    elif self.match_budget == 'flops':
      base_flops = base_tokens * self._flops_per_token(base)
      steps = base_flops / (tokens_per_step * self._flops_per_token(cfg))
    else:
      base_seconds = base.train.steps * self._step_seconds(base)
      steps = base_seconds / self._step_seconds(cfg)
    return max(1, round(float(steps)))

  def job(self, overrides: Overrides) -> Job:
    """Returns the job of a trial with these values.

    Completing a config takes milliseconds, and a study has many trials. So a trial that
    differs from an earlier one only in traced numbers copies its job, and replaces the
    sections of these numbers.

    Raises:
      ConfigError: If no config can have these values.
    """
    traced = {
      path: value
      for path, value in overrides.items()
      if _is_traced(path) and value is not None
    }
    static = [repr(value) for path, value in overrides.items() if path not in traced]
    key = (tuple(overrides), tuple(static))
    if key not in self._first_jobs:
      self._first_jobs[key] = self._new_job(self._complete(overrides))
      return self._first_jobs[key]
    return self._copy_with(self._first_jobs[key], traced)

  def _copy_with(self, first: Job, traced: Overrides) -> Job:
    """Returns a copy of a job with other traced numbers."""
    values_by_section: dict[str, dict[str, object]] = {}
    for path, value in traced.items():
      section, _, name = path.partition('.')
      values_by_section.setdefault(section, {})[name] = value

    first_cfg = _config_of(first)
    hypers = dict(first.hypers)
    sections = {}
    for section, values in values_by_section.items():
      sections[section] = dataclasses.replace(getattr(first_cfg, section), **values)
      hypers[section] = split(sections[section], self.present)[1]
    cfg = dataclasses.replace(first_cfg, **sections)
    model = dataclasses.replace(first.model, config_sha256=_config_digest(cfg))
    return dataclasses.replace(first, hypers=hypers, model=model, config=cfg)

  def _new_job(self, cfg: RunConfig) -> Job:
    structure, hypers = split(cfg, self.present)
    name = _digest(
      repr(
        (
          structure.model,
          structure.optimizer,
          structure.train,
          structure.data,
          cfg.evaluate,
        )
      )
    )
    counts = count(cfg.model)
    tokens_per_step = cfg.train.batch_size * cfg.train.seq_len
    flops_per_step = float(self._flops_per_token(cfg) * tokens_per_step)
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
        config_sha256=_config_digest(cfg),
        n_parameters=counts.total,
        parameters_by_kind=counts.by_kind,
      ),
      config=cfg,
    )

  def _complete(self, overrides: Overrides) -> RunConfig:
    """Returns the complete config of a trial."""
    config = config_lib.to_config_dict(self.config)
    cfg = config_lib.resolve(config_lib.override(config, overrides))
    dataset = self.dataset(cfg)
    return config_lib.complete(
      cfg,
      vocab_size=dataset.vocab_size,
      tokens_per_epoch=sum(len(tokens) for tokens in dataset.train),
      dtype=self.dtype,
    )

  def _flops_per_token(self, cfg: RunConfig) -> float:
    """Returns the training FLOPs of one token of the text.

    An encoder-decoder makes an encoder and a decoder sequence of each sequence of the text.
    """
    if not cfg.model.is_encoder_decoder:
      return float(flops_per_token(cfg.model, cfg.train.seq_len, causal=True).train)
    spans = objective_of(self.dataset(cfg), cfg.train.seq_len, cfg.data)
    # The config of an encoder-decoder has no other objective.
    assert isinstance(spans, SpanCorruption)
    forward_flops = encoder_decoder_flops(
      cfg.model, spans.target_len, spans.encoder_len, causal=True
    )
    return 3.0 * forward_flops / cfg.train.seq_len

  # --- data and programs --------------------------------------------------------------

  def dataset(self, cfg: RunConfig) -> datasets.Dataset:
    """Returns the dataset of a config. Configs that share it load it once."""
    key = split(cfg.data)[0]
    if key not in self._datasets:
      self._datasets[key] = datasets.load(cfg.data)
    return self._datasets[key]

  def member(self, job: Job) -> Programs:
    """Returns the programs of a job's structure."""
    if job.structure not in self._programs:
      self._programs[job.structure] = self._new_programs(_config_of(job))
    return self._programs[job.structure]

  def _new_programs(self, cfg: RunConfig) -> Programs:
    dataset = self.dataset(cfg)
    stream = TrainStream(dataset, cfg.train.seq_len, cfg.data)
    stream.epochs(cfg.train.steps * cfg.train.batch_size, cfg.data.mixture_weights)
    return Programs(cfg, stream, dataset.sha256, self.present)

  def feed(
    self,
    job: Job,
    hypers: Sequence[Hypers],
    data_per_trial: bool,
    first_step: int,
    lengths: Iterator[int],
  ) -> Iterator[tuple[int, PyTree]]:
    """Yields the length and the data of each chunk of a pack.

    Args:
      job: Job of one member.
      hypers: Traced numbers of each member.
      data_per_trial: If True, each member reads batches of its own. Streamed batches are
        then stacked on the axis of the members.
      first_step: Updates that were made before.
      lengths: Number of steps of each chunk.
    """
    programs = self.member(job)
    if self.data_axis(job, data_per_trial) is None:
      yield from programs.feed(first_step, lengths, hypers[0])
      return
    all_lengths = list(lengths)
    feeds = [
      programs.feed(first_step, iter(all_lengths), member_hypers)
      for member_hypers in hypers
    ]
    for chunks in zip(*feeds):
      n_steps, _ = chunks[0]
      data = jax.tree.map(
        lambda *leaves: np.stack(leaves), *(data for _, data in chunks)
      )
      yield n_steps, data

  def data_axis(self, job: Job, data_per_trial: bool) -> int | None:
    """Returns 0 if each member streams batches of its own, else None."""
    is_resident = self.member(job).stream.resident
    return 0 if data_per_trial and not is_resident else None

  # --- scores -------------------------------------------------------------------------

  def evaluate(
    self, population: Population, state: PyTree, job: Job, final: bool
  ) -> list[dict[str, float]]:
    """Returns the scores of each member on the validation split.

    Args:
      population: Population that the members are in.
      state: State of the population.
      job: Job of one member.
      final: If True, `evaluate.final_sequences` are scored, else `evaluate.sequences`.
    """
    cfg = _config_of(job)
    dataset = self.dataset(cfg)
    stream = self.member(job).stream
    n_sequences = cfg.evaluate.sequences
    if final:
      n_sequences = cfg.evaluate.final_sequences
    batches = evaluation_batches(
      dataset,
      cfg.train.seq_len,
      cfg.evaluate.batch_size or max(32, cfg.train.batch_size),
      limit=n_sequences,
      end_of_text=stream.end_of_text,
      change=stream.for_evaluation,
    )
    bytes_V = dataset.token_bytes(cfg.model.vocab_size)
    sums_by_batch = [
      population.score(state, ScoreInputs(batch, bytes_V)) for batch in batches
    ]

    # (R, B) of each batch become (R, all sequences).
    sums = {}
    for name in sums_by_batch[0]:
      parts = [
        np.asarray(sums_of_batch[name], np.float64) for sums_of_batch in sums_by_batch
      ]
      sums[name] = np.concatenate(parts, axis=1)
    scores = []
    for i in range(population.width):
      metrics = summarize({name: values[i] for name, values in sums.items()})
      scores.append({f'eval_{name}': value for name, value in metrics.items()})
    return scores

  def measure(self, metric: str, job: Job) -> float:
    """Returns `latency_seconds`: the forward pass of one sequence, alone on the device.

    Raises:
      ConfigError: For another metric.
    """
    if metric != LATENCY:
      raise ConfigError(
        f'sweep.objective: got {metric!r}, expected a metric of the evaluation, such as '
        f'eval_loss_nats, or one of {LATENCY}, {", ".join(job.known_metrics)}'
      )
    programs = self.member(job)
    tokens_BL = np.zeros((1, _config_of(job).train.seq_len), np.int32)
    params = programs.init(job.hypers).params
    encoder_tokens_BM = None
    if programs.model.cfg.is_encoder_decoder:
      encoder_tokens_BM = tokens_BL
    forward = jax.jit(programs.model.apply)
    return _median_seconds(
      lambda: forward(params, tokens_BL, encoder_tokens_BM=encoder_tokens_BM)
    )

  def _step_seconds(self, cfg: RunConfig) -> float:
    """Returns the time of an update of one trial alone, measured once for a structure."""
    key = _digest(repr(split(cfg, self.present)[0]))
    if key not in self._step_seconds_of:
      programs = self._new_programs(cfg)
      state = programs.init(programs.hypers)
      _, data = next(programs.feed(0, iter([MEASURED_STEPS] * 8)))
      n_steps = min(MEASURED_STEPS, cfg.train.steps)
      steps = ChunkSteps(n_steps=n_steps, first_step=0)

      def train() -> PyTree:
        nonlocal state
        state, metrics = programs.chunk(state, programs.hypers, data, steps)
        return metrics

      self._step_seconds_of[key] = _median_seconds(train) / n_steps
    return self._step_seconds_of[key]

  def penalty_value(self, metric: str, job: Job, maximized: bool) -> float:
    """Returns twice the loss of a uniform guess, in the unit of the metric.

    A maximized metric is its negative, and an accuracy is 0. A metric that is known before
    the trial runs keeps its value.
    """
    if metric in job.known_metrics:
      return float(job.known_metrics[metric])
    if metric == 'eval_accuracy':
      return 0.0
    vocab_size = _config_of(job).model.vocab_size
    assert vocab_size is not None  # set in a complete config
    loss_nats = 2 * math.log(vocab_size)
    value = loss_nats
    if metric == 'eval_perplexity':
      value = math.exp(loss_nats)
    elif metric == 'eval_bits_per_byte':
      value = loss_nats / math.log(2)
    return -value if maximized else value


def _config_of(job: Job) -> RunConfig:
  return cast(RunConfig, job.config)  # `LanguageModel` makes its jobs with a RunConfig


def _is_traced(path: str) -> bool:
  """Returns True if a path is a traced number of the config."""
  declarations = config_keys.keys()
  return path in declarations and declarations[path].traced


def _digest(text: str) -> str:
  """Returns a short digest, which is the same in every process."""
  return hashlib.sha256(text.encode()).hexdigest()[:12]


def _config_digest(cfg: RunConfig) -> str:
  return _digest(json.dumps(config_lib.to_json(cfg), sort_keys=True))


def _median_seconds(call: Callable[[], PyTree]) -> float:
  """Returns the median time of a call, without that of the first one."""
  jax.block_until_ready(call())
  seconds = []
  for _ in range(MEASUREMENTS):
    start = time.perf_counter()
    jax.block_until_ready(call())
    seconds.append(time.perf_counter() - start)
  return float(np.median(seconds))
