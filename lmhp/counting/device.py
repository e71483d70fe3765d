"""Devices: peaks, memory and price of accelerators, and the registry of them.

The peaks (FLOPs per second) are those that the makers publish for dense matrix products,
without sparsity. A real run reaches only a fraction of the peak, its utilization. Prices are
assumptions: about the middle of the on-demand prices of several clouds in `PRICES_AS_OF`.

This file imports no jax.
"""

from __future__ import annotations

import dataclasses

from lmhp.errors import ConfigError, suggest
from lmhp.registry import Registry

PRICES_AS_OF = '2025-12'
"""Year and month of the prices."""


@dataclasses.dataclass(frozen=True)
class Device:
  """One accelerator, or the processors of one computer together.

  Attributes:
    name: Name of the device.
    bfloat16_flops: FLOPs per second of a dense product of bfloat16 operands, accumulated in
      float32.
    float32_flops: FLOPs per second of a dense product of float32 operands. On GPUs this is
      the peak of TensorFloat-32, JAX's default. On TPUs it is that of `Precision.HIGHEST`,
      which takes six bfloat16 passes.
    memory_bytes: Size of the memory. 0 if it is unknown.
    bandwidth: Bytes per second between memory and processor.
    usd_per_hour: Assumed price of one hour on demand, in US dollars.
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
    """Returns the peak FLOPs per second of matrix products with operands of a dtype.

    Args:
      dtype: 'bfloat16', 'float32', or 'auto' for the faster of the two.

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
  """Adds a device to `DEVICES`, under its name in lower case with hyphens.

  Args:
    device: The device.

  Returns:
    The device.

  Raises:
    ConfigError: If another module has registered the name.

  >>> register_device(DEVICES['h100']).name
  'h100'
  """
  return DEVICES.register(normalize_name(device.name), device)


def normalize_name(name: object) -> str:
  """Returns the name of a device in lower case, with hyphens.

  >>> normalize_name('TPU v5e'), normalize_name('A100_80GB')
  ('tpu-v5e', 'a100-80gb')
  """
  return str(name).lower().replace(' ', '-').replace('_', '-')


# --- accelerators -------------------------------------------------------------------

_HOPPER_SOURCE = 'NVIDIA H100 datasheet (halved: it states peaks with sparsity)'

for _device in (
  Device(
    name='h100',
    bfloat16_flops=989.4e12,
    float32_flops=494.7e12,
    memory_bytes=80e9,
    bandwidth=3.35e12,
    usd_per_hour=3.00,
    source=f'{_HOPPER_SOURCE}, SXM5',
    aliases=('h100-sxm',),
  ),
  Device(
    name='h100-pcie',
    bfloat16_flops=756e12,
    float32_flops=378e12,
    memory_bytes=80e9,
    bandwidth=2.0e12,
    usd_per_hour=2.40,
    source=f'{_HOPPER_SOURCE}, PCIe',
  ),
  Device(
    name='h200',
    bfloat16_flops=989.4e12,
    float32_flops=494.7e12,
    memory_bytes=141e9,
    bandwidth=4.8e12,
    usd_per_hour=3.60,
    source='NVIDIA H200 datasheet (halved: it states peaks with sparsity), SXM5',
    aliases=('h200-sxm',),
  ),
  Device(
    name='a100',
    bfloat16_flops=312e12,
    float32_flops=156e12,
    memory_bytes=80e9,
    bandwidth=2.039e12,
    usd_per_hour=1.80,
    source='NVIDIA A100 datasheet, 80GB SXM4',
    aliases=('a100-80gb',),
  ),
  Device(
    name='a100-40gb',
    bfloat16_flops=312e12,
    float32_flops=156e12,
    memory_bytes=40e9,
    bandwidth=1.555e12,
    usd_per_hour=1.30,
    source='NVIDIA A100 datasheet, 40GB',
  ),
  Device(
    name='tpu-v5e',
    bfloat16_flops=197e12,
    float32_flops=197e12 / 6,
    memory_bytes=16e9,
    bandwidth=819e9,
    usd_per_hour=1.20,
    source='cloud.google.com/tpu/docs/v5e, per chip',
    aliases=('v5e',),
  ),
  Device(
    name='tpu-v5p',
    bfloat16_flops=459e12,
    float32_flops=459e12 / 6,
    memory_bytes=95e9,
    bandwidth=2765e9,
    usd_per_hour=4.20,
    source='cloud.google.com/tpu/docs/v5p, per chip',
    aliases=('v5p',),
  ),
  Device(
    name='tpu-v6e',
    bfloat16_flops=918e12,
    float32_flops=918e12 / 6,
    memory_bytes=32e9,
    bandwidth=1638e9,
    usd_per_hour=2.70,
    source='cloud.google.com/tpu/docs/v6e, per chip',
    aliases=('v6e', 'trillium'),
  ),
):
  register_device(_device)
