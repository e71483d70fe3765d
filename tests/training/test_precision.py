"""The precision that 'auto' stands for, by device and by processor."""

import pathlib
import types

import pytest

from lmhp.training import precision


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
  monkeypatch.setattr(precision, 'processor_features', lambda: frozenset(features))
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


def test_features_come_from_the_flags_in_linux(monkeypatch):
  cpuinfo = (
    'processor\t: 0\nmodel name\t: Some\nflags\t\t: fpu vme amx_bf16\nbugs\t\t: none\n'
  )
  monkeypatch.setattr(pathlib.Path, 'read_text', lambda path: cpuinfo)
  assert precision.processor_features() == {'fpu', 'vme', 'amx_bf16'}


def test_without_flags_there_are_no_features(monkeypatch):
  monkeypatch.setattr(pathlib.Path, 'read_text', lambda path: 'another format')
  assert precision.processor_features() == frozenset()


def test_without_the_file_there_are_no_features(monkeypatch):
  def absent(path):
    raise FileNotFoundError

  monkeypatch.setattr(pathlib.Path, 'read_text', absent)
  assert precision.processor_features() == frozenset()
