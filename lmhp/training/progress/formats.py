"""Metrics and durations as short text, for the progress of runs and of sweeps."""

from __future__ import annotations

import dataclasses
import datetime


@dataclasses.dataclass(frozen=True)
class MetricFormat:
  """The short form of a metric.

  Attributes:
    label: Short name of the metric.
    value_format: Format of its value, for `str.format`.
  """

  label: str
  value_format: str


METRIC_FORMATS = {
  'loss_nats': MetricFormat('loss', '{:.4f}'),
  'eval_loss_nats': MetricFormat('eval loss', '{:.4f}'),
  'tokens_per_second': MetricFormat('tokens/s', '{:,.0f}'),
  'learning_rate': MetricFormat('learning rate', '{:.2e}'),
}
"""Short forms of metrics. Other metrics are shown by their full name, with four digits."""


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
  total = round(seconds)
  hours = total // 3600
  minutes = total // 60 % 60
  seconds = total % 60
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
