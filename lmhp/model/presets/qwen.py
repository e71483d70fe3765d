"""Dense decoders of the Qwen team."""

from __future__ import annotations

from lmhp.model.presets.table import LLAMA, sizes

# Qwen 2 and 2.5 have the same architecture.
QWEN2 = {
  **LLAMA,
  'norm_eps': 1e-6,
  'qkv_bias': True,
  'rotary_base': 1e6,
  'max_seq_len': 32_768,
}

QWEN3 = {
  **LLAMA,
  'vocab_size': 151_936,
  'norm_eps': 1e-6,
  'qk_norm': 'head',  # each head, with weights that all heads share
  'head_dim': 128,
  'n_kv_heads': 8,
  'rotary_base': 1e6,
  'max_seq_len': 40_960,
}

PRESETS = {
  # arXiv:2412.15115.
  **sizes(
    'd_model n_layers n_heads n_kv_heads d_ff vocab_size',
    {
      'qwen2.5-0.5b': (896, 24, 14, 2, 4864, 151_936),
      'qwen2.5-1.5b': (1536, 28, 12, 2, 8960, 151_936),
      'qwen2.5-3b': (2048, 36, 16, 2, 11_008, 151_936),
      'qwen2.5-7b': (3584, 28, 28, 4, 18_944, 152_064),
      'qwen2.5-14b': (5120, 48, 40, 8, 13_824, 152_064),
      'qwen2.5-32b': (5120, 64, 40, 8, 27_648, 152_064),
      'qwen2.5-72b': (8192, 80, 64, 8, 29_568, 152_064),
    },
    {**QWEN2},
    changes={
      'qwen2.5-0.5b': {'tie_embeddings': True},
      'qwen2.5-1.5b': {'tie_embeddings': True},
      'qwen2.5-3b': {'tie_embeddings': True},
      'qwen2.5-7b': {'max_seq_len': 131_072},
      'qwen2.5-14b': {'max_seq_len': 131_072, 'norm_eps': 1e-5},
      'qwen2.5-32b': {'max_seq_len': 131_072, 'norm_eps': 1e-5},
      'qwen2.5-72b': {'max_seq_len': 131_072, 'norm_eps': 1e-5},
    },
  ),
  # arXiv:2505.09388.
  **sizes(
    'd_model n_layers n_heads d_ff',
    {
      'qwen3-0.6b': (1024, 28, 16, 3072),
      'qwen3-1.7b': (2048, 28, 16, 6144),
      'qwen3-4b': (2560, 36, 32, 9728),
      'qwen3-8b': (4096, 36, 32, 12_288),
      'qwen3-14b': (5120, 40, 40, 17_408),
      'qwen3-32b': (5120, 64, 64, 25_600),
    },
    {**QWEN3},
    changes={
      'qwen3-0.6b': {'tie_embeddings': True},
      'qwen3-1.7b': {'tie_embeddings': True},
      'qwen3-4b': {'tie_embeddings': True},
    },
  ),
}
