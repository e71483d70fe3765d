"""What `model.dtype` 'auto' stands for on this machine."""

from __future__ import annotations

import pathlib

import jax

FAST_BFLOAT16 = ('amx_bf16', 'avx512_bf16')
"""Processor features whose bfloat16 products are faster than float32 ones (measured: two to three times)."""


def fastest_dtype() -> str:
  """'bfloat16' where the default device multiplies it faster than float32 (with float32 sums), else 'float32'.

  TPUs do, and GPUs from Ampere on; of processors, those that say so. It is a rule and not a measurement, so that it
  never changes between two processes of one run.
  """
  device = jax.devices()[0]
  if device.platform == 'cpu':
    return (
      'bfloat16'
      if any(feature in processor_features() for feature in FAST_BFLOAT16)
      else 'float32'
    )
  major = str(getattr(device, 'compute_capability', '')).partition('.')[
    0
  ]  # of NVIDIA: '7.5' is Turing, which has none
  return 'float32' if major.isdecimal() and int(major) < 8 else 'bfloat16'


def processor_features() -> frozenset[str]:
  """What Linux says the processor can do; empty elsewhere."""
  try:
    lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
  except OSError:
    return frozenset()
  flags = next((line for line in lines if line.startswith('flags')), '')
  return frozenset(flags.partition(':')[2].split())
