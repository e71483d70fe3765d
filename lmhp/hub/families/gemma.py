"""Gemma 1, 2 and 3 (the text model): large heads, tied embeddings times sqrt(d_model), norms that scale by 1 + w."""

from typing import Any

from lmhp.hub.families.family import CheckpointFamily, Entries, TwoWay
from lmhp.hub.families.llama import LLAMA
from lmhp.hub.families.rotary import Rotary
from lmhp.hub.families.windows import WindowByLayer
from lmhp.model.config import ModelConfig


def _embedding_scale(entries: Entries, cfg: ModelConfig) -> dict[str, Any]:
  return {'embedding_scale': cfg.d_model**0.5}


def _tanh_gelu(entries: Entries, cfg: ModelConfig) -> dict[str, Any]:
  """The first files say gelu where the weights were trained with its tanh form, as transformers knows too."""
  return {'activation': 'gelu_tanh'} if cfg.activation == 'gelu' else {}


def _attention_scale(entries: Entries, cfg: ModelConfig) -> dict[str, Any]:
  scalar = entries.take('query_pre_attn_scalar', 256, float)
  if scalar <= 0:
    raise entries.wrong('query_pre_attn_scalar', scalar, 'a number above 0')
  return {'attention_scale': scalar**-0.5}


def _write_scale(cfg: ModelConfig) -> dict[str, Any]:
  scalar = round(cfg.attention_scale**-2)  # a whole number where it was one
  exact = scalar > 0 and scalar**-0.5 == cfg.attention_scale
  return {'query_pre_attn_scalar': scalar if exact else cfg.attention_scale**-2}


GEMMA = LLAMA.but(
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
  always=dict(norm_unit_offset=True),
  only={
    'hidden_activation': (None, 'gelu_pytorch_tanh'),
    'use_bidirectional_attention': (None, False),
  },
  parts=(_embedding_scale, _tanh_gelu, Rotary()),
)

GEMMA2 = GEMMA.but(
  'gemma2',
  defaults={
    'hidden_size': 2304,
    'intermediate_size': 9216,
    'num_hidden_layers': 26,
    'num_attention_heads': 8,
    'num_key_value_heads': 4,
  },
  without=('hidden_act', 'hidden_activation'),
  always=dict(norm_placement='sandwich'),
  names={
    'attention_output_norm': '.post_attention_layernorm',
    'feed_forward_input_norm': '.pre_feedforward_layernorm',
    'feed_forward_output_norm': '.post_feedforward_layernorm',
  },
  keys={
    'hidden_activation': ('activation', 'gelu_pytorch_tanh'),
    'attn_logit_softcapping': ('attention_logit_cap', 50.0),
    'final_logit_softcapping': ('logit_cap', 30.0),
  },
  only={'hidden_act': ('gelu_pytorch_tanh',)},
  parts=(
    _embedding_scale,
    TwoWay(_attention_scale, _write_scale),
    WindowByLayer(2),
    Rotary(),
  ),
)

GEMMA3_TEXT = GEMMA2.but(
  'gemma3_text',
  defaults={
    'vocab_size': 262_208,
    'max_position_embeddings': 131_072,
    'attn_logit_softcapping': None,
    'final_logit_softcapping': None,
  },
  always=dict(qk_norm='head'),
  parts=(
    _embedding_scale,
    TwoWay(_attention_scale, _write_scale),
    WindowByLayer(6),
    Rotary(1e6, base_local=10_000.0, scales_global_alone=True),
  ),
)

# The vision tower of the larger models is no part of the language model: its sizes are passed over.
GEMMA3 = CheckpointFamily(
  model_type='gemma3',
  inside='text_config',
  only={'tie_word_embeddings': (True,)},
  unused=(
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
