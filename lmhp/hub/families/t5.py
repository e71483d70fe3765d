"""T5 and T5 v1.1 (also Flan-T5 and ByT5): encoder-decoders with bucketed relative positions."""

from lmhp.hub.families.config_reader import ConfigReader
from lmhp.hub.families.converters import ConfigKeys, FunctionConverter, ModelFields
from lmhp.hub.families.family import CheckpointFamily
from lmhp.hub.families.field_values import ACTIVATIONS, activation_name
from lmhp.hub.families.registry import register_family
from lmhp.model.config import ModelConfig

_GATED = 'gated-'
_PROJECTIONS = {'query': 'q', 'key': 'k', 'value': 'v', 'output': 'o'}

# --- converters ---------------------------------------------------------------------


def _read_n_layers(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  n_layers = reader.take('num_decoder_layers', None, int, None)
  return {'n_layers': cfg.n_encoder_layers if n_layers is None else n_layers}


def _write_n_layers(cfg: ModelConfig) -> ConfigKeys:
  return {'num_decoder_layers': cfg.n_layers}


def _read_feed_forward(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  """Returns the activation and the gate.

  The word is an activation, or `gated-` and an activation. transformers takes the tanh form
  of GELU for gated-gelu.
  """
  word = reader.take('feed_forward_proj', 'relu', str)
  name = word.removeprefix(_GATED)
  if name not in ACTIVATIONS:
    accepted = f'an activation, or {_GATED} and an activation: {", ".join(ACTIVATIONS)}'
    raise reader.error('feed_forward_proj', word, accepted)
  activation = 'gelu_tanh' if word == 'gated-gelu' else ACTIVATIONS[name]
  return {'gated': word.startswith(_GATED), 'activation': activation}


def _write_feed_forward(cfg: ModelConfig) -> ConfigKeys:
  """Returns the word from which `_read_feed_forward` gives the same activation."""
  name = activation_name(cfg.activation)
  if cfg.activation == 'gelu_tanh':
    name = 'gelu' if cfg.gated else 'gelu_new'
  if cfg.activation == 'gelu':
    name = 'gelu_python' if cfg.gated else 'gelu'
  return {'feed_forward_proj': _GATED + name if cfg.gated else name}


def _read_head(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  """Returns the fields of the head.

  The first T5 ties the head to the embedding and multiplies its input by 1 / sqrt(d_model).
  v1.1 does neither. transformers 5 always writes tie_word_embeddings as true, and only
  scale_decoder_outputs distinguishes v1.1.
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


def _stack_names(stack: str, feed_forward: int, up: str) -> dict[str, str]:
  """Returns the names of one stack.

  Args:
    stack: 'encoder' or 'decoder'.
    feed_forward: Index of the feed-forward part among the parts of a layer.
    up: Name of the up projection.
  """
  layer = f'{stack}.block.{{i}}.layer'
  mlp = f'{layer}.{feed_forward}.DenseReluDense'
  first_attention = f'{stack}.block.0.layer.0.SelfAttention'
  names = {}
  for ours, theirs in _PROJECTIONS.items():
    names[f'{stack}/attention/{ours}'] = f'{layer}.0.SelfAttention.{theirs}'
  names[f'{stack}/attention_input_norm'] = f'{layer}.0.layer_norm'
  names[f'{stack}/feed_forward_input_norm'] = f'{layer}.{feed_forward}.layer_norm'
  names[f'{stack}/feed_forward/gate'] = f'{mlp}.wi_0'
  names[f'{stack}/feed_forward/down'] = f'{mlp}.wo'
  names[f'{stack}/feed_forward/up'] = f'{mlp}.{up}'
  names[f'{stack}/relative_bias'] = f'{first_attention}.relative_attention_bias'
  return names


def _names(cfg: ModelConfig) -> dict[str, str]:
  up = 'wi_1' if cfg.gated else 'wi'
  cross_layer = 'decoder.block.{i}.layer.1'
  names = {'embedding': 'shared'}
  names |= _stack_names('encoder', 1, up)
  names |= _stack_names('decoder', 2, up)
  names['cross_attention_input_norm'] = f'{cross_layer}.layer_norm'
  for ours, theirs in _PROJECTIONS.items():
    names[f'cross_attention/{ours}'] = f'{cross_layer}.EncDecAttention.{theirs}'
  names['encoder_final_norm'] = 'encoder.final_layer_norm'
  names['final_norm'] = 'decoder.final_layer_norm'
  names['output'] = 'lm_head'
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
    ignored_tensors=r'decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight',
    is_tied_without_head=True,
  )
)
