"""The entry that describes one optimizer, and the registration of entries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
import dataclasses
from typing import TypeAlias, TypeVar

import jax
import optax

from lmhp.declarations import declared
from lmhp.errors import ConfigError, suggest
from lmhp.registry import Registry
from lmhp.sections import Section, add_keys

T = TypeVar('T')

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


def register_entry(
  registry: Registry[T],
  name: str,
  entry: T,
  section_class: type[Section],
  keys: type | None,
  numbers: Iterable[str],
) -> T:
  """Adds an entry to a registry, and its keys to a section.

  Args:
    registry: Registry of optimizers or schedules.
    name: Name of the entry.
    entry: The entry.
    section_class: Section that the entry reads.
    keys: Class of the keys that the entry adds to the section, or None.
    numbers: Names of the traced numbers that the entry reads.

  Returns:
    The entry.

  Raises:
    ConfigError: If another module has registered the name. If a key of the entry exists with
      another declaration. If a name in `numbers` is not the key of a traced number of the
      section.

  >>> from lmhp.optim.config import OptimizerConfig
  >>> lion = OPTIMIZERS['lion']
  >>> register_entry(  # doctest: +ELLIPSIS
  ...   OPTIMIZERS, 'toy', lion, OptimizerConfig, keys=None, numbers=['b9']
  ... )
  Traceback (most recent call last):
  lmhp.errors.ConfigError: optimizer 'toy': got the number 'b9', expected a traced number ...
  """
  if keys is not None:
    add_keys(section_class, keys)

  declarations = declared(section_class)
  traced_keys = [key for key, declaration in declarations.items() if declaration.traced]
  for key in numbers:
    if key not in traced_keys:
      raise ConfigError(
        f'{registry.kind} {name!r}: got the number {key!r}, expected a traced number of '
        f'the section {section_class.SECTION}{suggest(key, traced_keys)}'
      )
  return registry.register(name, entry)
