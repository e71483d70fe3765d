"""Metrics, durations and the summary of a run as short text."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import datetime
from typing import Any

from lmhp.typing import PathLike


@dataclasses.dataclass(frozen=True)
class MetricFormat:
  """The short form of a metric.

  Attributes:
    label: Short name of the metric.
    value_format: Format string of its value, such as '{:.4f}'.
  """

  label: str
  value_format: str


METRIC_FORMATS = {
  'loss_nats': MetricFormat('loss', '{:.4f}'),
  'eval_loss_nats': MetricFormat('eval loss', '{:.4f}'),
  'tokens_per_second': MetricFormat('tokens/s', '{:,.0f}'),
  'learning_rate': MetricFormat('learning rate', '{:.2e}'),
}
"""Short forms of metrics. Other metrics have their full name, and four significant digits."""


def format_of(metric: str) -> MetricFormat:
  """Returns the short form of a metric.

  >>> format_of('eval_loss_nats').label, format_of('accuracy').label
  ('eval loss', 'accuracy')
  """
  return METRIC_FORMATS.get(metric, MetricFormat(metric, '{:.4g}'))


def format_value(metric: str, value: float) -> str:
  """Returns the value of a metric as text.

  >>> format_value('loss_nats', 1.23456)
  '1.2346'
  """
  return format_of(metric).value_format.format(value)


def format_metric(metric: str, value: float) -> str:
  """Returns a metric and its value as text.

  >>> format_metric('tokens_per_second', 12345.6)
  'tokens/s 12,346'
  """
  return f'{format_of(metric).label} {format_value(metric, value)}'


def format_duration(seconds: float) -> str:
  """Returns a duration as minutes and seconds, with hours if there are any.

  >>> format_duration(8.4), format_duration(3671)
  ('0:08', '1:01:11')
  """
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  if hours:
    return f'{hours}:{minutes:02d}:{seconds:02d}'
  return f'{minutes}:{seconds:02d}'


def format_time_left(seconds: float | None) -> str:
  """Returns the time left as text. It is empty if the time is 0 or not known.

  >>> format_time_left(75), format_time_left(None)
  ('1:15 left', '')
  """
  return f'{format_duration(seconds)} left' if seconds else ''


def timestamped(text: str) -> str:
  """Returns a line with the local date and time in front."""
  return f'{datetime.datetime.now():%Y-%m-%d %H:%M:%S}  {text}'


def format_summary(
  result: Mapping[str, Any], counts: Mapping[str, int], workdir: PathLike
) -> str:
  """Returns a summary of a run: its loss, length, parameters by kind, and the path of its files.

  Args:
    result: Content of `result.json`.
    counts: Number of parameters by kind, without the total.
    workdir: Directory of the run.
  """
  # The final loss.
  loss = result['final_eval_loss_nats']
  error = result['final_eval_loss_nats_standard_error']
  rows = [
    (
      'eval loss',
      f'{loss:.4f} ± {error:.4f} nats per token (standard error over sequences)',
    )
  ]
  if result['diverged_at'] is not None:
    rows.append(('diverged', f'at step {result["diverged_at"]:,}'))
  if result.get('untrained') is not None:
    rows.append(('nothing trained', result['untrained']))

  # The length of training.
  seconds = format_duration(result['seconds'])
  compile_seconds = format_duration(result['compile_seconds'])
  rows.append(
    (
      'trained',
      f'{result["steps"]:,} steps, {result["tokens"]:,} tokens, in {seconds}, of which '
      f'{compile_seconds} to compile',
    )
  )

  # The parameters by kind.
  total = sum(counts.values())
  rows.append(('parameters', f'{total:>15,}'))
  for kind, n_parameters in counts.items():
    if n_parameters:
      rows.append((f'  {kind}', f'{n_parameters:>15,}  {n_parameters / total:6.1%}'))
  rows.append(
    ('results', f'{workdir} (result.json, metrics.jsonl, config.json, checkpoints/)')
  )
  return '\n'.join(f'{name:<16}{text}' for name, text in rows)
