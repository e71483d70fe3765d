"""The entry that describes one optimizer, and the registry of these entries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import dataclasses
from typing import TypeAlias

import jax
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

DECAY_MODES = ('l2', 'decoupled', 'independent')


# Entries are compared by identity, so that a program that was compiled for one entry is not
# used for another.
@dataclasses.dataclass(frozen=True, eq=False)
class OptimizerSpec:
  """One optimizer.

  An optimizer provides only the scaling of the gradient. Clipping, weight decay, learning
  rates and the schedule are the same for all (see `lmhp.optim.chain`).

  Attributes:
    scale: Makes the transformation from a clipped gradient to a direction.
    weight_decay_mode: Default of `optimizer.weight_decay_mode`, one of `DECAY_MODES`.
    source: Paper of the optimizer and of its defaults.
    defaults: Default of each shared number of the section that `scale` reads, such as `b1`.
    keys: Class made by `lmhp.sections.keys`. It declares the keys that the optimizer adds
      to the section. None if there are none.
    after_decay: Makes a transformation that follows the decoupled weight decay. None if
      there is none.
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
    own_keys = () if self.keys is None else declared(self.keys)
    return frozenset((*self.defaults, *own_keys))


def from_optax(
  make: Callable[..., optax.GradientTransformation], *names: str, **options: object
) -> MakeTransformation:
  """Returns the `scale` of an `OptimizerSpec` that calls a function of Optax.

  Args:
    make: Function that makes a transformation.
    *names: Names of the traced numbers that are its first arguments, in order.
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
