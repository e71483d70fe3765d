"""A study: what is stored comes back, Optuna sees the same, and only what is new is written."""

import dataclasses
import json
import math
import os
import random

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
import pytest

from lmhp.sweeping.space import Choice, Float, Int, Product, Zip
from lmhp.sweeping.store import study as study_module
from lmhp.sweeping.store.study import Study
from lmhp.sweeping.store.trial import Trial

optuna.logging.set_verbosity(optuna.logging.ERROR)
SPACE = {
  'optimizer.learning_rate': Float(1e-4, 1e-1, log=True),
  'model.n_layers': Int(2, 8),
  'schedule.name': Choice('cosine', None, True, (1, 'x'), math.inf),
}
CARD = {'task': {'clip': 'inf', 'sizes': [1, 2]}, 'sweep': {'seed': 0}}
NAN = math.nan


def trial(number, **fields):
  rng = random.Random(number // 2)
  parameters = {
    'optimizer.learning_rate': 10 ** rng.uniform(-4, -1),
    'model.n_layers': rng.randint(2, 8),
    'schedule.name': rng.choice(SPACE['schedule.name'].values),
  }
  overrides = {**parameters, 'train.seed': number, 'model.windows': (1, (2, 3))}
  return Trial(
    number=number,
    point=number // 2,
    seed=number,
    parameters=parameters,
    overrides=overrides,
    **fields,
  )


def opened(workdir, **options):
  return Study.open(workdir, **{'space': SPACE, 'card': CARD, **options})


def lines(trials):
  return [json.dumps(study_module.to_line(t)) for t in trials]


def by_optuna(workdir):
  storage = JournalStorage(JournalFileBackend(str(workdir / 'study.journal')))
  return optuna.load_study(study_name=workdir.name, storage=storage)


ENDS = [
  dict(status='complete', values=(0.5,)),
  dict(status='diverged', values=(9.0,)),
  dict(status='pruned'),
  dict(status='pruned', values=(1.25,)),
  dict(status='failed', about={'error': 'out of memory'}),
  dict(status='running'),
  dict(status='waiting'),
]


def run_a_study(workdir, **options):
  """A study with a trial of every fate."""
  with opened(workdir, **options) as study:
    study.add([trial(i, cohort='search/1') for i in range(len(ENDS))])
    about = {
      'metrics': {'loss': NAN, 'gap': math.inf},
      'stages': ['a'],
      'pack': 'a-0',
      'steps': 10,
      'tokens': 80,
    }
    started = [
      dataclasses.replace(t, status='running', scores={10: 1.5}, about=about)
      for t in study.trials[:-1]
    ]
    study.update(started)
    study.update(
      [
        dataclasses.replace(
          t, scores={10: 1.5, 20: 1.0 + t.number}, **{'about': about, **end}
        )
        for t, end in zip(started, ENDS)
      ]
    )
    return study.trials


def go_on(study, n):
  """Brings a study of packs of three trials to its end, from wherever it is."""
  while len(study.trials) < n:
    study.add([trial(len(study.trials) + i) for i in range(3)])
    new = study.trials[-3:]
    for step in (10, 20):
      new = [
        dataclasses.replace(t, status='running', scores={**t.scores, step: 1.0 / step})
        for t in new
      ]
      study.update(new)
    study.update(
      [dataclasses.replace(t, status='complete', values=(t.seed + 0.5,)) for t in new]
    )
  for t in study.trials:
    if t.status != 'complete':
      study.update(
        [
          dataclasses.replace(
            t, status='complete', scores={10: 0.1, 20: 0.05}, values=(t.seed + 0.5,)
          )
        ]
      )


# --- what is stored comes back --------------------------------------------------------------------------------------


@pytest.mark.parametrize('storage', [None, 'sqlite:///{}/study.db'])
def test_what_is_stored_comes_back(tmp_path, storage):
  storage = storage and storage.format(tmp_path)
  before = run_a_study(tmp_path / 'run', storage=storage)
  assert before[0].overrides['model.windows'] == (1, (2, 3)) and math.isnan(
    before[0].about['metrics']['loss']
  )
  assert [t.status for t in before] == [end['status'] for end in ENDS]
  with opened(tmp_path / 'run', storage=storage, card={'another': 1}) as study:
    assert lines(study.trials) == lines(before)
    assert [t.parameters for t in study.trials] == [
      trial(i).parameters for i in range(len(ENDS))
    ]
    assert study.card == CARD
    study.set_card({**study.card, 'cohorts': [1]})
  with Study.read(tmp_path / 'run', storage=storage) as study:
    assert lines(study.trials) == lines(before) and study.card == {
      **CARD,
      'cohorts': [1],
    }
    with pytest.raises(ValueError, match='open for reading'):
      study.add([trial(len(ENDS))])


def test_optuna_sees_the_same(tmp_path):
  run_a_study(tmp_path / 'run')
  study = by_optuna(tmp_path / 'run')
  trials = study.trials
  assert [t.state.name for t in trials] == [
    'COMPLETE',
    'COMPLETE',
    'PRUNED',
    'PRUNED',
    'FAIL',
    'RUNNING',
    'WAITING',
  ]
  assert [t.values for t in trials] == [[0.5], [9.0], [3.0], [1.25], None, None, None]
  assert (
    trials[0].intermediate_values == {10: 1.5, 20: 1.0}
    and trials[-1].intermediate_values == {}
  )
  assert [t.user_attrs.get('diverged', False) for t in trials] == [
    False,
    True,
    False,
    False,
    False,
    False,
    False,
  ]
  assert (
    study.best_trial.number == 0
    and study.best_params['optimizer.learning_rate']
    == trials[1].params['optimizer.learning_rate']
  )
  assert all(t.datetime_start for t in trials[:-1]) and all(
    t.duration for t in trials[:5]
  )
  known = trials[0].distributions
  assert known['optimizer.learning_rate'] == optuna.distributions.FloatDistribution(
    1e-4, 0.1, log=True
  )
  assert known['model.n_layers'] == optuna.distributions.IntDistribution(2, 8)
  choices = known['schedule.name'].choices
  assert choices == ('cosine', None, True, '[1, "x"]', 'inf')
  json.dumps([t.user_attrs for t in trials], allow_nan=False)  # strict JSON


def test_several_objectives(tmp_path):
  with opened(tmp_path / 'run', directions=('minimize', 'maximize')) as study:
    study.add([trial(0), trial(1)])
    study.update(
      [
        trial(0, status='complete', values=(1.0, 2.0)),
        trial(1, status='pruned', values=(3.0, 4.0)),
      ]
    )
    with pytest.raises(ValueError, match='expected 2 finite'):
      study.update([trial(1, status='complete', values=(1.0,))])
    trials = study.trials
  assert [t.values for t in by_optuna(tmp_path / 'run').best_trials] == [[1.0, 2.0]]
  assert Study.read(tmp_path / 'run').trials == trials
  assert json.loads((tmp_path / 'run/trials.jsonl').read_text().split('\n')[0])[
    'objective'
  ] == [1.0, 2.0]


def test_an_extended_space_keeps_the_old_trials(tmp_path):
  """Optuna refuses a parameter whose choices change, in a database; there the new ones are another parameter."""
  wider = {
    **SPACE,
    'optimizer.learning_rate': Float(1e-5, 1.0, log=True),
    'schedule.name': Choice('linear', 'cosine'),
    'optimizer.b2': Float(0.9, 0.99),
  }
  wider = Product(wider, Zip({'x': (1, 2), 'y': (3, 4)}))
  for storage in (None, f'sqlite:///{tmp_path}/study.db'):
    workdir = tmp_path / ('journal' if storage is None else 'database')
    with opened(workdir, storage=storage) as study:
      study.add([trial(0), trial(1)])
    with opened(workdir, storage=storage, space=wider) as study:
      parameters = {
        'optimizer.learning_rate': 0.5,
        'model.n_layers': 3,
        'schedule.name': 'linear',
        'optimizer.b2': 0.95,
        'x+y': 1,
      }
      study.add(
        [
          dataclasses.replace(trial(2), parameters=parameters),
          trial(3),
          dataclasses.replace(trial(4), parameters={}),
        ]
      )
      trials = study.trials
    assert (
      trials[2].parameters == parameters and trials[3].parameters == trial(3).parameters
    )
    assert Study.read(workdir, storage=storage).trials == trials
  assert (
    by_optuna(tmp_path / 'journal').trials[2].params['schedule.name (2)'] == 'linear'
  )


# --- only what is new is written ------------------------------------------------------------------------------------


def test_an_update_to_the_same_condition_writes_nothing(tmp_path, monkeypatch):
  before = run_a_study(tmp_path / 'run')
  size = (tmp_path / 'run/study.journal').stat().st_size
  with opened(tmp_path / 'run') as study:
    monkeypatch.setattr(os, 'fsync', None)
    study.update(study.trials)
    study.update(before)
    study.set_card(study.card)
    study.add([])
  assert (tmp_path / 'run/study.journal').stat().st_size == size


def test_an_update_or_an_addition_is_one_fsync_of_the_journal(tmp_path, monkeypatch):
  synced, fsync = [], os.fsync
  with opened(tmp_path / 'run') as study:
    study.add([trial(0)])
    study._mirror_due = math.inf
    monkeypatch.setattr(
      os,
      'fsync',
      lambda fd: (synced.append(os.readlink(f'/proc/self/fd/{fd}')), fsync(fd)),
    )
    study.add([trial(i) for i in range(1, 20)])
    study.update(
      [dataclasses.replace(t, status='running', scores={1: 1.0}) for t in study.trials]
    )
  assert [os.path.basename(path) for path in synced][:2] == ['study.journal'] * 2
  assert sum(path.endswith('study.journal') for path in synced) == 2


@pytest.mark.parametrize(
  'change', [dict(status='running'), dict(values=(0.25,)), dict(about={'x': 1})]
)
def test_a_trial_that_has_ended_stays_as_it_is(tmp_path, change):
  with opened(tmp_path / 'run') as study:
    study.add([trial(0)])
    study.update([trial(0, status='complete', values=(0.5,))])
    with pytest.raises(ValueError, match='it has ended'):
      study.update([dataclasses.replace(study.trials[0], **change)])


def test_misuse_is_an_error(tmp_path):
  with opened(tmp_path / 'run') as study:
    study.add([trial(0)])
    for trials in ([trial(0)], [trial(2)], [trial(1), trial(1)]):
      with pytest.raises(ValueError, match='expected one of 1 known, or the next'):
        study.add(trials)
    with pytest.raises(ValueError, match='expected one of 1 known'):
      study.update([trial(1)])
    for twice in ([trial(0)] * 2, [trial(0), trial(0, status='running')]):
      with pytest.raises(
        ValueError, match=r'trials \[0, 0\]: expected each of them once'
      ):
        study.update(twice)
    for change in (
      dict(seed=7),
      dict(point=7),
      dict(parameters={}),
      dict(overrides={}),
      dict(cohort='x'),
    ):
      with pytest.raises(ValueError, match='cannot change'):
        study.update([dataclasses.replace(trial(0), **change)])
    with pytest.raises(ValueError, match='expected 1 finite'):
      study.update([trial(0, status='diverged', values=(NAN,))])
    with pytest.raises(ValueError, match="about has .'seed'."):
      study.update([trial(0, about={'seed': 1})])
    with pytest.raises(ValueError, match="status 'done' is none of"):
      study.update([trial(0, status='done')])
    assert study.trials == [trial(0)]
  with pytest.raises(ValueError, match='closed'):
    study.add([trial(1)])


def test_the_mirror_is_written_at_first_and_at_last_and_seldom_between(
  tmp_path, monkeypatch
):
  clock = [0.0]
  monkeypatch.setattr(study_module.time, 'monotonic', lambda: clock[0])
  mirror = tmp_path / 'run/trials.jsonl'
  mirrored = lambda: len(mirror.read_text().splitlines())
  with opened(tmp_path / 'run') as study:
    study.add([trial(0)])
    assert mirrored() == 1
    study._mirror_due = 20.0  # it took one second
    study.add([trial(1)])
    assert mirrored() == 1
    clock[0] = 20.0
    study.add([trial(2)])
    assert mirrored() == 3
    study._mirror_due = 99.0
    study.add([trial(3)])
    study.flush()
    assert mirrored() == 4
    study._mirror_due = 99.0
    study.add([trial(4)])
  assert mirrored() == 5
  first = json.loads(mirror.read_text().split('\n')[0])
  assert list(first)[:10] == [
    'number',
    'point',
    'seed',
    'status',
    'cohort',
    'overrides',
    'parameters',
    'objective',
    'rung',
    'scores',
  ]
