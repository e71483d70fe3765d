"""A pack: trials of one structure that are trained together from one rung to the next, and scored there.

`run` is a pure function of a `Pack`, the trials' numbers and the states it starts from. What it leaves: `result.json`
(written last, whole or not at all: with it the pack is done), its curves, and the members' states. A state that is not
on the disk can always be made again by running the pack again.

Layout below the study's directory::

  packs/NAME/result.json         metrics of each member, seconds, tokens
  packs/NAME/checkpoints/STEP    the stacked states
  packs/NAME/curves-STEP.parquet rows up to a checkpoint; curves/NAME.parquet when done
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from typing import Any, Callable, Iterator, Sequence

import jax
import numpy as np

from lmhp.files import from_jsonable, write_json
from lmhp.sweeping.execution import curves
from lmhp.sweeping.tasks.task import Job, Task
from lmhp.training.checkpoint import Checkpoints
from lmhp.training.chunks import (
  ChunkSteps,
  Cooldown,
  chunk_lengths,
  first_nonfinite_step,
)
from lmhp.training.config import CheckpointConfig
from lmhp.training.population import Population, stack

WORTH_SAVING_SECONDS = 2.0
"""States that took less to make are not saved when a pack is done, but made again if ever they are needed."""


@dataclasses.dataclass(frozen=True)
class Pack:
  """What is trained together. JSON-able, and the same whenever a study is run again.

  Attributes:
    name: unique in the study.
    trials: numbers of its members.
    sources: for each member the pack that it comes from and its place there; None is its first state.
    first_step: of the members' updates.
    last_step: where they are scored.
    cooldown_steps: length of the fork that is scored instead; 0 scores the state itself.
    final: whether this is the members' end: scored on the whole of what `evaluate` says for the end.
    method: one of `lmhp.training.population.METHODS`.
    width: members in the program; those beyond the trials repeat the last and are not looked at.
    own_data: whether each member reads batches of its own.
    keep: whether a later pack may start from these states.
  """

  name: str
  trials: tuple[int, ...]
  sources: tuple[tuple[str, int] | None, ...]
  first_step: int
  last_step: int
  cooldown_steps: int = 0
  final: bool = False
  method: str = 'vmap'
  width: int = 1
  own_data: bool = False
  keep: bool = False


@dataclasses.dataclass(frozen=True)
class PackResult:
  """What a pack found.

  Attributes:
    metrics: of each member at `last_step`.
    broken_at: of each member the first step whose loss was not finite, or None.
    seconds: training and scoring, over all processes.
    compile_seconds: of these, compiling.
    device: what it ran on.
    states: the members' states in numpy, where they are still at hand.
  """

  metrics: tuple[dict[str, float], ...]
  broken_at: tuple[int | None, ...]
  seconds: float
  compile_seconds: float
  device: str
  states: tuple[Any, ...] | None = None


class Stopped(Exception):
  """A signal came: what was trained is saved, and the pack is not done."""


class PackRun:
  """One pack in its directory.

  Args:
    task: what a trial is.
    pack: what to run.
    jobs: of its members.
    workdir: the study's directory.
    start: gives the members' first states; asked only where no checkpoint is there.
    stop: true when a signal has come.
    show: told `(step, {metric: (members,)})` after each chunk.
    devices: to run on; () is the default one.
    worth_saving_seconds: final states that took less are not saved; 0 where another process will start from them.
  """

  def __init__(
    self,
    task: Task,
    pack: Pack,
    jobs: Sequence[Job],
    workdir: Any,
    start: Callable[[Population], Any],
    stop: Callable[[], bool] = lambda: False,
    show: Callable[[int, dict], None] = lambda step, metrics: None,
    devices: Sequence[Any] = (),
    worth_saving_seconds: float = WORTH_SAVING_SECONDS,
  ):
    self.task, self.pack, self.jobs, self.start, self.stop, self.show = (
      task,
      pack,
      list(jobs),
      start,
      stop,
      show,
    )
    self.workdir, self.directory = workdir, workdir / 'packs' / pack.name
    self.worth_saving_seconds = worth_saving_seconds
    self.padded = self.jobs + [self.jobs[-1]] * (pack.width - len(self.jobs))
    self.population = Population(
      task.member(jobs[0]),
      [job.hypers for job in self.padded],
      pack.method,
      pack.own_data,
      task.data_axis(jobs[0], pack.own_data),
      devices,
    )
    self.rows = curves.Rows(
      pack.trials,
      jobs[0].tokens_per_step,
      task.log_every,
      (pack.last_step, jobs[0].steps),
      task.loss,
    )
    self.broken = [None] * len(self.jobs) + [0] * (
      pack.width - len(self.jobs)
    )  # padding never lives
    self.seconds_before, self.began = 0.0, 0.0
    self.steps_per_second = 0.0

  def run(self, again: bool = False) -> PackResult:
    """Trains and scores, or reads what an earlier process found.

    Args:
      again: make the states again although the result is there; it is not written twice.

    Raises:
      Stopped: when `stop` says so; what is done is saved.
    """
    done = None if again else self.read()
    if done is not None:
      return done
    self.began, compiled = time.perf_counter(), self.population.compile_seconds
    config = CheckpointConfig(
      every_seconds=min(self.task.checkpoint_seconds, 1e9), keep_last=1, keep_best=0
    )
    with Checkpoints(self.directory / 'checkpoints', config) as self.checkpoints:
      state, step = self._first_state()
      state = self._train(state, step)
      if self.pack.keep and self._seconds() >= self.worth_saving_seconds:
        self._save(state, self.pack.last_step)
      metrics = self._score(state)
      states = (
        tuple(self.population.split(state)[: len(self.jobs)])
        if self.pack.keep
        else None
      )
    result = PackResult(
      tuple(metrics),
      tuple(self.broken[: len(self.jobs)]),
      round(self._seconds(), 3),
      round(self.population.compile_seconds - compiled, 3),
      self.population.devices[0].device_kind,
      states,
    )
    if self.read() is None:
      self.rows.write(self.workdir / 'curves' / f'{self.pack.name}.parquet')
      write_json(
        self.directory / 'result.json',
        dataclasses.asdict(dataclasses.replace(result, states=None)),
      )
    return result

  def compile_ahead(self) -> None:
    """Compiles what `run` will need, where nobody has; for a thread, while another pack trains."""
    _, data = next(
      self.task.feed(
        self.jobs[0],
        self.population.hypers,
        self.pack.own_data,
        self.pack.first_step,
        iter([1, 1]),
      )
    )
    self.population.compile_chunk(data)

  def read(self) -> PackResult | None:
    """What an earlier process found, None where it did not come to its end."""
    return read_result(self.directory)

  # --- training -------------------------------------------------------------------------------------------------------

  def _first_state(self) -> tuple[Any, int]:
    """The newest saved state and its step, or the members' first."""
    latest = self.checkpoints.latest()
    if latest is None:
      return self.start(self.population), self.pack.first_step
    rows, extra = self.restore(self.checkpoints, latest)
    self.broken, self.seconds_before = extra['broken'], extra['seconds']
    self.rows.read(self.directory / f'curves-{extra["step"]}.parquet')
    return self.population.join(rows), extra['step']

  def restore(
    self, checkpoints: Checkpoints, step: int
  ) -> tuple[list[Any], dict[str, Any]]:
    """The states of all members in numpy from a saved step, and what was saved beside them."""
    stacked, extra = checkpoints.restore(step, self.population.abstract_state())
    host = jax.device_get(stacked)
    return [jax.tree.map(lambda x: x[i], host) for i in range(self.pack.width)], extra

  def _train(self, state: Any, step: int) -> Any:
    """Chunk after chunk to the last step; saves by time, and when a signal comes."""
    lengths = self._lengths(step)
    for n, data in self.task.feed(
      self.jobs[0], self.population.hypers, self.pack.own_data, step, lengths
    ):
      if self.stop():
        self._save(state, step, wait=True)
        raise Stopped
      began, compiled = time.perf_counter(), self.population.compile_seconds
      state, metrics = self.population.run(
        state,
        data,
        ChunkSteps(n, step),
        is_training=[b is None for b in self.broken],
      )
      columns = {name: np.asarray(values)[:, :n] for name, values in metrics.items()}
      took = time.perf_counter() - began - (self.population.compile_seconds - compiled)
      self.steps_per_second = n / max(took, 1e-9)
      self._record(step, columns)
      step += n
      if self._evaluates(step):
        self.rows.add_scores(
          step, self._evaluate(state, self.broken, final=False), self.broken
        )
      if self.checkpoints.due(step) and step < self.pack.last_step:
        self._save(state, step)
      if None not in self.broken:  # nobody is left to train
        break
    return state

  def _evaluates(self, step: int) -> bool:
    every = self.task.evaluate_every
    return bool(every) and step % every == 0 and step < self.pack.last_step

  def _lengths(self, step: int) -> Iterator[int]:
    """Yields the number of steps of each chunk. No chunk crosses an evaluation."""
    return chunk_lengths(
      step,
      self.pack.last_step,
      self.population.member.capacity,
      every_steps=(self.task.evaluate_every,),
      steps_per_second=lambda: self.steps_per_second,
    )

  def _record(self, first: int, columns: dict[str, np.ndarray]) -> None:
    """Notes a chunk's metrics, each member's up to its first loss that is not finite."""
    self.broken = self._broken(self.broken, first, columns[self.rows.loss])
    self.rows.add(first, columns, self.broken)
    n = len(self.jobs)
    self.show(
      first + columns[self.rows.loss].shape[1],
      {self.rows.loss: columns[self.rows.loss][:n, -1], 'seconds': self._seconds()},
    )

  def _broken(
    self, before: list[int | None], first: int, losses_RS: np.ndarray
  ) -> list[int | None]:
    """Of each member the first step whose loss was not finite, once the chunk from `first` on is looked at too."""
    return [
      first_nonfinite_step(first, losses_S) if step is None else step
      for step, losses_S in zip(before, losses_RS)
    ]

  def _save(self, state: Any, step: int, wait: bool = False) -> None:
    """Starts to save the states; the curves up to there are on the disk first."""
    self.rows.write(self.directory / f'curves-{step}.parquet')
    stacked = stack(state) if isinstance(state, list) else state
    extra = {'broken': self.broken, 'seconds': self._seconds()}
    self.checkpoints.save(step, stacked, extra, wait=wait)

  # --- scoring --------------------------------------------------------------------------------------------------------

  def _score(self, state: Any) -> list[dict[str, float]]:
    """Metrics of each member, of its state or of a fork that cools down."""
    broken = self.broken
    if self.pack.cooldown_steps:
      state, broken = self._cooled(self.population.copy(state))
    scores = self._evaluate(state, broken, self.pack.final)
    return [{**trained, **scored} for trained, scored in zip(self.rows.last(), scores)]

  def _evaluate(
    self, state: Any, broken: list[int | None], final: bool
  ) -> list[dict[str, float]]:
    """Metrics of each member; NaN of a broken one, of which each method leaves another state."""
    scores = self.task.evaluate(self.population, state, self.jobs[0], final)
    return [
      s if at is None else dict.fromkeys(s, math.nan) for s, at in zip(scores, broken)
    ]

  def _cooled(self, state: Any) -> tuple[Any, list[int | None]]:
    """The fork's state at its end, and which members broke on the way there or before."""
    step, broken = self.pack.last_step, self.broken
    cooldown = Cooldown(step, self.pack.cooldown_steps)
    lengths = chunk_lengths(
      step, step + self.pack.cooldown_steps, self.population.member.capacity
    )
    for n, data in self.task.feed(
      self.jobs[0], self.population.hypers, self.pack.own_data, step, lengths
    ):
      if None not in broken:
        break
      state, metrics = self.population.run(
        state,
        data,
        ChunkSteps(n, step, cooldown),
        is_training=[b is None for b in broken],
      )
      broken = self._broken(broken, step, np.asarray(metrics[self.rows.loss])[:, :n])
      step += n
    return state, broken

  def _seconds(self) -> float:
    return self.seconds_before + time.perf_counter() - self.began


def read_result(directory: Any) -> PackResult | None:
  """A pack's result from its directory, None where it has none."""
  path = directory / 'result.json'
  if not path.exists():
    return None
  found = json.loads(path.read_text())
  return PackResult(
    **{
      **found,
      'metrics': tuple(from_jsonable(found['metrics'])),
      'broken_at': tuple(found['broken_at']),
    }
  )
