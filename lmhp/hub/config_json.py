"""A Hugging Face config.json as a `ModelConfig`: what is expressed exactly is read, what is not is an error."""

from __future__ import annotations

from collections import Counter
import json
import math
import re
from typing import Any

from etils import epath

from lmhp.errors import ConfigError, suggest
from lmhp.hub.families import FAMILIES
from lmhp.hub.families.family import Entries
from lmhp.model.config import ModelConfig

MAX_BYTES = 4_000_000  # the largest config.json of the hub, with thousands of labels, stay far below
MAX_NUMBER = 2**53  # larger whole numbers are no sizes, and no floats either
MAX_DEPTH = 20  # levels of objects and lists
MAX_LAYERS = 100_000  # so that a list for each layer stays small


def read_config(path: Any) -> ModelConfig:
  """Reads a config.json, or the one in a directory.

  Args:
    path: of the file or the directory, local or on any file system of `etils.epath`.

  Raises:
    ConfigError: where there is none, it is no JSON object, or it says something that `ModelConfig` cannot express.
  """
  path = epath.Path(path)
  path = path / 'config.json' if path.is_dir() else path
  return model_config(read_json(path), str(path))


def read_json(path: epath.Path) -> dict[str, Any]:
  """A config.json as a dict.

  Raises:
    ConfigError: where there is none, it is too large, or `parse` refuses it.
  """
  try:
    if not path.is_file():
      raise ConfigError(
        f'{path}: no such file, expected a config.json or a directory that holds one'
      )
    if path.stat().length > MAX_BYTES:
      raise ConfigError(
        f'{path}: {path.stat().length} bytes, expected a config.json of at most {MAX_BYTES}'
      )
    text = path.read_bytes()
  except (OSError, ValueError) as error:
    if isinstance(error, ConfigError):
      raise
    raise ConfigError(f'{path}: cannot be read: {error}') from None
  return parse(text, str(path))


def parse(text: str | bytes, source: str) -> dict[str, Any]:
  """A config.json's text as a dict whose numbers are finite and of sane size.

  Raises:
    ConfigError: where it is no JSON object, names a key twice, nests too deep or holds such a number.
  """

  def whole(digits: str) -> int:
    if len(digits) > 17 or abs(int(digits)) > MAX_NUMBER:
      raise ConfigError(f'{source}: the number {digits[:20]}... is too large')
    return int(digits)

  def number(digits: str) -> float:
    if not math.isfinite(float(digits)):
      raise ConfigError(f'{source}: the number {digits[:20]} is not finite')
    return float(digits)

  def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
      twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
      raise ConfigError(f'{source}: {twice[:80]}: stands there twice')
    return dict(pairs)

  try:
    config = json.loads(
      text,
      parse_int=whole,
      parse_float=number,
      parse_constant=number,
      object_pairs_hook=once,
    )
    deep = _depth(config) > MAX_DEPTH
  except RecursionError:
    deep = True
  except (json.JSONDecodeError, UnicodeDecodeError) as error:
    raise ConfigError(f'{source}: not JSON: {error}') from None
  if deep:
    raise ConfigError(
      f'{source}: nests deeper than {MAX_DEPTH} levels, too deep for a config.json'
    )
  if not isinstance(config, dict):
    raise ConfigError(
      f'{source}: got a {type(config).__name__}, expected a JSON object'
    )
  return config


def _depth(value: Any) -> int:
  """Levels of nesting, found level by level so that no depth is too much."""
  depth, level = 0, [value]
  while level:
    depth += 1
    level = [
      v
      for node in level
      if isinstance(node, (dict, list))
      for v in (node.values() if isinstance(node, dict) else node)
    ]
  return depth


def model_config(config: dict[str, Any], source: str = 'config.json') -> ModelConfig:
  """The `ModelConfig` of a parsed config.json.

  A key that is absent has transformers' own default. Each key is mapped to a field, or known not to change what the
  model computes, or at the one value that `ModelConfig` expresses; else it is an error.

  Args:
    config: a JSON object whose numbers are finite.
    source: where it comes from, for errors.

  Raises:
    ConfigError: one line with the source, the key, what came and what is accepted.
  """
  return _read(Entries(config, source), config.get('model_type'))


def _read(entries: Entries, model_type: Any) -> ModelConfig:
  if not isinstance(model_type, str) or model_type not in FAMILIES:
    raise entries.wrong(
      'model_type',
      model_type,
      'one of ' + ', '.join(FAMILIES) + suggest(model_type, FAMILIES),
    )
  family = FAMILIES[model_type]
  if family.inside:
    inner = entries.inner(family.inside) or Entries(
      {}, entries.source, f'{family.inside}.'
    )
    family.close(entries)
    return _read(inner, inner.take('model_type', f'{model_type}_text'))
  fields, origin = family.fields(entries)
  try:
    for part in family.parts:
      fields |= part(entries, _sized({'position': 'none'} | fields))
    family.close(entries)
    return _sized(fields)
  except ConfigError as error:
    raise ConfigError(_in_its_words(str(error), entries, origin)) from None


def _sized(fields: dict[str, Any]) -> ModelConfig:
  """A `ModelConfig` whose vocabulary is known and whose depth is bounded."""
  cfg = ModelConfig(**fields)
  if cfg.vocab_size is None:
    raise ConfigError('model.vocab_size: got None, expected a whole number')
  if cfg.n_layers > MAX_LAYERS:
    raise ConfigError(
      f'model.n_layers: got {cfg.n_layers}, expected at most {MAX_LAYERS}'
    )
  return cfg


def _in_its_words(message: str, entries: Entries, origin: dict[str, str]) -> str:
  """A message of `ModelConfig` with the file's keys in place of our fields."""
  words = re.sub(
    r'model\.(\w+)',
    lambda m: entries.prefix + origin[m[1]] if m[1] in origin else m[0],
    message,
  )
  return (
    words if words.startswith(f'{entries.source}: ') else f'{entries.source}: {words}'
  )
