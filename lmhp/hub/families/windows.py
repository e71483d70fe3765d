"""Which layers see a window of tokens alone: the parts that give `attention_pattern` and `sliding_window`."""

from __future__ import annotations

import dataclasses
from typing import Any

from lmhp.hub.families.family import Entries, TwoWay
from lmhp.model.config import ModelConfig

_LAYERS = {'full_attention': 'global', 'sliding_attention': 'local'}


def shortest(layers: list[str]) -> tuple[str, ...]:
  """The shortest pattern that gives these layers when it is repeated over them.

  >>> shortest(['local', 'global', 'local', 'global', 'local'])
  ('local', 'global')
  """
  for period in range(1, len(layers) + 1):
    if all(layer == layers[i % period] for i, layer in enumerate(layers)):
      break
  return tuple(layers[:period])


def fields_of(
  entries: Entries, layers: list[str], window: int | None
) -> dict[str, Any]:
  """The pattern of these layers, and their window."""
  if 'local' not in layers:
    return {'attention_pattern': ('global',)}
  if window is None or window < 1:
    raise entries.wrong(
      'sliding_window',
      window,
      'a whole number of at least 1, as some layers have a window',
    )
  return {'attention_pattern': shortest(layers), 'sliding_window': window}


def listed_layers(entries: Entries, cfg: ModelConfig) -> list[str] | None:
  """The key layer_types in our words; None where it is absent."""
  listed = entries.take('layer_types', None, list, None)
  if listed is None:
    return None
  for one in listed:
    if not isinstance(one, str) or one not in _LAYERS:
      raise entries.wrong(
        'layer_types', one, 'full_attention or sliding_attention in each place'
      )
  if len(listed) != cfg.n_layers:
    raise entries.wrong(
      'layer_types', listed, f'a word for each of the {cfg.n_layers} layers'
    )
  return [_LAYERS[one] for one in listed]


def words_of_layers(cfg: ModelConfig) -> list[str]:
  """The key layer_types of a model."""
  return [
    'full_attention' if window is None else 'sliding_attention'
    for window in cfg.windows
  ]


@dataclasses.dataclass(frozen=True)
class WindowEverywhere:
  """All layers share the window `sliding_window`, null where there is none (Mistral, Phi-3, StarCoder2).

  Attributes:
    window: transformers' default.
  """

  window: int | None = None

  def __call__(self, entries: Entries, cfg: ModelConfig) -> dict[str, Any]:
    window = entries.take('sliding_window', self.window, int, None)
    return fields_of(entries, ['global' if window is None else 'local'], window)

  def write(self, cfg: ModelConfig) -> dict[str, Any]:
    return {'sliding_window': cfg.windows[0]}


def _window_above(entries: Entries, cfg: ModelConfig) -> dict[str, Any]:
  """With use_sliding_window, the layers from max_window_layers on, or those of layer_types (Qwen 2 and 3)."""
  used = entries.take('use_sliding_window', False, bool)
  window, above = (
    entries.take('sliding_window', 4096, int, None),
    entries.take('max_window_layers', 28, int),
  )
  layers = listed_layers(entries, cfg)
  if layers is None:
    local = used and window is not None
    layers = [
      'local' if local and i >= above else 'global' for i in range(cfg.n_layers)
    ]
  elif 'local' in layers and not used:
    raise entries.wrong(
      'layer_types',
      'sliding_attention',
      'full_attention alone, since use_sliding_window is false',
    )
  return fields_of(entries, layers, window)


def _write_above(cfg: ModelConfig) -> dict[str, Any]:
  used = any(cfg.windows)
  return {'use_sliding_window': used, 'layer_types': words_of_layers(cfg)} | (
    {'sliding_window': cfg.sliding_window} if used else {}
  )


window_above = TwoWay(_window_above, _write_above)


@dataclasses.dataclass(frozen=True)
class WindowByLayer:
  """The layers of layer_types, or all but every n-th (Gemma 2 and 3, OLMo 3, Command R7B).

  Attributes:
    every: transformers' default n.
    window: transformers' default window.
    every_keys: names of n in older files.
  """

  every: int
  window: int = 4096
  every_keys: tuple[str, ...] = ('sliding_window_pattern', '_sliding_window_pattern')

  def __call__(self, entries: Entries, cfg: ModelConfig) -> dict[str, Any]:
    every = self.every
    for key in self.every_keys:
      every = entries.take(key, every, int)
      if every < 1:
        raise entries.wrong(key, every, 'a whole number of at least 1')
    window = entries.take('sliding_window', self.window, int, None)
    layers = listed_layers(entries, cfg)
    if layers is None:
      layers = ['local' if (i + 1) % every else 'global' for i in range(cfg.n_layers)]
    return fields_of(entries, layers, window)

  def write(self, cfg: ModelConfig) -> dict[str, Any]:
    return {'layer_types': words_of_layers(cfg)} | (
      {'sliding_window': cfg.sliding_window} if any(cfg.windows) else {}
    )
