"""Law 2: every parameter leaf has one row, and everything that treats leaves differently reads it here.

A row gives a leaf's *kind* (what the count calls it), its *role* (what the optimizer may do to it) and its *axes*.
Counts, decay masks, per-kind rates, freezing, initialization, parametrization, Muon's matrices, per-layer norms and
sharding read this table and nothing else. It is total and disjoint: a leaf that matches no row, or two, is an error.

Axes are single letters of the dimension key (`lmhp.model`); of a matrix, those left of `>` are contracted with the
input, and those left of `|` count copies, each a matrix of its own (experts). A leaf with one axis more than its row
says is stacked over layers, N first.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from typing import Any, Callable, Iterator

KINDS = (
  'embedding',
  'positional',
  'attention',
  'feed_forward',
  'normalization',
  'output',
  'other',
)
ROLES = ('weight', 'bias', 'scale', 'table', 'state')


@dataclasses.dataclass(frozen=True)
class ParamSpec:
  """One rule of the table.

  Attributes:
    pattern: the leaf's path; `*` stands for any one name, `**` for any names.
    kind: one of `KINDS`.
    role: one of `ROLES`: a matrix that multiplies, an additive bias, a normalization gain, a table of rows looked up, or
      a state, which training sets by itself: no gradient, no optimizer, and no parameter in any count.
    axes: letters; of a weight, `copies | contracted > produced`.
    residual: the weight writes into the residual stream (GPT-2 scales its initialization by depth).
  """

  pattern: str
  kind: str
  role: str
  axes: str
  residual: bool = False


def _rows(
  of: str, names: str, axes: str, bias: str, residual: bool = False
) -> tuple[ParamSpec, ...]:
  """Rows of a token mixer's linear maps: those named, each with its bias."""
  return tuple(
    row
    for name in names.split()
    for row in (
      ParamSpec(f'**/{of}/{name}/kernel', 'other', 'weight', axes, residual),
      ParamSpec(f'**/{of}/{name}/bias', 'other', 'bias', bias),
    )
  )


MIXERS = (
  *_rows('convolution', 'write gate input', 'D > I', 'I'),
  *_rows('mingru', 'gate input', 'D > I', 'I'),
  *_rows('rglru', 'gate input', 'D > I', 'I'),
  *_rows('mamba2', 'gate input', 'D > I', 'I'),
  *_rows('mamba2', 'write read', 'D > Y', 'Y'),
  *_rows('mamba2', 'step', 'D > H', 'H'),
  *_rows('lstm', 'input', 'D > Z I', 'Z I'),
  *_rows('gru', 'input', 'D > Z I', 'Z I'),
  *(
    row
    for of in ('convolution', 'mingru', 'rglru', 'mamba2', 'lstm', 'gru')
    for row in _rows(of, 'output', 'I > D', 'D', residual=True)
  ),
  ParamSpec('**/recurrent/kernel', 'other', 'weight', 'I > Z I'),
  ParamSpec('**/gru/candidate_bias', 'other', 'bias', 'I'),
  *_rows('rglru', 'recurrence_gate input_gate', 'H | K > K', 'H | K'),
  ParamSpec('**/rglru/decay', 'other', 'bias', 'I'),
  ParamSpec('**/mamba2/step_bias', 'other', 'bias', 'H'),
  ParamSpec('**/mamba2/log_decay', 'other', 'bias', 'H'),
  ParamSpec('**/mamba2/skip', 'other', 'scale', 'H'),
  ParamSpec('**/mamba2/norm/scale', 'normalization', 'scale', 'I'),
  ParamSpec('**/mamba2/norm/bias', 'normalization', 'bias', 'I'),
  ParamSpec('**/convolution/kernel', 'other', 'weight', 'C | W >'),
  ParamSpec('**/convolution/bias', 'other', 'bias', 'C'),
)

PARAM_TABLE = (
  ParamSpec('embedding/table', 'embedding', 'table', 'V D'),
  ParamSpec('embedding/project/kernel', 'embedding', 'weight', 'X > D'),
  ParamSpec('embedding/project/bias', 'embedding', 'bias', 'D'),
  ParamSpec('token_types/table', 'embedding', 'table', 'T D'),
  ParamSpec('positional/table', 'positional', 'table', 'L D'),
  ParamSpec('*/relative_bias/table', 'positional', 'table', 'U H'),
  ParamSpec('**/attention/query/kernel', 'attention', 'weight', 'D > H K'),
  ParamSpec('**/attention/key/kernel', 'attention', 'weight', 'D > G K'),
  ParamSpec('**/attention/value/kernel', 'attention', 'weight', 'D > G K'),
  ParamSpec(
    '**/attention/output/kernel', 'attention', 'weight', 'H K > D', residual=True
  ),
  ParamSpec('**/attention/query/bias', 'attention', 'bias', 'H K'),
  ParamSpec('**/attention/key/bias', 'attention', 'bias', 'G K'),
  ParamSpec('**/attention/value/bias', 'attention', 'bias', 'G K'),
  ParamSpec('**/attention/output/bias', 'attention', 'bias', 'D'),
  ParamSpec('**/attention/sinks', 'attention', 'bias', 'H'),
  ParamSpec('**/cross_attention/query/kernel', 'attention', 'weight', 'D > H K'),
  ParamSpec('**/cross_attention/key/kernel', 'attention', 'weight', 'D > G K'),
  ParamSpec('**/cross_attention/value/kernel', 'attention', 'weight', 'D > G K'),
  ParamSpec(
    '**/cross_attention/output/kernel', 'attention', 'weight', 'H K > D', residual=True
  ),
  ParamSpec('**/cross_attention/query/bias', 'attention', 'bias', 'H K'),
  ParamSpec('**/cross_attention/key/bias', 'attention', 'bias', 'G K'),
  ParamSpec('**/cross_attention/value/bias', 'attention', 'bias', 'G K'),
  ParamSpec('**/cross_attention/output/bias', 'attention', 'bias', 'D'),
  ParamSpec('**/cross_attention/sinks', 'attention', 'bias', 'H'),
  ParamSpec('**/feed_forward/gate/kernel', 'feed_forward', 'weight', 'D > F'),
  ParamSpec('**/feed_forward/up/kernel', 'feed_forward', 'weight', 'D > F'),
  ParamSpec(
    '**/feed_forward/down/kernel', 'feed_forward', 'weight', 'F > D', residual=True
  ),
  ParamSpec('**/feed_forward/gate/bias', 'feed_forward', 'bias', 'F'),
  ParamSpec('**/feed_forward/up/bias', 'feed_forward', 'bias', 'F'),
  ParamSpec('**/feed_forward/down/bias', 'feed_forward', 'bias', 'D'),
  ParamSpec('**/attention/query_down/kernel', 'attention', 'weight', 'D > C'),
  ParamSpec('**/attention/query_down/bias', 'attention', 'bias', 'C'),
  ParamSpec('**/attention/query_up/kernel', 'attention', 'weight', 'C > H K'),
  ParamSpec('**/attention/latent/kernel', 'attention', 'weight', 'D > C'),
  ParamSpec('**/attention/latent/bias', 'attention', 'bias', 'C'),
  ParamSpec('**/attention/key_rotary/kernel', 'attention', 'weight', 'D > P'),
  ParamSpec('**/attention/key_rotary/bias', 'attention', 'bias', 'P'),
  ParamSpec('**/attention/key_up/kernel', 'attention', 'weight', 'C > H K'),
  ParamSpec('**/attention/value_up/kernel', 'attention', 'weight', 'C > H K'),
  ParamSpec('**/attention/query_down_norm/scale', 'normalization', 'scale', 'C'),
  ParamSpec('**/attention/query_down_norm/bias', 'normalization', 'bias', 'C'),
  ParamSpec('**/attention/latent_norm/scale', 'normalization', 'scale', 'C'),
  ParamSpec('**/attention/latent_norm/bias', 'normalization', 'bias', 'C'),
  ParamSpec('**/experts/router/kernel', 'feed_forward', 'weight', 'D > E'),
  ParamSpec('**/experts/router/bias', 'feed_forward', 'bias', 'E'),
  ParamSpec('**/experts/correction', 'feed_forward', 'state', 'E'),
  ParamSpec('**/experts/gate/kernel', 'feed_forward', 'weight', 'E | D > F'),
  ParamSpec('**/experts/up/kernel', 'feed_forward', 'weight', 'E | D > F'),
  ParamSpec(
    '**/experts/down/kernel', 'feed_forward', 'weight', 'E | F > D', residual=True
  ),
  ParamSpec('**/experts/gate/bias', 'feed_forward', 'bias', 'E | F'),
  ParamSpec('**/experts/up/bias', 'feed_forward', 'bias', 'E | F'),
  ParamSpec('**/experts/down/bias', 'feed_forward', 'bias', 'E | D'),
  ParamSpec('**/shared/gate/kernel', 'feed_forward', 'weight', 'D > F'),
  ParamSpec('**/shared/up/kernel', 'feed_forward', 'weight', 'D > F'),
  ParamSpec('**/shared/down/kernel', 'feed_forward', 'weight', 'F > D', residual=True),
  ParamSpec('**/shared/gate/bias', 'feed_forward', 'bias', 'F'),
  ParamSpec('**/shared/up/bias', 'feed_forward', 'bias', 'F'),
  ParamSpec('**/shared/down/bias', 'feed_forward', 'bias', 'D'),
  ParamSpec('**/attention/query_norm/scale', 'normalization', 'scale', 'Q'),
  ParamSpec('**/attention/query_norm/bias', 'normalization', 'bias', 'Q'),
  ParamSpec('**/attention/key_norm/scale', 'normalization', 'scale', 'Q'),
  ParamSpec('**/attention/key_norm/bias', 'normalization', 'bias', 'Q'),
  ParamSpec('**/attention_input_norm/scale', 'normalization', 'scale', 'D'),
  ParamSpec('**/attention_input_norm/bias', 'normalization', 'bias', 'D'),
  ParamSpec('**/attention_output_norm/scale', 'normalization', 'scale', 'D'),
  ParamSpec('**/attention_output_norm/bias', 'normalization', 'bias', 'D'),
  ParamSpec('**/attention_residual_norm/scale', 'normalization', 'scale', 'D'),
  ParamSpec('**/attention_residual_norm/bias', 'normalization', 'bias', 'D'),
  ParamSpec('**/cross_attention/query_norm/scale', 'normalization', 'scale', 'Q'),
  ParamSpec('**/cross_attention/query_norm/bias', 'normalization', 'bias', 'Q'),
  ParamSpec('**/cross_attention/key_norm/scale', 'normalization', 'scale', 'Q'),
  ParamSpec('**/cross_attention/key_norm/bias', 'normalization', 'bias', 'Q'),
  ParamSpec('**/cross_attention_input_norm/scale', 'normalization', 'scale', 'D'),
  ParamSpec('**/cross_attention_input_norm/bias', 'normalization', 'bias', 'D'),
  ParamSpec('**/cross_attention_output_norm/scale', 'normalization', 'scale', 'D'),
  ParamSpec('**/cross_attention_output_norm/bias', 'normalization', 'bias', 'D'),
  ParamSpec('**/cross_attention_residual_norm/scale', 'normalization', 'scale', 'D'),
  ParamSpec('**/cross_attention_residual_norm/bias', 'normalization', 'bias', 'D'),
  ParamSpec('**/feed_forward_input_norm/scale', 'normalization', 'scale', 'D'),
  ParamSpec('**/feed_forward_input_norm/bias', 'normalization', 'bias', 'D'),
  ParamSpec('**/feed_forward_output_norm/scale', 'normalization', 'scale', 'D'),
  ParamSpec('**/feed_forward_output_norm/bias', 'normalization', 'bias', 'D'),
  ParamSpec('**/feed_forward_residual_norm/scale', 'normalization', 'scale', 'D'),
  ParamSpec('**/feed_forward_residual_norm/bias', 'normalization', 'bias', 'D'),
  ParamSpec('embedding_norm/scale', 'normalization', 'scale', 'D'),
  ParamSpec('embedding_norm/bias', 'normalization', 'bias', 'D'),
  ParamSpec('final_norm/scale', 'normalization', 'scale', 'D'),
  ParamSpec('final_norm/bias', 'normalization', 'bias', 'D'),
  ParamSpec('encoder_final_norm/scale', 'normalization', 'scale', 'D'),
  ParamSpec('encoder_final_norm/bias', 'normalization', 'bias', 'D'),
  ParamSpec('output/project/kernel', 'embedding', 'weight', 'D > X'),
  ParamSpec('output/transform/kernel', 'output', 'weight', 'D > X'),
  ParamSpec('output/transform/bias', 'output', 'bias', 'X'),
  ParamSpec('output/transform_norm/scale', 'normalization', 'scale', 'X'),
  ParamSpec('output/transform_norm/bias', 'normalization', 'bias', 'X'),
  ParamSpec('output/kernel', 'output', 'weight', 'D > V'),
  ParamSpec('output/bias', 'output', 'bias', 'V'),
  *MIXERS,
)


@functools.cache
def _compiled(pattern: str) -> re.Pattern:
  """The pattern as a regular expression over whole paths."""
  parts = [
    r'.+' if p == '**' else r'[^/]+' if p == '*' else re.escape(p)
    for p in pattern.split('/')
  ]
  return re.compile('/'.join(parts))


def matches(pattern: str, path: str) -> bool:
  """Whether a path is one that a pattern names: `*` stands for any one name, `**` for any names.

  >>> matches('**/attention/*/kernel', 'decoder/segment_0/attention/query/kernel')
  True
  """
  return _compiled(pattern).fullmatch(path) is not None


@functools.cache
def param_spec_of(path: str) -> ParamSpec:
  """The one row that a path matches.

  Args:
    path: names joined by `/`, as `decoder/segment_0/attention/query/kernel`.

  Raises:
    KeyError: where no row matches, or more than one.
  """
  rows = [row for row in PARAM_TABLE if matches(row.pattern, path)]
  if len(rows) != 1:
    found = 'no row' if not rows else 'rows ' + ', '.join(row.pattern for row in rows)
    raise KeyError(
      f'parameter {path!r} matches {found} of the leaf table (lmhp/params.py)'
    )
  return rows[0]


@dataclasses.dataclass(frozen=True)
class Param:
  """One parameter: its path, its shape and its row.

  Attributes:
    path: names joined by `/`.
    shape: sizes of its axes, layers first where stacked.
    row: its row of the table.
  """

  path: str
  shape: tuple[int, ...]
  row: ParamSpec

  @property
  def kind(self) -> str:
    return self.row.kind

  @property
  def role(self) -> str:
    return self.row.role

  @property
  def size(self) -> int:
    """How many numbers it holds, all layers together."""
    return math.prod(self.shape)

  @property
  def _letters(self) -> tuple[list[str], list[str], list[str]]:
    """Letters of the row: copies, contracted, and the others."""
    copies, _, rest = self.row.axes.rpartition('|')
    contracted, _, others = rest.rpartition('>')
    return copies.split(), contracted.split(), others.split()

  @property
  def stacked(self) -> bool:
    """Whether its first axis is the layers'."""
    return len(self.shape) == sum(map(len, self._letters)) + 1

  @property
  def axes(self) -> tuple[str, ...]:
    """One letter for each dimension of `shape`."""
    return ('N',) * self.stacked + tuple(
      letter for part in self._letters for letter in part
    )

  @property
  def copy_axes(self) -> tuple[int, ...]:
    """Positions in `shape` that count parameters of their own: layers, experts."""
    return tuple(range(self.stacked + len(self._letters[0])))

  @property
  def input_axes(self) -> tuple[int, ...]:
    """Positions in `shape` that are contracted with the input; of a weight alone."""
    first = len(self.copy_axes)
    return tuple(range(first, first + len(self._letters[1])))

  @property
  def output_axes(self) -> tuple[int, ...]:
    """Positions in `shape` that are produced; of a weight alone."""
    if '>' not in self.row.axes:
      return ()
    return tuple(range(len(self.copy_axes) + len(self.input_axes), len(self.shape)))

  @property
  def fan_in(self) -> int:
    """Product of the contracted axes; of a table or a vector 1."""
    return math.prod(self.shape[i] for i in self.input_axes)

  @property
  def fan_out(self) -> int:
    """Product of the produced axes; of a table or a vector 1."""
    return math.prod(self.shape[i] for i in self.output_axes)

  @property
  def layer_axes(self) -> tuple[int, ...]:
    """Positions that belong to one layer's parameter: all but N."""
    return tuple(range(self.stacked, len(self.shape)))

  @property
  def is_hidden_matrix(self) -> bool:
    """A weight between activations inside a layer: what Muon orthogonalizes, and muP calls hidden."""
    return (
      self.role == 'weight'
      and self.kind not in ('embedding', 'output')
      and self.fan_out > 1
    )


def walk_arrays(tree: Any, prefix: str = '') -> Iterator[tuple[str, Any]]:
  """The leaves of a nested dict with their paths, in sorted order (jax's own)."""
  if isinstance(tree, dict):
    for name in sorted(tree):
      yield from walk_arrays(tree[name], f'{prefix}/{name}' if prefix else name)
  elif tree is not None:
    yield prefix, tree


def param_of(path: str, array: Any) -> Param:
  """The `Leaf` of a path and anything with a `shape`.

  Raises:
    KeyError: where the path matches no row or two, or the shape has another number of axes than the row.
  """
  leaf = Param(path, tuple(array.shape), param_spec_of(path))
  if len(leaf.axes) != len(leaf.shape):
    raise KeyError(
      f'parameter {path!r} has shape {leaf.shape}, its row has axes {leaf.row.axes!r}'
    )
  return leaf


def list_params(params: Any) -> list[Param]:
  """All leaves of a parameter tree (arrays or shapes), in jax's order."""
  return [param_of(path, array) for path, array in walk_arrays(params)]


def map_params(
  function: Callable[..., Any], params: Any, *others: Any, prefix: str = ''
) -> Any:
  """`function(leaf, array, *other_arrays)` over a parameter tree, keeping its form.

  Args:
    function: takes the `Leaf`, the array, and the array at the same path of each of `others`.
    params: nested dict of arrays or shapes; None, or an empty tuple (`optax.MaskedNode`), stands for a leaf left out,
      and stays.
    *others: trees of the same form.
    prefix: path of `params` itself.
  """
  if isinstance(params, dict):
    return {
      name: map_params(
        function,
        params[name],
        *(other[name] for other in others),
        prefix=f'{prefix}/{name}' if prefix else name,
      )
      for name in params
    }
  if params is None or isinstance(params, tuple) and not params:
    return params
  return function(param_of(prefix, params), params, *others)
