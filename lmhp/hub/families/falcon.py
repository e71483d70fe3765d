"""Falcon 7B, 40B, 180B and RW.

The attention and feed-forward parts of a layer are parallel. In Falcon 7B, there is one
key/value head, and both parts share one normalization. In Falcon 40B and 180B
(new_decoder_architecture), there are several key/value heads and two normalizations.

Source: transformers 5, `models/falcon`.
"""

from lmhp.hub.families.bloom import BLOOM, BLOOM_NAMES
from lmhp.hub.families.converters import (
  ConfigKeys,
  ConfigReader,
  FunctionConverter,
  ModelFields,
)
from lmhp.hub.families.family import CheckpointFamily, register_family
from lmhp.hub.families.rotary import Rotary
from lmhp.model.config import ModelConfig


def _read_heads_and_norms(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  """Returns the fields of key/value heads, of parallel parts and of their normalizations.

  If multi_query is true and new_decoder_architecture is false, there is one key/value head, and
  num_kv_heads has no effect. Only the new architecture can have two normalizations.
  """
  is_new = reader.take('new_decoder_architecture', False, bool, None)
  is_multi_query = reader.take('multi_query', True, bool, None)
  is_parallel = bool(reader.take('parallel_attn', True, bool, None))
  n_norms = reader.take('num_ln_in_parallel_attn', None, int, None)
  n_kv_heads = reader.take('num_kv_heads', None, int, None) or cfg.n_heads

  accepted = 'true, since new_decoder_architecture is true'
  reader.require(is_parallel or not is_new, 'parallel_attn', False, accepted)
  is_accepted = n_norms in ((None, 1, 2) if is_new else (None, 1))
  accepted = '1, or 2 if new_decoder_architecture is true'
  reader.require(is_accepted, 'num_ln_in_parallel_attn', n_norms, accepted)

  # The new architecture has two normalizations by default.
  has_two_norms = is_new and n_norms in (None, 2)
  return {
    'n_kv_heads': n_kv_heads if is_new or not is_multi_query else 1,
    'parallel_residual': is_parallel,
    'shared_norm': is_parallel and not has_two_norms,
  }


def _write_heads_and_norms(cfg: ModelConfig) -> ConfigKeys:
  has_two_norms = cfg.parallel_residual and not cfg.shared_norm
  # Only the new architecture has two normalizations, or a number of key/value heads between
  # one and the number of heads.
  is_new = has_two_norms or cfg.n_kv_heads not in (1, cfg.n_heads)
  keys: ConfigKeys = {
    'new_decoder_architecture': is_new,
    'multi_query': cfg.n_kv_heads == 1,
    'num_kv_heads': cfg.n_kv_heads,
    'parallel_attn': cfg.parallel_residual,
  }
  if is_new:
    keys['num_ln_in_parallel_attn'] = 2 if has_two_norms else 1
  return keys


def _read_positions(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  """Returns the fields of rotary positions, or of ALiBi (Falcon-RW).

  Falcon divides the sum of logits and ALiBi bias by sqrt(head_dim), so the bias has a scale.
  """
  # Read the rotary keys in both cases, because a key that is not read is an error.
  rotary_fields = Rotary().read(reader, cfg)
  if not reader.take('alibi', False, bool, None):
    return rotary_fields
  return {'position': 'alibi', 'alibi_scale': cfg.head_dim**-0.5}


def _write_positions(cfg: ModelConfig) -> ConfigKeys:
  return {'alibi': cfg.position == 'alibi', **Rotary().write(cfg)}


def _names(cfg: ModelConfig) -> dict[str, str]:
  """Returns the names of BLOOM. If parallel parts have two norms, these have other names."""
  names = dict(BLOOM_NAMES)
  if cfg.parallel_residual and not cfg.shared_norm:
    names['attention_input_norm'] = '.ln_attn'
    names['feed_forward_input_norm'] = '.ln_mlp'
  return names


FALCON = register_family(
  CheckpointFamily(
    model_type='falcon',
    fixed_fields={'norm_bias': True, 'init': 'normal'},
    keys={
      'vocab_size': ('vocab_size', 65_024),
      'hidden_size': ('d_model', 4544),
      'num_hidden_layers': ('n_layers', 32),
      'num_attention_heads': ('n_heads', 71),
      'ffn_hidden_size': ('d_ff', None),
      'activation': ('activation', 'gelu'),
      'max_position_embeddings': ('max_seq_len', 2048),
      'layer_norm_epsilon': ('norm_eps', 1e-5),
      'initializer_range': ('init_scale', 0.02),
      'bias': ('qkv_bias attention_output_bias feed_forward_bias', False),
      'tie_word_embeddings': ('tie_embeddings', True),
    },
    # The class in transformers applies dropout at other places than lmhp, so only the rate 0
    # is accepted.
    accepted_values={
      'hidden_dropout': (0.0,),
      'attention_dropout': (0.0,),
      'apply_residual_connection_post_layernorm': (False,),
      'ff_factor': (4,),
    },
    aliases={'n_embed': 'hidden_size'},
    converters=(
      FunctionConverter(_read_heads_and_norms, _write_heads_and_norms),
      FunctionConverter(_read_positions, _write_positions),
    ),
    layer_name=BLOOM.layer_name,
    tensor_names=_names,
    has_grouped_qkv=True,
  )
)
