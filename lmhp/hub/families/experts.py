"""Fields and tensor names of experts that several families share."""

from collections.abc import Sequence

from lmhp.hub.families.converters import ConfigReader, ModelFields

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
