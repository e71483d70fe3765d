"""Small decoders that train on a laptop."""

from __future__ import annotations

from lmhp.model.presets.table import sizes

PRESETS = {
  # The two character-level recipes of nanoGPT (https://github.com/karpathy/nanoGPT).
  **sizes(
    'vocab_size max_seq_len d_model n_layers n_heads',
    {'nanogpt-cpu': (65, 64, 128, 4, 4), 'nanogpt-char': (65, 256, 384, 6, 6)},
    {'position': 'learned'},
  ),
  # Decoders over bytes, in sizes that lmhp defines. The vocabulary is the 256 bytes and
  # end-of-text.
  **sizes(
    'd_model n_layers n_heads',
    {'lmhp-1m': (128, 6, 4), 'lmhp-10m': (384, 6, 6), 'lmhp-30m': (512, 10, 8)},
    {
      'vocab_size': 257,
      'max_seq_len': 512,
      'norm': 'rmsnorm',
      'gated': True,
      'activation': 'silu',
    },
  ),
}
