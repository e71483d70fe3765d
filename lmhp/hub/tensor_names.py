"""Lists the tensors of a checkpoint, from the names that its family declares.

A module is a path without its last name: `decoder/segment_0/attention/query` is the module of
`decoder/segment_0/attention/query/kernel`. Families name the modules of a layer without their
segment (`attention/query`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
import dataclasses

from lmhp.errors import ConfigError
from lmhp.hub.families.family import CheckpointFamily
from lmhp.hub.tensor_layout import CheckpointTensor, ParamSlice
from lmhp.model.config import ModelConfig
from lmhp.params import Param, list_params
from lmhp.typing import PyTree

_SUFFIXES = {
  'kernel': 'weight',
  'scale': 'weight',
  'table': 'weight',
  'bias': 'bias',
  'sinks': '',
  'correction': '',  # correction of the router's scores, which balances the experts
}
"""{last name of a parameter's path: suffix of its tensor}.

If a tensor has no suffix, the complete path of its parameter counts as a module.
"""


@dataclasses.dataclass(frozen=True)
class Segment:
  """Consecutive layers whose parameters lmhp stacks, because they have equal names and shapes.

  Attributes:
    stack: 'encoder' or 'decoder'.
    prefix: Beginning of the paths of its parameters, such as `decoder/segment_0/`.
    first_layer: Index of its first layer in the stack.
  """

  stack: str
  prefix: str
  first_layer: int


_NO_SEGMENT = Segment('', '', 0)
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
    ConfigError: If the family has no tensor names, or if it has none for one of the parameters.
  """
  names = family.names_of(cfg)
  if not names:
    raise ConfigError(
      f'{family.model_type}: got a family without tensor_names, whose config.json can be read '
      'but whose weights cannot, expected a family with tensor_names'
    )
  table = _TensorTable(family, cfg, shapes)
  tensors = []
  for modules, name in names.items():
    tensors += table.take_row(modules, name)
  # A parameter without a tensor would be lost.
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

  If `cfg` ties the embeddings, the tensor of the head may repeat the embedding.

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
  """Turns the names of a family into tensors, and finds the parameters without a name.

  A row is one item of `family.names_of(cfg)`: {modules: tensor name}.
  """

  def __init__(self, family: CheckpointFamily, cfg: ModelConfig, shapes: PyTree):
    self._family = family
    self._cfg = cfg
    self._segments = _segments(cfg)
    # {module: {last name of the path: parameter}}, for the parameters that no row has taken.
    self._modules: dict[str, dict[str, Param]] = {}
    for param in list_params(shapes):
      module, _, last_name = param.path.rpartition('/')
      # A parameter whose tensor has no suffix is treated as a module.
      if _SUFFIXES.get(last_name) == '':
        module = param.path
      self._modules.setdefault(module, {})[last_name] = param

  def take_row(self, modules: str, tensor_name: str) -> Iterator[CheckpointTensor]:
    """Yields the tensors of one row, and removes their parameters from the table.

    Args:
      modules: Modules of one tensor, separated by spaces, or the path of one parameter.
      tensor_name: Name in the checkpoint, with placeholders such as `{i}`.
    """
    # A row may be for one parameter, such as output/bias.
    module, _, last_name = modules.rpartition('/')
    if last_name in self._modules.get(module, {}):
      param = self._modules[module].pop(last_name)
      yield from self._tensors([param], tensor_name, _NO_SEGMENT)
      return

    # Other rows are for modules, which may be in several segments. A module that a segment lacks,
    # such as one of the other stack, is skipped. A leading dot stands for the name of a layer.
    if tensor_name.startswith('.'):
      tensor_name = self._family.layer_name + tensor_name
    for segment in self._segments:
      names = [
        segment.prefix + name.removeprefix(f'{segment.stack}/')
        for name in modules.split()
      ]
      present = [self._modules.pop(name) for name in names if name in self._modules]
      for last_name in present[0] if present else ():
        params = [params_by_name[last_name] for params_by_name in present]
        full_name = _with_suffix(tensor_name, last_name, params[0])
        yield from self._tensors(params, full_name, segment)

  def check_all_taken(self) -> None:
    """Checks that every parameter is in a tensor.

    Raises:
      ConfigError: If a parameter is in no tensor. The message has the first such module.
    """
    for module, params in self._modules.items():
      if params:
        raise ConfigError(
          f'{self._family.model_type}: got a model with the parameters {module}, expected only '
          'parameters that a checkpoint of this family has'
        )

  def _tensors(
    self, params: Sequence[Param], name: str, segment: Segment
  ) -> Iterator[CheckpointTensor]:
    """Yields the tensors of one row: one for each layer {i}, each expert {e} or each head {h}.

    Args:
      params: Parameters that each tensor contains, in order, such as query, key and value.
      name: Name of the tensors with placeholders.
      segment: Segment of the parameters.
    """
    template = self._template(params)
    first = params[0]
    # None stands for a parameter that is not stacked over layers.
    layers = range(first.shape[0]) if first.is_stacked else (None,)
    for layer in layers:
      layer_name = name.replace('{i}', str(segment.first_layer + (layer or 0)))

      # One tensor for each expert, for each head, or for the whole layer.
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
    """Returns a tensor with the layout that these parameters have, without name and slices."""
    first = params[0]
    n_groups = 1
    if 'attention/key_up' in first.path:
      # Latent attention stores the key and value rows of each head together.
      n_groups = self._cfg.n_heads
    elif self._family.has_grouped_qkv and 'attention/query' in first.path:
      n_groups = self._cfg.n_kv_heads
    # The head is stored as (O, I), even if the matrices of layers are transposed.
    is_layer_matrix = first.role == 'weight' and first.kind != 'output'
    return CheckpointTensor(
      name='',
      slices=(),
      n_groups=n_groups,
      is_transposed=self._family.has_transposed_weights and is_layer_matrix,
      # The scale of a norm of each head is stored as (heads, K), unless its name has {h}.
      n_vector_heads=self._n_norm_heads(first),
      is_interleaved=self._family.has_interleaved_gates,
    )

  def _n_norm_heads(self, param: Param) -> int:
    """Returns the number of heads of a query or key norm that has a separate scale per head.

    Returns 0 for any other parameter.
    """
    is_head_norm = param.path.endswith(('query_norm/scale', 'key_norm/scale'))
    if self._cfg.qk_norm != 'each_head' or not is_head_norm:
      return 0
    return self._cfg.n_heads if 'query' in param.path else self._cfg.n_kv_heads


def _segments(cfg: ModelConfig) -> list[Segment]:
  """Returns `_NO_SEGMENT`, and then all segments of a model."""
  stacks = {cfg.architecture: cfg}
  if cfg.is_encoder_decoder:
    stacks = {'encoder': cfg.encoder, 'decoder': cfg}
  segments = [_NO_SEGMENT]
  for stack, stack_cfg in stacks.items():
    for i, (first_layer, _) in enumerate(stack_cfg.segments):
      segments.append(Segment(stack, f'{stack}/segment_{i}/', first_layer))
  return segments


def _with_suffix(module_name: str, last_name: str, param: Param) -> str:
  """Returns the complete name of a tensor.

  Args:
    module_name: Name of the module in the checkpoint, with placeholders.
    last_name: Last name of the parameter's path.
    param: The parameter.
  """
  suffix = _SUFFIXES[last_name]
  has_all_experts = ParamSlice(param, 0).has_all_experts and '{e}' not in module_name
  if has_all_experts and '/experts/' in param.path:
    # A tensor of all experts has no suffix for a weight, and the suffix `_bias` for a bias. The
    # condition on the path excludes other stacked matrices, such as those of the heads of RG-LRU.
    return module_name + {'kernel': '', 'bias': '_bias'}[last_name]
  return f'{module_name}.{suffix}' if suffix else module_name
