"""Measures how close the estimated memory of training is to that of the compiled program.

Each line is one update of one model: the memory that XLA plans on this machine, the estimate of
`lmhp count`, the sum that was used before (parameters, gradients, AdamW's state and the arrays that
the forward pass keeps), and the ratios of the first number to the other two.

Usage: python bench/training_memory.py [NAME ...]
"""

from __future__ import annotations

import sys

import jax

from lmhp.config import resolve
from lmhp.counting.memory import activation_bytes
from lmhp.counting.parameters import count
from lmhp.statistics.number_format import format_bytes
from lmhp.training.memory import compiled_bytes, estimated_bytes

# {name: (batch size, length, keys of the section `model`)}
MODELS = {
  'gpt': (8, 256, {'vocab_size': 4096, 'n_layers': 6, 'position': 'learned'}),
  'characters': (
    8,
    256,
    {'vocab_size': 65, 'd_model': 384, 'n_heads': 6, 'n_layers': 6},
  ),
  'large vocabulary': (
    4,
    512,
    {'vocab_size': 50257, 'd_ff': 704, 'gated': True, 'activation': 'silu'},
  ),
  'larger vocabulary': (2, 256, {'vocab_size': 128000, 'd_model': 128, 'n_layers': 2}),
  'experts': (4, 512, {'vocab_size': 4096, 'n_experts': 8, 'experts_per_token': 2}),
  'windows and caps': (
    4,
    1024,
    {
      'vocab_size': 4096,
      'n_layers': 6,
      'attention_pattern': ('local', 'global'),
      'sliding_window': 128,
      'attention_logit_cap': 50.0,
    },
  ),
  'mamba2': (
    4,
    512,
    {'vocab_size': 4096, 'n_layers': 6, 'mixer_pattern': ('mamba2',)},
  ),
  'long': (1, 2048, {'vocab_size': 1000, 'd_model': 128}),
  'wide': (
    2,
    128,
    {'vocab_size': 8000, 'd_model': 768, 'n_heads': 12, 'n_layers': 2},
  ),
  'grouped queries': (2, 512, {'vocab_size': 16000, 'n_heads': 8, 'n_kv_heads': 2}),
  'encoder-decoder': (
    4,
    256,
    {
      'vocab_size': 8000,
      'architecture': 'encoder_decoder',
      'n_encoder_layers': 4,
      'position': 't5',
    },
  ),
  'latent attention': (
    4,
    256,
    {
      'vocab_size': 8000,
      'kv_latent_dim': 64,
      'query_latent_dim': 96,
      'rotary_head_dim': 16,
    },
  ),
  'lstm': (4, 256, {'vocab_size': 4096, 'n_layers': 3, 'mixer_pattern': ('lstm',)}),
  'convolution': (
    4,
    256,
    {
      'vocab_size': 4096,
      'n_layers': 4,
      'mixer_pattern': ('convolution', 'attention'),
    },
  ),
  'dropout': (
    8,
    256,
    {'vocab_size': 4096, 'residual_dropout': 0.1, 'attention_dropout': 0.1},
  ),
  'small': (12, 64, {'vocab_size': 65, 'd_model': 128}),
}
KINDS = {
  'float32': {'dtype': 'float32'},
  'bfloat16': {'dtype': 'bfloat16'},
  'float32, full': {'dtype': 'float32', 'remat': 'full'},
}


def main(names: list[str]) -> None:
  """Prints one line for each model and kind of program."""
  is_cpu = jax.devices()[0].platform == 'cpu'
  print('| model | kind | compiled | estimate | ratio | sum | ratio |')
  print('|---|---|--:|--:|--:|--:|--:|')
  for name in names or MODELS:
    batch_size, seq_len, keys = MODELS[name]
    base = {'d_model': 256, 'n_heads': 4, 'n_layers': 4, 'max_seq_len': seq_len}
    for kind, changes in KINDS.items():
      cfg = resolve(
        {
          'model': base | keys | changes,
          'train': {'seq_len': seq_len, 'batch_size': batch_size},
        }
      )
      compiled = compiled_bytes(cfg)
      estimate = estimated_bytes(cfg, has_float32_products=is_cpu)
      state = 16 * count(cfg.model).total
      total = state + activation_bytes(cfg.model, batch_size, seq_len)
      print(
        f'| {name} | {kind} | {format_bytes(compiled)} | {format_bytes(estimate)} | '
        f'{compiled / estimate:.2f} | {format_bytes(total)} | {compiled / total:.2f} |',
        flush=True,
      )


if __name__ == '__main__':
  main(sys.argv[1:])
