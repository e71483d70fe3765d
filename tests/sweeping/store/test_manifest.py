"""The comparison of a sweep with the study that it continues."""

import dataclasses

import pytest

from lmhp.errors import ConfigError
from lmhp.sweeping.store.manifest import (
  EXTENDABLE,
  Cohort,
  Origin,
  RungSchedule,
  StudyManifest,
  TaskDescription,
  extended_manifest,
)

STORED = StudyManifest(
  task=TaskDescription('test', {'train.batch_size': 3}, {'steps': 9}, 'abc'),
  sweep={'trials': 4, 'objective': ['loss'], 'match_budget': None},
  space={'type': 'a'},
  origin=Origin(versions={'jax': '1'}, git={'commit': 'x', 'dirty': False}),
  plugins=('a',),
  changes=('earlier',),
  rungs=RungSchedule((3, 9)),
  cohorts=(Cohort('search-0', 0, 4, 'random', 1, False, {}),),
  seconds=3.0,
)
NEW = dataclasses.replace(
  STORED, changes=(), rungs=None, cohorts=(), seconds=0.0, plugins=()
)


def extended(**changes):
  new = dataclasses.replace(NEW, **changes)
  return extended_manifest(STORED, new, 'run')


def test_the_same_sweep_changes_nothing():
  assert extended() == STORED


def test_an_extension_keeps_the_progress_and_takes_over_the_rest():
  found = extended(
    sweep={**NEW.sweep, 'trials': 8}, space={'type': 'b'}, plugins=('b', 'a')
  )
  assert (found.cohorts, found.rungs, found.seconds) == (
    STORED.cohorts,
    STORED.rungs,
    STORED.seconds,
  )
  assert (found.sweep['trials'], found.space) == (8, {'type': 'b'})
  assert found.plugins == ('a', 'b')
  assert found.changes[0] == 'earlier'
  assert len(found.changes) == 2


@pytest.mark.parametrize(
  ('name', 'value'),
  [
    ('git', {'commit': 'y', 'dirty': False}),
    ('git', None),
    ('versions', {'jax': '2'}),
    ('device', {'kind': 'gpu'}),
  ],
)
def test_another_origin_is_reported_once(name, value):
  origin = dataclasses.replace(STORED.origin, **{name: value})
  found = extended(origin=origin)
  assert found.origin == origin
  assert len(found.changes) == 2
  assert found.changes[-1].startswith(f'{name} changed')
  again = extended_manifest(found, dataclasses.replace(NEW, origin=origin), 'run')
  assert again == found


def test_another_command_is_not_reported():
  origin = dataclasses.replace(STORED.origin, command=('lmhp', 'sweep'))
  assert extended(origin=origin).changes == STORED.changes


@pytest.mark.parametrize('key', EXTENDABLE)
def test_keys_that_may_change(key):
  assert extended(sweep={**NEW.sweep, key: 7}).sweep[key] == 7


def test_a_matched_budget_may_be_named_when_it_matters():
  assert extended(sweep={**NEW.sweep, 'match_budget': 'flops'})


@pytest.mark.parametrize(
  ('changes', 'path'),
  [
    ({'sweep': {**NEW.sweep, 'objective': ['accuracy']}}, 'sweep.objective'),
    ({'sweep': {**NEW.sweep, 'eta': 4}}, 'sweep.eta'),
    (
      {'task': dataclasses.replace(STORED.task, base_values={'train.batch_size': 4})},
      'train.batch_size',
    ),
    ({'task': dataclasses.replace(STORED.task, identity={'steps': 8})}, 'steps'),
    ({'task': dataclasses.replace(STORED.task, kind='other')}, 'task'),
    ({'task': dataclasses.replace(STORED.task, data_sha256='x')}, 'data.path'),
  ],
)
def test_trials_that_would_not_be_comparable_are_refused(changes, path):
  with pytest.raises(ConfigError) as error:
    extended(**changes)
  message = str(error.value)
  assert message.startswith(f'{path}: ')
  assert '\n' not in message
