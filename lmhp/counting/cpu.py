"""Peak FLOPs per second and memory bandwidth of this computer's processors.

They are measured once and stored in the cache directory. jax is imported only to measure.
"""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import dataclasses
import json
import os
import pathlib
import platform
import time

from lmhp.counting.device import Device
from lmhp.files import as_path, cache_directory, write_atomic

_BUDGET_SECONDS = 0.7
"""Time for all repetitions of one measurement."""
_MATRIX_SIZE = 1024
"""Rows and columns of the matrices that are multiplied."""
_COPIED_NUMBERS = 2**24
"""Float32 numbers of the array that is copied: 64 MiB, more than most processor caches hold."""


def measured_cpu(*, again: bool = False) -> Device:
  """Returns this computer's processors as one device, with measured peaks.

  The first call measures and stores the result in the cache directory. Later calls read that
  result. If it cannot be read, they measure again. The price is 0.

  Args:
    again: If True, measure once more, and keep the larger of the old and the new value of each
      peak (FLOPs per second, bandwidth). This helps if the computer was busy the first time.

  >>> measured_cpu().name
  'cpu'
  """
  # The key names the processor, so that the result of another computer is not used.
  path = as_path(cache_directory()) / 'cpu.json'
  key = f'{processor_name()}, {os.cpu_count()} cores'
  stored = _read(path, key)
  if stored is not None and not again:
    return stored

  # Keep the larger of the stored and the new value of each peak.
  measured = _measure(key)
  if stored is not None:
    measured = dataclasses.replace(
      measured,
      bfloat16_flops=max(stored.bfloat16_flops, measured.bfloat16_flops),
      float32_flops=max(stored.float32_flops, measured.float32_flops),
      bandwidth=max(stored.bandwidth, measured.bandwidth),
    )
  # If the result cannot be stored, the next process measures again.
  with contextlib.suppress(OSError):
    write_atomic(path, json.dumps({key: dataclasses.asdict(measured)}).encode())
  return measured


def _read(path: os.PathLike[str], key: str) -> Device | None:
  """Returns the device that is stored under a key, or None if it cannot be read."""
  try:
    fields = json.loads(pathlib.Path(path).read_text())[key]
    fields['aliases'] = tuple(fields['aliases'])
    return Device(**fields)
  except (OSError, ValueError, KeyError, TypeError):
    return None


def processor_name() -> str:
  """Returns the model name of the processor, or its architecture if there is none.

  >>> isinstance(processor_name(), str)
  True
  """
  return processor_fact('model name') or platform.processor() or platform.machine()


def processor_fact(name: str) -> str:
  """Returns a fact that Linux lists about the processor. Empty if there is none.

  Args:
    name: Name of the fact in /proc/cpuinfo, such as `flags`. Other systems have no such file.

  >>> processor_fact('no such fact')
  ''
  """
  with contextlib.suppress(OSError):
    for line in pathlib.Path('/proc/cpuinfo').read_text().splitlines():
      if line.startswith(name):
        return line.partition(':')[2].strip()
  return ''


def _measure(key: str) -> Device:
  """Measures matrix products in bfloat16 and float32, and the copy of an array.

  `key` describes the computer, for the field `source`.
  """
  import jax
  import jax.numpy as jnp
  import numpy as np

  # Products of square matrices with float32 accumulation. A multiply-add is two FLOPs.
  flops_per_product = 2 * _MATRIX_SIZE**3

  def measure_flops(dtype: jax.typing.DTypeLike) -> float:
    matrix = jnp.ones((_MATRIX_SIZE, _MATRIX_SIZE), dtype)
    seconds = _shortest_seconds(lambda: product(matrix, matrix).block_until_ready())
    return flops_per_product / seconds

  @jax.jit
  def product(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, preferred_element_type=jnp.float32)

  with jax.default_device(jax.local_devices(backend='cpu')[0]):
    bfloat16_flops = measure_flops(jnp.bfloat16)
    float32_flops = measure_flops(jnp.float32)

  # A copy reads and writes each byte, so twice the size of the array is moved.
  source = np.ones(_COPIED_NUMBERS, np.float32)
  target = np.empty(_COPIED_NUMBERS, np.float32)
  copy_seconds = _shortest_seconds(lambda: np.copyto(target, source))
  return Device(
    name='cpu',
    bfloat16_flops=bfloat16_flops,
    float32_flops=float32_flops,
    memory_bytes=_memory_bytes(),
    bandwidth=2 * source.nbytes / copy_seconds,
    usd_per_hour=0.0,
    source=f'measured: {key}',
  )


def _memory_bytes() -> float:
  """Returns the size of the memory, or 0 if the system does not report it (Windows)."""
  try:
    return float(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES'))
  except (AttributeError, ValueError):
    return 0.0


def _shortest_seconds(run: Callable[[], object]) -> float:
  """Calls `run` repeatedly for `_BUDGET_SECONDS`, and returns the shortest time of a call.

  The first call is not measured, because it compiles.
  """
  run()
  shortest = float('inf')
  end = time.perf_counter() + _BUDGET_SECONDS
  while time.perf_counter() < end:
    start = time.perf_counter()
    run()
    shortest = min(shortest, time.perf_counter() - start)
  return shortest
