"""T5 and T5 v1.1 (also Flan-T5 and ByT5): encoder-decoders with bucketed relative positions.

Source: transformers 5, `models/t5`.
"""

from lmhp.hub.families.converters import (
  ConfigKeys,
  ConfigReader,
  FunctionConverter,
  ModelFields,
)
from lmhp.hub.families.family import CheckpointFamily, register_family
from lmhp.hub.families.field_values import ACTIVATIONS, activation_name
from lmhp.model.config import ModelConfig

_GATED = 'gated-'

# --- converters ---------------------------------------------------------------------


def _read_n_layers(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  """Returns the number of decoder layers. By default, the encoder has the same number."""
  n_layers = reader.take('num_decoder_layers', None, int, None)
  return {'n_layers': cfg.n_encoder_layers if n_layers is None else n_layers}


def _write_n_layers(cfg: ModelConfig) -> ConfigKeys:
  return {'num_decoder_layers': cfg.n_layers}


def _read_feed_forward(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  """Returns the activation, and True or False for `gated`.

  feed_forward_proj is an activation (relu), or `gated-` and an activation (gated-silu).
  transformers uses the tanh form of GELU for gated-gelu.
  """
  value = reader.take('feed_forward_proj', 'relu', str)
  name = value.removeprefix(_GATED)
  accepted = f'one of {", ".join(ACTIVATIONS)}, with or without {_GATED} before it'
  reader.require(name in ACTIVATIONS, 'feed_forward_proj', value, accepted)
  activation = 'gelu_tanh' if value == 'gated-gelu' else ACTIVATIONS[name]
  return {'gated': value.startswith(_GATED), 'activation': activation}


def _write_feed_forward(cfg: ModelConfig) -> ConfigKeys:
  """Returns feed_forward_proj. `_read_feed_forward` reads the same activation from it."""
  name = activation_name(cfg.activation)
  if not cfg.gated:
    return {'feed_forward_proj': name}
  # gated-gelu means the tanh form, so the exact form is written as gated-gelu_python.
  gated_names = {'gelu_tanh': 'gelu', 'gelu': 'gelu_python'}
  return {'feed_forward_proj': _GATED + gated_names.get(cfg.activation, name)}


def _read_head(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  """Returns the fields of the head.

  The first T5 ties the head to the embedding and multiplies the input of the head by
  1 / sqrt(d_model). v1.1 does neither. Files of transformers 5 always have
  tie_word_embeddings=true. They distinguish v1.1 by scale_decoder_outputs=false.
  """
  is_tied = reader.take('tie_word_embeddings', True, bool)
  is_scaled = reader.take('scale_decoder_outputs', is_tied, bool)
  return {
    'tie_embeddings': is_tied and is_scaled,
    'logit_scale': cfg.d_model**-0.5 if is_scaled else 1.0,
  }


def _write_head(cfg: ModelConfig) -> ConfigKeys:
  return {
    'tie_word_embeddings': cfg.tie_embeddings,
    'scale_decoder_outputs': cfg.logit_scale != 1.0,
  }


# --- tensor names -------------------------------------------------------------------

_NAMES = {
  'embedding': 'shared',
  'encoder/attention/query': 'encoder.block.{i}.layer.0.SelfAttention.q',
  'encoder/attention/key': 'encoder.block.{i}.layer.0.SelfAttention.k',
  'encoder/attention/value': 'encoder.block.{i}.layer.0.SelfAttention.v',
  'encoder/attention/output': 'encoder.block.{i}.layer.0.SelfAttention.o',
  'encoder/attention_input_norm': 'encoder.block.{i}.layer.0.layer_norm',
  'encoder/feed_forward_input_norm': 'encoder.block.{i}.layer.1.layer_norm',
  'encoder/feed_forward/gate': 'encoder.block.{i}.layer.1.DenseReluDense.wi_0',
  'encoder/feed_forward/down': 'encoder.block.{i}.layer.1.DenseReluDense.wo',
  'encoder/feed_forward/up': 'encoder.block.{i}.layer.1.DenseReluDense.wi_1',
  # All blocks use the bias of relative positions that block 0 stores.
  'encoder/relative_bias': 'encoder.block.0.layer.0.SelfAttention.relative_attention_bias',
  'decoder/attention/query': 'decoder.block.{i}.layer.0.SelfAttention.q',
  'decoder/attention/key': 'decoder.block.{i}.layer.0.SelfAttention.k',
  'decoder/attention/value': 'decoder.block.{i}.layer.0.SelfAttention.v',
  'decoder/attention/output': 'decoder.block.{i}.layer.0.SelfAttention.o',
  'decoder/attention_input_norm': 'decoder.block.{i}.layer.0.layer_norm',
  'decoder/feed_forward_input_norm': 'decoder.block.{i}.layer.2.layer_norm',
  'decoder/feed_forward/gate': 'decoder.block.{i}.layer.2.DenseReluDense.wi_0',
  'decoder/feed_forward/down': 'decoder.block.{i}.layer.2.DenseReluDense.wo',
  'decoder/feed_forward/up': 'decoder.block.{i}.layer.2.DenseReluDense.wi_1',
  'decoder/relative_bias': 'decoder.block.0.layer.0.SelfAttention.relative_attention_bias',
  'cross_attention_input_norm': 'decoder.block.{i}.layer.1.layer_norm',
  'cross_attention/query': 'decoder.block.{i}.layer.1.EncDecAttention.q',
  'cross_attention/key': 'decoder.block.{i}.layer.1.EncDecAttention.k',
  'cross_attention/value': 'decoder.block.{i}.layer.1.EncDecAttention.v',
  'cross_attention/output': 'decoder.block.{i}.layer.1.EncDecAttention.o',
  'encoder_final_norm': 'encoder.final_layer_norm',
  'final_norm': 'decoder.final_layer_norm',
  'output': 'lm_head',
}


def _names(cfg: ModelConfig) -> dict[str, str]:
  """Returns the tensor names of a model. Without a gate, `up` is wi instead of wi_1."""
  names = dict(_NAMES)
  if not cfg.gated:
    names['encoder/feed_forward/up'] = 'encoder.block.{i}.layer.1.DenseReluDense.wi'
    names['decoder/feed_forward/up'] = 'decoder.block.{i}.layer.2.DenseReluDense.wi'
  return names


# --- family -------------------------------------------------------------------------

T5 = register_family(
  CheckpointFamily(
    model_type='t5',
    fixed_fields={
      'architecture': 'encoder_decoder',
      'position': 't5',
      'norm': 'rmsnorm',
      'attention_scale': 1.0,
      'init': 'fan_in',
    },
    keys={
      'vocab_size': ('vocab_size', 32_128),
      'd_model': ('d_model', 512),
      'd_kv': ('head_dim', 64),
      'd_ff': ('d_ff', 2048),
      'num_layers': ('n_encoder_layers', 6),
      'num_heads': ('n_heads', 8),
      'n_positions': ('max_seq_len', 512),
      'relative_attention_num_buckets': ('relative_buckets', 32),
      'relative_attention_max_distance': ('relative_max_distance', 128),
      'dropout_rate': ('embedding_dropout attention_dropout residual_dropout', 0.1),
      'layer_norm_epsilon': ('norm_eps', 1e-6),
    },
    accepted_values={'is_encoder_decoder': (True,), 'is_decoder': (False,)},
    ignored_keys=('initializer_factor', 'dense_act_fn', 'is_gated_act', 'output_past'),
    aliases={
      'hidden_size': 'd_model',
      'num_attention_heads': 'num_heads',
      'num_hidden_layers': 'num_layers',
      'head_dim': 'd_kv',
    },
    converters=(
      FunctionConverter(_read_n_layers, _write_n_layers),
      FunctionConverter(_read_feed_forward, _write_feed_forward),
      FunctionConverter(_read_head, _write_head),
    ),
    tensor_names=_names,
    tied_tensors={
      'encoder.embed_tokens.weight': 'shared.weight',
      'decoder.embed_tokens.weight': 'shared.weight',
    },
    # The first published files have this tensor, but no model uses it.
    ignored_tensors=(
      r'decoder\.block\.0\.layer\.1\.EncDecAttention\.'
      r'relative_attention_bias\.weight'
    ),
    is_tied_without_head=True,
  )
)
