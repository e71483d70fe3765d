"""Gemma 1, 2 and 3 (the text model).

Attention heads have a size of 256 by default. Embeddings are tied and multiplied by
sqrt(d_model). Normalizations multiply by 1 + scale. By default, every second layer of Gemma 2 and
every sixth layer of Gemma 3 has no window.

Source: transformers 5, `models/gemma`, `models/gemma2` and `models/gemma3`.
"""

from lmhp.hub.families.converters import (
  TANH_GELU,
  ConfigKeys,
  ConfigReader,
  FunctionConverter,
  ModelFields,
)
from lmhp.hub.families.family import CheckpointFamily, register_family
from lmhp.hub.families.llama import LLAMA
from lmhp.hub.families.rotary import Rotary
from lmhp.hub.families.windows import WindowByLayer
from lmhp.model.config import ModelConfig


def _read_embedding_scale(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  """Returns the scale sqrt(d_model), which no key of a config.json changes."""
  return {'embedding_scale': cfg.d_model**0.5}


def _read_attention_scale(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  scalar = reader.take('query_pre_attn_scalar', 256, float)
  reader.require(scalar > 0, 'query_pre_attn_scalar', scalar, 'a number above 0')
  # 1 / sqrt(query_pre_attn_scalar) in place of 1 / sqrt(head_dim).
  return {'attention_scale': scalar**-0.5}


def _write_attention_scale(cfg: ModelConfig) -> ConfigKeys:
  """Returns query_pre_attn_scalar, as a whole number if this gives exactly the same scale."""
  scalar = cfg.attention_scale**-2
  rounded = round(scalar)
  is_exact = rounded > 0 and rounded**-0.5 == cfg.attention_scale
  return {'query_pre_attn_scalar': rounded if is_exact else scalar}


EMBEDDING_SCALE = FunctionConverter(_read_embedding_scale)
ATTENTION_SCALE = FunctionConverter(_read_attention_scale, _write_attention_scale)

GEMMA = register_family(
  LLAMA.derive(
    'gemma',
    defaults={
      'vocab_size': 256_000,
      'hidden_size': 3072,
      'intermediate_size': 24_576,
      'num_hidden_layers': 28,
      'num_attention_heads': 16,
      'num_key_value_heads': 16,
      'head_dim': 256,
      'hidden_act': 'gelu_pytorch_tanh',
      'max_position_embeddings': 8192,
      'tie_word_embeddings': True,
    },
    without=('mlp_bias',),
    fixed_fields={'norm_unit_offset': True},
    accepted_values={
      'hidden_activation': (None, 'gelu_pytorch_tanh'),
      'use_bidirectional_attention': (None, False),
    },
    # TANH_GELU: the first published files have hidden_act=gelu, although their weights were
    # trained with the tanh form. transformers makes the same exception.
    converters=(EMBEDDING_SCALE, TANH_GELU, Rotary()),
  )
)

GEMMA2 = register_family(
  GEMMA.derive(
    'gemma2',
    defaults={
      'hidden_size': 2304,
      'intermediate_size': 9216,
      'num_hidden_layers': 26,
      'num_attention_heads': 8,
      'num_key_value_heads': 4,
    },
    without=('hidden_act', 'hidden_activation'),
    fixed_fields={'norm_placement': 'sandwich'},
    tensor_names={
      'attention_output_norm': '.post_attention_layernorm',
      'feed_forward_input_norm': '.pre_feedforward_layernorm',
      'feed_forward_output_norm': '.post_feedforward_layernorm',
    },
    keys={
      'hidden_activation': ('activation', 'gelu_pytorch_tanh'),
      'attn_logit_softcapping': ('attention_logit_cap', 50.0),
      'final_logit_softcapping': ('logit_cap', 30.0),
    },
    accepted_values={'hidden_act': ('gelu_pytorch_tanh',)},
    nullable_keys=('attn_logit_softcapping', 'final_logit_softcapping'),
    # The class in transformers reads sliding_window, not sliding_window_size.
    ignored_keys=(*GEMMA.ignored_keys, 'sliding_window_size'),
    converters=(
      EMBEDDING_SCALE,
      ATTENTION_SCALE,
      WindowByLayer(2),
      Rotary(),
    ),
  )
)

GEMMA3_TEXT = register_family(
  GEMMA2.derive(
    'gemma3_text',
    defaults={
      'vocab_size': 262_208,
      'max_position_embeddings': 131_072,
      'final_logit_softcapping': None,
    },
    # The class in transformers has this key, but its attention does not use it.
    without=('attn_logit_softcapping',),
    ignored_keys=(*GEMMA2.ignored_keys, 'attn_logit_softcapping'),
    fixed_fields={'qk_norm': 'head'},  # with one scale for all heads
    converters=(
      EMBEDDING_SCALE,
      ATTENTION_SCALE,
      WindowByLayer(6),
      Rotary(1e6, base_local=10_000.0, scales_only_global_layers=True),
    ),
  )
)

# The larger models also have a vision tower, whose keys are ignored.
GEMMA3 = register_family(
  CheckpointFamily(
    model_type='gemma3',
    text_config_key='text_config',
    accepted_values={'tie_word_embeddings': (True,)},
    ignored_keys=(
      'vision_config',
      'mm_tokens_per_image',
      'boi_token_index',
      'eoi_token_index',
      'image_token_index',
      'boi_token_id',
      'eoi_token_id',
      'image_token_id',
      'initializer_range',
    ),
  )
)
