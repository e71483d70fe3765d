"""Configs drawn from everything that `ModelConfig` can say about sizes and parts."""

import random

import pytest


@pytest.fixture(scope='session')
def draw():
  """`draw(seed)`: a small random model; what does not fit together is drawn again."""
  from lmhp.errors import ConfigError
  from lmhp.model.config import ACTIVATIONS, PLACEMENTS, POSITIONS, ModelConfig

  def fields(rng):
    coin, one = lambda: rng.random() < 0.5, rng.choice
    n_heads, d_model = one([1, 2, 3, 6]), one([6, 12, 18, 30])
    return {
      'vocab_size': rng.randint(2, 60),
      'max_seq_len': rng.randint(4, 12),
      'd_model': d_model,
      'n_layers': rng.randint(1, 5),
      'n_heads': n_heads,
      'n_kv_heads': one([None, 1, 2, 3]),
      'head_dim': one([None, 4, 7, 8]),
      'd_ff': one([None, 5, 17]),
      'embedding_dim': one([None, None, 5]),
      'tie_embeddings': coin(),
      'activation': one(ACTIVATIONS),
      'gated': coin(),
      'norm': one(['layernorm', 'rmsnorm']),
      'norm_affine': rng.random() < 0.8,
      'norm_bias': coin(),
      'norm_unit_offset': coin(),
      'norm_placement': one(PLACEMENTS),
      'embedding_norm': coin(),
      'final_norm': one([None, True, False]),
      'parallel_residual': coin(),
      'shared_norm': coin(),
      'qk_norm': one(['none', 'head', 'each_head', 'full', 'l2']),
      'qkv_bias': coin(),
      'attention_output_bias': coin(),
      'feed_forward_bias': coin(),
      'head_bias': coin(),
      'position': one(POSITIONS),
      'position_offset': one([0, 2]),
      'rotary_fraction': one([1.0, 0.5]),
      'no_position_every': one([0, 2]),
      'relative_buckets': one([2, 8]),
      'relative_max_distance': 16,
      'attention_pattern': one(
        [('global',), ('local',), ('local', 'global'), ('global', 'local', 'local')]
      ),
      'sliding_window': one([None, 1, 3]),
      'attention_logit_cap': one([None, 5.0]),
      'attention_sinks': coin(),
      'embedding_scale': one([None, 3.0]),
      'logit_cap': one([None, 4.0]),
      'clip_qkv': one([None, 1.0]),
      'architecture': one(['decoder', 'encoder', 'encoder_decoder']),
      'n_encoder_layers': one([None, 1, 4]),
      'embedding_projection': one(['tokens', 'tokens', 'sum']),
      'token_types': one([0, 2]),
      'share_layers': rng.random() < 0.2,
      'first_attention_norm': rng.random() < 0.8,
      'head_transform': coin(),
      'head_transform_bias': coin(),
      'scan_layers': coin(),
      'dtype': one(['float32', 'bfloat16']),
    }

  def make(seed):
    rng = random.Random(seed)
    while True:
      try:
        return ModelConfig(**fields(rng))
      except ConfigError:
        pass

  return make
