"""RG-LRU against RecurrentGemma in transformers, and its initial decay."""

import jax
from mixer_layers import SIZES, B, L, assert_equals_torch
import numpy as np
import pytest

from lmhp.model.mixers.layers.rglru import init_decay


@pytest.mark.oracle
def test_equals_recurrent_gemma(tiny):
  import torch
  from transformers import RecurrentGemmaConfig
  from transformers.models.recurrent_gemma.modeling_recurrent_gemma import (
    RecurrentGemmaRecurrentBlock,
  )

  cfg = tiny(**SIZES | {'mixer_pattern': ('rglru',), 'mixer_bias': True})
  reference_config = RecurrentGemmaConfig(
    hidden_size=14,
    lru_width=12,
    num_attention_heads=4,
    conv1d_width=4,
    hidden_activation='gelu_pytorch_tanh',
  )
  reference = RecurrentGemmaRecurrentBlock(reference_config, 0)
  positions = torch.arange(L)[None].expand(B, L)

  def to_params(tensors):
    def linear(name):
      return {'kernel': tensors[f'{name}.weight'].T, 'bias': tensors[f'{name}.bias']}

    def gate(name):
      return {
        'kernel': tensors[f'rg_lru.{name}_weight'],
        'bias': tensors[f'rg_lru.{name}_bias'],
      }

    return {
      'gate': linear('linear_y'),
      'input': linear('linear_x'),
      'output': linear('linear_out'),
      'convolution': {
        'kernel': tensors['conv_1d.weight'][:, 0],
        'bias': tensors['conv_1d.bias'],
      },
      'decay': tensors['rg_lru.recurrent_param'],
      'recurrence_gate': gate('recurrent_gate'),
      'input_gate': gate('input_gate'),
    }

  def call(module, x):
    return module(x, positions, None, use_cache=False)[0]

  assert_equals_torch(cfg, 'rglru', reference, to_params, call)


def test_initial_decay_keeps_90_to_99_9_percent_of_the_state():
  kept = np.exp(-8 * jax.nn.softplus(init_decay(jax.random.key(0), (600,))))
  assert 0.9 <= kept.min() < 0.905
  assert 0.994 < kept.max() <= 0.999
