"""Positions: derived values and checks."""

import pytest

from lmhp.model.config import ModelConfig


def test_rotary_keys_follow_from_others():
  cfg = ModelConfig(max_seq_len=100, rotary_base=50.0)
  assert cfg.rotary_base_local == 50.0
  assert cfg.rotary_original_max_seq_len == 100


def test_rotary_keys_that_are_set_are_kept():
  cfg = ModelConfig(rotary_base_local=7.0, rotary_original_max_seq_len=9)
  assert cfg.rotary_base_local == 7.0
  assert cfg.rotary_original_max_seq_len == 9


def test_a_learned_table_has_a_row_for_each_position_and_for_the_offset():
  cfg = ModelConfig(position='learned', max_seq_len=10, position_offset=2)
  assert cfg.n_table_positions == 12
  assert ModelConfig(position='rotary', max_seq_len=10).n_table_positions == 0


def test_the_number_of_rotating_coordinates_is_rounded_down():
  assert ModelConfig(head_dim=7, rotary_fraction=0.6).rotary_dim == 4


LONGROPE = {
  'rotary_scaling': 'longrope',
  'head_dim': 4,
  'rotary_short_factor': (1.0, 1.0),
  'rotary_long_factor': (1.0, 1.0),
}


@pytest.mark.parametrize(
  'key, fields',
  [
    ('d_model', {'position': 'sinusoidal', 'd_model': 15, 'n_heads': 3}),
    (
      'embedding_dim',
      {'position': 'sinusoidal', 'embedding_dim': 5, 'embedding_projection': 'sum'},
    ),
    ('rotary_fraction', {'rotary_fraction': 0.01}),
    ('rotary_fraction', {'rotary_fraction': 1.0, 'head_dim': 7}),
    (
      'rotary_high_frequency_factor',
      {'rotary_scaling': 'llama3', 'rotary_high_frequency_factor': 0.5},
    ),
    ('rotary_beta_fast', {'rotary_scaling': 'yarn', 'rotary_beta_fast': 0.5}),
    ('rotary_beta_fast', {'rotary_scaling': 'yarn', 'rotary_beta_fast': 1.0}),
    (
      'rotary_original_max_seq_len',
      {**LONGROPE, 'rotary_original_max_seq_len': 1},
    ),
    ('rotary_short_factor', {**LONGROPE, 'rotary_short_factor': (1.0,)}),
    ('rotary_long_factor', {**LONGROPE, 'rotary_long_factor': (0.0, 1.0)}),
    (
      'relative_buckets',
      {'position': 't5', 'architecture': 'encoder', 'relative_buckets': 6},
    ),
    ('relative_max_distance', {'position': 't5', 'relative_max_distance': 16}),
    ('rotary_base', {'rotary_base': 1.0}),
    ('position', {'position': 'rotaty'}),
  ],
)
def test_positions_that_do_not_fit_are_refused(assert_refused, key, fields):
  assert_refused(key, **fields)


@pytest.mark.parametrize(
  'fields',
  [
    {'position': 'alibi', 'rotary_fraction': 0.01},
    {'position': 'alibi', 'head_dim': 7},
    {'position': 'none', 'rotary_scaling': 'longrope'},
    {'position': 't5', 'relative_buckets': 2, 'relative_max_distance': 2},
    {'position': 'rotary', 'relative_max_distance': 2},
    {'position': 'rotary', 'relative_buckets': 6, 'architecture': 'encoder'},
    LONGROPE,
  ],
)
def test_keys_of_other_positions_are_not_checked(fields):
  cfg = ModelConfig(**fields)
  assert {key: getattr(cfg, key) for key in fields} == fields
