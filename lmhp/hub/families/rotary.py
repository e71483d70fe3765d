"""Converter for rotary positions.

Older files have the key rope_theta and the nested object rope_scaling. Newer files have the nested
object rope_parameters, which includes rope_theta. In this file:

- "the object" is rope_scaling or rope_parameters;
- an inner key is in the object, and an outer key is outside of it, such as the older rope_theta;
- a global layer has no window, and a local layer has one.

An inner key takes precedence over the outer key with the same name. Only for
original_max_position_embeddings, the outer key takes precedence.

Source: transformers 5, `modeling_rope_utils.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses

from lmhp.errors import ConfigError
from lmhp.hub.families.converters import ConfigKeys, ConfigReader, ModelFields
from lmhp.hub.families.rotary_scaling import SCALINGS, write_scaling
from lmhp.hub.families.windows import LAYER_TYPES
from lmhp.model.config import ModelConfig
from lmhp.typing import JSON

_ORIGINAL_LENGTH = 'original_max_position_embeddings'
_SCALING_TYPES = ('default', *SCALINGS)


@dataclasses.dataclass(frozen=True)
class Rotary:
  """Converter for rotary positions.

  Attributes:
    base: Default base of Hugging Face transformers.
    base_key: Outer key of the base.
    fraction: Default fraction of each head that rotates. None if the family always rotates
      whole heads.
    fraction_key: Outer key of the fraction.
    base_local: Default base of the layers with a window. None if they have no separate base.
    base_local_key: Outer key of `base_local`.
    scales_only_global_layers: If True, rope_scaling applies only to the layers without a
      window (Gemma 3, OLMo 3). If False, it applies to all layers.
    original_length: Default of the outer key original_max_position_embeddings. If it is None,
      and a file has neither the outer nor the inner key, max_position_embeddings is used.
    longrope_names: Values of rope_type that mean longrope in files of the family.
    default_scaling: Content of the object if a file has none (gpt-oss).
  """

  base: float = 10_000.0
  base_key: str = 'rope_theta'
  fraction: float | None = None
  fraction_key: str = 'partial_rotary_factor'
  base_local: float | None = None
  base_local_key: str = 'rope_local_base_freq'
  scales_only_global_layers: bool = False
  original_length: int | None = None
  longrope_names: tuple[str, ...] = ('longrope',)
  default_scaling: Mapping[str, JSON] = dataclasses.field(default_factory=dict)

  def read(self, reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
    """Returns the fields `position` and `rotary_...`."""
    # The outer keys replace the defaults of the family. Inner keys override both.
    outer = dataclasses.replace(
      self,
      base=reader.take(self.base_key, self.base, float),
      fraction=reader.take(self.fraction_key, self.fraction, float, None),
      original_length=reader.take(_ORIGINAL_LENGTH, self.original_length, int, None),
    )
    outer_local = outer
    if self.base_local is not None:
      base_local = reader.take(self.base_local_key, self.base_local, float)
      outer_local = dataclasses.replace(outer, base=base_local)

    # Read the object of both layer types. Use only the types that the model has.
    fields_by_layer = {}
    for layer_type, inner in self._readers_by_layer(reader).items():
      layer = LAYER_TYPES[layer_type]
      defaults = outer_local if layer == 'local' else outer
      fields_by_layer[layer] = self._read_object(reader, inner, defaults, cfg)
    present = [layer for layer in fields_by_layer if layer in cfg.attention_pattern]

    # `present[0]` is 'global' if the model has global layers, since `LAYER_TYPES` has them first.
    fields = {'position': 'rotary'} | fields_by_layer[present[0]]
    if len(present) == 2:
      fields |= self._local_fields(
        reader, fields_by_layer['global'], fields_by_layer['local']
      )
    return fields

  def write(self, cfg: ModelConfig) -> ConfigKeys:
    """Returns the keys in the older form, which old and new versions of transformers read."""
    if cfg.position != 'rotary':
      return {}
    keys: ConfigKeys = {self.base_key: cfg.rotary_base}
    if self.fraction is not None:
      keys[self.fraction_key] = cfg.rotary_fraction
    if self.base_local is not None:
      keys[self.base_local_key] = cfg.rotary_base_local

    # For a family with a default scaling, an absent object stands for it. So a model without
    # scaling needs an object.
    scaling = write_scaling(cfg)
    if not scaling and self.default_scaling:
      scaling = {'rope_type': 'default'}
    # The default of the outer key would override an inner key, so write the outer key.
    if self.original_length is not None and _ORIGINAL_LENGTH in scaling:
      keys[_ORIGINAL_LENGTH] = scaling.pop(_ORIGINAL_LENGTH)
    if scaling:
      keys['rope_scaling'] = scaling
    return keys

  def _readers_by_layer(self, reader: ConfigReader) -> dict[str, ConfigReader]:
    """Returns {layer type: reader of the object that applies to it}."""
    older = reader.take_object('rope_scaling')
    newer = reader.take_object('rope_parameters')
    # An absent object has the content `default_scaling`.
    absent = ConfigReader(self.default_scaling, reader.source, 'rope_parameters.')
    if older and newer:
      raise ConfigError(
        f'{reader.source}: rope_scaling: got rope_parameters too, expected one of the two'
      )

    # The newer object may contain one object for each layer type.
    if newer and newer.has_any(LAYER_TYPES):
      readers = {key: newer.take_object(key) or absent for key in LAYER_TYPES}
      newer.check_all_read()
      return readers
    # transformers would read none of the keys of one object.
    has_objects_by_layer = self.base_local is not None or self.scales_only_global_layers
    if newer and has_objects_by_layer:
      raise ConfigError(
        f'{reader.source}: rope_parameters: got one object for all layers, expected an '
        f'object for each of {", ".join(LAYER_TYPES)}'
      )

    # Without objects by layer type, one object applies to all layers. But in some families, an
    # older object applies only to the global layers. A key can be read once, so copy the reader.
    common = older or newer or absent
    is_local_unscaled = self.scales_only_global_layers and older is not None
    return {
      'full_attention': common,
      'sliding_attention': absent if is_local_unscaled else common.copy(),
    }

  def _read_object(
    self,
    reader: ConfigReader,
    inner: ConfigReader,
    outer: Rotary,
    cfg: ModelConfig,
  ) -> ModelFields:
    """Returns the fields of one layer type.

    Args:
      reader: Reader of the config.json, for error messages.
      inner: Reader of the object.
      outer: Converter whose attributes are the values of the outer keys.
      cfg: Model with the fields so far.
    """
    scaling_type = self._scaling_type(inner)
    fraction = inner.take('partial_rotary_factor', outer.fraction, float, None)
    is_accepted = self.fraction is not None or fraction in (None, 1.0)
    accepted = '1.0, since models of this type rotate whole heads'
    reader.require(is_accepted, self.fraction_key, fraction, accepted)
    fields: ModelFields = {
      'rotary_base': inner.take('rope_theta', outer.base, float),
      'rotary_fraction': 1.0 if fraction is None else fraction,
      'rotary_scaling': 'none' if scaling_type == 'default' else scaling_type,
    }
    if scaling_type != 'default':
      fields |= SCALINGS[scaling_type](inner, outer.original_length, cfg)
    # Files of YaRN have this key, which changes nothing.
    inner.ignore(['finetuned'])
    inner.check_all_read()
    return fields

  def _scaling_type(self, inner: ConfigReader) -> str:
    """Returns the scaling type of an object. Its older key is type, its newer one rope_type."""
    older = inner.take('type', None, str, None)
    newer = inner.take('rope_type', None, str, None)
    if older and newer and older != newer:
      raise inner.error('type', older, f'the same as rope_type={newer!r}')
    # Positions without a type are not scaled, which is the type 'default'.
    scaling_type = newer or older or 'default'
    if scaling_type in self.longrope_names:
      scaling_type = 'longrope'
    accepted = 'one of ' + ', '.join(_SCALING_TYPES)
    inner.require(scaling_type in _SCALING_TYPES, 'rope_type', scaling_type, accepted)
    return scaling_type

  def _local_fields(
    self, reader: ConfigReader, fields_global: ModelFields, fields_local: ModelFields
  ) -> ModelFields:
    """Returns the fields in which the local layers differ from the global layers.

    The local layers may have another base, and they may be unscaled. All other values must be
    equal.
    """
    # `rotary_scaling_local` is False if only the global layers are scaled.
    is_only_global_scaled = (
      fields_local['rotary_scaling'] == 'none'
      and fields_global['rotary_scaling'] != 'none'
      and fields_global['rotary_fraction'] == fields_local['rotary_fraction']
    )
    if is_only_global_scaled:
      return {
        'rotary_base_local': fields_local['rotary_base'],
        'rotary_scaling_local': False,
      }
    # Only the base may differ between the layers.
    for name in sorted(fields_global | fields_local):
      value = fields_global.get(name)
      value_local = fields_local.get(name)
      if name != 'rotary_base' and value != value_local:
        raise ConfigError(
          f'{reader.source}: rope_parameters: got {name}={value} in full_attention and '
          f'{value_local} in sliding_attention, expected the same in both'
        )
    return {'rotary_base_local': fields_local['rotary_base']}
