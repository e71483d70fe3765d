"""lmhp's studies and runs, and Optuna's studies, as tables; without jax."""

import dataclasses
import json
import math
import subprocess
import sys

import numpy as np
import optuna
import pyarrow as pa
import pytest

from lmhp.analysis.runs.sources import read
from lmhp.errors import ConfigError
from lmhp.sweeping.space import Choice, Float, Int, When, to_json
from lmhp.sweeping.store import curves
from lmhp.sweeping.store.manifest import RungSchedule, StudyManifest, TaskDescription
from lmhp.sweeping.store.study import Study, read_manifest
from lmhp.sweeping.store.trial import (
  LineageStep,
  ModelSummary,
  StageResult,
  Trial,
  TrialCost,
)

optuna.logging.set_verbosity(optuna.logging.ERROR)
SPACE = {
  'optimizer.learning_rate': Float(1e-4, 1e-1, log=True),
  'model.n_layers': Int(2, 8),
  'train.batch_size': Choice(8, 16, 64, role='nuisance'),
  'schedule.name': Choice('cosine', 'constant'),
  'schedule.cooldown_fraction': When('schedule.name', 'cosine', Float(0.1, 0.5)),
}
BASE = {
  'optimizer': {'learning_rate': 1e-3, 'clip_norm': 'inf'},
  'model': {'n_layers': 4},
  'train': {'batch_size': 16},
  'schedule': {'name': 'cosine', 'cooldown_fraction': 0.2},
}

BASE_VALUES = {
  'optimizer.learning_rate': 1e-3,
  'optimizer.clip_norm': math.inf,
  'model.n_layers': 4,
  'train.batch_size': 16,
  'schedule.name': 'cosine',
  'schedule.cooldown_fraction': 0.2,
}


@pytest.fixture
def study(tmp_path):
  """A study with trials of several fates, two curves, a confirmation."""
  manifest = StudyManifest(
    task=TaskDescription('language_model', BASE_VALUES, data_sha256='abc'),
    sweep={'objective': ['eval_loss_nats', 'flops'], 'match_budget': 'steps'},
    space=to_json(SPACE),
    rungs=RungSchedule((5, 10)),
  )
  ends = [
    ('complete', (2.0, 7.0)),
    ('pruned', None),
    ('diverged', (9.0, 7.0)),
    ('running', None),
  ]
  with Study.open(
    tmp_path / 'found',
    space=SPACE,
    manifest=manifest,
    directions=('minimize', 'minimize'),
  ) as study:
    trials = []
    for i, (status, values) in enumerate(ends):
      parameters = {
        'optimizer.learning_rate': 1e-3 * (i + 1),
        'model.n_layers': 2 + i,
        'train.batch_size': 8,
        'schedule.name': 'constant' if i else 'cosine',
      } | ({} if i else {'schedule.cooldown_fraction': 0.3})
      packs = ['one', 'two'][: 2 - i % 2]
      trials.append(
        Trial(
          number=i,
          point=i,
          seed=0,
          parameters=parameters,
          overrides=dict(parameters),
          cohort='search-0',
          model=ModelSummary(n_parameters=30, parameters_by_kind={'attention': 12}),
          status=status,
          scores={5: 3.0},
          values=values,
          cost=TrialCost(steps=8, cooldown_steps=2, tokens=100, flops=1000.0),
          stages=tuple(StageResult(pack, pack, (2.0,)) for pack in packs),
          metrics={'eval_loss_nats': 2.0},
        )
      )
    trials.append(
      Trial(
        number=4,
        point=-1,
        seed=77,
        parameters={},
        overrides={'train.seed': 77},
        cohort='confirm-0',
        status='complete',
        scores={10: 2.5},
        values=(2.5, 7.0),
      )
    )
    study.add(trials)

  def make(steps, trial):
    return pa.table(
      {
        'trial': [trial] * len(steps),
        'step': steps,
        'loss_nats': [4.0 - s / 10 for s in steps],
      }
    )

  curves.write(
    tmp_path / 'found/curves/one.parquet',
    pa.concat_tables([make([1, 5], 0), make([1, 5], 1)]),
  )
  curves.write(tmp_path / 'found/curves/two.parquet', make([6, 10], 0))
  return tmp_path / 'found'


def test_a_study(study):
  runs = read(study)
  assert (
    runs.name == 'found'
    and runs.objective_name == 'eval_loss_nats'
    and not runs.maximize
    and len(runs) == 5
  )
  rate, layers, batch = (
    runs.axes[n]
    for n in ('optimizer.learning_rate', 'model.n_layers', 'train.batch_size')
  )
  assert (rate.low, rate.high, rate.log, rate.base_value, rate.role) == (
    1e-4,
    1e-1,
    True,
    1e-3,
    'scientific',
  )
  assert layers.is_integer and not layers.log and layers.base_value == 4
  assert (batch.is_choice, batch.choices, batch.role, batch.log) == (
    False,
    (8, 16, 64),
    'nuisance',
    True,
  )
  assert (
    runs.axes['schedule.name'].is_choice
    and runs.axes['schedule.name'].base_value == 'cosine'
  )
  np.testing.assert_equal(
    runs.values['schedule.cooldown_fraction'], [0.3] + [math.nan] * 4
  )
  assert runs.values['schedule.name'].tolist() == [
    'cosine',
    'constant',
    'constant',
    'constant',
    None,
  ]
  np.testing.assert_equal(runs.objective, [2.0, math.nan, 9.0, math.nan, 2.5])
  assert runs.status.tolist() == [
    'complete',
    'pruned',
    'diverged',
    'running',
    'complete',
  ]
  assert runs.cohort.tolist() == ['search'] * 4 + [
    'confirm'
  ] and runs.point.tolist() == [0, 1, 2, 3, -1]
  assert (
    len(runs.complete_runs()) == 1
    and len(runs.finished_runs()) == 2
    and runs.scores[0] == {5: 3.0}
  )
  assert (
    runs.measured['tokens'][0] == 80 and runs.measured['tokens_spent'][0] == 100
  )  # the forks' apart
  assert (
    runs.measured['parameters_attention'][0] == 12 and runs.measured['flops'][0] == 800
  )
  assert runs.curves[0]['step'].tolist() == [1, 5, 6, 10] and runs.curves[1][
    'step'
  ].tolist() == [1, 5]
  assert (
    runs.configs[1]['optimizer.learning_rate'] == 2e-3
    and runs.configs[1]['optimizer.clip_norm'] == math.inf
  )
  assert runs.facts.data_sha256 == 'abc'


def test_a_study_is_read_while_it_is_written_and_without_jax(study):
  manifest = read_manifest(study)
  with Study.open(
    study, space=SPACE, manifest=manifest, directions=('minimize', 'minimize')
  ):
    code = (
      'import sys; from lmhp.analysis.runs.sources import read; '
      f'print(len(read({str(study)!r})), "jax" in sys.modules)'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
  assert done.stdout == '5 False\n', done.stderr


def test_population_based_training_counts_by_its_last_values(tmp_path):
  space = {'optimizer.learning_rate': Float(1e-4, 1e-1, log=True)}
  manifest = StudyManifest(
    task=TaskDescription('language_model', BASE_VALUES),
    sweep={'objective': ['loss']},
    space=to_json(space),
  )
  with Study.open(tmp_path / 'pbt', space=space, manifest=manifest) as study:
    study.add(
      [
        Trial(
          number=0,
          point=0,
          seed=0,
          parameters={'optimizer.learning_rate': 1e-3},
          overrides={'optimizer.learning_rate': 1e-3},
          cohort='pbt',
          status='complete',
          values=(1.0,),
          lineage=(
            LineageStep(5, 0, {'optimizer.learning_rate': 1e-3}),
            LineageStep(10, 0, {'optimizer.learning_rate': 5e-3}),
          ),
        )
      ]
    )
  assert read(tmp_path / 'pbt').values['optimizer.learning_rate'].tolist() == [5e-3]


def write_run(path, rate, loss, **result):
  path.mkdir(parents=True)
  config = {**BASE, 'optimizer': {'learning_rate': rate}}
  (path / 'config.json').write_text(
    json.dumps({'config': config, 'data_sha256': 'd', 'versions': {'jax': '1'}})
  )
  rows = [
    {'step': 1, 'loss_nats': 5.0, 'grad_norm': 'nan'},
    {'step': 2, 'eval_loss_nats': loss},
  ]
  (path / 'metrics.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows))
  if result:
    (path / 'result.json').write_text(
      json.dumps({'final_eval_loss_nats': loss, 'steps': 2, **result})
    )


def test_training_runs(tmp_path):
  write_run(
    tmp_path / 'a', 1e-3, 2.0, diverged_at=None, parameters_by_kind={'attention': 5}
  )
  write_run(tmp_path / 'b', 1e-2, 3.0, diverged_at=2)
  write_run(tmp_path / 'c', 1e-1, 2.5)
  (tmp_path / 'notes').mkdir()
  one, all_ = read(tmp_path / 'a'), read(tmp_path)
  assert (
    len(one) == 1
    and not one.axes
    and one.facts.source_type == 'run'
    and one.objective.tolist() == [2.0]
  )
  assert one.measured['parameters_attention'].tolist() == [5.0] and one.curves[0][
    'step'
  ].tolist() == [1, 2]
  assert (
    list(all_.axes) == ['optimizer.learning_rate']
    and all_.axes['optimizer.learning_rate'].log
  )
  assert all_.status.tolist() == [
    'complete',
    'diverged',
    'running',
  ] and all_.objective.tolist() == [2.0, 3.0, 2.5]
  assert all_.facts.source_type == 'runs'


@pytest.mark.parametrize('damage', ['{', '[1]'])
def test_a_damaged_run_is_one_line(tmp_path, damage):
  write_run(tmp_path / 'a', 1e-3, 2.0, diverged_at=None)
  (tmp_path / 'a' / 'result.json').write_text(damage)
  with pytest.raises(ConfigError, match='result.json: is damaged'):
    read(tmp_path / 'a')


@pytest.fixture
def foreign(tmp_path):
  """An Optuna study that another program made, in a journal."""
  path = tmp_path / 'foreign.journal'
  backend = optuna.storages.journal.JournalFileBackend(str(path))
  study = optuna.create_study(
    storage=optuna.storages.JournalStorage(backend),
    study_name='theirs',
    direction='maximize',
  )

  def objective(trial):
    x = trial.suggest_float('lr', 1e-4, 1e-1, log=True)
    trial.suggest_categorical('kind', ['a', None])
    if trial.number == 3:
      raise optuna.TrialPruned
    trial.report(x, 1)
    trial.set_user_attr('parameters', 12)
    return x + trial.suggest_int('n', 1, 9)

  study.optimize(objective, n_trials=5)
  return path, study


def test_an_optuna_study(foreign):
  path, study = foreign
  runs = read(path)
  assert (
    runs.name == 'theirs'
    and runs.maximize
    and list(runs.axes) == ['lr', 'kind', 'n']
    and runs.axes['lr'].log
  )
  assert runs.status.tolist() == ['complete'] * 3 + ['pruned', 'complete']
  done = [t for t in study.trials if t.value is not None]
  assert runs.complete_runs().objective.tolist() == [t.value for t in done]
  assert runs.complete_runs().values['lr'].tolist() == [t.params['lr'] for t in done]
  assert (
    math.isnan(runs.values['n'][3])
    and runs.axes['n'].is_integer
    and runs.axes['kind'].choices == ('a', None)
  )
  assert (
    runs.scores[0] == {1: study.trials[0].params['lr']}
    and runs.measured['parameters'][0] == 12
  )


def test_which_optuna_study(foreign, tmp_path):
  path, _ = foreign
  backend = optuna.storages.journal.JournalFileBackend(str(path))
  optuna.create_study(
    storage=optuna.storages.JournalStorage(backend), study_name='empty'
  )
  assert len(read(path, study='empty')) == 0
  with pytest.raises(ConfigError, match='--study: got none, expected one of'):
    read(path)
  with pytest.raises(ConfigError, match="--study: got 'no', expected one of"):
    read(path, study='no')
  (tmp_path / 'x.journal').write_text('{"op_code": 77}\n')
  with pytest.raises(ConfigError, match='cannot be read as an Optuna storage'):
    read(tmp_path / 'x.journal')


def test_a_trial_that_repeats_another_counts_once(tmp_path):
  space = {'optimizer.learning_rate': Choice(1e-3, 1e-2)}
  manifest = StudyManifest(
    task=TaskDescription('function', {'optimizer.learning_rate': 1e-3}),
    sweep={'objective': ['loss']},
    space=to_json(space),
  )
  rates = (1e-3, 1e-2, 1e-3, 1e-3, 1e-2)
  values = (
    0.5,
    0.25,
    0.5,
    0.75,
    None,
  )  # the fourth is not equal, the last has no result
  with Study.open(tmp_path / 'study', space=space, manifest=manifest) as study:
    trials = [
      Trial(
        number=i,
        point=i,
        seed=0,
        parameters={'optimizer.learning_rate': rate},
        overrides={'optimizer.learning_rate': rate, 'train.seed': 0},
        cohort='search-0',
      )
      for i, rate in enumerate(rates)
    ]
    study.add(trials)
    study.update(
      [
        dataclasses.replace(trial, status='complete', values=(value,))
        for trial, value in zip(trials, values)
        if value is not None
      ]
    )
  runs = read(tmp_path / 'study')
  assert runs.number.tolist() == [0, 1, 3, 4]
