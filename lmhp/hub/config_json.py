"""Reads a Hugging Face config.json as a `ModelConfig`.

A file is read only if `ModelConfig` can express its model exactly. Any other file raises a
`ConfigError`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
import json
import math
import re

from etils import epath

from lmhp.errors import ConfigError, suggest
from lmhp.files import as_path
from lmhp.hub.families import FAMILIES
from lmhp.hub.families.converters import (
  MAX_PRINTED,
  ConfigReader,
  ModelFields,
  OutOfRange,
)
from lmhp.hub.families.family import model_types
from lmhp.model.config import ModelConfig
from lmhp.typing import JSON, PathLike

MAX_BYTES = 4_000_000
"""Largest accepted file. The largest config.json of the Hugging Face hub is much smaller."""

MAX_NUMBER = 2**53
"""Largest accepted absolute value of a whole number that is used.

A float represents every whole number up to this one exactly.
"""

MAX_DEPTH = 20
"""Largest accepted number of nested levels. {"a": 1} has two levels: the object and the 1."""

MAX_LAYERS = 100_000
"""Largest accepted number of layers, so that a list with one item per layer stays small."""


# --- files and JSON -----------------------------------------------------------------


def read_config(path: PathLike) -> ModelConfig:
  """Reads a config.json.

  Args:
    path: Path of the file, or of a directory that contains it, on any file system that
      `etils.epath` supports.

  Raises:
    ConfigError: If there is no file, if it is not a JSON object, or if `ModelConfig` cannot
      express the model.
  """
  file = as_path(path)
  if file.is_dir():
    file = file / 'config.json'
  return model_config(read_json(file), str(file))


def read_json(path: epath.Path) -> dict[str, JSON]:
  """Returns the JSON object of a file.

  Raises:
    ConfigError: If there is no file, if it is too large, or if `parse` refuses it.
  """
  try:
    if not path.is_file():
      raise ConfigError(
        f'{path}: no such file, expected a config.json or a directory with a config.json'
      )
    # Check the size first, so that a huge file is not read into memory.
    n_bytes = path.stat().length
    if n_bytes > MAX_BYTES:
      raise ConfigError(
        f'{path}: got {n_bytes} bytes, expected at most {MAX_BYTES} bytes'
      )
    text = path.read_bytes()
  except ConfigError:
    raise
  except (OSError, ValueError) as error:
    raise ConfigError(f'{path}: cannot be read: {error}') from None
  return parse(text, str(path))


def parse(text: str | bytes, source: str) -> dict[str, JSON]:
  """Returns the JSON object of a text.

  Numbers that are not finite, and whole numbers above `MAX_NUMBER`, become `OutOfRange`.

  Args:
    text: Text of a file that is not trusted.
    source: Name of the file, for error messages.

  Raises:
    ConfigError: If the text is not a JSON object, if a key occurs twice, or if objects are
      nested too deeply.
  """

  # A number that is not finite, or too large, may stand in a key that is not used. So it is
  # refused when it is used (`ConfigReader.take`). A number of many digits is never converted by
  # `int`, which needs quadratic time for it. 2**53 has 16 digits, after a possible sign.
  def parse_int(digits: str) -> int | OutOfRange:
    if len(digits) > 17 or abs(int(digits)) > MAX_NUMBER:
      return OutOfRange(digits)
    return int(digits)

  def parse_float(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else OutOfRange(digits)

  # `json.loads` would keep the last value of a repeated key without an error.
  def make_object(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    content = dict(pairs)
    if len(content) < len(pairs):
      repeated = Counter(name for name, _ in pairs).most_common(1)[0][0]
      raise ConfigError(
        f'{source}: {repeated[:MAX_PRINTED]}: got the key twice, expected it once'
      )
    return content

  # A text that is nested very deeply exceeds the recursion limit of Python.
  value: JSON = None
  try:
    value = json.loads(
      text,
      parse_int=parse_int,
      parse_float=parse_float,
      parse_constant=parse_float,  # for NaN and Infinity
      object_pairs_hook=make_object,
    )
    is_too_deep = _depth(value) > MAX_DEPTH
  except RecursionError:
    is_too_deep = True
  except (json.JSONDecodeError, UnicodeDecodeError) as error:
    raise ConfigError(f'{source}: not JSON: {error}') from None
  if is_too_deep:
    raise ConfigError(
      f'{source}: nested too deeply, expected at most {MAX_DEPTH} nested levels'
    )
  if not isinstance(value, dict):
    raise ConfigError(f'{source}: got a {type(value).__name__}, expected a JSON object')
  return value


def _depth(value: object) -> int:
  """Returns the number of nested levels of a JSON value. The value itself is the first level.

  The function is not recursive, so any depth is safe.
  """
  depth = 0
  # Go down one level of all branches at a time.
  level = [value]
  while level:
    depth += 1
    below = []
    for node in level:
      if isinstance(node, dict):
        below += node.values()
      elif isinstance(node, list):
        below += node
    level = below
  return depth


# --- the model ----------------------------------------------------------------------


def model_config(
  config: Mapping[str, JSON],
  source: str = 'config.json',
  unknown: list[str] | None = None,
) -> ModelConfig:
  """Returns the `ModelConfig` of a parsed config.json.

  The key model_type selects a family (see `lmhp.hub.families`), which lists its keys:

  - Some keys set fields of `ModelConfig`, such as hidden_size.
  - Some keys have only one or a few accepted values, such as is_encoder_decoder (false).
  - Some keys are ignored, because they do not change what the model computes.

  A key that the family does not list raises an error, because it might change what the model
  computes. An absent key has the default of Hugging Face transformers.

  Args:
    config: JSON object whose numbers are finite.
    source: Name of the file, for error messages.
    unknown: List to which keys are added that the family does not list. None makes them errors.

  Raises:
    ConfigError: If the model cannot be expressed. The message is one line with the source,
      the key, the value and the accepted values.
  """
  reader = ConfigReader(config, source, unknown=unknown)
  return _read_model(reader, config.get('model_type'))


def _read_model(reader: ConfigReader, model_type: JSON) -> ModelConfig:
  """Returns the model of a JSON object.

  A family with a `text_config_key` has its language model in a nested object, which is read
  instead.
  """
  known_types = model_types()
  if not isinstance(model_type, str) or model_type not in known_types:
    near = suggest(model_type, known_types)
    raise reader.error(
      'model_type', model_type, f'one of {", ".join(known_types)}{near}'
    )
  family = FAMILIES[model_type]

  # The default type of the nested object of gemma3 is gemma3_text.
  if family.text_config_key:
    key = family.text_config_key
    inner = reader.take_object(key) or ConfigReader({}, reader.source, f'{key}.')
    family.check_other_keys(reader)
    return _read_model(inner, inner.take('model_type', f'{model_type}_text', str))

  # The table of the family gives most fields. Each converter adds fields. It receives a
  # `ModelConfig` that is built from the fields so far.
  table = family.read_table(reader)
  fields = table.values
  try:
    for converter in family.converters:
      # If no position encoding is set yet, use 'none'. The default of `ModelConfig` is 'rotary',
      # which a model with an odd head size cannot have.
      cfg = _build_config({'position': 'none', **fields})
      fields |= converter.read(reader, cfg)
    family.check_other_keys(reader)
    return _build_config(fields)
  except ConfigError as error:
    message = _name_keys_of_file(str(error), reader, table.keys)
    raise ConfigError(message) from None


def _build_config(fields: ModelFields) -> ModelConfig:
  """Builds a `ModelConfig`.

  Checks that it has a vocabulary size, and at most `MAX_LAYERS` layers in each stack.
  """
  # `ModelConfig` needs memory for each layer, so the number of layers is checked first.
  for name in ('n_layers', 'n_encoder_layers'):
    number = fields.get(name)
    if isinstance(number, (int, float)) and number > MAX_LAYERS:
      raise ConfigError(f'model.{name}: got {number}, expected at most {MAX_LAYERS}')

  # `ModelConfig` checks the type of each value, which comes from a file.
  cfg = ModelConfig(**fields)  # pyright: ignore[reportArgumentType]
  if cfg.vocab_size is None:
    raise ConfigError('model.vocab_size: got None, expected a whole number')
  return cfg


def _name_keys_of_file(
  message: str, reader: ConfigReader, key_of_field: Mapping[str, str]
) -> str:
  """Replaces fields of `ModelConfig` in an error message by the keys that set them.

  For example, `model.d_model: got -1` becomes `FILE: hidden_size: got -1`. A field that no key
  sets is not replaced.
  """
  names = {f'model.{field}': reader.prefix + key for field, key in key_of_field.items()}
  converted = re.sub(
    r'model\.\w+', lambda match: names.get(match[0], match[0]), message
  )
  # The message of a converter begins with the name of the file already.
  return (
    converted
    if converted.startswith(f'{reader.source}: ')
    else f'{reader.source}: {converted}'
  )
