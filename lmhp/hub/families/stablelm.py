"""StableLM 3B and 2: Llama with layer normalization, a quarter of each head rotated, optional biases."""

from typing import Any

from lmhp.hub.families.family import Entries, TwoWay
from lmhp.hub.families.llama import LLAMA
from lmhp.hub.families.rotary import Rotary
from lmhp.model.config import ModelConfig


def _parallel(entries: Entries, cfg: ModelConfig) -> dict[str, Any]:
  """Where the two parts are parallel, one normalization feeds both."""
  parallel = entries.take('use_parallel_residual', False, bool)
  return {'parallel_residual': parallel, 'shared_norm': parallel}


def _query_key_norm(entries: Entries, cfg: ModelConfig) -> dict[str, Any]:
  """StableLM 2 12B normalizes queries and keys, each head with a scale of its own and without bias."""
  return {
    'qk_norm': 'each_head' if entries.take('qk_layernorm', False, bool) else 'none'
  }


STABLELM = LLAMA.but(
  'stablelm',
  defaults={
    'vocab_size': 50_304,
    'intermediate_size': 6912,
    'hidden_size': 2560,
    'num_key_value_heads': 32,
    'max_position_embeddings': 4096,
  },
  without=('rms_norm_eps', 'attention_bias', 'mlp_bias', 'head_dim'),
  always=dict(norm='layernorm', norm_bias=True),
  keys={'layer_norm_eps': ('norm_eps', 1e-5), 'use_qkv_bias': ('qkv_bias', False)},
  only={'hidden_dropout': (0.0,)},
  names={
    'attention/query_norm': '.self_attn.q_layernorm.norms.{h}',
    'attention/key_norm': '.self_attn.k_layernorm.norms.{h}',
  },
  parts=(
    TwoWay(_parallel, lambda cfg: {'use_parallel_residual': cfg.parallel_residual}),
    TwoWay(_query_key_norm, lambda cfg: {'qk_layernorm': cfg.qk_norm == 'each_head'}),
    Rotary(fraction=0.25),
  ),
)
