"""The feed-forward part: two matrices, or three where gated."""

from __future__ import annotations

from collections import Counter

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmhp.model.config import ModelConfig
from lmhp.model.counts import matmul_flops, parameter_count
from lmhp.model.projection import Projection, project

ACTIVATIONS = {
  'relu': jax.nn.relu,
  'sigmoid': jax.nn.sigmoid,
  'tanh': jnp.tanh,
  'gelu': lambda x: (
    0.5 * x * (1 + jax.lax.erf(x * 0.5**0.5))
  ),  # jax.nn's goes through erfc: three passes, not one
  'gelu_tanh': lambda x: jax.nn.gelu(x, approximate=True),
  'quick_gelu': lambda x: x * jax.nn.sigmoid(1.702 * x),
  'silu': jax.nn.silu,
  'relu_squared': lambda x: jnp.square(jax.nn.relu(x)),
  'identity': lambda x: x,
}


def apply_activation(
  into: list[jax.Array], activation: str, gated: bool, clip: float | None, offset: float
) -> jax.Array:
  """What goes into `down`: `act(up)`, or `act(gate) * (up + offset)`, both clipped before that where `clip` is given.

  Args:
    into: up, or gate and up, float32.
    activation: one of `ACTIVATIONS`.
    gated: whether there is a gate.
    clip: upper bound of the gate, and both bounds of up; None is none (gpt-oss: 7).
    offset: added to up (gpt-oss: 1).
  """
  if not gated:
    return ACTIVATIONS[activation](into[0])
  gate, up = into
  if clip is not None:
    gate, up = jnp.minimum(gate, clip), jnp.clip(up, -clip, clip)
  return ACTIVATIONS[activation](gate) * (up + offset if offset else up)


class FeedForward(nn.Module):
  """`down(act(up x))`, or `down(act(gate x) * up x)`.

  Attributes:
    cfg: the model's structure.
    width: hidden size; None is the config's d_ff.

  Source: arXiv:1706.03762 section 3.3; arXiv:2002.05202 for the gate.
  """

  cfg: ModelConfig
  width: int | None = None

  @nn.compact
  def __call__(self, x_BLD: jax.Array) -> jax.Array:
    cfg, width = self.cfg, self.width or self.cfg.d_ff
    into = [
      Projection(cfg, (cfg.d_model,), (width,), cfg.feed_forward_bias, name=name)
      for name in (('gate', 'up') if cfg.gated else ('up',))
    ]
    down = Projection(cfg, (width,), (cfg.d_model,), cfg.feed_forward_bias, name='down')
    down.matrix()  # its parameters exist before the checkpoint below

    def finish(into_BLF: list[jax.Array]) -> jax.Array:
      return down(
        apply_activation(
          into_BLF, cfg.activation, cfg.gated, cfg.gate_clip, cfg.gate_offset
        )
      )

    # Only what goes into the nonlinearity is kept for the backward pass: what comes out is cheap to compute again.
    return jax.checkpoint(finish, prevent_cse=False)(project(x_BLD, into))


def parameter_counts(cfg: ModelConfig) -> Counter:
  """Parameters by kind of one layer's feed-forward part."""
  into = (1 + cfg.gated) * parameter_count(cfg.d_model, cfg.d_ff, cfg.feed_forward_bias)
  return Counter(
    feed_forward=into + parameter_count(cfg.d_ff, cfg.d_model, cfg.feed_forward_bias)
  )


def weight_flops(cfg: ModelConfig) -> Counter:
  """Forward matrix-product FLOPs by kind of one layer, for one token."""
  return Counter(feed_forward=(2 + cfg.gated) * matmul_flops(cfg.d_model, cfg.d_ff))
