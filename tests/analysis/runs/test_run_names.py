"""Settings that stand in the names of the runs."""

import numpy as np
import pytest

from lmhp.analysis.runs.raw_table import RawTable
from lmhp.analysis.runs.tables import TableOptions, runs_of_table


def runs_of(names, rates):
  accuracies = np.linspace(0.5, 0.6, len(names)).tolist()
  columns = {'model_name': names, 'lr': rates, 'accuracy': accuracies}
  return runs_of_table(RawTable(columns), 'a table', 'runs.csv', TableOptions())


def test_numbers_of_settings_are_no_seeds():
  names = [f'{kind}_{i}' for kind in ('cnn', 'mlp', 'resnet18') for i in range(3)]
  runs = runs_of(names, [0.1, 0.2, 0.3] * 3)
  assert set(runs.axes) == {'model_name', 'lr'}
  assert runs.axes['model_name'].choices == ('cnn', 'mlp', 'resnet18')
  assert runs.n_points == 9


@pytest.mark.parametrize(
  'names',
  [
    [f'run_{i}' for i in range(9)],
    [f'{word}-sweep-{i}' for i, word in enumerate('abcdefghi')],
  ],
)
def test_other_numbers_are_those_of_seeds(names):
  runs = runs_of(names, [0.1, 0.2, 0.3] * 3)
  assert set(runs.axes) == {'lr'}
  assert runs.n_points == 3
