"""Tables of the steps that several batch sizes need to reach a target."""

import json
import re

import numpy as np
import pytest

from lmhp import analysis

SIZES = (1e8, 4e8, 1.6e9)


def table(noise=0.01, seed=0):
  """Returns runs at three model sizes, whose critical batch size grows as N^0.5."""
  rng = np.random.default_rng(seed)
  rows = []
  for parameters in SIZES:
    critical = 1000 * (parameters / 1e8) ** 0.5
    for batch in 2.0 ** np.arange(6, 14):
      steps = 500 * (1 + critical / batch) * np.exp(noise * rng.standard_normal())
      rows.append(
        {'parameters': parameters, 'batch_size': batch, 'steps_to_target': steps}
      )
  return rows


def read(rows, path, **options):
  """Returns the runs of a file of JSON lines."""
  path.write_text('\n'.join(map(json.dumps, rows)))
  return analysis.read(path, **options)


def test_the_critical_batch_size_of_each_size_is_the_answer(tmp_path):
  runs = read(
    table(), tmp_path / 'runs.jsonl', objective='steps_to_target', maximize=False
  )
  result = analysis.analyze(runs)
  finding = result.findings[0]
  assert finding.kind == 'critical_batch_sizes'
  found = finding.numbers['critical_batch_sizes']
  np.testing.assert_allclose(found, [1000, 2000, 4000], rtol=0.1)
  exponent = float(re.search(r'parameters\^([\d.]+)', finding.title).group(1))
  assert exponent == pytest.approx(0.5, abs=0.05)
  # The largest batch is no winner, and larger ones are not proposed.
  assert 'is best' not in finding.title
  assert not [each for each in result.findings if each.proposal]


def test_the_batch_size_is_a_choice_if_the_objective_is_a_loss(tmp_path):
  rows = [
    {'batch_size': row['batch_size'], 'loss': row['steps_to_target']}
    for row in table()[:8]
  ]
  runs = read(rows, tmp_path / 'runs.jsonl', objective='loss')
  assert list(runs.axes) == ['batch_size']
