"""Loads and saves models as Hugging Face directories.

A directory has a config.json, safetensors (one file or shards) and perhaps a tokenizer.json.
Nothing in a directory is executed. Pickle files and Python code are not read.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import json
import os
import shutil
import tempfile

from etils import epath
import numpy as np

from lmhp.data.tokenizer import FILE as TOKENIZER_FILE, Tokenizer, load_tokenizer
from lmhp.errors import ConfigError
from lmhp.files import as_path, is_remote
from lmhp.hub.config_json import model_config, read_json
from lmhp.hub.conversion import params_from_tensors, tensors_from_params
from lmhp.hub.families import FAMILIES
from lmhp.hub.families.common_keys import QUANTIZATION_KEYS
from lmhp.hub.other_formats import other_format
from lmhp.hub.tensor_file import SHARD_BYTES, read_directory, write_directory
from lmhp.hub.tensor_names import checkpoint_tensors, has_head, tied_names
from lmhp.model.transformer import Model, build
from lmhp.params import walk_arrays
from lmhp.typing import JSON, PathLike, PyTree


def load_pretrained(
  path: PathLike, *, dtype: str = 'float32'
) -> tuple[Model, PyTree, Tokenizer | None]:
  """Loads a pretrained model from a Hugging Face directory.

  Args:
    path: Directory with config.json and safetensors.
    dtype: Type of the operands of matrix products, 'float32' or 'bfloat16'.

  Returns:
    The model, its parameters and its tokenizer. The parameters are a nested dict of numpy
    arrays in the precision in which they are stored. The tokenizer is None if the directory
    has no tokenizer.json.

  Raises:
    ConfigError: If something is missing or damaged, or if lmhp cannot express the model.

  Source: huggingface.co/docs/safetensors.
  """
  directory = as_path(path)
  if not (directory / 'config.json').exists():
    described = other_format(directory)
    if described:
      raise ConfigError(f'{directory}: {described}')
  if not directory.is_dir():
    raise ConfigError(
      f'{directory}: no such directory, expected one with config.json and safetensors'
    )

  # Read the structure from config.json, and the arrays from the files of tensors.
  config = read_json(directory / 'config.json')
  source = str(directory / 'config.json')
  cfg = model_config(config, source)
  for key in QUANTIZATION_KEYS:
    if not config.get(key):
      continue
    raise ConfigError(
      f'{source}: {key}: got the weights of a quantized model, which are not '
      'read, expected float32, float16 or bfloat16 weights (lmhp count takes this file)'
    )
  family = FAMILIES[str(config['model_type'])]
  arrays = read_directory(directory)
  # T5: a checkpoint without a tensor for the head has tied embeddings, whatever config.json has.
  if family.is_tied_without_head and not has_head(family, cfg, arrays):
    cfg = dataclasses.replace(cfg, tie_embeddings=True)

  # Convert the tensors to parameters.
  model = build(dataclasses.replace(cfg, dtype=dtype))
  tensors = checkpoint_tensors(family, model.cfg, model.shapes)
  params = params_from_tensors(
    tensors,
    arrays,
    tied=tied_names(family, cfg),
    ignored=family.ignored_pattern(config),
    source=str(directory),
  )
  has_tokenizer = (directory / TOKENIZER_FILE).exists()
  tokenizer = load_tokenizer(directory) if has_tokenizer else None
  return model, params, tokenizer


def save_pretrained(
  path: PathLike,
  config: Mapping[str, JSON],
  params: PyTree,
  tokenizer: Tokenizer | None = None,
  *,
  shard_bytes: int = SHARD_BYTES,
) -> None:
  """Saves a model as a directory that Hugging Face transformers can load.

  The directory is written completely or not at all.

  Args:
    path: Local directory. It must not exist, or it must be empty.
    config: Content of config.json.
    params: Nested dict of arrays, in the form in which `load_pretrained` returns them.
    tokenizer: Tokenizer, which is saved if it has a tokenizer.json.
    shard_bytes: Largest size of a file of tensors, in bytes. A tensor that is larger than this
      has a file that contains no other tensor.

  Raises:
    ConfigError: If lmhp cannot read `config`, if the parameters belong to another model, or
      if the directory exists and is not empty.
  """
  if is_remote(path):
    raise ConfigError(f'{path}: got a URL, expected a directory on this machine')
  target = os.path.abspath(os.fspath(path))
  # An empty directory may be replaced.
  is_empty = os.path.isdir(target) and not os.listdir(target)
  if os.path.lexists(target) and not is_empty:
    raise ConfigError(f'{path}: exists, expected the name of a new directory')

  # Convert the parameters to tensors, which checks that they belong to the model.
  cfg = model_config(config, 'config')
  family = FAMILIES[str(config['model_type'])]
  if family.is_tied_without_head and 'kernel' not in params.get('output', {}):
    cfg = dataclasses.replace(cfg, tie_embeddings=True)
  model = build(dataclasses.replace(cfg, dtype='float32'))
  _check_shapes(model, params)
  tensors = checkpoint_tensors(family, model.cfg, model.shapes)
  arrays = tensors_from_params(tensors, params)

  # Write a temporary directory beside the target, and rename it.
  parent = os.path.dirname(target)
  os.makedirs(parent, exist_ok=True)
  temporary = tempfile.mkdtemp(prefix=f'.{os.path.basename(target)}.', dir=parent)
  try:
    directory = epath.Path(temporary)
    write_directory(directory, arrays, shard_bytes)
    if tokenizer is not None:
      tokenizer.save(directory)
    (directory / 'config.json').write_text(json.dumps(dict(config), indent=2) + '\n')
    if os.path.isdir(target):
      os.rmdir(target)
    # `mkdtemp` makes a directory that only its owner can read.
    os.chmod(temporary, 0o755)
    os.rename(temporary, target)
  finally:
    shutil.rmtree(temporary, ignore_errors=True)


def is_pretrained(directory: PathLike) -> bool:
  """Returns True if a directory has a model of another library, and False if it has a run.

  The directory of a run contains a directory `checkpoints`. `load_pretrained` names what it
  cannot read.

  Args:
    directory: Path of a directory.
  """
  directory = as_path(directory)
  if (directory / 'checkpoints').exists() or not directory.is_dir():
    return False
  has_tensors = any(True for _ in directory.glob('*.safetensors*'))
  if has_tensors or other_format(directory):
    return True
  try:
    return 'model_type' in read_json(directory / 'config.json')
  except ConfigError:
    return False


def _check_shapes(model: Model, params: PyTree) -> None:
  """Checks that parameters have the paths and the shapes of a model."""
  expected = {path: array.shape for path, array in walk_arrays(model.shapes)}
  received = {path: np.shape(array) for path, array in walk_arrays(params)}
  for path in sorted(expected.keys() | received.keys()):
    if expected.get(path) != received.get(path):
      raise ConfigError(
        f'params: {path}: got {received.get(path, "none")}, expected '
        f'{expected.get(path, "none")}, as in the model of `config`'
      )
