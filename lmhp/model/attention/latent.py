"""Multi-head latent attention.

Each token has a latent, a vector that is narrower than the keys and values of all heads. Keys
and values are projections of the latent. For each token, the cache holds the latent and one
rotating key that all heads share, instead of the keys and values of all heads.

Source: arXiv:2405.04434 section 2.1 (DeepSeek-V2).

Letters in the names of arrays, besides those of `lmhp.model`: C is the width of a latent, W the
size of a head's value. Here, P is the number of rotating coordinates of a head. In `lmhp.model`,
P is half of it, the number of pairs of these coordinates.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmhp.model.attention.multi_head import Attention, write_at
from lmhp.model.attention.rotary import rotate
from lmhp.model.layer_inputs import LayerFlags, LayerInputs, choose
from lmhp.model.normalization import Normalization
from lmhp.model.projection import Projection, project


class LatentAttention(Attention):
  """Multi-head latent attention.

  The key of each head has two parts: a projection of the latent, which does not rotate, and
  a rotating part that all heads share.
  """

  @nn.compact
  def __call__(
    self,
    x_BLD: jax.Array,
    flags: LayerFlags,
    inputs: LayerInputs,
    cache: tuple[jax.Array, jax.Array] | None = None,
  ) -> tuple[jax.Array, tuple[jax.Array, jax.Array] | None]:
    """Mixes tokens.

    Args:
      x_BLD: (B, L, D) float32.
      flags: Properties of this layer, such as local attention.
      inputs: Inputs that all layers share, such as masks.
      cache: Latents (B, M, C) and rotating parts of the keys (B, M, P). The new tokens are
        written from position `inputs.start` on. None while no cache is used.

    Returns:
      (B, L, D) float32, and the cache with the new tokens, or None if `cache` is None.
    """
    cfg = self.cfg
    # Number of coordinates of a head that do not rotate.
    n_fixed = cfg.head_dim - cfg.rotary_head_dim
    latent_dim = cfg.kv_latent_dim
    # This layer is used only if `kv_latent_dim` is set.
    assert latent_dim is not None

    # Queries. Only the last coordinates of each head rotate.
    q_BLHK = self._query(x_BLD)
    rotated = self._rotate(q_BLHK[..., n_fixed:], flags, inputs)
    q_BLHK = jnp.concatenate([q_BLHK[..., :n_fixed], rotated], axis=-1)

    # Latents, and the part of the keys that rotates. At this point, the M keys are those of
    # the L new tokens.
    latent_BMC, key_rotary_BMP = project(
      x_BLD,
      [
        Projection(cfg, (cfg.d_model,), (latent_dim,), cfg.qkv_bias, name='latent'),
        Projection(
          cfg, (cfg.d_model,), (cfg.rotary_head_dim,), cfg.qkv_bias, name='key_rotary'
        ),
      ],
    )
    latent_BMC = self._normalize_latent('latent_norm', latent_BMC)
    key_rotary_BM1P = self._rotate(key_rotary_BMP[:, :, None], flags, inputs)
    key_rotary_BMP = key_rotary_BM1P[:, :, 0]
    if cache is not None:
      latent_BMC = write_at(inputs.start, cache[0], latent_BMC)
      key_rotary_BMP = write_at(inputs.start, cache[1], key_rotary_BMP)
      cache = (latent_BMC, key_rotary_BMP)

    # Keys and values of the heads are projections of the latents.
    heads = cfg.n_heads
    key_up = Projection(cfg, (latent_dim,), (heads, n_fixed), name='key_up')
    value_up = Projection(
      cfg, (latent_dim,), (heads, cfg.value_head_dim), name='value_up'
    )
    # Mask and dropout of the attention.
    context = self._context(flags, inputs)
    is_one_new_token = cache is not None and x_BLD.shape[1] == 1
    if is_one_new_token:
      # Project the query down to the latent instead of all keys up from it:
      # q . (key_up c) = (key_up^T q) . c. Values are projected after the weighted sum. All
      # heads then share one key, the latent and the rotating part (C + P numbers), and one
      # value, the latent.
      q_BLHC = jnp.einsum('BLHK,CHK->BLHC', q_BLHK[..., :n_fixed], key_up.kernel)
      q_BLHC = jnp.concatenate([q_BLHC, q_BLHK[..., n_fixed:]], axis=-1)
      latent_BM1C = latent_BMC[:, :, None]
      key_BM1C = jnp.concatenate([latent_BM1C, key_rotary_BMP[:, :, None]], axis=-1)
      mixed_BLHC = self._attend(q_BLHC, key_BM1C, latent_BM1C, context)
      mixed_BLHW = jnp.einsum('BLHC,CHW->BLHW', mixed_BLHC, value_up.kernel)
    else:
      latent_BMC = latent_BMC.astype(jnp.float32)
      key_BMHK, value_BMHW = project(latent_BMC, [key_up, value_up])
      shape = (*key_BMHK.shape[:3], cfg.rotary_head_dim)
      shared_key = jnp.broadcast_to(key_rotary_BMP[:, :, None], shape)
      key_BMHK = jnp.concatenate([key_BMHK, shared_key], axis=-1)
      mixed_BLHW = self._attend(q_BLHK, key_BMHK, value_BMHW, context)
    return self._output(mixed_BLHW), cache

  def _query(self, x_BLD: jax.Array) -> jax.Array:
    """Returns queries (B, L, H, K), from the residual stream directly or through a latent."""
    cfg = self.cfg
    heads = (cfg.n_heads, cfg.head_dim)
    if cfg.query_latent_dim is None:
      return Projection(cfg, (cfg.d_model,), heads, name='query')(x_BLD)
    down = Projection(
      cfg, (cfg.d_model,), (cfg.query_latent_dim,), cfg.qkv_bias, name='query_down'
    )
    latent_BLC = self._normalize_latent('query_down_norm', down(x_BLD))
    return Projection(cfg, (cfg.query_latent_dim,), heads, name='query_up')(latent_BLC)

  def _normalize_latent(self, name: str, x_BLC: jax.Array) -> jax.Array:
    eps = self.cfg.latent_norm_eps
    return Normalization(self.cfg, x_BLC.shape[-1], eps=eps, name=name)(x_BLC)

  def _rotate(
    self, x_BLHP: jax.Array, flags: LayerFlags, inputs: LayerInputs
  ) -> jax.Array:
    """Rotates all P coordinates. A layer without positions leaves them unchanged."""
    table = inputs.rotary(flags)
    if table is None:
      return x_BLHP
    rotated_BLHP = rotate(x_BLHP, table, self.cfg.rotary_interleaved)
    return choose(flags.uses_positions, rotated_BLHP, x_BLHP)
