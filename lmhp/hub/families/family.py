"""A checkpoint family: the config.json and the tensor names of one model_type.

A model_type is the name of an architecture in the Hugging Face library `transformers`, such as
'llama'. A family is mostly a table from the keys of its config.json to the fields of
`ModelConfig`. `llama.py` is the simplest example. Converters (`converters.py`) do what a table
cannot express.

A new family is one file in this folder, which calls `register_family`, and one line in
`__init__.py`, which imports the file. A family from outside lmhp calls `register_family` in
an experiment file or in a plugin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import dataclasses
import json
from typing import TypeAlias

from lmhp.hub.families.common_keys import ACCEPTED_VALUES, IGNORED_KEYS
from lmhp.hub.families.converters import (
  ConfigKeys,
  ConfigReader,
  Converter,
  ModelFields,
)
from lmhp.hub.families.field_values import read_value, write_value
from lmhp.model.config import ModelConfig
from lmhp.registry import Registry, load_installed_plugins
from lmhp.typing import JSON

KeyTable: TypeAlias = 'Mapping[str, tuple[str, JSON]]'
"""{key of a config.json: (fields of `ModelConfig` that it sets, separated by spaces; default)}.

The default is that of Hugging Face transformers. An example of a row is
`'attention_bias': ('qkv_bias attention_output_bias', False)`.
"""

AcceptedValues: TypeAlias = 'Mapping[str, tuple[JSON, ...]]'
"""{key of a config.json: values that lmhp can express}.

The first value is the default of Hugging Face transformers.
"""

TensorNames: TypeAlias = 'Mapping[str, str]'
"""{modules of lmhp: name of their tensor in a checkpoint}, see `CheckpointFamily`."""


@dataclasses.dataclass(frozen=True)
class TableFields:
  """Fields that the table of a family gives.

  Attributes:
    values: {field of `ModelConfig`: value}.
    keys: {field: key of the config.json that it came from}.
  """

  values: ModelFields
  keys: dict[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointFamily:
  """Description of the config.json and the checkpoints of one model_type.

  Each row of `tensor_names` maps modules of lmhp, such as `attention/query`, to the name of
  their tensor, such as `.self_attn.q_proj`:

  - A leading dot is replaced by `layer_name`.
  - `{i}` is replaced by the index of a layer, `{e}` by that of an expert, `{h}` by that of a
    head.
  - Several modules, separated by spaces, are joined in one tensor.
  - A module that the model lacks is skipped. If two rows name a module, the first row is used.
  - In an encoder-decoder whose stacks have different names, a module begins with its stack
    (`encoder/attention/query`).
  - The names have no suffix, such as `.weight`. Only a row for a single parameter (`output/bias`)
    has the full name of the tensor (`lm_head.bias`).

  Attributes:
    model_type: Name of the family in config.json.
    fixed_fields: {field of `ModelConfig`: value that every model of the family has}.
    keys: {key: (fields that it sets, separated by spaces; default of Hugging Face
      transformers)}.
    accepted_values: {key: values that `ModelConfig` can express}. The first value is the
      default of Hugging Face transformers. A value that is not listed is an error.
    nullable_keys: Keys of `keys` with a default other than null that may be null too. For any
      other key, null is an error, as in transformers.
    ignored_keys: Keys of published files that do not change what the model computes.
    aliases: {second name of a key: the key}.
    converters: Converters for what the table cannot express. Each one receives the fields of
      the table and of the earlier converters.
    text_config_key: Key of the nested object that describes the language model. Empty if
      the file itself describes it.
    layer_name: Name of a layer in a checkpoint, with `{i}` for its index.
    tensor_names: {modules of lmhp: name in a checkpoint}, or a function of `ModelConfig` that
      returns such a mapping.
    tied_tensors: {name under which a checkpoint may repeat a tensor: name of the tensor}.
    ignored_tensors: Regular expression for the names of tensors that the language model does
      not use, such as the tensors of a pooler. Or a function that returns it from the
      config.json.
    is_tied_without_head: If True, a checkpoint without a matrix for the head has tied
      embeddings, whatever config.json has. If False, config.json decides.
    has_grouped_qkv: If True, a tensor that holds query, key and value is divided into groups,
      one per key/value head, each with its query, key and value rows. If False, all query
      rows come first, then all key rows, then all value rows.
    has_transposed_weights: If True, matrices of layers are stored as (inputs, outputs). If
      False, as (outputs, inputs).
    has_interleaved_gates: If True, a tensor that holds gate and up matrices of all experts
      alternates their columns. If False, the columns of the gates come first.
  """

  model_type: str
  fixed_fields: Mapping[str, object] = dataclasses.field(default_factory=dict)
  keys: KeyTable = dataclasses.field(default_factory=dict)
  accepted_values: AcceptedValues = dataclasses.field(default_factory=dict)
  nullable_keys: tuple[str, ...] = ()
  ignored_keys: tuple[str, ...] = ()
  aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)
  converters: tuple[Converter, ...] = ()
  text_config_key: str = ''
  layer_name: str = ''
  tensor_names: TensorNames | Callable[[ModelConfig], TensorNames] = dataclasses.field(
    default_factory=dict
  )
  tied_tensors: Mapping[str, str] = dataclasses.field(default_factory=dict)
  ignored_tensors: str | Callable[[Mapping[str, JSON]], str] = ''
  is_tied_without_head: bool = False
  has_grouped_qkv: bool = False
  has_transposed_weights: bool = False
  has_interleaved_gates: bool = False

  def derive(
    self,
    model_type: str,
    *,
    defaults: Mapping[str, JSON] | None = None,
    without: tuple[str, ...] = (),
    fixed_fields: Mapping[str, object] | None = None,
    keys: KeyTable | None = None,
    accepted_values: AcceptedValues | None = None,
    **replaced: object,
  ) -> CheckpointFamily:
    """Returns a family that differs from this one in some rows.

    Args:
      model_type: Name of the new family.
      defaults: {key of this family: default in the new family}.
      without: Keys of this family that the new one lacks.
      fixed_fields: Further or changed fixed fields.
      keys: Further or changed rows of the table.
      accepted_values: Further or changed accepted values.
      **replaced: New values of other attributes, such as `converters`. They replace the values
        of this family, except that the rows of `tensor_names` are kept, after the new rows. If
        two rows name a module, the first one is used.
    """
    # Inherit the rows and the accepted values of this family.
    table = {key: row for key, row in self.keys.items() if key not in without}
    for key, default in (defaults or {}).items():
      table[key] = (table[key][0], default)
    accepted = {
      key: values for key, values in self.accepted_values.items() if key not in without
    }
    if 'tensor_names' in replaced:
      replaced['tensor_names'] = self._with_names(replaced['tensor_names'])
    return dataclasses.replace(
      self,
      model_type=model_type,
      fixed_fields={**self.fixed_fields, **(fixed_fields or {})},
      keys={**table, **(keys or {})},
      accepted_values={**accepted, **(accepted_values or {})},
      **replaced,
    )

  def _with_names(self, names: object) -> object:
    """Returns new tensor names, followed by the unchanged names of this family."""
    # If the new or the old names are a function of `ModelConfig`, the new ones replace the old.
    if not isinstance(names, Mapping) or not isinstance(self.tensor_names, Mapping):
      return names
    return dict(names) | {
      modules: name
      for modules, name in self.tensor_names.items()
      if modules not in names
    }

  def ignored_pattern(self, config: Mapping[str, JSON]) -> str:
    """Returns the regular expression for the names of tensors that the model does not use.

    Args:
      config: Content of config.json.
    """
    ignored = self.ignored_tensors
    return ignored if isinstance(ignored, str) else ignored(config)

  def names_of(self, cfg: ModelConfig) -> TensorNames:
    """Returns the tensor names of a model. Empty if the family has none."""
    if isinstance(self.tensor_names, Mapping):
      return self.tensor_names
    return self.tensor_names(cfg)

  def read_table(self, reader: ConfigReader) -> TableFields:
    """Returns the fields that the table `keys` gives, and the fixed fields.

    Args:
      reader: Reader of the config.json.

    Raises:
      ConfigError: If a value is not accepted.
    """
    for alias, key in self.aliases.items():
      reader.rename(alias, key)
    # A key overrides a fixed field, and may set several fields.
    values = dict(self.fixed_fields)
    keys = {}
    for key, (fields, default) in self.keys.items():
      value = reader.take(key, default)
      if value is None and default is not None and key not in self.nullable_keys:
        # In transformers, a rate of null drops nothing, and other keys refuse null.
        if not fields.endswith('dropout'):
          raise reader.error(key, None, f'a value such as {json.dumps(default)}')
        value = 0.0
      for field in fields.split():
        values[field] = read_value(reader, key, field, value)
        keys[field] = key
    return TableFields(values, keys)

  def check_other_keys(self, reader: ConfigReader) -> None:
    """Checks the keys that neither the table `keys` nor a converter reads.

    Args:
      reader: Reader of the config.json, after the table and the converters.

    Raises:
      ConfigError: If a key has a value that lmhp cannot express, or if a key is unknown.
    """
    for key, accepted in {**ACCEPTED_VALUES, **self.accepted_values}.items():
      value = reader.take(key, accepted[0])
      # Null stands for an absent key.
      if value is not None and not any(
        _is_same(value, candidate) for candidate in accepted
      ):
        printed = ' or '.join(json.dumps(candidate) for candidate in accepted)
        raise reader.error(
          key, value, f'{printed}: lmhp has no other variant of {self.model_type}'
        )

    # Any key that is left now might change what the model computes.
    reader.ignore({*IGNORED_KEYS, *self.ignored_keys})
    reader.check_all_read()

  def write_config(self, cfg: ModelConfig) -> ConfigKeys | None:
    """Returns a config.json of this family for a model.

    The family may be unable to express the model. So the caller has to read the result back,
    and to compare the models. Returns None if the family has a `text_config_key`.
    """
    if self.text_config_key:
      return None
    config: ConfigKeys = {'model_type': self.model_type}
    for key, (fields, default) in self.keys.items():
      # The first field gives the value of the key. If another field of the key differs,
      # `export_config` refuses the result.
      field = fields.split()[0]
      config[key] = write_value(field, getattr(cfg, field), default)
    for converter in self.converters:
      config |= converter.write(cfg)
    return config


def _is_same(value: object, accepted: JSON) -> bool:
  """Returns True if two JSON values are equal. Unlike in Python, true and 1 differ."""
  return value == accepted and isinstance(value, bool) == isinstance(accepted, bool)


# --- registry -----------------------------------------------------------------------

FAMILIES: Registry[CheckpointFamily] = Registry('checkpoint family')
"""{model_type of Hugging Face transformers: family}."""


def register_family(family: CheckpointFamily) -> CheckpointFamily:
  """Adds a family, so that its config.json and its checkpoints can be read and written.

  Args:
    family: The family. Its `model_type` is its name.

  Returns:
    The family.

  Raises:
    ConfigError: If another module has registered this model_type.
  """
  return FAMILIES.register(family.model_type, family)


def model_types() -> list[str]:
  """Returns the model types of all families, including those of plugins.

  The families of lmhp come first, then those of plugins, each in alphabetical order.
  """
  load_installed_plugins()

  def sort_key(name: str) -> tuple[bool, str]:
    is_outside = FAMILIES.module_of(name).split('.')[0] != 'lmhp'
    return is_outside, name.upper()

  return sorted(FAMILIES, key=sort_key)
