"""MPT: ALiBi, and no biases.

The keys of the attention are in a nested object, attn_config.

Source: transformers 5, `models/mpt`.
"""

from lmhp.hub.families.converters import (
  ConfigKeys,
  ConfigReader,
  FunctionConverter,
  ModelFields,
)
from lmhp.hub.families.family import CheckpointFamily, register_family
from lmhp.model.config import ModelConfig

# The keys of the nested object attn_config. They are no family, so they are not registered.
_ATTENTION = CheckpointFamily(
  model_type='mpt',
  keys={
    'softmax_scale': ('attention_scale', None),
    'clip_qkv': ('clip_qkv', None),
    # transformers applies this rate to the residual additions too.
    'attn_pdrop': ('attention_dropout residual_dropout', 0.0),
  },
  accepted_values={
    'attn_type': ('multihead_attention',),
    'alibi': (True,),
    'alibi_bias_max': (8,),
    'prefix_lm': (False,),
    'qk_ln': (False,),
    'attn_uses_sequence_id': (False,),
  },
  ignored_keys=('attn_impl',),
)


def _read_attention(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  """Returns the fields of attn_config. If it is absent, its keys have their defaults."""
  inner = reader.take_object('attn_config') or ConfigReader({}, reader.source)
  fields = _ATTENTION.read_table(inner).values
  _ATTENTION.check_other_keys(inner)
  # A bound of 0 means no bound.
  return fields | {'clip_qkv': fields['clip_qkv'] or None}


def _write_attention(cfg: ModelConfig) -> ConfigKeys:
  is_usual_scale = cfg.attention_scale == cfg.head_dim**-0.5
  return {
    'attn_config': {
      'softmax_scale': None if is_usual_scale else cfg.attention_scale,
      'attn_pdrop': cfg.attention_dropout,
      'clip_qkv': cfg.clip_qkv,
    }
  }


def _read_expansion(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  """Returns the hidden size of the feed-forward part, a multiple of the size of the model.

  transformers always builds 4 d_model, so it cannot load a file with another ratio.
  """
  return {'d_ff': reader.take_positive('expansion_ratio', 4) * cfg.d_model}


def _write_expansion(cfg: ModelConfig) -> ConfigKeys:
  return {'expansion_ratio': cfg.d_ff // cfg.d_model}


MPT = register_family(
  CheckpointFamily(
    model_type='mpt',
    fixed_fields={'position': 'alibi', 'activation': 'gelu', 'init': 'normal'},
    keys={
      'vocab_size': ('vocab_size', 50_368),
      'd_model': ('d_model', 2048),
      'n_layers': ('n_layers', 24),
      'n_heads': ('n_heads', 16),
      'max_seq_len': ('max_seq_len', 2048),
      'layer_norm_epsilon': ('norm_eps', 1e-5),
      'initializer_range': ('init_scale', 0.02),
      'tie_word_embeddings': ('tie_embeddings', True),
    },
    accepted_values={
      'no_bias': (True,),
      'logit_scale': (None,),
      'emb_pdrop': (0.0,),
      'resid_pdrop': (0.0,),
      'embedding_fraction': (1.0,),
      'norm_type': ('low_precision_layernorm', 'layernorm'),
    },
    ignored_keys=(
      'learned_pos_emb',
      'init_config',
      'init_device',
      'verbose',
      'fc_type',
    ),
    aliases={
      'hidden_size': 'd_model',
      'num_attention_heads': 'n_heads',
      'num_hidden_layers': 'n_layers',
    },
    converters=(
      FunctionConverter(_read_attention, _write_attention),
      FunctionConverter(_read_expansion, _write_expansion),
    ),
    layer_name='transformer.blocks.{i}',
    tensor_names={
      'embedding': 'transformer.wte',
      'attention_input_norm': '.norm_1',
      'attention/query attention/key attention/value': '.attn.Wqkv',
      'attention/output': '.attn.out_proj',
      'feed_forward_input_norm': '.norm_2',
      'feed_forward/up': '.ffn.up_proj',
      'feed_forward/down': '.ffn.down_proj',
      'final_norm': 'transformer.norm_f',
      'output': 'lm_head',
    },
  )
)
