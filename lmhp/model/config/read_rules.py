"""Keys of the section `model` that have an effect only with some values of another key."""

from __future__ import annotations

from lmhp.sections import is_none_of, is_one_of, read_if


def _has_local(pattern: tuple[str, ...]) -> bool:
  """Returns True if a pattern of attention has layers with local attention."""
  return 'local' in pattern


EXPERT_KEYS = (
  'experts_per_token d_ff_expert n_shared_experts n_dense_layers dense_layers '
  'experts_every router_score router_normalize router_scale router_bias router_groups '
  'router_groups_per_token router_group_score router_correction expert_input_scaled '
  'expert_backend load_balance_loss router_z_loss router_correction_rate'
)
_ROTARY_KEYS = (
  'rotary_fraction rotary_base rotary_base_local rotary_interleaved rotary_scaling '
  'rotary_scaling_factor rotary_scaling_local rotary_original_max_seq_len '
  'rotary_low_frequency_factor rotary_high_frequency_factor rotary_beta_fast '
  'rotary_beta_slow rotary_truncate rotary_attention_factor rotary_short_factor '
  'rotary_long_factor'
)
_SCALING_KEYS = 'rotary_scaling_factor rotary_scaling_local rotary_original_max_seq_len'

READ_RULES = (
  read_if('model', EXPERT_KEYS, 'n_experts', is_none_of(0), 'a number above 0'),
  read_if(
    'model',
    'router_correction_rate',
    'router_correction',
    is_one_of(True),
    'True',
  ),
  read_if(
    'model',
    'router_groups_per_token router_group_score',
    'router_groups',
    is_none_of(1),
    'a number above 1',
  ),
  read_if(
    'model',
    'query_latent_dim rotary_head_dim latent_norm_eps value_head_dim',
    'kv_latent_dim',
    is_none_of(None),
    'a number',
  ),
  read_if('model', 'gate_clip gate_offset', 'gated', is_one_of(True), 'True'),
  read_if('model', _ROTARY_KEYS, 'position', is_one_of('rotary'), 'rotary'),
  read_if(
    'model',
    _SCALING_KEYS,
    'rotary_scaling',
    is_none_of('none'),
    'another value than none',
  ),
  read_if(
    'model',
    'rotary_low_frequency_factor rotary_high_frequency_factor',
    'rotary_scaling',
    is_one_of('llama3'),
    'llama3',
  ),
  read_if(
    'model',
    'rotary_beta_fast rotary_beta_slow rotary_truncate',
    'rotary_scaling',
    is_one_of('yarn'),
    'yarn',
  ),
  read_if(
    'model',
    'rotary_short_factor rotary_long_factor',
    'rotary_scaling',
    is_one_of('longrope'),
    'longrope',
  ),
  read_if('model', 'alibi_scale', 'position', is_one_of('alibi'), 'alibi'),
  read_if(
    'model',
    'relative_buckets relative_max_distance',
    'position',
    is_one_of('t5'),
    't5',
  ),
  read_if(
    'model',
    'position_offset',
    'position',
    is_one_of('learned', 'sinusoidal'),
    'learned or sinusoidal',
  ),
  read_if(
    'model',
    'attention_temperature',
    'no_position_every',
    is_none_of(0),
    'a number above 0',
  ),
  read_if(
    'model',
    'temperature_floor',
    'attention_temperature',
    is_none_of(0),
    'a number above 0',
  ),
  read_if(
    'model',
    'sliding_window attention_chunk rotary_base_local',
    'attention_pattern',
    _has_local,
    'a pattern with local',
  ),
  read_if(
    'model',
    'n_encoder_layers',
    'architecture',
    is_one_of('encoder_decoder'),
    'encoder_decoder',
  ),
  read_if('model', 'shared_norm', 'parallel_residual', is_one_of(True), 'True'),
  read_if(
    'model',
    'head_activation head_transform_bias',
    'head_transform',
    is_one_of(True),
    'True',
  ),
)
"""Conditions under which keys have an effect."""
