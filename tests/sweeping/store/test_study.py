"""A study: what is stored is read back, Optuna shows the same, and only changes are written."""

import dataclasses
import json
import math
import os
import pathlib

import optuna
import pytest
from small_studies import (
  ENDS,
  MANIFEST,
  SPACE,
  lines_of,
  load_with_optuna,
  make_trial,
  open_study,
  write_study_of_all_statuses,
)

from lmhp.errors import ConfigError
from lmhp.sweeping.space import Choice, Float, Product, Zip
from lmhp.sweeping.store import trial as trial_module
from lmhp.sweeping.store.manifest import Cohort, RungSchedule
from lmhp.sweeping.store.study import Study, read_manifest

COHORT = Cohort('search-0', 0, 4, 'halton', 1, False, {'type': 'x'}, {'a': 0})

# --- what is stored is read back ------------------------------------------------------


@pytest.mark.parametrize('storage', [None, 'sqlite:///{}/study.db'])
def test_what_is_stored_is_read_back(tmp_path, storage):
  storage = storage and storage.format(tmp_path)
  before = write_study_of_all_statuses(tmp_path / 'run', storage=storage)
  assert before[0].overrides['model.windows'] == (1, (2, 3))
  assert math.isnan(before[0].metrics['loss'])
  assert [trial.status for trial in before] == [end['status'] for end in ENDS]
  with open_study(tmp_path / 'run', storage=storage) as study:
    assert lines_of(study.trials) == lines_of(before)
    expected = [make_trial(i).parameters for i in range(len(ENDS))]
    assert [trial.parameters for trial in study.trials] == expected
  with Study.read(tmp_path / 'run', storage=storage) as study:
    assert lines_of(study.trials) == lines_of(before)
    with pytest.raises(ValueError, match='open for reading'):
      study.add([make_trial(len(ENDS))])


@pytest.mark.parametrize('storage', [None, 'sqlite:///{}/study.db'])
def test_a_study_keeps_its_own_manifest(tmp_path, storage):
  storage = storage and storage.format(tmp_path)
  workdir = tmp_path / 'run'
  open_study(workdir, storage=storage).close()
  other = dataclasses.replace(MANIFEST, seconds=9.0)
  with open_study(workdir, storage=storage, manifest=other) as study:
    assert study.manifest == MANIFEST
    changed = dataclasses.replace(
      study.manifest,
      cohorts=(COHORT,),
      rungs=RungSchedule((3, 9), cooldown=True),
      plugins=('a.b',),
    )
    study.set_manifest(changed)
  assert read_manifest(workdir, storage) == changed
  with Study.read(workdir, storage=storage) as study:
    assert study.manifest == changed


def test_a_directory_without_a_study_has_no_manifest(tmp_path):
  assert read_manifest(tmp_path) is None
  open_study(tmp_path / 'run').close()
  (tmp_path / 'run/study.journal').unlink()
  assert read_manifest(tmp_path / 'run') is None


def test_optuna_shows_the_same(tmp_path):
  write_study_of_all_statuses(tmp_path / 'run')
  study = load_with_optuna(tmp_path / 'run')
  trials = study.trials
  states = ['COMPLETE', 'COMPLETE', 'PRUNED', 'PRUNED', 'FAIL', 'RUNNING', 'WAITING']
  assert [trial.state.name for trial in trials] == states
  values = [[0.5], [9.0], [3.0], [1.25], None, None, None]
  assert [trial.values for trial in trials] == values
  assert trials[0].intermediate_values == {10: 1.5, 20: 1.0}
  assert trials[-1].intermediate_values == {}
  diverged = [trial.user_attrs.get('diverged', False) for trial in trials]
  assert diverged == [i == 1 for i in range(len(trials))]
  assert study.best_trial.number == 0
  assert all(trial.datetime_start for trial in trials[:-1])
  assert all(trial.duration for trial in trials[:5])


def test_optuna_knows_the_domains(tmp_path):
  write_study_of_all_statuses(tmp_path / 'run')
  trial = load_with_optuna(tmp_path / 'run').trials[0]
  assert trial.distributions == {
    'optimizer.learning_rate': optuna.distributions.FloatDistribution(
      1e-4, 0.1, log=True
    ),
    'model.n_layers': optuna.distributions.IntDistribution(2, 8),
    'schedule.name': optuna.distributions.CategoricalDistribution(
      ('cosine', None, True, '[1, "x"]', 'inf')
    ),
  }


def test_the_attributes_of_a_trial_are_strict_json(tmp_path):
  write_study_of_all_statuses(tmp_path / 'run')
  trials = load_with_optuna(tmp_path / 'run').trials
  json.dumps([trial.user_attrs for trial in trials], allow_nan=False)


def test_several_objectives(tmp_path):
  with open_study(tmp_path / 'run', directions=('minimize', 'maximize')) as study:
    study.add([make_trial(0), make_trial(1)])
    study.update(
      [
        make_trial(0, status='complete', values=(1.0, 2.0)),
        make_trial(1, status='pruned', values=(3.0, 4.0)),
      ]
    )
    with pytest.raises(ValueError, match='expected 2 finite'):
      study.update([make_trial(1, status='complete', values=(1.0,))])
    trials = study.trials
  best = load_with_optuna(tmp_path / 'run').best_trials
  assert [trial.values for trial in best] == [[1.0, 2.0]]
  assert Study.read(tmp_path / 'run').trials == trials


@pytest.mark.parametrize('storage', [None, 'sqlite:///{}/study.db'])
def test_an_extended_space_keeps_the_old_trials(tmp_path, storage):
  """Optuna refuses a parameter whose choices change. It becomes another parameter there."""
  storage = storage and storage.format(tmp_path)
  workdir = tmp_path / 'run'
  wider = {
    **SPACE,
    'optimizer.learning_rate': Float(1e-5, 1.0, log=True),
    'schedule.name': Choice('linear', 'cosine'),
    'optimizer.b2': Float(0.9, 0.99),
  }
  wider = Product(wider, Zip({'x': (1, 2), 'y': (3, 4)}))
  with open_study(workdir, storage=storage) as study:
    study.add([make_trial(0), make_trial(1)])
  parameters = {
    'optimizer.learning_rate': 0.5,
    'model.n_layers': 3,
    'schedule.name': 'linear',
    'optimizer.b2': 0.95,
    'x+y': 1,
  }
  with open_study(workdir, storage=storage, space=wider) as study:
    study.add(
      [
        make_trial(2, parameters=parameters),
        make_trial(3),
        make_trial(4, parameters={}),
      ]
    )
    trials = study.trials
  assert trials[2].parameters == parameters
  assert trials[3].parameters == make_trial(3).parameters
  assert Study.read(workdir, storage=storage).trials == trials
  if storage is None:
    shown = load_with_optuna(workdir).trials[2].params
    assert shown['schedule.name (2)'] == 'linear'


# --- only changes are written ---------------------------------------------------------


def test_an_update_without_a_change_writes_nothing(tmp_path, monkeypatch):
  before = write_study_of_all_statuses(tmp_path / 'run')
  size = (tmp_path / 'run/study.journal').stat().st_size
  with open_study(tmp_path / 'run') as study:
    monkeypatch.setattr(os, 'fsync', None)
    study.update(study.trials)
    study.update(before)
    study.set_manifest(study.manifest)
    study.add([])
  assert (tmp_path / 'run/study.journal').stat().st_size == size


def test_an_update_or_an_addition_is_one_fsync_of_the_journal(tmp_path, monkeypatch):
  synced = []
  fsync = os.fsync

  def note(fd):
    synced.append(pathlib.Path(os.readlink(f'/proc/self/fd/{fd}')).name)
    fsync(fd)

  with open_study(tmp_path / 'run') as study:
    study.add([make_trial(0)])
    study._export._due = math.inf
    monkeypatch.setattr(os, 'fsync', note)
    study.add([make_trial(i) for i in range(1, 20)])
    study.update(
      [
        dataclasses.replace(trial, status='running', scores={1: 1.0})
        for trial in study.trials
      ]
    )
    assert synced == ['study.journal'] * 2


@pytest.mark.parametrize(
  'change', [{'status': 'running'}, {'values': (0.25,)}, {'metrics': {'x': 1.0}}]
)
def test_a_trial_that_has_ended_cannot_change(tmp_path, change):
  with open_study(tmp_path / 'run') as study:
    study.add([make_trial(0)])
    study.update([make_trial(0, status='complete', values=(0.5,))])
    with pytest.raises(ValueError, match='it has ended'):
      study.update([dataclasses.replace(study.trials[0], **change)])


@pytest.mark.parametrize(
  'change',
  [
    {'seed': 7},
    {'point': 7},
    {'parameters': {}},
    {'overrides': {}},
    {'cohort': 'x'},
  ],
)
def test_a_fixed_field_cannot_change(tmp_path, change):
  with open_study(tmp_path / 'run') as study:
    study.add([make_trial(0)])
    with pytest.raises(ValueError, match=f'{next(iter(change))} cannot change'):
      study.update([dataclasses.replace(make_trial(0), **change)])


def test_wrong_trials_are_refused_and_change_nothing(tmp_path):
  with open_study(tmp_path / 'run') as study:
    study.add([make_trial(0)])
    for numbers in ([0], [2], [1, 1]):
      with pytest.raises(ValueError, match=r'^trial \d: expected'):
        study.add([make_trial(number) for number in numbers])
    with pytest.raises(ValueError, match='^trial 1: expected'):
      study.update([make_trial(1)])
    with pytest.raises(ValueError, match=r'trials \[0, 0\]'):
      study.update([make_trial(0), make_trial(0, status='running')])
    with pytest.raises(ValueError, match='expected 1 finite'):
      study.update([make_trial(0, status='diverged', values=(math.nan,))])
    with pytest.raises(ValueError, match="status 'done'"):
      study.update([make_trial(0, status='done')])
    assert study.trials == [make_trial(0)]
  with pytest.raises(ValueError, match='closed'):
    study.add([make_trial(1)])


# --- trials.jsonl ---------------------------------------------------------------------


def test_trials_jsonl_is_written_seldom_while_a_study_runs(tmp_path, monkeypatch):
  clock = [0.0]
  monkeypatch.setattr(trial_module.time, 'monotonic', lambda: clock[0])
  path = tmp_path / 'run/trials.jsonl'

  def n_lines():
    return len(path.read_text().splitlines())

  with open_study(tmp_path / 'run') as study:
    assert n_lines() == 0
    study.add([make_trial(0)])
    assert n_lines() == 1
    # As if writing had taken one second.
    study._export._due = 20.0
    study.add([make_trial(1)])
    assert n_lines() == 1
    clock[0] = 20.0
    study.add([make_trial(2)])
    assert n_lines() == 3
    study._export._due = 99.0
    study.add([make_trial(3)])
    study.flush()
    assert n_lines() == 4
    study._export._due = 99.0
    study.add([make_trial(4)])
  assert n_lines() == 5


@pytest.mark.parametrize('damage', ['deleted', 'garbage', 'shortened'])
def test_damage_to_trials_jsonl_is_overwritten(tmp_path, damage):
  before = write_study_of_all_statuses(tmp_path / 'run')
  path = tmp_path / 'run/trials.jsonl'
  text = path.read_text()
  if damage == 'deleted':
    path.unlink()
  else:
    path.write_text('?' if damage == 'garbage' else text[:100])
  with open_study(tmp_path / 'run') as study:
    assert path.read_text() == text
    assert lines_of(study.trials) == lines_of(before)


# --- other programs -------------------------------------------------------------------


def test_trials_of_another_program_are_ignored(tmp_path):
  before = write_study_of_all_statuses(tmp_path / 'run')
  other = load_with_optuna(tmp_path / 'run')
  # Optuna hands out the waiting trial, which would change it.
  other.ask()
  other.ask()
  other.add_trial(optuna.trial.create_trial(value=1.0))
  # A copy of a trial has its attributes, too.
  other.add_trial(other.trials[0])
  with open_study(tmp_path / 'run') as study:
    assert lines_of(study.trials) == lines_of(before)
    study.add([make_trial(len(before))])
    study.update([make_trial(len(before), status='complete', values=(0.25,))])
    after = study.trials
  assert [trial.number for trial in after] == list(range(len(before) + 1))
  assert Study.read(tmp_path / 'run').trials[-1] == after[-1]
  shown = load_with_optuna(tmp_path / 'run').trials
  assert len(shown) == len(before) + 3 + 1
  assert shown[-1].values == [0.25]


def test_changes_of_another_program_are_ignored_with_one_log_line(tmp_path, caplog):
  before = write_study_of_all_statuses(tmp_path / 'run')
  workdir = tmp_path / 'run'
  other = load_with_optuna(workdir)
  running = len(before) - 2
  other._storage.set_trial_user_attr(running, 'record', {'status': 'complete'})
  other.tell(running, 0.125)
  other.set_user_attr('lmhp_manifest', {})
  other.set_user_attr('note', 'mine')
  for open_again in (open_study, Study.read):
    caplog.clear()
    with open_again(workdir) as study:
      assert lines_of(study.trials) == lines_of(before)
      assert study.manifest == MANIFEST
    assert len(caplog.records) == 1
  assert load_with_optuna(workdir).user_attrs['note'] == 'mine'


@pytest.mark.parametrize('n_seen', [0, 5])
def test_damage_is_one_line_that_names_the_file_and_the_line(tmp_path, n_seen):
  workdir = tmp_path / 'run'
  write_study_of_all_statuses(workdir)
  path = workdir / 'study.journal'
  lines = path.read_bytes().split(b'\n')
  lines[n_seen] = lines[n_seen].replace(b'"worker_id":"', b'"worker_id":"x')
  path.write_bytes(b'\n'.join(lines))
  damaged = path.read_bytes()
  for open_again in (open_study, Study.read, read_manifest):
    with pytest.raises(ConfigError) as error:
      open_again(workdir)
    message = str(error.value)
    assert message.startswith(f'{path}: line {n_seen + 1} ')
    assert '\n' not in message
    assert path.read_bytes() == damaged


def test_a_record_of_another_program_that_optuna_cannot_read_is_one_line(tmp_path):
  workdir = tmp_path / 'run'
  write_study_of_all_statuses(workdir)
  with open(workdir / 'study.journal', 'a') as file:
    file.write('{"op_code":4,"worker_id":"o"}\n')
  for open_again in (open_study, Study.read):
    with pytest.raises(ConfigError) as error:
      open_again(workdir)
    assert '\n' not in str(error.value)
