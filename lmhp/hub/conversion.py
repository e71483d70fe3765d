"""Converts the tensors of a checkpoint to parameters, and parameters to tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
import re

import numpy as np

from lmhp.errors import ConfigError
from lmhp.hub.tensor_layout import CheckpointTensor
from lmhp.params import list_params, walk_arrays
from lmhp.typing import PyTree

_BUFFERS = (
  r'(.*\.)?(rotary_emb\.inv_freq|attn\.(masked_)?bias|attn\.attention\.(masked_)?bias|'
  r'attention\.(masked_)?bias|embed_positions\.weights|position_ids)'
)
"""Pattern for the names of constants in older files, such as causal masks."""

_MIN_FLOAT_BYTES = 2
"""Size of the smallest accepted number, in bytes. Quantized files have smaller numbers."""


def params_from_tensors(
  tensors: Sequence[CheckpointTensor],
  arrays: Mapping[str, np.ndarray],
  *,
  tied: Mapping[str, str],
  ignored: str,
  source: str,
) -> PyTree:
  """Returns the parameters of a checkpoint, in its precision.

  Args:
    tensors: Tensors that the checkpoint should have, from `checkpoint_tensors`.
    arrays: {name: array of the checkpoint}.
    tied: {second name of a tensor: name}, from `tied_names`. A checkpoint may have either name,
      or both with equal arrays.
    ignored: Regular expression for the names of tensors that the model does not use.
    source: Name of the checkpoint, for error messages.

  Returns:
    Nested dict of arrays. A parameter whose tensors have several dtypes is float32.

  Raises:
    ConfigError: If a tensor is missing, unknown or quantized, or if it has a wrong shape.
  """
  expected = {tensor.name for tensor in tensors}
  arrays = dict(_with_full_names(arrays, expected))
  for second_name, name in tied.items():
    if name in expected and name not in arrays and second_name in arrays:
      arrays[name] = arrays.pop(second_name)
  params: dict[str, np.ndarray] = {}
  for tensor in tensors:
    values = _checked_values(tensor, arrays, source)
    for param_slice, part in zip(tensor.slices, tensor.split(values), strict=True):
      path = param_slice.param.path
      # The first tensor of a parameter determines the dtype of the parameter. A later tensor
      # of another dtype changes it to float32.
      if path not in params:
        params[path] = np.empty(param_slice.param.shape, values.dtype)
      elif params[path].dtype != values.dtype:
        params[path] = params[path].astype(np.float32)
      param_slice.write(params[path], part)

  # All other tensors of the checkpoint must be buffers, ignored tensors, empty, or copies.
  unused = re.compile(f'{_BUFFERS}|{ignored}')
  others = {
    name: array
    for name, array in arrays.items()
    if name not in expected and array.size and not unused.fullmatch(name)
  }
  _check_other_tensors(others, arrays, tied, source)
  return nest(params)


def _checked_values(
  tensor: CheckpointTensor, arrays: Mapping[str, np.ndarray], source: str
) -> np.ndarray:
  """Returns the array of a tensor, after a check of its shape and its dtype."""
  if tensor.name not in arrays:
    path = tensor.slices[0].param.path
    raise ConfigError(
      f'{source}: no tensor {tensor.name}, expected it for the parameter {path}'
    )
  values = arrays[tensor.name]
  if values.shape != tensor.shape:
    raise ConfigError(
      f'{source}: {tensor.name}: got the shape {list(values.shape)}, expected '
      f'{list(tensor.shape)}, which follows from config.json'
    )
  # numpy has kind f for float16, float32 and float64, and V for bfloat16.
  if values.dtype.kind not in 'fV' or values.dtype.itemsize < _MIN_FLOAT_BYTES:
    raise ConfigError(
      f'{source}: {tensor.name}: got {values.dtype} numbers, expected float32, float16 or '
      'bfloat16, as quantized checkpoints are not read'
    )
  return values


def _with_full_names(
  arrays: Mapping[str, np.ndarray], names: Iterable[str]
) -> dict[str, np.ndarray]:
  """Returns the arrays of a checkpoint under the current names of its family.

  There are two kinds of older names. The first files of BERT have gamma and beta for the weight
  and the bias of a normalization. Some files leave out the first word of all names: wte.weight
  instead of transformer.wte.weight.

  Args:
    arrays: {name: array of the checkpoint}.
    names: Current names of the tensors.
  """
  renamed = {
    re.sub(r'\.gamma$', '.weight', re.sub(r'\.beta$', '.bias', name)): array
    for name, array in arrays.items()
  }

  # The first word is missing if all current names begin with it, and no name of the file does.
  # Names of two words, such as lm_head.weight, never begin with it and do not count. If the head
  # is tied, `names` lacks lm_head.weight, but a file may have it.
  full_names = {*names, 'lm_head.weight'}
  prefixes = {name.split('.')[0] + '.' for name in full_names if name.count('.') > 1}
  has_prefix = any(name.startswith(tuple(prefixes)) for name in renamed)
  if len(prefixes) != 1 or has_prefix:
    return renamed

  prefix = prefixes.pop()
  return {
    name if name in full_names else prefix + name: array
    for name, array in renamed.items()
  }


def _check_other_tensors(
  others: Mapping[str, np.ndarray],
  arrays: Mapping[str, np.ndarray],
  tied: Mapping[str, str],
  source: str,
) -> None:
  """Checks that further tensors of a checkpoint are copies of the expected tensors.

  Args:
    others: {name: array} of the further tensors.
    arrays: {name: array of the checkpoint}.
    tied: {name of a copy: name of the original}.
    source: Name of the checkpoint, for error messages.

  Raises:
    ConfigError: If a further tensor is no copy, or if it differs from the original.
  """
  for name, array in others.items():
    if name not in tied:
      raise ConfigError(f'{source}: {name}: unknown tensor for this model')
    original = arrays[tied[name]]
    if array.shape != original.shape or not np.array_equal(array, original):
      raise ConfigError(
        f'{source}: {name}: got an array that differs from {tied[name]}, expected an equal '
        'one, since the two tensors are tied'
      )


def tensors_from_params(
  tensors: Sequence[CheckpointTensor], params: PyTree
) -> dict[str, np.ndarray]:
  """Returns {name of a tensor: array}, the inverse of `params_from_tensors`.

  Args:
    tensors: Tensors of the checkpoint, from `checkpoint_tensors`.
    params: Nested dict of arrays.
  """
  param_arrays = {path: np.asarray(array) for path, array in walk_arrays(params)}
  arrays = {}
  for tensor in tensors:
    parts = [
      param_slice.read(param_arrays[param_slice.param.path])
      for param_slice in tensor.slices
    ]
    arrays[tensor.name] = np.ascontiguousarray(tensor.join(parts))
  return arrays


def with_zero_biases(params: PyTree, shapes: PyTree) -> PyTree:
  """Returns parameters with zeros for the biases that they lack.

  Args:
    params: Nested dict of arrays.
    shapes: Nested dict of the shapes of the parameters with all biases.
  """
  arrays = dict(walk_arrays(params))
  for param in list_params(shapes):
    if param.role == 'bias' and param.path not in arrays:
      arrays[param.path] = np.zeros(param.shape, np.float32)
  return nest(arrays)


def nest(arrays: Mapping[str, np.ndarray]) -> PyTree:
  """Returns a nested dict of arrays.

  Args:
    arrays: {path: array}. A path consists of names that are joined by `/`.

  >>> nest({'a/b': 1, 'a/c': 2})
  {'a': {'b': 1, 'c': 2}}
  """
  nested: PyTree = {}
  for path, array in arrays.items():
    *parents, last_name = path.split('/')
    node = nested
    for name in parents:
      node = node.setdefault(name, {})
    node[last_name] = array
  return nested
