"""Llama, and dense decoders like it: rotary positions, and mostly a gated feed-forward part."""

from __future__ import annotations

from lmhp.model.presets.table import LLAMA, sizes

LLAMA3 = {**LLAMA, 'vocab_size': 128_256, 'n_kv_heads': 8, 'rotary_base': 500_000.0}

LLAMA31 = {
  **LLAMA3,
  'max_seq_len': 131_072,
  'rotary_scaling': 'llama3',
  'rotary_scaling_factor': 8.0,
  'rotary_original_max_seq_len': 8192,
}

OLMO2 = {
  **LLAMA,
  'vocab_size': 100_352,
  'max_seq_len': 4096,
  'norm_eps': 1e-6,
  'rotary_base': 500_000.0,
  'norm_placement': 'output',
  'qk_norm': 'full',
}

PRESETS = {
  # Llama of Meta: arXiv:2302.13971. Llama 2: arXiv:2307.09288. TinyLlama: arXiv:2401.02385.
  **sizes(
    'd_model n_layers n_heads d_ff max_seq_len norm_eps',
    {
      'llama-7b': (4096, 32, 32, 11_008, 2048, 1e-6),
      'llama-13b': (5120, 40, 40, 13_824, 2048, 1e-6),
      'llama-30b': (6656, 60, 52, 17_920, 2048, 1e-6),
      'llama-65b': (8192, 80, 64, 22_016, 2048, 1e-5),
      'llama-2-7b': (4096, 32, 32, 11_008, 4096, 1e-5),
      'llama-2-13b': (5120, 40, 40, 13_824, 4096, 1e-5),
      'llama-2-70b': (8192, 80, 64, 28_672, 4096, 1e-5),
      'tinyllama-1.1b': (2048, 22, 32, 5632, 2048, 1e-5),
    },
    {**LLAMA, 'vocab_size': 32_000},
    changes={'llama-2-70b': {'n_kv_heads': 8}, 'tinyllama-1.1b': {'n_kv_heads': 4}},
  ),
  # Meta, arXiv:2407.21783.
  **sizes(
    'd_model n_layers n_heads d_ff',
    {'llama-3-8b': (4096, 32, 32, 14_336), 'llama-3-70b': (8192, 80, 64, 28_672)},
    {**LLAMA3, 'max_seq_len': 8192},
  ),
  **sizes(
    'd_model n_layers n_heads d_ff',
    {
      'llama-3.1-8b': (4096, 32, 32, 14_336),
      'llama-3.1-70b': (8192, 80, 64, 28_672),
      'llama-3.1-405b': (16_384, 126, 128, 53_248),
      'llama-3.2-1b': (2048, 16, 32, 8192),
      'llama-3.2-3b': (3072, 28, 24, 8192),
    },
    {**LLAMA31},
    changes={
      'llama-3.2-1b': {'rotary_scaling_factor': 32.0, 'tie_embeddings': True},
      'llama-3.2-3b': {'rotary_scaling_factor': 32.0, 'tie_embeddings': True},
    },
  ),
  # Mistral AI, arXiv:2310.06825.
  **sizes(
    'd_model n_layers n_heads d_ff vocab_size max_seq_len',
    {
      'mistral-7b': (4096, 32, 32, 14_336, 32_000, 32_768),
      'mistral-7b-v0.3': (4096, 32, 32, 14_336, 32_768, 32_768),
      'mistral-nemo-12b': (5120, 40, 32, 14_336, 131_072, 131_072),
    },
    {**LLAMA, 'n_kv_heads': 8},
    changes={
      'mistral-7b': {'attention_pattern': ('local',), 'sliding_window': 4096},
      'mistral-7b-v0.3': {'rotary_base': 1e6},
      'mistral-nemo-12b': {'rotary_base': 1e6, 'head_dim': 128},
    },
  ),
  # Microsoft, arXiv:2404.14219 and 2412.08905.
  'phi-3-mini-4k': {
    **LLAMA,
    'vocab_size': 32_064,
    'max_seq_len': 4096,
    'd_model': 3072,
    'n_layers': 32,
    'n_heads': 32,
    'd_ff': 8192,
    'attention_pattern': ('local',),
    'sliding_window': 2047,
  },
  'phi-4': {
    **LLAMA,
    'vocab_size': 100_352,
    'max_seq_len': 16_384,
    'd_model': 5120,
    'n_layers': 40,
    'n_heads': 40,
    'n_kv_heads': 10,
    'd_ff': 17_920,
    'rotary_base': 250_000.0,
  },
  # AI2, arXiv:2402.00838 and 2501.00656.
  **sizes(
    'd_model n_layers n_heads d_ff tie_embeddings',
    {'olmo-1b': (2048, 16, 16, 8192, True), 'olmo-7b': (4096, 32, 32, 11_008, False)},
    {
      **LLAMA,
      'norm': 'layernorm',
      'norm_affine': False,
      'vocab_size': 50_304,
      'max_seq_len': 2048,
    },
  ),
  **sizes(
    'd_model n_layers n_heads d_ff',
    {
      'olmo-2-1b': (2048, 16, 16, 8192),
      'olmo-2-7b': (4096, 32, 32, 11_008),
      'olmo-2-13b': (5120, 40, 40, 13_824),
      'olmo-2-32b': (5120, 64, 40, 27_648),
    },
    {**OLMO2},
    changes={'olmo-2-32b': {'n_kv_heads': 8}},
  ),
  # Stability AI: https://huggingface.co/stabilityai.
  **sizes(
    'd_model n_layers n_heads d_ff vocab_size qkv_bias',
    {
      'stablelm-3b-4e1t': (2560, 32, 32, 6912, 50_304, False),
      'stablelm-2-1.6b': (2048, 24, 32, 5632, 100_352, True),
    },
    {
      **LLAMA,
      'norm': 'layernorm',
      'max_seq_len': 4096,
      'norm_bias': True,
      'rotary_fraction': 0.25,
    },
  ),
  # Hugging Face, arXiv:2502.02737 and https://huggingface.co/HuggingFaceTB/SmolLM3-3B.
  **sizes(
    'd_model n_layers n_heads n_kv_heads d_ff max_seq_len rotary_base',
    {
      'smollm2-135m': (576, 30, 9, 3, 1536, 8192, 100_000.0),
      'smollm2-360m': (960, 32, 15, 5, 2560, 8192, 100_000.0),
      'smollm2-1.7b': (2048, 24, 32, 32, 8192, 8192, 130_000.0),
    },
    {**LLAMA, 'tie_embeddings': True, 'vocab_size': 49_152},
  ),
  'smollm3-3b': {
    **LLAMA,
    'vocab_size': 128_256,
    'max_seq_len': 65_536,
    'd_model': 2048,
    'n_layers': 36,
    'n_heads': 16,
    'n_kv_heads': 4,
    'd_ff': 11_008,
    'norm_eps': 1e-6,
    'rotary_base': 5e6,
    'no_position_every': 4,
    'tie_embeddings': True,
  },
  # NVIDIA, arXiv:2402.16819 and 2407.14679.
  **sizes(
    'd_model n_layers n_heads n_kv_heads d_ff',
    {
      'nemotron-4-340b': (18_432, 96, 96, 8, 73_728),
      'minitron-4b': (3072, 32, 24, 8, 9216),
    },
    {
      'vocab_size': 256_000,
      'max_seq_len': 4096,
      'tie_embeddings': False,
      'activation': 'relu_squared',
      'norm_bias': True,
      'norm_unit_offset': True,
      'rotary_fraction': 0.5,
      'init': 'normal',
    },
    changes={'minitron-4b': {'head_dim': 128}},
  ),
  # IBM: https://huggingface.co/ibm-granite.
  **sizes(
    'd_model d_ff attention_scale logit_scale',
    {
      'granite-3.0-2b': (2048, 8192, 0.015625, 1 / 8),
      'granite-3.0-8b': (4096, 12_800, 0.0078125, 1 / 16),
    },
    {
      **LLAMA,
      'tie_embeddings': True,
      'vocab_size': 49_155,
      'max_seq_len': 4096,
      'n_layers': 40,
      'n_heads': 32,
      'n_kv_heads': 8,
      # The four scales (attention, logit, embedding, residual) are those of config.json, which
      # has logits_scaling = 1 / logit_scale.
      'embedding_scale': 12.0,
      'residual_scale': 0.22,
    },
  ),
  # Cohere: https://huggingface.co/CohereLabs/c4ai-command-r-v01.
  'command-r-35b': {
    **LLAMA,
    'vocab_size': 256_000,
    'max_seq_len': 131_072,
    'd_model': 8192,
    'n_layers': 40,
    'n_heads': 64,
    'd_ff': 22_528,
    'norm': 'layernorm',
    'parallel_residual': True,
    'shared_norm': True,
    'tie_embeddings': True,
    'rotary_interleaved': True,
    'rotary_base': 8e6,
    'logit_scale': 0.0625,
  },
  # Zhipu AI, arXiv:2406.12793.
  'glm-4-9b': {
    **LLAMA,
    'vocab_size': 151_552,
    'max_seq_len': 8192,
    'd_model': 4096,
    'n_layers': 40,
    'n_heads': 32,
    'n_kv_heads': 2,
    'd_ff': 13_696,
    'norm_eps': 1.5625e-07,  # as in its config.json
    'qkv_bias': True,
    'rotary_fraction': 0.5,
    'rotary_interleaved': True,
  },
}
