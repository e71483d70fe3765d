"""Parameters by kind of transformers' own modules, on the meta device: each parameter counted, none computed.

The kinds are told from the names alone, by the rules of the leaf table: every norm is normalization, a shared head
counts once (as embedding), factorized projections are embedding.
"""

import collections
import copy
import re

RULES = (
    ('normalization', r'norm|(^|\.)ln_|layernorm|(^|\.)norm_f'),
    ('positional', r'(^|\.)(wpe|embed_positions|positions_embed)\.'),
    ('embedding', r'(^|\.)(wte|embed_tokens|embed_in|word_embeddings|tokens_embed|project_in|project_out)\.'),
    ('output', r'(^|\.)(lm_head|embed_out)\.'),
    ('attention', r'attn|attention'),
    ('feed_forward', r'(^|\.)(mlp|ffn|fc1|fc2)\.|dense_h_to_4h|dense_4h_to_h'),
)


def kind_of(name: str) -> str:
  """The kind of a parameter by its name; the first rule that matches holds."""
  for kind, pattern in RULES:
    if re.search(pattern, name):
      return kind
  raise AssertionError(f'no rule for {name}')


def transformers_config(config: dict):
  """transformers' own config object for a config.json."""
  import transformers

  entries = copy.deepcopy(config)  # transformers writes into nested objects
  return transformers.AutoConfig.for_model(entries.pop('model_type'), **entries)


def transformers_counts(config: dict) -> dict[str, int]:
  """Parameters by kind of the causal language model that transformers builds from a config.json."""
  import torch
  import transformers

  with torch.device('meta'):
    model = transformers.AutoModelForCausalLM.from_config(transformers_config(config))
  counts = collections.Counter()
  for name, parameter in model.named_parameters():
    counts[kind_of(name)] += parameter.numel()
  return dict(counts)
