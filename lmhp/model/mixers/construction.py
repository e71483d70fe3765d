"""Modules, caches and initial values of token mixers, made from their registry entries."""

from __future__ import annotations

from typing import Protocol

import jax
import jax.numpy as jnp

from lmhp.model.config import ModelConfig
from lmhp.model.layer_inputs import LayerFlags, LayerInputs
from lmhp.model.mixers.registry import MIXERS, mixer_spec
from lmhp.params import matches
from lmhp.registry import import_object
from lmhp.typing import PyTree


class MixerLayer(Protocol):
  """The interface of a mixer's flax module.

  Its class is called with the config and the module's name: `Layer(cfg, name=name)`.
  """

  def __call__(
    self,
    x_BLD: jax.Array,
    flags: LayerFlags,
    inputs: LayerInputs,
    cache: PyTree = None,
  ) -> tuple[jax.Array, PyTree]:
    """Mixes tokens.

    Args:
      x_BLD: (B, L, D) float32, new tokens.
      flags: Properties of this layer.
      inputs: Inputs that all layers share.
      cache: Arrays that `MixerSpec.cache_arrays` describes, with the batch axis first. None
        while no cache is used.

    Returns:
      (B, L, D) float32, and the cache with the new tokens. None if there was no cache.
    """
    ...


def mixer_layer(cfg: ModelConfig, name: str) -> MixerLayer:
  """Returns the flax module of a mixer. Its parameters have the path of its name.

  Args:
    cfg: Config of the model.
    name: Name of the mixer.
  """
  layer = mixer_spec(cfg, name).layer
  layer_class = import_object(layer) if isinstance(layer, str) else layer
  return layer_class(cfg, name=name)


def init_mixer_cache(
  cfg: ModelConfig, name: str, n: int, batch: int, length: int, encoder_length: int
) -> tuple[jax.Array, ...]:
  """Returns an empty cache for `n` layers of a mixer.

  Args:
    cfg: Config of the model.
    name: Name of the mixer.
    n: Number of layers.
    batch: Number of sequences.
    length: Number of tokens that a cache of keys and values has room for.
    encoder_length: Number of tokens of the encoder, 0 if there is none.

  Returns:
    Arrays of zeros with the axes N, B, and those of `CacheArray.full_shape`.
  """
  arrays = []
  for array in mixer_spec(cfg, name).cache_arrays(cfg):
    shape = (n, batch, *array.full_shape(length, encoder_length))
    arrays.append(jnp.zeros(shape, array.dtype))
  return tuple(arrays)


def custom_init(path: str, key: jax.Array, shape: tuple[int, ...]) -> jax.Array | None:
  """Returns the initial value of a parameter for which its mixer has a custom function.

  Args:
    path: Path of the parameter.
    key: PRNG key of the parameter.
    shape: Shape of the parameter.

  Returns:
    A float32 array, or None if the parameter starts as usual for its role.
  """
  for spec in MIXERS.values():
    for pattern, initializer in spec.custom_inits.items():
      if matches(pattern, path):
        if isinstance(initializer, str):
          initializer = import_object(initializer)
        return initializer(key, shape)
  return None
