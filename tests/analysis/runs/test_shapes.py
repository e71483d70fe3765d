"""Tables in other shapes than one row per run."""

import numpy as np

from lmhp.analysis.runs.raw_table import RawTable
from lmhp.analysis.runs.shapes import one_row_per_run


def test_a_chart_export_has_a_curve_for_each_run():
  table = one_row_per_run(
    RawTable(
      {
        'Step': [0, 50, 100],
        'lr_0.1 - val/loss': [5.0, 4.0, 3.0],
        'lr_0.1 - val/loss__MIN': [1.0, 1.0, 1.0],
        'lr_0.2 - val/loss': [5.0, 3.5, None],
      }
    )
  )
  assert list(table.columns['run']) == ['lr_0.1', 'lr_0.2']
  assert list(table.columns['val/loss']) == [3.0, 3.5]
  # The settings stand in the names, and the second run stops early.
  assert list(table.columns['lr']) == [0.1, 0.2]
  assert list(table.columns['status']) == ['finished', 'running']
  assert table.curves[0]['val/loss'].tolist() == [5, 4, 3]
  assert table.curves[1]['step'].tolist() == [0, 50]
  assert len(table.notes) == 1


def test_rows_of_steps_are_curves():
  steps = [*range(0, 60, 10)] * 2
  table = one_row_per_run(
    RawTable(
      {
        'lr': [0.1] * 6 + [0.2] * 6,
        'step': steps,
        'val_loss': [5.0 - s / 20 for s in steps],
      }
    )
  )
  assert list(table.columns['lr']) == [0.1, 0.2]
  assert list(table.columns['val_loss']) == [2.5, 2.5]
  assert table.curves[1]['step'].tolist() == steps[:6]


def test_repeats_that_are_called_iterations_are_no_curves():
  aucs = np.random.default_rng(0).normal(0.8, 0.01, 20)
  columns = {'model': ['a', 'b'] * 10, 'Iteration': np.repeat(range(1, 11), 2).tolist()}
  table = one_row_per_run(RawTable({**columns, 'auc': aucs.tolist()}))
  assert len(table) == 20
  table = one_row_per_run(RawTable({**columns, 'auc': np.sort(aucs).tolist()}))
  assert len(table) == 2


def test_sizes_that_are_called_steps_are_no_curves():
  table = RawTable({'steps': [10, 20, 30, 40, 50], 'loss': [5, 4, 3, 2, 1]})
  assert one_row_per_run(table) is not None
  assert not one_row_per_run(table).curves


def test_lists_in_cells_are_curves():
  losses = [tuple(np.linspace(5, end, 6).tolist()) for end in (3, 2)]
  pairs = [([0, 0.1], [10, 0.5]), ([0, 0.1], [10, 0.6])]
  table = one_row_per_run(
    RawTable({'lr': [0.1, 0.2], 'val_losses': losses, 'accs': pairs})
  )
  assert list(table.columns) == ['lr', 'accs']
  assert list(table.columns['accs']) == [0.5, 0.6]
  assert table.curves[0]['val_losses'].tolist() == list(losses[0])


def test_long_form_has_an_axis_for_each_name():
  table = one_row_per_run(
    RawTable(
      {
        'sweep': ['lr', 'lr', 'width', 'width'],
        'value': [0.1, 0.2, 64, 128],
        'loss': [3.0, 2.9, 3.1, 2.8],
      }
    )
  )
  assert list(table.columns['lr']) == [0.1, 0.2, None, None]
  assert list(table.columns['width']) == [None, None, 64, 128]
  assert 'value' not in table.columns


def test_a_plain_table_stays():
  table = RawTable({'lr': [0.1, 0.2], 'loss': [3.0, 2.0]})
  assert one_row_per_run(table).columns == table.columns


def test_ends_and_lengths_of_episodes_do_not_divide_a_run():
  rng = np.random.default_rng(0)
  columns = {
    'episode': list(range(1, 61)),
    'reward': np.linspace(-1, 1, 60).tolist(),
    'crashed': rng.integers(0, 3, 60).tolist(),
    'length': rng.choice([150, 200], 60).tolist(),
  }
  table = one_row_per_run(RawTable(columns))
  assert len(table) == 1
  assert list(table.curves[0]['crashed']) == columns['crashed']
