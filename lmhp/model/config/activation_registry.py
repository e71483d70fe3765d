"""Registry of activations, the elementwise nonlinearities of the network.

A new activation is a function in `lmhp/model/activations.py` and a line here. A plugin or an
experiment file calls `register_activation` in the same way. This file imports no jax.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from lmhp.registry import Registry
from lmhp.typing import PyTree

Activation: TypeAlias = Callable[[PyTree], PyTree]
"""`x -> y`, elementwise on a float32 array of any shape."""

ACTIVATIONS: Registry[Activation | str] = Registry('activation')
"""{value of `model.activation`: function, or its import path `package.module:name`}."""


def register_activation(name: str, function: Activation | str) -> None:
  """Adds an activation.

  Args:
    name: Value of `model.activation` that selects it.
    function: The function, or its import path `package.module:name`.

  Raises:
    ConfigError: If another module has registered this name.
  """
  ACTIVATIONS.register(name, function)


# The name of an activation is that of its function, the part after the colon.
for _path in (
  'jax.nn:relu',
  'jax.nn:sigmoid',
  'jax.numpy:tanh',
  'lmhp.model.activations:gelu',
  'lmhp.model.activations:gelu_tanh',
  'lmhp.model.activations:quick_gelu',
  'jax.nn:silu',
  'lmhp.model.activations:relu_squared',
  'lmhp.model.activations:identity',
):
  register_activation(_path.partition(':')[2], _path)
