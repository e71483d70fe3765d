"""What `ModelConfig` fills in, and what it refuses."""

import math

import pytest

from lmhp.declarations import declared
from lmhp.errors import ConfigError
from lmhp.hypers import TRACED, split
from lmhp.model.config import ModelConfig


def test_derived_values():
  cfg = ModelConfig(d_model=48, n_heads=6, max_seq_len=100)
  assert (cfg.head_dim, cfg.n_kv_heads, cfg.d_ff, cfg.embedding_dim) == (8, 6, 192, 48)
  assert (
    cfg.attention_scale == 8**-0.5
    and cfg.embedding_scale == 1.0
    and cfg.final_norm is True
  )
  assert (
    cfg.rotary_base_local == cfg.rotary_base and cfg.rotary_original_max_seq_len == 100
  )
  assert cfg.group_size == 1 and not cfg.factorized and cfg.rotary_dim == 8


def test_what_is_said_is_kept():
  cfg = ModelConfig(
    d_model=48,
    n_heads=6,
    n_kv_heads=2,
    head_dim=10,
    d_ff=7,
    embedding_dim=5,
    attention_scale=2.0,
    embedding_scale=3.0,
    rotary_base_local=7.0,
    rotary_original_max_seq_len=9,
    norm_placement='post',
  )
  assert (
    cfg.head_dim,
    cfg.n_kv_heads,
    cfg.d_ff,
    cfg.embedding_dim,
    cfg.attention_scale,
  ) == (10, 2, 7, 5, 2.0)
  assert (
    cfg.embedding_scale,
    cfg.rotary_base_local,
    cfg.rotary_original_max_seq_len,
  ) == (3.0, 7.0, 9)
  assert (
    cfg.final_norm is False
    and ModelConfig(norm_placement='post', final_norm=True).final_norm is True
  )
  assert cfg.group_size == 3 and cfg.factorized
  assert (
    ModelConfig(d_model=50, n_heads=3, head_dim=6).head_dim == 6
  )  # heads need not divide the width


def test_what_each_layer_is():
  cfg = ModelConfig(
    n_layers=5,
    attention_pattern=('local', 'local', 'global'),
    sliding_window=9,
    no_position_every=2,
  )
  assert cfg.windows == (9, 9, None, 9, 9)
  assert cfg.uses_positions == (True, False, True, False, True)
  assert ModelConfig(n_layers=2, position='none').uses_positions == (False, False)
  assert ModelConfig(n_layers=2, sliding_window=3).windows == (
    None,
    None,
  )  # no local layer, no window


def test_tables_and_init():
  assert (
    ModelConfig(position='learned', max_seq_len=10, position_offset=2).learned_positions
    == 12
  )
  assert ModelConfig(position='rotary', max_seq_len=10).learned_positions == 0
  assert ModelConfig(n_layers=8).residual_init_factor == 0.25
  assert ModelConfig(n_layers=8, init='normal').residual_init_factor == 1.0
  assert ModelConfig(head_dim=7, rotary_fraction=0.6).rotary_dim == 4


@pytest.mark.parametrize(
  'field, value, fields, message',
  [
    ('d_model', 10, dict(n_heads=4), 'a multiple of model.n_heads=4'),
    ('d_model', 15, dict(n_heads=3, position='sinusoidal'), 'an even number'),
    ('n_kv_heads', 3, dict(n_heads=4), 'a divisor of model.n_heads=4'),
    ('n_kv_heads', 8, dict(n_heads=4), 'a divisor of model.n_heads=4'),
    ('attention_pattern', (), dict(), 'at least one of global, local'),
    ('attention_pattern', ('globl',), dict(), 'one of global, local'),
    ('sliding_window', None, dict(attention_pattern=('local',)), 'a number of tokens'),
    ('shared_norm', True, dict(), 'unless model.parallel_residual is True'),
    (
      'shared_norm',
      True,
      dict(parallel_residual=True, norm_placement='output'),
      'there is no norm at the input',
    ),
    (
      'parallel_residual',
      True,
      dict(norm_placement='post'),
      'where model.norm_placement is post',
    ),
    (
      'norm_unit_offset',
      True,
      dict(norm_affine=False),
      'where model.norm_affine is False',
    ),
    ('norm_bias', True, dict(norm_affine=False), 'where model.norm_affine is False'),
    ('embedding_dim', 300, dict(d_model=256), 'at most model.d_model=256'),
    (
      'relative_max_distance',
      16,
      dict(position='t5'),
      'above half of model.relative_buckets=32',
    ),
    ('rotary_fraction', 0.01, dict(), 'even and at least 2'),
    ('rotary_fraction', 1.0, dict(head_dim=7), 'even and at least 2'),
    (
      'rotary_short_factor',
      (1.0,),
      dict(rotary_scaling='longrope'),
      '32 positive numbers',
    ),
    (
      'rotary_long_factor',
      (0.0, 1.0),
      dict(rotary_scaling='longrope', head_dim=4, rotary_short_factor=(1, 1)),
      '2 positive numbers',
    ),
    (
      'rotary_high_frequency_factor',
      0.5,
      dict(rotary_scaling='llama3'),
      'at least model.rotary_low_frequency_factor',
    ),
    (
      'rotary_beta_fast',
      0.5,
      dict(rotary_scaling='yarn'),
      'above model.rotary_beta_slow',
    ),
    (
      'rotary_original_max_seq_len',
      1,
      dict(
        rotary_scaling='longrope',
        head_dim=4,
        rotary_short_factor=(1, 1),
        rotary_long_factor=(1, 1),
      ),
      'at least 2',
    ),
    ('position', 'rotaty', dict(), "did you mean 'rotary'"),
    ('activation', 'swiglu', dict(), 'one of relu, sigmoid'),
    ('norm', 'RMSNorm', dict(), 'one of layernorm, rmsnorm'),
    ('n_layers', 0, dict(), 'at least 1'),
    ('norm_eps', -1.0, dict(), 'at least 0.0'),
    ('rotary_base', 1.0, dict(), 'above 1.0'),
    ('attention_dropout', 1.0, dict(), 'below 1.0'),
    ('logit_cap', 0.0, dict(), 'above 0.0'),
    ('dtype', 'float16', dict(), "did you mean 'bfloat16'"),
  ],
)
def test_what_does_not_fit_is_refused_by_name(field, value, fields, message):
  with pytest.raises(ConfigError, match=message) as error:
    ModelConfig(**{field: value}, **fields)
  assert str(error.value).startswith(
    f'model.{field}: got {value!r}'
  ) and '\n' not in str(error.value)


@pytest.mark.parametrize(
  'fields',
  [
    dict(norm_affine=False),
    dict(parallel_residual=True, norm_placement='output'),
    dict(position='alibi', rotary_fraction=0.01),
    dict(position='alibi', head_dim=7),
    dict(position='none', rotary_scaling='longrope'),
    dict(attention_pattern=('local',), sliding_window=1),
    dict(position='t5', relative_buckets=2, relative_max_distance=2),
    dict(position='rotary', relative_max_distance=2),
  ],
)
def test_what_is_not_used_is_not_checked(fields):
  ModelConfig(**fields)


def test_dropout_the_init_scale_and_routing_losses_are_traced():
  traced = {name for name, d in declared(ModelConfig).items() if d.traced}
  routing = {'load_balance_loss', 'router_z_loss', 'router_correction_rate'}
  assert (
    traced
    == {'embedding_dropout', 'attention_dropout', 'residual_dropout', 'init_scale'}
    | routing
  )
  structure, numbers = split(ModelConfig(residual_dropout=0.1))
  assert set(numbers) == {'residual_dropout', 'init_scale'} | routing
  assert structure.residual_dropout is TRACED and structure.attention_dropout == 0.0
  assert hash(structure) == hash(
    split(ModelConfig(residual_dropout=0.2, init_scale=math.pi))[0]
  )
