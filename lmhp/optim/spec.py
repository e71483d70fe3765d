"""The entries that describe optimizers and schedules, and their registries.

Entries are compared by identity and not by their fields. So a program that was compiled for one
entry is not used for another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
import dataclasses
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from lmhp.declarations import declared
from lmhp.registry import Registry
from lmhp.sections import Section

Numbers: TypeAlias = Mapping[str, jax.Array]
"""Traced numbers of a section by key, each a scalar array."""

MakeTransformation: TypeAlias = Callable[
  [Section, Numbers], optax.GradientTransformation
]
"""Makes a transformation from the section and its traced numbers.

Only the static keys of the section may be read (see `lmhp.hypers.split`).
"""


def _names_of(numbers: Iterable[str], keys: type | None) -> frozenset[str]:
  """Returns the names of the keys that an optimizer or a schedule reads.

  Args:
    numbers: Names of keys that several optimizers or schedules share, such as `b1`.
    keys: Class that declares the keys that only this one adds, or None if it adds none.
  """
  own_keys = () if keys is None else declared(keys)
  return frozenset((*numbers, *own_keys))


# --- optimizers ---------------------------------------------------------------------

DECAY_MODES = ('l2', 'decoupled', 'independent')
"""Places of the weight decay in the chain (see the table of `lmhp.optim.chain`)."""


@dataclasses.dataclass(frozen=True, eq=False)
class OptimizerSpec:
  """One optimizer.

  An optimizer provides only the scaling of the gradient. Clipping, weight decay, learning
  rates and the schedule are the same for all (see `lmhp.optim.chain`).

  Attributes:
    scale: Makes the transformation from a clipped gradient to a direction.
    weight_decay_mode: Default of `optimizer.weight_decay_mode`, one of `DECAY_MODES`.
    source: Paper of the optimizer and of its defaults.
    defaults: {name: default} of the numbers that `scale` reads and that several optimizers
      share, such as `b1`.
    keys: Class made by `lmhp.sections.keys`. It declares the keys that the optimizer adds
      to the section. None if there are none.
    after_decay: Makes a transformation that follows the decoupled weight decay, such as the
      trust ratio of lamb. None if there is none.
  """

  scale: MakeTransformation
  weight_decay_mode: str
  source: str
  defaults: Mapping[str, float] = dataclasses.field(default_factory=dict)
  keys: type | None = None
  after_decay: MakeTransformation | None = None

  @property
  def keys_read(self) -> frozenset[str]:
    """Names of the keys that this optimizer reads, without those that all optimizers read."""
    return _names_of(self.defaults, self.keys)


def from_optax(
  make: Callable[..., optax.GradientTransformation], *names: str, **options: object
) -> MakeTransformation:
  """Returns the `scale` of an `OptimizerSpec` that calls a function of Optax.

  Args:
    make: Function that makes a transformation.
    *names: Names of the traced numbers that are the first arguments of `make`, in order.
    **options: Further arguments of `make`.

  >>> scale = from_optax(optax.trace, 'momentum', nesterov=True)
  >>> tx = scale(Section(), {'momentum': 0.5})
  >>> float(tx.update(1.0, tx.init(0.0))[0])
  1.5
  """

  def scale(cfg: Section, numbers: Numbers) -> optax.GradientTransformation:
    return make(*(numbers[name] for name in names), **options)

  return scale


OPTIMIZERS: Registry[OptimizerSpec] = Registry('optimizer')
"""All optimizers by name, a value of `optimizer.name`."""


# --- schedules ----------------------------------------------------------------------
# A shape is a function that returns the learning rate after the warmup, as a ratio to its peak.


class ScheduleProgress(NamedTuple):
  """Progress of training at one step. Float32 scalars.

  Attributes:
    decay: Fraction of the steps after the warmup that have passed, 0 to 1.
    cycles: Time since the warmup in units of the first cycle, from 0, such as 1.5. If all
      cycles have the same length, it is a whole number at the first step of each cycle.
    half_step: Half a step in units of the first cycle. `cosine_restarts` adds it to `cycles` so
      that rounding cannot put the first step of a cycle into the cycle before.
    cooldown: Fraction of the cooldown that has passed, 0 to 1.
  """

  decay: jax.Array
  cycles: jax.Array
  half_step: jax.Array
  cooldown: jax.Array


Shape: TypeAlias = Callable[[ScheduleProgress, Numbers], jax.Array]
"""Takes the progress and the traced numbers of the section. Returns a float32 scalar, 0 to 1."""


@dataclasses.dataclass(frozen=True, eq=False)
class ScheduleSpec:
  """One schedule.

  Attributes:
    shape: Returns the learning rate after the warmup, as a ratio to the peak.
    numbers: Names of the numbers that `shape` reads and that several schedules share, such as
      `final_lr_ratio`. The numbers of the warmup are left out, since all schedules read them.
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
    """Names of the keys that this schedule reads, without those of the warmup."""
    return _names_of(self.numbers, self.keys)


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
