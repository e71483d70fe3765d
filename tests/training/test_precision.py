"""Precision: what 'auto' stands for, by the device and by what the processor says of itself."""

import pathlib
import types

import pytest

from lmhp.training import precision


def on(monkeypatch, **device):
  monkeypatch.setattr(
    precision.jax, 'devices', lambda: [types.SimpleNamespace(**device)]
  )
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
  monkeypatch.setattr(precision, 'processor_features', lambda: frozenset(features))
  assert on(monkeypatch, platform='cpu') == dtype


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
def test_graphics_processors(monkeypatch, capability, dtype):
  assert on(monkeypatch, platform='gpu', compute_capability=capability) == dtype


def test_tensor_processors(monkeypatch):
  assert on(monkeypatch, platform='tpu') == 'bfloat16'


def test_what_the_processor_says(monkeypatch):
  said = (
    'processor\t: 0\nmodel name\t: Some\nflags\t\t: fpu vme amx_bf16\nbugs\t\t: none\n'
  )
  monkeypatch.setattr(pathlib.Path, 'read_text', lambda path: said)
  assert precision.processor_features() == {'fpu', 'vme', 'amx_bf16'}
  monkeypatch.setattr(pathlib.Path, 'read_text', lambda path: 'nothing of the kind')
  assert precision.processor_features() == frozenset()

  def absent(path):
    raise FileNotFoundError

  monkeypatch.setattr(pathlib.Path, 'read_text', absent)
  assert precision.processor_features() == frozenset()
