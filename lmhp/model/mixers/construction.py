"""Modules and initial values of token mixers, made from their registry entries."""

from __future__ import annotations

from typing import Protocol

import jax

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
  return import_object(mixer_spec(cfg, name).layer)(cfg, name=name)


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
        return import_object(initializer)(key, shape)
  return None
