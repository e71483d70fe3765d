"""Keys that are set although the optimizer or the schedule does not read them."""

import pytest

from lmhp.config import from_json, resolve, to_json
from lmhp.errors import ConfigError
from lmhp.optim.config import OptimizerConfig, check_keys_are_read, unread_keys
from lmhp.optim.schedules.config import ScheduleConfig
from lmhp.optim.spec import OPTIMIZERS, SCHEDULES


@pytest.mark.parametrize(
  'values,expected',
  [
    ({}, ()),
    ({'b1': 0.8}, ()),
    ({'name': 'adamw', 'momentum': 0.5}, ('optimizer.momentum',)),
    ({'name': 'momentum', 'momentum': 0.5}, ()),
    ({'name': 'lion', 'eps': 1e-3}, ('optimizer.eps',)),
    ({'name': 'sgd', 'b1': 0.1, 'b2': 0.2}, ('optimizer.b1', 'optimizer.b2')),
    ({'name': 'adamw', 'adafactor_min_size': 7}, ('optimizer.adafactor_min_size',)),
    ({'name': 'adafactor', 'adafactor_min_size': 7}, ()),
    ({'name': 'adamw', 'muon_scaling': 'width'}, ('optimizer.muon_scaling',)),
    ({'name': 'sgd', 'clip_norm': 3.0, 'freeze': ('output',), 'weight_decay': 0.0}, ()),
  ],
)
def test_unread_keys_of_the_optimizer(values, expected):
  assert unread_keys(OptimizerConfig(**values)) == expected


@pytest.mark.parametrize(
  'values,expected',
  [
    ({}, ()),
    ({'name': 'cosine', 'cooldown_fraction': 0.3}, ('schedule.cooldown_fraction',)),
    ({'name': 'wsd_linear', 'cooldown_fraction': 0.3}, ()),
    ({'name': 'cosine', 'cycle_tokens': 30}, ('schedule.cycle_tokens',)),
    ({'name': 'step', 'cycle_tokens': 30, 'decay_factor': 0.9}, ()),
    ({'name': 'constant', 'final_lr_ratio': 0.0}, ('schedule.final_lr_ratio',)),
    ({'name': 'constant', 'warmup_steps': 3, 'initial_lr_ratio': 0.5}, ()),
    ({'name': 'linear', 'power': 3.0}, ('schedule.power',)),
    ({'name': 'polynomial', 'power': 3.0}, ()),
  ],
)
def test_unread_keys_of_the_schedule(values, expected):
  assert unread_keys(ScheduleConfig(**values)) == expected


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_the_defaults_of_every_optimizer_count_as_not_set(name):
  assert unread_keys(OptimizerConfig(name=name)) == ()


@pytest.mark.parametrize('name', SCHEDULES)
def test_the_defaults_of_every_schedule_count_as_not_set(name):
  assert unread_keys(ScheduleConfig(name=name)) == ()


def test_a_stored_config_has_no_unread_keys():
  cfg = from_json(to_json(resolve({'optimizer': {'name': 'lion'}})))
  assert unread_keys(cfg.optimizer) == ()
  assert unread_keys(cfg.schedule) == ()


def test_check_names_the_key_and_the_optimizer():
  check_keys_are_read(OptimizerConfig(name='momentum', momentum=0.5))
  with pytest.raises(ConfigError, match='optimizer.momentum: got 0.5.*name=adamw'):
    check_keys_are_read(OptimizerConfig(momentum=0.5))
