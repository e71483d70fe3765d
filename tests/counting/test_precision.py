"""The precision that 'auto' stands for, by device and by processor."""

import types

import pytest

from lmhp.counting import precision


def dtype_on(monkeypatch, **device):
  devices = [types.SimpleNamespace(**device)]
  monkeypatch.setattr(precision.jax, 'devices', lambda: devices)
  return precision.fastest_dtype()


@pytest.mark.parametrize(
  'features, dtype',
  [
    ({'sse', 'avx512_bf16'}, 'bfloat16'),
    ({'amx_bf16'}, 'bfloat16'),
    ({'avx2', 'avx512f'}, 'float32'),
    (set(), 'float32'),
  ],
)
def test_processors(monkeypatch, features, dtype):
  monkeypatch.setattr(precision, 'processor_fact', lambda name: ' '.join(features))
  assert dtype_on(monkeypatch, platform='cpu') == dtype


@pytest.mark.parametrize(
  'capability, dtype',
  [
    ('10.0', 'bfloat16'),
    ('9.0', 'bfloat16'),
    ('8.0', 'bfloat16'),
    ('7.5', 'float32'),
    ('7.0', 'float32'),
    ('gfx90a', 'bfloat16'),
  ],
)
def test_gpus(monkeypatch, capability, dtype):
  got = dtype_on(monkeypatch, platform='gpu', compute_capability=capability)
  assert got == dtype


def test_tpus(monkeypatch):
  assert dtype_on(monkeypatch, platform='tpu') == 'bfloat16'


@pytest.mark.parametrize(
  'platform, capability, named',
  [
    ('gpu', '7.5', True),
    ('gpu', '8.0', False),
    ('gpu', 'gfx90a', False),
    ('cpu', '', False),
  ],
)
def test_gpus_without_bfloat16_are_named_with_what_is_used(
  monkeypatch, platform, capability, named
):
  device = types.SimpleNamespace(
    platform=platform, compute_capability=capability, device_kind='Tesla T4'
  )
  monkeypatch.setattr(precision.jax, 'devices', lambda: [device])
  for dtype in ('float32', 'bfloat16'):
    line = precision.missing_bfloat16(dtype)
    assert (line is not None) == named
    if line is not None:
      assert 'Tesla T4' in line and '7.5' in line and repr(dtype) in line
