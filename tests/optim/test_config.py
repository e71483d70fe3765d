"""The section `optimizer`: defaults, mistakes, and the keys that each optimizer reads."""

import dataclasses
import math

import pytest

from lmhp.config_keys import keys
from lmhp.errors import ConfigError
from lmhp.hypers import split
from lmhp.optim.config import UNREAD_DEFAULTS, OptimizerConfig
from lmhp.optim.spec import OPTIMIZERS


@pytest.mark.parametrize(
  'values,expected',
  [
    (
      {},
      {
        'name': 'adamw',
        'weight_decay_mode': 'decoupled',
        'weight_decay': 0.1,
        'b1': 0.9,
        'b2': 0.95,
        'eps': 1e-8,
      },
    ),
    ({'name': 'adam'}, {'weight_decay_mode': 'l2', 'weight_decay': 1e-4}),
    ({'name': 'adam', 'weight_decay_mode': 'decoupled'}, {'weight_decay': 0.1}),
    ({'weight_decay_mode': 'independent'}, {'weight_decay': 1e-4}),
    ({'weight_decay_mode': 'independent', 'weight_decay': 0.5}, {'weight_decay': 0.5}),
    ({'name': 'lion'}, {'b1': 0.9, 'b2': 0.99}),
    ({'name': 'muon'}, {'momentum': 0.95, 'b2': 0.95}),
    ({'name': 'momentum'}, {'momentum': 0.9}),
    ({'name': 'momentum', 'momentum': 0.0}, {'momentum': 0.0}),
  ],
)
def test_none_stands_for_the_default_of_the_optimizer(values, expected):
  cfg = OptimizerConfig(**values)
  assert {field: getattr(cfg, field) for field in expected} == expected


@pytest.mark.parametrize(
  'values,key_and_value',
  [
    ({'name': 'addamw'}, "optimizer.name: got 'addamw', expected .*'adamw'"),
    (
      {'weight_decay_mode': 'l1'},
      'optimizer.weight_decay_mode: .*l2, decoupled, independent',
    ),
    ({'b1': 1.0}, 'optimizer.b1: got 1.0, expected .*0.0.*1.0'),
    ({'clip_norm': 0}, 'optimizer.clip_norm: got 0.0, expected .*inf'),
    ({'learning_rate': math.inf}, 'optimizer.learning_rate'),
    ({'learning_rate': -1e-3}, 'optimizer.learning_rate'),
    (
      {'weight_decay_kinds': ('atention',)},
      "optimizer.weight_decay_kinds: got .*'attention'",
    ),
    ({'muon_newton_schulz_steps': 0}, 'optimizer.muon_newton_schulz_steps'),
  ],
)
def test_a_mistake_is_an_error_that_names_the_key(values, key_and_value):
  with pytest.raises(ConfigError, match=key_and_value):
    OptimizerConfig(**values)


def test_numbers_are_not_part_of_the_structure():
  structure, _ = split(OptimizerConfig())
  other = OptimizerConfig(
    learning_rate=0.5, b2=0.1, clip_norm=math.inf, output_lr_multiplier=2.0
  )
  other_structure, _ = split(other)
  assert structure == other_structure
  assert hash(structure) == hash(other_structure)


@pytest.mark.parametrize(
  'name,read,unread',
  [
    ('adamw', {'b1', 'b2', 'eps', 'weight_decay'}, {'b3', 'momentum'}),
    ('lion', {'b1', 'b2', 'freeze'}, {'eps', 'muon_scaling'}),
    ('sgd', {'learning_rate', 'clip_norm'}, {'momentum', 'b1'}),
    ('adafactor', {'adafactor_power', 'adafactor_min_size'}, {'b2', 'eps'}),
    ('muon', {'momentum', 'b1', 'muon_scaling', 'muon_lr_multiplier'}, {'b3'}),
  ],
)
def test_keys_read(name, read, unread):
  keys_read = OptimizerConfig(name=name).keys_read()
  assert read <= keys_read
  assert not unread & keys_read


def test_some_optimizer_reads_each_key():
  names = {field.name for field in dataclasses.fields(OptimizerConfig)}
  keys_read = set().union(
    *(OptimizerConfig(name=name).keys_read() for name in OPTIMIZERS)
  )
  assert names == keys_read


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_numbers_that_an_optimizer_does_not_read_have_fixed_values(name):
  cfg = OptimizerConfig(name=name)
  for key in set(UNREAD_DEFAULTS) - cfg.keys_read():
    assert getattr(cfg, key) == UNREAD_DEFAULTS[key]


@pytest.mark.parametrize(
  'key,value,meant',
  [
    ('name', 'adamw_torch', 'adamw'),
    ('name', 'nag', 'nesterov'),
    ('muon_scaling', 'match_rms_adamw', 'rms'),
  ],
)
def test_a_value_of_another_library_is_an_error_with_the_value_here(key, value, meant):
  with pytest.raises(ConfigError, match=f"optimizer.{key}: got '{value}'.*'{meant}'"):
    OptimizerConfig(**{key: value})


@pytest.mark.parametrize('section', ['optimizer', 'schedule'])
def test_a_name_of_another_library_belongs_to_one_key(section):
  declarations = {
    path: value for path, value in keys().items() if path.startswith(section)
  }
  names = []
  for declaration in declarations.values():
    names += [*declaration.aliases, *declaration.converted_aliases]
  assert len(names) == len(set(names))


def test_none_names_the_value_that_switches_a_key_off():
  with pytest.raises(
    ConfigError, match=r'got None, expected a number \(inf switches it off\)'
  ):
    OptimizerConfig(clip_norm=None)
