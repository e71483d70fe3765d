"""Mistral 7B, Nemo, Small: Llama with a window (7B v0.1) and no biases."""

from lmhp.hub.families.llama import LLAMA
from lmhp.hub.families.rotary import Rotary
from lmhp.hub.families.windows import WindowEverywhere

MISTRAL = LLAMA.but(
  'mistral',
  defaults={
    'intermediate_size': 14_336,
    'num_key_value_heads': 8,
    'max_position_embeddings': 131_072,
  },
  without=('attention_bias', 'mlp_bias'),
  only={'attention_bias': (False,), 'mlp_bias': (False,)},
  parts=(WindowEverywhere(4096), Rotary()),
)
