"""Activations: a lookup by name, and the functions that lmhp defines itself."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lmhp.model.config.activation_registry import ACTIVATIONS, Activation
from lmhp.registry import import_object


def activation_function(name: str) -> Activation:
  """Returns the function of an activation.

  Args:
    name: One of `lmhp.model.config.activation_registry.ACTIVATIONS`.
  """
  return import_object(ACTIVATIONS[name])


def gelu(x: jax.Array) -> jax.Array:
  """Returns x times the cumulative distribution function of the standard normal at x.

  `jax.nn.gelu(x, approximate=False)` uses `erfc`, which takes three passes over the array. `erf`
  takes one.

  Source: arXiv:1606.08415.
  """
  return 0.5 * x * (1 + jax.lax.erf(x * 0.5**0.5))


def gelu_tanh(x: jax.Array) -> jax.Array:
  """Returns the approximation of `gelu` by a hyperbolic tangent, as in GPT-2.

  Source: arXiv:1606.08415 section 2.
  """
  return jax.nn.gelu(x, approximate=True)


def quick_gelu(x: jax.Array) -> jax.Array:
  """Returns the approximation of `gelu` by a sigmoid.

  Source: arXiv:1606.08415 section 2.
  """
  return x * jax.nn.sigmoid(1.702 * x)


def relu_squared(x: jax.Array) -> jax.Array:
  """Returns max(x, 0)^2.

  Source: arXiv:2109.08668 section 3.2.
  """
  return jnp.square(jax.nn.relu(x))


def identity(x: jax.Array) -> jax.Array:
  """Returns its argument."""
  return x
