"""Settings of JAX with which lmhp cannot train are one line. Those that change numbers count."""

import os
import subprocess
import sys

import jax
import pytest

from lmhp.errors import ConfigError
from lmhp.training.resumption.jax_settings import (
  NUMERIC_JAX_OPTIONS,
  check_can_train,
  check_device,
  numeric_flags,
  numeric_jax_options,
)


def lines_of_command(*words, **environment):
  """Returns the exit status of a command and its lines on stderr."""
  process = subprocess.run(
    [sys.executable, '-m', 'lmhp', *words],
    env={**os.environ, **environment},
    capture_output=True,
    text=True,
    timeout=120,
  )
  return process.returncode, process.stderr.splitlines()


def test_missing_device_is_one_line_of_a_command(tmp_path):
  checkpoint = tmp_path / 'none'
  status, lines = lines_of_command('generate', str(checkpoint), JAX_PLATFORMS='cuda')
  assert status == 2
  assert len(lines) == 1 and lines[0].startswith("lmhp: JAX_PLATFORMS: got 'cuda'")


def test_wrong_value_of_a_variable_of_jax_is_one_line():
  # The import of jax raises a ValueError, before lmhp can check anything.
  status, lines = lines_of_command('generate', 'x', JAX_ENABLE_X64='maybe')
  assert status == 2
  assert len(lines) == 1 and 'JAX_ENABLE_X64' in lines[0]


@pytest.mark.parametrize(
  'error', [AssertionError(), RuntimeError("Unable to initialize\nbackend 'tpu'")]
)
def test_no_device_is_a_config_error_that_names_the_variable(monkeypatch, error):
  def fail():
    raise error

  monkeypatch.setattr(jax, 'devices', fail)
  monkeypatch.setenv('JAX_PLATFORMS', 'tpu')
  with pytest.raises(ConfigError, match="^JAX_PLATFORMS: got 'tpu'") as caught:
    check_device()
  assert '\n' not in str(caught.value)


def test_settings_with_which_nothing_can_be_compiled_are_refused():
  check_can_train()
  with jax.disable_jit():
    with pytest.raises(ConfigError, match='^JAX_DISABLE_JIT: got True'):
      check_can_train()
  with jax.numpy_dtype_promotion('strict'):
    with pytest.raises(ConfigError, match='^JAX_NUMPY_DTYPE_PROMOTION: got strict'):
      check_can_train()
  with jax.transfer_guard('disallow'):
    with pytest.raises(ConfigError, match='^JAX_TRANSFER_GUARD: got disallow'):
      check_can_train()


def test_train_and_sweep_check_the_settings_before_anything_else(monkeypatch):
  from lmhp import api

  with jax.disable_jit():
    for call in (api.train, api.sweep, api.plan_sweep):
      with pytest.raises(ConfigError, match='^JAX_DISABLE_JIT'):
        call('no_such_file.py')


def test_flags_that_change_no_number_are_left_out_and_the_others_are_sorted():
  flags = '--xla_dump_to=/tmp/x  --xla_force_host_platform_device_count=8'
  assert numeric_flags(flags) == ''
  flags = '--xla_b=2 --xla_a --xla_dump_hlo_as_text --xla_b=3'
  assert numeric_flags(flags) == '--xla_a=true --xla_b=3'


def test_flags_may_stand_in_a_file(tmp_path):
  file = tmp_path / 'flags'
  file.write_text('--xla_b=1\n--xla_dump_to=x\n')
  assert numeric_flags(str(file)) == '--xla_b=1'


def test_numeric_settings_have_the_options_and_the_flags(monkeypatch):
  monkeypatch.setenv('XLA_FLAGS', '--xla_cpu_enable_fast_math=true')
  options = numeric_jax_options()
  assert set(NUMERIC_JAX_OPTIONS) < set(options)
  assert options['XLA_FLAGS'] == '--xla_cpu_enable_fast_math=true'
