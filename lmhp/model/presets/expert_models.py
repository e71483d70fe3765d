"""Decoders with a mixture of experts."""

from __future__ import annotations

import math

from lmhp.model.presets.qwen import QWEN3
from lmhp.model.presets.table import LLAMA, sizes

# YaRN usually multiplies rotated queries and keys by a factor. DeepSeek does not
# (`rotary_attention_factor` is 1). Instead, it multiplies `attention_scale` by
# (0.1 m log(40) + 1)^2. m is `mscale_all_dim` of the config.json: 0.707 in version 2, and 1 in
# version 3.
DEEPSEEK = {
  **LLAMA,
  'norm_eps': 1e-6,
  'latent_norm_eps': 1e-6,
  'kv_latent_dim': 512,
  'head_dim': 192,
  'rotary_head_dim': 64,
  'value_head_dim': 128,
  'rotary_interleaved': True,
  'rotary_scaling': 'yarn',
  'rotary_scaling_factor': 40.0,
  'rotary_original_max_seq_len': 4096,
  'rotary_attention_factor': 1.0,
}

PRESETS = {
  # Mistral AI, arXiv:2401.04088.
  **sizes(
    'd_model n_layers n_heads d_ff max_seq_len vocab_size',
    {
      'mixtral-8x7b': (4096, 32, 32, 14_336, 32_768, 32_000),
      'mixtral-8x22b': (6144, 56, 48, 16_384, 65_536, 32_768),
    },
    {
      **LLAMA,
      'n_kv_heads': 8,
      'rotary_base': 1e6,
      'n_experts': 8,
      'experts_per_token': 2,
    },
  ),
  # Qwen team, arXiv:2505.09388.
  **sizes(
    'd_model n_layers n_heads d_ff d_ff_expert',
    {
      'qwen3-30b-a3b': (2048, 48, 32, 6144, 768),
      'qwen3-235b-a22b': (4096, 94, 64, 12_288, 1536),
    },
    {**QWEN3, 'n_kv_heads': 4, 'n_experts': 128, 'experts_per_token': 8},
  ),
  # AI2, arXiv:2409.02060.
  'olmoe-1b-7b': {
    **LLAMA,
    'vocab_size': 50_304,
    'max_seq_len': 4096,
    'd_model': 2048,
    'n_layers': 16,
    'n_heads': 16,
    'd_ff': 1024,
    'qk_norm': 'full',
    'n_experts': 64,
    'experts_per_token': 8,
    'router_normalize': False,
  },
  # DeepSeek, arXiv:2405.04434 and 2412.19437.
  'deepseek-v2-lite': {
    **DEEPSEEK,
    'vocab_size': 102_400,
    'max_seq_len': 163_840,
    'd_model': 2048,
    'n_layers': 27,
    'n_heads': 16,
    'd_ff': 10_944,
    'd_ff_expert': 1408,
    'n_experts': 64,
    'experts_per_token': 6,
    'n_shared_experts': 2,
    'n_dense_layers': 1,
    'router_normalize': False,
    # head_dim ** -0.5, times the factor of YaRN.
    'attention_scale': 192**-0.5 * (0.0707 * math.log(40) + 1) ** 2,
  },
  'deepseek-v2': {
    **DEEPSEEK,
    'vocab_size': 102_400,
    'max_seq_len': 163_840,
    'd_model': 5120,
    'n_layers': 60,
    'n_heads': 128,
    'd_ff': 12_288,
    'd_ff_expert': 1536,
    'n_experts': 160,
    'experts_per_token': 6,
    'n_shared_experts': 2,
    'n_dense_layers': 1,
    'query_latent_dim': 1536,
    'router_normalize': False,
    'router_scale': 16.0,
    'router_groups': 8,
    'router_groups_per_token': 3,
    'attention_scale': 192**-0.5 * (0.0707 * math.log(40) + 1) ** 2,
  },
  'deepseek-v3': {
    **DEEPSEEK,
    'vocab_size': 129_280,
    'max_seq_len': 163_840,
    'd_model': 7168,
    'n_layers': 61,
    'n_heads': 128,
    'd_ff': 18_432,
    'd_ff_expert': 2048,
    'n_experts': 256,
    'experts_per_token': 8,
    'n_shared_experts': 1,
    'n_dense_layers': 3,
    'query_latent_dim': 1536,
    'router_score': 'sigmoid',
    'router_correction': True,
    'router_scale': 2.5,
    'router_groups': 8,
    'router_groups_per_token': 4,
    'router_group_score': 'top2',
    'attention_scale': 192**-0.5 * (0.1 * math.log(40) + 1) ** 2,
  },
  # OpenAI, arXiv:2508.10925.
  **sizes(
    'n_layers n_experts',
    {'gpt-oss-20b': (24, 32), 'gpt-oss-120b': (36, 128)},
    {
      **LLAMA,
      'activation': 'quick_gelu',
      'vocab_size': 201_088,
      'max_seq_len': 131_072,
      'd_model': 2880,
      'n_heads': 64,
      'n_kv_heads': 8,
      'head_dim': 64,
      'd_ff': 2880,
      'experts_per_token': 4,
      'qkv_bias': True,
      'attention_output_bias': True,
      'feed_forward_bias': True,
      'router_bias': True,
      'attention_sinks': True,
      'gate_clip': 7.0,
      'gate_offset': 1.0,
      'attention_pattern': ('local', 'global'),
      'sliding_window': 128,
      'rotary_base': 150_000.0,
      'rotary_scaling': 'yarn',
      'rotary_scaling_factor': 32.0,
      'rotary_original_max_seq_len': 4096,
      'rotary_truncate': False,
    },
  ),
  # Meta's model card of Llama 4: https://huggingface.co/meta-llama.
  **sizes(
    'n_experts experts_every max_seq_len d_ff qk_norm',
    {
      'llama-4-scout': (16, 1, 10_485_760, 16_384, 'l2'),
      'llama-4-maverick': (128, 2, 1_048_576, 16_384, 'none'),
    },
    {
      **LLAMA,
      'vocab_size': 202_048,
      'd_model': 5120,
      'n_layers': 48,
      'n_heads': 40,
      'n_kv_heads': 8,
      'head_dim': 128,
      'd_ff_expert': 8192,
      'experts_per_token': 1,  # besides the shared expert
      'n_shared_experts': 1,
      'router_score': 'sigmoid',
      'router_normalize': False,
      'expert_input_scaled': True,
      'rotary_base': 500_000.0,
      'rotary_interleaved': True,
      'no_position_every': 4,
      'attention_chunk': 8192,
      'attention_pattern': ('local', 'local', 'local', 'global'),
      'attention_temperature': 0.1,
    },
    changes={
      'llama-4-scout': {
        'rotary_scaling': 'llama3',
        'rotary_scaling_factor': 16.0,
        'rotary_original_max_seq_len': 8192,
        'rotary_high_frequency_factor': 1.0,
      }
    },
  ),
}
