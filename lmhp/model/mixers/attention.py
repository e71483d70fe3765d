"""Registration and counts of the mixer `attention`: multi-head, or multi-head latent.

This file imports no jax. The specifications of the parameters of attention are in
`lmhp.model.param_specs`.
"""

from __future__ import annotations

from collections import Counter

from lmhp.model.config import ModelConfig
from lmhp.model.counts import matmul_flops, norm_size, parameter_count
from lmhp.model.mixers.registry import CacheArray, MixerSpec, register_mixer


def parameter_counts(cfg: ModelConfig) -> Counter[str]:
  """Returns {kind: number of parameters} of one layer of multi-head attention.

  Normalizations of queries and keys have the kind 'normalization'.
  """
  query_width = cfg.n_heads * cfg.head_dim
  kv_width = cfg.n_kv_heads * cfg.head_dim
  counts = Counter(
    attention=parameter_count(cfg.d_model, query_width, cfg.qkv_bias)
    + 2 * parameter_count(cfg.d_model, kv_width, cfg.qkv_bias)
    + parameter_count(query_width, cfg.d_model, cfg.attention_output_bias)
    + cfg.attention_sinks * cfg.n_heads
  )
  if cfg.qk_norm == 'head':
    counts['normalization'] = 2 * norm_size(cfg, cfg.head_dim)
  elif cfg.qk_norm in ('each_head', 'full'):
    # 'each_head' has no bias, even if `model.norm_bias` is True.
    has_bias = cfg.qk_norm == 'full'
    counts['normalization'] = norm_size(cfg, query_width + kv_width, has_bias)
  return counts


def weight_flops(cfg: ModelConfig) -> Counter[str]:
  """Returns the forward FLOPs of one layer's projections for one token, by kind."""
  query_width = cfg.n_heads * cfg.head_dim
  kv_width = cfg.n_kv_heads * cfg.head_dim
  # Query and output, key and value.
  return Counter(attention=matmul_flops(cfg.d_model, 2 * query_width + 2 * kv_width))


def latent_parameter_counts(cfg: ModelConfig) -> Counter[str]:
  """Returns {kind: number of parameters} of one layer of multi-head latent attention.

  Normalizations of latents have the kind 'normalization'.
  """
  assert cfg.kv_latent_dim is not None
  query_width = cfg.n_heads * cfg.head_dim
  # Number of coordinates of a head that do not rotate.
  fixed_dim = cfg.head_dim - cfg.rotary_head_dim

  # Projection to queries, directly or through a latent.
  query = parameter_count(cfg.d_model, query_width, False)
  norms = norm_size(cfg, cfg.kv_latent_dim)
  if cfg.query_latent_dim is not None:
    down = parameter_count(cfg.d_model, cfg.query_latent_dim, cfg.qkv_bias)
    query = down + cfg.query_latent_dim * query_width
    norms += norm_size(cfg, cfg.query_latent_dim)

  # Projections to the latent and the rotating key, then to keys and values of the heads, and
  # the output projection.
  latent = parameter_count(
    cfg.d_model, cfg.kv_latent_dim + cfg.rotary_head_dim, cfg.qkv_bias
  )
  key_and_value_up = cfg.kv_latent_dim * cfg.n_heads * (fixed_dim + cfg.value_head_dim)
  output = parameter_count(
    cfg.n_heads * cfg.value_head_dim, cfg.d_model, cfg.attention_output_bias
  )
  return Counter(
    normalization=norms, attention=query + latent + key_and_value_up + output
  )


def latent_weight_flops(cfg: ModelConfig) -> Counter[str]:
  """Returns the forward FLOPs of one layer's projections for one token, by kind."""
  assert cfg.kv_latent_dim is not None
  query_width = cfg.n_heads * cfg.head_dim
  fixed_dim = cfg.head_dim - cfg.rotary_head_dim

  # The same products as in `latent_parameter_counts`.
  query = matmul_flops(cfg.d_model, query_width)
  if cfg.query_latent_dim is not None:
    # Down from d_model to the latent, and up from the latent to the queries.
    query = matmul_flops(cfg.query_latent_dim, cfg.d_model + query_width)
  latent = matmul_flops(cfg.d_model, cfg.kv_latent_dim + cfg.rotary_head_dim)
  key_and_value_up = matmul_flops(
    cfg.kv_latent_dim, cfg.n_heads * (fixed_dim + cfg.value_head_dim)
  )
  output = matmul_flops(cfg.n_heads * cfg.value_head_dim, cfg.d_model)
  return Counter(attention=query + latent + key_and_value_up + output)


def pair_flops(cfg: ModelConfig) -> int:
  """Returns the forward FLOPs of one layer for one pair of a query and a key.

  In each head, a pair has two products: the logit, and the value times its weight.
  """
  value_dim = cfg.value_head_dim if cfg.has_latent_attention else cfg.head_dim
  return 2 * cfg.n_heads * (cfg.head_dim + value_dim)


def pairs(
  seq_len: int,
  window: int | None,
  causal: bool,
  both_sides: bool = False,
  chunked: bool = False,
) -> int:
  """Returns the number of pairs of a query and a key in one layer, for one sequence.

  With T tokens and a window of w < T tokens, the number is T^2 if all pairs are counted,
  T (T + 1) / 2 if the mask is causal, and T w - w (w - 1) / 2 if it is causal with a window.

  Args:
    seq_len: Number of tokens, T.
    window: Largest number of tokens to which a token attends, itself included (on each side
      if `both_sides`). None stands for all.
    causal: If True, only the pairs that the mask keeps are counted, for an encoder too. If
      False, all pairs are counted, because a dense product computes all of them.
    both_sides: True if the mask keeps later tokens too, as in an encoder.
    chunked: True if the window is a chunk, and a token attends to earlier tokens of the
      same chunk.
  """
  if not causal:
    return seq_len**2
  # A chunk of w tokens has w (w + 1) / 2 pairs.
  w = min(window or seq_len, seq_len)
  if chunked and window:
    n_full_chunks, rest = divmod(seq_len, w)
    return n_full_chunks * (w * (w + 1) // 2) + rest * (rest + 1) // 2
  # Pairs of a query with its own token and with earlier tokens. An encoder has as many pairs with
  # the own token and with later tokens. The `seq_len` pairs with the own token count once.
  behind = seq_len * w - w * (w - 1) // 2
  return 2 * behind - seq_len if both_sides else behind


def sequence_flops(
  cfg: ModelConfig, seq_len: int, window: int | None, causal: bool
) -> int:
  """Returns the forward FLOPs of one layer's logits and weighted values, for one sequence.

  See `pairs` for the arguments.
  """
  n_pairs = pairs(
    seq_len,
    window,
    causal,
    both_sides=not cfg.is_causal,
    chunked=bool(cfg.attention_chunk),
  )
  return n_pairs * pair_flops(cfg)


def cache_arrays(cfg: ModelConfig) -> tuple[CacheArray, ...]:
  """Returns the arrays of the cache of one layer.

  These are keys and values of the decoder's tokens, and with an encoder also of its tokens.
  """
  shape = (cfg.n_kv_heads, cfg.head_dim)
  arrays = [CacheArray(shape, cfg.dtype, tokens='decoder')] * 2
  if cfg.is_encoder_decoder:
    arrays += [CacheArray(shape, cfg.dtype, tokens='encoder')] * 2
  return tuple(arrays)


def latent_cache_arrays(cfg: ModelConfig) -> tuple[CacheArray, ...]:
  """Returns the arrays of the cache of one layer: latents, and the rotated part of the keys."""
  assert cfg.kv_latent_dim is not None
  return (
    CacheArray((cfg.kv_latent_dim,), cfg.dtype, tokens='decoder'),
    CacheArray((cfg.rotary_head_dim,), cfg.dtype, tokens='decoder'),
  )


LATENT_ATTENTION = MixerSpec(
  layer='lmhp.model.attention.latent:LatentAttention',
  parameter_counts=latent_parameter_counts,
  weight_flops=latent_weight_flops,
  cache_arrays=latent_cache_arrays,
  sequence_flops=sequence_flops,
)

MULTI_HEAD_ATTENTION = MixerSpec(
  layer='lmhp.model.attention.multi_head:Attention',
  parameter_counts=parameter_counts,
  weight_flops=weight_flops,
  cache_arrays=cache_arrays,
  sequence_flops=sequence_flops,
  needs_decoder=False,
  variant=lambda cfg: (
    LATENT_ATTENTION if cfg.has_latent_attention else MULTI_HEAD_ATTENTION
  ),
)

register_mixer('attention', MULTI_HEAD_ATTENTION)
