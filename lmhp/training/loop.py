"""The training loop: chunks of updates, evaluations and checkpoints, and the end of a run.

The loop only decides when things happen. The updates and the scores are pure functions
(`step.py`, `evaluation.py`), so a run that is stopped at any moment and started again ends
with the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import dataclasses
import math
import time
from typing import Any

import jax
import numpy as np

from lmhp.counting.parameters import count
from lmhp.data.batches import Batch, evaluation_batches
from lmhp.data.dataset import Dataset
from lmhp.data.stream import TrainStream
from lmhp.files import as_path, write_json
from lmhp.hypers import flatten
from lmhp.training.checkpoint import Checkpoints
from lmhp.training.chunks import (
  ChunkSteps,
  Metrics,
  chunk_lengths,
  first_nonfinite_step,
)
from lmhp.training.config import RunConfig
from lmhp.training.evaluation import ScoreInputs, evaluate
from lmhp.training.history import read_history
from lmhp.training.manifest import MANIFEST_FILE, RunManifest
from lmhp.training.programs import Programs
from lmhp.training.progress.display import TrainingProgress, training_progress
from lmhp.training.result import (
  RESULT_FILE,
  RunResult,
  read_result,
  summarize_losses,
)
from lmhp.training.signals import Stop, stop_on_signals
from lmhp.training.step import TrainState
from lmhp.training.writers import Writers
from lmhp.typing import PathLike

DEFAULT_EVALUATIONS = 10
"""Number of evaluations of a run whose config has no interval."""

SMALLEST_EVALUATION_BATCH = 32


@dataclasses.dataclass
class RunRecord:
  """Facts about a run that are saved beside its state in each checkpoint.

  Attributes:
    seconds: Time that earlier processes trained.
    scores: Scores of the latest evaluation, with the prefix `eval_`.
    scored_step: Step of the latest evaluation.
    nonfinite_step: First step whose loss was not finite. The run ends there.
  """

  seconds: float = 0.0
  scores: dict[str, float] = dataclasses.field(default_factory=dict)
  scored_step: int | None = None
  nonfinite_step: int | None = None


class Run:
  """One run in its directory.

  The constructor checks everything that can be checked before a program is compiled or a
  file is written.

  Args:
    cfg: Completed config.
    dataset: Dataset of `cfg.data`.
    workdir: Directory of the run.
    display: Mode of the progress, one of `lmhp.training.progress.live.MODES`.
    manifest: Manifest of this process. A resumed run keeps the file of the first process.

  Raises:
    ConfigError: If the data is too short, if the run is too long, or if no parameter is
      trainable.
  """

  def __init__(
    self,
    cfg: RunConfig,
    dataset: Dataset,
    workdir: PathLike,
    display: str,
    manifest: RunManifest,
  ) -> None:
    self.cfg = cfg
    self.dataset = dataset
    self.workdir = as_path(workdir)
    self.display = display
    self.manifest = manifest
    self.record = RunRecord()
    self._started_at = time.perf_counter()

    self.stream = TrainStream(dataset, cfg.train.seq_len, cfg.data)
    self._epochs(cfg.train.steps)
    self.programs = Programs(cfg, self.stream, dataset.sha256)
    self._abstract_state = self.programs.abstract_state(self.programs.hypers)
    self.evaluation_batches(final=True)

  def run(self) -> RunResult:
    """Trains to the end of the run, or until a signal. A complete run is only read."""
    with (
      Checkpoints(self.workdir / 'checkpoints', self.cfg.checkpoint) as checkpoints,
      stop_on_signals() as stop,
    ):
      has_result = read_result(self.workdir) is not None
      latest = checkpoints.latest()
      if has_result and latest is None:
        return self._already_complete(None)

      state, resumed_step = self._first_state(checkpoints, latest)
      if has_result and self.is_last(resumed_step or 0):
        return self._already_complete(state)

      state, step = self._train(state, resumed_step, checkpoints, stop)

    # The last checkpoint is complete from here on.
    if not self.is_last(step):
      return self._read_outcome(state, stop.signal)
    result = self._result(self.record.nonfinite_step or step)
    write_json(self.workdir / RESULT_FILE, result)
    return self._read_outcome(state)

  def _first_state(
    self, checkpoints: Checkpoints, latest: int | None
  ) -> tuple[TrainState, int | None]:
    """Returns the newest saved state and its step, or a new state and None."""
    if latest is None:
      return self.programs.init(self.programs.hypers), None
    state, extra = checkpoints.restore(latest, self._abstract_state)
    step = extra.pop('step')
    self.record = RunRecord(**extra)
    return state, step

  def _train(
    self,
    state: TrainState,
    resumed_step: int | None,
    checkpoints: Checkpoints,
    stop: Stop,
  ) -> tuple[TrainState, int]:
    """Trains, evaluates at the end, and saves. Returns the last state and its step."""
    first_step = resumed_step or 0
    total_steps = self.cfg.train.steps
    with (
      Writers(self.workdir, self.cfg.log, resumed_step, flatten(self.cfg)) as writers,
      training_progress(
        total_steps, self.workdir.name, self.display, first_step
      ) as progress,
    ):
      # The directory is locked now, so no other process writes the manifest.
      if not (self.workdir / MANIFEST_FILE).exists():
        write_json(self.workdir / MANIFEST_FILE, self.manifest.to_json())
      if resumed_step is not None:
        progress.message(f'resumed at step {resumed_step:,}')

      loop = TrainingLoop(self, checkpoints, writers, progress, stop)
      state, step = loop.train(state, first_step)
      if step != first_step:
        if self.is_last(step):
          loop.evaluate(state, self.record.nonfinite_step or step, final=True)
        loop.save(state, step, wait=True)

      if not self.is_last(step):
        next_step = (
          'the same command resumes the run'
          if checkpoints.steps()
          else 'nothing is saved'
        )
        progress.message(f'stopped at step {step:,}; {next_step}')
    return state, step

  # --- facts about the run ------------------------------------------------------------

  @property
  def tokens_per_step(self) -> int:
    """Number of tokens of a batch."""
    return self.cfg.train.batch_size * self.cfg.train.seq_len

  @property
  def evaluate_every_steps(self) -> int:
    """Number of steps from one evaluation to the next."""
    interval = math.ceil(self.cfg.train.steps / DEFAULT_EVALUATIONS)
    return self.cfg.evaluate.every_steps or interval

  def is_last(self, step: int) -> bool:
    """Returns True if the state of a step is the last of the run."""
    return self.record.nonfinite_step is not None or step == self.cfg.train.steps

  def seconds(self) -> float:
    """Returns the time that all processes of the run have trained so far."""
    return round(self.record.seconds + time.perf_counter() - self._started_at, 3)

  def evaluation_batches(self, final: bool = False) -> Iterator[Batch]:
    """Returns the batches of an evaluation.

    Args:
      final: True for the evaluation at the end, which may take more sequences.
    """
    cfg = self.cfg.evaluate
    default_batch_size = max(SMALLEST_EVALUATION_BATCH, self.cfg.train.batch_size)
    return evaluation_batches(
      self.dataset,
      self.cfg.train.seq_len,
      cfg.batch_size or default_batch_size,
      limit=cfg.final_sequences if final else cfg.sequences,
      end_of_text=self.stream.end_of_text,
      change=self.stream.for_evaluation,
    )

  def _epochs(self, steps: int) -> tuple[float, ...]:
    """Returns how often each source is read in a number of steps."""
    return self.stream.epochs(
      steps * self.cfg.train.batch_size, self.cfg.data.mixture_weights
    )

  # --- the end ------------------------------------------------------------------------

  def _already_complete(self, state: TrainState | None) -> RunResult:
    """Reads the result of a run that was complete before."""
    mode = 'none' if self.display == 'none' else 'plain'
    with training_progress(self.cfg.train.steps, self.workdir.name, mode) as progress:
      progress.message(
        f'{self.workdir}: this run is complete; nothing is trained again'
      )
    return self._read_outcome(state)

  def _read_outcome(
    self, state: TrainState | None, signal: int | None = None
  ) -> RunResult:
    """Returns the last state and the content of the files of the run."""
    result = None if signal else read_result(self.workdir)
    return RunResult(
      workdir=str(self.workdir),
      params=None if state is None else state.params,
      result=result or {},
      history=read_history(self.workdir, having='loss_nats'),
      evaluations=read_history(self.workdir, having='eval_loss_nats'),
      model=self.programs.model,
      signal=signal,
    )

  def _result(self, step: int) -> dict[str, object]:
    """Returns the content of `result.json` of a run whose last step is `step`."""
    counts = count(self.cfg.model)
    final_scores = {f'final_{name}': x for name, x in self.record.scores.items()}
    losses = summarize_losses(
      read_history(self.workdir, having='loss_nats'),
      read_history(self.workdir, having='eval_loss_nats'),
      self.cfg.log.every_steps,
    )
    return {
      **final_scores,
      **losses,
      'steps': step,
      'tokens': step * self.tokens_per_step,
      'epochs': self._epochs(step),
      'seconds': self.seconds(),
      'compile_seconds': self.programs.compile_seconds,
      'parameters': counts.total,
      'parameters_by_kind': counts.by_kind,
      'dtype': self.cfg.model.dtype,
      'data_sha256': self.dataset.sha256,
      'data': self.dataset.describe(),
      **self.manifest.provenance.to_json(),
    }


@dataclasses.dataclass(frozen=True)
class _Chunk:
  """A chunk that was started, and whose metrics were not read yet.

  Attributes:
    first_step: Number of updates before the chunk.
    n_steps: Number of updates.
    metrics: Metrics {name: (capacity,)}. The device may still compute them.
  """

  first_step: int
  n_steps: int
  metrics: Metrics


class TrainingLoop:
  """The chunks, evaluations and checkpoints of a run in one process.

  Args:
    run: Run to train.
    checkpoints: Saved states of the run.
    writers: Files of the metrics.
    progress: Progress of the run.
    stop: True after a signal.
  """

  def __init__(
    self,
    run: Run,
    checkpoints: Checkpoints,
    writers: Writers,
    progress: TrainingProgress,
    stop: Stop,
  ) -> None:
    self.run = run
    self.record = run.record
    self.checkpoints = checkpoints
    self.writers = writers
    self.progress = progress
    self.stop = stop
    self.total_steps = run.cfg.train.steps
    self._bytes_V = run.dataset.token_bytes(run.cfg.model.vocab_size)
    self._steps_per_second = 0.0  # speed of the last chunk, 0 if not known
    self._chunk_done_at = 0.0  # time of its end, 0 before the first chunk

  # --- chunks -------------------------------------------------------------------------

  def train(self, state: TrainState, step: int) -> tuple[TrainState, int]:
    """Trains chunk by chunk, until the end, a signal or a loss that is not finite.

    The metrics of a chunk are read while the next chunk runs.

    Args:
      state: State to start from.
      step: Step of the state.

    Returns:
      The last state and its step.
    """
    programs = self.run.programs
    is_evaluation_due = step % self.run.evaluate_every_steps == 0
    if self.record.scored_step != step and is_evaluation_due:
      if not self.stop and step < self.total_steps:
        self.evaluate(state, step)

    pending = None
    for n_steps, data in programs.feed(step, self._chunk_lengths(step)):
      if self.stop or self.record.nonfinite_step is not None:
        break
      steps = ChunkSteps(n_steps, step)
      state, metrics = programs.chunk(state, programs.hypers, data, steps)
      # The first call compiles the program. The speed of the first chunk leaves that out.
      self._chunk_done_at = self._chunk_done_at or time.perf_counter()
      if pending is not None:
        self._record_chunk(pending)
      pending = _Chunk(step, n_steps, metrics)
      step += n_steps

      if self._must_sync(step) or self.stop:
        self._record_chunk(pending)
        pending = None
        if not self.stop and self.record.nonfinite_step is None:
          self._evaluate_and_save(state, step)
    if pending is not None:
      self._record_chunk(pending)
    return state, step

  def _chunk_lengths(self, step: int) -> Iterator[int]:
    """Yields the lengths of chunks. None crosses an evaluation or a save at a step."""

    def steps_per_second() -> float:
      return self._steps_per_second

    is_resident = self.run.stream.resident
    return chunk_lengths(
      step,
      self.total_steps,
      self.run.programs.capacity,
      every_steps=(
        self.run.evaluate_every_steps,
        self.run.cfg.checkpoint.every_steps,
      ),
      steps_per_second=steps_per_second if is_resident else None,
    )

  def _must_sync(self, step: int) -> bool:
    """Returns True if the metrics of a chunk are read before the next chunk starts."""
    return (
      self._steps_per_second == 0.0
      or step % self.run.evaluate_every_steps == 0
      or self.checkpoints.due(step)
    )

  def _evaluate_and_save(self, state: TrainState, step: int) -> None:
    """Evaluates and saves if it is time. `Run` does both at the end."""
    if step == self.total_steps:
      return
    if step % self.run.evaluate_every_steps == 0:
      self.evaluate(state, step)
    if self.checkpoints.due(step):
      self.save(state, step)
    self._chunk_done_at = time.perf_counter()

  def _record_chunk(self, chunk: _Chunk) -> None:
    """Waits for a chunk and writes its rows, up to the first loss that is not finite."""
    if self.record.nonfinite_step is not None:
      return
    first_step = chunk.first_step
    columns = {
      name: np.asarray(values)[: chunk.n_steps]
      for name, values in chunk.metrics.items()
    }
    now = time.perf_counter()
    elapsed = max(now - self._chunk_done_at, 1e-9)
    self._steps_per_second = chunk.n_steps / elapsed
    self._chunk_done_at = now

    last_step = first_step + chunk.n_steps
    nonfinite_step = first_nonfinite_step(first_step, columns['loss_nats'])
    if nonfinite_step is not None:
      self.record.nonfinite_step = nonfinite_step
      last_step = nonfinite_step

    # Rows at the interval, and always of the first and of the last step.
    interval = self.run.cfg.log.every_steps
    always_logged = {1, self.total_steps, nonfinite_step}
    rows = []
    for step in range(first_step + 1, last_step + 1):
      if step % interval == 0 or step in always_logged:
        rows.append(self._row(step, first_step, columns))
    self.writers.append(rows)

    metrics = {'loss_nats': float(columns['loss_nats'][last_step - first_step - 1])}
    metrics |= self._latest_score()
    metrics['tokens_per_second'] = self._steps_per_second * self.run.tokens_per_step
    self.progress.update(last_step, metrics)

  def _row(
    self, step: int, first_step: int, columns: Mapping[str, np.ndarray]
  ) -> dict[str, Any]:
    """Returns the row of one step for `metrics.jsonl`."""
    return {
      'step': step,
      'tokens': step * self.run.tokens_per_step,
      **{name: values[step - first_step - 1] for name, values in columns.items()},
      'seconds': self.run.seconds(),
    }

  def _latest_score(self) -> dict[str, float]:
    return {'eval_loss_nats': self.record.scores['eval_loss_nats']}

  # --- between chunks -----------------------------------------------------------------

  def evaluate(self, state: TrainState, step: int, final: bool = False) -> None:
    """Scores the validation split, and writes the row.

    Args:
      state: State to score.
      step: Step of the row.
      final: True at the end of the run.
    """
    programs = self.run.programs

    def score(batch: Batch) -> dict[str, jax.Array]:
      inputs = ScoreInputs(batch, self._bytes_V)
      return programs.score(state, programs.hypers, inputs)

    scores = evaluate(score, self.run.evaluation_batches(final))
    if self.run.dataset.tokenizer.bytes_per_token is None:
      # The text of the tokens is not known.
      del scores['bits_per_byte']
    self.record.scores = {f'eval_{name}': value for name, value in scores.items()}
    self.record.scored_step = step
    row = {
      'step': step,
      **self.record.scores,
      'final': int(final),
      'seconds': self.run.seconds(),
    }
    self.writers.append([row])
    self.progress.update(step, self._latest_score())

  def save(self, state: TrainState, step: int, wait: bool = False) -> None:
    """Starts to save a state, if the config allows it.

    Args:
      state: State to save.
      step: Step of the state.
      wait: If True, returns when the checkpoint is complete.
    """
    if not self.run.cfg.checkpoint.enabled:
      return
    # The rows up to this step are on the disk before the checkpoint is.
    self.writers.sync()
    extra = dataclasses.asdict(self.record) | {'seconds': self.run.seconds()}
    is_scored = self.record.scored_step == step
    metrics = self._latest_score() if is_scored else {}
    self.checkpoints.save(step, state, extra, metrics, wait)
