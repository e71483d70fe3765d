"""How a model knows order: learned and sinusoidal tables, rotary angles, ALiBi slopes, T5 buckets."""

from __future__ import annotations

from collections import Counter
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from lmhp.model.config import ModelConfig


class Positional(nn.Module):
  """Adds a row for each position: learned, or sines and cosines.

  Source: arXiv:1706.03762 section 3.5; the sinusoids stand side by side, as in tensor2tensor, not interleaved.
  """

  cfg: ModelConfig

  @nn.compact
  def __call__(self, x_BLD: jax.Array, positions_BL: jax.Array) -> jax.Array:
    cfg, rows_BL = self.cfg, positions_BL + self.cfg.position_offset
    if cfg.position == 'learned':
      table = self.param(
        'table', nn.initializers.zeros_init(), (cfg.learned_positions, cfg.table_width)
      )
      return x_BLD + jnp.broadcast_to(table[rows_BL], x_BLD.shape)
    return x_BLD + jnp.broadcast_to(sinusoids(rows_BL, cfg.table_width), x_BLD.shape)


def sinusoids(positions_BL: jax.Array, width: int) -> jax.Array:
  """(B, L, D) sines in the first half of D, cosines in the second, of wavelengths from 2 pi to 20,000 pi."""
  half = width // 2
  frequencies = np.exp(-math.log(10_000) * np.arange(half) / max(half - 1, 1)).astype(
    np.float32
  )
  angles = positions_BL.astype(jnp.float32)[..., None] * frequencies.reshape(1, 1, -1)
  return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


# --- rotary ---------------------------------------------------------------------------------------------------------


def rotary_frequencies(
  cfg: ModelConfig, base: float, length: int, scaled: bool = True
) -> tuple[np.ndarray, float]:
  """Angular frequencies of the rotated pairs, stretched as the config says.

  Args:
    cfg: its rotary fields are read.
    base: of the geometric sequence.
    length: tokens attended to; dynamic and longrope depend on it.
    scaled: False leaves them as they are.

  Returns:
    (P,) float64 radians per token, and the factor on the rotated queries and keys.

  Source: arXiv:2104.09864 eq. 15; linear arXiv:2306.15595; dynamic: NTK-aware, in transformers' form; yarn
    arXiv:2309.00071 eq. 23; llama3: Llama 3.1's model card; longrope arXiv:2402.13753.
  """
  width, factor, original = (
    cfg.rotary_dim,
    cfg.rotary_scaling_factor,
    cfg.rotary_original_max_seq_len,
  )
  exponents = np.arange(0, width, 2) / width
  frequencies, attention_factor = base**-exponents, 1.0
  if not scaled:
    return frequencies, 1.0
  if cfg.rotary_scaling == 'linear':
    frequencies = frequencies / factor
  elif cfg.rotary_scaling == 'dynamic' and length > original and width > 2:
    stretch = factor * length / original - (factor - 1)
    frequencies = (base * stretch ** (width / (width - 2))) ** -exponents
  elif cfg.rotary_scaling == 'llama3':
    frequencies = _llama3(frequencies, cfg)
  elif cfg.rotary_scaling == 'yarn':
    frequencies = _yarn(frequencies, cfg, base)
    attention_factor = 0.1 * math.log(factor) + 1.0
  elif cfg.rotary_scaling == 'longrope':
    long = length > original
    frequencies = frequencies / np.array(
      cfg.rotary_long_factor if long else cfg.rotary_short_factor
    )
    stretch = max(cfg.max_seq_len / original, 1.0)
    attention_factor = (
      math.sqrt(1 + math.log(stretch) / math.log(original)) if stretch > 1 else 1.0
    )
  return frequencies, cfg.rotary_attention_factor or attention_factor


def _llama3(frequencies: np.ndarray, cfg: ModelConfig) -> np.ndarray:
  """Slow frequencies are divided by the factor, fast ones kept, those between blended."""
  turns = cfg.rotary_original_max_seq_len * frequencies / (2 * math.pi)
  low, high = cfg.rotary_low_frequency_factor, cfg.rotary_high_frequency_factor
  keep = (
    np.clip((turns - low) / (high - low), 0, 1) if high > low else (turns > low) * 1.0
  )
  return keep * frequencies + (1 - keep) * frequencies / cfg.rotary_scaling_factor


def _yarn(frequencies: np.ndarray, cfg: ModelConfig, base: float) -> np.ndarray:
  """Frequencies of few turns within the original context are interpolated, those of many kept."""
  width, original = cfg.rotary_dim, cfg.rotary_original_max_seq_len
  index_of = lambda turns: (
    width * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base))
  )
  low, high = index_of(cfg.rotary_beta_fast), index_of(cfg.rotary_beta_slow)
  low, high = (math.floor(low), math.ceil(high)) if cfg.rotary_truncate else (low, high)
  low, high = max(low, 0), min(high, width - 1)
  interpolate = np.clip((np.arange(width // 2) - low) / max(high - low, 0.001), 0, 1)
  return (
    interpolate * frequencies / cfg.rotary_scaling_factor
    + (1 - interpolate) * frequencies
  )


def rotary_table(
  cfg: ModelConfig, local: bool, positions_BL: jax.Array, length: int
) -> tuple[jax.Array, jax.Array]:
  """Cosines and sines of windowed or of global layers, each (B, L, 1, P) float32, for `rotate`."""
  base = cfg.rotary_base_local if local else cfg.rotary_base
  frequencies, factor = rotary_frequencies(
    cfg, base, length, scaled=cfg.rotary_scaling_local or not local
  )
  angles = positions_BL.astype(jnp.float32)[..., None, None] * frequencies.astype(
    np.float32
  ).reshape(1, 1, 1, -1)
  return jnp.cos(angles) * factor, jnp.sin(angles) * factor


def rotate(
  x_BLHK: jax.Array, cos_BL1P: jax.Array, sin_BL1P: jax.Array, interleaved: bool
) -> jax.Array:
  """Rotates the first 2P coordinates of each head; the rest passes.

  Args:
    x_BLHK: queries or keys.
    cos_BL1P: cosines; B may be 1.
    sin_BL1P: sines.
    interleaved: pairs are neighbours (2i, 2i+1), else (i, i+P).
  """
  pairs = cos_BL1P.shape[-1]
  turning, rest = x_BLHK[..., : 2 * pairs], x_BLHK[..., 2 * pairs :]
  if interleaved:
    a, b = turning[..., 0::2], turning[..., 1::2]
  else:
    a, b = turning[..., :pairs], turning[..., pairs:]
  cos, sin = jnp.broadcast_to(cos_BL1P, a.shape), jnp.broadcast_to(sin_BL1P, a.shape)
  a, b = a * cos - b * sin, b * cos + a * sin
  if interleaved:
    turned = jnp.stack([a, b], axis=-1).reshape(turning.shape)
  else:
    turned = jnp.concatenate([a, b], axis=-1)
  return jnp.concatenate([turned, rest], axis=-1) if rest.shape[-1] else turned


# --- biases on the attention logits ---------------------------------------------------------------------------------


def alibi_slopes(n_heads: int) -> np.ndarray:
  """(H,) float64, a geometric sequence; where n_heads is no power of two, the next one's odd members fill up.

  Source: arXiv:2108.12409 section 3 and its authors' rule for other head counts.
  """
  power = 2 ** math.floor(math.log2(n_heads))
  slopes = [2.0 ** (-8.0 * (i + 1) / power) for i in range(power)]
  extra = [2.0 ** (-4.0 * (i + 1) / power) for i in range(0, 2 * (n_heads - power), 2)]
  return np.array(slopes + extra)


def relative_bucket(
  distance: jax.Array, buckets: int, max_distance: int, both_sides: bool = False
) -> jax.Array:
  """The T5 bucket of how far back a key lies: exact below buckets/2, then logarithmic.

  Args:
    distance: int32, query position minus key position; keys ahead count as distance 0.
    buckets: how many there are.
    max_distance: from here on all is the last bucket.
    both_sides: keys ahead have the second half of the buckets to themselves, as an encoder's do.

  Source: arXiv:1910.10683 section 2.1.
  """
  if both_sides:
    ahead = jnp.where(distance < 0, buckets // 2, 0)
    return ahead + relative_bucket(jnp.abs(distance), buckets // 2, max_distance)
  distance = jnp.maximum(distance, 0)
  exact = buckets // 2
  ratio = jnp.log(jnp.maximum(distance, 1).astype(jnp.float32) / exact) / math.log(
    max_distance / exact
  )
  far = jnp.minimum(exact + (ratio * (buckets - exact)).astype(jnp.int32), buckets - 1)
  return jnp.where(distance < exact, distance, far)


class RelativeBias(nn.Module):
  """T5's bias on the attention logits, one table for all layers."""

  cfg: ModelConfig

  @nn.compact
  def __call__(self, distance_LM: jax.Array) -> jax.Array:
    """(1, H, L, M) float32 from (L, M) int32 distances."""
    cfg = self.cfg
    table_UH = self.param(
      'table', nn.initializers.zeros_init(), (cfg.relative_buckets, cfg.n_heads)
    )
    bucket_LM = relative_bucket(
      distance_LM, cfg.relative_buckets, cfg.relative_max_distance, not cfg.causal
    )
    return jnp.transpose(table_UH[bucket_LM], (2, 0, 1))[None]


def alibi_bias(
  n_heads: int, distance_LM: jax.Array, scale: float = 1.0, both_sides: bool = False
) -> jax.Array:
  """(1, H, L, M) float32: minus slope times distance, times a factor; on both sides, keys ahead count too."""
  slopes = (scale * alibi_slopes(n_heads)).astype(np.float32).reshape(1, -1, 1, 1)
  distance_LM = jnp.abs(distance_LM) if both_sides else distance_LM
  return -slopes * distance_LM.astype(jnp.float32)[None, None]


def parameter_counts(cfg: ModelConfig) -> Counter:
  """Parameters by kind: rows of the learned table, or T5's buckets."""
  t5 = (
    cfg.relative_buckets * cfg.n_heads * (1 + cfg.is_encoder_decoder)
    if cfg.position == 't5'
    else 0
  )  # one for each stack
  return Counter(positional=cfg.learned_positions * cfg.table_width + t5)
