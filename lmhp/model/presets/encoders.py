"""Encoders with their heads for masked language modeling (BERT), and encoder-decoders (T5)."""

from __future__ import annotations

from lmhp.model.presets.table import BIASES, sizes

BERT = {
  **BIASES,
  'architecture': 'encoder',
  'position': 'learned',
  'norm_placement': 'post',
  'norm_eps': 1e-12,
  'embedding_norm': True,
  'token_types': 2,
  'head_transform': True,
  'head_bias': True,
  'init': 'normal',
}

MODERNBERT = {
  'architecture': 'encoder',
  'vocab_size': 50_368,
  'max_seq_len': 8192,
  'gated': True,
  'embedding_norm': True,
  'first_attention_norm': False,
  'attention_pattern': ('global', 'local', 'local'),
  'sliding_window': 65,  # a distance below 65, so 64 tokens on each side
  'rotary_base': 160_000.0,
  'rotary_base_local': 10_000.0,
  'head_transform': True,
  'head_transform_bias': False,
  'head_bias': True,
  'init': 'normal',
}

T5 = {
  'architecture': 'encoder_decoder',
  'vocab_size': 32_128,
  'max_seq_len': 512,
  'position': 't5',
  'norm': 'rmsnorm',
  'norm_eps': 1e-6,
  'activation': 'relu',
  'attention_scale': 1.0,  # T5 does not divide by sqrt(head_dim)
  'head_dim': 64,
  'init': 'fan_in',
}

T5_V1_1 = {**T5, 'activation': 'gelu_tanh', 'gated': True, 'tie_embeddings': False}

PRESETS = {
  # Google, arXiv:1810.04805 and 1908.08962.
  **sizes(
    'd_model n_layers n_heads',
    {
      'bert-tiny': (128, 2, 2),
      'bert-mini': (256, 4, 4),
      'bert-small': (512, 4, 8),
      'bert-medium': (512, 8, 8),
      'bert-base': (768, 12, 12),
      'bert-large': (1024, 24, 16),
    },
    {**BERT, 'vocab_size': 30_522, 'max_seq_len': 512},
  ),
  # Meta, arXiv:1907.11692.
  **sizes(
    'd_model n_layers n_heads',
    {'roberta-base': (768, 12, 12), 'roberta-large': (1024, 24, 16)},
    {
      **BERT,
      'norm_eps': 1e-5,
      'token_types': 1,
      'vocab_size': 50_265,
      'max_seq_len': 512,
      'position_offset': 2,  # the first two rows of the table are not used
    },
  ),
  # Google, arXiv:1909.11942.
  **sizes(
    'd_model n_layers n_heads d_ff',
    {
      'albert-base-v2': (768, 12, 12, 3072),
      'albert-large-v2': (1024, 24, 16, 4096),
      'albert-xlarge-v2': (2048, 24, 16, 8192),
      'albert-xxlarge-v2': (4096, 12, 64, 16_384),
    },
    {
      **BERT,
      'vocab_size': 30_000,
      'max_seq_len': 512,
      'embedding_dim': 128,
      'embedding_projection': 'sum',  # projects the sum of tokens, positions and types
      'share_layers': True,
      'activation': 'gelu_tanh',
    },
  ),
  # Answer.AI, arXiv:2412.13663.
  **sizes(
    'd_model n_layers n_heads d_ff',
    {'modernbert-base': (768, 22, 12, 1152), 'modernbert-large': (1024, 28, 16, 2624)},
    {**MODERNBERT},
  ),
  # Google, arXiv:1910.10683. The tied head multiplies the logits by d_model ** -0.5.
  **sizes(
    'd_model n_layers n_heads d_ff logit_scale',
    {
      't5-small': (512, 6, 8, 2048, 512**-0.5),
      't5-base': (768, 12, 12, 3072, 768**-0.5),
      't5-large': (1024, 24, 16, 4096, 1024**-0.5),
      't5-3b': (1024, 24, 32, 16_384, 1024**-0.5),
      't5-11b': (1024, 24, 128, 65_536, 1024**-0.5),
    },
    {**T5},
    changes={'t5-3b': {'head_dim': 128}, 't5-11b': {'head_dim': 128}},
  ),
  # Version 1.1 of T5, released after the paper: https://huggingface.co/google/t5-v1_1-base.
  **sizes(
    'd_model n_layers n_heads d_ff',
    {
      't5-v1.1-small': (512, 8, 6, 1024),
      't5-v1.1-base': (768, 12, 12, 2048),
      't5-v1.1-large': (1024, 24, 16, 2816),
      't5-v1.1-xl': (2048, 24, 32, 5120),
      't5-v1.1-xxl': (4096, 24, 64, 10_240),
    },
    {**T5_V1_1},
  ),
}
