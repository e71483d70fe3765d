"""Softmax self-attention, and cross-attention of a decoder to an encoder.

Options of the config are local windows, attention sinks, a cap on the logits, and normalization
of queries and keys.
"""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmhp.model.attention.rotary import RotaryTable, rotate
from lmhp.model.config import ModelConfig
from lmhp.model.layer_inputs import LayerFlags, LayerInputs, ModelHypers, choose
from lmhp.model.normalization import Normalization, normalize
from lmhp.model.output import soft_cap
from lmhp.model.projection import (
  Projection,
  product,
  project,
  row_major,
  softmax_product,
)
from lmhp.model.rng import dropout, named_key

MASKED = -1e30
"""Logit of a masked key. It is finite, so that a query that attends to no key gives no NaN."""


class AttentionContext(NamedTuple):
  """Inputs of attention besides queries, keys and values.

  Attributes:
    mask_BLM: (B, 1, L, M) bool, True for the keys that a query attends to. B and L may be 1.
    bias_1HLM: (1, H, L, M) float32, added to the logits, or None.
    dropout_key: PRNG key of this layer's dropout. None if nothing is dropped.
    dropout_rate: Probability that an attention weight is dropped. None if nothing is dropped.
  """

  mask_BLM: jax.Array
  bias_1HLM: jax.Array | None = None
  dropout_key: jax.Array | None = None
  dropout_rate: jax.Array | None = None


def write_at(start: jax.Array | int, old_BM: jax.Array, new_BL: jax.Array) -> jax.Array:
  """Returns a cache with the entries of new tokens, in the precision of the cache.

  Args:
    start: Position of the first new token in the cache.
    old_BM: (B, M, ...), cache.
    new_BL: (B, L, ...), entries of the new tokens.
  """
  new_BL = new_BL.astype(old_BM.dtype)
  return jax.lax.dynamic_update_slice_in_dim(old_BM, new_BL, start, axis=1)


def heads_first(x_BLHK: jax.Array) -> jax.Array:
  """Returns (B, H, L, K). On CPU the array is copied to row-major order, for fast products."""
  return row_major(jnp.swapaxes(x_BLHK, 1, 2))


class Attention(nn.Module):
  """Multi-head attention.

  Source: arXiv:1706.03762 section 3.2; arXiv:2305.13245 for fewer key/value heads than query
  heads (G < H).
  """

  cfg: ModelConfig

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
      cache: Keys and values, each (B, M, G, K). The new tokens are written from position
        `inputs.start` on. None while no cache is used.

    Returns:
      (B, L, D) float32, and the cache with the new tokens, or None if `cache` is None.
    """
    # Queries, keys and values, with bounds, normalizations and positions. At this point, the
    # M keys are those of the L new tokens.
    cfg = self.cfg
    qkv = project(
      x_BLD,
      [
        self._projection_to_heads('query', cfg.n_heads),
        self._projection_to_heads('key', cfg.n_kv_heads),
        self._projection_to_heads('value', cfg.n_kv_heads),
      ],
    )
    q_BLHK = self._normalize_heads('query_norm', qkv[0])
    k_BMGK = self._normalize_heads('key_norm', qkv[1])
    v_BMGK = qkv[2]
    if cfg.clip_qkv is not None:
      # OLMoE clips after the normalization.
      bounds = (-cfg.clip_qkv, cfg.clip_qkv)
      q_BLHK = jnp.clip(q_BLHK, *bounds)
      k_BMGK = jnp.clip(k_BMGK, *bounds)
      v_BMGK = jnp.clip(v_BMGK, *bounds)
    q_BLHK, k_BMGK = self._apply_positions(q_BLHK, k_BMGK, flags, inputs)

    # Keys and values of all tokens up to now.
    if cache is not None:
      k_BMGK = write_at(inputs.start, cache[0], k_BMGK)
      v_BMGK = write_at(inputs.start, cache[1], v_BMGK)
      cache = (k_BMGK, v_BMGK)
    context = self._context(flags, inputs)
    return self._output(self._attend(q_BLHK, k_BMGK, v_BMGK, context)), cache

  def _projection_to_heads(self, name: str, n_heads: int) -> Projection:
    cfg = self.cfg
    return Projection(
      cfg, (cfg.d_model,), (n_heads, cfg.head_dim), cfg.qkv_bias, name=name
    )

  def _output(self, mixed_BLHK: jax.Array) -> jax.Array:
    """Returns (B, L, D), the output projection of the results of all heads."""
    cfg = self.cfg
    heads = mixed_BLHK.shape[2:]
    bias = cfg.attention_output_bias
    return Projection(cfg, heads, (cfg.d_model,), bias, name='output')(mixed_BLHK)

  def _normalize_heads(self, name: str, x_BLHK: jax.Array) -> jax.Array:
    """Normalizes queries or keys by the kind `model.qk_norm`, unless it is 'l2'.

    'l2' comes after the rotation by positions, so `_apply_positions` applies it.
    """
    cfg = self.cfg
    if cfg.qk_norm in ('none', 'l2'):
      return x_BLHK
    if cfg.qk_norm == 'head':
      # Each head is normalized. All heads share the K weights.
      return Normalization(cfg, x_BLHK.shape[-1], name=name)(x_BLHK)
    # 'full' normalizes all heads as one vector. 'each_head' normalizes each head separately, and
    # has no bias (StableLM, Cohere). Both have one weight for each coordinate of each head.
    flat = x_BLHK.reshape(*x_BLHK.shape[:2], -1)
    is_each_head = cfg.qk_norm == 'each_head'
    norm = Normalization(
      cfg,
      flat.shape[-1],
      groups=x_BLHK.shape[2] if is_each_head else 1,
      bias=not is_each_head,
      name=name,
    )
    return norm(flat).reshape(x_BLHK.shape)

  def _apply_positions(
    self,
    q_BLHK: jax.Array,
    k_BMGK: jax.Array,
    flags: LayerFlags,
    inputs: LayerInputs,
  ) -> tuple[jax.Array, jax.Array]:
    """Applies rotary positions, the normalization 'l2' and the temperature, if they are set."""
    cfg = self.cfg
    table = inputs.rotary(flags)
    if table is not None:
      # A layer without positions rotates by an angle of zero.
      table = RotaryTable(
        choose(flags.uses_positions, table.cos_BL1P, jnp.ones_like(table.cos_BL1P)),
        choose(flags.uses_positions, table.sin_BL1P, jnp.zeros_like(table.sin_BL1P)),
      )
      q_BLHK = rotate(q_BLHK, table, cfg.rotary_interleaved)
      k_BMGK = rotate(k_BMGK, table, cfg.rotary_interleaved)

    if cfg.qk_norm == 'l2':
      # 'l2' is `rmsnorm` without weights. Llama 4 leaves it out in layers without positions.
      # If `model.no_position_every` is 0, all layers have it, even if `model.position` is
      # 'none'.
      is_normalized = flags.uses_positions if cfg.no_position_every else True
      normal_q = normalize(q_BLHK, 'rmsnorm', cfg.norm_eps)
      normal_k = normalize(k_BMGK, 'rmsnorm', cfg.norm_eps)
      q_BLHK = choose(is_normalized, normal_q, q_BLHK)
      k_BMGK = choose(is_normalized, normal_k, k_BMGK)

    # The temperature acts in layers without positions only.
    if inputs.temperature_BL11 is not None:
      temperature = jnp.broadcast_to(inputs.temperature_BL11, q_BLHK.shape)
      q_BLHK = choose(flags.uses_positions, q_BLHK, q_BLHK * temperature)
    return q_BLHK, k_BMGK

  def _context(self, flags: LayerFlags, inputs: LayerInputs) -> AttentionContext:
    """Returns the mask, the bias and the dropout of a layer."""
    # A layer without positions has a bias of zero.
    bias_1HLM = inputs.bias_1HLM
    if bias_1HLM is not None:
      bias_1HLM = choose(flags.uses_positions, bias_1HLM, jnp.zeros_like(bias_1HLM))
    context = AttentionContext(inputs.mask_BLM(flags), bias_1HLM)
    return self._with_dropout(context, inputs.key, inputs.hypers, flags)

  def _with_dropout(
    self,
    context: AttentionContext,
    key: jax.Array | None,
    hypers: ModelHypers,
    flags: LayerFlags,
  ) -> AttentionContext:
    """Returns a context with the dropout of a layer.

    Args:
      context: Context without dropout.
      key: PRNG key of the step, or None if nothing is random.
      hypers: Traced numbers of the section `model`.
      flags: Properties of the layer.
    """
    if self.cfg.attention_dropout == 0 or key is None:
      return context
    return context._replace(
      dropout_key=jax.random.fold_in(named_key(key, 'attention_dropout'), flags.number),
      dropout_rate=hypers['attention_dropout'],
    )

  def _attend(
    self,
    q_BLHK: jax.Array,
    k_BMGK: jax.Array,
    v_BMGK: jax.Array,
    context: AttentionContext,
  ) -> jax.Array:
    """Returns the weighted sum of values of each head, (B, L, H, size of a value)."""
    cfg = self.cfg
    batch, length, n_heads, _ = q_BLHK.shape

    # The query heads that share a key/value head are rows of one matrix, (B, G, H / G * L, K).
    # So there is one product for each key/value head.
    leading = (batch, k_BMGK.shape[2], -1)
    q = heads_first(q_BLHK * cfg.attention_scale).reshape(*leading, q_BLHK.shape[-1])
    k = heads_first(k_BMGK).reshape(*leading, k_BMGK.shape[-1])
    v = heads_first(v_BMGK).reshape(*leading, v_BMGK.shape[-1])

    # logits = cap(q k^T) + bias, and MASKED where the mask is False
    logits_BHLM = product(q, k, True, cfg.dtype).reshape(batch, n_heads, length, -1)
    logits_BHLM = soft_cap(logits_BHLM, cfg.attention_logit_cap)
    if context.bias_1HLM is not None:
      logits_BHLM += jnp.broadcast_to(context.bias_1HLM, logits_BHLM.shape)
    mask = jnp.broadcast_to(context.mask_BLM, logits_BHLM.shape)
    logits_BHLM = jnp.where(mask, logits_BHLM, MASKED)

    # mixed = softmax(logits) v
    logits_shape = (*leading, logits_BHLM.shape[-1])
    if context.dropout_key is None and not cfg.attention_sinks:
      mixed = softmax_product(logits_BHLM.reshape(logits_shape), v, cfg.dtype)
    else:
      weights_BHLM = self._weights(logits_BHLM, context)
      mixed = product(weights_BHLM.reshape(logits_shape), v, False, cfg.dtype)
    return jnp.swapaxes(mixed.reshape(batch, n_heads, length, -1), 1, 2)

  def _weights(self, logits_BHLM: jax.Array, context: AttentionContext) -> jax.Array:
    """Returns the softmax of logits, with a sink and dropout if the config has them."""
    if self.cfg.attention_sinks:
      weights_BHLM = self._softmax_with_sink(logits_BHLM)
    else:
      weights_BHLM = jax.nn.softmax(logits_BHLM, axis=-1)
    if context.dropout_key is None or context.dropout_rate is None:
      return weights_BHLM
    return dropout(weights_BHLM, context.dropout_rate, context.dropout_key)

  def _softmax_with_sink(self, logits_BHLM: jax.Array) -> jax.Array:
    """Returns the softmax of the logits and of a sink, without the weight of the sink.

    The sink is one more logit, a learned number of each head that has no key and no value.

    Source: arXiv:2508.10925 (gpt-oss).
    """
    # softmax over M + 1 logits, of which the last is the sink
    sinks_H = self.param('sinks', nn.initializers.zeros_init(), (self.cfg.n_heads,))
    shape = (*logits_BHLM.shape[:3], 1)
    sink = jnp.broadcast_to(sinks_H[None, :, None, None], shape)
    logits = jnp.concatenate([logits_BHLM, sink], axis=-1)
    return jax.nn.softmax(logits, axis=-1)[..., :-1]


class CrossAttention(Attention):
  """Multi-head attention whose keys and values come from the encoder.

  This attention has no positions, and its mask hides only padding.

  Source: arXiv:1706.03762 section 3.2.3.
  """

  @nn.compact
  def __call__(
    self,
    x_BLD: jax.Array,
    flags: LayerFlags,
    inputs: LayerInputs,
    cache: tuple[jax.Array, jax.Array] | None = None,
  ) -> tuple[jax.Array, tuple[jax.Array, jax.Array] | None]:
    """Attends to the encoder's tokens.

    Args:
      x_BLD: (B, L, D) float32, tokens of the decoder.
      flags: Properties of this layer, such as its number.
      inputs: Inputs that all layers share. If `encoder_features_BMD` is None, the keys and
        values are read from the cache.
      cache: Keys and values of the encoder's tokens, each (B, M, G, K), or None.

    Returns:
      (B, L, D) float32, and the cache, or None if `cache` is None.
    """
    # Keys and values of the encoder's tokens: from its output, or from the cache.
    cfg = self.cfg
    q_BLHK = self._projection_to_heads('query', cfg.n_heads)(x_BLD)
    if inputs.encoder_features_BMD is not None:
      k_BMGK, v_BMGK = project(
        inputs.encoder_features_BMD,
        [
          self._projection_to_heads('key', cfg.n_kv_heads),
          self._projection_to_heads('value', cfg.n_kv_heads),
        ],
      )
      k_BMGK = self._normalize_without_positions('key_norm', k_BMGK)
      if cache is not None:
        cache = (k_BMGK.astype(cache[0].dtype), v_BMGK.astype(cache[1].dtype))
    else:
      # The network checks that there is a cache. Its keys are normalized already.
      assert cache is not None
      k_BMGK, v_BMGK = cache
    q_BLHK = self._normalize_without_positions('query_norm', q_BLHK)

    # Attention. Its dropout has another PRNG key than that of the self-attention.
    assert inputs.encoder_mask_BLM is not None
    key = None if inputs.key is None else named_key(inputs.key, 'cross_attention')
    context = self._with_dropout(
      AttentionContext(inputs.encoder_mask_BLM), key, inputs.hypers, flags
    )
    return self._output(self._attend(q_BLHK, k_BMGK, v_BMGK, context)), cache

  def _normalize_without_positions(self, name: str, x_BLHK: jax.Array) -> jax.Array:
    """Normalizes queries or keys by the kind `model.qk_norm`.

    Here no rotation precedes the normalization 'l2'.
    """
    if self.cfg.qk_norm == 'l2':
      return normalize(x_BLHK, 'rmsnorm', self.cfg.norm_eps)
    return self._normalize_heads(name, x_BLHK)
