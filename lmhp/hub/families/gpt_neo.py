"""GPT-Neo: GPT-2 with windows in some layers.

The attention logits are not divided by sqrt(head_dim). The projections of query, key and value
have no bias.

Source: transformers 5, `models/gpt_neo`.
"""

from collections.abc import Iterator, Sequence
import itertools

from lmhp.hub.families.common_keys import SUMMARY_KEYS
from lmhp.hub.families.converters import (
  ConfigKeys,
  ConfigReader,
  FunctionConverter,
  ModelFields,
)
from lmhp.hub.families.family import CheckpointFamily, register_family
from lmhp.hub.families.windows import shortest_pattern
from lmhp.model.config import ModelConfig


def _read_windows(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  """Returns the fields of the windows.

  attention_types is a list of [[layer types], repetitions], such as [[["global", "local"], 12]]
  for 24 layers. attention_layers, if present, repeats the same types as a list of all layers.
  """
  window = reader.take('window_size', 256, int)
  types = reader.take('attention_types', [[['global', 'local'], 12]], list)
  listed = reader.take('attention_layers', None, list, None)

  # One entry more than there are layers is enough to detect a list that is too long.
  layers = _expand(types, cfg.n_layers + 1)
  is_valid = len(layers) == cfg.n_layers and set(map(str, layers)) <= {
    'global',
    'local',
  }
  accepted = (
    f'a list of [[layer types], repetitions] with {cfg.n_layers} layers, each of them '
    'global or local'
  )
  reader.require(is_valid, 'attention_types', types, accepted)
  accepted = 'the same layers as attention_types'
  reader.require(listed in (None, layers), 'attention_layers', listed, accepted)

  fields: ModelFields = {'attention_pattern': shortest_pattern(layers)}
  if 'local' in layers:
    fields['sliding_window'] = window
  return fields


def _expand(types: Sequence[tuple[Sequence[str], int]], limit: int) -> list[str]:
  """Returns the type of each layer.

  Args:
    types: List of [[layer types], repetitions] from a file, which may be malformed.
    limit: Largest length of the result.

  Returns:
    'global' or 'local' for each layer. Empty if `types` is malformed.
  """

  def layer_types() -> Iterator[str]:
    for group, repetitions in types:
      if group:
        for _ in range(min(repetitions, limit)):
          yield from group

  try:
    return list(itertools.islice(layer_types(), limit))
  except (TypeError, ValueError):
    return []


def _write_windows(cfg: ModelConfig) -> ConfigKeys:
  layers = ['global' if window is None else 'local' for window in cfg.windows]
  window_keys = {'window_size': cfg.sliding_window} if 'local' in layers else {}
  return {'attention_types': [[layers, 1]], **window_keys}


GPT_NEO = register_family(
  CheckpointFamily(
    model_type='gpt_neo',
    fixed_fields={
      'position': 'learned',
      'norm_bias': True,
      'attention_output_bias': True,
      'feed_forward_bias': True,
      'attention_scale': 1.0,
      'init': 'normal',
    },
    keys={
      'vocab_size': ('vocab_size', 50_257),
      'max_position_embeddings': ('max_seq_len', 2048),
      'hidden_size': ('d_model', 2048),
      'num_layers': ('n_layers', 24),
      'num_heads': ('n_heads', 16),
      'intermediate_size': ('d_ff', None),
      'activation_function': ('activation', 'gelu_new'),
      'embed_dropout': ('embedding_dropout', 0.0),
      'attention_dropout': ('attention_dropout', 0.0),
      'resid_dropout': ('residual_dropout', 0.0),
      'layer_norm_epsilon': ('norm_eps', 1e-5),
      'initializer_range': ('init_scale', 0.02),
      'tie_word_embeddings': ('tie_embeddings', True),
    },
    ignored_keys=SUMMARY_KEYS,
    aliases={'num_attention_heads': 'num_heads', 'num_hidden_layers': 'num_layers'},
    converters=(FunctionConverter(_read_windows, _write_windows),),
    layer_name='transformer.h.{i}',
    tensor_names={
      'embedding': 'transformer.wte',
      'positional': 'transformer.wpe',
      'attention_input_norm': '.ln_1',
      'attention/query': '.attn.attention.q_proj',
      'attention/key': '.attn.attention.k_proj',
      'attention/value': '.attn.attention.v_proj',
      'attention/output': '.attn.attention.out_proj',
      'feed_forward_input_norm': '.ln_2',
      'feed_forward/up': '.mlp.c_fc',
      'feed_forward/down': '.mlp.c_proj',
      'final_norm': 'transformer.ln_f',
      'output': 'lm_head',
    },
  )
)
