"""Predicted bytes, against the bytes of the arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.counting.memory import (
  activation_bytes,
  activation_bytes_by_policy,
  cache_bytes,
  cache_bytes_per_token,
  optimizer_bytes,
  parameter_bytes,
  tree_bytes,
)
from lmhp.counting.parameters import count
from lmhp.hypers import split
from lmhp.model.presets import preset
from lmhp.model.transformer import build
from lmhp.optim.chain import make_optimizer
from lmhp.optim.config import OptimizerConfig


def test_tree_bytes():
  tree = {
    'a': np.zeros((3, 5), np.float32),
    'b': [jnp.zeros((2,), jnp.bfloat16), np.zeros((), np.int8)],
  }
  assert tree_bytes(tree) == sum(x.nbytes for x in jax.tree.leaves(tree)) == 60 + 4 + 1
  assert tree_bytes(jax.eval_shape(lambda: tree)) == 65


def test_parameters_and_gradients(tiny):
  shapes = build(tiny()).shapes
  assert parameter_bytes(count(tiny())) == tree_bytes(shapes)
  assert parameter_bytes(count(tiny()), 2) == tree_bytes(shapes) // 2


def test_optimizer_state_is_that_of_adamw(tiny):
  structure, numbers = split(OptimizerConfig(name='adamw'))

  def init(params):
    return make_optimizer(structure, numbers, 1.0).init(params)

  state = jax.eval_shape(init, build(tiny()).shapes)
  step_bytes = 4
  assert tree_bytes(state) == optimizer_bytes(count(tiny())) + step_bytes


# --- activations --------------------------------------------------------------------


def test_activations_are_linear_in_the_batch_size(tiny):
  cfg = tiny(norm_placement='sandwich', gated=True)
  one, two, four = (activation_bytes(cfg, batch_size, 5) for batch_size in (1, 2, 4))
  assert two > one
  assert four - two == 2 * (two - one)


def bytes_per_layer(tiny, **values):
  """Returns the bytes that another layer adds."""
  few = activation_bytes(tiny(n_layers=4, **values), 3, 5)
  many = activation_bytes(tiny(n_layers=24, **values), 3, 5)
  return (many - few) / 20


def test_full_rematerialization_keeps_one_residual_stream_for_each_layer(tiny):
  residual_stream = 3 * 5 * 14 * 4  # B L D in float32
  layer_number = 8  # at most
  kept = bytes_per_layer(tiny, remat='full')
  assert kept == pytest.approx(residual_stream, abs=layer_number)


def test_order_of_the_policies(tiny):
  by_policy = activation_bytes_by_policy(tiny(n_layers=12, gated=True), 3, 5)
  assert set(by_policy) == {'none', 'full', 'dots', 'dots_with_no_batch_dims'}
  assert by_policy['full'] < by_policy['dots_with_no_batch_dims']
  assert by_policy['dots_with_no_batch_dims'] < by_policy['dots'] < by_policy['none']


def test_dots_keep_the_products_of_a_layer(tiny):
  n_tokens = 3 * 5
  # Query, key, value, output, up and down.
  weights = n_tokens * (8 * 6 + 2 * 4 * 6 + 14 + 20 + 14)
  # Logits and weighted values.
  pairs = 3 * 8 * 5 * 5 + n_tokens * 8 * 6

  full = bytes_per_layer(tiny, remat='full')
  dots = bytes_per_layer(tiny, remat='dots')
  no_batch = bytes_per_layer(tiny, remat='dots_with_no_batch_dims')
  assert dots - full == pytest.approx(4 * (weights + pairs), rel=0.15)
  assert no_batch - full == pytest.approx(4 * weights, rel=0.15)


def test_terabytes_are_predicted_without_being_allocated():
  assert activation_bytes(preset('llama-3.1-405b'), 1, 8192) > 1e12


# --- keys and values ----------------------------------------------------------------


def test_cache_has_the_bytes_of_init_cache(tiny):
  cache = build(tiny(dtype='bfloat16')).init_cache(1, 9)
  assert cache_bytes(tiny(), 9) == tree_bytes(cache.segments['segment_0'])
  assert cache_bytes_per_token(tiny(), 9) == cache_bytes(tiny(), 9) / 9


@pytest.mark.parametrize('length', [1, 2, 3, 9])
@pytest.mark.parametrize(
  'fields',
  [
    {'attention_pattern': ('local',)},
    {'attention_pattern': ('local', 'global')},
    {
      'attention_pattern': ('local', 'global'),
      'kv_latent_dim': 11,
      'rotary_head_dim': 2,
      'n_kv_heads': None,
    },
    {'attention_pattern': ('global', 'local'), 'first_attention_norm': False},
  ],
  ids=str,
)
def test_windowed_cache_has_the_bytes_of_init_cache(tiny, fields, length):
  fields = {'n_layers': 5, 'sliding_window': 3} | fields
  cfg = tiny(dtype='bfloat16', **fields)
  cache = build(cfg).init_cache(1, length)
  assert cache_bytes(cfg, length) == tree_bytes(cache.segments)


def test_layers_with_a_window_cache_the_window_alone(tiny):
  cfg = tiny(n_layers=3, attention_pattern=('local', 'global'), sliding_window=2)
  per_token_and_layer = 2 * 4 * 6 * 2  # key and value, heads, size, two bytes
  assert cache_bytes(cfg, 9) == (2 + 9 + 2) * per_token_and_layer
  assert cache_bytes_per_token(cfg, 9) == pytest.approx(13 / 9 * per_token_and_layer)
  assert cache_bytes(cfg, 1) == 3 * per_token_and_layer


@pytest.mark.parametrize(
  'name,bytes_per_token',
  [
    ('qwen2.5-72b', 327_680),
    ('llama-3.1-405b', 516_096),  # arXiv:2505.09343 table 1
    ('llama-3-8b', 128 * 1024),
    ('gpt2-xl', 300 * 1024),
  ],
)
def test_published_cache_sizes(name, bytes_per_token):
  assert cache_bytes_per_token(preset(name), 1024) == bytes_per_token
