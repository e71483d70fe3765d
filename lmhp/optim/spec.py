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
"""Makes a transformation from the structure of the section and its traced numbers."""

DECAY_MODES = ('l2', 'decoupled', 'independent')


# Compared by identity: a program that was compiled for one entry serves no other.
@dataclasses.dataclass(frozen=True, eq=False)
class OptimizerSpec:
  """One optimizer.

  The entry makes only the scaling of the gradient. Clipping, weight decay, learning rates
  and the schedule are the same for all optimizers (see `lmhp.optim.chain`).

  Attributes:
    scale: Makes the transformation from a clipped gradient to a direction.
    weight_decay_mode: Default of `optimizer.weight_decay_mode`, one of `DECAY_MODES`.
    source: Paper, and origin of the defaults.
    defaults: Numbers of the section that `scale` reads, such as `b1`, with this
      optimizer's default of each.
    keys: Class made by `lmhp.sections.keys`. It declares the keys that the optimizer adds
      to the section. None if there are none.
    after_decay: Makes the transformation of the sum of direction and decoupled weight
      decay. None leaves the sum unchanged.
  """

  scale: MakeTransformation
  weight_decay_mode: str
  source: str
  defaults: Mapping[str, float] = dataclasses.field(default_factory=dict)
  keys: type | None = None
  after_decay: MakeTransformation | None = None

  @property
  def keys_read(self) -> frozenset[str]:
    """Names of the keys that this optimizer reads beside those that all optimizers read."""
    own_keys = () if self.keys is None else declared(self.keys)
    return frozenset((*self.defaults, *own_keys))


OPTIMIZERS: Registry[OptimizerSpec] = Registry('optimizer')
