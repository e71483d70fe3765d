"""Multi-head latent attention: keys and values are made of one narrow latent, which alone is cached.

Source: arXiv:2405.04434 section 2.1 (DeepSeek-V2). Dimension key besides the model's: C width of a latent, P rotating
coordinates of a head, W size of a head's value.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from lmhp.model.attention.multi_head import (
  Attention,
  LayerFlags,
  LayerInputs,
  choose,
  write_at,
)
from lmhp.model.normalization import Normalization
from lmhp.model.positional import rotate
from lmhp.model.projection import Projection, project


class LatentAttention(Attention):
  """Attention whose keys are, in each head, a part made of the latent and a rotating part that all heads share."""

  @nn.compact
  def __call__(self, x_BLD, layer: LayerFlags, scene: LayerInputs, cache=None):
    """As `Attention`; `cache` is `(latent_BMC, key_rotary_BMP)`."""
    cfg = self.cfg
    still = cfg.head_dim - cfg.rotary_head_dim
    rotated = lambda x: jnp.concatenate(
      [x[..., :still], self._rotate(x[..., still:], layer, scene)], axis=-1
    )
    q_BLHK = rotated(self._query(x_BLD))
    latent_BMC, key_rotary_BMP = project(
      x_BLD,
      [
        Projection(cfg, (cfg.d_model,), (n,), cfg.qkv_bias, name=name)
        for name, n in (
          ('latent', cfg.kv_latent_dim),
          ('key_rotary', cfg.rotary_head_dim),
        )
      ],
    )
    latent_BMC = self._latent_norm('latent_norm', latent_BMC)
    key_rotary_BMP = self._rotate(key_rotary_BMP[:, :, None], layer, scene)[:, :, 0]
    if cache is not None:
      cache = latent_BMC, key_rotary_BMP = tuple(
        write_at(scene.start, old, new)
        for old, new in zip(cache, (latent_BMC, key_rotary_BMP))
      )
    up = [
      Projection(cfg, (cfg.kv_latent_dim,), (cfg.n_heads, n), name=name)
      for name, n in (('key_up', still), ('value_up', cfg.value_head_dim))
    ]
    if cache is not None and x_BLD.shape[1] == 1:
      mixed_BLHW = self._absorbed(q_BLHK, latent_BMC, key_rotary_BMP, up, layer, scene)
    else:
      key_BMHK, value_BMHW = project(latent_BMC.astype(jnp.float32), up)
      shared = jnp.broadcast_to(
        key_rotary_BMP[:, :, None], (*key_BMHK.shape[:3], cfg.rotary_head_dim)
      )
      mixed_BLHW = self._mix(
        q_BLHK, jnp.concatenate([key_BMHK, shared], axis=-1), value_BMHW, layer, scene
      )
    out = Projection(
      cfg,
      (cfg.n_heads, cfg.value_head_dim),
      (cfg.d_model,),
      cfg.attention_output_bias,
      name='output',
    )
    return out(mixed_BLHW), cache

  def _query(self, x_BLD):
    """(B, L, H, K), of the residual stream or of a latent of its own."""
    cfg, heads = self.cfg, (self.cfg.n_heads, self.cfg.head_dim)
    if cfg.query_latent_dim is None:
      return Projection(cfg, (cfg.d_model,), heads, name='query')(x_BLD)
    down = Projection(
      cfg, (cfg.d_model,), (cfg.query_latent_dim,), cfg.qkv_bias, name='query_down'
    )
    latent_BLC = self._latent_norm('query_down_norm', down(x_BLD))
    return Projection(cfg, (cfg.query_latent_dim,), heads, name='query_up')(latent_BLC)

  def _latent_norm(self, name, x):
    return Normalization(
      self.cfg, x.shape[-1], eps=self.cfg.latent_norm_eps, name=name
    )(x)

  def _rotate(self, x_BLHP, layer, scene):
    """Rotated by position, where this layer knows positions."""
    if scene.rotary_global is None:
      return x_BLHP
    cos, sin = (
      choose(layer.local, a, b) for a, b in zip(scene.rotary_local, scene.rotary_global)
    )
    return choose(
      layer.uses_positions,
      rotate(x_BLHP, cos, sin, self.cfg.rotary_interleaved),
      x_BLHP,
    )

  def _absorbed(self, q_BLHK, latent_BMC, key_rotary_BMP, up, layer, scene):
    """The same by other means, for one new token: queries go down to the latent instead of all keys up from it.

    All heads then share one key, the latent and the rotating part, and one value, the latent.
    """
    still = q_BLHK.shape[-1] - key_rotary_BMP.shape[-1]
    key_up_CHK, value_up_CHW = (p.kernel for p in up)
    q_BLHC = jnp.einsum('BLHK,CHK->BLHC', q_BLHK[..., :still], key_up_CHK)
    q_BLHC = jnp.concatenate([q_BLHC, q_BLHK[..., still:]], axis=-1)
    latent_BM1C = latent_BMC[:, :, None]
    key_BM1C = jnp.concatenate([latent_BM1C, key_rotary_BMP[:, :, None]], axis=-1)
    mixed_BLHC = self._mix(q_BLHC, key_BM1C, latent_BM1C, layer, scene)
    return jnp.einsum('BLHC,CHW->BLHW', mixed_BLHC, value_up_CHW)
