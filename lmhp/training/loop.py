"""The training loop: chunks of updates, evaluations and checkpoints.

A chunk is several updates in one call of a compiled program. The loop only decides when to
train, evaluate and save. The updates and the scores are pure functions (`step.py`,
`evaluation.py`), so a run that is stopped at any moment and started again ends with the same
bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import dataclasses
import math
import time
from typing import Any

import jax
import numpy as np

from lmhp.data.dataset import Dataset
from lmhp.data.stream import TrainStream
from lmhp.model.batch import Batch
from lmhp.training.checkpoint import Checkpoints
from lmhp.training.chunks import (
  ChunkSteps,
  Metrics,
  chunk_lengths,
  first_nonfinite_step,
)
from lmhp.training.config import RunConfig
from lmhp.training.evaluation import ScoreInputs, evaluate, validation_batches
from lmhp.training.programs import Programs
from lmhp.training.progress.display import TrainingProgress
from lmhp.training.signals import Stop
from lmhp.training.step import TrainState
from lmhp.training.writers import Writers

DEFAULT_EVALUATIONS = 10
"""Number of evaluations of a run if `evaluate.every_steps` is None."""


class RunSetup:
  """The config of a run, with the data and the programs that follow from it.

  Args:
    cfg: Completed config.
    dataset: Dataset of `cfg.data`.

  Attributes:
    stream: Stream of the training batches.
    programs: Compiled programs of the run.
    abstract_state: Shapes and dtypes of the state of the run.

  Raises:
    ConfigError: If the data is too short, if the run is too long, or if no parameter is
      trainable.
  """

  def __init__(self, cfg: RunConfig, dataset: Dataset) -> None:
    self.cfg = cfg
    self.dataset = dataset
    self.stream = TrainStream(dataset, cfg.train.seq_len, cfg.data)
    # Called only for its check: `ConfigError` if the run is too long.
    self.epochs(cfg.train.steps)
    self.programs = Programs(cfg, self.stream, dataset.sha256)
    self.abstract_state = self.programs.abstract_state(self.programs.hypers)
    # Called only for its check: `ConfigError` if the validation split is too short.
    self.evaluation_batches(final=True)

  @property
  def tokens_per_step(self) -> int:
    """Number of tokens of a batch."""
    return self.cfg.train.batch_size * self.cfg.train.seq_len

  @property
  def evaluate_every_steps(self) -> int:
    """Number of steps from one evaluation to the next."""
    default = math.ceil(self.cfg.train.steps / DEFAULT_EVALUATIONS)
    return self.cfg.evaluate.every_steps or default

  def epochs(self, steps: int) -> tuple[float, ...]:
    """Returns the number of passes over each data source in a number of steps."""
    return self.stream.epochs(
      steps * self.cfg.train.batch_size, self.cfg.data.mixture_weights
    )

  def evaluation_batches(self, final: bool = False) -> Iterator[Batch]:
    """Returns the batches of an evaluation.

    Args:
      final: If True, the batches have `evaluate.final_sequences`, else `evaluate.sequences`.
    """
    return validation_batches(self.cfg, self.dataset, self.stream, final)


@dataclasses.dataclass
class RunRecord:
  """Facts about a run that are saved beside its state in each checkpoint.

  Attributes:
    scores: Scores of the latest evaluation, under names with the prefix `eval_`.
    scored_step: Step of the latest evaluation. None before the first one.
    nonfinite_step: First step whose loss was not finite. The run ends there. None if all
      losses were finite.
    started_at: Start of the run on the clock `time.perf_counter`. If the run is resumed, the
      time that it took in earlier processes is subtracted.
  """

  scores: dict[str, float] = dataclasses.field(default_factory=dict)
  scored_step: int | None = None
  nonfinite_step: int | None = None
  started_at: float = dataclasses.field(default_factory=time.perf_counter)

  def seconds(self) -> float:
    """Returns the time that all processes of the run have taken so far."""
    return round(time.perf_counter() - self.started_at, 3)

  def to_json(self) -> dict[str, Any]:
    """Returns the record as JSON."""
    return {
      'seconds': self.seconds(),
      'scores': self.scores,
      'scored_step': self.scored_step,
      'nonfinite_step': self.nonfinite_step,
    }

  def restore(self, values: Mapping[str, Any]) -> None:
    """Takes over the record that `to_json` returned in an earlier process."""
    self.started_at -= values['seconds']
    self.scores = values['scores']
    self.scored_step = values['scored_step']
    self.nonfinite_step = values['nonfinite_step']


@dataclasses.dataclass(frozen=True)
class _Chunk:
  """A chunk that was started on the device, and whose metrics were not read yet.

  Attributes:
    first_step: Number of updates before the chunk.
    n_steps: Number of updates.
    metrics: Metrics {name: (max_chunk_steps,)}. The device may still compute them.
  """

  first_step: int
  n_steps: int
  metrics: Metrics


class TrainingLoop:
  """The chunks, evaluations and checkpoints of a run in one process.

  Args:
    setup: Config, data and programs of the run.
    record: Record of the run, which the loop updates.
    checkpoints: Saved states of the run.
    writers: Files of the metrics.
    progress: Display of the progress.
    stop: Flag that is true after SIGTERM or Ctrl-C.
  """

  def __init__(
    self,
    setup: RunSetup,
    record: RunRecord,
    checkpoints: Checkpoints,
    writers: Writers,
    progress: TrainingProgress,
    stop: Stop,
  ) -> None:
    self.setup = setup
    self.record = record
    self.checkpoints = checkpoints
    self.writers = writers
    self.progress = progress
    self.stop = stop
    self.total_steps = setup.cfg.train.steps
    # Number of UTF-8 bytes of each token of the vocabulary, (V,).
    self._bytes_V = setup.dataset.token_bytes(setup.cfg.model.vocab_size)
    self._steps_per_second = 0.0  # speed of the last chunk, 0 if not known
    self._chunk_done_at = 0.0  # time at which the last chunk ended, 0 before the first

  # --- chunks -----------------------------------------------------------------------

  def train(self, state: TrainState, step: int) -> tuple[TrainState, int]:
    """Trains chunk by chunk, until the end, a signal or a loss that is not finite.

    The metrics of a chunk are read while the next chunk runs.

    Args:
      state: State to start from.
      step: Step of the state.

    Returns:
      The last state and its step.
    """
    programs = self.setup.programs
    # Score the first state, unless a run resumes from a state that was scored.
    is_scored = self.record.scored_step == step
    is_due = step < self.total_steps and self._evaluates_at(step)
    if is_due and not is_scored and not self.stop:
      self.evaluate(state, step)

    pending = None  # the chunk whose metrics were not read yet
    for n_steps, data in programs.feed(step, self._chunk_lengths(step)):
      if self.stop or self.record.nonfinite_step is not None:
        break
      state, metrics = programs.chunk(
        state, programs.hypers, data, ChunkSteps(n_steps, step)
      )
      # The first call compiles the program. The clock starts after it, so that the speed of the
      # first chunk does not include the compilation.
      self._chunk_done_at = self._chunk_done_at or time.perf_counter()
      # The device works on the new chunk while the metrics of the last one are read.
      if pending is not None:
        self._record_chunk(pending)
      pending = _Chunk(step, n_steps, metrics)
      step += n_steps

      # An evaluation or a save needs the state of this step, so the device must finish.
      if self._must_sync(step) or self.stop:
        self._record_chunk(pending)
        pending = None
        if not self.stop and self.record.nonfinite_step is None:
          self._evaluate_and_save(state, step)
    if pending is not None:
      self._record_chunk(pending)
    return state, step

  def _chunk_lengths(self, step: int) -> Iterator[int]:
    """Yields the number of steps of each chunk.

    No chunk crosses a step of an evaluation, or a multiple of `checkpoint.every_steps`.
    """
    # If the tokens are not resident (in device memory), batches are streamed from the host, and
    # padded to the longest chunk. Such chunks are as long as possible.
    is_resident = self.setup.stream.resident
    return chunk_lengths(
      step,
      self.total_steps,
      self.setup.programs.max_chunk_steps,
      every_steps=(
        self.setup.evaluate_every_steps,
        self.setup.cfg.checkpoint.every_steps,
      ),
      steps_per_second=(lambda: self._steps_per_second) if is_resident else None,
    )

  def _evaluates_at(self, step: int) -> bool:
    return step % self.setup.evaluate_every_steps == 0

  def _must_sync(self, step: int) -> bool:
    """Returns True if the metrics of a chunk must be read before the next chunk starts."""
    # Without a speed, read the metrics at once: this measures the speed, on which the lengths of
    # later chunks depend.
    has_speed = self._steps_per_second > 0.0
    return not has_speed or self._evaluates_at(step) or self.checkpoints.due(step)

  def _evaluate_and_save(self, state: TrainState, step: int) -> None:
    """Evaluates and saves if it is time. At the end of the run, `Run` does both."""
    if step == self.total_steps:
      return
    if self._evaluates_at(step):
      self.evaluate(state, step)
    if self.checkpoints.due(step):
      self.save(state, step)
    # The speed of the next chunk does not include the evaluation and the save.
    self._chunk_done_at = time.perf_counter()

  def _record_chunk(self, chunk: _Chunk) -> None:
    """Waits for a chunk and writes its rows, up to the first loss that is not finite."""
    if self.record.nonfinite_step is not None:
      return
    # Wait for the metrics, and measure the speed.
    first_step = chunk.first_step
    columns = {
      name: np.asarray(values)[: chunk.n_steps]
      for name, values in chunk.metrics.items()
    }
    now = time.perf_counter()
    elapsed = max(now - self._chunk_done_at, 1e-9)
    self._steps_per_second = chunk.n_steps / elapsed
    self._chunk_done_at = now

    # Find the last step to log. Steps after a loss that is not finite are left out.
    nonfinite_step = first_nonfinite_step(first_step, columns['loss_nats'])
    self.record.nonfinite_step = nonfinite_step
    last_step = nonfinite_step or first_step + chunk.n_steps

    # Write the rows of the steps at the interval, of the first step and of the last step.
    interval = self.setup.cfg.log.every_steps
    always_logged = {1, self.total_steps, nonfinite_step}
    self.writers.append(
      self._row(step, first_step, columns)
      for step in range(first_step + 1, last_step + 1)
      if step % interval == 0 or step in always_logged
    )

    metrics = {'loss_nats': float(columns['loss_nats'][last_step - first_step - 1])}
    metrics |= self._latest_score()
    metrics['tokens_per_second'] = self._steps_per_second * self.setup.tokens_per_step
    self.progress.update(last_step, metrics)

  def _row(
    self, step: int, first_step: int, columns: Mapping[str, np.ndarray]
  ) -> dict[str, Any]:
    """Returns the row of one step for `metrics.jsonl`."""
    return {
      'step': step,
      'tokens': step * self.setup.tokens_per_step,
      **{name: values[step - first_step - 1] for name, values in columns.items()},
      'seconds': self.record.seconds(),
    }

  def _latest_score(self) -> dict[str, float]:
    return {'eval_loss_nats': self.record.scores['eval_loss_nats']}

  # --- evaluations and checkpoints --------------------------------------------------

  def evaluate(self, state: TrainState, step: int, final: bool = False) -> None:
    """Scores the validation split, and writes a row of `metrics.jsonl`.

    Args:
      state: State to score.
      step: Step of the row.
      final: True for the evaluation at the end of the run.
    """
    programs = self.setup.programs

    def score(batch: Batch) -> dict[str, jax.Array]:
      return programs.score(state, programs.hypers, ScoreInputs(batch, self._bytes_V))

    scores = evaluate(score, self.setup.evaluation_batches(final))
    if self.setup.dataset.tokenizer.bytes_per_token is None:
      # Without the text of the tokens, their bytes are not known.
      del scores['bits_per_byte']
    self.record.scores = {f'eval_{name}': value for name, value in scores.items()}
    self.record.scored_step = step
    row = {
      'step': step,
      **self.record.scores,
      'final': int(final),
      'seconds': self.record.seconds(),
    }
    self.writers.append([row])
    self.progress.update(step, self._latest_score())

  def save(self, state: TrainState, step: int, wait: bool = False) -> None:
    """Starts to save a state, if `checkpoint.enabled` is True.

    Args:
      state: State to save.
      step: Step of the state.
      wait: If True, returns when the checkpoint is complete.
    """
    if not self.setup.cfg.checkpoint.enabled:
      return
    # Write the rows up to this step to the disk first. A run that resumes from the checkpoint
    # does not write them again.
    self.writers.history.sync()
    is_scored = self.record.scored_step == step
    metrics = self._latest_score() if is_scored else {}
    mark = self.writers.history.mark(step)
    extra = {**self.record.to_json(), 'history': dataclasses.asdict(mark)}
    self.checkpoints.save(step, state, extra, metrics, wait)
