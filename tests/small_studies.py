"""Small studies for the tests of the storage: trials of every status, without training."""

import dataclasses
import math
import random

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from lmhp.sweeping.space import Choice, Float, Int
from lmhp.sweeping.store.manifest import StudyManifest, TaskDescription
from lmhp.sweeping.store.study import Study
from lmhp.sweeping.store.trial import (
  ModelSummary,
  StageResult,
  Trial,
  TrialCost,
  line_of,
)

optuna.logging.set_verbosity(optuna.logging.ERROR)

SPACE = {
  'optimizer.learning_rate': Float(1e-4, 1e-1, log=True),
  'model.n_layers': Int(2, 8),
  'schedule.name': Choice('cosine', None, True, (1, 'x'), math.inf),
}
MANIFEST = StudyManifest(
  task=TaskDescription('test', {'clip': math.inf, 'sizes': (1, 2)}),
  sweep={'search_seed': 0, 'objective': ['loss']},
  space={'type': 'Product', 'parts': []},
)


def make_trial(number, **fields):
  """Returns a trial. Two trials have one point."""
  rng = random.Random(number // 2)
  parameters = {
    'optimizer.learning_rate': 10 ** rng.uniform(-4, -1),
    'model.n_layers': rng.randint(2, 8),
    'schedule.name': rng.choice(SPACE['schedule.name'].values),
  }
  overrides = {**parameters, 'train.seed': number, 'model.windows': (1, (2, 3))}
  values = {
    'number': number,
    'point': number // 2,
    'seed': number,
    'parameters': parameters,
    'overrides': overrides,
    'model': ModelSummary('s', 'c', 120, {'attention': 20}),
  }
  return Trial(**{**values, **fields})


def open_study(workdir, **options):
  """Opens a study for writing."""
  return Study.open(workdir, **{'space': SPACE, 'manifest': MANIFEST, **options})


def lines_of(trials):
  """Returns the lines of trials in `trials.jsonl`. NaN is equal to NaN in them."""
  return [line_of(trial) for trial in trials]


def load_with_optuna(workdir):
  """Returns the study as Optuna's own backend reads the journal."""
  storage = JournalStorage(JournalFileBackend(str(workdir / 'study.journal')))
  return optuna.load_study(study_name=workdir.name, storage=storage)


ENDS = (
  {'status': 'complete', 'values': (0.5,)},
  {'status': 'diverged', 'values': (9.0,), 'diverged_at': 15},
  {'status': 'pruned'},
  {'status': 'pruned', 'values': (1.25,)},
  {'status': 'failed', 'error': 'out of memory'},
  {'status': 'running'},
  {'status': 'waiting'},
)
"""Changes of a trial that bring it to each status."""


def write_study_of_all_statuses(workdir, **options):
  """Writes a study with a trial of each status. Returns its trials."""
  with open_study(workdir, **options) as study:
    study.add([make_trial(i, cohort='search-1') for i in range(len(ENDS))])
    started = []
    for trial in study.trials[:-1]:
      started.append(
        dataclasses.replace(
          trial,
          status='running',
          scores={10: 1.5},
          cost=TrialCost(steps=10, tokens=80, device='cpu'),
          stages=(StageResult('a', 'a-0', (1.5,)),),
          metrics={'loss': math.nan, 'gap': math.inf, 'eval_tokens': 7},
        )
      )
    study.update(started)
    ended = []
    for trial, end in zip(started, ENDS):
      scores = {10: 1.5, 20: 1.0 + trial.number}
      ended.append(dataclasses.replace(trial, scores=scores, **end))
    study.update(ended)
    return study.trials


def finish_study(study, n_trials):
  """Brings a study, in packs of three trials, to its end from any state."""
  while len(study.trials) < n_trials:
    n_before = len(study.trials)
    study.add([make_trial(n_before + i) for i in range(3)])
    pack = study.trials[-3:]
    for step in (10, 20):
      pack = [
        dataclasses.replace(
          trial, status='running', scores={**trial.scores, step: 1.0 / step}
        )
        for trial in pack
      ]
      study.update(pack)
    study.update([_complete(trial) for trial in pack])
  for trial in study.trials:
    if trial.status != 'complete':
      study.update([_complete(trial)])


def _complete(trial):
  return dataclasses.replace(
    trial, status='complete', scores={10: 0.1, 20: 0.05}, values=(trial.seed + 0.5,)
  )
