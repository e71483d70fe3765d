"""Ids that a checkpoint declares for generation: which tokens end a text, and which begins one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from lmhp.errors import ConfigError
from lmhp.files import as_path
from lmhp.hub.config_json import read_json
from lmhp.typing import JSON, PathLike


class GenerationIds(NamedTuple):
  """Ids that generation needs.

  Attributes:
    stop_ids: Tokens that end a text. Empty if none is declared.
    start_id: First token that the decoder of an encoder-decoder reads. None if it is not
      declared.
  """

  stop_ids: tuple[int, ...] = ()
  start_id: int | None = None


def read_generation_ids(directory: PathLike) -> GenerationIds:
  """Reads the ids of a Hugging Face directory.

  generation_config.json takes precedence over config.json, as in transformers.

  Args:
    directory: Directory with config.json, and perhaps with generation_config.json.

  Raises:
    ConfigError: If a file cannot be read, or if an id is not a whole number of at least 0.
  """
  keys: dict[str, JSON] = {}
  source = str(directory)
  for name in ('config.json', 'generation_config.json'):
    file = as_path(directory) / name
    if file.exists():
      source = str(file)
      keys |= {key: x for key, x in read_json(file).items() if x is not None}
  return GenerationIds(
    stop_ids=_ids(keys, 'eos_token_id', source),
    start_id=next(iter(_ids(keys, 'decoder_start_token_id', source)), None),
  )


def _ids(keys: Mapping[str, JSON], key: str, source: str) -> tuple[int, ...]:
  """Returns the ids of a key, which is a number or a list. Empty if the key is absent."""
  value = keys.get(key, ())
  ids = value if isinstance(value, (list, tuple)) else [value]
  # Some files have -1 for a token that does not exist.
  numbers = tuple(i for i in ids if type(i) is int)
  if len(numbers) < len(ids):
    raise ConfigError(f'{source}: {key}: got {value!r}, expected whole numbers')
  return tuple(i for i in numbers if i >= 0)
