"""The section `schedule`: mistakes, and the keys that each schedule reads."""

import dataclasses

import pytest

from lmhp.errors import ConfigError
from lmhp.optim.schedules.config import INTERVAL_UNITS, ScheduleConfig


@pytest.mark.parametrize(
  'values,key_and_value',
  [
    (
      {'warmup_steps': 5, 'warmup_tokens': 9},
      'schedule.warmup_steps: got 5.0, expected .*schedule.warmup_tokens',
    ),
    (
      {'cycle_epochs': 1, 'cycle_fraction': 0.5},
      'schedule.cycle_epochs: .*schedule.cycle_fraction',
    ),
    (
      {'name': 'wsd_sqrt', 'warmup_fraction': 0.5, 'cooldown_fraction': 0.6},
      'schedule.cooldown_fraction: got 0.6, .*0.5',
    ),
    ({'name': 'cosin'}, "schedule.name: got 'cosin', expected .*'cosine'"),
    ({'warmup_fraction': 1.1}, 'schedule.warmup_fraction: got 1.1'),
    ({'cycle_fraction': 0}, 'schedule.cycle_fraction: got 0.0'),
    ({'warmup_steps': -1}, 'schedule.warmup_steps: got -1'),
  ],
)
def test_a_mistake_is_an_error_that_names_the_key(values, key_and_value):
  with pytest.raises(ConfigError, match=key_and_value):
    ScheduleConfig(**values)


@pytest.mark.parametrize(
  'name,read,unread',
  [
    ('cosine', {'final_lr_ratio'}, {'cooldown_fraction', 'cycle_fraction', 'power'}),
    ('constant', {'initial_lr_ratio'}, {'final_lr_ratio', 'cycle_growth'}),
    ('wsd_sqrt', {'cooldown_fraction'}, {'cycle_fraction', 'rex_beta'}),
    ('cosine_restarts', {'cycle_fraction', 'cycle_growth'}, {'decay_factor'}),
    ('rex', {'rex_beta'}, {'power', 'cooldown_fraction'}),
  ],
)
def test_keys_read(name, read, unread):
  keys_read = ScheduleConfig(name=name).keys_read()
  assert read <= keys_read
  assert not unread & keys_read


def test_an_interval_in_another_unit_is_read_if_its_fraction_is():
  for name, is_read in (('wsd_linear', True), ('cosine', False)):
    keys_read = ScheduleConfig(name=name).keys_read()
    for unit in INTERVAL_UNITS:
      assert (f'cooldown_{unit}' in keys_read) == is_read


def test_some_schedule_reads_each_key():
  names = [field.name for field in dataclasses.fields(ScheduleConfig)]
  choices = ScheduleConfig.__dataclass_fields__['name'].metadata['lmhp'].choices
  keys_read = set().union(*(ScheduleConfig(name=name).keys_read() for name in choices))
  assert set(names) == keys_read


@pytest.mark.parametrize(
  'value,key', [('sgdr', 'cosine_restarts'), ('constant_with_warmup', 'constant')]
)
def test_a_name_of_another_library_is_an_error_with_the_name_here(value, key):
  with pytest.raises(ConfigError, match=f"schedule.name: got '{value}'.*'{key}'"):
    ScheduleConfig(name=value)
