"""The sections of a run: lengths, splits of a batch, and names in other libraries."""

import math

import pytest

from lmhp import config_keys
from lmhp.errors import ConfigError
from lmhp.training.config import LENGTHS, MAX_STEPS, TrainConfig

BATCH = {'batch_size': 4, 'seq_len': 8}
"""32 tokens in a step."""


def steps_of(**length):
  train = TrainConfig(**BATCH, **length)
  return train.in_steps(tokens_per_epoch=1000, parameters=70)


# --- lengths --------------------------------------------------------------------------


@pytest.mark.parametrize(
  'length, steps',
  [
    ({'steps': 7}, 7),
    ({'tokens': 320}, 10),
    ({'tokens': 321}, 11),
    ({'tokens_per_parameter': 20.0}, math.ceil(20 * 70 / 32)),
    ({'epochs': 0.5}, math.ceil(500 / 32)),
    ({}, 1000),
  ],
  ids=str,
)
def test_each_length_is_rounded_up_to_steps(length, steps):
  train = steps_of(**length)
  assert train.steps == steps
  assert all(getattr(train, name) is None for name in LENGTHS[1:])


@pytest.mark.parametrize('second', LENGTHS[1:])
def test_two_lengths_are_refused(second):
  with pytest.raises(ConfigError, match=f'^train.{second}: got 5.*train.steps'):
    TrainConfig(**BATCH, **{'steps': 3, second: 5})


def test_a_length_of_more_steps_than_int32_is_refused():
  with pytest.raises(ConfigError, match=f'^train.tokens: .*{MAX_STEPS}'):
    steps_of(tokens=1e15)


# --- splits of a batch ----------------------------------------------------------------


def test_accumulation_must_divide_the_batch():
  with pytest.raises(ConfigError, match='^train.grad_accumulation_steps: got 3'):
    TrainConfig(batch_size=4, grad_accumulation_steps=3)


def test_the_noise_scale_needs_an_even_batch():
  with pytest.raises(ConfigError, match='^train.measure_noise_scale: got True'):
    TrainConfig(batch_size=3, measure_noise_scale=True)


@pytest.mark.parametrize(
  'values, n', [({}, 1), ({'measure_noise_scale': True}, 2)], ids=str
)
def test_measuring_the_noise_scale_splits_a_batch_in_two(values, n):
  assert TrainConfig(batch_size=4, **values).n_microbatches == n


def test_measuring_the_noise_scale_keeps_more_microbatches():
  train = TrainConfig(batch_size=4, grad_accumulation_steps=4, measure_noise_scale=True)
  assert train.n_microbatches == 4


# --- names in other libraries ---------------------------------------------------------


@pytest.mark.parametrize(
  'name, key',
  [
    ('max_iters', 'train.steps'),
    ('num_train_epochs', 'train.epochs'),
    ('per_device_train_batch_size', 'train.batch_size'),
    ('gradient_accumulation_steps', 'train.grad_accumulation_steps'),
    ('label_smoothing_factor', 'train.label_smoothing'),
    ('eval_steps', 'evaluate.every_steps'),
    ('eval_iters', 'evaluate.sequences'),
    ('save_steps', 'checkpoint.every_steps'),
    ('save_total_limit', 'checkpoint.keep_last'),
    ('logging_steps', 'log.every_steps'),
  ],
)
def test_a_name_of_another_library_leads_to_the_key(name, key):
  assert repr(key) in config_keys.suggest_key(f'train.{name}')


@pytest.mark.parametrize('section', ['train', 'evaluate', 'checkpoint', 'log'])
def test_no_name_of_another_library_belongs_to_two_keys(section):
  names = []
  for path, declaration in config_keys.keys().items():
    names += [(name, path) for name in declaration.aliases]
    names += [(name, path) for name in declaration.converted_aliases]
  for name, path in names:
    if path.startswith(f'{section}.'):
      owners = {other for alias, other in names if alias == name}
      assert owners == {path}, name
