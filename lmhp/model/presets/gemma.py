"""Gemma, the dense decoders of Google."""

from __future__ import annotations

from lmhp.model.presets.table import LLAMA, sizes

GEMMA = {
  **LLAMA,
  'activation': 'gelu_tanh',
  'tie_embeddings': True,
  'norm_unit_offset': True,
  'norm_eps': 1e-6,
  'head_dim': 256,
}

GEMMA2 = {
  **GEMMA,
  'vocab_size': 256_000,
  'max_seq_len': 8192,
  'norm_placement': 'sandwich',
  'attention_logit_cap': 50.0,
  'logit_cap': 30.0,
  'attention_pattern': ('local', 'global'),
  'sliding_window': 4096,
  'attention_scale': 256**-0.5,
}

PRESETS = {
  # arXiv:2403.08295.
  **sizes(
    'd_model n_layers n_heads n_kv_heads d_ff',
    {'gemma-2b': (2048, 18, 8, 1, 16_384), 'gemma-7b': (3072, 28, 16, 16, 24_576)},
    {**GEMMA, 'vocab_size': 256_000, 'max_seq_len': 8192},
    changes={
      'gemma-2b': {'embedding_scale': 2048**0.5},
      'gemma-7b': {'embedding_scale': 3072**0.5},
    },
  ),
  # arXiv:2408.00118.
  **sizes(
    'd_model n_layers n_heads n_kv_heads d_ff',
    {
      'gemma-2-2b': (2304, 26, 8, 4, 9216),
      'gemma-2-9b': (3584, 42, 16, 8, 14_336),
      'gemma-2-27b': (4608, 46, 32, 16, 36_864),
    },
    {**GEMMA2},
    changes={
      'gemma-2-2b': {'embedding_scale': 2304**0.5},
      'gemma-2-9b': {'embedding_scale': 3584**0.5},
      'gemma-2-27b': {
        'embedding_scale': 4608**0.5,
        'head_dim': 128,
        # d_model / n_heads is 144. The scale uses it instead of head_dim.
        'attention_scale': 144**-0.5,
      },
    },
  ),
  # arXiv:2503.19786.
  'gemma-3-1b': {
    **GEMMA,
    'vocab_size': 262_144,
    'max_seq_len': 32_768,
    'd_model': 1152,
    'n_layers': 26,
    'n_heads': 4,
    'n_kv_heads': 1,
    'd_ff': 6912,
    'norm_placement': 'sandwich',
    'qk_norm': 'head',  # each head, with weights that all heads share
    'embedding_scale': 1152**0.5,
    'attention_scale': 256**-0.5,
    'attention_pattern': ('local',) * 5 + ('global',),
    'sliding_window': 512,
    'rotary_base': 1e6,
    'rotary_base_local': 10_000.0,
  },
}
