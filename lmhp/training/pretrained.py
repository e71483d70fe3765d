"""The config of the pretrained model that a run starts from."""

from __future__ import annotations

from typing import Any

from etils import epath

from lmhp.errors import ConfigError
from lmhp.hub.config_json import read_json


def config_of_pretrained(path: str) -> dict[str, Any]:
  """The config.json of a directory that a run starts from, which its own export takes up again."""
  try:
    return read_json(epath.Path(path) / 'config.json')
  except ConfigError as error:
    raise ConfigError(f'train.init_from: {error}') from None
