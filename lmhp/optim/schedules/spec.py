"""The entry that describes one schedule, and the registry of these entries.

A shape is the learning rate after the warmup, as a ratio to its peak.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from lmhp.declarations import declared
from lmhp.optim.spec import Numbers
from lmhp.registry import Registry


class ScheduleProgress(NamedTuple):
  """Progress of training at one step. Float32 scalars.

  Attributes:
    decay: Fraction of the steps after the warmup that have passed, 0 to 1.
    cycles: Number of cycles that have passed since the warmup, from 0. A whole number at the
      first step of each cycle.
    half_step: Half the length of one step, in cycles. A shape adds it to `cycles` so that
      rounding cannot put the first step of a cycle into the cycle before.
    cooldown: Fraction of the cooldown that has passed, 0 to 1.
  """

  decay: jax.Array
  cycles: jax.Array
  half_step: jax.Array
  cooldown: jax.Array


Shape: TypeAlias = Callable[[ScheduleProgress, Numbers], jax.Array]
"""Takes the progress and the traced numbers of the section. Returns a scalar, 0 to 1."""


# Entries are compared by identity, so that a program that was compiled for one entry is not
# used for another.
@dataclasses.dataclass(frozen=True, eq=False)
class ScheduleSpec:
  """One schedule.

  Attributes:
    shape: Learning rate after the warmup, as a ratio to the peak.
    numbers: Names of the numbers of the section that `shape` reads, such as
      `final_lr_ratio`. Those of the warmup are left out.
    keys: Class made by `lmhp.sections.keys`. It declares the keys that the schedule adds to
      the section. All of them are traced. None if there are none.
    cosine_warmup: If True, the warmup rises along a cosine. If False, it is linear.
  """

  shape: Shape
  numbers: tuple[str, ...] = ()
  keys: type | None = None
  cosine_warmup: bool = False

  @property
  def keys_read(self) -> frozenset[str]:
    """Names of the numbers that this schedule reads, without those of the warmup."""
    own_keys = () if self.keys is None else declared(self.keys)
    return frozenset((*self.numbers, *own_keys))


SCHEDULES: Registry[ScheduleSpec] = Registry('schedule')
"""All schedules. The traced value of `schedule.name` is the position of the entry."""


def from_final_ratio(numbers: Numbers, x: jax.Array) -> jax.Array:
  """Maps the interval [0, 1] linearly to the interval [`final_lr_ratio`, 1].

  Args:
    numbers: Traced numbers of the section `schedule`.
    x: Values from 0 to 1.

  >>> float(from_final_ratio({'final_lr_ratio': 0.5}, 0.5))
  0.75
  """
  return numbers['final_lr_ratio'] + (1 - numbers['final_lr_ratio']) * x


def half_cosine(x: jax.Array) -> jax.Array:
  """Returns (1 + cos(pi x)) / 2, which falls from 1 at x = 0 to 0 at x = 1.

  Args:
    x: Values from 0 to 1.

  >>> [round(float(half_cosine(x)), 3) for x in (0.0, 0.5, 1.0)]
  [1.0, 0.5, 0.0]
  """
  return 0.5 * (1 + jnp.cos(jnp.pi * x))
