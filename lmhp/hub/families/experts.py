"""Fields and tensor names of experts that several families share."""

from collections.abc import Sequence

from lmhp.hub.families.converters import ConfigReader, ModelFields
from lmhp.model.config.read_rules import EXPERT_KEYS

EXPERT_NAMES = {
  'experts/router': '.mlp.gate',
  'experts/gate': '.mlp.experts.{e}.gate_proj',
  'experts/up': '.mlp.experts.{e}.up_proj',
  'experts/down': '.mlp.experts.{e}.down_proj',
}
"""{module: name of its tensor} for the experts of Qwen 3, OLMoE and DeepSeek."""


def check_layer_list(
  reader: ConfigReader, key: str, values: Sequence[object], n_layers: int
) -> None:
  """Checks that each value of a key is a valid index of a layer."""
  is_valid = all(type(value) is int and 0 <= value < n_layers for value in values)
  reader.require(is_valid, key, values, f'indices of layers below {n_layers}')


def dense_layer_fields(layers: Sequence[int]) -> ModelFields:
  """Returns the fields of the layers without experts.

  Args:
    layers: Indices of the layers, in any order.

  >>> dense_layer_fields([0, 1, 5])
  {'n_dense_layers': 2, 'dense_layers': (5,)}
  """
  # Count the layers without experts at the start, and list the others.
  ordered = sorted(set(layers))
  n_first = 0
  while n_first < len(ordered) and ordered[n_first] == n_first:
    n_first += 1
  return {'n_dense_layers': n_first, 'dense_layers': tuple(ordered[n_first:])}


def without_unused_experts(fields: ModelFields) -> ModelFields:
  """Returns the fields without those of experts if all layers are dense.

  Some files have the keys of experts although no layer has experts, for example because
  first_k_dense_replace is at least the number of layers.

  >>> without_unused_experts({'n_layers': 2, 'n_experts': 4, 'n_dense_layers': 3})
  {'n_layers': 2}
  """
  n_layers = fields.get('n_layers')
  n_dense = fields.get('n_dense_layers', 0)
  period = fields.get('experts_every', 1)
  listed = fields.get('dense_layers', ())
  # `ModelConfig` refuses values of another type later.
  if not (isinstance(n_layers, int) and isinstance(n_dense, int)):
    return fields
  if not (isinstance(period, int) and isinstance(listed, tuple)) or period < 1:
    return fields
  for layer in range(n_dense, n_layers):
    if (layer + 1) % period == 0 and layer not in listed:
      return fields
  unused = {'n_experts', *EXPERT_KEYS.split()}
  return {name: value for name, value in fields.items() if name not in unused}
