"""The table of the best trials: rows, columns and values."""

import pytest

from lmhp.sweeping.progress.study_state import StudyState
from lmhp.sweeping.progress.trial_table import column_names, trial_table
from lmhp.sweeping.store.trial import Trial


@pytest.fixture
def state(study):
  """A study of 40 trials, of which 30 have ended and 10 run."""
  state = StudyState(study.sweep(40), 's')
  trials = study.trials(40)
  state.start(study.plan(40), trials)
  state.update_trials(study.ended(trials, study.pack(range(30)), range(30)))
  pack = study.pack(range(30, 40), name='next')
  state.start_pack(pack)
  state.update_pack(pack, 7, study.losses(*range(10)))
  return state


@pytest.mark.parametrize('n_rows', [1, 2, 7, 10, 40, 99])
def test_up_to_half_of_the_rows_are_running_trials(state, n_rows):
  table = trial_table(state, n_rows)
  assert len(table.rows) == min(n_rows, 40)
  assert table.n_hidden == 40 - len(table.rows)
  assert sum(row.is_running for row in table.rows) == min(n_rows // 2, 10)


def test_the_best_trial_is_in_the_first_row(state):
  table = trial_table(state, 4)
  assert [row.is_best for row in table.rows] == [True, False, False, False]
  expected = ('0', '0.001', 'shape0', 'complete', '20', '', '0.0000')
  assert table.rows[0].cells == expected


def test_a_running_trial_has_its_step_and_training_loss(state):
  running = [row.cells for row in trial_table(state, 4).rows if row.is_running]
  assert running[1] == ('31', '0.032', 'shape31', 'running', '7', '1.0000', '')


def test_a_diverged_trial_has_no_score(study):
  state = StudyState(study.sweep(), 's')
  pack = study.pack([0])
  state.update_trials(study.ended(study.trials(1), pack, (99.0,), status='diverged'))
  assert trial_table(state, 3).rows[0].cells[-4:] == ('diverged', '20', '', '')


def test_columns_have_short_names_that_differ():
  names = [
    'train.seed',
    'data.seed',
    'schedule.name',
    'model.d_model+model.n_heads',
    'o.lr[o.name=a]',
    'o.lr[o.name=b]',
  ]
  columns = column_names(names)
  assert list(columns) == [
    'train.seed',
    'data.seed',
    'schedule',
    'd_model+n_heads',
    'lr',
  ]
  assert columns['lr'] == ['o.lr[o.name=a]', 'o.lr[o.name=b]']


def test_values_of_conditional_and_zipped_parameters(study):
  zipped = 'model.d_model+model.n_heads'
  state = StudyState(study.sweep(), 's')
  state.update_trials(
    [
      Trial(
        number=0,
        point=0,
        seed=0,
        parameters={'o.lr[o.name=a]': 0.12345, zipped: 1},
        overrides={'model.d_model': 64, 'model.n_heads': 2},
      ),
      Trial(
        number=1, point=1, seed=0, parameters={'o.lr[o.name=b]': None}, overrides={}
      ),
    ]
  )
  values = [row.cells[1:3] for row in trial_table(state, 9).rows]
  assert values == [('0.123', '64 2'), ('None', '')]
