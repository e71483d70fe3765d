"""Tables of sizes, and the keys that several families share."""

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

GPT: Keys = {**BIASES, 'position': 'learned', 'activation': 'gelu_tanh'}

LLAMA: Keys = {
  'norm': 'rmsnorm',
  'gated': True,
  'activation': 'silu',
  'tie_embeddings': False,
  'init': 'normal',
}


def sizes(
  columns: str,
  rows: Mapping[str, tuple[object, ...]],
  shared: Keys,
  changes: Mapping[str, Keys] | None = None,
) -> dict[str, Keys]:
  """Returns the presets of a family.

  Args:
    columns: Names of the keys in which the sizes differ, separated by spaces.
    rows: {name of a preset: values of these keys}.
    shared: Keys of all sizes.
    changes: {name of a preset: keys in addition to, or instead of, `shared`}.

  >>> sizes('d_model n_layers', {'small': (64, 2), 'large': (96, 4)}, {'n_heads': 4})[
  ...   'small'
  ... ]
  {'n_heads': 4, 'd_model': 64, 'n_layers': 2}
  """
  changes = changes or {}
  names = columns.split()
  presets = {}
  for preset, values in rows.items():
    numbers = dict(zip(names, values, strict=True))
    presets[preset] = {**shared, **numbers, **changes.get(preset, {})}
  return presets
