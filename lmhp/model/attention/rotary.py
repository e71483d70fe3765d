"""Rotary positions: frequencies, their scaling to longer contexts, and the rotation.

P is the number of pairs of coordinates that rotate.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from lmhp.model.batch import Array
from lmhp.model.config import ModelConfig

Frequencies = npt.NDArray[np.float64]
"""Rotation of each pair of coordinates, (P,) radians per token."""

TracedFrequencies = Frequencies | jax.Array
"""`Frequencies`, or a float32 array of a program if they depend on a traced length."""


class RotaryTable(NamedTuple):
  """Cosines and sines of the rotation angles, times the factor on rotated queries and keys.

  The axis of size 1 stands for the heads.

  Attributes:
    cos_BL1P: (B, L, 1, P) float32. B may be 1.
    sin_BL1P: (B, L, 1, P) float32. B may be 1.
  """

  cos_BL1P: jax.Array
  sin_BL1P: jax.Array


def rotary_table(
  cfg: ModelConfig, local: bool, positions_BL: Array, length: jax.Array | int
) -> RotaryTable:
  """Returns the cosines and sines for layers with local or with global attention.

  Args:
    cfg: Config of the model.
    local: True for layers with local attention, which may have another base and no scaling.
      False for layers with global attention.
    positions_BL: (B, L) int32.
    length: Number of tokens so far, those in the cache included. It is traced if there is a
      cache.
  """
  # angle = position * frequency
  base = cfg.rotary_base_local if local else cfg.rotary_base
  is_scaled = cfg.rotary_scaling_local or not local
  frequencies, factor = rotary_frequencies(cfg, base, length, is_scaled)
  frequencies = frequencies.reshape(1, 1, 1, -1).astype(np.float32)
  angles = positions_BL.astype(jnp.float32)[..., None, None] * frequencies
  return RotaryTable(jnp.cos(angles) * factor, jnp.sin(angles) * factor)


def rotate(x_BLHK: jax.Array, table: RotaryTable, interleaved: bool) -> jax.Array:
  """Rotates the first 2P coordinates of each head, and leaves the others unchanged.

  Args:
    x_BLHK: (B, L, H, K) float32, queries or keys.
    table: Cosines and sines of the angles.
    interleaved: If True, the coordinates 2i and 2i + 1 are a pair (GPT-J). If False, i and
      i + P are a pair (GPT-NeoX, Llama).
  """
  # Pairs of coordinates (a, b).
  n_pairs = table.cos_BL1P.shape[-1]
  rotating = x_BLHK[..., : 2 * n_pairs]
  rest = x_BLHK[..., 2 * n_pairs :]
  if interleaved:
    a = rotating[..., 0::2]
    b = rotating[..., 1::2]
  else:
    a = rotating[..., :n_pairs]
    b = rotating[..., n_pairs:]

  # (a, b) -> (a cos - b sin, b cos + a sin)
  cos = jnp.broadcast_to(table.cos_BL1P, a.shape)
  sin = jnp.broadcast_to(table.sin_BL1P, a.shape)
  rotated_a = a * cos - b * sin
  rotated_b = b * cos + a * sin

  # Coordinates in their former order.
  if interleaved:
    rotated = jnp.stack([rotated_a, rotated_b], axis=-1).reshape(rotating.shape)
  else:
    rotated = jnp.concatenate([rotated_a, rotated_b], axis=-1)
  if not rest.shape[-1]:
    return rotated
  return jnp.concatenate([rotated, rest], axis=-1)


# --- frequencies --------------------------------------------------------------------


def rotary_frequencies(
  cfg: ModelConfig, base: float, length: jax.Array | int, is_scaled: bool = True
) -> tuple[TracedFrequencies, float]:
  """Returns the frequencies of the pairs, and a factor on rotated queries and keys.

  Frequency i is base ** (-i / P), before the change by `model.rotary_scaling`.

  Args:
    cfg: Config of the model.
    base: Base of the geometric sequence.
    length: Number of tokens so far, on which the scalings 'dynamic' and 'longrope' depend. A
      key in the cache keeps the frequencies of the length at which it was computed, as in
      Hugging Face transformers.
    is_scaled: If False, the scaling is left out, and the factor is 1.

  Returns:
    (P,) radians per token, and the factor. The frequencies are float64, or float32 if they
    depend on a traced length.

  Source: arXiv:2104.09864 eq. 15.
  """
  frequencies = base ** -(np.arange(0, cfg.rotary_dim, 2) / cfg.rotary_dim)
  if not is_scaled:
    return frequencies, 1.0

  # The scaling changes the frequencies, and may have a factor on queries and keys.
  attention_factor = 1.0
  if cfg.rotary_scaling == 'linear':
    frequencies = frequencies / cfg.rotary_scaling_factor
  elif cfg.rotary_scaling == 'dynamic':
    frequencies = _scale_dynamic(frequencies, cfg, length)
  elif cfg.rotary_scaling == 'llama3':
    frequencies = _scale_llama3(frequencies, cfg)
  elif cfg.rotary_scaling == 'yarn':
    frequencies = _scale_yarn(frequencies, cfg, base)
    attention_factor = 0.1 * math.log(cfg.rotary_scaling_factor) + 1.0
  elif cfg.rotary_scaling == 'longrope':
    frequencies = _scale_longrope(frequencies, cfg, length)
    attention_factor = _longrope_attention_factor(cfg)
  # A factor in the config replaces the factor of the scaling.
  return frequencies, cfg.rotary_attention_factor or attention_factor


def _scale_dynamic(
  frequencies: Frequencies, cfg: ModelConfig, length: jax.Array | int
) -> TracedFrequencies:
  """Increases the base if the sequence is longer than the trained context.

  Source: NTK-aware scaling, in the form of Hugging Face transformers.
  """
  width = cfg.rotary_dim
  factor = cfg.rotary_scaling_factor
  original = cfg.rotary_original_max_seq_len
  # With a single pair (width 2), the frequency is 1 for any base.
  if width <= 2:
    return frequencies
  # base' = base * stretch ** (width / (width - 2)), with
  # stretch = factor * length / original - (factor - 1), which is 1 at the original length.
  # So frequency i, base' ** (-2 i / width), is the unscaled one times
  # stretch ** (-2 i / (width - 2)).
  exponents = np.arange(0, width, 2) / (width - 2)
  if isinstance(length, int):
    stretch = factor * max(length, original) / original - (factor - 1)
    return frequencies * stretch**-exponents
  stretch = factor * jnp.maximum(length, original) / original - (factor - 1)
  powers = stretch ** -exponents.astype(np.float32)
  return jnp.asarray(frequencies, jnp.float32) * powers


def _scale_llama3(frequencies: Frequencies, cfg: ModelConfig) -> Frequencies:
  """Divides low frequencies by the factor, keeps high ones, and interpolates between.

  Source: Llama 3.1's model card (https://huggingface.co/meta-llama/Llama-3.1-8B).
  """
  # kept is the fraction of a frequency that is not divided. It is 0 for fewer full turns
  # within the trained context than `low`, 1 for more than `high`, and linear between.
  turns = cfg.rotary_original_max_seq_len * frequencies / (2 * math.pi)
  low = cfg.rotary_low_frequency_factor
  high = cfg.rotary_high_frequency_factor
  if high > low:
    kept = np.clip((turns - low) / (high - low), 0, 1)
  else:
    kept = (turns > low) * 1.0
  return kept * frequencies + (1 - kept) * frequencies / cfg.rotary_scaling_factor


def _scale_yarn(frequencies: Frequencies, cfg: ModelConfig, base: float) -> Frequencies:
  """Divides the low frequencies by the factor, keeps the high ones, and interpolates between.

  A frequency is low if it makes few full turns within the trained context.

  Source: arXiv:2309.00071 eq. 23.
  """
  # `divided`, the fraction of a frequency that is divided, rises from 0 at index `low` to 1
  # at index `high`. Both indices are rounded and clipped as in the authors' code.
  width = cfg.rotary_dim
  low = _yarn_index(cfg, base, turns=cfg.rotary_beta_fast)
  high = _yarn_index(cfg, base, turns=cfg.rotary_beta_slow)
  if cfg.rotary_truncate:
    low = math.floor(low)
    high = math.ceil(high)
  low = max(low, 0)
  high = min(high, width - 1)
  # 0.001 avoids a division by zero if both indices are equal.
  ramp = (np.arange(width // 2) - low) / max(high - low, 0.001)
  divided = np.clip(ramp, 0, 1)
  return divided * frequencies / cfg.rotary_scaling_factor + (1 - divided) * frequencies


def _yarn_index(cfg: ModelConfig, base: float, turns: float) -> float:
  """Returns the index, not rounded, of the frequency with `turns` turns in the context."""
  # turns = length * base ** (-2 index / width) / (2 pi), solved for the index
  log_ratio = math.log(cfg.rotary_original_max_seq_len / (turns * 2 * math.pi))
  return cfg.rotary_dim * log_ratio / (2 * math.log(base))


def _scale_longrope(
  frequencies: Frequencies, cfg: ModelConfig, length: jax.Array | int
) -> TracedFrequencies:
  """Divides each frequency by its own factor, for short or for long sequences.

  Source: arXiv:2402.13753.
  """
  short = frequencies / np.array(cfg.rotary_short_factor)
  long = frequencies / np.array(cfg.rotary_long_factor)
  is_long = length > cfg.rotary_original_max_seq_len
  if isinstance(is_long, bool):
    return long if is_long else short
  return jnp.where(is_long, long.astype(np.float32), short.astype(np.float32))


def _longrope_attention_factor(cfg: ModelConfig) -> float:
  # factor = sqrt(1 + log(stretch) / log(original)), with stretch the ratio of the longest
  # sequence to the trained context
  original = cfg.rotary_original_max_seq_len
  stretch = max(cfg.max_seq_len / original, 1.0)
  return math.sqrt(1 + math.log(stretch) / math.log(original))
