"""The run: chunks of steps, evaluations, checkpoints, and what is left on disk when it ends.

The loop only decides when things happen. What happens is pure (`step.py`, `evaluate.py`), so a run that is stopped at
any moment and started again ends with the same bits.
"""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any, Iterator

import numpy as np

from lmhp.counting.parameters import count
from lmhp.data.batches import evaluation_batches
from lmhp.data.dataset import Dataset
from lmhp.data.stream import TrainStream
from lmhp.hypers import flatten
from lmhp.model.transformer import Model
from lmhp.statistics import diverged_at
from lmhp.training.checkpoint import Checkpoints
from lmhp.training.config import RunConfig
from lmhp.training.display import progress
from lmhp.training.evaluate import evaluate
from lmhp.training.history import local_or_remote, read, write_json
from lmhp.training.programs import Programs
from lmhp.training.signals import Stop, stop_on_signals
from lmhp.training.step import TrainState
from lmhp.training.writers import Writers

CHUNK_SECONDS = 1.0
"""What a chunk should last: often enough to look at, seldom enough not to be felt."""


@dataclasses.dataclass(frozen=True)
class RunResult:
  """What a run leaves.

  Attributes:
    workdir: where its files are.
    params: the last parameters.
    result: what `result.json` holds; empty where the run was interrupted.
    history: training metrics by name, vectors over the logged steps.
    evaluations: evaluation metrics by name, vectors over the evaluations.
    model: the network.
    complete: False where the run was interrupted; the same call goes on from there.
  """

  workdir: str
  params: Any
  result: dict
  history: dict[str, np.ndarray]
  evaluations: dict[str, np.ndarray]
  model: Model
  complete: bool


class Run:
  """One run in its directory. `go` makes it, from the start or from where it was stopped.

  Args:
    cfg: completed config.
    dataset: loaded for `cfg.data`.
    workdir: the run's directory.
    display: how progress is shown (`lmhp.training.display.MODES`).
    about: provenance, for `result.json`.
  """

  def __init__(self, cfg: RunConfig, dataset: Dataset, workdir: Any, display: str, about: dict):
    self.cfg, self.dataset, self.display, self.about = cfg, dataset, display, about
    self.workdir = local_or_remote(workdir)
    self.stream = TrainStream(dataset, cfg.train.seq_len, cfg.data)
    self.programs = Programs(cfg, self.stream)
    self.tokens_per_step = cfg.train.batch_size * cfg.train.seq_len
    self.evaluate_every = cfg.evaluate.every_steps or math.ceil(cfg.train.steps / 10)
    self.bytes_V = np.zeros(cfg.model.vocab_size, np.int32)
    self.bytes_V[: dataset.vocab_size] = dataset.tokenizer.bytes_per_token
    self.scores: dict[str, float] = {}  # the last evaluation's
    self.seconds_before = 0.0  # of earlier processes
    self.started = time.perf_counter()
    self.steps_per_second = 0.0  # of the last chunk; 0 is not yet known
    self.marked = 0.0  # when the last chunk was done

  def go(self) -> RunResult:
    """Trains to the end, or until a signal."""
    with Checkpoints(self.workdir / 'checkpoints', self.cfg.checkpoint) as checkpoints, stop_on_signals() as stop:
      state, resumed = self._first_state(checkpoints)
      with (Writers(self.workdir, self.cfg.log, resumed, flatten(self.cfg)) as writers,
            progress(self.cfg.train.steps, self.workdir.name, self.display, resumed or 0) as show):
        self.checkpoints, self.writers, self.show = checkpoints, writers, show
        if resumed is None:
          self._evaluate(state, 0)
        else:
          show.message(f'resumed at step {resumed:,}')
        state, step, broken = self._train(state, resumed or 0, stop)
        complete = broken or step == self.cfg.train.steps
        if complete:
          self._evaluate(state, step, final=True)
        self._save(state, step, wait=True)
        if not complete:
          show.message(f'stopped at step {step:,}, which is saved; the same command goes on from there')
    return self._finish(state, step, complete)

  def _first_state(self, checkpoints: Checkpoints) -> tuple[TrainState, int | None]:
    """A new state, or the newest saved one and its step."""
    latest = checkpoints.latest()
    if latest is None:
      return self.programs.init(self.programs.hypers), None
    state, extra = checkpoints.restore(latest, self.programs.abstract_state())
    self.seconds_before, self.scores = extra['seconds'], extra['scores']
    return state, extra['step']

  # --- chunks -----------------------------------------------------------------------------------------------------

  def _train(self, state: TrainState, step: int, stop: Stop) -> tuple[TrainState, int, bool]:
    """Chunk after chunk; the metrics of one are read while the next runs.

    Returns:
      The state, the step, and whether a loss was not finite.
    """
    pending, broken = None, False
    for n, data in self.programs.feed(step, self._lengths(step)):
      state, metrics = self.programs.chunk(state, data, n)
      self.marked = self.marked or time.perf_counter()  # the first chunk is timed without its compilation
      if pending is not None:
        broken = self._record(*pending)
      pending, step = (step, n, metrics), step + n
      if self._must_look(step) or stop:
        broken, pending = self._record(*pending) or broken, None
        if not (broken or stop):
          self._between(state, step)
      if broken or stop:
        break
    if pending is not None:
      broken = self._record(*pending) or broken
    return state, step, broken

  def _must_look(self, step: int) -> bool:
    """Whether a chunk's metrics are read before the next is started."""
    return self.steps_per_second == 0.0 or step % self.evaluate_every == 0 or self.checkpoints.due(step)

  def _between(self, state: TrainState, step: int) -> None:
    """Evaluates and saves, where it is time; the end has its own."""
    if step == self.cfg.train.steps:
      return
    if step % self.evaluate_every == 0:
      self._evaluate(state, step)
    if self.checkpoints.due(step):
      self._save(state, step)
    self.marked = time.perf_counter()

  def _lengths(self, step: int) -> Iterator[int]:
    """Steps of each chunk: about `CHUNK_SECONDS` long, none across an evaluation or a save that is due by its step."""
    every = [n for n in (self.evaluate_every, self.cfg.checkpoint.every_steps) if n]
    while step < self.cfg.train.steps:
      wish = self.programs.capacity
      if self.stream.resident:
        wish = min(wish, int(self.steps_per_second * CHUNK_SECONDS) if self.steps_per_second else 4)
      ends = [self.cfg.train.steps, *(step + n - step % n for n in every)]
      n = max(1, min(wish, min(ends) - step))
      yield n
      step += n

  def _record(self, first: int, n: int, metrics: dict) -> bool:
    """Writes a chunk's rows once it is done; whether some loss was not finite, after which nothing is written."""
    columns = {name: np.asarray(values)[:n] for name, values in metrics.items()}
    now = time.perf_counter()
    self.steps_per_second, self.marked = n / max(now - self.marked, 1e-9), now
    bad = np.flatnonzero(~np.isfinite(columns['loss_nats']))
    last = first + (int(bad[0]) + 1 if bad.size else n)
    every, forced = self.cfg.log.every_steps, {1, self.cfg.train.steps, *([last] if bad.size else [])}
    steps = [step for step in range(first + 1, last + 1) if step % every == 0 or step in forced]
    self.writers.append(
        {'step': step, 'tokens': step * self.tokens_per_step,
         **{name: values[step - first - 1] for name, values in columns.items()}, 'seconds': self._seconds()}
        for step in steps)
    self.show.update(last, {'loss_nats': columns['loss_nats'][last - first - 1], **self._shown(),
                            'tokens_per_second': self.steps_per_second * self.tokens_per_step})
    return bool(bad.size)

  def _shown(self) -> dict[str, float]:
    return {'eval_loss_nats': self.scores['eval_loss_nats']}

  def _seconds(self) -> float:
    return round(self.seconds_before + time.perf_counter() - self.started, 3)

  # --- between chunks ---------------------------------------------------------------------------------------------

  def _evaluate(self, state: TrainState, step: int, final: bool = False) -> None:
    """Scores the validation split and writes the row."""
    cfg = self.cfg.evaluate
    batches = evaluation_batches(
        self.dataset, self.cfg.train.seq_len, cfg.batch_size or max(32, self.cfg.train.batch_size),
        limit=cfg.final_sequences if final else cfg.sequences, end_of_text=self.stream.end_of_text)
    scores = evaluate(self.programs.score, state.params, self.programs.hypers, batches, self.bytes_V)
    self.scores = {f'eval_{name}': value for name, value in scores.items()}
    self.writers.append([{'step': step, **self.scores, 'final': int(final), 'seconds': self._seconds()}])
    self.show.update(step, self._shown())

  def _save(self, state: TrainState, step: int, wait: bool = False) -> None:
    """Starts to save the state; rows up to its step are on the disk first."""
    if not self.cfg.checkpoint.enabled:
      return
    self.writers.sync()
    extra = {'seconds': self._seconds(), 'scores': self.scores}
    self.checkpoints.save(step, state, extra, {'eval_loss_nats': self.scores['eval_loss_nats']}, wait)

  # --- the end ----------------------------------------------------------------------------------------------------

  def _finish(self, state: TrainState, step: int, complete: bool) -> RunResult:
    """Writes `result.json` where the run is complete."""
    history = read(self.workdir, having='loss_nats')
    evaluations = read(self.workdir, having='eval_loss_nats')
    result = self._result(history, evaluations, step) if complete else {}
    if complete:
      write_json(self.workdir / 'result.json', result)
    return RunResult(str(self.workdir), state.params, result, history, evaluations, self.programs.model, complete)

  def _result(self, history: dict, evaluations: dict, step: int) -> dict:
    counts = count(self.cfg.model)
    losses = np.where(np.isfinite(evaluations['eval_loss_nats']), evaluations['eval_loss_nats'], np.inf)
    best = int(np.argmin(losses))
    diverged = diverged_at(history['loss_nats'], half_life=max(20 / self.cfg.log.every_steps, 1))
    return {
        **{f'final_{name}': value for name, value in self.scores.items()},
        'best_eval_loss_nats': losses[best],
        'best_eval_step': int(evaluations['step'][best]),
        'initial_loss_nats': history['loss_nats'][0],
        'diverged_at': None if diverged is None else int(history['step'][diverged]),
        'steps': step,
        'tokens': step * self.tokens_per_step,
        'epochs': self.stream.epochs(step * self.cfg.train.batch_size, self.cfg.data.mixture_weights),
        'seconds': self._seconds(),
        'compile_seconds': self.programs.compile_seconds,
        'parameters': counts.total,
        'parameters_by_kind': counts.by_kind,
        'dtype': self.cfg.model.dtype,
        'data_sha256': self.dataset.sha256,
        'data': self.dataset.describe(),
        **self.about,
    }
