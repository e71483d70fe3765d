"""Metrics and durations as short text."""

import datetime

import pytest

from lmhp.training.progress import formats


@pytest.mark.parametrize(
  'seconds, text',
  [(0, '0:00'), (59.6, '1:00'), (61, '1:01'), (3599, '59:59'), (36000, '10:00:00')],
)
def test_durations(seconds, text):
  assert formats.format_duration(seconds) == text


@pytest.mark.parametrize(
  'metric, value, text',
  [
    ('loss_nats', 2.34567, 'loss 2.3457'),
    ('learning_rate', 3e-4, 'learning rate 3.00e-04'),
    ('accuracy', 0.123456, 'accuracy 0.1235'),
  ],
)
def test_metrics(metric, value, text):
  assert formats.format_metric(metric, value) == text


def test_no_time_left_is_no_text():
  assert formats.format_time_left(None) == formats.format_time_left(0.0) == ''


def test_a_line_begins_with_the_time():
  now = datetime.datetime.now()
  stamp, text = formats.timestamped('a  b').split('  ', 1)
  assert abs(datetime.datetime.fromisoformat(stamp) - now).total_seconds() < 5
  assert text == 'a  b'
