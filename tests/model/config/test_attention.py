"""Attention: derived values, windows and checks."""

import pytest

from lmhp.model.config import ModelConfig

LATENT = {'kv_latent_dim': 32}


def test_the_scale_follows_from_the_size_of_a_head():
  assert ModelConfig(head_dim=16).attention_scale == 0.25
  assert ModelConfig(head_dim=16, attention_scale=2.0).attention_scale == 2.0


def test_sizes_of_latent_attention_follow_from_the_size_of_a_head():
  cfg = ModelConfig(head_dim=16, **LATENT)
  assert cfg.has_latent_attention
  assert cfg.rotary_head_dim == 8
  assert cfg.rotary_dim == 8
  assert cfg.value_head_dim == 16
  assert not ModelConfig().has_latent_attention


def test_the_pattern_of_windows_is_repeated():
  cfg = ModelConfig(
    n_layers=5, attention_pattern=('local', 'local', 'global'), sliding_window=9
  )
  assert cfg.windows == (9, 9, None, 9, 9)


def test_chunks_are_windows_of_local_layers():
  cfg = ModelConfig(
    n_layers=2, attention_pattern=('local', 'global'), attention_chunk=7
  )
  assert cfg.windows == (7, None)


def test_global_layers_have_no_window():
  assert ModelConfig(n_layers=2, sliding_window=3).windows == (None, None)


@pytest.mark.parametrize(
  'fields, expected',
  [
    ({}, (True, True, True, True, True)),
    ({'no_position_every': 2}, (True, False, True, False, True)),
    ({'no_position_every': 1}, (False, False, False, False, False)),
    ({'position': 'none'}, (False, False, False, False, False)),
  ],
)
def test_layers_that_use_positions(fields, expected):
  assert ModelConfig(n_layers=5, **fields).uses_positions == expected


@pytest.mark.parametrize(
  'key, fields',
  [
    ('attention_pattern', {'attention_pattern': ()}),
    ('attention_pattern', {'attention_pattern': ('globl',)}),
    ('sliding_window', {'attention_pattern': ('local',), 'sliding_window': None}),
    ('attention_chunk', {'attention_chunk': 4, 'sliding_window': 3}),
    ('attention_chunk', {'attention_chunk': 4, 'architecture': 'encoder'}),
    ('prefix_lm', {'prefix_lm': True, 'architecture': 'encoder'}),
    ('kv_latent_dim', {**LATENT, 'architecture': 'encoder'}),
    ('qk_norm', {**LATENT, 'qk_norm': 'head'}),
    ('clip_qkv', {**LATENT, 'clip_qkv': 1.0}),
    ('n_kv_heads', {**LATENT, 'n_kv_heads': 2}),
    ('attention_sinks', {**LATENT, 'attention_sinks': True}),
    ('attention_temperature', {**LATENT, 'attention_temperature': 0.1}),
    ('position', {**LATENT, 'position': 'alibi'}),
    ('rotary_head_dim', {**LATENT, 'rotary_head_dim': 64, 'head_dim': 64}),
    ('rotary_head_dim', {**LATENT, 'rotary_head_dim': 8, 'rotary_fraction': 0.5}),
    ('rotary_head_dim', {**LATENT, 'rotary_head_dim': 3}),
    ('logit_cap', {'logit_cap': 0.0}),
  ],
)
def test_attention_that_does_not_fit_is_refused(assert_refused, key, fields):
  assert_refused(key, **fields)


def test_a_window_of_one_token_is_allowed():
  cfg = ModelConfig(attention_pattern=('local',), sliding_window=1)
  assert set(cfg.windows) == {1}
