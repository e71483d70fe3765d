"""The language model of Llama 4.

The weights of the router multiply the inputs of the experts, not their outputs. By default, every
fourth layer has no positions. In the other layers, a token attends only within its chunk of 8192
tokens.

Source: transformers 5, `models/llama4`.
"""

from lmhp.hub.families.converters import (
  ConfigKeys,
  ConfigReader,
  FlagConverter,
  FunctionConverter,
  ModelFields,
)
from lmhp.hub.families.experts import check_layer_list, dense_layer_fields
from lmhp.hub.families.family import register_family
from lmhp.hub.families.llama import LLAMA
from lmhp.hub.families.rotary import Rotary
from lmhp.hub.families.windows import (
  LAYERS_WITHOUT_POSITIONS,
  layers_with_positions,
  read_layer_types,
  shortest_pattern,
  write_layer_types,
)
from lmhp.model.config import ModelConfig

_LAYER_TYPES = {'full_attention': 'global', 'chunked_attention': 'local'}


def _read_period(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  """Returns the period of the layers without positions. An empty list counts as absent."""
  if reader.copy().take('no_rope_layers', None) == []:
    reader.ignore(['no_rope_layers'])
  return LAYERS_WITHOUT_POSITIONS.read(reader, cfg)


def _read_expert_layers(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  """Returns the fields of the layers with experts.

  moe_layers lists their indices. If it is absent, every n-th layer has experts, for n =
  interleave_moe_layer_step.
  """
  period = reader.take_positive('interleave_moe_layer_step', 1)
  listed = reader.take('moe_layers', None, list, None)
  # A list of every n-th layer needs only the period.
  if listed is None or listed == list(range(period - 1, cfg.n_layers, period)):
    return {'experts_every': period}
  check_layer_list(reader, 'moe_layers', listed, cfg.n_layers)
  return dense_layer_fields([i for i in range(cfg.n_layers) if i not in listed])


def _write_expert_layers(cfg: ModelConfig) -> ConfigKeys:
  return {'moe_layers': [i for i in range(cfg.n_layers) if cfg.has_experts(i)]}


def _read_chunks(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  """Returns the fields of attention chunks and of the temperature of queries.

  The temperature is a factor on the queries of layers without positions. It grows with the
  position of the token.

  By default, a layer with positions attends within chunks, and a layer without positions
  attends to all tokens. layer_types overrides this default.
  """
  chunk = reader.take('attention_chunk_size', 8192, int, None)
  has_positions = layers_with_positions(cfg.n_layers, cfg.no_position_every)
  default = [
    'local' if chunk and has_position else 'global' for has_position in has_positions
  ]
  layers = read_layer_types(reader, cfg, default, _LAYER_TYPES)

  # Read all keys, even if they have no effect. A key that is not read is an error.
  # The first files have a number for attn_temperature_tuning. 0 means false.
  is_tempered = reader.take('attn_temperature_tuning', True, bool, int)
  floor = reader.take('floor_scale', 8192, int)
  scale = reader.take('attn_scale', 0.1, float)
  fields: ModelFields = {}
  if is_tempered:
    fields['attention_temperature'] = float(scale)
    fields['temperature_floor'] = floor

  if 'local' in layers:
    accepted = 'a whole number of at least 1, since some layers have chunks'
    reader.require(bool(chunk), 'attention_chunk_size', chunk, accepted)
    fields['attention_pattern'] = shortest_pattern(layers)
    fields['attention_chunk'] = chunk
  return fields


def _write_chunks(cfg: ModelConfig) -> ConfigKeys:
  return {
    'attention_chunk_size': cfg.attention_chunk,
    'attn_temperature_tuning': cfg.attention_temperature > 0,
    'layer_types': write_layer_types(cfg, 'chunked_attention'),
    'floor_scale': cfg.temperature_floor,
    # Without tuning, attn_scale has no effect and gets its default.
    'attn_scale': cfg.attention_temperature or 0.1,
  }


LLAMA4_TEXT = register_family(
  LLAMA.derive(
    'llama4_text',
    defaults={
      'vocab_size': 202_048,
      'hidden_size': 5120,
      'num_hidden_layers': 48,
      'num_attention_heads': 40,
      'num_key_value_heads': 8,
      'head_dim': 128,
      'max_position_embeddings': 131_072,
      'rms_norm_eps': 1e-5,
    },
    without=('mlp_bias', 'intermediate_size'),
    fixed_fields={
      'rotary_interleaved': True,
      'router_score': 'sigmoid',
      'router_normalize': False,
      'expert_input_scaled': True,
      'n_shared_experts': 1,
    },
    keys={
      # In this type, intermediate_size is the hidden size of an expert, and
      # intermediate_size_mlp that of a layer without experts.
      'intermediate_size': ('d_ff_expert', 8192),
      'intermediate_size_mlp': ('d_ff', 16_384),
      'num_local_experts': ('n_experts', 16),
      'num_experts_per_tok': ('experts_per_token', 1),
      'router_aux_loss_coef': ('load_balance_loss', 0.001),
    },
    accepted_values={'router_jitter_noise': (0.0,)},
    converters=(
      FunctionConverter(_read_expert_layers, _write_expert_layers),
      FunctionConverter(_read_period, LAYERS_WITHOUT_POSITIONS.write),
      FunctionConverter(_read_chunks, _write_chunks),
      FlagConverter(
        key='use_qk_norm', default=True, field='qk_norm', if_true='l2', if_false='none'
      ),
      Rotary(500_000.0),
    ),
    # for_llm_compressor is a key of files for a quantizer, and no class reads it.
    ignored_keys=('output_router_logits', 'for_llm_compressor'),
    tensor_names={
      'feed_forward/gate': '.feed_forward.gate_proj',
      'feed_forward/up': '.feed_forward.up_proj',
      'feed_forward/down': '.feed_forward.down_proj',
      'experts/router': '.feed_forward.router',
      'experts/gate experts/up': '.feed_forward.experts.gate_up_proj',
      'experts/down': '.feed_forward.experts.down_proj',
      'experts/shared/gate': '.feed_forward.shared_expert.gate_proj',
      'experts/shared/up': '.feed_forward.shared_expert.up_proj',
      'experts/shared/down': '.feed_forward.shared_expert.down_proj',
    },
  )
)
