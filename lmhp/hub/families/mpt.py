"""MPT: ALiBi, layer normalization without bias, no biases; the attention's keys stand in an object of their own."""

from typing import Any

from lmhp.hub.families.family import CheckpointFamily, Entries, TwoWay
from lmhp.model.config import ModelConfig

_ATTENTION = CheckpointFamily(
  model_type='mpt',
  keys={
    'softmax_scale': ('attention_scale', None),
    'attn_pdrop': ('attention_dropout residual_dropout', 0.0),
  },
  only={
    'attn_type': ('multihead_attention',),
    'alibi': (True,),
    'alibi_bias_max': (8,),
    'clip_qkv': (None, 0.0),
    'prefix_lm': (False,),
    'qk_ln': (False,),
    'attn_uses_sequence_id': (False,),
  },
  unused=('attn_impl',),
)


def _attention(entries: Entries, cfg: ModelConfig) -> dict[str, Any]:
  inner = entries.inner('attn_config') or Entries({}, entries.source)
  fields, _ = _ATTENTION.fields(inner)
  _ATTENTION.close(inner)
  return fields


def _write_attention(cfg: ModelConfig) -> dict[str, Any]:
  scale = None if cfg.attention_scale == cfg.head_dim**-0.5 else cfg.attention_scale
  return {'attn_config': {'softmax_scale': scale, 'attn_pdrop': cfg.attention_dropout}}


MPT = CheckpointFamily(
  model_type='mpt',
  always=dict(position='alibi', activation='gelu', init='normal'),
  keys={
    'vocab_size': ('vocab_size', 50_368),
    'd_model': ('d_model', 2048),
    'n_layers': ('n_layers', 24),
    'n_heads': ('n_heads', 16),
    'max_seq_len': ('max_seq_len', 2048),
    'layer_norm_epsilon': ('norm_eps', 1e-5),
    'initializer_range': ('init_scale', 0.02),
    'tie_word_embeddings': ('tie_embeddings', True),
  },
  only={
    'expansion_ratio': (4,),
    'no_bias': (True,),
    'logit_scale': (None,),
    'emb_pdrop': (0.0,),
    'resid_pdrop': (0.0,),
    'embedding_fraction': (1.0,),
    'norm_type': ('low_precision_layernorm', 'layernorm'),
  },
  unused=('learned_pos_emb', 'init_config', 'init_device', 'verbose'),
  aliases={
    'hidden_size': 'd_model',
    'num_attention_heads': 'n_heads',
    'num_hidden_layers': 'n_layers',
  },
  parts=(TwoWay(_attention, _write_attention),),
  layers='transformer.blocks.{i}',
  names={
    'embedding': 'transformer.wte',
    'attention_input_norm': '.norm_1',
    'attention/query attention/key attention/value': '.attn.Wqkv',
    'attention/output': '.attn.out_proj',
    'feed_forward_input_norm': '.norm_2',
    'feed_forward/up': '.ffn.up_proj',
    'feed_forward/down': '.ffn.down_proj',
    'final_norm': 'transformer.norm_f',
    'output': 'lm_head',
  },
)
