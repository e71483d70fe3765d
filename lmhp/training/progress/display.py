"""Progress of a run: a bar in a terminal or a notebook, otherwise lines with a timestamp.

These classes print all that lmhp prints during a run, log records included, so that the bar and
the lines never mix.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import contextlib
import math
import time

from rich.progress import BarColumn, Progress, TextColumn

from lmhp.training.progress.formats import format_metric, format_time_left, timestamped
from lmhp.training.progress.heartbeat import Heartbeat
from lmhp.training.progress.live import live_view, log_records_to, resolve_mode

LINE_SECONDS = 5.0
"""Least time between two lines of `PlainProgress`."""


class TrainingProgress:
  """Display of the progress of a run. This base class shows nothing, its subclasses do."""

  def update(self, step: int, metrics: Mapping[str, float]) -> None:
    """Shows the step and the metrics of the run.

    Args:
      step: Number of updates made.
      metrics: Latest values of metrics. A metric that is absent keeps its last value.
    """

  def message(self, text: str) -> None:
    """Prints a line."""


@contextlib.contextmanager
def training_progress(
  total_steps: int, title: str, mode: str = 'auto', first_step: int = 0
) -> Iterator[TrainingProgress]:
  """Shows the progress of a run, and prints the log records of lmhp with it.

  Args:
    total_steps: Number of updates of the whole run.
    title: Short text in front of the bar or the line, such as the name of the run.
    mode: One of `lmhp.training.progress.live.MODES`.
    first_step: Step at which the run starts or resumes.

  Raises:
    ConfigError: If `mode` is none of `MODES`.
  """
  mode = resolve_mode(mode)
  if mode == 'none':
    yield TrainingProgress()
    return
  state = _RunState(total_steps, title, first_step)
  progress = PlainProgress(state) if mode == 'plain' else LiveProgress(state, mode)
  with contextlib.closing(progress), log_records_to(progress.message):
    yield progress


class _RunState:
  """The latest step and metrics of a run, and the time that it needs.

  Args:
    total_steps: Number of updates of the whole run.
    title: Short text in front of the bar or the line.
    first_step: Step at which the run starts or resumes.
  """

  def __init__(self, total_steps: int, title: str, first_step: int) -> None:
    self.total_steps = total_steps
    self.title = title
    self.step = first_step
    self._first_step = first_step
    self.metrics: dict[str, float] = {}
    self._timed_step: int | None = None
    self._timed_at = 0.0

  def update(self, step: int, metrics: Mapping[str, float]) -> None:
    self.step = step
    self.metrics |= {name: float(value) for name, value in metrics.items()}
    # The speed is measured from the first trained step on, so that the compilation before it does
    # not count. An evaluation of the first state comes before the compilation.
    if self._timed_step is None and step > self._first_step:
      self._timed_step = step
      self._timed_at = time.monotonic()

  def seconds_left(self) -> float | None:
    """Returns the time to the last step at the mean speed so far, or None if not known."""
    if self._timed_step is None or self.step <= self._timed_step:
      return None
    seconds = time.monotonic() - self._timed_at
    return seconds / (self.step - self._timed_step) * (self.total_steps - self.step)

  def metrics_text(self) -> str:
    return '  '.join(format_metric(name, x) for name, x in self.metrics.items())


class PlainProgress(TrainingProgress):
  """A line every few seconds without control characters, for a pipe, a file or a log.

  Args:
    state: State of the run.
  """

  def __init__(self, state: _RunState) -> None:
    self._state = state
    self._printed_step = state.step
    self._printed_at = -math.inf
    self._heartbeat = Heartbeat(self._print)
    self._heartbeat.start()

  def close(self) -> None:
    """Prints the last step, unless it is printed already."""
    self._heartbeat.stop()
    if self._printed_step != self._state.step:
      self._print()

  def update(self, step: int, metrics: Mapping[str, float]) -> None:
    self._state.update(step, metrics)
    elapsed = time.monotonic() - self._printed_at
    # `close` prints the last step, which has two updates: its loss, and the final evaluation.
    if elapsed >= LINE_SECONDS and step < self._state.total_steps:
      self._print()

  def message(self, text: str) -> None:
    self._heartbeat.note_line()
    print(timestamped(text), flush=True)

  def _print(self) -> None:
    state = self._state
    self._printed_step = state.step
    self._printed_at = time.monotonic()
    parts = [
      state.title,
      f'step {state.step:,} of {state.total_steps:,}',
      state.metrics_text() or 'compiling',
      format_time_left(state.seconds_left()),
    ]
    self.message('  '.join(part for part in parts if part))


class LiveProgress(TrainingProgress):
  """A bar with the latest metrics, drawn in place.

  Args:
    state: State of the run.
    mode: 'terminal' or 'notebook'.
  """

  def __init__(self, state: _RunState, mode: str) -> None:
    self._state = state
    self._bar = Progress(
      TextColumn('{task.description}', markup=False),
      BarColumn(bar_width=24),
      TextColumn('{task.completed:,.0f}/{task.total:,.0f}'),
      TextColumn('{task.fields[metrics]}', style='metric'),
      TextColumn('{task.fields[time_left]}'),
    )
    self._task = self._bar.add_task(
      state.title,
      total=state.total_steps,
      completed=state.step,
      metrics='compiling',
      time_left='',
    )
    self._view = live_view(mode, self._bar.get_renderable)
    self._view.open()

  def close(self) -> None:
    """Draws the last step, and leaves the bar on the screen."""
    self._view.close()

  def update(self, step: int, metrics: Mapping[str, float]) -> None:
    self._state.update(step, metrics)
    self._bar.update(
      self._task,
      completed=step,
      metrics=self._state.metrics_text(),
      time_left=format_time_left(self._state.seconds_left()),
    )
    self._view.refresh()

  def message(self, text: str) -> None:
    self._view.print(text)
