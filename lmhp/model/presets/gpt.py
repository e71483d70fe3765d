"""GPT, and dense decoders like it: layer normalization, and a feed-forward part without a gate."""

from __future__ import annotations

from lmhp.model.presets.table import BIASES, GPT, sizes

FALCON = {
  'vocab_size': 65_024,
  'max_seq_len': 2048,
  'norm_bias': True,
  'parallel_residual': True,
  'init': 'normal',
}

# Phi-1.5 and Phi-2. GPT-J is similar, but without biases in its attention.
PHI = {
  **BIASES,
  'vocab_size': 51_200,
  'max_seq_len': 2048,
  'activation': 'gelu_tanh',
  'parallel_residual': True,
  'shared_norm': True,
  'head_bias': True,
  'tie_embeddings': False,
  'init': 'normal',
}

PRESETS = {
  # OpenAI 2018, "Improving Language Understanding by Generative Pre-Training".
  'openai-gpt': {
    **GPT,
    'vocab_size': 40_478,
    'max_seq_len': 512,
    'd_model': 768,
    'n_layers': 12,
    'n_heads': 12,
    'norm_placement': 'post',
    'init': 'normal',
  },
  # OpenAI 2019, "Language Models are Unsupervised Multitask Learners".
  **sizes(
    'd_model n_layers n_heads',
    {
      'gpt2': (768, 12, 12),
      'gpt2-medium': (1024, 24, 16),
      'gpt2-large': (1280, 36, 20),
      'gpt2-xl': (1600, 48, 25),
    },
    {**GPT, 'vocab_size': 50_257, 'max_seq_len': 1024},
  ),
  # arXiv:2005.14165 table 2.1. Every second layer of GPT-3 has sparse attention, but all layers
  # are dense here. In two rows of the table, the numbers contradict each other. Corrected here:
  #   1.3B: 24 heads of size 128 are wider than d_model = 2048, so there are 16 heads.
  #   13B: d_model = 5140 is not 40 heads of size 128, so it is 5120.
  **sizes(
    'd_model n_layers n_heads',
    {
      'gpt3-125m': (768, 12, 12),
      'gpt3-350m': (1024, 24, 16),
      'gpt3-760m': (1536, 24, 16),
      'gpt3-1.3b': (2048, 24, 16),
      'gpt3-2.7b': (2560, 32, 32),
      'gpt3-6.7b': (4096, 32, 32),
      'gpt3-13b': (5120, 40, 40),
      'gpt3-175b': (12_288, 96, 96),
    },
    {**GPT, 'vocab_size': 50_257, 'max_seq_len': 2048},
  ),
  # Cerebras, arXiv:2304.03208.
  **sizes(
    'd_model n_layers n_heads',
    {
      'cerebras-gpt-111m': (768, 10, 12),
      'cerebras-gpt-256m': (1088, 14, 17),
      'cerebras-gpt-590m': (1536, 18, 12),
      'cerebras-gpt-1.3b': (2048, 24, 16),
      'cerebras-gpt-2.7b': (2560, 32, 32),
      'cerebras-gpt-6.7b': (4096, 32, 32),
      'cerebras-gpt-13b': (5120, 40, 40),
    },
    {**GPT, 'activation': 'gelu', 'vocab_size': 50_257, 'max_seq_len': 2048},
  ),
  # EleutherAI. GPT-Neo: https://github.com/EleutherAI/gpt-neo.
  # GPT-J: https://github.com/kingoflolz/mesh-transformer-jax.
  # Pythia: arXiv:2304.01373. GPT-NeoX: arXiv:2204.06745.
  **sizes(
    'd_model n_layers n_heads',
    {
      'gpt-neo-125m': (768, 12, 12),
      'gpt-neo-1.3b': (2048, 24, 16),
      'gpt-neo-2.7b': (2560, 32, 20),
    },
    {
      **GPT,
      'qkv_bias': False,
      'init': 'normal',
      'vocab_size': 50_257,
      'max_seq_len': 2048,
      'attention_pattern': ('global', 'local'),
      'sliding_window': 256,
      'attention_scale': 1.0,  # GPT-Neo does not divide by sqrt(head_dim)
    },
  ),
  'gpt-j-6b': {
    **PHI,
    'vocab_size': 50_400,
    'd_model': 4096,
    'n_layers': 28,
    'n_heads': 16,
    'rotary_fraction': 0.25,
    'rotary_interleaved': True,
    'qkv_bias': False,
    'attention_output_bias': False,
  },
  **sizes(
    'd_model n_layers n_heads vocab_size',
    {
      'pythia-14m': (128, 6, 4, 50_304),
      'pythia-31m': (256, 6, 8, 50_304),
      'pythia-70m': (512, 6, 8, 50_304),
      'pythia-160m': (768, 12, 12, 50_304),
      'pythia-410m': (1024, 24, 16, 50_304),
      'pythia-1b': (2048, 16, 8, 50_304),
      'pythia-1.4b': (2048, 24, 16, 50_304),
      'pythia-2.8b': (2560, 32, 32, 50_304),
      'pythia-6.9b': (4096, 32, 32, 50_432),
      'pythia-12b': (5120, 36, 40, 50_688),
      'gpt-neox-20b': (6144, 44, 64, 50_432),
    },
    {
      **BIASES,
      'max_seq_len': 2048,
      'tie_embeddings': False,
      'parallel_residual': True,
      'rotary_fraction': 0.25,
      'init': 'normal',
    },
    changes={'gpt-neox-20b': {'activation': 'gelu_tanh'}},
  ),
  # Meta, arXiv:2205.01068.
  **sizes(
    'd_model n_layers n_heads',
    {
      'opt-125m': (768, 12, 12),
      'opt-350m': (1024, 24, 16),
      'opt-1.3b': (2048, 24, 32),
      'opt-2.7b': (2560, 32, 32),
      'opt-6.7b': (4096, 32, 32),
      'opt-13b': (5120, 40, 40),
      'opt-30b': (7168, 48, 56),
      'opt-66b': (9216, 64, 72),
    },
    {
      **GPT,
      'activation': 'relu',
      'init': 'normal',
      'vocab_size': 50_272,
      'max_seq_len': 2048,
      'position_offset': 2,  # the first two rows of the table are not used
    },
    changes={
      'opt-350m': {'embedding_dim': 512, 'norm_placement': 'post', 'final_norm': False}
    },
  ),
  # BigScience, arXiv:2211.05100.
  **sizes(
    'd_model n_layers n_heads',
    {
      'bloom-560m': (1024, 24, 16),
      'bloom-1b1': (1536, 24, 16),
      'bloom-1b7': (2048, 24, 16),
      'bloom-3b': (2560, 30, 32),
      'bloom-7b1': (4096, 30, 32),
      'bloom-176b': (14_336, 70, 112),
    },
    {
      **GPT,
      'position': 'alibi',
      'init': 'normal',
      'vocab_size': 250_880,
      'max_seq_len': 2048,
      'embedding_norm': True,
    },
  ),
  # MosaicML: https://huggingface.co/mosaicml.
  **sizes(
    'd_model n_layers n_heads max_seq_len',
    {'mpt-7b': (4096, 32, 32, 2048), 'mpt-30b': (7168, 48, 64, 8192)},
    {'vocab_size': 50_432, 'position': 'alibi', 'init': 'normal'},
  ),
  # TII, arXiv:2311.16867.
  'falcon-7b': {
    **FALCON,
    'd_model': 4544,
    'n_layers': 32,
    'n_heads': 71,
    'n_kv_heads': 1,
    'shared_norm': True,
  },
  'falcon-40b': {
    **FALCON,
    'd_model': 8192,
    'n_layers': 60,
    'n_heads': 128,
    'n_kv_heads': 8,
  },
  'falcon-180b': {
    **FALCON,
    'd_model': 14_848,
    'n_layers': 80,
    'n_heads': 232,
    'n_kv_heads': 8,
  },
  # Microsoft, arXiv:2309.05463.
  'phi-1.5': {
    **PHI,
    'd_model': 2048,
    'n_layers': 24,
    'n_heads': 32,
    'rotary_fraction': 0.5,
  },
  'phi-2': {
    **PHI,
    'd_model': 2560,
    'n_layers': 32,
    'n_heads': 32,
    'rotary_fraction': 0.4,
  },
  # BigCode, arXiv:2301.03988, 2305.06161 and 2402.19173.
  'santacoder': {
    **GPT,
    'vocab_size': 49_280,
    'max_seq_len': 2048,
    'd_model': 2048,
    'n_layers': 24,
    'n_heads': 16,
    'n_kv_heads': 1,
  },
  'starcoder': {
    **GPT,
    'vocab_size': 49_152,
    'max_seq_len': 8192,
    'd_model': 6144,
    'n_layers': 40,
    'n_heads': 48,
    'n_kv_heads': 1,
  },
  **sizes(
    'd_model n_layers n_heads n_kv_heads rotary_base',
    {
      'starcoder2-3b': (3072, 30, 24, 2, 999_999.4420358813),  # as in its config.json
      'starcoder2-7b': (4608, 32, 36, 4, 1e6),
    },
    {
      **BIASES,
      'vocab_size': 49_152,
      'max_seq_len': 16_384,
      'activation': 'gelu_tanh',
      'attention_pattern': ('local',),
      'sliding_window': 4096,
      'init': 'normal',
    },
  ),
}
