"""Registration of optimizers, for those of lmhp and for those from outside."""

from __future__ import annotations

from lmhp.declarations import declared
from lmhp.errors import ConfigError, suggest
from lmhp.optim.config import OptimizerConfig
from lmhp.optim.spec import OPTIMIZERS, OptimizerSpec
from lmhp.sections import add_keys


def register_optimizer(name: str, spec: OptimizerSpec) -> OptimizerSpec:
  """Adds an optimizer, and its keys to the section `optimizer`.

  Args:
    name: Value of `optimizer.name` that selects the optimizer.
    spec: The entry.

  Returns:
    The entry.

  Raises:
    ConfigError: If another module has registered the name, if a key of the entry exists
      with another declaration, or if `defaults` names no number of the section.

  >>> register_optimizer('adamw', OPTIMIZERS['lion'])  # doctest: +ELLIPSIS
  Traceback (most recent call last):
  lmhp.errors.ConfigError: optimizer 'adamw': ... did before, expected another name
  """
  if spec.keys is not None:
    add_keys(OptimizerConfig, spec.keys)

  declarations = declared(OptimizerConfig)
  numbers = [key for key, declaration in declarations.items() if declaration.traced]
  for key in spec.defaults:
    if key not in numbers:
      raise ConfigError(
        f'optimizer {name!r}: got a default for {key!r}, expected a traced number of the '
        f'section optimizer{suggest(key, numbers)}'
      )
  return OPTIMIZERS.register(name, spec)
