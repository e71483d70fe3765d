"""SmolLM 3: Llama whose every fourth layer has no positions."""

from typing import Any

from lmhp.hub.families.family import Entries, TwoWay
from lmhp.hub.families.llama import LLAMA
from lmhp.hub.families.rotary import Rotary
from lmhp.hub.families.windows import listed_layers
from lmhp.model.config import ModelConfig


def layers_without_positions(entries: Entries, cfg: ModelConfig) -> dict[str, Any]:
  """The period of the layers that do not rotate; no_rope_layers lists 1 where a layer does."""
  every = entries.take('no_rope_layer_interval', 4, int)
  rotates = entries.take('no_rope_layers', None, list, None)
  if rotates is not None:
    every = 1 + rotates.index(0) if 0 in rotates else 0
  if every < 0 or rotates not in (
    None,
    [int(not every or (i + 1) % every != 0) for i in range(cfg.n_layers)],
  ):
    expected = f'0 at every n-th of the {cfg.n_layers} layers, 1 elsewhere'
    raise entries.wrong(
      'no_rope_layers', every if rotates is None else rotates, expected
    )
  return {'no_position_every': every}


def _no_windows(entries: Entries, cfg: ModelConfig) -> dict[str, Any]:
  if 'local' in (listed_layers(entries, cfg) or ()):
    raise entries.wrong(
      'layer_types',
      'sliding_attention',
      'full_attention alone, since use_sliding_window is false',
    )
  return {}


SMOLLM3 = LLAMA.but(
  'smollm3',
  defaults={
    'vocab_size': 128_256,
    'hidden_size': 2048,
    'num_hidden_layers': 36,
    'num_attention_heads': 16,
    'num_key_value_heads': 4,
    'max_position_embeddings': 32_768,
    'tie_word_embeddings': True,
  },
  only={'use_sliding_window': (False,)},
  unused=('sliding_window', 'max_window_layers'),
  parts=(
    TwoWay(
      layers_without_positions,
      lambda cfg: {'no_rope_layer_interval': cfg.no_position_every},
    ),
    _no_windows,
    Rotary(2e6),
  ),
)
