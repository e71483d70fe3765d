"""Command R and R+ (one normalization for two parallel parts), and Command R7B (windows, global layers unrotated)."""

from typing import Any

from lmhp.hub.families.family import Entries, TwoWay
from lmhp.hub.families.llama import LLAMA
from lmhp.hub.families.rotary import Rotary
from lmhp.hub.families.windows import WindowByLayer
from lmhp.model.config import ModelConfig


def _global_layers_without_positions(
  entries: Entries, cfg: ModelConfig
) -> dict[str, Any]:
  """Layers without a window have no positions; they must be every n-th."""
  layers = [window is None for window in cfg.windows]
  every = 1 + layers.index(True) if True in layers else 0
  if layers != [bool(every) and (i + 1) % every == 0 for i in range(cfg.n_layers)]:
    raise entries.wrong(
      'layer_types', cfg.attention_pattern, 'full_attention at every n-th layer alone'
    )
  return {'no_position_every': every}


def _query_key_norm(entries: Entries, cfg: ModelConfig) -> dict[str, Any]:
  """Command R+ normalizes queries and keys, each head with weights of its own."""
  return {
    'qk_norm': 'each_head' if entries.take('use_qk_norm', False, bool, None) else 'none'
  }


COHERE = LLAMA.but(
  'cohere',
  defaults={
    'vocab_size': 256_000,
    'hidden_size': 8192,
    'intermediate_size': 22_528,
    'num_hidden_layers': 40,
    'num_attention_heads': 64,
    'max_position_embeddings': 8192,
    'tie_word_embeddings': True,
  },
  without=('rms_norm_eps', 'mlp_bias'),
  always=dict(
    norm='layernorm', parallel_residual=True, shared_norm=True, rotary_interleaved=True
  ),
  keys={'layer_norm_eps': ('norm_eps', 1e-5), 'logit_scale': ('logit_scale', 0.0625)},
  unused=('model_max_length',),
  parts=(
    TwoWay(_query_key_norm, lambda cfg: {'use_qk_norm': cfg.qk_norm == 'each_head'}),
    Rotary(500_000.0),
  ),
)

COHERE2 = COHERE.but(
  'cohere2',
  without=('use_qk_norm',),
  only={
    'use_gated_activation': (True,),
    'use_parallel_block': (True,),
    'use_parallel_embedding': (False,),
    'use_embedding_sharing': (True,),
    'position_embedding_type': ('rope_gptj',),
    'rotary_pct': (1.0,),
    'order_of_interleaved_layers': ('local_attn_first',),
  },
  parts=(
    WindowByLayer(4, every_keys=('sliding_window_pattern', 'layer_switch')),
    _global_layers_without_positions,
    Rotary(),
  ),
)
