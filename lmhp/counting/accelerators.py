"""Peaks, memory and prices of accelerators. This file imports no jax."""

from __future__ import annotations

from lmhp.counting.device import Device, register_device

_HOPPER_SOURCE = 'NVIDIA H100 datasheet (halved: it states peaks with sparsity)'

register_device(
  Device(
    name='h100',
    bfloat16_flops=989.4e12,
    float32_flops=494.7e12,
    memory_bytes=80e9,
    bandwidth=3.35e12,
    usd_per_hour=3.00,
    source=f'{_HOPPER_SOURCE}, SXM5',
    aliases=('h100-sxm',),
  )
)
register_device(
  Device(
    name='h100-pcie',
    bfloat16_flops=756e12,
    float32_flops=378e12,
    memory_bytes=80e9,
    bandwidth=2.0e12,
    usd_per_hour=2.40,
    source=f'{_HOPPER_SOURCE}, PCIe',
  )
)
register_device(
  Device(
    name='h200',
    bfloat16_flops=989.4e12,
    float32_flops=494.7e12,
    memory_bytes=141e9,
    bandwidth=4.8e12,
    usd_per_hour=3.60,
    source='NVIDIA H200 datasheet (halved likewise), SXM5',
    aliases=('h200-sxm',),
  )
)
register_device(
  Device(
    name='a100',
    bfloat16_flops=312e12,
    float32_flops=156e12,
    memory_bytes=80e9,
    bandwidth=2.039e12,
    usd_per_hour=1.80,
    source='NVIDIA A100 datasheet, 80GB SXM4',
    aliases=('a100-80gb',),
  )
)
register_device(
  Device(
    name='a100-40gb',
    bfloat16_flops=312e12,
    float32_flops=156e12,
    memory_bytes=40e9,
    bandwidth=1.555e12,
    usd_per_hour=1.30,
    source='NVIDIA A100 datasheet, 40GB',
  )
)
register_device(
  Device(
    name='tpu-v5e',
    bfloat16_flops=197e12,
    float32_flops=197e12 / 6,
    memory_bytes=16e9,
    bandwidth=819e9,
    usd_per_hour=1.20,
    source='cloud.google.com/tpu/docs/v5e, per chip',
    aliases=('v5e',),
  )
)
register_device(
  Device(
    name='tpu-v5p',
    bfloat16_flops=459e12,
    float32_flops=459e12 / 6,
    memory_bytes=95e9,
    bandwidth=2765e9,
    usd_per_hour=4.20,
    source='cloud.google.com/tpu/docs/v5p, per chip',
    aliases=('v5p',),
  )
)
register_device(
  Device(
    name='tpu-v6e',
    bfloat16_flops=918e12,
    float32_flops=918e12 / 6,
    memory_bytes=32e9,
    bandwidth=1638e9,
    usd_per_hour=2.70,
    source='cloud.google.com/tpu/docs/v6e, per chip',
    aliases=('v6e', 'trillium'),
  )
)
