"""Fields and keys of the rotary scaling types: linear, dynamic, llama3, yarn, longrope."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import math
from typing import TypeAlias

from lmhp.hub.families.converters import REQUIRED, ConfigKeys, ConfigReader, ModelFields
from lmhp.model.config import ModelConfig

ScalingReader: TypeAlias = (
  'Callable[[ConfigReader, int | None, ModelConfig], ModelFields]'
)
"""Reads the fields of a scaling type.

Its arguments are:

1. The reader of the object rope_scaling or rope_parameters ("inner" keys).
2. The value of original_max_position_embeddings outside of the object, None if it is absent.
3. The model, with the fields so far.
"""

_FIELDS_BY_SCALING = {
  'linear': {},
  'dynamic': {},
  'llama3': {
    'original_max_position_embeddings': 'rotary_original_max_seq_len',
    'low_freq_factor': 'rotary_low_frequency_factor',
    'high_freq_factor': 'rotary_high_frequency_factor',
  },
  'yarn': {
    'original_max_position_embeddings': 'rotary_original_max_seq_len',
    'beta_fast': 'rotary_beta_fast',
    'beta_slow': 'rotary_beta_slow',
    'truncate': 'rotary_truncate',
    'attention_factor': 'rotary_attention_factor',
  },
  'longrope': {
    'original_max_position_embeddings': 'rotary_original_max_seq_len',
    'short_factor': 'rotary_short_factor',
    'long_factor': 'rotary_long_factor',
    'attention_factor': 'rotary_attention_factor',
  },
}
"""{scaling type: {key of the object: field of `ModelConfig`}}.

The key factor, which all types have, is left out.
"""


def write_scaling(cfg: ModelConfig) -> ConfigKeys:
  """Returns the object rope_scaling of a model. Empty if it has no scaling."""
  scaling_type = cfg.rotary_scaling
  if scaling_type == 'none':
    return {}
  keys: ConfigKeys = {'rope_type': scaling_type, 'factor': cfg.rotary_scaling_factor}
  for key, field in _FIELDS_BY_SCALING[scaling_type].items():
    value = getattr(cfg, field)
    # A key with its default is left out: None, or True for truncate.
    if value is not None and value is not True:
      keys[key] = list(value) if isinstance(value, tuple) else value
  return keys


def yarn_magnitude(factor: float, mscale: float) -> float:
  """Returns the factor by which yarn multiplies rotated queries and keys.

  Args:
    factor: Ratio of the new context to the original one.
    mscale: Coefficient of the logarithm of `factor`.

  >>> yarn_magnitude(1.0, 0.7)
  1.0
  """
  # 0.1 * mscale * ln(factor) + 1. Source: YaRN, arXiv:2309.00071, and DeepSeek V2.
  return 0.1 * mscale * math.log(factor) + 1 if factor > 1 else 1.0


def _read_factor(
  inner: ConfigReader, cfg: ModelConfig, original_length: int | None
) -> float:
  """Returns the scaling factor.

  Without the key factor, it is `cfg.max_seq_len / original_length`. If `original_length` is None,
  the key is required.
  """
  factor = inner.take('factor', None, float, None)
  if factor is not None:
    return factor
  if original_length is None:
    raise inner.error('factor', None, 'a number of at least 1')
  return cfg.max_seq_len / original_length


def _read_original_length(
  inner: ConfigReader, outer_length: int | None, cfg: ModelConfig
) -> int:
  """Returns the context length before scaling, in tokens.

  The first one that is present is used: `outer_length`, the inner key, the context of the model.
  """
  inner_length = inner.take('original_max_position_embeddings', None, int, None)
  length = (inner_length or cfg.max_seq_len) if outer_length is None else outer_length
  accepted = 'a whole number of at least 1'
  inner.require(length >= 1, 'original_max_position_embeddings', length, accepted)
  return length


# --- one reader for each scaling type -----------------------------------------------


def _read_linear(
  inner: ConfigReader, outer_length: int | None, cfg: ModelConfig
) -> ModelFields:
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
  # If the context is shorter than the original one, the ratio is below 1, which ModelConfig does
  # not accept.
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
  'dynamic': _read_linear,  # has the same key
  'llama3': _read_llama3,
  'yarn': _read_yarn,
  'longrope': _read_longrope,
}
"""{scaling type: function that reads its fields}. The type 'default' has no scaling."""
