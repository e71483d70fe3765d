"""Sizes: derived values and checks."""

import pytest

from lmhp.model.config import ModelConfig


def test_sizes_follow_from_the_width_and_the_heads():
  cfg = ModelConfig(d_model=48, n_heads=6)
  assert cfg.head_dim == 48 // 6
  assert cfg.n_kv_heads == 6
  assert cfg.d_ff == 4 * 48
  assert cfg.embedding_dim == 48
  assert not cfg.is_factorized


def test_sizes_that_are_set_are_kept():
  cfg = ModelConfig(
    d_model=48, n_heads=6, n_kv_heads=2, head_dim=10, d_ff=7, embedding_dim=5
  )
  assert cfg.head_dim == 10
  assert cfg.n_kv_heads == 2
  assert cfg.d_ff == 7
  assert cfg.embedding_dim == 5
  assert cfg.is_factorized


def test_heads_of_a_given_size_need_not_divide_the_width():
  assert ModelConfig(d_model=50, n_heads=3, head_dim=6).head_dim == 6


def test_an_encoder_is_as_deep_as_its_decoder_by_default():
  assert ModelConfig(architecture='encoder_decoder', n_layers=3).n_encoder_layers == 3
  assert ModelConfig(n_layers=3).n_encoder_layers is None


@pytest.mark.parametrize(
  'architecture, is_causal, is_encoder_decoder',
  [
    ('decoder', True, False),
    ('encoder', False, False),
    ('encoder_decoder', True, True),
  ],
)
def test_architectures(architecture, is_causal, is_encoder_decoder):
  cfg = ModelConfig(architecture=architecture)
  assert cfg.is_causal == is_causal
  assert cfg.is_encoder_decoder == is_encoder_decoder


def test_tables_of_a_projected_sum_are_as_narrow_as_the_embedding():
  narrow = ModelConfig(d_model=48, embedding_dim=6, embedding_projection='sum')
  wide = ModelConfig(d_model=48, embedding_dim=6)
  assert narrow.table_width == 6
  assert wide.table_width == 48


@pytest.mark.parametrize(
  'key, fields',
  [
    ('d_model', {'d_model': 10, 'n_heads': 4}),
    ('n_kv_heads', {'n_kv_heads': 3, 'n_heads': 4}),
    ('n_kv_heads', {'n_kv_heads': 8, 'n_heads': 4}),
    ('embedding_dim', {'embedding_dim': 300, 'd_model': 256}),
    ('embedding_projection', {'embedding_projection': 'sum'}),
    ('n_encoder_layers', {'n_encoder_layers': 2}),
    ('n_layers', {'n_layers': 0}),
  ],
)
def test_sizes_that_do_not_fit_are_refused(assert_refused, key, fields):
  assert_refused(key, **fields)
