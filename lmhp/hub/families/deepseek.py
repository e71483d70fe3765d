"""DeepSeek V2 and V3 (R1): latent attention, shared experts, groups of experts, dense first layers."""

from __future__ import annotations

from typing import Any

from lmhp.hub.families.family import Entries, TwoWay
from lmhp.hub.families.llama import LLAMA
from lmhp.hub.families.qwen_moe import EXPERTS
from lmhp.hub.families.rotary import Rotary, magnitude
from lmhp.model.config import ModelConfig


def _latent(entries: Entries, cfg: ModelConfig) -> dict[str, Any]:
  """Sizes of latents and heads; yarn's mscale_all_dim scales attention logits too."""
  still, turning = (
    entries.take('qk_nope_head_dim', 128, int),
    entries.take('qk_rope_head_dim', 64, int),
  )
  if still < 1:
    raise entries.wrong('qk_nope_head_dim', still, 'a whole number of at least 1')
  fields = {
    'kv_latent_dim': entries.take('kv_lora_rank', 512, int),
    'query_latent_dim': entries.take('q_lora_rank', 1536, int, None),
    'value_head_dim': entries.take('v_head_dim', 128, int),
    'rotary_head_dim': turning,
    'head_dim': still + turning,
    'latent_norm_eps': 1e-6,  # whatever rms_norm_eps is
  }
  entries.take('head_dim', None, int, None)  # what turns, in newer files
  beside = entries.copy()
  for scaling in (beside.inner('rope_scaling'), beside.inner('rope_parameters')):
    if (
      scaling
      and scaling.take('rope_type', scaling.take('type', 'default')) != 'default'
    ):
      factor, scale = (
        scaling.take('factor', 1.0, float),
        scaling.take('mscale_all_dim', 0, float),
      )
      if not 0 <= scale < 1e6 or not factor < 1e18:
        raise scaling.wrong(
          'mscale_all_dim',
          scale,
          'a number of at least 0 and below a million, of a factor below 1e18',
        )
      if scale:
        fields['attention_scale'] = (still + turning) ** -0.5 * magnitude(
          factor, scale
        ) ** 2
  return fields


def _write_latent(cfg: ModelConfig) -> dict[str, Any]:
  if not cfg.latent:
    return {}
  return {
    'qk_nope_head_dim': cfg.head_dim - cfg.rotary_head_dim,
    'qk_rope_head_dim': cfg.rotary_head_dim,
    'kv_lora_rank': cfg.kv_latent_dim,
    'q_lora_rank': cfg.query_latent_dim,
    'v_head_dim': cfg.value_head_dim,
  }


class RotaryOfLatent(Rotary):
  """Rotary positions whose yarn scales logits by mscale_all_dim."""

  def write(self, cfg: ModelConfig) -> dict[str, Any]:
    keys = super().write(cfg)
    plain = cfg.head_dim**-0.5
    if cfg.rotary_scaling == 'yarn' and cfg.attention_scale != plain:
      scale = ((cfg.attention_scale / plain) ** 0.5 - 1) / (
        magnitude(cfg.rotary_scaling_factor, 1.0) - 1
      )
      keys['rope_scaling'] |= {'mscale': scale, 'mscale_all_dim': scale}
    return keys


def _best_first(entries: Entries, cfg: ModelConfig) -> dict[str, Any]:
  """How V2 takes experts: the best of all, or of the best groups."""
  method = entries.take('topk_method', 'greedy', str)
  groups, taken = (
    entries.take('n_group', None, int, None),
    entries.take('topk_group', None, int, None),
  )
  if method == 'greedy':
    return {}
  if method != 'group_limited_greedy':
    raise entries.wrong('topk_method', method, 'greedy or group_limited_greedy')
  if not groups or not taken:
    raise entries.wrong(
      'n_group' if not groups else 'topk_group',
      groups and taken,
      'a whole number of at least 1',
    )
  return {'router_groups': groups, 'router_groups_per_token': taken}


def _write_best_first(cfg: ModelConfig) -> dict[str, Any]:
  if cfg.router_groups == 1:
    return {'topk_method': 'greedy'}
  return {
    'topk_method': 'group_limited_greedy',
    'n_group': cfg.router_groups,
    'topk_group': cfg.router_groups_per_token,
  }


def _rotates_neighbours(entries: Entries, cfg: ModelConfig) -> dict[str, Any]:
  return {'rotary_interleaved': entries.take('rope_interleave', True, bool)}


DEEPSEEK_V2 = LLAMA.but(
  'deepseek_v2',
  defaults={'vocab_size': 102_400},
  without=('head_dim',),
  always=dict(rotary_interleaved=True, router_normalize=False),
  keys={
    'n_routed_experts': ('n_experts', 64),
    'num_experts_per_tok': ('experts_per_token', None),
    'moe_intermediate_size': ('d_ff_expert', 1407),
    'n_shared_experts': ('n_shared_experts', 2),
    'first_k_dense_replace': ('n_dense_layers', 0),
    'routed_scaling_factor': ('router_scale', 1.0),
  },
  aliases={'num_experts': 'n_routed_experts', 'num_local_experts': 'n_routed_experts'},
  only={'scoring_func': ('softmax',), 'moe_layer_freq': (1,)},
  parts=(
    TwoWay(_latent, _write_latent),
    RotaryOfLatent(),
    TwoWay(_best_first, _write_best_first),
  ),
  # norm_topk_prob, which transformers' class has and does not read, and the balance losses of DeepSeek's own code
  unused=(
    'norm_topk_prob',
    'output_router_logits',
    'aux_loss_alpha',
    'seq_aux',
    'ep_size',
    'qk_head_dim',
  ),
  names={
    'attention/query': '.self_attn.q_proj',
    'attention/query_down': '.self_attn.q_a_proj',
    'attention/query_down_norm': '.self_attn.q_a_layernorm',
    'attention/query_up': '.self_attn.q_b_proj',
    'attention/latent attention/key_rotary': '.self_attn.kv_a_proj_with_mqa',
    'attention/latent_norm': '.self_attn.kv_a_layernorm',
    'attention/key_up attention/value_up': '.self_attn.kv_b_proj',
    **EXPERTS,
    'experts/shared/gate': '.mlp.shared_experts.gate_proj',
    'experts/shared/up': '.mlp.shared_experts.up_proj',
    'experts/shared/down': '.mlp.shared_experts.down_proj',
  },
)

DEEPSEEK_V3 = DEEPSEEK_V2.but(
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
  always=dict(
    router_score='sigmoid', router_correction=True, router_group_score='top2'
  ),
  keys={
    'n_group': ('router_groups', 8),
    'topk_group': ('router_groups_per_token', 4),
    'norm_topk_prob': ('router_normalize', True),
  },
  only={'scoring_func': ('sigmoid',), 'topk_method': ('noaux_tc',)},
  parts=(
    TwoWay(_latent, _write_latent),
    RotaryOfLatent(),
    TwoWay(
      _rotates_neighbours, lambda cfg: {'rope_interleave': cfg.rotary_interleaved}
    ),
  ),
  passed=r'model\.layers\.61\..*',  # predicts the token after the next; transformers passes it over too
  unused=(
    'output_router_logits',
    'aux_loss_alpha',
    'seq_aux',
    'ep_size',
    'num_nextn_predict_layers',
    'num_mtp_layers',
    'qk_head_dim',
    'use_mtp',
  ),
  names={'experts/correction': '.mlp.gate.e_score_correction_bias'},
)
