"""A run that continues: the same numbers, wherever the data lie and whatever is logged."""

import json
import shutil

import jax
import pytest
from small_runs import bits, rows

import lmhp
from lmhp.errors import ConfigError
from lmhp.training.manifest import read_manifest
from lmhp.training.resumption.jax_settings import FLAG_VARIABLES, NUMERIC_JAX_OPTIONS

CONSTANT = {'schedule.name': 'constant', 'schedule.warmup_steps': 3}


def train(config, workdir):
  return lmhp.train(config, workdir=workdir, display='none')


def test_same_text_at_another_path_continues(small, text, tmp_path):
  (tmp_path / 'elsewhere').mkdir()
  moved = shutil.copy(text, tmp_path / 'elsewhere' / 'moved.txt')
  first = train(small(), tmp_path / 'run')
  second = train(small(**{'data.path': (str(moved),)}), tmp_path / 'run')
  assert second.result == first.result
  moved.write_text('other text ' * 500)
  with pytest.raises(ConfigError, match='data.path: .* changed since the run'):
    train(small(**{'data.path': (str(moved),)}), tmp_path / 'run')


def test_interrupted_run_has_the_new_path_in_its_manifest(small, text, tmp_path):
  moved = shutil.copy(text, tmp_path / 'moved.txt')
  constant = CONSTANT
  train(small(**constant), tmp_path / 'run')
  longer = constant | {'train.steps': 30, 'data.path': (str(moved),)}
  train(small(**longer), tmp_path / 'run')
  before = read_manifest(tmp_path / 'run')
  assert before.config['data']['path'] == [str(moved)]
  assert before.config['train']['steps'] == 30


@pytest.mark.parametrize(
  'values',
  [
    {'log.every_steps': 5},
    {'log.tensorboard': True},
    {'checkpoint.keep_last': 5},
    {'checkpoint.every_steps': 7},
  ],
)
def test_keys_of_logs_and_checkpoints_may_change(small, tmp_path, values):
  first = train(small(), tmp_path / 'run')
  second = train(small(**values), tmp_path / 'run')
  assert second.result == first.result


def test_longer_run_has_the_bits_of_one_that_was_long_from_the_start(small, tmp_path):
  constant = CONSTANT
  train(small(**constant), tmp_path / 'run')
  longer = train(small(**constant | {'train.steps': 40}), tmp_path / 'run')
  whole = train(small(**constant | {'train.steps': 40}), tmp_path / 'whole')
  assert longer.result['steps'] == 40
  assert bits(longer.params) == bits(whole.params)
  losses = [
    {row['step']: row['loss_nats'] for row in rows(run) if 'loss_nats' in row}
    for run in (tmp_path / 'run', tmp_path / 'whole')
  ]
  assert losses[0] == losses[1]
  again = train(small(**constant | {'train.steps': 40}), tmp_path / 'run')
  assert again.result == longer.result


@pytest.mark.parametrize(
  'schedule, steps, reason',
  [
    ('cosine', 40, 'learning rate of step'),
    ('wsd_linear', 40, 'learning rate of step'),
    ('constant', 12, 'at least this number'),
  ],
)
def test_run_of_other_numbers_is_refused_with_the_reason(
  small, tmp_path, schedule, steps, reason
):
  name = {'schedule.name': schedule}
  train(small(**name), tmp_path / 'run')
  with pytest.raises(ConfigError, match=rf'train\.steps: got {steps}, .*{reason}'):
    train(small(**name | {'train.steps': steps}), tmp_path / 'run')


def test_longer_run_needs_the_last_state(small, tmp_path):
  values = CONSTANT | {'checkpoint.enabled': False}
  train(small(**values), tmp_path / 'run')
  with pytest.raises(ConfigError, match=r'train\.steps: .*last state was not saved'):
    train(small(**values | {'train.steps': 40}), tmp_path / 'run')


def test_another_number_is_still_refused(small, tmp_path):
  constant = CONSTANT
  train(small(**constant), tmp_path / 'run')
  values = constant | {'train.steps': 40, 'optimizer.learning_rate': 0.5}
  with pytest.raises(ConfigError, match=r'optimizer\.learning_rate: got 0\.5'):
    train(small(**values), tmp_path / 'run')


def test_options_of_jax_that_change_numbers_are_stored_and_compared(small, tmp_path):
  train(small(), tmp_path / 'run')
  stored = read_manifest(tmp_path / 'run').jax_options
  assert set(stored) == {*NUMERIC_JAX_OPTIONS, *FLAG_VARIABLES}
  with jax.default_prng_impl('rbg'):
    with pytest.raises(ConfigError, match="jax_default_prng_impl: .*'rbg'.*threefry"):
      train(small(), tmp_path / 'run')
  with jax.default_matmul_precision('highest'):
    with pytest.raises(ConfigError, match='jax_default_matmul_precision'):
      train(small(), tmp_path / 'run')
  train(small(), tmp_path / 'run')


def test_run_of_an_older_version_has_no_options_of_jax(small, tmp_path):
  first = train(small(), tmp_path / 'run')
  path = tmp_path / 'run' / 'config.json'
  values = json.loads(path.read_text())
  del values['jax_options'], values['checksum']
  path.write_text(json.dumps(values))
  assert train(small(), tmp_path / 'run').result == first.result


def test_flags_of_xla_that_change_numbers_are_compared(small, tmp_path, monkeypatch):
  monkeypatch.setenv('XLA_FLAGS', '--xla_force_host_platform_device_count=4')
  train(small(), tmp_path / 'run')
  # Flags about devices and logs may change, and the others may not.
  monkeypatch.setenv('XLA_FLAGS', '--xla_dump_to=x')
  train(small(), tmp_path / 'run')
  monkeypatch.setenv('XLA_FLAGS', '--xla_cpu_enable_fast_math=true')
  with pytest.raises(ConfigError, match='^XLA_FLAGS: .*fast_math'):
    train(small(), tmp_path / 'run')
