"""The flax module of the mixer `mamba2`. Dimension key: see `lmhp.model.mixers.layers`."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmhp.model.config import ModelConfig
from lmhp.model.layer_inputs import LayerFlags, LayerInputs
from lmhp.model.mixers.keys import mixer_heads
from lmhp.model.mixers.layers.convolution import CausalConvolution
from lmhp.model.mixers.layers.linear_recurrence import cached_state
from lmhp.model.mixers.layers.state_space import StateSpaceInputs, state_space
from lmhp.model.mixers.mamba2 import Mamba2Keys, group_width
from lmhp.model.normalization import Normalization
from lmhp.model.projection import Projection, project
from lmhp.sections import keys_of
from lmhp.typing import PyTree


class Mamba2(nn.Module):
  """Mamba-2: a selective state space with one decay for each head and token.

    state_t = exp(-step_t exp(log_decay)) state_(t-1) + step_t x_t write_t^T
    y_t = state_t read_t + skip x_t

  `write`, `read` and `step` are B, C and dt in the paper. First, x, write and read pass through a
  causal convolution and SiLU. At the end, y is multiplied by SiLU of a gate, and normalized.

  Source: arXiv:2405.21060.
  """

  cfg: ModelConfig

  @nn.compact
  def __call__(
    self,
    x_BLD: jax.Array,
    flags: LayerFlags,
    inputs: LayerInputs,
    cache: PyTree = None,
  ) -> tuple[jax.Array, PyTree]:
    """Mixes tokens, see `MixerLayer`.

    The cache is `(last inputs of the convolution, state_BHPS)`.
    """
    cfg = self.cfg
    keys = keys_of(cfg, Mamba2Keys)
    width = keys.mixer_dim
    n_heads = mixer_heads(cfg)
    n_groups = keys.state_groups
    batch, length, _ = x_BLD.shape
    gate_BLI, *convolved, step_BLH = self._project_input(x_BLD)

    # Convolution over x (I channels), write and read (G S channels each).
    channels = width + 2 * group_width(cfg)
    convolution = CausalConvolution(cfg, channels, name='convolution')
    past = None if cache is None else cache[0]
    mixed_BLC, past = convolution(jnp.concatenate(convolved, axis=-1), inputs, past)
    x_BLI, write, read = jnp.split(
      jax.nn.silu(mixed_BLC), (width, width + group_width(cfg)), axis=-1
    )

    # Step sizes, and log_a, the logarithm of the factor on the state in the formula above.
    step_bias_H = self._head_vector('step_bias', n_heads)
    step_BLH = jax.nn.softplus(step_BLH + jnp.broadcast_to(step_bias_H, step_BLH.shape))
    log_decay_H = self._head_vector('log_decay', n_heads)
    decay_BLH = jnp.broadcast_to(jnp.exp(log_decay_H), step_BLH.shape)
    log_a_BLH = -step_BLH * decay_BLH

    # The state space.
    x_BLHP = x_BLI.reshape(batch, length, n_heads, -1)
    head_size = x_BLHP.shape[-1]
    first_BHPS = cached_state(cache, 1, batch, n_heads, head_size, keys.state_dim)
    sequence = StateSpaceInputs(
      x_BLHP=x_BLHP * step_BLH[..., None],
      log_a_BLH=log_a_BLH,
      write_BLGS=write.reshape(batch, length, n_groups, keys.state_dim),
      read_BLGS=read.reshape(batch, length, n_groups, keys.state_dim),
      document_start_BL=inputs.document_start_BL,
    )
    y_BLHP, last_BHPS = state_space(sequence, first_BHPS, keys.state_chunk, cfg.dtype)
    skip_H1 = self._head_vector('skip', n_heads)[:, None]
    y_BLHP = y_BLHP + x_BLHP * jnp.broadcast_to(skip_H1, x_BLHP.shape)

    # Gate, normalization and output projection.
    y_BLI = y_BLHP.reshape(batch, length, width) * jax.nn.silu(gate_BLI)
    y_BLI = Normalization(cfg, width, n_groups, name='norm')(y_BLI)
    output = Projection(cfg, (width,), (cfg.d_model,), keys.mixer_bias, name='output')
    return output(y_BLI), None if cache is None else (past, last_BHPS)

  def _project_input(self, x_BLD: jax.Array) -> list[jax.Array]:
    """Returns the gate, x, the write and read vectors, and the step of each head before softplus.

    The order is that of `widths` below.
    """
    cfg = self.cfg
    keys = keys_of(cfg, Mamba2Keys)
    widths = {
      'gate': keys.mixer_dim,
      'input': keys.mixer_dim,
      'write': group_width(cfg),
      'read': group_width(cfg),
      'step': mixer_heads(cfg),
    }
    projections = [
      Projection(cfg, (cfg.d_model,), (n,), keys.mixer_bias, name=name)
      for name, n in widths.items()
    ]
    return project(x_BLD, projections)

  def _head_vector(self, name: str, n_heads: int) -> jax.Array:
    """Returns a parameter with one number for each head."""
    return self.param(name, nn.initializers.zeros_init(), (n_heads,))


def init_log_decay(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """Returns initial values of `log_decay`. exp(log_decay) is uniform in [1, 16].

  Source: arXiv:2405.21060, the authors' code.
  """
  return jnp.log(jax.random.uniform(key, shape, jnp.float32, 1.0, 16.0))


def init_step_bias(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """Returns initial values of `step_bias`. softplus(step_bias) is log-uniform in [0.001, 0.1].

  Source: arXiv:2312.00752 section 3.6.
  """
  # step_bias = log(exp(step) - 1), the inverse of softplus
  log_step = jax.random.uniform(key, shape, jnp.float32, jnp.log(0.001), jnp.log(0.1))
  return jnp.log(jnp.expm1(jnp.exp(log_step)))


def init_skip(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """Returns initial values of `skip`, which are 1."""
  return jnp.ones(shape, jnp.float32)
