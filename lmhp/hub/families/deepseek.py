"""DeepSeek V2 and V3 (also R1).

These models have latent attention, shared experts (each processes all tokens), groups of experts,
and no experts in their first layers.

Source: transformers 5, `models/deepseek_v2` and `models/deepseek_v3`.
"""

from collections.abc import Mapping

from lmhp.hub.families.converters import (
  ConfigKeys,
  ConfigReader,
  FunctionConverter,
  ModelFields,
)
from lmhp.hub.families.experts import EXPERT_NAMES
from lmhp.hub.families.family import register_family
from lmhp.hub.families.llama import LLAMA
from lmhp.hub.families.rotary import Rotary
from lmhp.hub.families.rotary_scaling import write_scaling, yarn_magnitude
from lmhp.model.config import ModelConfig
from lmhp.typing import JSON

_MAX_MSCALE = 1e6
_MAX_FACTOR = 1e18
"""Bounds of mscale_all_dim and of the scaling factor. They keep the attention scale finite."""

# --- latent attention ---------------------------------------------------------------


def _read_latent(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  """Returns the sizes of the latents and of the heads, and the scale of the attention logits."""
  # A part of each head has no positions ("nope"), and the other part rotates ("rope").
  nope_dim = reader.take_positive('qk_nope_head_dim', 128)
  rotary_dim = reader.take('qk_rope_head_dim', 64, int)
  fields: ModelFields = {
    'kv_latent_dim': reader.take('kv_lora_rank', 512, int),
    'query_latent_dim': reader.take('q_lora_rank', 1536, int, None),
    'value_head_dim': reader.take('v_head_dim', 128, int),
    'rotary_head_dim': rotary_dim,
    'head_dim': nope_dim + rotary_dim,
    'latent_norm_eps': 1e-6,  # transformers does not use rms_norm_eps here.
  }
  # Newer files repeat qk_rope_head_dim as head_dim. The value is not needed, but a key that is
  # not read is an error.
  reader.take('head_dim', None, int, None)

  # The rotary converter reads these objects again, so they are read from a copy.
  copy = reader.copy()
  for scaling in (
    copy.take_object('rope_scaling'),
    copy.take_object('rope_parameters'),
  ):
    if scaling is not None:
      fields |= _logit_scale(scaling, nope_dim + rotary_dim)
  return fields


def _logit_scale(scaling: ConfigReader, head_dim: int) -> ModelFields:
  """Returns the scale of the attention logits. Empty if mscale_all_dim does not change it."""
  scaling_type = scaling.take('rope_type', scaling.take('type', 'default'))
  if scaling_type == 'default':
    return {}
  factor = scaling.take('factor', 1.0, float)
  mscale = scaling.take('mscale_all_dim', 0, float)
  is_accepted = 0 <= mscale < _MAX_MSCALE and factor < _MAX_FACTOR
  accepted = (
    f'at least 0 and below {_MAX_MSCALE:g}, with a factor below {_MAX_FACTOR:g}'
  )
  scaling.require(is_accepted, 'mscale_all_dim', mscale, accepted)
  if not mscale:
    return {}
  # magnitude^2 / sqrt(head_dim). Source: transformers, `DeepseekV3Attention`.
  return {'attention_scale': head_dim**-0.5 * yarn_magnitude(factor, mscale) ** 2}


def _write_latent(cfg: ModelConfig) -> ConfigKeys:
  if not cfg.has_latent_attention:
    return {}
  return {
    'qk_nope_head_dim': cfg.head_dim - cfg.rotary_head_dim,
    'qk_rope_head_dim': cfg.rotary_head_dim,
    'kv_lora_rank': cfg.kv_latent_dim,
    'q_lora_rank': cfg.query_latent_dim,
    'v_head_dim': cfg.value_head_dim,
  }


class LatentRotary(Rotary):
  """Converter for rotary positions with mscale_all_dim, which `_read_latent` reads."""

  def write(self, cfg: ModelConfig) -> ConfigKeys:
    """Returns the keys of `Rotary`, and mscale_all_dim if it is needed."""
    keys = super().write(cfg)
    usual_scale = cfg.head_dim**-0.5
    magnitude = yarn_magnitude(cfg.rotary_scaling_factor, 1.0)
    has_other_scale = cfg.attention_scale != usual_scale
    if cfg.rotary_scaling == 'yarn' and has_other_scale and magnitude > 1:
      # Solve scale = usual_scale * (1 + mscale * (magnitude - 1))^2 for mscale.
      ratio = cfg.attention_scale / usual_scale
      mscale = (ratio**0.5 - 1) / (magnitude - 1)
      scaling = write_scaling(cfg)
      # mscale equals mscale_all_dim, so `_read_yarn` computes 1 for an absent attention_factor.
      keys['rope_scaling'] = {**scaling, 'mscale': mscale, 'mscale_all_dim': mscale}
    return keys


# --- groups of experts --------------------------------------------------------------


def _read_groups(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  """Returns the fields of the groups of experts of V2.

  With topk_method=greedy, a token uses the best of all experts, so there are no groups. With
  group_limited_greedy, it uses experts of the topk_group best of n_group groups only.
  """
  method = reader.take('topk_method', 'greedy', str)
  n_groups = reader.take('n_group', None, int, None)
  n_used = reader.take('topk_group', None, int, None)
  if method == 'greedy':
    return {}
  is_limited = method == 'group_limited_greedy'
  reader.require(is_limited, 'topk_method', method, 'greedy or group_limited_greedy')
  reader.require(bool(n_groups), 'n_group', n_groups, 'a whole number of at least 1')
  reader.require(bool(n_used), 'topk_group', n_used, 'a whole number of at least 1')
  return {'router_groups': n_groups, 'router_groups_per_token': n_used}


def _write_groups(cfg: ModelConfig) -> ConfigKeys:
  if cfg.router_groups == 1:
    return {'topk_method': 'greedy'}
  return {
    'topk_method': 'group_limited_greedy',
    'n_group': cfg.router_groups,
    'topk_group': cfg.router_groups_per_token,
  }


# --- layers that predict further tokens ---------------------------------------------


def _prediction_layers(config: Mapping[str, JSON]) -> str:
  """Returns the pattern for the tensors of the layers after the last one.

  These layers predict the tokens after the next one. transformers ignores them too.
  """
  n_layers = config.get('num_hidden_layers', 61)
  n_predicting = config.get('num_nextn_predict_layers', 1)
  if not isinstance(n_layers, int) or not isinstance(n_predicting, int):
    return ''
  # Published files have one such layer. The bound keeps the pattern short.
  numbers = range(n_layers, n_layers + min(n_predicting, 100))
  return rf'model\.layers\.({"|".join(map(str, numbers))})\..*' if numbers else ''


# --- families -----------------------------------------------------------------------

DEEPSEEK_V2 = register_family(
  LLAMA.derive(
    'deepseek_v2',
    defaults={'vocab_size': 102_400},
    without=('head_dim',),
    fixed_fields={'rotary_interleaved': True, 'router_normalize': False},
    keys={
      'n_routed_experts': ('n_experts', 64),
      'num_experts_per_tok': ('experts_per_token', None),
      'moe_intermediate_size': ('d_ff_expert', 1407),
      'n_shared_experts': ('n_shared_experts', 2),
      'first_k_dense_replace': ('n_dense_layers', 0),
      'routed_scaling_factor': ('router_scale', 1.0),
    },
    aliases={
      'num_experts': 'n_routed_experts',
      'num_local_experts': 'n_routed_experts',
    },
    accepted_values={'scoring_func': ('softmax',), 'moe_layer_freq': (1,)},
    converters=(
      FunctionConverter(_read_latent, _write_latent),
      LatentRotary(),
      FunctionConverter(_read_groups, _write_groups),
    ),
    # The class in transformers does not use norm_topk_prob. aux_loss_alpha and seq_aux are the
    # balancing losses of DeepSeek's training code.
    ignored_keys=(
      'norm_topk_prob',
      'output_router_logits',
      'aux_loss_alpha',
      'seq_aux',
      'ep_size',
      'qk_head_dim',
    ),
    tensor_names={
      'attention/query': '.self_attn.q_proj',
      'attention/query_down': '.self_attn.q_a_proj',
      'attention/query_down_norm': '.self_attn.q_a_layernorm',
      'attention/query_up': '.self_attn.q_b_proj',
      'attention/latent attention/key_rotary': '.self_attn.kv_a_proj_with_mqa',
      'attention/latent_norm': '.self_attn.kv_a_layernorm',
      'attention/key_up attention/value_up': '.self_attn.kv_b_proj',
      **EXPERT_NAMES,
      'experts/shared/gate': '.mlp.shared_experts.gate_proj',
      'experts/shared/up': '.mlp.shared_experts.up_proj',
      'experts/shared/down': '.mlp.shared_experts.down_proj',
    },
  )
)

DEEPSEEK_V3 = register_family(
  DEEPSEEK_V2.derive(
    'deepseek_v3',
    defaults={
      'vocab_size': 129_280,
      'hidden_size': 7168,
      'intermediate_size': 18_432,
      'num_hidden_layers': 61,
      'num_attention_heads': 128,
      'num_key_value_heads': 128,
      'max_position_embeddings': 4096,
      'n_routed_experts': 256,
      'num_experts_per_tok': 8,
      'moe_intermediate_size': 2048,
      'n_shared_experts': 1,
      'first_k_dense_replace': 3,
      'routed_scaling_factor': 2.5,
    },
    without=('mlp_bias', 'scoring_func'),
    nullable_keys=('num_key_value_heads',),
    fixed_fields={
      'router_score': 'sigmoid',
      'router_correction': True,
      'router_group_score': 'top2',
    },
    keys={
      'n_group': ('router_groups', 8),
      'topk_group': ('router_groups_per_token', 4),
      'norm_topk_prob': ('router_normalize', True),
      'rope_interleave': ('rotary_interleaved', True),
    },
    accepted_values={'scoring_func': ('sigmoid',), 'topk_method': ('noaux_tc',)},
    converters=(
      FunctionConverter(_read_latent, _write_latent),
      LatentRotary(),
    ),
    ignored_tensors=_prediction_layers,
    ignored_keys=(
      'output_router_logits',
      'aux_loss_alpha',
      'seq_aux',
      'ep_size',
      'num_nextn_predict_layers',
      'num_mtp_layers',
      'qk_head_dim',
      'use_mtp',
    ),
    tensor_names={'experts/correction': '.mlp.gate.e_score_correction_bias'},
  )
)
