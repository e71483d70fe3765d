"""Devices: plausible data, names, and a device from outside the package."""

import pytest

from lmhp.counting.counted_model import CountedModel
from lmhp.counting.description import describe
from lmhp.counting.device import DEVICES, Device, normalize_name, register_device
from lmhp.counting.hardware import find_device
from lmhp.errors import ConfigError
from lmhp.model.presets import preset


@pytest.mark.parametrize('name', DEVICES)
def test_each_device_has_a_source_and_plausible_figures(name):
  device = DEVICES[name]
  assert device.name == name
  assert device.source
  assert device.bfloat16_flops > device.float32_flops > 1e13
  # FLOPs per byte from which matrix products are not memory bound.
  assert 50 < device.bfloat16_flops / device.bandwidth < 700
  assert 16e9 <= device.memory_bytes <= 141e9
  assert 1 < device.usd_per_hour < 5


def test_aliases_are_normalized_and_unique():
  names = list(DEVICES)
  for device in DEVICES.values():
    names += device.aliases
  assert len(names) == len(set(names))
  assert [normalize_name(name) for name in names] == names


@pytest.mark.parametrize(
  'name,key',
  [
    ('TPU v5e', 'tpu-v5e'),
    ('v5e', 'tpu-v5e'),
    ('A100_80GB', 'a100'),
    ('H100-SXM', 'h100'),
  ],
)
def test_names_in_any_case_and_aliases(name, key):
  assert find_device(name) is DEVICES[key]


@pytest.mark.parametrize('name,meant', [('h1000', "'h100'"), (None, "'None'|None")])
def test_an_unknown_device_is_an_error(name, meant):
  with pytest.raises(ConfigError, match=f'device: got .*{meant}'):
    find_device(name)


def test_an_unknown_dtype_is_an_error():
  with pytest.raises(ConfigError, match="dtype: got 'float23'.*'float32'"):
    DEVICES['h100'].peak('float23')


@pytest.fixture
def devices(monkeypatch):
  """The registry of devices, as it was after the test."""
  monkeypatch.setattr(DEVICES, '_entries', dict(DEVICES._entries))
  monkeypatch.setattr(DEVICES, '_modules', dict(DEVICES._modules))
  return DEVICES


def test_a_device_from_outside_has_time_and_price(devices):
  toy = Device(
    name='Toy 1',
    bfloat16_flops=2e12,
    float32_flops=1e12,
    memory_bytes=1e9,
    bandwidth=1e11,
    usd_per_hour=0.5,
    source='test',
    aliases=('toy',),
  )
  register_device(toy)
  assert devices['toy-1'] is toy
  assert find_device('TOY') is toy
  training = describe(
    CountedModel('gpt2', preset('gpt2')), device='toy', tokens=1e9
  ).training
  assert training.device == 'Toy 1'
  assert training.device_seconds == pytest.approx(training.flops / (0.4 * 2e12))
  assert training.cost_usd == pytest.approx(training.device_seconds / 3600 * 0.5)


def test_a_registered_name_cannot_be_taken(devices):
  with pytest.raises(ConfigError, match="device 'h100'"):
    register_device(devices['h100'])
