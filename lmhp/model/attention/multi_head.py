"""Softmax attention: heads that share keys and values, windows, sinks, caps, norms of queries and keys."""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmhp.model.config import ModelConfig
from lmhp.model.normalization import Normalization, normalize
from lmhp.model.output import cap
from lmhp.model.positional import rotate
from lmhp.model.projection import (
  Projection,
  product,
  project,
  row_major,
  softmax_product,
)
from lmhp.model.rng import dropout, named_key

MASKED = -1e30  # finite, so that a row that sees nothing is no NaN


class LayerInputs(NamedTuple):
  """What every layer is shown: computed once for a batch, the same for all layers.

  Attributes:
    mask_global_BLM: (B, 1, L, M) bool, which keys a query of a global layer sees; B may be 1.
    mask_local_BLM: the same for a windowed layer.
    rotary_global: cosines and sines, each (B, L, 1, P), or None.
    rotary_local: the same for windowed layers.
    bias_1HLM: added to the attention logits (ALiBi, T5), or None.
    encoder_features_BMD: what the encoder made of its tokens, for a decoder that attends to it; None where keys and values of it
      are in the cache, or there is no encoder.
    temperature_BL11: (B, L, 1, 1), factor on queries of layers without positions, or None.
    encoder_mask_BLM: (B, 1, 1, M) bool, which of those tokens are no padding; None where there is no encoder.
    document_start_BL: (B, L) bool, where a text begins that knows nothing of what came before; None where there is one text.
    hypers: `Hypers['model']`, the traced numbers.
    key: PRNG key of this step, or None where nothing is random.
    start: int32, where the new tokens begin in the cache; 0 without one.
  """

  mask_global_BLM: jax.Array
  mask_local_BLM: jax.Array
  rotary_global: tuple[jax.Array, jax.Array] | None
  rotary_local: tuple[jax.Array, jax.Array] | None
  bias_1HLM: jax.Array | None
  hypers: dict
  key: jax.Array | None
  start: jax.Array | int
  encoder_features_BMD: jax.Array | None = None
  encoder_mask_BLM: jax.Array | None = None
  temperature_BL11: jax.Array | None = None
  document_start_BL: jax.Array | None = None


class LayerFlags(NamedTuple):
  """What one layer is told of itself; arrays, stacked on N under the scan, None where all layers agree.

  Attributes:
    index: int32, counted from 0; names its dropout draws.
    local: bool, whether it is windowed.
    uses_positions: bool, whether it knows positions.
  """

  index: jax.Array
  local: jax.Array | bool | None
  uses_positions: jax.Array | bool | None


def choose(
  flag: jax.Array | bool, if_true: jax.Array, if_false: jax.Array
) -> jax.Array:
  """One of two arrays by a flag that is known now, or only in the program."""
  if isinstance(flag, bool):
    return if_true if flag else if_false
  return jnp.where(flag, if_true, if_false)


def write_at(start: jax.Array | int, old_BM: jax.Array, new_BL: jax.Array) -> jax.Array:
  """A cache with new tokens in it, in the cache's precision."""
  return jax.lax.dynamic_update_slice_in_dim(
    old_BM, new_BL.astype(old_BM.dtype), start, axis=1
  )


def heads_first(x_BLHK: jax.Array) -> jax.Array:
  """(B, H, L, K) of (B, L, H, K), in the order that products want."""
  return row_major(jnp.swapaxes(x_BLHK, 1, 2))


class Attention(nn.Module):
  """Multi-head attention over the tokens so far.

  Source: arXiv:1706.03762 section 3.2; heads in groups arXiv:2305.13245.
  """

  cfg: ModelConfig

  @nn.compact
  def __call__(self, x_BLD, layer: LayerFlags, scene: LayerInputs, cache=None):
    """Mixes tokens.

    Args:
      x_BLD: (B, L, D) float32.
      layer: what this layer is.
      scene: what all layers share.
      cache: `(key_BMGK, value_BMGK)` to write the new tokens into at `scene.start`, or None.

    Returns:
      (B, L, D) float32, and the cache.
    """
    cfg = self.cfg
    heads = (('query', cfg.n_heads), ('key', cfg.n_kv_heads), ('value', cfg.n_kv_heads))
    q_BLHK, k_BMGK, v_BMGK = project(
      x_BLD,
      [
        Projection(cfg, (cfg.d_model,), (n, cfg.head_dim), cfg.qkv_bias, name=name)
        for name, n in heads
      ],
    )
    if cfg.clip_qkv is not None:
      q_BLHK, k_BMGK, v_BMGK = (
        jnp.clip(x, -cfg.clip_qkv, cfg.clip_qkv) for x in (q_BLHK, k_BMGK, v_BMGK)
      )
    q_BLHK, k_BMGK = self._position(*self._norm(q_BLHK, k_BMGK), layer, scene)
    if cache is not None:
      cache = k_BMGK, v_BMGK = (
        write_at(scene.start, cache[0], k_BMGK),
        write_at(scene.start, cache[1], v_BMGK),
      )
    mixed_BLHK = self._mix(q_BLHK, k_BMGK, v_BMGK, layer, scene)
    out = Projection(
      cfg,
      (cfg.n_heads, cfg.head_dim),
      (cfg.d_model,),
      cfg.attention_output_bias,
      name='output',
    )
    return out(mixed_BLHK), cache

  def _norm(self, q_BLHK, k_BMGK):
    """Normalizes queries and keys before they are rotated, each head or all together."""
    cfg = self.cfg
    if cfg.qk_norm in ('none', 'l2'):
      return q_BLHK, k_BMGK

    def norm(x, name):
      shape = x.shape
      flat = x if cfg.qk_norm == 'head' else x.reshape(*shape[:2], -1)
      each = cfg.qk_norm == 'each_head'
      return Normalization(
        cfg, flat.shape[-1], shape[2] if each else 1, not each, name=name
      )(flat).reshape(shape)

    return norm(q_BLHK, 'query_norm'), norm(k_BMGK, 'key_norm')

  def _position(self, q_BLHK, k_BMGK, layer, scene):
    """Rotates queries and keys, and gives them unit size after that where qk_norm is l2 (Llama 4)."""
    cfg = self.cfg
    if scene.rotary_global is not None:
      cos, sin = (
        choose(layer.local, a, b)
        for a, b in zip(scene.rotary_local, scene.rotary_global)
      )
      cos, sin = (
        choose(layer.uses_positions, cos, jnp.ones_like(cos)),
        choose(layer.uses_positions, sin, jnp.zeros_like(sin)),
      )
      q_BLHK = rotate(q_BLHK, cos, sin, cfg.rotary_interleaved)
      k_BMGK = rotate(k_BMGK, cos, sin, cfg.rotary_interleaved)
    if cfg.qk_norm == 'l2':  # Llama 4: where there are positions
      positioned = layer.uses_positions if cfg.no_position_every else True
      q_BLHK, k_BMGK = (
        choose(positioned, normalize(x, 'rmsnorm', cfg.norm_eps), x)
        for x in (q_BLHK, k_BMGK)
      )
    if scene.temperature_BL11 is not None:
      q_BLHK = choose(
        layer.uses_positions,
        q_BLHK,
        q_BLHK * jnp.broadcast_to(scene.temperature_BL11, q_BLHK.shape),
      )
    return q_BLHK, k_BMGK

  def _mix(self, q_BLHK, k_BMGK, v_BMGK, layer, scene):
    """Attention proper: (B, L, H, K) weighted values, K that of the values."""
    cfg, n_kv_heads = self.cfg, k_BMGK.shape[2]
    batch, length, n_heads, _ = q_BLHK.shape
    q, k, v = (
      heads_first(x).reshape(
        batch, n_kv_heads, -1, x.shape[-1]
      )  # a group's heads below each other: one product
      for x in (q_BLHK * cfg.attention_scale, k_BMGK, v_BMGK)
    )
    logits_BHLM = product(q, k, True, cfg.dtype).reshape(batch, n_heads, length, -1)
    logits_BHLM = cap(logits_BHLM, cfg.attention_logit_cap)
    if scene.bias_1HLM is not None:
      bias = jnp.broadcast_to(scene.bias_1HLM, logits_BHLM.shape)
      logits_BHLM = logits_BHLM + choose(
        layer.uses_positions, bias, jnp.zeros_like(bias)
      )
    see = choose(layer.local, scene.mask_local_BLM, scene.mask_global_BLM)
    logits_BHLM = jnp.where(
      jnp.broadcast_to(see, logits_BHLM.shape), logits_BHLM, MASKED
    )
    flat = (batch, n_kv_heads, -1, logits_BHLM.shape[-1])
    dropped = cfg.attention_dropout != 0 and scene.key is not None
    if not (dropped or cfg.attention_sinks):
      mixed = softmax_product(logits_BHLM.reshape(flat), v, cfg.dtype)
    else:
      weights_BHLM = (
        self._sink_softmax(logits_BHLM)
        if cfg.attention_sinks
        else jax.nn.softmax(logits_BHLM, axis=-1)
      )
      if dropped:
        key = jax.random.fold_in(named_key(scene.key, 'attention_dropout'), layer.index)
        weights_BHLM = dropout(weights_BHLM, scene.hypers['attention_dropout'], key)
      mixed = product(weights_BHLM.reshape(flat), v, False, cfg.dtype)
    return jnp.swapaxes(mixed.reshape(batch, n_heads, length, -1), 1, 2)

  def _sink_softmax(self, logits_BHLM):
    """Softmax over keys and over a learned logit per head that has no value."""
    sinks_H = self.param('sinks', nn.initializers.zeros_init(), (self.cfg.n_heads,))
    sink = jnp.broadcast_to(sinks_H[None, :, None, None], (*logits_BHLM.shape[:3], 1))
    return jax.nn.softmax(jnp.concatenate([logits_BHLM, sink], axis=-1), axis=-1)[
      ..., :-1
    ]


class CrossAttention(Attention):
  """Attention of a decoder's tokens to what the encoder made of its own: no positions, no mask but padding's.

  Source: arXiv:1706.03762 section 3.2.3.
  """

  @nn.compact
  def __call__(self, x_BLD, layer: LayerFlags, scene: LayerInputs, cache=None):
    """As `Attention`; `cache` holds keys and values of the encoder's tokens, made where `scene` has those."""
    cfg = self.cfg
    head = (cfg.head_dim,)
    query = Projection(
      cfg, (cfg.d_model,), (cfg.n_heads, *head), cfg.qkv_bias, name='query'
    )
    q_BLHK = query(x_BLD)
    if scene.encoder_features_BMD is None:
      k_BMGK, v_BMGK = cache
      q_BLHK, _ = self._norm(q_BLHK, q_BLHK[:, :, : cfg.n_kv_heads])
    else:
      k_BMGK, v_BMGK = project(
        scene.encoder_features_BMD,
        [
          Projection(
            cfg, (cfg.d_model,), (cfg.n_kv_heads, *head), cfg.qkv_bias, name=name
          )
          for name in ('key', 'value')
        ],
      )
      q_BLHK, k_BMGK = self._norm(q_BLHK, k_BMGK)
      cache = (
        None
        if cache is None
        else (k_BMGK.astype(cache[0].dtype), v_BMGK.astype(cache[1].dtype))
      )
    key = None if scene.key is None else named_key(scene.key, 'cross_attention')
    seen = scene._replace(
      mask_global_BLM=scene.encoder_mask_BLM,
      mask_local_BLM=scene.encoder_mask_BLM,
      bias_1HLM=None,
      key=key,
    )
    mixed_BLHK = self._mix(q_BLHK, k_BMGK, v_BMGK, layer, seen)
    out = Projection(
      cfg,
      (cfg.n_heads, cfg.head_dim),
      (cfg.d_model,),
      cfg.attention_output_bias,
      name='output',
    )
    return out(mixed_BLHK), cache
