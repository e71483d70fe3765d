"""The table of parameters, in which every parameter has exactly one specification.

A specification (`ParamSpec`) is one row of the table. It gives the *kind* of a parameter, by
which parameters are counted, its *role*, by which the optimizer treats it, and its *axes*.
Counts, decay masks, learning-rate multipliers, freezing, initialization, Muon's choice of
matrices, per-layer norms and sharding read this table and nothing else. A parameter that
matches no row, or more than one, is an error.

An axis is a letter of the dimension key (see `lmhp.model`). The axes of a weight are written
`copies | contracted > produced`. Axes on the left of `>` are contracted with the input. Axes
on the left of `|` number separate matrices, such as those of experts: 'E | D > F' is a D x F
matrix for each expert. If an array has one axis more than its row, the first is N, the layers.

A file that defines a part of the network, such as a token mixer, adds the rows of its parameters
with `register_params`. This file imports no jax.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
import dataclasses
import functools
import math
import re
from typing import Protocol

from lmhp.typing import PyTree

KINDS = (
  'embedding',
  'positional',
  'attention',
  'feed_forward',
  'normalization',
  'output',
  'other',
)
"""Kinds of parameters. 'other' is the kind of token mixers other than attention."""

ROLES = ('weight', 'bias', 'scale', 'table', 'state')
"""Roles of parameters, which `ParamSpec` explains."""


@dataclasses.dataclass(frozen=True)
class ParamSpec:
  """Specification of the parameters whose paths match a pattern.

  Attributes:
    pattern: Path with wildcards. `*` matches any one name, `**` any number of names.
    kind: One of `KINDS`.
    role: One of `ROLES`. 'weight' is a matrix that multiplies its input, 'bias' is added, 'scale'
      is a factor such as the gain of a normalization, and 'table' has rows that are looked up.
      'state' is set by a rule of the training step, such as the correction of a router. It
      has no gradient and no optimizer state, and no count includes it.
    axes: Letters separated by spaces. Those of a weight are `copies | contracted > produced`.
    residual: True if the output of the weight is added to the residual stream. GPT-2 divides the
      initial standard deviation of such a weight by sqrt(2 n_layers).

  Raises:
    ValueError: If the kind, the role or the axes are malformed.
  """

  pattern: str
  kind: str
  role: str
  axes: str
  residual: bool = False

  def __post_init__(self) -> None:
    if self.kind not in KINDS:
      raise ValueError(
        f'{self.pattern}: got kind {self.kind!r}, expected one of {KINDS}'
      )
    if self.role not in ROLES:
      raise ValueError(
        f'{self.pattern}: got role {self.role!r}, expected one of {ROLES}'
      )
    letters = self.axes.replace('|', ' ').replace('>', ' ').split()
    is_matrix = '>' in self.axes
    if is_matrix != (self.role == 'weight') or any(len(axis) > 1 for axis in letters):
      raise ValueError(
        f'{self.pattern}: got axes {self.axes!r} for the role {self.role}, expected single '
        'letters separated by spaces, with > for a weight and without > for other roles'
      )


def linear_specs(
  module: str, kind: str, axes: str, residual: bool = False
) -> tuple[ParamSpec, ParamSpec]:
  """Returns the specifications of a linear map: its kernel and its bias.

  The axes of the bias are `copies | produced`, without the contracted axes.

  Args:
    module: Pattern of the path that holds `kernel` and `bias`.
    kind: Kind of both.
    axes: Axes of the kernel.
    residual: True if the output of the map is added to the residual stream.

  >>> [spec.axes for spec in linear_specs('**/experts/up', 'feed_forward', 'E | D > F')]
  ['E | D > F', 'E | F']
  """
  copies, bar, matrix = axes.rpartition('|')
  produced = matrix.rpartition('>')[2].strip()
  bias_axes = f'{copies.strip()} | {produced}' if bar else produced
  return (
    ParamSpec(f'{module}/kernel', kind, 'weight', axes, residual),
    ParamSpec(f'{module}/bias', kind, 'bias', bias_axes),
  )


def norm_specs(module: str, axes: str) -> tuple[ParamSpec, ParamSpec]:
  """Returns the specifications of a normalization: its scale and its bias.

  Args:
    module: Pattern of the path that holds `scale` and `bias`.
    axes: Axes of both.
  """
  return (
    ParamSpec(f'{module}/scale', 'normalization', 'scale', axes),
    ParamSpec(f'{module}/bias', 'normalization', 'bias', axes),
  )


# --- the table ----------------------------------------------------------------------

PARAM_TABLE: list[ParamSpec] = []
"""All specifications. `register_params` adds to it."""


def register_params(specs: Iterable[ParamSpec]) -> None:
  """Adds specifications to the table. The same specification may be added again.

  Args:
    specs: Specifications of the parameters of one part of the network.

  Raises:
    ValueError: If the table has another specification with the same pattern.
  """
  for spec in specs:
    # A module that is reloaded registers equal specifications again.
    others = [other for other in PARAM_TABLE if other.pattern == spec.pattern]
    if not others:
      PARAM_TABLE.append(spec)
    elif others != [spec]:
      raise ValueError(
        f'parameter {spec.pattern!r}: got {spec}, expected {others[0]}, as registered before'
      )
  param_spec_of.cache_clear()


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
  """Returns a pattern as a regular expression for paths."""
  wildcards = {'*': r'[^/]+', '**': r'.+'}
  parts = [wildcards.get(part, re.escape(part)) for part in pattern.split('/')]
  return re.compile('/'.join(parts))


def matches(pattern: str, path: str) -> bool:
  """Returns True if a path matches a pattern.

  Args:
    pattern: Path in which `*` matches any one name, and `**` any number of names.
    path: Names joined by `/`.

  >>> matches('**/attention/*/kernel', 'decoder/segment_0/attention/query/kernel')
  True
  """
  return _compiled(pattern).fullmatch(path) is not None


@functools.cache
def param_spec_of(path: str) -> ParamSpec:
  """Returns the specification of a parameter.

  Args:
    path: Names joined by `/`, such as `decoder/segment_0/attention/query/kernel`.

  Raises:
    KeyError: If no row of the table matches, or more than one.
  """
  specs = [spec for spec in PARAM_TABLE if matches(spec.pattern, path)]
  if len(specs) != 1:
    patterns = ', '.join(spec.pattern for spec in specs) or 'none'
    raise KeyError(
      f'parameter {path!r}: matches {len(specs)} specifications ({patterns}), expected 1 '
      '(see lmhp.params.register_params)'
    )
  return specs[0]


# --- parameters ---------------------------------------------------------------------


class HasShape(Protocol):
  """An array, or a description of one such as `jax.ShapeDtypeStruct`."""

  @property
  def shape(self) -> tuple[int, ...]: ...


@dataclasses.dataclass(frozen=True)
class Param:
  """One parameter of a model: its path, its shape and its specification.

  Attributes:
    path: Names joined by `/`.
    shape: Sizes of the axes. Layers come first if it is stacked.
    spec: Specification from the table.
  """

  path: str
  shape: tuple[int, ...]
  spec: ParamSpec

  @property
  def kind(self) -> str:
    """Kind of the parameter, one of `KINDS`."""
    return self.spec.kind

  @property
  def role(self) -> str:
    """Role of the parameter, one of `ROLES`."""
    return self.spec.role

  @property
  def size(self) -> int:
    """Number of elements, all layers together."""
    return math.prod(self.shape)

  @property
  def _letters(self) -> tuple[list[str], list[str], list[str]]:
    """Letters of the copied, the contracted and the produced axes.

    Without > in `axes`, all axes that are not copied are in the last list.
    """
    copies, _, matrix = self.spec.axes.rpartition('|')
    contracted, _, others = matrix.rpartition('>')
    return copies.split(), contracted.split(), others.split()

  @property
  def is_stacked(self) -> bool:
    """True if the first axis is N, the layers."""
    return len(self.shape) == sum(map(len, self._letters)) + 1

  @property
  def axes(self) -> tuple[str, ...]:
    """Letters of the dimensions of `shape`."""
    copies, contracted, others = self._letters
    layers = ['N'] if self.is_stacked else []
    return (*layers, *copies, *contracted, *others)

  @property
  def copy_axes(self) -> tuple[int, ...]:
    """Positions in `shape` of the axes that number separate matrices: layers and experts."""
    return tuple(range(self.is_stacked + len(self._letters[0])))

  @property
  def input_axes(self) -> tuple[int, ...]:
    """Positions in `shape` of the contracted axes of a weight."""
    first = len(self.copy_axes)
    return tuple(range(first, first + len(self._letters[1])))

  @property
  def output_axes(self) -> tuple[int, ...]:
    """Positions in `shape` of the produced axes of a weight."""
    if '>' not in self.spec.axes:
      return ()
    first = len(self.copy_axes) + len(self.input_axes)
    return tuple(range(first, len(self.shape)))

  @property
  def fan_in(self) -> int:
    """Product of the contracted axes. 1 if the parameter is not a weight."""
    return math.prod(self.shape[axis] for axis in self.input_axes)

  @property
  def fan_out(self) -> int:
    """Product of the produced axes. 1 if the parameter is not a weight."""
    return math.prod(self.shape[axis] for axis in self.output_axes)

  @property
  def is_hidden_matrix(self) -> bool:
    """True for a weight whose input and output are both hidden activations.

    Muon orthogonalizes these matrices, and muP calls them hidden. The kernel of a convolution
    (one filter per channel, so fan_out is 1) is not such a matrix.
    """
    return (
      self.role == 'weight'
      and self.kind not in ('embedding', 'output')
      and self.fan_out > 1
    )


def walk_arrays(tree: PyTree, prefix: str = '') -> Iterator[tuple[str, PyTree]]:
  """Yields the path and the value of each leaf of a nested dict, in the order of `jax.tree`.

  Args:
    tree: Nested dict of arrays. A leaf None is left out.
    prefix: Path of `tree`, if it is a branch of a larger dict.
  """
  if isinstance(tree, dict):
    for name in sorted(tree):
      yield from walk_arrays(tree[name], f'{prefix}/{name}' if prefix else name)
  elif tree is not None:
    yield prefix, tree


def param_of(path: str, array: HasShape) -> Param:
  """Returns the `Param` of an array.

  Args:
    path: Names joined by `/`.
    array: Array, or anything else with a shape.

  Raises:
    KeyError: If the path has no specification, or the shape has another number of axes.
  """
  param = Param(path, tuple(array.shape), param_spec_of(path))
  if len(param.axes) != len(param.shape):
    raise KeyError(
      f'parameter {path!r}: has shape {param.shape}, expected the axes '
      f'{param.spec.axes!r}, or one axis of layers more'
    )
  return param


def list_params(params: PyTree) -> list[Param]:
  """Returns the `Param` of each array or shape in a nested dict, in the order of `jax.tree`."""
  return [param_of(path, array) for path, array in walk_arrays(params)]


def map_params(
  function: Callable[..., PyTree], params: PyTree, *others: PyTree, prefix: str = ''
) -> PyTree:
  """Returns `function(param, array, *other_arrays)` for each parameter, as a nested dict.

  Args:
    function: Takes the `Param`, its array, and the array at the same path of each of
      `others`.
    params: Nested dict of arrays or shapes. None and an empty tuple (`optax.MaskedNode`)
      mark a parameter that is left out, and are returned unchanged.
    *others: Nested dicts with the same keys as `params`.
    prefix: Path of `params`, if it is a branch of a larger dict.
  """
  if isinstance(params, dict):
    mapped = {}
    for name, branch in params.items():
      other_branches = [other[name] for other in others]
      path = f'{prefix}/{name}' if prefix else name
      mapped[name] = map_params(function, branch, *other_branches, prefix=path)
    return mapped
  if params is None or isinstance(params, tuple):
    return params
  return function(param_of(prefix, params), params, *others)
