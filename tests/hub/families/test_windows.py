"""Windows of each layer, compared with transformers."""

from counts_oracle import transformers_config
from published_configs import PUBLISHED
import pytest

from lmhp.hub.config_json import model_config

QWEN_WITH_FIRST_LAYER = PUBLISHED['qwen2.5-0.5b'] | {
  'use_sliding_window': True,
  'sliding_window': 100,
  'max_window_layers': 10,
}
QWEN_WITH_LAYER_TYPES = PUBLISHED['qwen3-0.6b'] | {
  'use_sliding_window': True,
  'sliding_window': 100,
  'layer_types': ['full_attention', 'sliding_attention'] * 14,
}
GEMMA_WITH_LAYER_TYPES = PUBLISHED['gemma-3-1b'] | {
  'layer_types': ['full_attention'] * 13 + ['sliding_attention'] * 13,
}


@pytest.mark.oracle
@pytest.mark.parametrize(
  'config',
  [
    QWEN_WITH_FIRST_LAYER,
    QWEN_WITH_LAYER_TYPES,
    PUBLISHED['gemma-2-2b'],
    PUBLISHED['gemma-3-1b'],
    GEMMA_WITH_LAYER_TYPES,
    PUBLISHED['command-r7b'],
    PUBLISHED['olmo-3-base-style'],
  ],
)
def test_windows_of_each_layer_are_those_of_transformers(config):
  oracle = transformers_config(config)
  windows = []
  for layer_type in oracle.layer_types:
    has_window = layer_type == 'sliding_attention'
    windows.append(oracle.sliding_window if has_window else None)
  assert list(model_config(config).windows) == windows
