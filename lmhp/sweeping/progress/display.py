"""Progress of a sweep: a table in a terminal or a notebook, otherwise lines with a timestamp.

A pack is a group of trials that are trained together. If the display raises an error, the study
continues, and plain lines are printed instead. The log records of lmhp are printed through the
display, because other output would break the table.

The names 'title', 'metric', 'best' and 'muted' are text styles of
`lmhp.training.progress.live`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
import contextlib
from typing import Self, TypeVar

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lmhp.sweeping.budget import SearchPlan
from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.execution.packs import Pack
from lmhp.sweeping.progress.study_progress import StudyProgress
from lmhp.sweeping.progress.study_state import StudyState
from lmhp.sweeping.progress.trial_table import trial_table
from lmhp.sweeping.store.trial import Trial
from lmhp.training.progress.formats import timestamped
from lmhp.training.progress.heartbeat import Heartbeat
from lmhp.training.progress.live import live_view, log_records_to, resolve_mode

MAX_ROWS = 14
"""Largest number of trials in the table. The display then fits in a terminal of 24 lines."""

MAX_PACKS = 3
"""Largest number of running packs that have a line."""

T = TypeVar('T')


def study_progress(sweep: SweepConfig, name: str, mode: str = 'auto') -> StudyProgress:
  """Returns the object that shows the progress of a sweep.

  Args:
    sweep: Config of the sweep.
    name: Name of the study.
    mode: One of `lmhp.training.progress.live.MODES`.

  Raises:
    ConfigError: If the mode is not one of these.
  """
  mode = resolve_mode(mode)
  if mode == 'none':
    return StudyProgress()
  state = StudyState(sweep, name)
  display = PlainDisplay(state) if mode == 'plain' else LiveDisplay(state, mode)
  return DisplayedProgress(state, display)


class Display:
  """Shows the state of a study. This base class shows nothing.

  A display either prints new lines or redraws one table in the same place.
  """

  def open(self) -> None:
    """Draws the table for the first time, if there is one."""

  def close(self) -> None:
    """Draws the table for the last time, if there is one."""

  def update(self, ended: Sequence[Pack]) -> None:
    """Shows the new state.

    Args:
      ended: Packs that have ended since the last call.
    """

  def message(self, text: str) -> None:
    """Shows one line of text."""


class PlainDisplay(Display):
  """Lines for a pipe, a file or a log.

  There is a line for each pack that ends, for each message, and after some seconds without a
  line.

  Args:
    state: State of the study.
  """

  def __init__(self, state: StudyState) -> None:
    self._state = state
    self._heartbeat = Heartbeat(self._print_state)

  def open(self) -> None:
    self._heartbeat.start()

  def close(self) -> None:
    self._heartbeat.stop()

  def update(self, ended: Sequence[Pack]) -> None:
    for pack in ended:
      trained = f'{pack.name}: {len(pack.trials)} trials to step {pack.last_step:,}'
      self.message(f'{trained}  {self._state.summary()}')

  def message(self, text: str) -> None:
    self._heartbeat.note_line()
    print(timestamped(text), flush=True)

  def _print_state(self) -> None:
    """Prints what the study does now."""
    with self._state.lock:
      running = [pack.describe() for pack in self._state.packs.values()]
      is_started = bool(self._state.trials)
      summary = self._state.summary() if is_started else ''
    doing = '; '.join(running) or 'preparing: compiling and measuring programs'
    self.message(f'{doing}  {summary}'.rstrip())


class LiveDisplay(Display):
  """A table of the study, redrawn in the same place.

  Args:
    state: State of the study.
    mode: 'terminal' or 'notebook'.
  """

  def __init__(self, state: StudyState, mode: str) -> None:
    self._state = state
    self._view = live_view(mode, self._render)
    self._error: Exception | None = None

  def open(self) -> None:
    self._view.open()

  def close(self) -> None:
    self._view.close()
    self._raise_error()

  def update(self, ended: Sequence[Pack]) -> None:
    self._raise_error()
    self._view.refresh()

  def message(self, text: str) -> None:
    self._view.print(text)

  def _render(self) -> RenderableType:
    """Returns the study as text.

    A thread of the view may call this, and an error in a thread would be lost. So the error is
    stored, and `update` or `close` raises it.
    """
    try:
      with self._state.lock:
        return render_study(self._state)
    except Exception as error:
      self._error = error
      return Text('')

  def _raise_error(self) -> None:
    if self._error is not None:
      raise self._error


def render_study(state: StudyState) -> RenderableType:
  """Returns the progress of a study: a bar, a summary, the running packs and the trials.

  Args:
    state: State of the study.
  """
  bar = ProgressBar(total=1.0, completed=state.fraction_done(), width=16)
  header = Table.grid(padding=(0, 2, 0, 0))
  header.add_row(Text(state.name, 'title'), bar, Text(state.summary()))
  parts: list[RenderableType] = [header]
  for running in list(state.packs.values())[:MAX_PACKS]:
    parts.append(Text(running.describe(), 'metric', no_wrap=True, overflow='ellipsis'))

  shown = trial_table(state, MAX_ROWS)
  table = Table(box=None, pad_edge=False, header_style='bold')
  for i, name in enumerate(shown.columns):
    # The parameters stand after the trial's number. Four other columns follow them.
    is_parameter = 0 < i < len(shown.columns) - 4
    table.add_column(
      Text(name),
      justify='left' if name == 'status' else 'right',
      # A narrow screen cuts the parameters first.
      no_wrap=not is_parameter,
      overflow='ellipsis',
    )
  for row in shown.rows:
    style = ''
    if row.is_best:
      style = 'best'
    elif not row.is_running:
      style = 'muted'
    table.add_row(*map(Text, row.cells), style=style)
  if shown.rows:
    parts.append(table)
  if shown.n_hidden:
    parts.append(Text(f'not shown: {shown.n_hidden:,} more trials', 'muted'))
  return Group(*parts)


class DisplayedProgress(StudyProgress):
  """Keeps the state of a study, and shows it.

  Args:
    state: State of the study.
    display: The display. After its first error, it is replaced by a `PlainDisplay`.
  """

  def __init__(self, state: StudyState, display: Display) -> None:
    self._state = state
    self._display = display
    self._has_failed = False
    self._open = contextlib.ExitStack()

  def __enter__(self) -> Self:
    self._open.enter_context(log_records_to(self.message))
    self._guard(lambda: self._display.open())
    return self

  def __exit__(self, *exception: object) -> None:
    self._guard(lambda: self._display.close())
    self._open.close()

  def start(self, plan: SearchPlan, trials: Iterable[Trial]) -> None:
    self._change(lambda: self._state.start(plan, trials))

  def start_pack(self, pack: Pack) -> None:
    self._change(lambda: self._state.start_pack(pack))

  def update_pack(self, pack: Pack, step: int, metrics: Mapping[str, object]) -> None:
    self._change(lambda: self._state.update_pack(pack, step, metrics))

  def update_trials(self, trials: Iterable[Trial]) -> None:
    self._change(lambda: self._state.update_trials(trials))

  def message(self, text: str) -> None:
    self._guard(lambda: self._display.message(text))

  def _change(self, change: Callable[[], Sequence[Pack] | None]) -> None:
    """Changes the state, and shows it. `change` may return the packs that have ended."""
    ended = self._guard(change) or ()
    self._guard(lambda: self._display.update(ended))

  def _guard(self, call: Callable[[], T]) -> T | None:
    """Calls a function, and returns its result.

    After the first error, the display is replaced by a `PlainDisplay`, and the function is
    called once more. So the function must read `self._display` at each call. Later errors are
    ignored, and None is returned.
    """
    try:
      return call()
    except Exception as error:
      # The plain display failed too. The sweep continues without a display.
      if self._has_failed:
        return None
      text = f'the display failed ({type(error).__name__}: {error}); plain lines follow'
    self._has_failed = True
    failed = self._display
    self._display = PlainDisplay(self._state)
    with contextlib.suppress(Exception):
      failed.close()
    with contextlib.suppress(Exception):
      self._display.message(text)
    return self._guard(call)
