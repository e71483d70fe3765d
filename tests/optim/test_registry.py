"""Optimizers and schedules from outside the package."""

import os
import pathlib
import subprocess
import sys

import pytest

from lmhp.errors import ConfigError
from lmhp.optim.optimizers.adaptive import scale_by_adam
from lmhp.optim.registry import register_optimizer, register_schedule
from lmhp.optim.spec import OPTIMIZERS, SCHEDULES, OptimizerSpec, ScheduleSpec

ROOT = pathlib.Path(__file__).parents[2]

PLUGIN = """
import jax
import optax

from lmhp.declarations import static, traced
from lmhp.optim.registry import register_optimizer, register_schedule
from lmhp.optim.spec import OptimizerSpec, ScheduleSpec
from lmhp.sections import keys, keys_of


@keys
class ScaledKeys:
  scaled_factor: float = traced(0.5, 'factor on the gradient', low=0.0)
  scaled_twice: bool = static(False, 'apply the factor twice')


def scaled(cfg, numbers):
  factor = numbers['scaled_factor']
  if keys_of(cfg, ScaledKeys).scaled_twice:
    factor = factor * factor
  return optax.chain(optax.trace(numbers['momentum']), optax.scale(factor))


@keys
class LevelKeys:
  level: float = traced(1.0, 'height of the schedule', low=0.0, high=1.0)


def level(progress, numbers):
  return numbers['level'] + 0 * progress.decay


register_optimizer(
  'scaled',
  OptimizerSpec(
    scaled, 'l2', source='test', defaults={'momentum': 0.25}, keys=ScaledKeys
  ),
)
register_schedule('level', ScheduleSpec(level, keys=LevelKeys))
"""

SETUP = """
import pathlib, sys
import lmhp

def config(*settings):
  config = lmhp.default_config()
  text = pathlib.Path(sys.argv[1], 'words.txt')
  text.write_text('a tree grows where none was sown before ' * 100)
  config.data.path = (str(text),)
  config.data.tokenizer = 'char'
  config.data.cache_dir = str(text.parent / 'cache')
  config.model.d_model = 4
  config.model.n_heads = 1
  config.model.n_layers = 1
  config.model.max_seq_len = 8
  config.model.dtype = 'float32'
  config.train.steps = 3
  config.train.batch_size = 2
  config.evaluate.sequences = 2
  config.log.tensorboard = False
  config.log.every_steps = 1
  config.optimizer.weight_decay = 0.0
  config.schedule.warmup_fraction = 0.0
  for path, value in {k: v for values in settings for k, v in values.items()}.items():
    section, _, key = path.partition('.')
    config[section][key] = value
  return config

def train(*settings):
  return lmhp.train(config(*settings), display='none')
"""


def run(tmp_path, code):
  """Runs code in a process that can import the plugin as `outside`."""
  (tmp_path / 'outside.py').write_text(PLUGIN)
  paths = f'{tmp_path}{os.pathsep}{ROOT}'
  environment = {**os.environ, 'PYTHONPATH': paths, 'TMPDIR': str(tmp_path)}
  environment['XLA_FLAGS'] = '--xla_backend_optimization_level=0'  # compiles faster
  command = [sys.executable, '-c', SETUP + code, str(tmp_path)]
  done = subprocess.run(
    command, env=environment, capture_output=True, text=True, check=False
  )
  assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_an_outside_optimizer_and_schedule_train_and_are_swept(tmp_path):
  code = """
import numpy as np
import jax
from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.space import Choice

# A program that was compiled before the registration does not serve the new schedule.
momentum = {'optimizer.name': 'momentum', 'optimizer.momentum': 0.25}
half = train(momentum, {'schedule.name': 'constant', 'optimizer.learning_rate': 0.005})

import outside

scaled = {'optimizer.name': 'scaled', 'optimizer.learning_rate': 0.01}
by_default = train(scaled, {'schedule.name': 'constant'})
jax.tree.map(np.testing.assert_array_equal, by_default.params, half.params)

by_level = train(
  momentum,
  {'schedule.name': 'level', 'schedule.level': 0.5, 'optimizer.learning_rate': 0.01},
)
jax.tree.map(np.testing.assert_array_equal, by_level.params, half.params)

result = lmhp.sweep(
  config(scaled, {'schedule.name': 'level'}),
  SweepConfig(
    space={
      'optimizer.scaled_factor': Choice(0.25, 0.5),
      'schedule.level': Choice(0.5, 1.0),
    },
    search='grid',
    trials=4,
    confirm_points=0,
  ),
  display='none',
  report=False,
)
losses = {}
for trial in result.trials:
  factor = trial.parameters['optimizer.scaled_factor']
  losses[factor, trial.parameters['schedule.level']] = trial.values[0]
assert len(losses) == 4
assert losses[0.25, 1.0] == losses[0.5, 0.5]
assert len(set(losses.values())) == 3
"""
  run(tmp_path, code)


def test_an_outside_optimizer_reads_its_static_key(tmp_path):
  code = """
import jax.numpy as jnp
import outside
from lmhp.optim.config import OptimizerConfig
from lmhp.optim.spec import OPTIMIZERS

for twice, factor in ((False, 0.25), (True, 0.0625)):
  cfg = OptimizerConfig(name='scaled', scaled_twice=twice)
  tx = OPTIMIZERS['scaled'].scale(cfg, {'momentum': 0.0, 'scaled_factor': 0.25})
  assert tx.update(jnp.ones(1), tx.init(jnp.ones(1)))[0][0] == factor
"""
  run(tmp_path, code)


def test_keys_of_an_outside_entry_are_read_by_it_alone(tmp_path):
  code = """
import outside
from lmhp.config_help import format_config_help
from lmhp.optim.config import OptimizerConfig
from lmhp.optim.schedules.config import ScheduleConfig
from lmhp.training.config import RunConfig
from lmhp.config_keys import unread_set_keys

def unread(**sections):
  return list(unread_set_keys(RunConfig(**sections)))

cfg = OptimizerConfig(name='scaled', scaled_factor=0.1, scaled_twice=True)
assert unread(optimizer=cfg) == []
cfg = OptimizerConfig(name='scaled', b1=0.1)
assert unread(optimizer=cfg) == ['optimizer.b1']
cfg = OptimizerConfig(scaled_factor=0.1)
assert unread(optimizer=cfg) == ['optimizer.scaled_factor']
assert unread(schedule=ScheduleConfig(level=0.1)) == ['schedule.level']
assert unread(schedule=ScheduleConfig(name='level', level=0.1)) == []
assert 'optimizer.scaled_factor' in format_config_help()
"""
  run(tmp_path, code)


def test_a_registered_name_belongs_to_the_module_that_registered_it():
  with pytest.raises(ConfigError, match="optimizer 'adamw': .*optimizers.adaptive"):
    register_optimizer('adamw', OPTIMIZERS['lion'])
  with pytest.raises(ConfigError, match="schedule 'cosine': .*schedules.shapes"):
    register_schedule('cosine', SCHEDULES['rex'])


def test_a_default_or_number_that_is_no_key_is_an_error():
  spec = OptimizerSpec(scale_by_adam, 'l2', source='test', defaults={'bb1': 0.9})
  with pytest.raises(ConfigError, match="optimizer 'toy': .*'bb1'.*'b1'"):
    register_optimizer('toy', spec)
  assert 'toy' not in OPTIMIZERS

  spec = ScheduleSpec(SCHEDULES['linear'].shape, numbers=('final_ratio',))
  with pytest.raises(ConfigError, match="schedule 'toy': .*'final_ratio'"):
    register_schedule('toy', spec)
  assert 'toy' not in SCHEDULES
