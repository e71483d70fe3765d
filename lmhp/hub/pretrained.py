"""A Hugging Face directory, in and out: config.json, safetensors (one file or shards), tokenizer.json.

Nothing in a directory is executed: neither pickles nor a repository's own code are read.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import tempfile
from typing import Any, Mapping

from etils import epath
import numpy as np

from lmhp.data import tokenizer as tokenizers
from lmhp.errors import ConfigError
from lmhp.hub import safetensors, weights
from lmhp.hub.config_json import model_config, parse, read_json
from lmhp.hub.families import FAMILIES
from lmhp.hub.families.family import CheckpointFamily
from lmhp.model.config import ModelConfig
from lmhp.model.transformer import Model, build
from lmhp.params import walk_arrays

WEIGHTS = 'model.safetensors'
INDEX = 'model.safetensors.index.json'
MAX_INDEX = 50_000_000  # bytes
SHARD_BYTES = 5_000_000_000
_SHARD = re.compile(
  r'[\w-][\w.-]*\.safetensors'
)  # a plain name: nothing outside the directory


def load_pretrained(
  path: str | os.PathLike, *, dtype: str = 'float32'
) -> tuple[Model, Any, tokenizers.Tokenizer | None]:
  """A pretrained model from a Hugging Face directory.

  Args:
    path: of a directory with config.json and safetensors.
    dtype: of the operands of matrix products, 'float32' or 'bfloat16'.

  Returns:
    The model; its parameters, a nested dict of numpy arrays in the precision that they are stored in; and the
    directory's tokenizer, None where it has no tokenizer.json.

  Raises:
    ConfigError: one line that names what is missing, damaged, or not expressed.

  Source: huggingface.co/docs/safetensors.
  """
  directory = epath.Path(path)
  if not directory.is_dir():
    raise ConfigError(
      f'{directory}: no such directory, expected one with config.json and safetensors'
    )
  config = read_json(directory / 'config.json')
  cfg = model_config(config, str(directory / 'config.json'))
  found, family = _tensors_in(directory), FAMILIES[config['model_type']]
  if (
    family.head_by_weights
    and not cfg.tie_embeddings
    and not weights.head_in(family, cfg, found)
  ):
    cfg = dataclasses.replace(cfg, tie_embeddings=True)
  model = _built(cfg, dtype)
  wanted = weights.tensors(family, model.cfg, model.shapes)
  params = weights.to_params(
    wanted,
    found,
    str(directory),
    copies=weights.copies(family, cfg),
    passed=family.passed,
  )
  has_tokenizer = (directory / tokenizers.FILE).exists()
  return model, params, tokenizers.load(directory) if has_tokenizer else None


def _built(cfg: ModelConfig, dtype: str) -> Model:
  return build(dataclasses.replace(cfg, dtype=dtype))


def _tensors_in(directory: epath.Path) -> dict[str, np.ndarray]:
  """All tensors of a directory's safetensors, by name."""
  index = directory / INDEX
  if (directory / WEIGHTS).exists():
    return safetensors.read(directory / WEIGHTS)
  if not index.exists():
    pickled = any(
      (directory / name).exists()
      for name in ('pytorch_model.bin', 'pytorch_model.bin.index.json')
    )
    raise ConfigError(
      f'{directory}: no {WEIGHTS}, nor {INDEX}'
      + (
        '; pytorch_model.bin is a pickle, which may run any code and is not read'
        if pickled
        else ''
      )
    )
  if index.stat().length > MAX_INDEX:
    raise ConfigError(
      f'{index}: {index.stat().length} bytes, expected at most {MAX_INDEX}'
    )
  places = parse(index.read_bytes(), str(index)).get('weight_map')
  if not isinstance(places, dict) or not all(
    isinstance(shard, str) for shard in places.values()
  ):
    raise ConfigError(
      f'{index}: weight_map: expected an object of tensor names and file names'
    )
  return _of_shards(directory, index, places)


def _of_shards(
  directory: epath.Path, index: epath.Path, places: Mapping[str, str]
) -> dict[str, np.ndarray]:
  out: dict[str, np.ndarray] = {}
  for shard in sorted(set(places.values())):
    if not _SHARD.fullmatch(shard):
      raise ConfigError(
        f'{index}: weight_map: got {shard[:200]!r}, expected the name of a safetensors file beside it'
      )
    if not (directory / shard).exists():
      raise ConfigError(
        f'{directory / shard}: no such file, but {INDEX} says it holds tensors: a shard is missing'
      )
    for name, tensor in safetensors.read(directory / shard).items():
      if places.get(name) != shard:
        raise ConfigError(
          f'{directory / shard}: {name[:200]!r}: {INDEX} says that it is '
          f'{"in " + places[name] if name in places else "nowhere"}'
        )
      out[name] = tensor
  for name in places:
    if name not in out:
      raise ConfigError(
        f'{directory}: no tensor {name[:200]}, which {INDEX} says is in {places[name]}'
      )
  return out


def save_pretrained(
  path: str | os.PathLike,
  config: Mapping[str, Any],
  params: Any,
  tokenizer: tokenizers.Tokenizer | None = None,
  *,
  shard_bytes: int = SHARD_BYTES,
) -> None:
  """Writes a directory that transformers loads, whole or not at all.

  Args:
    path: of the directory, which must not exist or be empty.
    config: what config.json shall hold; it says the family and the sizes.
    params: nested dict of arrays, as `load_pretrained` gives them.
    tokenizer: written beside them where it is one of Hugging Face's.
    shard_bytes: largest file of tensors, unless one tensor is larger.

  Raises:
    ConfigError: where `config` is none that lmhp reads, the parameters are another model's, or the directory is taken.
  """
  target = os.path.abspath(os.fspath(path))
  if os.path.lexists(target) and (not os.path.isdir(target) or os.listdir(target)):
    raise ConfigError(f'{path}: exists, expected the name of a new directory')
  cfg = model_config(dict(config), 'config')
  family: CheckpointFamily = FAMILIES[config['model_type']]
  if family.head_by_weights and 'kernel' not in params.get('output', {}):
    cfg = dataclasses.replace(cfg, tie_embeddings=True)
  model = _built(cfg, 'float32')
  _check_shapes(model, params)
  tensors = weights.to_tensors(weights.tensors(family, model.cfg, model.shapes), params)
  os.makedirs(os.path.dirname(target), exist_ok=True)
  temporary = tempfile.mkdtemp(
    prefix=f'.{os.path.basename(target)}.', dir=os.path.dirname(target)
  )
  try:
    _write(epath.Path(temporary), config, tensors, tokenizer, shard_bytes)
    if os.path.isdir(target):
      os.rmdir(target)
    os.chmod(temporary, 0o755)
    os.rename(temporary, target)
  finally:
    shutil.rmtree(temporary, ignore_errors=True)


def _check_shapes(model: Model, params: Any) -> None:
  wanted = {path: shape.shape for path, shape in walk_arrays(model.shapes)}
  came = {path: np.shape(x) for path, x in walk_arrays(params)}
  for name in sorted(wanted.keys() | came.keys()):
    if wanted.get(name) != came.get(name):
      raise ConfigError(
        f'params: {name}: got {came.get(name, "none")}, expected {wanted.get(name, "none")} by config'
      )


def _write(
  directory: epath.Path,
  config: Mapping[str, Any],
  tensors: dict[str, np.ndarray],
  tokenizer: tokenizers.Tokenizer | None,
  shard_bytes: int,
) -> None:
  shards: list[dict[str, np.ndarray]] = [{}]
  room = shard_bytes
  for name, tensor in tensors.items():
    if tensor.nbytes > room and shards[-1]:
      shards.append({})
      room = shard_bytes
    shards[-1][name] = tensor
    room -= tensor.nbytes
  names = (
    [WEIGHTS]
    if len(shards) == 1
    else [
      f'model-{i + 1:05}-of-{len(shards):05}.safetensors' for i in range(len(shards))
    ]
  )
  for name, shard in zip(names, shards):
    safetensors.write(directory / name, shard)
  if len(shards) > 1:
    places = {tensor: name for name, shard in zip(names, shards) for tensor in shard}
    total = sum(tensor.nbytes for tensor in tensors.values())
    (directory / INDEX).write_text(
      json.dumps({'metadata': {'total_size': total}, 'weight_map': places}, indent=2)
    )
  if tokenizer is not None:
    tokenizer.save(directory)
  (directory / 'config.json').write_text(json.dumps(config, indent=2) + '\n')
