"""Reads a config.json to count its model, as its owner published it.

More files can be counted than loaded: those of quantized models, of models without a vocabulary
head, the language models of vision-language models, and files with keys that lmhp does not know.
Such a key may mean something to the code of its owner. But transformers does not read it, so it
does not change the parameters of the model in transformers.
"""

from __future__ import annotations

from collections.abc import Mapping

from lmhp.counting.counted_model import CountedModel
from lmhp.errors import ConfigError
from lmhp.files import as_path
from lmhp.hub.config_json import model_config, read_json
from lmhp.hub.families import FAMILIES
from lmhp.hub.families.family import model_types
from lmhp.hub.other_formats import other_format
from lmhp.hub.other_heads import other_head
from lmhp.typing import JSON, PathLike

TEXT_CONFIG = 'text_config'
"""Key of the language model in a config.json of a model that reads images or audio too."""


def read_published(path: PathLike) -> CountedModel:
  """Reads a config.json to count its model.

  Args:
    path: Path of the file, or of a directory that contains it.

  Raises:
    ConfigError: If there is no config.json, or if lmhp cannot express the model.
  """
  file = as_path(path)
  if file.is_dir():
    file = file / 'config.json'
  # A file of another format is named, whether its name ends in .json or not.
  if not file.exists() or file.name == 'adapter_config.json':
    described = other_format(file.parent if file.name == 'config.json' else file)
    if described:
      raise ConfigError(f'{path}: {described}')
  config = read_json(file)
  return published_model(config, str(path), str(file))


def published_model(
  config: Mapping[str, JSON], name: str, source: str = 'config.json'
) -> CountedModel:
  """Returns the model of a parsed config.json, and notes about what is counted.

  Args:
    config: Content of config.json.
    name: Name of the model.
    source: Name of the file, for error messages.

  Raises:
    ConfigError: If lmhp cannot express the model.
  """
  model_type = str(config.get('model_type'))
  notes: list[str] = []
  unknown: list[str] = []

  # Only the language model of a vision-language model is counted. If lmhp does not know the
  # model_type, the language model may still be of a known type.
  text = config.get(TEXT_CONFIG)
  has_known_text = isinstance(text, dict) and text.get('model_type') in model_types()
  family = FAMILIES[model_type] if model_type in model_types() else None
  if isinstance(text, dict) and family is None and has_known_text:
    cfg = model_config(text, f'{source}: {TEXT_CONFIG}', unknown)
  else:
    cfg = model_config(config, source, unknown)
  if has_known_text or (family is not None and family.text_config_key):
    notes.append(
      f'{model_type}: only the language model ({TEXT_CONFIG}) is counted, without its vision '
      'or audio part'
    )

  if config.get('quantization_config'):
    notes.append(
      'quantization_config: parameters are counted as before quantization, and bytes are '
      'those of unquantized numbers'
    )
  if unknown:
    notes.append(
      f'keys that transformers does not read are ignored: {", ".join(unknown)}'
    )
  head, note = other_head(config, cfg, source)
  if note:
    notes.append(note)
  return CountedModel(name, cfg, head, tuple(notes))
