"""Time and price of a number of FLOPs on a device. This file imports no jax."""

from __future__ import annotations

from lmhp.counting.cpu import measured_cpu
from lmhp.counting.device import DEVICES, Device, normalize_name
from lmhp.errors import ConfigError, suggest


def find_device(name: object) -> Device:
  """Returns a device by its name.

  Args:
    name: Name or alias of a device in `DEVICES`, in lower or upper case. 'cpu' is this
      computer, which is measured at the first call.

  Raises:
    ConfigError: If there is no device of this name.

  >>> find_device('H100-SXM').memory_bytes
  80000000000.0
  """
  key = normalize_name(name)
  if key == 'cpu':
    return measured_cpu()
  aliases = {alias: device for device in DEVICES.values() for alias in device.aliases}
  by_name = {**aliases, **DEVICES}
  if key in by_name:
    return by_name[key]
  names = [*DEVICES, 'cpu']
  near = suggest(key, [*names, *aliases])
  raise ConfigError(f'device: got {name!r}, expected one of {", ".join(names)}{near}')


def time_seconds(
  flops: float,
  device: Device,
  utilization: float,
  *,
  n_devices: int = 1,
  dtype: str = 'bfloat16',
) -> float:
  """Returns the time that a number of FLOPs takes, in seconds.

  Args:
    flops: Number of FLOPs in total, such as those of the whole training.
    device: The device.
    utilization: Fraction of the peak that the run reaches, above 0 and at most 1. Large
      models usually reach 0.3 to 0.5.
    n_devices: Number of devices that share the work equally.
    dtype: Dtype of the operands, 'bfloat16', 'float32' or 'auto' (see `Device.peak`).

  Raises:
    ConfigError: If `utilization` or `n_devices` is out of range.

  >>> flops = 6 * 7e9 * 1e12  # 7B parameters, 1T tokens
  >>> seconds = time_seconds(flops, find_device('h100'), 0.4, n_devices=512)
  >>> round(seconds / 86_400, 2)  # days
  2.4
  """
  if not 0 < utilization <= 1:
    raise ConfigError(
      f'utilization: got {utilization!r}, expected above 0 and at most 1'
    )
  if n_devices < 1:
    raise ConfigError(f'n_devices: got {n_devices!r}, expected at least 1')
  return flops / (device.peak(dtype) * utilization * n_devices)


def cost_usd(
  seconds: float,
  device: Device,
  *,
  n_devices: int = 1,
  usd_per_hour: float | None = None,
) -> float:
  """Returns the price of renting devices, in US dollars.

  Args:
    seconds: Time for which all devices are rented.
    device: The device.
    n_devices: Number of devices that are rented.
    usd_per_hour: Price of one device for one hour. None stands for `device.usd_per_hour`.

  Raises:
    ConfigError: If the price is negative.

  >>> cost_usd(7200, find_device('h100'), n_devices=8, usd_per_hour=2.0)
  32.0
  """
  price = device.usd_per_hour if usd_per_hour is None else usd_per_hour
  if price < 0:
    raise ConfigError(f'usd_per_hour: got {price!r}, expected at least 0')
  return seconds / 3600 * price * n_devices
