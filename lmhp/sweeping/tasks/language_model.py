"""lmhp's own trainer as what a sweep runs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import time
from typing import Any, Iterable, Iterator, Mapping, Sequence

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
from lmhp.data.stream import TrainStream, objective_of
from lmhp.declarations import declared
from lmhp.errors import ConfigError
from lmhp.hypers import flatten, split
from lmhp.sweeping import space as spaces
from lmhp.sweeping.tasks.task import Job
from lmhp.training.config import LENGTHS, RunConfig
from lmhp.training.chunks import ChunkSteps
from lmhp.training.evaluation import ScoreInputs, summarize
from lmhp.training.population import Population
from lmhp.training.precision import fastest_dtype
from lmhp.training.programs import Programs


class LanguageModel:
  """lmhp's trainer as a task.

  Args:
    config: the base config, not yet resolved: what an optimizer's name decides is decided for each trial.
    present: dropout rates that some trial has above 0.
    match_budget: what all trials have the same amount of, as much as the base config; None where no trial differs.
    dtype: what 'auto' stands for; None asks this machine.
  """

  loss = 'loss_nats'
  seed_paths = ('train.seed', 'data.seed')

  def __init__(
    self,
    config: Any,
    *,
    present: Iterable[str] = (),
    match_budget: str | None = None,
    dtype: str | None = None,
  ):
    self.config, self.present, self.match_budget = (
      config,
      frozenset(present),
      match_budget,
    )
    self.dtype = dtype or fastest_dtype()
    self._datasets: dict[Any, datasets.Dataset] = {}
    self._programs: dict[str, Programs] = {}
    self.step_seconds: dict[str, float] = {}
    self._first: dict[Any, Job] = {}
    self._steps: dict[Any, int] = {}
    self.base = self._completed({})
    self.evaluate_every = self.base.evaluate.every_steps
    self.checkpoint_seconds = self.base.checkpoint.every_seconds or math.inf
    self.log_every = self.base.log.every_steps

  # --- trials ---------------------------------------------------------------------------------------------------------

  def job(self, overrides: Mapping[str, Any]) -> Job:
    """What a trial with these values is.

    Resolving a config takes milliseconds, and a study has many trials: those that set the same paths, and what is
    static of them alike, differ from the first of their kind in the sections of their numbers alone.
    """
    numbers = {
      path: value
      for path, value in overrides.items()
      if _traced(path) and value is not None
    }
    kind = (
      tuple(overrides),
      tuple(repr(v) for p, v in overrides.items() if p not in numbers),
    )
    if kind not in self._first:
      self._first[kind] = self._job(self._completed(overrides))
      return self._first[kind]
    first, sections = self._first[kind], {}
    for path, value in numbers.items():
      section, _, name = path.partition('.')
      sections.setdefault(section, {})[name] = value
    new = {
      name: dataclasses.replace(getattr(first.cfg, name), **values)
      for name, values in sections.items()
    }
    cfg = dataclasses.replace(first.cfg, **new)
    hypers = {
      **first.hypers,
      **{name: split(section, self.present)[1] for name, section in new.items()},
    }
    about = {**first.about, 'config_sha256': _digest(config_lib.to_json(cfg))}
    return dataclasses.replace(first, hypers=hypers, about=about, cfg=cfg)

  def _job(self, cfg: RunConfig) -> Job:
    structure, hypers = split(cfg, self.present)
    name = _digest(
      (
        structure.model,
        structure.optimizer,
        structure.train,
        structure.data,
        cfg.evaluate,
      )
    )
    counts = count(cfg.model)
    tokens_per_step = cfg.train.batch_size * cfg.train.seq_len
    flops_per_step = float(self._flops_per_token(cfg) * tokens_per_step)
    facts = {
      'parameters': counts.total,
      'non_embedding_parameters': counts.non_embedding,
      'tokens': cfg.train.steps * tokens_per_step,
      'flops': cfg.train.steps * flops_per_step,
      'kv_cache_bytes_per_token': float(
        cache_bytes_per_token(cfg.model, cfg.train.seq_len)
      ),
    }
    about = {
      'n_parameters': counts.total,
      'parameters_by_kind': counts.by_kind,
      'config_sha256': _digest(config_lib.to_json(cfg)),
      'structure': name,
    }
    return Job(
      name, hypers, cfg.train.steps, tokens_per_step, flops_per_step, facts, about, cfg
    )

  def _completed(self, overrides: Mapping[str, Any]) -> RunConfig:
    cfg = config_lib.resolve(
      config_lib.override(config_lib.to_config_dict(self.config), overrides)
    )
    dataset = self.dataset(cfg)
    tokens = sum(len(tokens) for tokens in dataset.train)
    return config_lib.complete(
      cfg, vocab_size=dataset.vocab_size, tokens_per_epoch=tokens, dtype=self.dtype
    )

  def sized(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A point's values with its length in steps, where holding something equal makes it another than the base's."""
    if self.match_budget in (None, 'none'):
      return dict(overrides)
    kind = tuple(
      (path, repr(value)) for path, value in overrides.items() if not _traced(path)
    )
    if kind not in self._steps:
      self._steps[kind] = self._steps_of(self._completed(overrides))
    if self._steps[kind] == self.base.train.steps:
      return dict(overrides)
    return {
      **overrides,
      **{f'train.{name}': None for name in LENGTHS},
      'train.steps': self._steps[kind],
    }

  def _steps_of(self, cfg: RunConfig) -> int:
    """Steps that make a config's tokens, FLOPs or seconds those of the base config."""
    base = self.base
    tokens_per_step = cfg.train.batch_size * cfg.train.seq_len
    base_tokens = base.train.steps * base.train.batch_size * base.train.seq_len
    steps = {
      'steps': lambda: base.train.steps,
      'tokens': lambda: base_tokens / tokens_per_step,
      'flops': lambda: (
        base_tokens
        * self._flops_per_token(base)
        / (tokens_per_step * self._flops_per_token(cfg))
      ),
      'seconds': lambda: (
        base.train.steps * self._step_seconds(base) / self._step_seconds(cfg)
      ),
    }[self.match_budget]()
    return max(1, round(float(steps)))

  def _flops_per_token(self, cfg: RunConfig) -> float:
    """Training FLOPs for each token of the text: of an encoder-decoder, what both sides make of it."""
    if not cfg.model.is_encoder_decoder:
      return float(flops_per_token(cfg.model, cfg.train.seq_len, causal=True).train)
    spans = objective_of(self.dataset(cfg), cfg.train.seq_len, cfg.data)
    return (
      3.0
      * encoder_decoder_flops(
        cfg.model, spans.target_len, spans.encoder_len, causal=True
      )
      / cfg.train.seq_len
    )

  # --- what a search asks ---------------------------------------------------------------------------------------------

  def seeded(
    self, overrides: Mapping[str, Any], replicate: int, own: bool
  ) -> tuple[dict[str, Any], int]:
    """A point's values with the seed of one of its trials, and that seed: the base's and up.

    Args:
      overrides: of the point.
      replicate: which of its trials, 0 and up.
      own: whether the order of the data is drawn anew too.
    """
    seed = (self.base.train.seed + replicate) % 2**32
    seeds = {
      'train.seed': seed,
      **({'data.seed': (self.base.data.seed + replicate) % 2**32} if own else {}),
    }
    return {**seeds, **overrides}, overrides.get('train.seed', seed)

  def own_data(self, space: Any) -> bool:
    """Whether trials differ in a number of their data: its order, its mixture, what is masked."""
    numbers = {
      f'data.{name}' for name, field in declared(DataConfig).items() if field.traced
    }
    return bool(numbers & spaces.varied_paths(space))

  def base_value(self, path: str) -> Any:
    """What the base config has at a path."""
    return flatten(self.base)[path]

  def base_values(self) -> dict[str, Any]:
    """All values of the base config by dotted path."""
    return flatten(self.base)

  def config_tree(self, overrides: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """A trial's config as it would be given, nothing filled in, as {section: {key: value}}."""
    return config_lib.override(
      config_lib.to_config_dict(self.config), overrides
    ).to_dict()

  def longest_warmup(self, space: Any) -> float:
    """The longest warmup of any trial, as a share of training."""
    mine = self.base.schedule.warmup_fraction
    path = 'schedule.warmup_fraction'
    return (
      max(mine, *spaces.values_of(space, path))
      if path in spaces.varied_paths(space)
      else mine
    )

  def is_traced(self, path: str) -> bool:
    """Whether a path is a number that may change without another program."""
    return _traced(path) and not path.endswith('.seed')

  def decays(self) -> bool:
    """Whether the base config's schedule falls towards the end."""
    return self.base.schedule.name != 'constant'

  # --- data and programs ----------------------------------------------------------------------------------------------

  def dataset(self, cfg: RunConfig) -> datasets.Dataset:
    """The dataset of a config; loaded once for all that share it."""
    key = split(cfg.data)[0]
    if key not in self._datasets:
      self._datasets[key] = datasets.load(cfg.data)
    return self._datasets[key]

  def member(self, job: Job) -> Programs:
    if job.structure not in self._programs:
      self._programs[job.structure] = self._new_programs(job.cfg)
    return self._programs[job.structure]

  def _new_programs(self, cfg: RunConfig) -> Programs:
    dataset = self.dataset(cfg)
    stream = TrainStream(dataset, cfg.train.seq_len, cfg.data)
    stream.epochs(cfg.train.steps * cfg.train.batch_size, cfg.data.mixture_weights)
    return Programs(cfg, stream, dataset.sha256, self.present)

  def feed(
    self, job: Job, hypers: Sequence[dict], own: bool, step: int, lengths: Iterator[int]
  ) -> Iterator[tuple[int, Any]]:
    programs = self.member(job)
    if self.data_axis(job, own) is None:
      yield from programs.feed(step, lengths, hypers[0])
      return
    lengths = list(lengths)
    for chunks in zip(*(programs.feed(step, iter(lengths), h) for h in hypers)):
      yield (
        chunks[0][0],
        jax.tree.map(lambda *x: np.stack(x), *(data for _, data in chunks)),
      )

  def data_axis(self, job: Job, own: bool) -> int | None:
    return 0 if own and not self.member(job).stream.resident else None

  # --- scores ---------------------------------------------------------------------------------------------------------

  def evaluate(
    self, population: Population, state: Any, job: Job, final: bool
  ) -> list[dict[str, float]]:
    cfg, dataset = job.cfg, self.dataset(job.cfg)
    limit = cfg.evaluate.final_sequences if final else cfg.evaluate.sequences
    stream = self.member(job).stream
    batches = evaluation_batches(
      dataset,
      cfg.train.seq_len,
      cfg.evaluate.batch_size or max(32, cfg.train.batch_size),
      limit=limit,
      end_of_text=stream.end_of_text,
      change=stream.for_evaluation,
    )
    bytes_V = dataset.token_bytes(cfg.model.vocab_size)
    sums = [population.score(state, ScoreInputs(batch, bytes_V)) for batch in batches]
    sums = {
      name: np.concatenate([np.asarray(s[name], np.float64) for s in sums], axis=1)
      for name in sums[0]
    }
    metrics = [
      summarize({name: x[i] for name, x in sums.items()})
      for i in range(population.width)
    ]
    return [{f'eval_{name}': value for name, value in m.items()} for m in metrics]

  def measure(self, metric: str, job: Job) -> float:
    """`latency_seconds`: the forward pass of one sequence, alone on the device, median of five."""
    if metric != 'latency_seconds':
      raise ConfigError(
        f"sweep.objective: {metric!r} is no metric that is logged, expected one of the evaluation's "
        f'(eval_loss_nats, eval_bits_per_byte, ...), latency_seconds or {", ".join(job.facts)}'
      )
    programs = self.member(job)
    tokens_BL = np.zeros((1, job.cfg.train.seq_len), np.int32)
    params = programs.init(job.hypers).params
    other = tokens_BL if programs.model.cfg.is_encoder_decoder else None
    forward = jax.jit(programs.model.apply)
    return _median_seconds(lambda: forward(params, tokens_BL, encoder_tokens_BM=other))

  def _step_seconds(self, cfg: RunConfig) -> float:
    """Seconds of an update, measured alone, once for a structure of the base's length."""
    key = _digest(split(cfg, self.present)[0])
    if key not in self.step_seconds:
      programs = self._new_programs(cfg)
      state = programs.init(programs.hypers)
      _, data = next(programs.feed(0, iter([4] * 8)))

      def four():
        nonlocal state
        steps = ChunkSteps(n_steps=min(4, cfg.train.steps), first_step=0)
        state, metrics = programs.chunk(state, programs.hypers, data, steps)
        return metrics

      self.step_seconds[key] = _median_seconds(four) / min(4, cfg.train.steps)
    return self.step_seconds[key]

  def bad(self, metric: str, job: Job, maximized: bool) -> float:
    """Twice the loss of a uniform guess, in the metric's own unit; what was not learnt, where more is better."""
    if metric in job.facts:
      return float(job.facts[metric])
    guess = 2 * math.log(job.cfg.model.vocab_size)
    worst = {
      'eval_perplexity': math.exp(guess),
      'eval_bits_per_byte': guess / math.log(2),
    }.get(metric, guess)
    return 0.0 if metric == 'eval_accuracy' else -worst if maximized else worst


def _traced(path: str) -> bool:
  """Whether a path is a number of the compiled program."""
  return path in config_keys.keys() and config_keys.keys()[path].traced


def _digest(value: Any) -> str:
  """A short name for a value, the same in every process."""
  text = json.dumps(value, sort_keys=True) if isinstance(value, dict) else repr(value)
  return hashlib.sha256(text.encode()).hexdigest()[:12]


def _median_seconds(call: Any, repeats: int = 5) -> float:
  jax.block_until_ready(call())
  seconds = []
  for _ in range(repeats):
    start = time.perf_counter()
    jax.block_until_ready(call())
    seconds.append(time.perf_counter() - start)
  return float(np.median(seconds))
