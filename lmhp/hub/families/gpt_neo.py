"""GPT-Neo: GPT-2 whose attention is not scaled, without query, key and value biases, every second layer windowed."""

import itertools
from typing import Any

from lmhp.hub.families.family import CheckpointFamily, Entries, TwoWay
from lmhp.hub.families.windows import shortest
from lmhp.model.config import ModelConfig


def _windows(entries: Entries, cfg: ModelConfig) -> dict[str, Any]:
  """attention_types is a list of [[words], repetitions]; attention_layers, where given, is it written out."""
  window = entries.take('window_size', 256, int)
  types = entries.take('attention_types', [[['global', 'local'], 12]], list)
  written = entries.take('attention_layers', None, list, None)
  enough = cfg.n_layers + 1  # one too many shows that there are too many
  try:
    words = (
      word
      for some, times in types
      if some
      for _ in range(min(times, enough))
      for word in some
    )
    layers = list(itertools.islice(words, enough))
  except (TypeError, ValueError):
    layers = []
  if len(layers) != cfg.n_layers or not set(map(str, layers)) <= {'global', 'local'}:
    raise entries.wrong(
      'attention_types',
      types,
      f'[[words], repetitions] for the {cfg.n_layers} layers, in words '
      'global and local',
    )
  if written is not None and written != layers:
    raise entries.wrong('attention_layers', written, 'what attention_types gives')
  return {'attention_pattern': shortest(layers)} | (
    {'sliding_window': window} if 'local' in layers else {}
  )


def _write_windows(cfg: ModelConfig) -> dict[str, Any]:
  layers = ['global' if window is None else 'local' for window in cfg.windows]
  return {'attention_types': [[layers, 1]]} | (
    {'window_size': cfg.sliding_window} if 'local' in layers else {}
  )


GPT_NEO = CheckpointFamily(
  model_type='gpt_neo',
  always=dict(
    position='learned',
    norm_bias=True,
    attention_output_bias=True,
    feed_forward_bias=True,
    attention_scale=1.0,
    init='normal',
  ),
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
  unused=(
    'summary_type',
    'summary_use_proj',
    'summary_activation',
    'summary_proj_to_labels',
    'summary_first_dropout',
  ),
  aliases={'num_attention_heads': 'num_heads', 'num_hidden_layers': 'num_layers'},
  parts=(TwoWay(_windows, _write_windows),),
  layers='transformer.h.{i}',
  names={
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
