"""Time and price of training, by hand and against published figures."""

import subprocess
import sys

import pytest

from lmhp.counting.device import DEVICES
from lmhp.counting.hardware import cost_usd, find_device, time_seconds
from lmhp.errors import ConfigError

LLAMA_2_7B_FLOPS = 6 * 6_738_415_616 * 2e12
"""6 N D of Llama 2 7B and its 2T training tokens."""


def test_time_of_llama_2_7b():
  """The paper states 184,320 hours (arXiv:2307.09288, table 2). This is a utilization of 39%."""
  seconds = time_seconds(LLAMA_2_7B_FLOPS, find_device('a100'), 0.3906)
  assert seconds / 3600 == pytest.approx(184_320, rel=1e-3)
  assert cost_usd(seconds, find_device('a100'), usd_per_hour=1.0) == pytest.approx(
    184_320, rel=1e-3
  )


def test_devices_share_the_work():
  a100 = find_device('a100')
  one = time_seconds(LLAMA_2_7B_FLOPS, a100, 0.4)
  many = time_seconds(LLAMA_2_7B_FLOPS, a100, 0.4, n_devices=1000)
  assert many == pytest.approx(one / 1000)


def test_float32_takes_longer():
  a100 = find_device('a100')
  bfloat16 = time_seconds(LLAMA_2_7B_FLOPS, a100, 0.4)
  float32 = time_seconds(LLAMA_2_7B_FLOPS, a100, 0.4, dtype='float32')
  assert float32 == pytest.approx(2 * bfloat16)


def test_price_of_an_hour():
  a100 = find_device('a100')
  assert cost_usd(3600, a100, n_devices=3) == 3 * DEVICES['a100'].usd_per_hour


@pytest.mark.parametrize('utilization', [0.0, 40, -0.1, float('nan')])
def test_a_utilization_out_of_range_is_an_error(utilization):
  with pytest.raises(ConfigError, match=f'utilization: got {utilization}'):
    time_seconds(1.0, find_device('h100'), utilization)


def test_no_devices_are_an_error():
  with pytest.raises(ConfigError, match='n_devices: got 0'):
    time_seconds(1.0, find_device('h100'), 0.4, n_devices=0)


def test_a_negative_price_is_an_error():
  with pytest.raises(ConfigError, match='usd_per_hour: got -1'):
    cost_usd(1.0, find_device('h100'), usd_per_hour=-1)


def test_hardware_imports_no_jax():
  code = (
    'import sys, lmhp.counting.hardware, lmhp.hub.config_json, lmhp.model.presets; '
    'print("jax" in sys.modules)'
  )
  command = [sys.executable, '-c', code]
  done = subprocess.run(command, capture_output=True, text=True, check=True)
  assert done.stdout == 'False\n'
