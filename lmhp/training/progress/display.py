"""How a run shows itself while it goes on, and what it says at its end.

A bar in a terminal, a curve in a notebook, plain lines with the time anywhere else, behind one interface. Whatever lmhp
prints while a run goes on, its log records included, goes through it, so that bar and lines never mix.
"""

from __future__ import annotations

import datetime
import logging
import math
import sys
import time
from typing import Any, Mapping

from lmhp.errors import ConfigError, suggest
from lmhp.training.progress import notebook

MODES = ('auto', 'terminal', 'plain', 'notebook', 'none')
# How a metric is shown: its short name and its format. Others are shown under their own names.
SHORT = {
  'loss_nats': ('loss', '{:.4f}'),
  'eval_loss_nats': ('eval loss', '{:.4f}'),
  'tokens_per_second': ('tokens/s', '{:,.0f}'),
  'learning_rate': ('learning rate', '{:.2e}'),
}


def progress(
  total_steps: int, description: str, mode: str = 'auto', first_step: int = 0
) -> TrainingProgress:
  """Shows a run's progress. Use it in a `with`, and call `update` once a chunk.

  Args:
    total_steps: updates of the whole run.
    description: a few words in front.
    mode: `auto` looks where it runs; the other `MODES` insist.
    first_step: the step the run resumes from.

  Raises:
    ConfigError: for another mode.
  """
  if mode not in MODES:
    raise ConfigError(
      f'mode: got {mode!r}, expected one of {", ".join(MODES)}{suggest(mode, MODES)}'
    )
  if mode == 'auto':
    mode = (
      'notebook'
      if notebook.running()
      else 'terminal'
      if sys.stdout.isatty()
      else 'plain'
    )
  shows = {
    'terminal': _Terminal,
    'plain': _Plain,
    'notebook': _Notebook,
    'none': TrainingProgress,
  }
  return shows[mode](total_steps, description, first_step)


class TrainingProgress:
  """The interface, and what shows nothing."""

  def __init__(self, total_steps: int, description: str, first_step: int = 0):
    self.total_steps, self.description = total_steps, description
    self.step, self.metrics = first_step, {}
    self._first = None  # the first update: the time before it is compilation, which says nothing of the speed

  def __enter__(self) -> TrainingProgress:
    return self

  def __exit__(self, *exception) -> None:
    pass

  def update(self, step: int, metrics: Mapping[str, float]) -> None:
    """Says how far the run is, and what it measures; a metric not given keeps its last value."""
    self.step = step
    self.metrics |= {k: float(v) for k, v in metrics.items()}
    self._first = self._first or (step, time.monotonic())

  def message(self, text: str) -> None:
    """Says something in words."""

  def seconds_left(self) -> float | None:
    """Seconds to the end at the speed since the first update, None before the second."""
    done = self.step - self._first[0] if self._first else 0
    return (
      (time.monotonic() - self._first[1]) / done * (self.total_steps - self.step)
      if done > 0
      else None
    )

  def numbers(self) -> str:
    """The metrics in one line."""
    return '  '.join(_number(key, value) for key, value in self.metrics.items())


class _Speaking(TrainingProgress):
  """A progress that can print; takes lmhp's log records while it is open."""

  def __enter__(self) -> TrainingProgress:
    self._handler = _Handler(self)
    logging.getLogger('lmhp').addHandler(self._handler)
    self._propagated, logging.getLogger('lmhp').propagate = (
      logging.getLogger('lmhp').propagate,
      False,
    )
    return self

  def __exit__(self, *exception) -> None:
    logging.getLogger('lmhp').propagate = self._propagated
    logging.getLogger('lmhp').removeHandler(self._handler)


class _Handler(logging.Handler):
  """Hands log records to a progress."""

  def __init__(self, show: TrainingProgress):
    super().__init__(logging.INFO)
    self._show = show

  def emit(self, record: logging.LogRecord) -> None:
    self._show.message(f'{record.levelname.lower()}: {record.getMessage()}')


class _Plain(_Speaking):
  """A line every few seconds, without control characters: for a pipe, a file, a batch system's log."""

  every_seconds = 5.0
  _said_step, _said_at = None, -math.inf

  def update(self, step: int, metrics: Mapping[str, float]) -> None:
    super().update(step, metrics)
    if (
      time.monotonic() - self._said_at >= self.every_seconds or step >= self.total_steps
    ):
      self._say()

  def _say(self) -> None:
    self._said_step, self._said_at = self.step, time.monotonic()
    left = self.seconds_left()
    left = '' if not left else f'  {_clock(left)} left'
    self.message(
      f'{self.description}  step {self.step:,} of {self.total_steps:,}  {self.numbers()}{left}'
    )

  def message(self, text: str) -> None:
    print(f'{datetime.datetime.now():%Y-%m-%d %H:%M:%S}  {text}', flush=True)

  def __exit__(self, *exception) -> None:
    if self._first and self._said_step != self.step:
      self._say()
    super().__exit__(*exception)


class _Terminal(_Speaking):
  """A bar with live numbers."""

  def __enter__(self) -> TrainingProgress:
    from rich import progress as rich

    column = rich.TextColumn
    self._bar = rich.Progress(
      column('{task.description}'),
      rich.BarColumn(bar_width=24),
      column('{task.completed:,.0f}/{task.total:,.0f}'),
      column('{task.fields[numbers]}', style='cyan'),
      column('{task.fields[left]}'),
      refresh_per_second=4,
    )
    self._task = self._bar.add_task(
      self.description,
      total=self.total_steps,
      completed=self.step,
      numbers='compiling',
      left='',
    )
    self._bar.start()
    return super().__enter__()

  def update(self, step: int, metrics: Mapping[str, float]) -> None:
    super().update(step, metrics)
    left = self.seconds_left()
    left = '' if not left else f'{_clock(left)} left'
    self._bar.update(self._task, completed=step, numbers=self.numbers(), left=left)

  def message(self, text: str) -> None:
    self._bar.console.print(text, markup=False, highlight=False)

  def __exit__(self, *exception) -> None:
    self._bar.stop()
    super().__exit__(*exception)


class _Notebook(_Speaking):
  """A bar, the numbers and the loss curves, redrawn in place."""

  every_seconds = 1.0
  _drawn_at = -math.inf

  def __enter__(self) -> TrainingProgress:
    self._curves: dict[str, list[tuple[int, float]]] = {
      'loss_nats': [],
      'eval_loss_nats': [],
    }
    self._picture = notebook.Picture(self._html())
    return super().__enter__()

  def update(self, step: int, metrics: Mapping[str, float]) -> None:
    super().update(step, metrics)
    for key, points in self._curves.items():
      if math.isfinite(float(metrics.get(key, math.nan))):
        points.append((step, float(metrics[key])))
    if (
      time.monotonic() - self._drawn_at >= self.every_seconds
      or step >= self.total_steps
    ):
      self._drawn_at = time.monotonic()
      self._picture.redraw(self._html())

  def message(self, text: str) -> None:
    print(text, flush=True)

  def _html(self) -> str:
    left = self.seconds_left()
    words = f'step {self.step:,} of {self.total_steps:,}  {self.numbers()}' + (
      f'  {_clock(left)} left' if left else ''
    )
    curves = {SHORT[key][0]: points for key, points in self._curves.items()}
    return notebook.html(
      self.description,
      self.step / max(self.total_steps, 1),
      words,
      curves,
      self.total_steps,
    )

  def __exit__(self, *exception) -> None:
    self._picture.redraw(self._html())
    super().__exit__(*exception)


def summary(result: Mapping[str, Any], counts: Mapping[str, int], workdir: Any) -> str:
  """What a run says at its end: the loss with its standard error, the parameters by kind, where the results are.

  Args:
    result: what `result.json` holds.
    counts: parameters by kind, without the total.
    workdir: the run's directory.
  """
  loss, error = (
    result['final_eval_loss_nats'],
    result['final_eval_loss_nats_standard_error'],
  )
  total = max(sum(counts.values()), 1)
  seconds = f'{_clock(result["seconds"])}, of which {_clock(result["compile_seconds"])} to compile'
  rows = [
    (
      'eval loss',
      f'{loss:.4f} ± {error:.4f} nats per token (standard error over sequences)',
    )
  ]
  if result['diverged_at'] is not None:
    rows.append(('diverged', f'at step {result["diverged_at"]:,}'))
  rows += [
    (
      'trained',
      f'{result["steps"]:,} steps, {result["tokens"]:,} tokens, in {seconds}',
    ),
    ('parameters', f'{sum(counts.values()):>15,}'),
    *[(f'  {kind}', f'{n:>15,}  {n / total:6.1%}') for kind, n in counts.items() if n],
    ('results', f'{workdir} (result.json, metrics.jsonl, config.json, checkpoints/)'),
  ]
  return '\n'.join(f'{name:<16}{text}' for name, text in rows)


def _number(key: str, value: float) -> str:
  name, form = SHORT.get(key, (key, '{:.4g}'))
  return f'{name} {form.format(value)}'


def _clock(seconds: float) -> str:
  seconds = round(seconds)
  hours, minutes, seconds = seconds // 3600, seconds // 60 % 60, seconds % 60
  return f'{hours}:{minutes:02d}:{seconds:02d}' if hours else f'{minutes}:{seconds:02d}'
