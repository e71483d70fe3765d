"""The precision that replaces 'auto' as the value of `model.dtype` on this machine."""

from __future__ import annotations

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
  """
  device = jax.devices()[0]
  if device.platform == 'cpu':
    is_fast = not FAST_BFLOAT16.isdisjoint(processor_fact('flags').split())
    return 'bfloat16' if is_fast else 'float32'
  if device.platform != 'gpu':
    return 'bfloat16'
  # The capability of an NVIDIA GPU is a number such as 7.5, that of an AMD GPU is not.
  major = str(device.compute_capability).partition('.')[0]
  return 'float32' if major.isdecimal() and int(major) < AMPERE else 'bfloat16'
