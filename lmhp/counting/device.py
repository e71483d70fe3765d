"""Devices: peaks, memory and price, and the registry of them.

Peaks are those that the makers publish for dense matrix products, without sparsity. A run
reaches a fraction of them, the utilization, which is an argument of the functions that use a
peak. Prices are assumptions: a middle value of the prices per hour of several clouds, on
demand, in `PRICES_AS_OF`.

This file imports no jax.
"""

from __future__ import annotations

import dataclasses

from lmhp.errors import ConfigError, suggest
from lmhp.registry import Registry

PRICES_AS_OF = '2025-12'


@dataclasses.dataclass(frozen=True)
class Device:
  """One accelerator, or the processors of one computer together.

  Attributes:
    name: Name of the device.
    bfloat16_flops: FLOPs per second of a dense product of bfloat16 operands, accumulated in
      float32.
    float32_flops: FLOPs per second of a dense product of float32 operands, by JAX's default
      on GPUs (TensorFloat-32). On TPUs at the highest precision, six bfloat16 passes.
    memory_bytes: Size of the memory.
    bandwidth: Bytes per second between memory and processor.
    usd_per_hour: Assumed price on demand.
    source: Source of the peaks.
    aliases: Other names of the device.
  """

  name: str
  bfloat16_flops: float
  float32_flops: float
  memory_bytes: float
  bandwidth: float
  usd_per_hour: float
  source: str
  aliases: tuple[str, ...] = ()

  def peak(self, dtype: str = 'bfloat16') -> float:
    """Returns the FLOPs per second for operands of a dtype.

    Args:
      dtype: 'bfloat16', 'float32', or 'auto' for the faster of both.

    Raises:
      ConfigError: If the dtype is none of these.

    >>> from lmhp.counting.hardware import find_device
    >>> find_device('a100').peak('float32')
    156000000000000.0
    """
    peaks = {'bfloat16': self.bfloat16_flops, 'float32': self.float32_flops}
    peaks['auto'] = max(peaks.values())
    if dtype not in peaks:
      raise ConfigError(
        f'dtype: got {dtype!r}, expected one of {", ".join(peaks)}{suggest(dtype, peaks)}'
      )
    return peaks[dtype]


DEVICES: Registry[Device] = Registry('device')


def register_device(device: Device) -> Device:
  """Adds a device, under its name in lower case with hyphens.

  Args:
    device: The device.

  Returns:
    The device.

  Raises:
    ConfigError: If another module has registered the name.

  >>> register_device(DEVICES['h100'])  # doctest: +ELLIPSIS
  Traceback (most recent call last):
  lmhp.errors.ConfigError: device 'h100': ... did before, expected another name
  """
  return DEVICES.register(normalize_name(device.name), device)


def normalize_name(name: object) -> str:
  """Returns the name of a device in lower case, with hyphens.

  >>> normalize_name('TPU v5e'), normalize_name('A100_80GB')
  ('tpu-v5e', 'a100-80gb')
  """
  return str(name).lower().replace(' ', '-').replace('_', '-')
