"""Normalizations: derived values and checks."""

import pytest

from lmhp.model.config import NORM_PLACEMENTS, ModelConfig


@pytest.mark.parametrize('placement', NORM_PLACEMENTS)
def test_a_normalization_precedes_the_head_unless_the_placement_is_post(placement):
  cfg = ModelConfig(norm_placement=placement)
  assert cfg.final_norm == (placement != 'post')


@pytest.mark.parametrize('final_norm', [True, False])
def test_the_normalization_before_the_head_can_be_set(final_norm):
  cfg = ModelConfig(norm_placement='post', final_norm=final_norm)
  assert cfg.final_norm is final_norm


@pytest.mark.parametrize(
  'key, fields',
  [
    ('shared_norm', {'shared_norm': True}),
    (
      'shared_norm',
      {'shared_norm': True, 'parallel_residual': True, 'norm_placement': 'output'},
    ),
    ('parallel_residual', {'parallel_residual': True, 'norm_placement': 'post'}),
    (
      'parallel_residual',
      {'parallel_residual': True, 'architecture': 'encoder_decoder'},
    ),
    ('norm_unit_offset', {'norm_unit_offset': True, 'norm_affine': False}),
    ('norm_bias', {'norm_bias': True, 'norm_affine': False}),
    ('first_attention_norm', {'first_attention_norm': False, 'norm_placement': 'post'}),
    (
      'first_attention_norm',
      {'first_attention_norm': False, 'parallel_residual': True, 'shared_norm': True},
    ),
    ('norm_eps', {'norm_eps': -1.0}),
    ('norm', {'norm': 'batchnorm'}),
  ],
)
def test_normalizations_that_do_not_fit_are_refused(assert_refused, key, fields):
  assert_refused(key, **fields)


@pytest.mark.parametrize(
  'fields',
  [
    {'norm_affine': False},
    {'parallel_residual': True, 'norm_placement': 'output'},
    {'first_attention_norm': False, 'norm_placement': 'sandwich'},
  ],
)
def test_normalizations_that_fit_are_kept(fields):
  cfg = ModelConfig(**fields)
  assert {key: getattr(cfg, key) for key in fields} == fields
