"""The run: chunks of steps, evaluations, checkpoints, and what is left on disk when it ends.

The loop only decides when things happen. What happens is pure (`step.py`, `evaluate.py`), so a run that is stopped at
any moment and started again ends with the same bits.
"""

from __future__ import annotations

import math
import time
from typing import Any, Iterator

import numpy as np

from lmhp.counting.parameters import count
from lmhp.data.batches import evaluation_batches
from lmhp.data.dataset import Dataset
from lmhp.data.stream import TrainStream
from lmhp.files import as_path, write_json
from lmhp.hypers import flatten
from lmhp.statistics.divergence import diverged_at
from lmhp.training.checkpoint import Checkpoints
from lmhp.training.chunks import ChunkSteps, chunk_lengths
from lmhp.training.config import RunConfig
from lmhp.training.evaluation import ScoreInputs, evaluate
from lmhp.training.history import read
from lmhp.training.programs import Programs
from lmhp.training.progress.display import training_progress
from lmhp.training.result import RunResult, read_result
from lmhp.training.signals import Stop, stop_on_signals
from lmhp.training.step import TrainState
from lmhp.training.writers import Writers


class Run:
  """One run in its directory. `go` makes it, from the start or from where it was stopped.

  Making the object checks all that can be checked before anything is compiled or written.

  Args:
    cfg: completed config.
    dataset: loaded for `cfg.data`.
    workdir: the run's directory.
    display: how progress is shown (`lmhp.training.progress.live.MODES`).
    about: provenance, for `result.json`.
    card: what `config.json` shall hold.

  Raises:
    ConfigError: where the data is too short, the run too long, or nothing is left to train.
  """

  def __init__(
    self,
    cfg: RunConfig,
    dataset: Dataset,
    workdir: Any,
    display: str,
    about: dict,
    card: dict,
  ):
    self.cfg, self.dataset, self.display, self.about, self.card = (
      cfg,
      dataset,
      display,
      about,
      card,
    )
    self.workdir = as_path(workdir)
    self.stream = TrainStream(dataset, cfg.train.seq_len, cfg.data)
    self.stream.epochs(cfg.train.steps * cfg.train.batch_size, cfg.data.mixture_weights)
    self.programs = Programs(cfg, self.stream, dataset.sha256)
    self.abstract_state = self.programs.abstract_state(self.programs.hypers)
    self._evaluation(final=True)
    self.tokens_per_step = cfg.train.batch_size * cfg.train.seq_len
    self.evaluate_every = cfg.evaluate.every_steps or math.ceil(cfg.train.steps / 10)
    self.bytes_V = dataset.token_bytes(cfg.model.vocab_size)
    self.scores: dict[str, float] = {}  # the last evaluation's
    self.scored: int | None = None  # its step
    self.broken_at: int | None = None  # the first step whose loss was not finite
    self.seconds_before = 0.0  # of earlier processes
    self.started = time.perf_counter()
    self.steps_per_second = 0.0  # of the last chunk; 0 is not yet known
    self.marked = 0.0  # when the last chunk was done

  def run(self) -> RunResult:
    """Trains to the end, or until a signal; a run that is complete already is only read."""
    with (
      Checkpoints(self.workdir / 'checkpoints', self.cfg.checkpoint) as checkpoints,
      stop_on_signals() as stop,
    ):
      written, latest = read_result(self.workdir), checkpoints.latest()
      if written is not None and latest is None:  # its state was not kept
        return self._already(None)
      state, resumed = self._first_state(checkpoints, latest)
      if written is not None and self._done(resumed):
        return self._already(state)
      with (
        Writers(self.workdir, self.cfg.log, resumed, flatten(self.cfg)) as writers,
        training_progress(
          self.cfg.train.steps, self.workdir.name, self.display, resumed or 0
        ) as show,
      ):
        self.checkpoints, self.writers, self.show = checkpoints, writers, show
        if not (
          self.workdir / 'config.json'
        ).exists():  # now that the directory is locked
          write_json(self.workdir / 'config.json', self.card)
        if resumed is not None:
          show.message(f'resumed at step {resumed:,}')
        state, step = self._train(state, resumed or 0, stop)
        if step != (resumed or 0):
          if self._done(step):
            self._evaluate(state, self.broken_at or step, final=True)
          self._save(state, step, wait=True)
        if not self._done(step):
          kept = (
            'the same command goes on from there'
            if checkpoints.steps()
            else 'nothing is saved yet'
          )
          show.message(f'stopped at step {step:,}; {kept}')
    if not self._done(step):
      return self._outcome(state, stop.signal)
    write_json(self.workdir / 'result.json', self._result(self.broken_at or step))
    return self._outcome(state)

  def _done(self, step: int | None) -> bool:
    """Whether a state of this step is the run's last."""
    return self.broken_at is not None or step == self.cfg.train.steps

  def _first_state(
    self, checkpoints: Checkpoints, latest: int | None
  ) -> tuple[TrainState, int | None]:
    """A new state, or the newest saved one and its step."""
    if latest is None:
      return self.programs.init(self.programs.hypers), None
    state, extra = checkpoints.restore(latest, self.abstract_state)
    self.seconds_before, self.scores, self.scored = (
      extra['seconds'],
      extra['scores'],
      extra['scored'],
    )
    self.broken_at = extra['broken_at']
    return state, extra['step']

  # --- chunks -----------------------------------------------------------------------------------------------------

  def _train(self, state: TrainState, step: int, stop: Stop) -> tuple[TrainState, int]:
    """Chunk after chunk, until the end, a signal or a loss that is not finite; the state then and its step.

    The metrics of one chunk are read while the next runs.
    """
    if (
      not stop
      and self.scored != step
      and step % self.evaluate_every == 0
      and step < self.cfg.train.steps
    ):
      self._evaluate(state, step)
    pending = None
    for n, data in self.programs.feed(step, self._lengths(step)):
      if stop or self.broken_at is not None:
        break
      state, metrics = self.programs.chunk(
        state, self.programs.hypers, data, ChunkSteps(n, step)
      )
      self.marked = (
        self.marked or time.perf_counter()
      )  # the first chunk is timed without its compilation
      if pending is not None:
        self._record(*pending)
      pending, step = (step, n, metrics), step + n
      if self._must_look(step) or stop:
        self._record(*pending)
        pending = None
        if not stop and self.broken_at is None:
          self._between(state, step)
    if pending is not None:
      self._record(*pending)
    return state, step

  def _must_look(self, step: int) -> bool:
    """Whether a chunk's metrics are read before the next is started."""
    return (
      self.steps_per_second == 0.0
      or step % self.evaluate_every == 0
      or self.checkpoints.due(step)
    )

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
    return chunk_lengths(
      step,
      self.cfg.train.steps,
      self.programs.capacity,
      every_steps=(self.evaluate_every, self.cfg.checkpoint.every_steps),
      steps_per_second=(lambda: self.steps_per_second)
      if self.stream.resident
      else None,
    )

  def _record(self, first: int, n: int, metrics: dict) -> None:
    """Writes a chunk's rows once it is done, up to the first loss that is not finite; after that, nothing."""
    if self.broken_at is not None:
      return
    columns = {name: np.asarray(values)[:n] for name, values in metrics.items()}
    now = time.perf_counter()
    self.steps_per_second, self.marked = n / max(now - self.marked, 1e-9), now
    bad = np.flatnonzero(~np.isfinite(columns['loss_nats']))
    last = first + n
    if bad.size:
      last = self.broken_at = first + int(bad[0]) + 1
    every, forced = self.cfg.log.every_steps, {1, self.cfg.train.steps, self.broken_at}
    steps = [
      step for step in range(first + 1, last + 1) if step % every == 0 or step in forced
    ]
    self.writers.append(
      {
        'step': step,
        'tokens': step * self.tokens_per_step,
        **{name: values[step - first - 1] for name, values in columns.items()},
        'seconds': self._seconds(),
      }
      for step in steps
    )
    self.show.update(
      last,
      {
        'loss_nats': columns['loss_nats'][last - first - 1],
        **self._shown(),
        'tokens_per_second': self.steps_per_second * self.tokens_per_step,
      },
    )

  def _shown(self) -> dict[str, float]:
    return {'eval_loss_nats': self.scores['eval_loss_nats']}

  def _seconds(self) -> float:
    return round(self.seconds_before + time.perf_counter() - self.started, 3)

  # --- between chunks ---------------------------------------------------------------------------------------------

  def _evaluation(self, final: bool = False) -> Iterator[Any]:
    """The batches of an evaluation."""
    cfg = self.cfg.evaluate
    return evaluation_batches(
      self.dataset,
      self.cfg.train.seq_len,
      cfg.batch_size or max(32, self.cfg.train.batch_size),
      limit=cfg.final_sequences if final else cfg.sequences,
      end_of_text=self.stream.end_of_text,
      change=self.stream.for_evaluation,
    )

  def _evaluate(self, state: TrainState, step: int, final: bool = False) -> None:
    """Scores the validation split and writes the row."""
    scores = evaluate(
      lambda batch: self.programs.score(
        state, self.programs.hypers, ScoreInputs(batch, self.bytes_V)
      ),
      self._evaluation(final),
    )
    if self.dataset.tokenizer.bytes_per_token is None:  # tokens without their text
      del scores['bits_per_byte']
    self.scores, self.scored = (
      {f'eval_{name}': value for name, value in scores.items()},
      step,
    )
    self.writers.append(
      [{'step': step, **self.scores, 'final': int(final), 'seconds': self._seconds()}]
    )
    self.show.update(step, self._shown())

  def _save(self, state: TrainState, step: int, wait: bool = False) -> None:
    """Starts to save the state; rows up to its step are on the disk first."""
    if not self.cfg.checkpoint.enabled:
      return
    self.writers.sync()
    extra = {
      'seconds': self._seconds(),
      'scores': self.scores,
      'scored': self.scored,
      'broken_at': self.broken_at,
    }
    measured = (
      {'eval_loss_nats': self.scores['eval_loss_nats']} if self.scored == step else {}
    )
    self.checkpoints.save(step, state, extra, measured, wait)

  # --- the end ----------------------------------------------------------------------------------------------------

  def _already(self, state: TrainState | None) -> RunResult:
    """What a run left that was complete before."""
    mode = 'none' if self.display == 'none' else 'plain'
    with training_progress(self.cfg.train.steps, self.workdir.name, mode) as show:
      show.message(f'{self.workdir}: this run is complete; nothing is trained again')
    return self._outcome(state)

  def _outcome(self, state: TrainState | None, signal: int | None = None) -> RunResult:
    """What the files and the last state say."""
    history, evaluations = (
      read(self.workdir, having='loss_nats'),
      read(self.workdir, having='eval_loss_nats'),
    )
    params, result = state and state.params, {} if signal else read_result(self.workdir)
    return RunResult(
      str(self.workdir),
      params,
      result,
      history,
      evaluations,
      self.programs.model,
      signal,
    )

  def _result(self, step: int) -> dict:
    """What `result.json` says of a run that was complete at a step."""
    history, evaluations = (
      read(self.workdir, having='loss_nats'),
      read(self.workdir, having='eval_loss_nats'),
    )
    counts = count(self.cfg.model)
    losses = np.where(
      np.isfinite(evaluations['eval_loss_nats']), evaluations['eval_loss_nats'], np.inf
    )
    best = int(np.argmin(losses))
    diverged = diverged_at(
      history['loss_nats'], half_life=max(20 / self.cfg.log.every_steps, 1)
    )
    return {
      **{f'final_{name}': value for name, value in self.scores.items()},
      'best_eval_loss_nats': losses[best],
      'best_eval_step': int(evaluations['step'][best]),
      'initial_loss_nats': history['loss_nats'][0],
      'diverged_at': None if diverged is None else int(history['step'][diverged]),
      'steps': step,
      'tokens': step * self.tokens_per_step,
      'epochs': self.stream.epochs(
        step * self.cfg.train.batch_size, self.cfg.data.mixture_weights
      ),
      'seconds': self._seconds(),
      'compile_seconds': self.programs.compile_seconds,
      'parameters': counts.total,
      'parameters_by_kind': counts.by_kind,
      'dtype': self.cfg.model.dtype,
      'data_sha256': self.dataset.sha256,
      'data': self.dataset.describe(),
      **self.about,
    }
