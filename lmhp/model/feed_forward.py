"""The feed-forward part of a layer: two linear maps, or three if it is gated."""

from __future__ import annotations

from collections.abc import Callable
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmhp.model.activations import activation_function
from lmhp.model.config import ModelConfig
from lmhp.model.projection import Projection, project


@functools.cache
def input_activation(
  activation: str, gated: bool, clip: float | None, offset: float
) -> Callable[[list[jax.Array]], jax.Array]:
  """Returns the function between the first linear maps of a feed-forward part and `down`.

  The function takes the outputs of the maps as a list. Without a gate, the list is [up], and
  the result is act(up). With a gate, the list is [gate, up], and the result is
  act(gate) * (up + offset). Equal arguments give the same function object, so that programs of
  equal structure are compiled once.

  Args:
    activation: Name of the activation, `model.activation`.
    gated: True if there is a gate.
    clip: With a gate, upper bound of gate and of the absolute value of up, applied before the
      activation. None stands for no bound. gpt-oss: 7.
    offset: With a gate, number added to up. gpt-oss: 1.
  """

  def activate(inputs: list[jax.Array]) -> jax.Array:
    # act(up)
    function = activation_function(activation)
    if not gated:
      return function(inputs[0])

    # act(gate) * (up + offset)
    gate, up = inputs
    if clip is not None:
      gate = jnp.minimum(gate, clip)
      up = jnp.clip(up, -clip, clip)
    return function(gate) * (up + offset if offset else up)

  return activate


class FeedForward(nn.Module):
  """Computes down(act(up x)), or down(act(gate x) * up x) if it is gated.

  Attributes:
    cfg: Config of the model.
    width: Hidden size. None stands for `cfg.d_ff`.

  Source: arXiv:1706.03762 section 3.3. The gate: arXiv:2002.05202.
  """

  cfg: ModelConfig
  width: int | None = None

  @nn.compact
  def __call__(self, x_BLD: jax.Array) -> jax.Array:
    """Returns (B, L, D) float32 for (B, L, D) float32."""
    cfg = self.cfg
    width = self.width or cfg.d_ff
    names = ('gate', 'up') if cfg.gated else ('up',)
    projections = [
      Projection(cfg, (cfg.d_model,), (width,), cfg.feed_forward_bias, name=name)
      for name in names
    ]
    down = Projection(cfg, (width,), (cfg.d_model,), cfg.feed_forward_bias, name='down')
    # Flax has to create the parameters of `down` outside of the function that `jax.checkpoint`
    # transforms.
    down.matrix()

    activate = input_activation(
      cfg.activation, cfg.gated, cfg.gate_clip, cfg.gate_offset
    )

    def finish(inputs_BLF: list[jax.Array]) -> jax.Array:
      return down(activate(inputs_BLF))

    # The backward pass keeps only the inputs of the activation. The output of the activation is
    # cheap to compute again. Layers run inside a scan, for which JAX advises prevent_cse=False.
    return jax.checkpoint(finish, prevent_cse=False)(project(x_BLD, projections))
