"""Studies for the tests of progress."""

import dataclasses
import types

import numpy as np
import pytest

from lmhp.sweeping.budget import SearchPlan
from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.execution.packs import Pack
from lmhp.sweeping.progress import study_state
from lmhp.sweeping.space import Float
from lmhp.sweeping.store.manifest import RungSchedule
from lmhp.sweeping.store.trial import ModelSummary, StageResult, Trial, TrialCost

LEARNING_RATE = 'optimizer.learning_rate'
SCHEDULE = 'schedule.name'


class Study:
  """Makes the parts of a study by hand."""

  def sweep(self, n_trials=6, **keys):
    return SweepConfig(
      space={LEARNING_RATE: Float(1e-4, 1e-1, log=True)},
      search='halton',
      trials=n_trials,
      **{'confirm_points': 0, **keys},
    )

  def plan(self, n_points=6, rungs=(20,)):
    return SearchPlan(n_points, RungSchedule(rungs), 20 * n_points)

  def trials(self, n, cohort='search-0', first=0):
    return [
      Trial(
        number=i,
        point=i,
        seed=0,
        parameters={LEARNING_RATE: 1e-3 * (i + 1), SCHEDULE: f'shape{i}'},
        overrides={},
        cohort=cohort,
        model=ModelSummary(structure='s'),
      )
      for i in range(first, first + n)
    ]

  def pack(self, members, last_step=20, name='search-0-0', **fields):
    members = tuple(members)
    return Pack(
      name=name,
      trials=members,
      sources=(None,) * len(members),
      first_step=0,
      last_step=last_step,
      width=8,
      **fields,
    )

  def losses(self, *values):
    return {'loss_nats': np.array(values, np.float32), 'seconds': 3.0}

  def ended(self, trials, pack, scores, status='complete'):
    """Returns the trials after a pack whose members got these scores, at 10 tokens a step."""
    after = {trial.number: trial for trial in trials}
    for number, score in zip(pack.trials, scores, strict=True):
      trial = after[number]
      n_updates = pack.last_step + pack.cooldown_steps
      after[number] = dataclasses.replace(
        trial,
        status=status,
        scores={**trial.scores, pack.last_step: score},
        cost=TrialCost(
          steps=pack.last_step,
          cooldown_steps=pack.cooldown_steps,
          tokens=10 * n_updates,
          seconds=1.0,
        ),
        stages=(*trial.stages, StageResult(pack.name, pack.name, (score,))),
        values=None if status == 'running' else (score,),
      )
    return list(after.values())


@pytest.fixture
def study():
  return Study()


@pytest.fixture
def clock(monkeypatch):
  """A clock that a test moves."""
  now = types.SimpleNamespace(seconds=1000.0)
  monkeypatch.setattr(study_state.time, 'monotonic', lambda: now.seconds)
  return now
