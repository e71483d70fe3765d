"""Lets a sweep train language models.

`LanguageModel` implements `Task`: it builds jobs, programs, data and scores. A job is the
config of a trial in two parts: the structure, which is compiled into a program, and the traced
numbers, such as the learning rate. Trials of one structure may be the R members of a population.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
import functools
import math
import socket
from typing import cast

import jax
import numpy as np

from lmhp.counting.precision import fastest_dtype
from lmhp.data.stream import TrainStream
from lmhp.errors import ConfigError, is_out_of_memory
from lmhp.hypers import flatten, split
from lmhp.sweeping import space as spaces
from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.space import Space
from lmhp.sweeping.store.manifest import TaskDescription
from lmhp.sweeping.tasks.model_jobs import ModelJobs, config_of, is_traced_key
from lmhp.sweeping.tasks.model_timing import (
  measure_latency_seconds,
  measure_step_seconds,
)
from lmhp.sweeping.tasks.task import Job, Overrides, SeededOverrides, Task
from lmhp.sweeping.tasks.warmups import longest_warmup_fraction
from lmhp.training.chunks import Hypers
from lmhp.training.config import RunConfig
from lmhp.training.evaluation import (
  SCORES,
  ScoreInputs,
  join_sums,
  summarize,
  validation_batches,
)
from lmhp.training.population import Population
from lmhp.training.programs import Programs
from lmhp.training.resumption.jax_settings import numeric_jax_options
from lmhp.training.step import metric_names
from lmhp.typing import PyTree

LATENCY = 'latency_seconds'
"""Metric that is measured: seconds of the forward pass of one sequence."""


class LanguageModel(Task):
  """A task that trains language models with the trainer of lmhp.

  Args:
    config: Base config, not resolved: derived values are not filled in, because some depend on
      the optimizer of a trial.
    present: Dotted paths of the dropout rates that are above 0 in at least one trial. The
      programs of all trials have this dropout.
    match_budget: Budget in which each trial equals the base config: 'steps', 'tokens', 'flops'
      or 'seconds'. The number of steps of a trial follows from it. None or 'none' leaves the
      number of steps unchanged.
    dtype: Value that replaces 'auto' as `model.dtype`. None is the fastest on this machine.

  Attributes:
    jobs: Completes the configs of trials, and loads their data.
  """

  loss = 'loss_nats'
  seed_paths = ('train.seed', 'data.seed')

  def __init__(
    self,
    config: object,
    *,
    present: Iterable[str] = (),
    match_budget: str | None = None,
    dtype: str | None = None,
  ):
    self.present = frozenset(present)
    self.match_budget = match_budget
    self.jobs = ModelJobs(config, dtype or fastest_dtype(), self.present)
    self._programs: dict[str, Programs] = {}
    # Measured seconds of one update, by structure.
    self._seconds: dict[str, float] = {}
    self.base = self.jobs.base
    self.evaluate_every_steps = self.base.evaluate.every_steps
    self.checkpoint_seconds = self.base.checkpoint.every_seconds or math.inf
    self.log_every_steps = self.base.log.every_steps

  # --- facts about the task ------------------------------------------------------------

  def describe(self) -> TaskDescription:
    """Returns the base config and the digest of the training data."""
    return TaskDescription(
      kind='language_model',
      base_values=self.base_values(),
      identity={'jax_options': numeric_jax_options()},
      data_sha256=self.data_sha256(),
    )

  def check(self, sweep: SweepConfig) -> None:
    """Checks the objectives of a sweep.

    The space was checked before (see `lmhp.sweeping.language_model_checks`).

    Raises:
      ConfigError: If an objective is not a metric.
    """
    evaluated = [f'eval_{name}' for name in SCORES]
    trained = metric_names(self.base.train)
    sweep.check_objective((*evaluated, *trained, *self.job({}).known_metrics, LATENCY))

  def base_values(self) -> dict[str, object]:
    """Returns all values of the completed base config, by dotted path."""
    return flatten(self.base)

  def data_sha256(self) -> str:
    """Returns the digest of the training data of the base config."""
    return self.jobs.dataset(self.base).sha256

  def experiment_config(
    self, overrides: Overrides
  ) -> Mapping[str, Mapping[str, object]]:
    """Returns the config of a trial as {section: {key: value}}, not resolved."""
    return self.jobs.override(overrides).to_dict()

  def recipe(self) -> functools.partial[LanguageModel]:
    """Returns a picklable function that makes the task again in another process."""
    return functools.partial(
      make_equal_task,
      config=self.experiment_config({}),
      present=self.present,
      match_budget=self.match_budget,
      dtype=self.jobs.dtype,
      base_values=self.base_values(),
      data_sha256=self.data_sha256(),
      validation_documents=self.jobs.validation_documents,
    )

  # --- the space ----------------------------------------------------------------------

  def is_traced(self, path: str) -> bool:
    """Returns True for the path of a traced number that is not a seed.

    A trial keeps its seeds while it runs.
    """
    return is_traced_key(path) and not path.endswith('.seed')

  def decays(self) -> bool:
    """Returns True if the learning rate of the base config falls towards the end."""
    return self.base.schedule.name != 'constant'

  def longest_warmup_fraction(self, space: Space) -> float:
    """Returns the longest warmup of all trials, as a fraction of training."""
    return longest_warmup_fraction(self, space)

  def varies_data_per_trial(self, space: Space) -> bool:
    """Returns True if trials of one structure may read different batches.

    The batches differ if the space varies a traced number of the section `data`, such as its seed.
    """
    return any(
      path.startswith('data.') and is_traced_key(path)
      for path in spaces.paths_of(space)
    )

  # --- trials -------------------------------------------------------------------------

  def with_seed(
    self, overrides: Overrides, replicate: int, *, reseed_data: bool
  ) -> SeededOverrides:
    """Adds `train.seed`: the seed of the base config plus `replicate`.

    Args:
      overrides: Values of the point. If they have a seed, it is kept.
      replicate: Index of the trial among the trials of its point, 0 and up.
      reseed_data: If True, `data.seed` is added too, in the same way.
    """
    # A seed is a uint32, so it wraps around at 2**32.
    seeds: dict[str, object] = {
      'train.seed': (self.base.train.seed + replicate) % 2**32
    }
    if reseed_data:
      seeds['data.seed'] = (self.base.data.seed + replicate) % 2**32
    seeded = {**seeds, **overrides}
    # The config checks that the seed is an int.
    return SeededOverrides(seeded, cast(int, seeded['train.seed']))

  def with_matched_length(self, overrides: Overrides) -> dict[str, object]:
    """Adds `train.steps` if the budget needs another number of steps than the base config."""
    if self.match_budget in (None, 'none'):
      return dict(overrides)
    return self.jobs.with_matched_length(
      overrides, self.match_budget, self._step_seconds
    )

  def _step_seconds(self, cfg: RunConfig) -> float:
    """Returns the seconds of one training step, measured once for each structure."""
    structure, _ = split(cfg, self.present)
    key = repr(structure)
    if key not in self._seconds:
      try:
        self._seconds[key] = measure_step_seconds(
          self._new_programs(cfg), cfg.train.steps
        )
      except Exception as error:
        if not is_out_of_memory(error):
          raise
        raise ConfigError(
          'sweep.match_budget: a step cannot be measured, since it does not fit in memory'
        ) from None
    return self._seconds[key]

  def job(self, overrides: Overrides) -> Job:
    """Returns the job of a trial with these values.

    Raises:
      ConfigError: If the config with these values is not valid.
    """
    return self.jobs.job(overrides)

  # --- data and programs --------------------------------------------------------------

  def programs(self, job: Job) -> Programs:
    """Returns the compiled programs for the structure of a job."""
    if job.structure not in self._programs:
      self._programs[job.structure] = self._new_programs(config_of(job))
    return self._programs[job.structure]

  def _new_programs(self, cfg: RunConfig) -> Programs:
    dataset = self.jobs.dataset(cfg)
    stream = TrainStream(dataset, cfg.train.seq_len, cfg.data)
    # Raises ConfigError if the run has too many sequences.
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
    """Yields the number of steps and the data of each chunk of a pack.

    A chunk is several updates in one call of a program. A pack is a group of trials of one
    structure that are trained together. Its trials are the members.

    Args:
      job: Job of any member. The members share its structure.
      hypers: Traced numbers of each member.
      data_per_trial: If True, each member reads different batches. Streamed batches are
        then stacked on the axis of the members.
      first_step: Number of updates made before the first chunk.
      lengths: Number of steps of each chunk.
    """
    programs = self.programs(job)
    # One feed for all members: they read the same batches, or each gathers its batches from
    # the tokens in device memory.
    if self.data_axis(job, data_per_trial) is None:
      yield from programs.feed(first_step, lengths, hypers[0])
      return

    # One feed for each member, with its seeds. The batches are stacked on a first axis R.
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
    """Returns 0 if the data has a first axis of members, else None.

    The data has this axis if each member reads different batches that are made on the host.
    """
    if data_per_trial and not self.programs(job).stream.resident:
      return 0
    return None

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
    cfg = config_of(job)
    dataset = self.jobs.dataset(cfg)
    stream = self.programs(job).stream
    # Number of UTF-8 bytes of each token of the vocabulary, (V,).
    bytes_V = dataset.token_bytes(cfg.model.vocab_size)
    # {name: (R, sequences)}, such as the loss of each sequence, summed over its tokens.
    sums = join_sums(
      [
        population.score(state, ScoreInputs(batch, bytes_V))
        for batch in validation_batches(cfg, dataset, stream, final)
      ]
    )
    scores = []
    for i in range(population.width):
      metrics = summarize({name: values[i] for name, values in sums.items()})
      scores.append({f'eval_{name}': value for name, value in metrics.items()})
    return scores

  def measure(self, metric: str, job: Job) -> float:
    """Returns `latency_seconds`: the time of the forward pass of one sequence.

    Nothing else runs on the device.

    Raises:
      ConfigError: If `metric` is not `latency_seconds`.
    """
    if metric != LATENCY:
      raise ConfigError(
        f'sweep.objective: got {metric!r}, expected a metric of the evaluation, such as '
        f'eval_loss_nats, or one of {LATENCY}, {", ".join(job.known_metrics)}'
      )
    return measure_latency_seconds(
      self.programs(job), job.hypers, config_of(job).train.seq_len
    )

  def penalty_value(self, metric: str, job: Job, maximized: bool) -> float:
    """Returns the finite value that replaces a metric of a diverged trial.

    - A metric that is known before the trial runs, such as `parameters`, keeps its value.
    - `eval_accuracy` is 0.
    - Any other metric is twice the loss of a uniform guess, in the unit of the metric. It is
      negated if the metric is maximized.
    """
    if metric in job.known_metrics:
      return float(job.known_metrics[metric])
    if metric == 'eval_accuracy':
      return 0.0

    # A uniform guess over V tokens has a loss of log(V) nats.
    vocab_size = config_of(job).model.vocab_size
    assert vocab_size is not None  # set in a complete config
    loss_nats = 2 * math.log(vocab_size)
    value = {
      'eval_perplexity': math.exp(loss_nats),
      'eval_bits_per_byte': loss_nats / math.log(2),
    }.get(metric, loss_nats)
    return -value if maximized else value


def make_equal_task(
  *,
  config: Mapping[str, Mapping[str, object]],
  present: frozenset[str],
  match_budget: str | None,
  dtype: str,
  base_values: Mapping[str, object],
  data_sha256: str,
  validation_documents: tuple[int, ...] | None = None,
) -> LanguageModel:
  """Returns a task equal to that of the driver, which is the process that runs the study.

  Args:
    config: Base config, not resolved, as {section: {key: value}}.
    present: See `LanguageModel`.
    match_budget: See `LanguageModel`.
    dtype: Value of the driver that replaces 'auto' as `model.dtype`.
    base_values: Values of the completed base config of the driver, by dotted path.
    data_sha256: Digest of the training data of the driver.
    validation_documents: Argument of `ModelJobs.limit_validation`. None: no limit.

  Raises:
    ConfigError: If this machine reads other data, or completes the config differently.
  """
  task = LanguageModel(config, present=present, match_budget=match_budget, dtype=dtype)
  host = socket.gethostname()
  # The data or the version of lmhp may differ between this host and the driver.
  for path, value in task.base_values().items():
    if value != base_values[path]:
      raise ConfigError(
        f'{path}: got {value!r} on {host}, expected {base_values[path]!r} as on '
        'the driver; use the same version of lmhp and the same data on both'
      )
  if task.data_sha256() != data_sha256:
    raise ConfigError(
      f'data.path: got other text on {host}, expected the text that the driver reads'
    )
  if validation_documents is not None:
    task.jobs.limit_validation(validation_documents)
  return task
