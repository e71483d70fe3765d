"""OPT and Galactica (opt), and XGLM.

Position 0 is row 2 of the table of positions. The table of OPT is learned, that of XGLM is
sinusoidal.

Source: transformers 5, `models/opt` and `models/xglm`.
"""

from lmhp.hub.families.converters import (
  ConfigKeys,
  ConfigReader,
  FunctionConverter,
  ModelFields,
)
from lmhp.hub.families.family import CheckpointFamily, register_family
from lmhp.model.config import ModelConfig

_NAMES = {
  'embedding': 'model.decoder.embed_tokens',
  'embedding/project': 'model.decoder.project_in',
  'positional': 'model.decoder.embed_positions',
  # The normalization before a part and the one after its residual addition have the same
  # name. A model has only one of the two.
  'attention_input_norm': '.self_attn_layer_norm',
  'attention_residual_norm': '.self_attn_layer_norm',
  'attention/query': '.self_attn.q_proj',
  'attention/key': '.self_attn.k_proj',
  'attention/value': '.self_attn.v_proj',
  'attention/output': '.self_attn.out_proj',
  'feed_forward_input_norm': '.final_layer_norm',
  'feed_forward_residual_norm': '.final_layer_norm',
  'feed_forward/up': '.fc1',
  'feed_forward/down': '.fc2',
  'final_norm': 'model.decoder.final_layer_norm',
  'output/project': 'model.decoder.project_out',
  'output': 'lm_head',
}


def _read_norms(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  """Returns the fields of the normalizations.

  OPT-350M is the only published model with a normalization after each residual addition. It
  has no final normalization.
  """
  is_before = reader.take('do_layer_norm_before', True, bool)
  is_final_removed = reader.take('_remove_final_layer_norm', False, bool)
  is_affine = reader.take('layer_norm_elementwise_affine', True, bool)
  return {
    'norm_placement': 'pre' if is_before else 'post',
    'final_norm': is_before and not is_final_removed,
    'norm_affine': is_affine,
    'norm_bias': is_affine,
  }


def _write_norms(cfg: ModelConfig) -> ConfigKeys:
  is_before = cfg.norm_placement == 'pre'
  return {
    'do_layer_norm_before': is_before,
    '_remove_final_layer_norm': is_before and not cfg.final_norm,
    'layer_norm_elementwise_affine': cfg.norm_affine,
  }


def _read_embedding_scale(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  is_scaled = reader.take('scale_embedding', True, bool)
  return {'embedding_scale': cfg.d_model**0.5} if is_scaled else {}


def _write_embedding_scale(cfg: ModelConfig) -> ConfigKeys:
  return {'scale_embedding': cfg.embedding_scale != 1.0}


OPT = register_family(
  CheckpointFamily(
    model_type='opt',
    fixed_fields={'position': 'learned', 'position_offset': 2, 'init': 'normal'},
    keys={
      'vocab_size': ('vocab_size', 50_272),
      'hidden_size': ('d_model', 768),
      'word_embed_proj_dim': ('embedding_dim', None),
      'num_hidden_layers': ('n_layers', 12),
      'num_attention_heads': ('n_heads', 12),
      'ffn_dim': ('d_ff', 3072),
      'activation_function': ('activation', 'relu'),
      'max_position_embeddings': ('max_seq_len', 2048),
      'dropout': ('residual_dropout', 0.1),
      'attention_dropout': ('attention_dropout', 0.0),
      'init_std': ('init_scale', 0.02),
      'enable_bias': ('qkv_bias attention_output_bias feed_forward_bias', True),
      'tie_word_embeddings': ('tie_embeddings', True),
    },
    # The last two keys are from files of Galactica.
    accepted_values={
      'layerdrop': (0.0,),
      'activation_dropout': (0.0,),
      'learned_embeddings': (True,),
      'scale_embeddings': (False,),
    },
    converters=(FunctionConverter(_read_norms, _write_norms),),
    layer_name='model.decoder.layers.{i}',
    tensor_names=_NAMES,
  )
)

XGLM = register_family(
  CheckpointFamily(
    model_type='xglm',
    fixed_fields={
      'position': 'sinusoidal',
      'position_offset': 2,
      'norm_bias': True,
      'qkv_bias': True,
      'attention_output_bias': True,
      'feed_forward_bias': True,
      'init': 'normal',
    },
    keys={
      'vocab_size': ('vocab_size', 256_008),
      'd_model': ('d_model', 1024),
      'num_layers': ('n_layers', 24),
      'attention_heads': ('n_heads', 16),
      'ffn_dim': ('d_ff', 4096),
      'activation_function': ('activation', 'gelu'),
      'max_position_embeddings': ('max_seq_len', 2048),
      'dropout': ('embedding_dropout residual_dropout', 0.1),
      'attention_dropout': ('attention_dropout', 0.1),
      'init_std': ('init_scale', 0.02),
      'tie_word_embeddings': ('tie_embeddings', True),
    },
    accepted_values={'layerdrop': (0.0,), 'activation_dropout': (0.0,)},
    aliases={
      'hidden_size': 'd_model',
      'num_attention_heads': 'attention_heads',
      'num_hidden_layers': 'num_layers',
    },
    converters=(FunctionConverter(_read_embedding_scale, _write_embedding_scale),),
    layer_name='model.layers.{i}',
    tensor_names={
      **_NAMES,
      'embedding': 'model.embed_tokens',
      'final_norm': 'model.layer_norm',
    },
  )
)
