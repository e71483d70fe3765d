"""Layout of parameters in the tensors of a checkpoint.

lmhp stacks the layers and experts of a parameter in one array, such as (N, E, I, O). A checkpoint
has a separate tensor for each layer, and often for each expert or head. But one tensor may
contain several parameters, such as query, key and value.

Dimensions in this file: I inputs and O outputs of a weight, K head size, E experts, N layers.
lmhp stores a weight as (I, O), most checkpoints store it as (O, I).
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import math

import numpy as np

from lmhp.params import Param


@dataclasses.dataclass(frozen=True)
class ParamSlice:
  """Part of a parameter that one tensor contains, such as the query weight of one layer.

  Attributes:
    param: The parameter, with all layers.
    layer: Index on N. None if the parameter is not stacked over layers.
    head: Index of the head, if each head has its own tensor. None for all heads together.
    n_heads: Number of heads into which one layer of the parameter is divided equally. 1 if `head`
      is None.
    expert: Index on E, if each expert has its own tensor. None for all experts together, or if
      there are no experts.
  """

  param: Param
  layer: int | None
  head: int | None = None
  n_heads: int = 1
  expert: int | None = None

  @property
  def has_all_experts(self) -> bool:
    """True if the slice has all experts. A checkpoint stores them as lmhp does, as (E, I, O)."""
    # `copy_axes` are the axes that number separate matrices: layers if stacked, and experts.
    has_experts = len(self.param.copy_axes) > int(self.param.is_stacked)
    return has_experts and self.expert is None

  @property
  def shape(self) -> tuple[int, ...]:
    """Shape of the slice in a checkpoint.

    A weight is (O, I). A table, or all experts together, has the same shape as in lmhp.
    Everything else (biases and scales) is flat.
    """
    # A slice of one layer has no axis N, and a slice of one expert has no axis E.
    n_indexed = int(self.param.is_stacked) + int(self.expert is not None)
    inner_shape = self.param.shape[n_indexed:]
    if self.has_all_experts or self.param.role == 'table':
      return inner_shape
    if self.param.role == 'weight':
      return self.param.fan_out, self.param.fan_in
    return (math.prod(inner_shape) // self.n_heads,)

  def write(self, array: np.ndarray, values: np.ndarray) -> None:
    """Copies the values of the slice into the array of the parameter.

    Args:
      array: Array of the parameter, with all layers. It is changed.
      values: Values of the slice, of shape `self.shape`.
    """
    part = self._part_of(array)
    if self.param.role == 'weight' and not self.has_all_experts:
      # (O, I) in the checkpoint, (I, O) in lmhp.
      values = values.T
    if self.head is None:
      part[...] = values.reshape(part.shape)
    else:
      part.reshape(self.n_heads, -1)[self.head] = values

  def read(self, array: np.ndarray) -> np.ndarray:
    """Returns the values of the slice. It is the inverse of `write`.

    Args:
      array: Array of the parameter, with all layers.
    """
    part = self._part_of(array)
    if self.head is not None:
      return part.reshape(self.n_heads, -1)[self.head]
    if self.has_all_experts:
      return part
    if self.param.role == 'weight':
      return part.reshape(self.shape[::-1]).T
    return part.reshape(self.shape)

  def _part_of(self, array: np.ndarray) -> np.ndarray:
    """Returns the view of the layer and the expert of the slice."""
    if self.layer is not None:
      array = array[self.layer]
    if self.expert is not None:
      array = array[self.expert]
    return array


@dataclasses.dataclass(frozen=True)
class CheckpointTensor:
  """One tensor of a checkpoint, and the parameters that it contains.

  Attributes:
    name: Name in the checkpoint.
    slices: Slices of parameters, in the order in which the tensor contains them, such as
      (query, key, value).
    n_groups: Number of groups of rows. Each group has rows of all slices: some of the query, then
      some of the key, then some of the value. 1 if all rows of the query precede those of the key.
    is_transposed: True if a weight is stored as (I, O), as in GPT-2. False for (O, I).
    n_vector_heads: Number of heads if a vector, such as a scale, is stored as (heads, K). 0 if it
      is stored flat.
    is_interleaved: Order of columns in a tensor of all experts. True if the columns of the slices
      (gate, up) alternate. False if all columns of gate precede those of up.
  """

  name: str
  slices: tuple[ParamSlice, ...]
  n_groups: int = 1
  is_transposed: bool = False
  n_vector_heads: int = 0
  is_interleaved: bool = False

  @property
  def _has_all_experts(self) -> bool:
    return self.slices[0].has_all_experts

  @property
  def shape(self) -> tuple[int, ...]:
    """Shape in the checkpoint."""
    # Slices of all experts are joined along the last axis. Other slices are joined along the
    # rows.
    first_shape = self.slices[0].shape
    if self._has_all_experts:
      n_columns = sum(part.shape[-1] for part in self.slices)
      return *first_shape[:-1], n_columns
    n_rows = sum(part.shape[0] for part in self.slices)
    if self.n_vector_heads:
      return self.n_vector_heads, n_rows // self.n_vector_heads
    shape = (n_rows, *first_shape[1:])
    return shape[::-1] if self.is_transposed else shape

  def split(self, values: np.ndarray) -> list[np.ndarray]:
    """Divides the values of the tensor among its slices.

    Args:
      values: Array of the tensor.

    Returns:
      One array for each slice, in the shape of the slice.
    """
    n_slices = len(self.slices)
    if self._has_all_experts and self.is_interleaved:
      return [values[..., i::n_slices] for i in range(n_slices)]
    if self._has_all_experts:
      return np.split(values, n_slices, axis=-1)

    # Make the rows of the slices the first axis.
    if self.n_vector_heads:
      values = values.reshape(-1)
    elif self.is_transposed:
      values = values.T

    # Divide the rows into groups, and each group into the rows of the slices. All groups have
    # the same number of rows of the query, for example.
    grouped = values.reshape(self.n_groups, -1, *values.shape[1:])
    n_rows_of_group = [part.shape[0] // self.n_groups for part in self.slices]
    parts = np.split(grouped, np.cumsum(n_rows_of_group)[:-1], axis=1)
    return [part.reshape(-1, *values.shape[1:]) for part in parts]

  def join(self, parts: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the tensor from the values of its slices. It is the inverse of `split`.

    Args:
      parts: One array for each slice, in the shape of the slice.
    """
    if self._has_all_experts and self.is_interleaved:
      return np.stack(parts, axis=-1).reshape(self.shape)
    if self._has_all_experts:
      return np.concatenate(parts, axis=-1)

    values = parts[0]
    if len(parts) > 1:
      # Concatenate the rows of each group, then flatten the groups.
      grouped = [part.reshape(self.n_groups, -1, *part.shape[1:]) for part in parts]
      values = np.concatenate(grouped, axis=1).reshape(-1, *values.shape[1:])

    if self.n_vector_heads:
      return values.reshape(self.shape)
    return values.T if self.is_transposed else values
