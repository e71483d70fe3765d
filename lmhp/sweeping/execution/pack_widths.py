"""Widths of packs: the numbers of members that compiled programs have.

A pack is a group of trials that one compiled program trains together. The trials are the
members of the pack. They run by one of the methods `vmap`, `map` and `loop` (see
`lmhp.training.population`).
"""

from __future__ import annotations

import os

import jax

WIDTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Allowed numbers of members per device. There are few, so that few programs are compiled."""


# jaxlib has no type stubs.
def devices_for(method: str) -> tuple[jax.Device, ...]:  # pyright: ignore[reportInvalidTypeForm]
  """Returns the devices of a method: all, or () for `loop`, which uses the first device."""
  return () if method == 'loop' else tuple(jax.devices())


def memory_limit_bytes(n_devices: int = 1, fraction: float = 0.8) -> float:
  """Returns the largest memory of a pack in bytes, the sum over its devices.

  Args:
    n_devices: Number of devices of the pack.
    fraction: Fraction of the free memory that a pack may take.
  """
  # An accelerator reports its memory.
  device = jax.devices()[0]
  if device.platform != 'cpu':
    stats = device.memory_stats()
    if stats and 'bytes_limit' in stats:
      free_bytes = stats['bytes_limit'] - stats.get('bytes_in_use', 0)
      return fraction * n_devices * free_bytes

  # Otherwise the limit is the free memory of the machine, which all of its devices share. If
  # it is not known, 2^20 pages are assumed, which are usually 4 GiB.
  n_pages = 2**20
  if 'SC_AVPHYS_PAGES' in os.sysconf_names:
    n_pages = os.sysconf('SC_AVPHYS_PAGES')
  return fraction * n_pages * os.sysconf('SC_PAGE_SIZE')


def allowed_widths(n_devices: int = 1) -> tuple[int, ...]:
  """Returns the widths that a pack may have, in increasing order.

  A width is one of `WIDTHS` times the number of devices. It is at most 256, the largest of
  `WIDTHS`. With more than 256 devices, the only width is the number of devices.

  >>> allowed_widths(6)
  (6, 12, 24, 48, 96, 192)
  """
  largest = max(n_devices, WIDTHS[-1])
  return tuple(w * n_devices for w in WIDTHS if w * n_devices <= largest)


def cut_into_packs(
  n_trials: int, method: str, max_pack_width: int, n_devices: int = 1
) -> list[tuple[int, int]]:
  """Returns (number of trials, width) of each pack.

  The first packs are full. The last pack has the smallest allowed width that is enough for the
  remaining trials, so its width may be above its number of trials. The method `loop` allows
  every width.

  Args:
    n_trials: Number of trials to divide.
    method: One of `lmhp.training.population.METHODS`.
    max_pack_width: Width of a full pack.
    n_devices: Number of devices.

  >>> cut_into_packs(11, 'vmap', 8)
  [(8, 8), (3, 4)]
  """
  # Make as many full packs as possible.
  n_full, n_left = divmod(n_trials, max_pack_width)
  packs = [(max_pack_width, max_pack_width)] * n_full
  if not n_left:
    return packs

  width = n_left
  if method != 'loop':
    fitting = [w for w in allowed_widths(n_devices) if w >= n_left]
    width = min([*fitting, max_pack_width])
  packs.append((n_left, width))
  return packs


def smallest_width(n_trials: int, method: str, n_devices: int = 1) -> int:
  """Returns the smallest width of a pack of some trials. The method `loop` allows every width.

  >>> smallest_width(3, 'vmap'), smallest_width(3, 'loop')
  (4, 3)
  """
  if method == 'loop':
    return n_trials
  return min(w for w in allowed_widths(n_devices) if w >= n_trials)
