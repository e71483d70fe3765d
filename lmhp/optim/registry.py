"""Registration of optimizers, by lmhp and by code outside lmhp."""

from __future__ import annotations

from lmhp.optim.config import OptimizerConfig
from lmhp.optim.spec import OPTIMIZERS, OptimizerSpec, register_entry


def register_optimizer(name: str, spec: OptimizerSpec) -> OptimizerSpec:
  """Adds an optimizer, and its keys to the section `optimizer`.

  Args:
    name: Value of `optimizer.name` that selects the optimizer.
    spec: The entry.

  Returns:
    The entry.

  Raises:
    ConfigError: If another module has registered the name. If a key of the entry exists with
      another declaration. If a key of `spec.defaults` is not the key of a traced number of
      the section.

  >>> register_optimizer('adamw', OPTIMIZERS['lion'])  # doctest: +ELLIPSIS
  Traceback (most recent call last):
  lmhp.errors.ConfigError: optimizer 'adamw': ...
  """
  return register_entry(
    OPTIMIZERS, name, spec, OptimizerConfig, keys=spec.keys, numbers=spec.defaults
  )
