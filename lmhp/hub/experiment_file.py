"""Experiment files that fine-tune a pretrained model."""

from __future__ import annotations

import os

from lmhp import hypers
from lmhp.errors import ConfigError
from lmhp.files import is_remote, python_docstring
from lmhp.hub.pretrained import load_pretrained
from lmhp.model.config import ModelConfig
from lmhp.typing import PathLike

_DOCSTRING = """Fine-tunes {name}.

`lmhp import` wrote this file. Data, steps and learning rate are values to start from.
`lmhp train --help_config` lists every key.
"""

_TEMPLATE = """{docstring}

import lmhp


def get_config():
  config = lmhp.default_config()
{model}
  config.train.init_from = {path!r}
  config.data.tokenizer = {tokenizer!r}
  config.train.seq_len = {seq_len}
  config.train.steps = 200
  config.train.batch_size = 8
  # Pretrained parameters need a smaller learning rate than random ones.
  config.optimizer.learning_rate = 2e-5
  return config
"""

MAX_SEQ_LEN = 512
"""Largest train.seq_len of the written experiment, in tokens. It fits a small machine."""

_SKIPPED_KEYS = (
  'model.dtype',
  'model.scan_layers',
  'model.remat',
  'model.init',
  'model.init_scale',
)
"""Keys of execution and initialization. The written file leaves them at their defaults."""


def experiment_text(name: str, path: str, cfg: ModelConfig, has_tokenizer: bool) -> str:
  """Returns the text of an experiment file that starts from pretrained parameters.

  Args:
    name: Name of the model, for the docstring.
    path: Directory of the pretrained model.
    cfg: The model, from the config.json of the directory.
    has_tokenizer: True if the directory has a tokenizer.json. If False, the experiment uses the
      tokenizer of bytes, whose ids are not those of the pretrained vocabulary.
  """
  lines = [
    f'  config.{path} = {value!r}'
    for path, (value, _) in hypers.differences(cfg, ModelConfig()).items()
    if path not in _SKIPPED_KEYS
  ]
  return _TEMPLATE.format(
    docstring=python_docstring(_DOCSTRING.format(name=name)),
    model='\n'.join(lines),
    path=path,
    tokenizer=f'{path}/tokenizer.json' if has_tokenizer else 'byte',
    seq_len=min(cfg.max_seq_len, MAX_SEQ_LEN),
  )


def import_pretrained(path: PathLike, output: PathLike | None = None) -> str:
  """Writes an experiment file that fine-tunes the model of a Hugging Face directory.

  Args:
    path: Path of a directory with `config.json` and safetensors files.
    output: Path of the experiment file, which must not exist. None stands for `NAME.py` in the
      current directory. NAME is the last part of `path`.

  Returns:
    The path of the experiment file.

  Raises:
    ConfigError: If the model cannot be loaded exactly, or if the experiment file exists.
  """
  if not is_remote(path):
    path = os.path.abspath(os.fspath(path))
  path = os.fspath(path)
  name = os.path.basename(path)
  output = f'{name}.py' if output is None else os.fspath(output)
  if os.path.lexists(output):
    raise ConfigError(
      f'{output}: exists, expected the name of a new file (--output=FILE)'
    )
  # Load the weights too, so that a damaged checkpoint raises an error now, not in training.
  model, _, tokenizer = load_pretrained(path)
  with open(output, 'x') as file:
    file.write(experiment_text(name, path, model.cfg, tokenizer is not None))
  return output
