"""Rotary positions as config.json has them: the older rope_theta and rope_scaling, the newer rope_parameters.

Source: transformers 5, `modeling_rope_utils.py`, whose precedence is followed: what stands inside the object goes
before what stands beside it, but for original_max_position_embeddings, where it is the other way round.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from lmhp.errors import ConfigError
from lmhp.hub.families.family import REQUIRED, Entries
from lmhp.model.config import ModelConfig

_LAYERS = {'full_attention': 'global', 'sliding_attention': 'local'}
_TYPES = ('default', 'linear', 'dynamic', 'llama3', 'yarn', 'longrope')


@dataclasses.dataclass(frozen=True)
class Rotary:
  """The part that reads rotary positions.

  Attributes:
    base: transformers' default base.
    base_key: its key beside the object.
    fraction: default share of a head that rotates; None where the family always rotates all.
    fraction_key: its key beside the object.
    base_local: default base of windowed layers, where it has a key of its own (Gemma 3).
    base_local_key: that key.
    scales_global_alone: rope_scaling concerns the layers without window alone (Gemma 3, OLMo 3).
    original: default original_max_position_embeddings; None is max_position_embeddings.
    longrope_names: names of the longrope scaling.
    default_scaling: what the object holds where it is absent (gpt-oss).
  """

  base: float = 10_000.0
  base_key: str = 'rope_theta'
  fraction: float | None = None
  fraction_key: str = 'partial_rotary_factor'
  base_local: float | None = None
  base_local_key: str = 'rope_local_base_freq'
  scales_global_alone: bool = False
  original: int | None = None
  longrope_names: tuple[str, ...] = ('longrope',)
  default_scaling: tuple[tuple[str, Any], ...] = ()

  def __call__(self, entries: Entries, cfg: ModelConfig) -> dict[str, Any]:
    beside = {
      'base': entries.take(self.base_key, self.base, float),
      'fraction': entries.take(self.fraction_key, self.fraction, float, None),
      'original': entries.take(
        'original_max_position_embeddings', self.original, int, None
      ),
    }
    local = dict(beside)
    if self.base_local is not None:
      local['base'] = entries.take(self.base_local_key, self.base_local, float)
    by_layer = self._by_layer(entries)
    read = {
      _LAYERS[layer]: self._read(
        entries, part, local if layer == 'sliding_attention' else beside, cfg
      )
      for layer, part in by_layer.items()
    }
    read = {
      layer: fields for layer, fields in read.items() if layer in cfg.attention_pattern
    }
    fields = next(iter(read.values()))
    if len(read) == 2:
      fields |= self._merge(entries, read['global'], read['local'])
    return {'position': 'rotary'} | fields

  def write(self, cfg: ModelConfig) -> dict[str, Any]:
    """The keys of the older form, which old and new readers know."""
    if cfg.position != 'rotary':
      return {}
    keys = {self.base_key: cfg.rotary_base}
    if self.fraction is not None:
      keys[self.fraction_key] = cfg.rotary_fraction
    if self.base_local is not None:
      keys[self.base_local_key] = cfg.rotary_base_local
    scaling = _scaling(cfg) or (
      {'rope_type': 'default'} if self.default_scaling else {}
    )
    if self.original is not None and 'original_max_position_embeddings' in scaling:
      keys['original_max_position_embeddings'] = scaling.pop(
        'original_max_position_embeddings'
      )
    return keys | ({'rope_scaling': scaling} if scaling else {})

  def _by_layer(self, entries: Entries) -> dict[str, Entries]:
    """The object that holds for each type of layer."""
    older, newer = entries.inner('rope_scaling'), entries.inner('rope_parameters')
    empty = Entries(dict(self.default_scaling), entries.source, 'rope_parameters.')
    if older and newer:
      raise ConfigError(
        f'{entries.source}: rope_scaling: stands beside rope_parameters, expected one of the two'
      )
    if newer and newer.holds(*_LAYERS):
      layers = {layer: newer.inner(layer) or empty for layer in _LAYERS}
      newer.close()
      return layers
    if newer and self.base_local is not None:
      raise ConfigError(
        f'{entries.source}: rope_parameters: expected an object for each of '
        + ', '.join(_LAYERS)
      )
    both = older or newer or empty
    return {
      'full_attention': both,
      'sliding_attention': empty if self.scales_global_alone and older else both.copy(),
    }

  def _read(
    self, entries: Entries, part: Entries, beside: dict[str, Any], cfg: ModelConfig
  ) -> dict[str, Any]:
    """The fields that one object gives, with what stands beside it."""
    kind = self._kind(part)
    fraction = part.take('partial_rotary_factor', beside['fraction'], float, None)
    if self.fraction is None and fraction not in (None, 1.0):
      raise entries.wrong(
        self.fraction_key, fraction, '1.0: models of this type rotate whole heads'
      )
    fields = {
      'rotary_base': part.take('rope_theta', beside['base'], float),
      'rotary_fraction': 1.0 if fraction is None else fraction,
      'rotary_scaling': 'none' if kind == 'default' else kind,
    }
    if kind != 'default':
      fields |= _SCALINGS[kind](part, beside['original'], cfg)
    part.drop(['finetuned'])
    part.close()
    return fields

  def _kind(self, part: Entries) -> str:
    old, new = (
      part.take('type', None, str, None),
      part.take('rope_type', None, str, None),
    )
    if old and new and old != new:
      raise part.wrong('type', old, f'the same as rope_type={new!r}')
    kind = new or old or 'default'
    kind = 'longrope' if kind in self.longrope_names else kind
    if kind not in _TYPES:
      raise part.wrong('rope_type', kind, 'one of ' + ', '.join(_TYPES))
    return kind

  def _merge(
    self, entries: Entries, everywhere: dict[str, Any], local: dict[str, Any]
  ) -> dict[str, Any]:
    """Windowed layers may have a base of their own and may be left unscaled; all else must agree."""
    if local['rotary_scaling'] == 'none' != everywhere['rotary_scaling']:
      if everywhere['rotary_fraction'] == local['rotary_fraction']:
        return {
          'rotary_base_local': local['rotary_base'],
          'rotary_scaling_local': False,
        }
    for name in sorted(everywhere | local):
      if name != 'rotary_base' and everywhere.get(name) != local.get(name):
        raise ConfigError(
          f'{entries.source}: rope_parameters: {name} is {everywhere.get(name)} in full_attention and '
          f'{local.get(name)} in sliding_attention, expected the same in both'
        )
    return {'rotary_base_local': local['rotary_base']}


def _scaling(cfg: ModelConfig) -> dict[str, Any]:
  """The object rope_scaling of a model, empty where nothing stretches."""
  kind = cfg.rotary_scaling
  if kind == 'none':
    return {}
  scaling = {'rope_type': kind, 'factor': cfg.rotary_scaling_factor}
  if kind in ('llama3', 'yarn', 'longrope'):
    scaling['original_max_position_embeddings'] = cfg.rotary_original_max_seq_len
  if kind == 'llama3':
    scaling |= {
      'low_freq_factor': cfg.rotary_low_frequency_factor,
      'high_freq_factor': cfg.rotary_high_frequency_factor,
    }
  if kind == 'yarn':
    scaling |= {'beta_fast': cfg.rotary_beta_fast, 'beta_slow': cfg.rotary_beta_slow}
    scaling |= {} if cfg.rotary_truncate else {'truncate': False}
  if kind == 'longrope':
    scaling |= {
      'short_factor': list(cfg.rotary_short_factor),
      'long_factor': list(cfg.rotary_long_factor),
    }
  if kind in ('yarn', 'longrope') and cfg.rotary_attention_factor is not None:
    scaling['attention_factor'] = cfg.rotary_attention_factor
  return scaling


def _factor(part: Entries, cfg: ModelConfig, original: int | None) -> float:
  """The stretch; where it is absent, the ratio of the two contexts."""
  factor = part.take('factor', None, float, None)
  if factor is None and original is None:
    raise part.wrong('factor', None, 'a number of at least 1')
  return cfg.max_seq_len / original if factor is None else factor


def _original(part: Entries, beside: int | None, cfg: ModelConfig) -> int:
  inside = part.take('original_max_position_embeddings', None, int, None)
  original = inside or cfg.max_seq_len if beside is None else beside
  if original < 1:
    raise part.wrong(
      'original_max_position_embeddings', original, 'a whole number of at least 1'
    )
  return original


def _plain(part: Entries, beside: int | None, cfg: ModelConfig) -> dict[str, Any]:
  return {'rotary_scaling_factor': _factor(part, cfg, None)}


def _llama3(part: Entries, beside: int | None, cfg: ModelConfig) -> dict[str, Any]:
  return {
    'rotary_scaling_factor': _factor(part, cfg, None),
    'rotary_original_max_seq_len': _original(part, beside, cfg),
    'rotary_low_frequency_factor': part.take('low_freq_factor', REQUIRED, float),
    'rotary_high_frequency_factor': part.take('high_freq_factor', REQUIRED, float),
  }


def _yarn(part: Entries, beside: int | None, cfg: ModelConfig) -> dict[str, Any]:
  original = _original(part, beside, cfg)
  factor = _factor(part, cfg, original)
  own = part.take('attention_factor', None, float, None)
  above, below = (
    part.take('mscale', None, float, None),
    part.take('mscale_all_dim', None, float, None),
  )
  if own is None and above and below:
    own = magnitude(factor, above) / magnitude(factor, below)
  return {
    'rotary_scaling_factor': factor,
    'rotary_original_max_seq_len': original,
    'rotary_beta_fast': part.take('beta_fast', None, float, None) or 32.0,
    'rotary_beta_slow': part.take('beta_slow', None, float, None) or 1.0,
    'rotary_attention_factor': own,
    'rotary_truncate': part.take('truncate', True, bool),
  }


def magnitude(factor: float, scale: float) -> float:
  """Yarn's factor on what is rotated, weighed by a scale."""
  return 0.1 * scale * math.log(factor) + 1 if factor > 1 else 1.0


def _longrope(part: Entries, beside: int | None, cfg: ModelConfig) -> dict[str, Any]:
  original = _original(part, beside, cfg)
  factor = max(_factor(part, cfg, original), 1.0)
  own = part.take('attention_factor', None, float, None)
  if own is None:
    own = (
      math.sqrt(1 + math.log(factor) / math.log(original))
      if factor > 1 and original > 1
      else 1.0
    )
  return {
    'rotary_scaling_factor': factor,
    'rotary_original_max_seq_len': original,
    'rotary_attention_factor': own,
    'rotary_short_factor': tuple(part.take('short_factor', [], list)),
    'rotary_long_factor': tuple(part.take('long_factor', [], list)),
  }


_SCALINGS = {
  'linear': _plain,
  'dynamic': _plain,
  'llama3': _llama3,
  'yarn': _yarn,
  'longrope': _longrope,
}
