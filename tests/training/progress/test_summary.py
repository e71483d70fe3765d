"""The summary of a complete run."""

import re

from lmhp.training.progress.formats import format_summary

RESULT = {
  'final_eval_loss_nats': 1.89734,
  'final_eval_loss_nats_standard_error': 0.0123,
  'steps': 2000,
  'tokens': 1_536_000,
  'seconds': 3671.3,
  'compile_seconds': 3.2,
  'diverged_at': None,
}
COUNTS = {'embedding': 250, 'attention': 750, 'output': 0}


def rows_of(text):
  """{name: rest of the line}."""
  return {line[:16].strip(): line[16:].strip() for line in text.splitlines()}


def test_loss_with_its_standard_error():
  rows = rows_of(format_summary(RESULT, COUNTS, 'runs/x'))
  assert rows['eval loss'].startswith('1.8973 ± 0.0123 ')


def test_length_and_times():
  rows = rows_of(format_summary(RESULT, COUNTS, 'runs/x'))
  assert re.findall(r'[\d:,]*\d', rows['trained']) == [
    '2,000',
    '1,536,000',
    '1:01:11',
    '0:03',
  ]


def test_parameters_by_kind_without_empty_kinds():
  rows = rows_of(format_summary(RESULT, COUNTS, 'runs/x'))
  assert rows['parameters'] == '1,000'
  assert rows['embedding'].split() == ['250', '25.0%']
  assert rows['attention'].split() == ['750', '75.0%']
  assert 'output' not in rows


def test_divergence_is_a_row_only_if_there_is_one():
  assert 'diverged' not in rows_of(format_summary(RESULT, COUNTS, 'x'))
  diverged = RESULT | {'diverged_at': 1234}
  assert '1,234' in rows_of(format_summary(diverged, COUNTS, 'x'))['diverged']
