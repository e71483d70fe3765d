"""Rotary positions: frequencies compared with transformers, and both forms of the keys."""

import copy

from counts_oracle import transformers_config
import numpy as np
from published_configs import PUBLISHED
import pytest

from lmhp.hub.config_json import model_config
from lmhp.model.attention.rotary import rotary_frequencies

LLAMA = {
  'model_type': 'llama',
  'vocab_size': 31,
  'hidden_size': 64,
  'num_hidden_layers': 2,
  'num_attention_heads': 4,
  'num_key_value_heads': 4,
  'max_position_embeddings': 2048,
}
YARN = {
  'rope_type': 'yarn',
  'factor': 4.0,
  'original_max_position_embeddings': 512,
}
LLAMA3 = {
  'rope_type': 'llama3',
  'rope_theta': 1e5,
  'factor': 8.0,
  'low_freq_factor': 1.0,
  'high_freq_factor': 4.0,
  'original_max_position_embeddings': 64,
}
LONGROPE = {
  'rope_type': 'longrope',
  'short_factor': [1.0 + i for i in range(8)],
  'factor': 2.5,
  'long_factor': [2.0 + i for i in range(8)],
  'original_max_position_embeddings': 64,
}
YARN_WITH_ALL_KEYS = YARN | {
  'beta_fast': 16,
  'beta_slow': 2,
  'mscale': 0.7,
  'mscale_all_dim': 0.3,
}


@pytest.mark.oracle
@pytest.mark.parametrize(
  'keys',
  [
    {'rope_theta': 500.0},
    {'rope_scaling': {'type': 'linear', 'factor': 3.0}},
    {'rope_parameters': LLAMA3},
    {'rope_scaling': YARN, 'rope_theta': 1e4},
    {'rope_scaling': YARN_WITH_ALL_KEYS},
    {'rope_parameters': YARN | {'rope_theta': 1e4, 'attention_factor': 1.3}},
    {'rope_scaling': LONGROPE},
  ],
)
def test_frequencies_are_those_of_transformers(keys):
  from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

  oracle = LlamaRotaryEmbedding(transformers_config(LLAMA | keys))
  cfg = model_config(LLAMA | keys)
  frequencies, factor = rotary_frequencies(cfg, cfg.rotary_base, 32)
  np.testing.assert_allclose(frequencies, oracle.inv_freq.numpy(), rtol=1e-5)
  np.testing.assert_allclose(factor, oracle.attention_scaling, rtol=1e-6)


# --- layers with a window -----------------------------------------------------------


def test_layers_with_a_window_have_another_base():
  cfg = model_config(PUBLISHED['gemma-3-1b'])
  assert cfg.rotary_base == 1e6
  assert cfg.rotary_base_local == 1e4
  assert cfg.sliding_window == 512


def test_the_newer_form_has_one_object_for_each_layer_type():
  parameters = {
    'full_attention': {'rope_type': 'default', 'rope_theta': 5e5},
    'sliding_attention': {'rope_type': 'default', 'rope_theta': 7e3},
  }
  cfg = model_config({'model_type': 'gemma3_text', 'rope_parameters': parameters})
  assert cfg.rotary_base == 5e5
  assert cfg.rotary_base_local == 7e3


def test_scaling_may_apply_only_to_layers_without_a_window():
  scaling = {'factor': 8.0, 'rope_type': 'linear'}
  cfg = model_config(PUBLISHED['gemma-3-1b'] | {'rope_scaling': scaling})
  assert cfg.rotary_scaling == 'linear'
  assert cfg.rotary_scaling_factor == 8.0
  assert not cfg.rotary_scaling_local
  assert cfg.rotary_base == 1e6
  assert cfg.rotary_base_local == 1e4


def test_su_is_an_older_name_of_longrope():
  older = copy.deepcopy(PUBLISHED['phi-3-mini-128k'])
  older['rope_scaling']['type'] = 'su'
  assert model_config(older) == model_config(PUBLISHED['phi-3-mini-128k'])
  assert model_config(older).rotary_scaling == 'longrope'
