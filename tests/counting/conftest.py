"""Random model configs, which vary the sizes and the parts of a model."""

import random

import pytest


@pytest.fixture(scope='session')
def draw():
  """Returns `draw(seed)`, which makes the config of a small random model.

  It draws again if a config is refused.
  """
  from lmhp.errors import ConfigError
  from lmhp.model.config import ACTIVATIONS, NORM_PLACEMENTS, POSITIONS, ModelConfig

  def fields(rng):
    choose = rng.choice

    def flip():
      return rng.random() < 0.5

    n_heads = choose([1, 2, 3, 6])
    d_model = choose([6, 12, 18, 30])
    return {
      'vocab_size': rng.randint(2, 60),
      'max_seq_len': rng.randint(4, 12),
      'd_model': d_model,
      'n_layers': rng.randint(1, 5),
      'n_heads': n_heads,
      'n_kv_heads': choose([None, 1, 2, 3]),
      'head_dim': choose([None, 4, 7, 8]),
      'd_ff': choose([None, 5, 17]),
      'embedding_dim': choose([None, None, 5]),
      'tie_embeddings': flip(),
      'activation': choose(list(ACTIVATIONS)),
      'gated': flip(),
      'norm': choose(['layernorm', 'rmsnorm']),
      'norm_affine': rng.random() < 0.8,
      'norm_bias': flip(),
      'norm_unit_offset': flip(),
      'norm_placement': choose(NORM_PLACEMENTS),
      'embedding_norm': flip(),
      'final_norm': choose([None, True, False]),
      'parallel_residual': flip(),
      'shared_norm': flip(),
      'qk_norm': choose(['none', 'head', 'each_head', 'full', 'l2']),
      'qkv_bias': flip(),
      'attention_output_bias': flip(),
      'feed_forward_bias': flip(),
      'head_bias': flip(),
      'position': choose(POSITIONS),
      'position_offset': choose([0, 2]),
      'rotary_fraction': choose([1.0, 0.5]),
      'no_position_every': choose([0, 2]),
      'relative_buckets': choose([2, 8]),
      'relative_max_distance': 16,
      'attention_pattern': choose(
        [('global',), ('local',), ('local', 'global'), ('global', 'local', 'local')]
      ),
      'sliding_window': choose([None, 1, 3]),
      'attention_logit_cap': choose([None, 5.0]),
      'attention_sinks': flip(),
      'embedding_scale': choose([None, 3.0]),
      'logit_cap': choose([None, 4.0]),
      'clip_qkv': choose([None, 1.0]),
      'architecture': choose(['decoder', 'encoder', 'encoder_decoder']),
      'n_encoder_layers': choose([None, 1, 4]),
      'embedding_projection': choose(['tokens', 'tokens', 'sum']),
      'token_types': choose([0, 2]),
      'share_layers': rng.random() < 0.2,
      'first_attention_norm': rng.random() < 0.8,
      'head_transform': flip(),
      'head_transform_bias': flip(),
      'scan_layers': flip(),
      'dtype': choose(['float32', 'bfloat16']),
    }

  def make(seed):
    rng = random.Random(seed)
    while True:
      try:
        return ModelConfig(**fields(rng))
      except ConfigError:
        pass

  return make
