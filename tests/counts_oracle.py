"""Oracle for counts: parameters of the modules of transformers, by kind.

The modules are built on the meta device, so no parameter takes memory. The kind of a
parameter follows from its name: every normalization counts as normalization, a tied head
counts once as embedding, and the projections of a factorized embedding count as embedding.
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
  """Returns the kind of a parameter. The first rule that matches its name counts."""
  for kind, pattern in RULES:
    if re.search(pattern, name):
      return kind
  raise AssertionError(f'no rule for {name}')


def transformers_config(config: dict):
  """Returns the config object of transformers for a config.json."""
  import transformers

  # transformers changes nested objects.
  keys = copy.deepcopy(config)
  return transformers.AutoConfig.for_model(keys.pop('model_type'), **keys)


def language_model(model_type: str):
  """Returns the class of transformers that builds a language model of a type."""
  import transformers

  if model_type in ('bert', 'roberta', 'albert', 'modernbert'):
    return transformers.AutoModelForMaskedLM
  if model_type == 't5':
    return transformers.AutoModelForSeq2SeqLM
  return transformers.AutoModelForCausalLM


def transformers_counts(config: dict) -> dict[str, int]:
  """Returns the parameters by kind of the language model of a config.json."""
  import torch

  with torch.device('meta'):
    model = language_model(config['model_type']).from_config(
      transformers_config(config)
    )
  counts = collections.Counter()
  for name, parameter in model.named_parameters():
    counts[kind_of(name)] += parameter.numel()
  return dict(counts)
