"""Tensors of a checkpoint to our parameters and back: which of our leaves stand in which tensor, and how.

A family names its tensors once, as a table from our modules to its own (`Family.names`); everything else follows from
the leaf table. Dimension key: O produced, I contracted, H heads, G key and value heads, K head size, N layers.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any, Iterator, Mapping, NamedTuple

import numpy as np

from lmhp.errors import ConfigError
from lmhp.hub.families.family import CheckpointFamily
from lmhp.model.config import ModelConfig
from lmhp.params import Param, list_params, walk_arrays

LAYERS = re.compile(r'(decoder|encoder)/segment_(\d+)/(.*)')
BUFFERS = re.compile(
  r'(.*\.)?(rotary_emb\.inv_freq|attn\.(masked_)?bias|attn\.attention\.(masked_)?bias|'
  r'attention\.(masked_)?bias|embed_positions\.weights|position_ids)'
)  # constants in older files
_SUFFIXES = {
  'kernel': 'weight',
  'scale': 'weight',
  'table': 'weight',
  'bias': 'bias',
  'sinks': '',
  'correction': '',
}


@dataclasses.dataclass(frozen=True)
class Piece:
  """One of our leaves, of one layer and perhaps of one head or one expert.

  Attributes:
    leaf: the leaf, all layers together.
    layer: its place on N; None where it is not stacked.
    head: its place among `heads`; None where all heads stand together.
    heads: how many parts its only axis has.
    expert: its place on E; None where all experts stand together, or there are none.
  """

  leaf: Param
  layer: int | None
  head: int | None = None
  heads: int = 1
  expert: int | None = None

  @property
  def of_all(self) -> bool:
    """Whether it is of all experts together, (E, I, O) as a checkpoint has them too."""
    return self.expert is None and len(self.leaf.copy_axes) > self.leaf.is_stacked

  @property
  def shape(self) -> tuple[int, ...]:
    """As a checkpoint has it: (O, I) of a weight, as it is of a table and of all experts, flat of all else."""
    one = self.leaf.shape[self.leaf.is_stacked + (self.expert is not None) :]
    if self.of_all:
      return one
    if self.leaf.role == 'weight':
      return self.leaf.fan_out, self.leaf.fan_in
    return one if self.leaf.role == 'table' else (math.prod(one) // self.heads,)

  def put(self, array: np.ndarray, x: np.ndarray) -> None:
    """Writes what a checkpoint has into its place in the leaf's array."""
    place = self._place(array)
    x = x.T if self.leaf.role == 'weight' and not self.of_all else x
    if self.head is None:
      place[...] = x.reshape(place.shape)
    else:
      place.reshape(self.heads, -1)[self.head] = x

  def get(self, array: np.ndarray) -> np.ndarray:
    """The inverse of `put`."""
    place = self._place(array)
    if self.head is not None:
      return place.reshape(self.heads, -1)[self.head]
    if self.of_all:
      return place
    return (
      place.reshape(self.shape[::-1]).T
      if self.leaf.role == 'weight'
      else place.reshape(self.shape)
    )

  def _place(self, array: np.ndarray) -> np.ndarray:
    """The part of the leaf's array that it is."""
    place = array if self.layer is None else array[self.layer]
    return place if self.expert is None else place[self.expert]


@dataclasses.dataclass(frozen=True)
class Tensor:
  """One tensor of a checkpoint.

  Attributes:
    name: its name.
    pieces: which of our leaves stand in it.
    groups: 0 where they stand one after the other; else query, key and value stand together in each of G groups.
    transposed: it is stored (I, O), as GPT-2's are.
    by_head: heads, where a vector is stored (heads, K).
    interleaved: of all experts together: columns of the pieces alternate; else they stand one after the other.
  """

  name: str
  pieces: tuple[Piece, ...]
  groups: int = 0
  transposed: bool = False
  by_head: int = 0
  interleaved: bool = False

  @property
  def shape(self) -> tuple[int, ...]:
    first = self.pieces[0].shape
    if self.pieces[0].of_all:
      return *first[:-1], sum(piece.shape[-1] for piece in self.pieces)
    shape = (sum(piece.shape[0] for piece in self.pieces), *first[1:])
    if self.by_head:
      return self.by_head, shape[0] // self.by_head
    return shape[::-1] if self.transposed else shape

  def split(self, x: np.ndarray) -> list[np.ndarray]:
    """What belongs to each piece."""
    if self.pieces[0].of_all:
      n = len(self.pieces)
      return (
        [x[..., i::n] for i in range(n)]
        if self.interleaved
        else np.split(x, n, axis=-1)
      )
    x = x.reshape(-1) if self.by_head else x.T if self.transposed else x
    sizes = [piece.shape[0] for piece in self.pieces]
    if not self.groups:
      return np.split(x, np.cumsum(sizes)[:-1])
    grouped = x.reshape(self.groups, -1, *x.shape[1:])
    parts = np.split(
      grouped, np.cumsum([size // self.groups for size in sizes])[:-1], axis=1
    )
    return [part.reshape(-1, *x.shape[1:]) for part in parts]

  def join(self, parts: list[np.ndarray]) -> np.ndarray:
    """The inverse of `split`."""
    if self.pieces[0].of_all:
      return (
        np.stack(parts, axis=-1).reshape(self.shape)
        if self.interleaved
        else np.concatenate(parts, axis=-1)
      )
    if self.groups:
      parts = [part.reshape(self.groups, -1, *part.shape[1:]) for part in parts]
    x = (
      np.concatenate(parts, axis=1 if self.groups else 0)
      if len(parts) > 1
      else parts[0]
    )
    x = x.reshape(-1, *x.shape[2:]) if self.groups else x
    return x.reshape(self.shape) if self.by_head else x.T if self.transposed else x


def tensors(family: CheckpointFamily, cfg: ModelConfig, shapes: Any) -> list[Tensor]:
  """All tensors of a model's checkpoint; every one of our leaves is in one of them.

  Args:
    family: whose names.
    cfg: the model.
    shapes: our parameters, or their shapes.

  Raises:
    ConfigError: where the family has no names, or a leaf has none.
  """
  names = _names(family, cfg)
  if not names:
    raise ConfigError(
      f'{family.model_type}: lmhp reads this config.json and not yet its weights'
    )
  modules = _modules(shapes, cfg)
  out = []
  for ours, theirs in names.items():
    whole = ours.rpartition('/')  # perhaps one leaf with a name of its own
    if whole[2] in _SUFFIXES and whole[2] in modules.get((whole[0], OUTSIDE), {}):
      out += _stacked(
        theirs, [modules[whole[0], OUTSIDE].pop(whole[2])], OUTSIDE, family, cfg
      )
      continue
    theirs = family.layers + theirs if theirs.startswith('.') else theirs
    for place in _places(cfg):
      mine = [module.removeprefix(f'{place.stack}/') for module in ours.split()]
      found = [
        modules.pop((module, place)) for module in mine if (module, place) in modules
      ]
      for last in found[0] if found else ():
        name = theirs + ('.' if _SUFFIXES[last] else '') + _SUFFIXES[last]
        if (
          mine[0].startswith('experts/')
          and len(found[0][last].copy_axes) > found[0][last].stacked
          and '{e}' not in name
        ):
          name = theirs + {'kernel': '', 'bias': '_bias'}[last]
        out += _stacked(name, [module[last] for module in found], place, family, cfg)
  for module, _ in (key for key, left in modules.items() if left):
    raise ConfigError(
      f'{family.model_type}: no checkpoint of this family has {module}: lmhp cannot store it as one'
    )
  return out


class Place(NamedTuple):
  """Which layers leaves are of.

  Attributes:
    stack: encoder or decoder, '' outside of both.
    segment: number of the segment.
    first: number of its first layer.
  """

  stack: str
  segment: int
  first: int


OUTSIDE = Place('', 0, 0)


def _places(cfg: ModelConfig) -> list[Place]:
  """All that leaves can be of."""
  stacks = {'encoder_decoder': (('encoder', cfg.encoder), ('decoder', cfg))}.get(
    cfg.architecture, ((cfg.architecture, cfg),)
  )
  return [OUTSIDE] + [
    Place(name, k, first)
    for name, of in stacks
    for k, (first, _) in enumerate(of.segments)
  ]


def _modules(
  shapes: Any, cfg: ModelConfig
) -> dict[tuple[str, Place], dict[str, Param]]:
  """Our leaves by module and place, and by the last name of their path."""
  places = {(place.stack, place.segment): place for place in _places(cfg)}
  modules: dict[tuple[str, Place], dict[str, Param]] = {}
  for leaf in list_params(shapes):
    of_layer = LAYERS.fullmatch(leaf.path)
    place, path = (
      (places[of_layer[1], int(of_layer[2])], of_layer[3])
      if of_layer
      else (OUTSIDE, leaf.path)
    )
    module, _, last = path.rpartition('/')
    if last in ('sinks', 'correction'):
      module = f'{module}/{last}'
    modules.setdefault((module, place), {})[last] = leaf
  return modules


def copies(family: CheckpointFamily, cfg: ModelConfig) -> dict[str, str]:
  """Names under which a checkpoint may repeat a tensor, and the tensor's: the head's, where it is tied."""
  names = _names(family, cfg)
  tied = (
    {f'{names["output"]}.weight': f'{names["embedding"]}.weight'}
    if cfg.tie_embeddings
    else {}
  )
  return {**family.copies, **tied}


def head_in(
  family: CheckpointFamily, cfg: ModelConfig, found: Mapping[str, np.ndarray]
) -> bool:
  """Whether a checkpoint has a matrix for the head."""
  return f'{_names(family, cfg)["output"]}.weight' in found


def _names(family: CheckpointFamily, cfg: ModelConfig) -> Mapping[str, str]:
  return family.names(cfg) if callable(family.names) else family.names


def _stacked(
  name: str,
  found: list[Param],
  place: Place,
  family: CheckpointFamily,
  cfg: ModelConfig,
) -> Iterator[Tensor]:
  """The tensors of one name, for each layer and head that it counts."""
  first = found[0]
  transposed = family.transposed and first.role == 'weight' and first.kind != 'output'
  groups = (
    cfg.n_kv_heads
    if family.grouped and 'attention/query' in first.path and len(found) > 1
    else 0
  )
  groups = cfg.n_heads if 'attention/key_up' in first.path else groups
  norm = cfg.qk_norm == 'each_head' and first.path.endswith(
    ('query_norm/scale', 'key_norm/scale')
  )
  heads = (cfg.n_heads if 'query' in first.path else cfg.n_kv_heads) if norm else 1
  for layer in range(first.shape[0]) if first.stacked else (None,):
    here = name if layer is None else name.replace('{i}', str(place.first + layer))
    if '{e}' in here:
      for e in range(cfg.n_experts):
        yield Tensor(
          here.replace('{e}', str(e)),
          tuple(Piece(leaf, layer, expert=e) for leaf in found),
        )
      continue
    if '{h}' not in here:
      yield Tensor(
        here,
        tuple(Piece(leaf, layer) for leaf in found),
        groups,
        transposed,
        heads if norm else 0,
        family.interleaved,
      )
      continue
    for head in range(heads):
      yield Tensor(here.replace('{h}', str(head)), (Piece(first, layer, head, heads),))


def to_params(
  wanted: list[Tensor],
  found: Mapping[str, np.ndarray],
  source: str,
  *,
  copies: Mapping[str, str] = {},
  passed: str = '',
) -> dict[str, Any]:
  """Our parameters from a checkpoint's tensors, in the precision that they have.

  Args:
    wanted: of `tensors`.
    found: arrays by name.
    source: the checkpoint, for errors.
    copies: names under which it may repeat a tensor -> the tensor's.
    passed: pattern of tensors that are passed over.

  Raises:
    ConfigError: where a tensor is missing, left over, or of another shape or of whole numbers.
  """
  found = _with_prefix(found, [tensor.name for tensor in wanted])
  arrays: dict[str, np.ndarray] = {}
  for tensor in wanted:
    if tensor.name not in found:
      raise ConfigError(
        f'{source}: no tensor {tensor.name}, which holds {tensor.pieces[0].leaf.path}'
      )
    x = found[tensor.name]
    if x.shape != tensor.shape:
      raise ConfigError(
        f'{source}: {tensor.name}: got the shape {list(x.shape)}, expected {list(tensor.shape)} by '
        'config.json'
      )
    if x.dtype.kind not in 'fV' or x.dtype.itemsize < 2:
      raise ConfigError(
        f'{source}: {tensor.name}: got {x.dtype} numbers, expected float32, float16 or bfloat16: a '
        'quantized checkpoint is not read'
      )
    for piece, part in zip(tensor.pieces, tensor.split(x)):
      if piece.leaf.path not in arrays:
        arrays[piece.leaf.path] = np.empty(piece.leaf.shape, x.dtype)
      if arrays[piece.leaf.path].dtype != x.dtype:
        arrays[piece.leaf.path] = arrays[piece.leaf.path].astype(np.float32)
      piece.put(arrays[piece.leaf.path], part)
  left = (
    {name: x for name, x in found.items() if not re.fullmatch(passed, name)}
    if passed
    else found
  )
  _check_left_over(wanted, copies, left, source)
  return nested(arrays)


def _with_prefix(
  found: Mapping[str, np.ndarray], names: list[str]
) -> dict[str, np.ndarray]:
  """The tensors under whole names: some files leave the first word out (wte.weight for transformer.wte.weight).

  BERT's first files call the weight and the bias of a normalization gamma and beta.
  """
  found = {
    re.sub(r'\.gamma$', '.weight', re.sub(r'\.beta$', '.bias', name)): x
    for name, x in found.items()
  }
  known, prefixes = (
    set(names),
    {name.split('.')[0] + '.' for name in names if name.count('.') > 1},
  )
  if len(prefixes) != 1 or any(name.startswith(tuple(prefixes)) for name in found):
    return dict(found)
  prefix = prefixes.pop()
  return {
    name if name in known or name == 'lm_head.weight' else prefix + name: x
    for name, x in found.items()
  }


def _check_left_over(
  wanted: list[Tensor],
  copies: Mapping[str, str],
  found: Mapping[str, np.ndarray],
  source: str,
) -> None:
  known = {tensor.name for tensor in wanted}
  for name, x in found.items():
    if name in known or BUFFERS.fullmatch(name):
      continue
    if name not in copies:
      raise ConfigError(
        f'{source}: {name}: a tensor that lmhp does not know for this model'
      )
    if x.shape != found[copies[name]].shape or not np.array_equal(
      x, found[copies[name]]
    ):
      raise ConfigError(
        f'{source}: {name}: is not {copies[name]}, to which config.json ties it'
      )


def to_tensors(wanted: list[Tensor], params: Any) -> dict[str, np.ndarray]:
  """The inverse of `to_params`: a checkpoint's tensors by name."""
  arrays = {path: np.asarray(array) for path, array in walk_arrays(params)}
  parts = lambda tensor: [piece.get(arrays[piece.leaf.path]) for piece in tensor.pieces]
  return {
    tensor.name: np.ascontiguousarray(tensor.join(parts(tensor))) for tensor in wanted
  }


def nested(arrays: Mapping[str, Any]) -> dict[str, Any]:
  """A nested dict from {path: array}."""
  out: dict[str, Any] = {}
  for path, array in arrays.items():
    *parents, last = path.split('/')
    node = out
    for name in parents:
      node = node.setdefault(name, {})
    node[last] = array
  return out
