"""The number of items that a rate was measured on."""

import numpy as np
import pytest

from lmhp.analysis.runs.table import Runs
from lmhp.analysis.winner.sampling_error import sampling_error


@pytest.mark.parametrize(
  'columns, n_items',
  [
    ({'eval_wins': [474, 480, 484, 481]}, 500),
    ({'total': [500] * 4}, 500),
    ({'batch_size': [32, 64, 128, 256]}, None),
    ({'total': [300] * 4}, None),
  ],
)
def test_a_column_of_counts_shows_the_number_of_items(columns, n_items):
  rates = np.array([94.8, 96.0, 96.8, 96.2])
  configs = {i: {name: column[i] for name, column in columns.items()} for i in range(4)}
  runs = Runs('s', {}, {}, rates, 'eval_win_rate', True, configs=configs)
  error = sampling_error(runs, 96.8)
  assert (error.n_items if error else None) == n_items
