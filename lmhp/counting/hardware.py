"""Devices: their dense peaks, memory and price, and from these the time and cost of a number of FLOPs.

Peaks are the makers' for dense matrix products (without sparsity); a real run reaches a share of them, the utilization,
which the caller states. Prices are assumptions, not offers: what one device cost per hour on demand at `PRICES_AS_OF`,
the middle of what several clouds asked. Override them where you know better. This computer's own processor is 'cpu':
its peak is measured once, and remembered.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import time
from typing import Any, Callable

from etils import epath

from lmhp.errors import ConfigError, suggest

PRICES_AS_OF = '2025-12'


@dataclasses.dataclass(frozen=True)
class Device:
  """One accelerator, or one computer's processors together.

  Attributes:
    name: as `device` takes it.
    bfloat16_flops: FLOPs per second of a dense product of bfloat16 operands, accumulated in float32.
    float32_flops: the same of float32 operands, as JAX multiplies them by its own choice on GPU (TensorFloat-32); on
      TPU at the highest precision, six bfloat16 passes.
    memory_bytes: of the device.
    bandwidth: bytes per second between memory and processor.
    usd_per_hour: assumed price on demand.
    source: where the peaks come from.
  """

  name: str
  bfloat16_flops: float
  float32_flops: float
  memory_bytes: float
  bandwidth: float
  usd_per_hour: float
  source: str

  def peak(self, dtype: str = 'bfloat16') -> float:
    """FLOPs per second for operands of a dtype; 'auto' is the faster.

    >>> device('a100').peak('float32')
    156000000000000.0
    """
    peaks = {'bfloat16': self.bfloat16_flops, 'float32': self.float32_flops}
    peaks['auto'] = max(peaks.values())
    if dtype not in peaks:
      raise ConfigError(
        f'dtype: got {dtype!r}, expected one of {", ".join(peaks)}{suggest(dtype, peaks)}'
      )
    return peaks[dtype]


def _tpu(
  name: str, flops: float, memory: float, bandwidth: float, usd: float, version: str
) -> Device:
  return Device(
    name,
    flops,
    flops / 6,
    memory,
    bandwidth,
    usd,
    f'cloud.google.com/tpu/docs/{version}, per chip',
  )


_HOPPER = 'NVIDIA H100 datasheet (halved: it states peaks with sparsity)'
DEVICES = {
  d.name: d
  for d in (
    Device('h100', 989.4e12, 494.7e12, 80e9, 3.35e12, 3.00, _HOPPER + ', SXM5'),
    Device('h100-pcie', 756e12, 378e12, 80e9, 2.0e12, 2.40, _HOPPER + ', PCIe'),
    Device(
      'h200',
      989.4e12,
      494.7e12,
      141e9,
      4.8e12,
      3.60,
      'NVIDIA H200 datasheet (halved likewise), SXM5',
    ),
    Device(
      'a100', 312e12, 156e12, 80e9, 2.039e12, 1.80, 'NVIDIA A100 datasheet, 80GB SXM4'
    ),
    Device(
      'a100-40gb', 312e12, 156e12, 40e9, 1.555e12, 1.30, 'NVIDIA A100 datasheet, 40GB'
    ),
    _tpu('tpu-v5e', 197e12, 16e9, 819e9, 1.20, 'v5e'),
    _tpu('tpu-v5p', 459e12, 95e9, 2765e9, 4.20, 'v5p'),
    _tpu('tpu-v6e', 918e12, 32e9, 1638e9, 2.70, 'v6e'),
  )
}
ALIASES = {
  'h100-sxm': 'h100',
  'h200-sxm': 'h200',
  'a100-80gb': 'a100',
  'v5e': 'tpu-v5e',
  'v5p': 'tpu-v5p',
  'v6e': 'tpu-v6e',
  'trillium': 'tpu-v6e',
}


def device(name: str) -> Device:
  """A device by name.

  Args:
    name: one of `DEVICES` or `ALIASES`, or 'cpu', which is measured at the first call; in any case.

  Raises:
    ConfigError: where there is none of that name, with the nearest.

  >>> device('H100-SXM').memory_bytes
  80000000000.0
  """
  key = str(name).lower().replace(' ', '-').replace('_', '-')
  key = ALIASES.get(key, key)
  if key == 'cpu':
    return measured_cpu()
  if key not in DEVICES:
    names = [*DEVICES, 'cpu']
    raise ConfigError(
      f'device: got {name!r}, expected one of {", ".join(names)}{suggest(key, [*names, *ALIASES])}'
    )
  return DEVICES[key]


def time_seconds(
  flops: float,
  on: Device,
  utilization: float,
  *,
  n_devices: int = 1,
  dtype: str = 'bfloat16',
) -> float:
  """How long a number of FLOPs takes.

  Args:
    flops: of the model, all tokens and passes together.
    on: the device.
    utilization: share of the peak that the run reaches, in (0, 1]; 0.3 to 0.5 is usual for large models.
    n_devices: how many share the work evenly.
    dtype: of the operands.

  Raises:
    ConfigError: where utilization or n_devices is out of range.

  >>> round(
  ...   time_seconds(6 * 7e9 * 1e12, device('h100'), 0.4, n_devices=512) / 86_400, 2
  ... )  # days: 7B, 1T tokens
  2.4
  """
  if not 0 < utilization <= 1:
    raise ConfigError(
      f'utilization: got {utilization!r}, expected above 0 and at most 1'
    )
  if n_devices < 1:
    raise ConfigError(f'n_devices: got {n_devices!r}, expected at least 1')
  return flops / (on.peak(dtype) * utilization * n_devices)


def cost_usd(
  seconds: float, on: Device, *, n_devices: int = 1, usd_per_hour: float | None = None
) -> float:
  """What that time costs.

  Args:
    seconds: of wall time.
    on: the device.
    n_devices: how many are rented.
    usd_per_hour: price of one; None is the device's assumed one (`PRICES_AS_OF`).

  >>> cost_usd(7200, device('h100'), n_devices=8, usd_per_hour=2.0)
  32.0
  """
  price = on.usd_per_hour if usd_per_hour is None else usd_per_hour
  if price < 0:
    raise ConfigError(f'usd_per_hour: got {price!r}, expected at least 0')
  return seconds / 3600 * price * n_devices


# --- this computer --------------------------------------------------------------------------------------------------


def measured_cpu(*, again: bool = False) -> Device:
  """This computer's processors: the best of many matrix products, remembered in `cache_folder()`.

  The price is 0: it is yours. Where an earlier measurement cannot be read, it is made anew.

  Args:
    again: measure once more and keep the better of each figure, as when the computer was busy the first time.
  """
  path = cache_folder() / 'cpu.json'
  key = f'{_processor()}, {os.cpu_count()} cores'
  try:
    known = Device(**json.loads(path.read_text())[key])
  except (OSError, ValueError, KeyError, TypeError):
    known = None
  if known and not again:
    return known
  measured = _measure(key)
  if known:
    figures = ('bfloat16_flops', 'float32_flops', 'bandwidth')
    measured = dataclasses.replace(
      measured, **{f: max(getattr(known, f), getattr(measured, f)) for f in figures}
    )
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    written = epath.Path(
      f'{path}.{os.getpid()}'
    )  # moved into place whole, so that no reader sees half of it
    written.write_text(json.dumps({key: dataclasses.asdict(measured)}))
    written.replace(path)
  except OSError:
    pass
  return measured


def cache_folder() -> Any:
  """Where lmhp remembers: $LMHP_CACHE, or ~/.cache/lmhp."""
  return epath.Path(os.environ.get('LMHP_CACHE', '~/.cache/lmhp')).expanduser()


def _processor() -> str:
  """The processor's own name, as far as the system tells it."""
  try:
    lines = epath.Path('/proc/cpuinfo').read_text().splitlines()
  except OSError:
    lines = []
  names = [
    line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')
  ]
  return names[0] if names else platform.processor() or platform.machine()


def _measure(key: str, size: int = 1024) -> Device:
  """Times square products of both dtypes and a copy; the best of several runs is the peak."""
  import jax
  import jax.numpy as jnp
  import numpy as np

  flops = {}
  with jax.default_device(jax.local_devices(backend='cpu')[0]):
    product = jax.jit(lambda a, b: jnp.matmul(a, b, preferred_element_type=jnp.float32))
    for dtype in (jnp.bfloat16, jnp.float32):
      a = jnp.ones((size, size), dtype)
      flops[dtype] = (
        2 * size**3 / _best_seconds(lambda: product(a, a).block_until_ready())
      )
  source, target = (
    np.ones(2**24, np.float32),
    np.empty(2**24, np.float32),
  )  # 64 MiB, beyond most caches
  bandwidth = 2 * source.nbytes / _best_seconds(lambda: np.copyto(target, source))
  memory = (
    os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    if hasattr(os, 'sysconf')
    else 0
  )
  return Device(
    'cpu',
    flops[jnp.bfloat16],
    flops[jnp.float32],
    float(memory),
    bandwidth,
    0.0,
    f'measured: {key}',
  )


def _best_seconds(run: Callable[[], Any], budget: float = 0.7) -> float:
  """The shortest of the runs that fit a budget of seconds, after one that compiles and warms up."""
  run()
  best, end = float('inf'), time.perf_counter() + budget
  while time.perf_counter() < end:
    start = time.perf_counter()
    run()
    best = min(best, time.perf_counter() - start)
  return best
