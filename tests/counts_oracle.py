"""Parameters by kind of transformers' own modules, on the meta device: each parameter counted, none computed.

The kinds are told from the names alone, by the rules of the leaf table: every norm is normalization, a shared head
counts once (as embedding), factorized projections are embedding.
"""

import collections
import copy
import re

RULES = (
  ('normalization', r'norm|Norm|(^|\.)ln_|layernorm|(^|\.)norm_f'),
  (
    'positional',
    r'(^|\.)(wpe|embed_positions|positions_embed|position_embeddings|relative_attention_bias)\.',
  ),
  (
    'embedding',
    r'(^|\.)(shared|wte|embed_tokens|embed_in|word_embeddings|tokens_embed|project_in|project_out|'
    r'tok_embeddings|token_type_embeddings|embedding_hidden_mapping_in)\.',
  ),
  (
    'output',
    r'(^|\.)(lm_head|embed_out|predictions)\.|^(head|decoder)\.(dense|norm|weight|bias)',
  ),
  ('attention', r'attn|attention|Attention'),
  (
    'feed_forward',
    r'(^|\.)(mlp|ffn|feed_forward|block_sparse_moe|ffn_output|fc1|fc2|intermediate|DenseReluDense)\.|dense_h_to_4h|dense_4h_to_h|\.output\.dense',
  ),
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


def language_model(model_type: str):
  """The class of transformers that makes a language model of a type."""
  import transformers

  masked = model_type in ('bert', 'roberta', 'albert', 'modernbert')
  both = (
    transformers.AutoModelForSeq2SeqLM
    if model_type == 't5'
    else transformers.AutoModelForCausalLM
  )
  return transformers.AutoModelForMaskedLM if masked else both


def transformers_counts(config: dict) -> dict[str, int]:
  """Parameters by kind of the language model, causal or masked, that transformers builds from a config.json."""
  import torch

  with torch.device('meta'):
    model = language_model(config['model_type']).from_config(
      transformers_config(config)
    )
  counts = collections.Counter()
  for name, parameter in model.named_parameters():
    counts[kind_of(name)] += parameter.numel()
  return dict(counts)
