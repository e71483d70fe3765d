"""Lists the tensors of a checkpoint, from the names that its family declares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import re

from lmhp.errors import ConfigError
from lmhp.hub.families.family import CheckpointFamily
from lmhp.hub.tensor_layout import CheckpointTensor, ParamSlice
from lmhp.model.config import ModelConfig
from lmhp.params import Param, list_params
from lmhp.typing import PyTree

_LAYER_PATH = re.compile(r'(decoder|encoder)/segment_(\d+)/(.*)')
"""Path of a parameter of a layer: stack, index of the segment, path within the layer."""

_SUFFIXES = {
  'kernel': 'weight',
  'scale': 'weight',
  'table': 'weight',
  'bias': 'bias',
  'sinks': '',
  'correction': '',
}
"""{last name of a path: last name of a tensor}. Empty if the module is one parameter."""


@dataclasses.dataclass(frozen=True)
class Segment:
  """A segment: consecutive layers with the same parameters.

  Attributes:
    stack: 'encoder' or 'decoder'. Empty for parameters outside the layers.
    index: Index of the segment in its stack.
    first_layer: Index of its first layer in the stack.
  """

  stack: str
  index: int
  first_layer: int


_NO_SEGMENT = Segment('', 0, 0)
"""Stands for the parameters outside the layers, such as the embedding."""


def checkpoint_tensors(
  family: CheckpointFamily, cfg: ModelConfig, shapes: PyTree
) -> list[CheckpointTensor]:
  """Lists the tensors of a model's checkpoint. Each parameter is in exactly one of them.

  Args:
    family: Family of the checkpoint.
    cfg: The model.
    shapes: Nested dict of the parameters, or of their shapes.

  Raises:
    ConfigError: If the family declares no tensor names, or if it has no name for one of the
      parameters.
  """
  names = family.names_of(cfg)
  if not names:
    raise ConfigError(
      f'{family.model_type}: got a family whose config.json can be read, but whose weights '
      'cannot be read yet'
    )
  table = _TensorTable(family, cfg, shapes)
  tensors = []
  for ours, theirs in names.items():
    tensors += table.take_row(ours, theirs)
  table.check_all_taken()
  return tensors


def has_head(
  family: CheckpointFamily, cfg: ModelConfig, names: Mapping[str, object]
) -> bool:
  """Returns True if a checkpoint has a matrix for the head.

  Args:
    family: Family of the checkpoint.
    cfg: The model.
    names: Names of the tensors of the checkpoint.
  """
  return f'{family.names_of(cfg)["output"]}.weight' in names


def tied_names(family: CheckpointFamily, cfg: ModelConfig) -> dict[str, str]:
  """Returns {name under which a checkpoint may repeat a tensor: name of the tensor}.

  If embeddings are tied, the matrix of the head may repeat the embedding.

  Args:
    family: Family of the checkpoint.
    cfg: The model.
  """
  tied = dict(family.tied_tensors)
  if cfg.tie_embeddings:
    names = family.names_of(cfg)
    tied[f'{names["output"]}.weight'] = f'{names["embedding"]}.weight'
  return tied


class _TensorTable:
  """Turns rows of tensor names into tensors, and finds the parameters without a row."""

  def __init__(self, family: CheckpointFamily, cfg: ModelConfig, shapes: PyTree):
    self._family = family
    self._cfg = cfg
    self._segments = _segments(cfg)
    self._modules = self._group_by_module(shapes)

  def _group_by_module(
    self, shapes: PyTree
  ) -> dict[tuple[str, Segment], dict[str, Param]]:
    """Returns the parameters by module and segment, then by the last name of their path."""
    segment_of = {(segment.stack, segment.index): segment for segment in self._segments}
    modules: dict[tuple[str, Segment], dict[str, Param]] = {}
    for param in list_params(shapes):
      path = param.path
      segment = _NO_SEGMENT
      match = _LAYER_PATH.fullmatch(path)
      if match:
        segment = segment_of[match[1], int(match[2])]
        path = match[3]
      module, _, last_name = path.rpartition('/')
      if _SUFFIXES.get(last_name) == '':
        # The parameter has its own row of names, as a module has.
        module = path
      modules.setdefault((module, segment), {})[last_name] = param
    return modules

  def take_row(self, ours: str, theirs: str) -> Iterator[CheckpointTensor]:
    """Yields the tensors of one row of names, and marks their parameters as taken.

    Args:
      ours: Modules of lmhp, separated by spaces, or the path of one parameter.
      theirs: Name in the checkpoint.
    """
    # The row may name one parameter, such as output/bias.
    module, _, last_name = ours.rpartition('/')
    params = self._modules.get((module, _NO_SEGMENT), {})
    if last_name in _SUFFIXES and last_name in params:
      yield from self._tensors([params.pop(last_name)], theirs, _NO_SEGMENT)
      return

    # Otherwise it names modules, which may be in several segments.
    if theirs.startswith('.'):
      theirs = self._family.layer_name + theirs
    for segment in self._segments:
      names = [name.removeprefix(f'{segment.stack}/') for name in ours.split()]
      modules = self._take_modules(names, segment)
      for last_name in modules[0] if modules else ():
        params = [module_params[last_name] for module_params in modules]
        name = _parameter_name(theirs, last_name, names[0], params[0])
        yield from self._tensors(params, name, segment)

  def _take_modules(
    self, names: Sequence[str], segment: Segment
  ) -> list[dict[str, Param]]:
    """Returns the parameters of those modules that a segment has and no row has taken."""
    keys = [(name, segment) for name in names]
    return [self._modules.pop(key) for key in keys if key in self._modules]

  def check_all_taken(self) -> None:
    """Checks that every parameter is in a tensor.

    Raises:
      ConfigError: If a parameter is not. It names the first module with one.
    """
    for (module, _), params in self._modules.items():
      if params:
        raise ConfigError(
          f'{self._family.model_type}: got a model with {module}, which no checkpoint of '
          'this family has'
        )

  def _tensors(
    self, params: Sequence[Param], name: str, segment: Segment
  ) -> Iterator[CheckpointTensor]:
    """Yields the tensors of one name, for each layer, expert and head that it counts."""
    template = self._template(params)
    first = params[0]
    # None stands for a parameter that is not stacked over layers.
    layers = range(first.shape[0]) if first.is_stacked else (None,)
    for layer in layers:
      layer_name = name
      if layer is not None:
        layer_name = name.replace('{i}', str(segment.first_layer + layer))

      if '{e}' in layer_name:
        for expert in range(self._cfg.n_experts):
          slices = [ParamSlice(param, layer, expert=expert) for param in params]
          expert_name = layer_name.replace('{e}', str(expert))
          yield CheckpointTensor(expert_name, tuple(slices))
      elif '{h}' in layer_name:
        n_heads = self._n_norm_heads(first) or 1
        for head in range(n_heads):
          head_slice = ParamSlice(first, layer, head, n_heads)
          head_name = layer_name.replace('{h}', str(head))
          yield CheckpointTensor(head_name, (head_slice,))
      else:
        slices = [ParamSlice(param, layer) for param in params]
        yield dataclasses.replace(template, name=layer_name, slices=tuple(slices))

  def _template(self, params: Sequence[Param]) -> CheckpointTensor:
    """Returns a tensor without name and slices, with the layout of these parameters."""
    first = params[0]
    n_groups = 0
    if 'attention/key_up' in first.path:
      # Latent attention stores the key and value rows of each head together.
      n_groups = self._cfg.n_heads
    elif self._family.has_grouped_qkv and 'attention/query' in first.path:
      n_groups = self._cfg.n_kv_heads if len(params) > 1 else 0
    is_layer_matrix = first.role == 'weight' and first.kind != 'output'
    return CheckpointTensor(
      name='',
      slices=(),
      n_groups=n_groups,
      is_transposed=self._family.has_transposed_weights and is_layer_matrix,
      n_vector_heads=self._n_norm_heads(first),
      is_interleaved=self._family.has_interleaved_gates,
    )

  def _n_norm_heads(self, param: Param) -> int:
    """Returns the number of heads with a separate scale. 0 for any other parameter."""
    if self._cfg.qk_norm != 'each_head':
      return 0
    if not param.path.endswith(('query_norm/scale', 'key_norm/scale')):
      return 0
    return self._cfg.n_heads if 'query' in param.path else self._cfg.n_kv_heads


def _segments(cfg: ModelConfig) -> list[Segment]:
  """Returns all segments of a model, after the one for parameters outside the layers."""
  if cfg.architecture == 'encoder_decoder':
    stacks = {'encoder': cfg.encoder, 'decoder': cfg}
  else:
    stacks = {cfg.architecture: cfg}
  segments = [_NO_SEGMENT]
  for stack, stack_cfg in stacks.items():
    for index, (first_layer, _) in enumerate(stack_cfg.segments):
      segments.append(Segment(stack, index, first_layer))
  return segments


def _parameter_name(name: str, last_name: str, module: str, param: Param) -> str:
  """Returns the name of a tensor from the name of its module.

  Args:
    name: Name of the module in the checkpoint.
    last_name: Last name of the parameter's path.
    module: Module of lmhp.
    param: The parameter.
  """
  suffix = _SUFFIXES[last_name]
  full_name = f'{name}.{suffix}' if suffix else name
  has_experts = len(param.copy_axes) > int(param.is_stacked)
  if module.startswith('experts/') and has_experts and '{e}' not in full_name:
    # A tensor of all experts has no suffix for a weight, and another one for a bias.
    return name + {'kernel': '', 'bias': '_bias'}[last_name]
  return full_name
