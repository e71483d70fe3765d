"""GPT-J: parallel parts under one normalization, a quarter of each head rotated in neighbouring pairs, a head bias."""

import math
from typing import Any

from lmhp.hub.families.family import CheckpointFamily, Entries, TwoWay
from lmhp.model.config import ModelConfig


def _rotary(entries: Entries, cfg: ModelConfig) -> dict[str, Any]:
  width = entries.take('rotary_dim', 64, int)
  if not 0 < width <= cfg.head_dim:
    raise entries.wrong(
      'rotary_dim',
      width,
      f'a whole number from 2 to the size of a head, {cfg.head_dim}',
    )
  fraction = width / cfg.head_dim
  if int(cfg.head_dim * fraction) < width:  # the quotient was rounded down
    fraction = math.nextafter(fraction, 1.0)
  return {'position': 'rotary', 'rotary_fraction': fraction}


GPTJ = CheckpointFamily(
  model_type='gptj',
  always=dict(
    norm_bias=True,
    parallel_residual=True,
    shared_norm=True,
    feed_forward_bias=True,
    head_bias=True,
    rotary_interleaved=True,
    init='normal',
  ),
  keys={
    'vocab_size': ('vocab_size', 50_400),
    'n_positions': ('max_seq_len', 2048),
    'n_embd': ('d_model', 4096),
    'n_layer': ('n_layers', 28),
    'n_head': ('n_heads', 16),
    'n_inner': ('d_ff', None),
    'activation_function': ('activation', 'gelu_new'),
    'embd_pdrop': ('embedding_dropout', 0.0),
    'attn_pdrop': ('attention_dropout', 0.0),
    'resid_pdrop': ('residual_dropout', 0.0),
    'layer_norm_epsilon': ('norm_eps', 1e-5),
    'initializer_range': ('init_scale', 0.02),
    'tie_word_embeddings': ('tie_embeddings', False),
  },
  only={'rotary': (True,), 'scale_attn_weights': (True,)},
  unused=(
    'n_ctx',
    'summary_type',
    'summary_use_proj',
    'summary_activation',
    'summary_proj_to_labels',
    'summary_first_dropout',
  ),
  aliases={
    'hidden_size': 'n_embd',
    'max_position_embeddings': 'n_positions',
    'num_attention_heads': 'n_head',
    'num_hidden_layers': 'n_layer',
  },
  parts=(TwoWay(_rotary, lambda cfg: {'rotary_dim': cfg.rotary_dim}),),
  layers='transformer.h.{i}',
  names={
    'embedding': 'transformer.wte',
    'attention_input_norm': '.ln_1',
    'attention/query': '.attn.q_proj',
    'attention/key': '.attn.k_proj',
    'attention/value': '.attn.v_proj',
    'attention/output': '.attn.out_proj',
    'feed_forward/up': '.mlp.fc_in',
    'feed_forward/down': '.mlp.fc_out',
    'final_norm': 'transformer.ln_f',
    'output': 'lm_head',
  },
)
