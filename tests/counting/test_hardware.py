"""Devices: sane data, time and cost by hand, the measured processor and its memory."""

import doctest
import json
import subprocess
import sys

import pytest

from lmhp.counting import hardware
from lmhp.counting.hardware import (
  DEVICES,
  Device,
  cost_usd,
  device,
  measured_cpu,
  time_seconds,
)
from lmhp.errors import ConfigError


def test_doctests():
  failed, tried = doctest.testmod(hardware)
  assert not failed and tried >= 4


@pytest.mark.parametrize('name', DEVICES)
def test_each_device_is_consistent(name):
  d = DEVICES[name]
  assert d.name == name and d.source
  assert d.bfloat16_flops > d.float32_flops > 1e13
  assert (
    50 < d.bfloat16_flops / d.bandwidth < 700
  )  # FLOPs per byte at which matrix products stop being memory bound
  assert 16e9 <= d.memory_bytes <= 141e9 and 1 < d.usd_per_hour < 5


def test_names_in_any_case_and_aliases():
  assert device('TPU v5e') is device('v5e') is DEVICES['tpu-v5e']
  assert device('A100_80GB') is DEVICES['a100']


def test_time_and_cost_of_llama_2_7b():
  """184,320 A100 hours for 2T tokens (arXiv:2307.09288, table 2) are 39% of the peak by 6 N D, see counting.md."""
  flops = 6 * 6_738_415_616 * 2e12
  seconds = time_seconds(flops, device('a100'), 0.3906)
  assert seconds / 3600 == pytest.approx(184_320, rel=1e-3)
  assert time_seconds(flops, device('a100'), 0.3906, n_devices=1000) == pytest.approx(
    seconds / 1000
  )
  assert time_seconds(flops, device('a100'), 0.3906, dtype='float32') == pytest.approx(
    2 * seconds
  )
  assert cost_usd(seconds, device('a100'), usd_per_hour=1.0) == pytest.approx(
    184_320, rel=1e-3
  )
  assert cost_usd(3600, device('a100'), n_devices=3) == 3 * DEVICES['a100'].usd_per_hour


@pytest.mark.parametrize(
  'call, words',
  [
    (lambda: device('h1000'), "did you mean 'h100'"),
    (lambda: device(None), 'device: got None'),
    (lambda: device('h100').peak('float23'), "did you mean 'float32'"),
    (lambda: time_seconds(1.0, device('h100'), 0.0), 'utilization: got 0.0'),
    (lambda: time_seconds(1.0, device('h100'), 40), 'utilization: got 40'),
    (lambda: time_seconds(1.0, device('h100'), float('nan')), 'utilization: got nan'),
    (lambda: time_seconds(1.0, device('h100'), 0.4, n_devices=0), 'n_devices: got 0'),
    (lambda: cost_usd(1.0, device('h100'), usd_per_hour=-1), 'usd_per_hour: got -1'),
  ],
)
def test_mistakes_are_one_line(call, words):
  with pytest.raises(ConfigError, match=words):
    call()


def test_cpu_is_measured_once_and_remembered(tmp_path, monkeypatch):
  monkeypatch.setenv('LMHP_CACHE', str(tmp_path / 'new'))
  first = device('cpu')
  assert 1e9 < first.float32_flops < 1e14 and 1e9 < first.bfloat16_flops < 1e14
  assert (
    1e8 < first.bandwidth < 1e13
    and first.memory_bytes > 1e8
    and first.usd_per_hour == 0
  )
  assert first.peak('auto') == max(first.bfloat16_flops, first.float32_flops)
  monkeypatch.setattr(hardware, '_measure', lambda key: pytest.fail('measured again'))
  assert device('CPU') == first


def test_measuring_again_keeps_the_better_of_each_figure(tmp_path, monkeypatch):
  monkeypatch.setenv('LMHP_CACHE', str(tmp_path))
  runs = iter(
    [
      Device('cpu', 2.0, 1.0, 1.0, 7.0, 0.0, 'busy'),
      Device('cpu', 1.0, 3.0, 1.0, 5.0, 0.0, 'idle'),
    ]
  )
  monkeypatch.setattr(hardware, '_measure', lambda key: next(runs))
  measured_cpu()
  assert (
    measured_cpu(again=True)
    == measured_cpu()
    == Device('cpu', 2.0, 3.0, 1.0, 7.0, 0.0, 'idle')
  )


@pytest.mark.parametrize(
  'content', ['', '{', '[]', '{"x": 1}', '{"KEY": {"name": "cpu"}}', '{"KEY": 3}']
)
def test_a_spoilt_memory_is_measured_anew(tmp_path, monkeypatch, content):
  monkeypatch.setenv('LMHP_CACHE', str(tmp_path))
  key = f'{hardware._processor()}, {hardware.os.cpu_count()} cores'
  (tmp_path / 'cpu.json').write_text(content.replace('KEY', key))
  fake = Device('cpu', 2.0, 1.0, 1.0, 1.0, 0.0, 'fake')
  monkeypatch.setattr(hardware, '_measure', lambda key: fake)
  assert measured_cpu() == fake
  assert json.loads((tmp_path / 'cpu.json').read_text())[key]['source'] == 'fake'


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
  (tmp_path / 'file').write_text('')
  monkeypatch.setenv('LMHP_CACHE', str(tmp_path / 'file' / 'below'))
  fake = Device('cpu', 2.0, 1.0, 1.0, 1.0, 0.0, 'fake')
  monkeypatch.setattr(hardware, '_measure', lambda key: fake)
  assert measured_cpu() == fake


def test_imports_no_jax():
  code = 'import sys, lmhp.counting.hardware, lmhp.hub.config_json, lmhp.model.presets; print("jax" in sys.modules)'
  assert (
    subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout
    == 'False\n'
  )
