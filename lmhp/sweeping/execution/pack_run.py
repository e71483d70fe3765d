"""Training of a pack from one rung to the next, and scoring of its members.

A pack is a group of trials that one compiled program trains together. A trial in a pack is
called a member. A rung is a step at which trials are scored. A chunk is several updates in one
call of a program. The `Job` of a trial is its complete config in two parts: the structure,
which is compiled into the program, and the traced numbers, which are arguments of the program
(such as the learning rate).

The result depends only on the pack, the traced numbers of its trials and the states from
which they start. A run writes these files in the directory of the study::

  packs/NAME/result.json          metrics of each member; written last, so that a pack with
                                  this file is done
  packs/NAME/checkpoints/STEP     stacked states of the members
  packs/NAME/curves-STEP.parquet  rows of the curves up to a checkpoint
  curves/NAME.parquet             rows of the curves of a pack that is done

A final state that is not on the disk is computed again by running the pack again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
import logging
import math
import operator
import time

from etils import epath
import jax
import numpy as np
import numpy.typing as npt

from lmhp.errors import ConfigError
from lmhp.sweeping.execution.packs import (
  DEFAULT_OPTIONS,
  Pack,
  PackResult,
  PackRunOptions,
  Stopped,
  directory_of,
  finished_result,
  write_result,
)
from lmhp.sweeping.store.curves import CurveRows, path_of_curves
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
from lmhp.typing import PyTree

_log = logging.getLogger(__name__)

NonfiniteSteps = list[int | None]
"""For each member, the first step at which its loss was not finite, or None if there is none."""


class PackRun:
  """The training and the scoring of one pack, with its files.

  Args:
    task: Task of the study.
    pack: The pack.
    jobs: Job of each trial of the pack.
    workdir: Directory of the study.
    start: Function that returns the first state of the population. Called only if there is
      no checkpoint.
    options: Options that do not change the result.
  """

  def __init__(
    self,
    task: Task,
    pack: Pack,
    jobs: Sequence[Job],
    workdir: epath.Path,
    start: Callable[[Population], PyTree],
    options: PackRunOptions = DEFAULT_OPTIONS,
  ):
    self.task = task
    self.pack = pack
    self.jobs = list(jobs)
    self.workdir = workdir
    self.directory = directory_of(workdir, pack.name)
    self._curves = path_of_curves(workdir, pack.name)
    self.start = start
    self.options = options

    # The compiled program has a fixed width. Copies of the last job (padding members) fill it.
    n_padding = pack.width - len(self.jobs)
    self.population = Population(
      task.programs(self.jobs[0]),
      [job.hypers for job in self.jobs + [self.jobs[-1]] * n_padding],
      pack.method,
      pack.data_per_trial,
      task.data_axis(self.jobs[0], pack.data_per_trial),
      options.devices,
    )
    self.rows = CurveRows(
      pack.trials,
      tokens_per_step=self.jobs[0].tokens_per_step,
      every_steps=task.log_every_steps,
      # Steps that have a row even if `every_steps` leaves them out.
      forced_steps=(pack.last_step, self.jobs[0].steps),
      loss=task.loss,
    )
    # The padding members are treated as diverged at step 0, so they are not trained.
    self.nonfinite_steps: NonfiniteSteps = [None] * len(self.jobs) + [0] * n_padding
    self._start_time = 0.0
    self._steps_per_second = 0.0

  def run(self, again: bool = False) -> PackResult:
    """Trains and scores the members, or returns the result of an earlier process.

    Args:
      again: If True, trains even if there is a result, to compute the final states. The
        stored result is kept.

    Raises:
      Stopped: If `should_stop` returns True. The states are saved then.
    """
    if not again:
      finished = self.read()
      if finished is not None:
        return finished

    self._start_time = time.perf_counter()
    compile_seconds_before = self.population.compile_seconds
    config = CheckpointConfig(
      enabled=True,
      every_steps=None,
      # Checkpoints cannot express an infinite interval.
      every_seconds=min(self.task.checkpoint_seconds, 1e9),
      keep_last=1,
      keep_best=0,
    )
    with Checkpoints(self.directory / 'checkpoints', config) as checkpoints:
      state, step = self._first_state(checkpoints)
      state = self._train(state, step, checkpoints)
      is_worth_saving = self._seconds() >= self.options.worth_saving_seconds
      if self.pack.keep_states and is_worth_saving:
        self._save(checkpoints, state, self.pack.last_step)
      metrics = self._score(state)

    # The padding members are left out.
    n_trials = len(self.jobs)
    states = None
    if self.pack.keep_states:
      states = tuple(self.population.split(state)[:n_trials])
    result = PackResult(
      metrics=tuple(metrics[:n_trials]),
      nonfinite_steps=tuple(self.nonfinite_steps[:n_trials]),
      seconds=round(self._seconds(), 3),
      compile_seconds=round(
        self.population.compile_seconds - compile_seconds_before, 3
      ),
      device=self.population.devices[0].device_kind,
      states=states,
    )
    if self.read() is None:
      # The result comes last: a pack that has one is done.
      self.rows.write(self._curves)
      write_result(self.directory, result)
    return result

  def compile_ahead(self) -> None:
    """Compiles the programs of `run`. A thread calls this while another pack trains."""
    # A feed of streamed data prepares the next chunk before it yields one. So it needs the
    # lengths of two chunks, although only the first chunk is used.
    _, data = next(self._feed(self.pack.first_step, iter([1, 1])))
    self.population.compile_chunk(data)

  def read(self) -> PackResult | None:
    """Returns the result of an earlier process, or None if the pack must be run."""
    return finished_result(self.workdir, self.pack.name)

  # --- states -------------------------------------------------------------------------

  def _first_state(self, checkpoints: Checkpoints) -> tuple[PyTree, int]:
    """Returns the newest saved state and its step, or the first state of the members."""
    latest = checkpoints.latest()
    if latest is None:
      return self.start(self.population), self.pack.first_step

    # `step` may be older than `latest`, if the newest checkpoint is damaged.
    try:
      members, extra = self.restore(checkpoints, latest)
      step = extra['step']
      self.rows.read(self.directory / f'curves-{step}.parquet')
    except (ConfigError, FileNotFoundError) as error:
      reason = error
      if isinstance(error, FileNotFoundError):
        reason = f'{error.filename}: no such file'
      _log.warning('%s; this pack starts again', reason)
      return self.start(self.population), self.pack.first_step
    self.nonfinite_steps = extra['nonfinite_steps']
    # The time of the earlier process counts too.
    self._start_time -= extra['seconds']
    return self.population.join(members), step

  def restore(
    self, checkpoints: Checkpoints, step: int
  ) -> tuple[list[PyTree], dict[str, PyTree]]:
    """Returns the saved states of all members in numpy, and the values saved with them."""
    stacked, extra = checkpoints.restore(step, self.population.abstract_state())
    on_host = jax.device_get(stacked)
    members = [
      jax.tree.map(operator.itemgetter(i), on_host) for i in range(self.pack.width)
    ]
    return members, extra

  def _save(
    self, checkpoints: Checkpoints, state: PyTree, step: int, wait: bool = False
  ) -> None:
    """Writes the curves up to this step, then starts to save the states."""
    self.rows.write(self.directory / f'curves-{step}.parquet')
    stacked = stack(state) if isinstance(state, list) else state
    checkpoints.save(
      step,
      stacked,
      {'nonfinite_steps': self.nonfinite_steps, 'seconds': self._seconds()},
      wait=wait,
    )

  # --- training -----------------------------------------------------------------------

  def _train(self, state: PyTree, step: int, checkpoints: Checkpoints) -> PyTree:
    """Trains the members up to the last step, and returns their states."""
    evaluate_every_steps = self.task.evaluate_every_steps
    # No chunk crosses an evaluation.
    lengths = chunk_lengths(
      step,
      self.pack.last_step,
      self.population.programs.max_chunk_steps,
      every_steps=(evaluate_every_steps,),
      steps_per_second=lambda: self._steps_per_second,
    )
    for n_steps, data in self._feed(step, lengths):
      if self.options.should_stop():
        self._save(checkpoints, state, step, wait=True)
        raise Stopped
      state, columns = self._run_chunk(
        state, data, ChunkSteps(n_steps, step), self.nonfinite_steps
      )
      self._record(step, columns)
      step += n_steps

      is_end = step >= self.pack.last_step
      if evaluate_every_steps and step % evaluate_every_steps == 0 and not is_end:
        scores = self._evaluate(state, self.nonfinite_steps, final=False)
        self.rows.add_scores(step, scores, self.nonfinite_steps)
      if checkpoints.due(step) and not is_end:
        self._save(checkpoints, state, step)
      if None not in self.nonfinite_steps:
        # All members have diverged, so the rest would change nothing.
        break
    return state

  def _run_chunk(
    self,
    state: PyTree,
    data: PyTree,
    steps: ChunkSteps,
    nonfinite_steps: NonfiniteSteps,
  ) -> tuple[PyTree, dict[str, npt.NDArray[np.float32]]]:
    """Runs the updates of one chunk, and measures their speed without the compile time.

    Returns:
      The new state, and metrics {name: (R, S)} for R members and S steps.
    """
    start = time.perf_counter()
    compile_seconds_before = self.population.compile_seconds
    state, metrics = self.population.run(
      state,
      data,
      steps,
      is_training=[nonfinite is None for nonfinite in nonfinite_steps],
    )
    # The program returns metrics of `max_chunk_steps` steps, of which `n_steps` are used.
    n_steps = int(steps.n_steps)
    columns = {
      name: np.asarray(values)[:, :n_steps] for name, values in metrics.items()
    }
    # `np.asarray` has waited for the device, so the time is that of the whole chunk.
    compile_seconds = self.population.compile_seconds - compile_seconds_before
    seconds = time.perf_counter() - start - compile_seconds
    self._steps_per_second = n_steps / max(seconds, 1e-9)
    return state, columns

  def _feed(self, step: int, lengths: Iterator[int]) -> Iterator[tuple[int, PyTree]]:
    return self.task.feed(
      self.jobs[0], self.population.hypers, self.pack.data_per_trial, step, lengths
    )

  def _record(
    self, first_step: int, columns: Mapping[str, npt.NDArray[np.float32]]
  ) -> None:
    """Adds a chunk to the curves, and reports its last losses to the display.

    The curve of a member ends at its first loss that is not finite.
    """
    losses_RS = columns[self.task.loss]
    self.nonfinite_steps = _first_nonfinite_steps(
      self.nonfinite_steps, first_step, losses_RS
    )
    self.rows.add(first_step, columns, self.nonfinite_steps)
    last_losses_R = losses_RS[: len(self.jobs), -1]
    step = first_step + losses_RS.shape[1]
    self.options.show(step, {self.task.loss: last_losses_R, 'seconds': self._seconds()})

  def _seconds(self) -> float:
    """Returns the seconds spent on this pack so far, including earlier processes."""
    return time.perf_counter() - self._start_time

  # --- scoring ------------------------------------------------------------------------

  def _score(self, state: PyTree) -> list[dict[str, float]]:
    """Returns the metrics of each member.

    If the pack has a cooldown, a copy of the states (a fork) is trained to the end of the
    cooldown and scored. Otherwise the states themselves are scored.
    """
    nonfinite_steps = self.nonfinite_steps
    if self.pack.cooldown_steps:
      state, nonfinite_steps = self._cool_down(self.population.copy(state))
    scores = self._evaluate(state, nonfinite_steps, self.pack.final)
    # The last training metrics and the scores. A score replaces a metric of the same name.
    return [{**trained, **scored} for trained, scored in zip(self.rows.last(), scores)]

  def _evaluate(
    self, state: PyTree, nonfinite_steps: NonfiniteSteps, final: bool
  ) -> list[dict[str, float]]:
    """Returns the metrics of each member. They are NaN for a diverged member.

    The state of a diverged member depends on the method of the pack ('vmap', 'map' or 'loop'),
    so its metrics would depend on the method too. `final` is True at the end of training.
    """
    scores = self.task.evaluate(self.population, state, self.jobs[0], final)
    return [
      metrics if nonfinite is None else dict.fromkeys(metrics, math.nan)
      for metrics, nonfinite in zip(scores, nonfinite_steps)
    ]

  def _cool_down(self, state: PyTree) -> tuple[PyTree, NonfiniteSteps]:
    """Trains a fork to the end of its cooldown.

    Returns:
      The states of the fork, and the first nonfinite step of each member.
    """
    step = self.pack.last_step
    end = step + self.pack.cooldown_steps
    # The learning rate falls from its value at the rung to zero at the end of the cooldown.
    cooldown = Cooldown(step, self.pack.cooldown_steps)
    lengths = chunk_lengths(step, end, self.population.programs.max_chunk_steps)
    nonfinite_steps = self.nonfinite_steps
    for n_steps, data in self._feed(step, lengths):
      if None not in nonfinite_steps:
        break
      state, columns = self._run_chunk(
        state, data, ChunkSteps(n_steps, step, cooldown), nonfinite_steps
      )
      nonfinite_steps = _first_nonfinite_steps(
        nonfinite_steps, step, columns[self.task.loss]
      )
      step += n_steps
    return state, nonfinite_steps


def _first_nonfinite_steps(
  before: NonfiniteSteps, first_step: int, losses_RS: npt.NDArray[np.float32]
) -> NonfiniteSteps:
  """Returns for each member the first step at which its loss was not finite, or None.

  Args:
    before: The result for the chunks before this one.
    first_step: Number of updates that were made before the chunk.
    losses_RS: (R, S) training losses of R members at the S steps of the chunk.
  """
  return [
    first_nonfinite_step(first_step, losses_S) if step is None else step
    for step, losses_S in zip(before, losses_RS)
  ]
