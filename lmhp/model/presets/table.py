"""Values that model families share, and `sizes`, which makes presets from a table of sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

Keys: TypeAlias = dict[str, object]
"""{key of the section `model`: value}."""

BIASES: Keys = {
  'norm_bias': True,
  'qkv_bias': True,
  'attention_output_bias': True,
  'feed_forward_bias': True,
}
"""Values of models that have a bias in every linear map and normalization of a layer."""

GPT: Keys = {**BIASES, 'position': 'learned', 'activation': 'gelu_tanh'}
"""Values of GPT-2 and models like it."""

LLAMA: Keys = {
  'norm': 'rmsnorm',
  'gated': True,
  'activation': 'silu',
  'tie_embeddings': False,
  'init': 'normal',
}
"""Values of Llama and models like it."""


def sizes(
  columns: str,
  rows: Mapping[str, tuple[object, ...]],
  shared: Keys,
  changes: Mapping[str, Keys] | None = None,
) -> dict[str, Keys]:
  """Returns the presets of a family, {name: {key: value}}, one for each model size.

  Args:
    columns: Names of the keys that `rows` gives, separated by spaces.
    rows: {name of a preset: values of the keys in `columns`, in that order}.
    shared: {key: value} of all presets of the family.
    changes: {name of a preset: {key: value}}, which override `shared` and `rows`.

  >>> sizes('d_model n_layers', {'small': (64, 2), 'large': (96, 4)}, {'n_heads': 4})[
  ...   'small'
  ... ]
  {'n_heads': 4, 'd_model': 64, 'n_layers': 2}
  """
  changes = changes or {}
  names = columns.split()
  presets = {}
  for preset, values in rows.items():
    row = dict(zip(names, values, strict=True))
    presets[preset] = {**shared, **row, **changes.get(preset, {})}
  return presets
