"""Special tokens: their usual names, and those that the owner of a tokenizer declares.

Declarations stand in files beside `tokenizer.json`, in the format of Hugging Face transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import json

from etils import epath

from lmhp.files import read_bytes
from lmhp.typing import JSON

CONFIG_FILE = 'tokenizer_config.json'
_OTHER_FILES = ('special_tokens_map.json',)

END_OF_TEXT = '<|endoftext|>'
# Names of special tokens in the vocabularies of Hugging Face. The first that exists is used.
END_OF_TEXT_NAMES = (
  END_OF_TEXT,
  '<|end_of_text|>',
  '</s>',
  '<eos>',
  '<|eos|>',
  '<end_of_text>',
  '[EOS]',
  '<｜end▁of▁sentence｜>',  # DeepSeek
  '<|END_OF_TURN_TOKEN|>',  # Cohere
  '[SEP]',
)
MASK_NAMES = ('[MASK]', '<mask>')
PAD_NAMES = ('<pad>', '[PAD]')


@dataclasses.dataclass(frozen=True)
class SpecialTokens:
  """Names of special tokens, and whether they are added to a prompt.

  Attributes:
    begin: Name of the token that begins a text. None if it is not declared.
    end: Name of the token that ends a text. None if it is not declared.
    end_id: Id of the token that ends a text, for a file that declares no name.
    adds_begin: True if `begin` is added before a prompt. None if it is not declared.
    adds_end: True if `end` is added after a prompt. None if it is not declared.
  """

  begin: str | None = None
  end: str | None = None
  end_id: int | None = None
  adds_begin: bool | None = None
  adds_end: bool | None = None

  def to_json(self) -> dict[str, JSON]:
    """Returns the content of `tokenizer_config.json`."""
    fields = {
      'bos_token': self.begin,
      'eos_token': self.end,
      'add_bos_token': self.adds_begin,
      'add_eos_token': self.adds_end,
    }
    return {key: value for key, value in fields.items() if value is not None}

  @property
  def before(self) -> list[str]:
    """Names of the declared tokens that are added before a prompt, at most one."""
    return [self.begin] if self.adds_begin and self.begin else []

  @property
  def after(self) -> list[str]:
    """Names of the declared tokens that are added after a prompt, at most one."""
    return [self.end] if self.adds_end and self.end else []


def read_special_tokens(directory: epath.Path) -> SpecialTokens:
  """Returns the special tokens that the files of a directory declare.

  Args:
    directory: Directory of a `tokenizer.json`. `tokenizer_config.json` takes precedence over
      `special_tokens_map.json`, and the id in `config.json` is the last.

  Raises:
    ValueError: If a file is not a JSON object.
  """
  declared: dict[str, JSON] = {}
  for name in (*_OTHER_FILES, CONFIG_FILE):
    declared |= {
      key: value
      for key, value in _read_object(directory / name).items()
      if value is not None
    }

  end_id = _read_object(directory / 'config.json').get('eos_token_id')
  # Several ids are those of a chat model, the first of which ends a text.
  if isinstance(end_id, list) and end_id:
    end_id = end_id[0]
  return SpecialTokens(
    begin=_name(declared.get('bos_token')),
    end=_name(declared.get('eos_token')),
    end_id=end_id if type(end_id) is int else None,
    adds_begin=_flag(declared.get('add_bos_token')),
    adds_end=_flag(declared.get('add_eos_token')),
  )


def _read_object(path: epath.Path) -> Mapping[str, JSON]:
  """Returns the JSON object of a file. Empty if there is no such file."""
  if not path.exists():
    return {}
  content = json.loads(read_bytes(path))
  if not isinstance(content, dict):
    raise ValueError(f'{path}: got a {type(content).__name__}, expected an object')
  return content


def _name(token: JSON) -> str | None:
  """Returns the name of a token, which is a string or an object."""
  if isinstance(token, Mapping):
    token = token.get('content')
  return token if isinstance(token, str) else None


def _flag(value: JSON) -> bool | None:
  return value if isinstance(value, bool) else None
