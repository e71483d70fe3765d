"""The precision that replaces 'auto' as the value of `model.dtype` on this machine."""

from __future__ import annotations

from typing import Any

import jax

from lmhp.counting.cpu import processor_fact

FAST_BFLOAT16 = frozenset({'amx_bf16', 'avx512_bf16'})
"""Processor features with which products in bfloat16 are faster than in float32 (measured:
two to three times)."""

AMPERE = 8
"""Major compute capability of Ampere, the first NVIDIA GPUs with fast bfloat16."""


def fastest_dtype() -> str:
  """Returns 'bfloat16' if the default device multiplies it faster than float32, else 'float32'.

  With both, sums are float32. These devices multiply bfloat16 faster: TPUs, NVIDIA GPUs from
  Ampere on, all other GPUs, and CPUs with one of the features `FAST_BFLOAT16`. The choice is a
  fixed rule, not a measurement, so that all processes of a run agree.

  >>> fastest_dtype() in ('float32', 'bfloat16')
  True
  """
  device = jax.devices()[0]
  if device.platform == 'cpu':
    is_fast = not FAST_BFLOAT16.isdisjoint(processor_fact('flags').split())
    return 'bfloat16' if is_fast else 'float32'
  if device.platform != 'gpu':
    return 'bfloat16'
  return 'float32' if _is_before_ampere(device) else 'bfloat16'


def missing_bfloat16(dtype: str) -> str | None:
  """Returns a line on the precision that is used if the default device has no bfloat16.

  Args:
    dtype: The completed `model.dtype`.

  Returns:
    The line, or None if the device has bfloat16.

  >>> line = missing_bfloat16('float32')
  >>> line is None or line.startswith('model.dtype: ')
  True
  """
  device = jax.devices()[0]
  if device.platform != 'gpu' or not _is_before_ampere(device):
    return None
  name = f'{device.device_kind} (compute capability {device.compute_capability})'
  used = 'products are made in float32'
  if dtype == 'bfloat16':
    used = "values are rounded to bfloat16 and products made in float32, slower than 'float32'"
  return f'model.dtype: {name} has no bfloat16 and lmhp uses no float16, so with {dtype!r} {used}'


def _is_before_ampere(gpu: Any) -> bool:
  # The capability of an NVIDIA GPU is a number such as 7.5, that of an AMD GPU is not.
  major = str(gpu.compute_capability).partition('.')[0]
  return major.isdecimal() and int(major) < AMPERE
