"""Fields and keys of the rotary scaling types: linear, dynamic, llama3, yarn, longrope."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import math
from typing import TypeAlias

from lmhp.hub.families.config_reader import REQUIRED, ConfigReader
from lmhp.hub.families.converters import ConfigKeys, ModelFields
from lmhp.model.config import ModelConfig

ScalingReader: TypeAlias = (
  'Callable[[ConfigReader, int | None, ModelConfig], ModelFields]'
)
"""Reads the fields of a scaling type.

Its arguments are the reader of the object rope_scaling, the value of
original_max_position_embeddings outside of this object (None if it is absent), and the model.
"""


def write_scaling(cfg: ModelConfig) -> ConfigKeys:
  """Returns the object rope_scaling of a model. Empty if it has no scaling."""
  scaling_type = cfg.rotary_scaling
  if scaling_type == 'none':
    return {}
  keys: ConfigKeys = {
    'rope_type': scaling_type,
    'factor': cfg.rotary_scaling_factor,
  }
  # These types compare wavelengths or lengths with the context before scaling.
  if scaling_type in ('llama3', 'yarn', 'longrope'):
    keys['original_max_position_embeddings'] = cfg.rotary_original_max_seq_len
  if scaling_type == 'llama3':
    keys['low_freq_factor'] = cfg.rotary_low_frequency_factor
    keys['high_freq_factor'] = cfg.rotary_high_frequency_factor
  if scaling_type == 'yarn':
    keys['beta_fast'] = cfg.rotary_beta_fast
    keys['beta_slow'] = cfg.rotary_beta_slow
    if not cfg.rotary_truncate:
      keys['truncate'] = False
  if scaling_type == 'longrope':
    keys['short_factor'] = list(cfg.rotary_short_factor)
    keys['long_factor'] = list(cfg.rotary_long_factor)
  if scaling_type in ('yarn', 'longrope') and cfg.rotary_attention_factor is not None:
    keys['attention_factor'] = cfg.rotary_attention_factor
  return keys


def yarn_magnitude(factor: float, mscale: float) -> float:
  """Returns the factor by which yarn multiplies rotated queries and keys.

  Args:
    factor: Ratio of the new context to the original one.
    mscale: Weight of the logarithm.

  >>> yarn_magnitude(1.0, 0.7)
  1.0
  """
  # 0.1 * mscale * ln(factor) + 1. Source: YaRN, arXiv:2309.00071, and DeepSeek V2.
  return 0.1 * mscale * math.log(factor) + 1 if factor > 1 else 1.0


def _read_factor(
  inner: ConfigReader, cfg: ModelConfig, original_length: int | None
) -> float:
  """Returns the scaling factor. If it is absent, it is the ratio of the two contexts."""
  factor = inner.take('factor', None, float, None)
  if factor is not None:
    return factor
  if original_length is None:
    raise inner.error('factor', None, 'a number of at least 1')
  return cfg.max_seq_len / original_length


def _read_original_length(
  inner: ConfigReader, outer_length: int | None, cfg: ModelConfig
) -> int:
  """Returns the context before scaling, in tokens. The outer key takes precedence."""
  inner_length = inner.take('original_max_position_embeddings', None, int, None)
  # Without an outer key, the length is in the object. If it is not there either, it is the
  # context of the model.
  if outer_length is None:
    length = inner_length or cfg.max_seq_len
  else:
    length = outer_length
  if length < 1:
    accepted = 'a whole number of at least 1'
    raise inner.error('original_max_position_embeddings', length, accepted)
  return length


# --- one reader for each scaling type -----------------------------------------------


def _read_linear(
  inner: ConfigReader, outer_length: int | None, cfg: ModelConfig
) -> ModelFields:
  del outer_length
  return {'rotary_scaling_factor': _read_factor(inner, cfg, None)}


def _read_llama3(
  inner: ConfigReader, outer_length: int | None, cfg: ModelConfig
) -> ModelFields:
  return {
    'rotary_scaling_factor': _read_factor(inner, cfg, None),
    'rotary_original_max_seq_len': _read_original_length(inner, outer_length, cfg),
    'rotary_low_frequency_factor': inner.take('low_freq_factor', REQUIRED, float),
    'rotary_high_frequency_factor': inner.take('high_freq_factor', REQUIRED, float),
  }


def _read_yarn(
  inner: ConfigReader, outer_length: int | None, cfg: ModelConfig
) -> ModelFields:
  original_length = _read_original_length(inner, outer_length, cfg)
  factor = _read_factor(inner, cfg, original_length)
  attention_factor = inner.take('attention_factor', None, float, None)
  mscale = inner.take('mscale', None, float, None)
  mscale_all_dim = inner.take('mscale_all_dim', None, float, None)
  # attention_factor = magnitude(mscale) / magnitude(mscale_all_dim), as in DeepSeek V2.
  if attention_factor is None and mscale and mscale_all_dim:
    magnitude = yarn_magnitude(factor, mscale)
    attention_factor = magnitude / yarn_magnitude(factor, mscale_all_dim)
  return {
    'rotary_scaling_factor': factor,
    'rotary_original_max_seq_len': original_length,
    'rotary_beta_fast': inner.take('beta_fast', None, float, None) or 32.0,
    'rotary_beta_slow': inner.take('beta_slow', None, float, None) or 1.0,
    'rotary_attention_factor': attention_factor,
    'rotary_truncate': inner.take('truncate', True, bool),
  }


def _read_longrope(
  inner: ConfigReader, outer_length: int | None, cfg: ModelConfig
) -> ModelFields:
  original_length = _read_original_length(inner, outer_length, cfg)
  factor = max(_read_factor(inner, cfg, original_length), 1.0)
  attention_factor = inner.take('attention_factor', None, float, None)
  if attention_factor is None:
    attention_factor = 1.0
    if factor > 1 and original_length > 1:
      # sqrt(1 + ln(factor) / ln(original length)). Source: LongRoPE, arXiv:2402.13753.
      ratio = math.log(factor) / math.log(original_length)
      attention_factor = math.sqrt(1 + ratio)
  return {
    'rotary_scaling_factor': factor,
    'rotary_original_max_seq_len': original_length,
    'rotary_attention_factor': attention_factor,
    'rotary_short_factor': tuple(inner.take('short_factor', [], list)),
    'rotary_long_factor': tuple(inner.take('long_factor', [], list)),
  }


SCALINGS: Mapping[str, ScalingReader] = {
  'linear': _read_linear,
  'dynamic': _read_linear,
  'llama3': _read_llama3,
  'yarn': _read_yarn,
  'longrope': _read_longrope,
}
"""{scaling type: function that reads its fields}."""
