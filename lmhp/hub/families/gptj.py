"""GPT-J.

The attention and feed-forward parts are parallel, and share one normalization. A quarter of
each attention head has rotary positions, in pairs of adjacent dimensions. The output layer has
a bias.

Source: transformers 5, `models/gptj`.
"""

import math

from lmhp.hub.families.common_keys import SUMMARY_KEYS
from lmhp.hub.families.converters import (
  ConfigKeys,
  ConfigReader,
  FunctionConverter,
  ModelFields,
)
from lmhp.hub.families.family import CheckpointFamily, register_family
from lmhp.model.config import ModelConfig


def _read_rotary(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  rotary_dim = reader.take('rotary_dim', 64, int)
  accepted = f'a whole number from 2 to the size of a head, {cfg.head_dim}'
  reader.require(0 < rotary_dim <= cfg.head_dim, 'rotary_dim', rotary_dim, accepted)
  fraction = rotary_dim / cfg.head_dim
  # ModelConfig rounds head_dim * fraction down. If a rounding error of the division makes the
  # product too small, take the next larger float.
  if int(cfg.head_dim * fraction) < rotary_dim:
    fraction = math.nextafter(fraction, 1.0)
  return {'position': 'rotary', 'rotary_fraction': fraction}


def _write_rotary(cfg: ModelConfig) -> ConfigKeys:
  return {'rotary_dim': cfg.rotary_dim}


GPTJ = register_family(
  CheckpointFamily(
    model_type='gptj',
    fixed_fields={
      'norm_bias': True,
      'parallel_residual': True,
      'shared_norm': True,
      'feed_forward_bias': True,
      'head_bias': True,
      'rotary_interleaved': True,
      'init': 'normal',
    },
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
    accepted_values={'rotary': (True,), 'scale_attn_weights': (True,)},
    ignored_keys=('n_ctx', *SUMMARY_KEYS),
    aliases={
      'hidden_size': 'n_embd',
      'max_position_embeddings': 'n_positions',
      'num_attention_heads': 'n_head',
      'num_hidden_layers': 'n_layer',
    },
    converters=(FunctionConverter(_read_rotary, _write_rotary),),
    layer_name='transformer.h.{i}',
    tensor_names={
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
)
