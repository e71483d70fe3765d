"""Bytes predicted against bytes of the arrays themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.counting.memory import (
  MOMENTS,
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


@pytest.mark.parametrize('name', MOMENTS)
def test_optimizer_state(tiny, name):
  """What is predicted is what the optimizer's init makes, but for a counter of steps."""
  structure, numbers = split(OptimizerConfig(name=name))
  state = jax.eval_shape(
    lambda p: make_optimizer(structure, numbers, 1.0).init(p), build(tiny()).shapes
  )
  made = tree_bytes(state)
  assert made - optimizer_bytes(count(tiny()), name) in (0, 4)


# --- activations ----------------------------------------------------------------------------------------------------


def test_activations_grow_with_the_batch_alone_where_they_should(tiny):
  """Twice the batch is twice the bytes, but for what batches share."""
  cfg = tiny(norm_placement='sandwich', gated=True)
  one, two, four = (activation_bytes(cfg, batch, 5) for batch in (1, 2, 4))
  assert four - two == 2 * (two - one) > 0


def test_full_remat_keeps_one_residual_stream_for_each_layer(tiny):
  """Batch times length times width, float32, is all that another layer adds (and its own number, one int32)."""
  few, many = (activation_bytes(tiny(remat='full', n_layers=n), 3, 5) for n in (4, 24))
  assert (many - few) / 20 == pytest.approx(3 * 5 * 14 * 4, abs=8)


def test_policies_keep_less_in_order(tiny):
  by_policy = activation_bytes_by_policy(tiny(n_layers=12, gated=True), 3, 5)
  assert set(by_policy) == {'none', 'full', 'dots', 'dots_with_no_batch_dims'}
  assert (
    by_policy['full']
    < by_policy['dots_with_no_batch_dims']
    < by_policy['dots']
    < by_policy['none']
  )


def test_dots_keep_the_products_of_a_layer(tiny):
  """What `dots` keeps beyond `full` for each layer: q, k, v, logits, mixed, output, up and down, counted by hand."""

  def per_layer(policy):
    few, many = (
      activation_bytes(tiny(remat=policy, n_layers=n), 3, 5) for n in (4, 24)
    )
    return (many - few) / 20

  tokens = 3 * 5
  of_weights = tokens * (8 * 6 + 2 * 4 * 6 + 14 + 20 + 14)
  of_pairs = 3 * 8 * 5 * 5 + tokens * 8 * 6
  assert per_layer('dots') - per_layer('full') == pytest.approx(
    4 * (of_weights + of_pairs), rel=0.15
  )
  assert per_layer('dots_with_no_batch_dims') - per_layer('full') == pytest.approx(
    4 * of_weights, rel=0.15
  )


def test_prediction_needs_no_memory():
  """Llama 405B at a sequence of 8192 would be terabytes."""
  assert activation_bytes(preset('llama-3.1-405b'), 1, 8192) > 1e12


# --- keys and values ------------------------------------------------------------------------------------------------


def test_cache_is_what_init_cache_makes(tiny):
  made = tree_bytes(build(tiny(dtype='bfloat16')).init_cache(1, 9)['segment_0'])
  assert cache_bytes(tiny(), 9) == made == 9 * cache_bytes_per_token(tiny(), 9)


def test_windowed_layers_keep_their_window(tiny):
  cfg = tiny(n_layers=3, attention_pattern=('local', 'global'), sliding_window=2)
  per_token_and_layer = 2 * 4 * 6 * 2  # key and value, heads, size, two bytes
  assert cache_bytes(cfg, 9) == (2 + 9 + 2) * per_token_and_layer
  assert cache_bytes_per_token(cfg, 9) == pytest.approx(13 / 9 * per_token_and_layer)
  assert cache_bytes(cfg, 1) == 3 * per_token_and_layer


@pytest.mark.parametrize(
  'name, bytes_per_token',
  [
    ('qwen2.5-72b', 327_680),
    (
      'llama-3.1-405b',
      516_096,
    ),  # the DeepSeek-V3 hardware paper, arXiv:2505.09343 table 1
    ('llama-3-8b', 128 * 1024),
    ('gpt2-xl', 300 * 1024),
  ],
)
def test_published_cache_sizes(name, bytes_per_token):
  assert cache_bytes_per_token(preset(name), 1024) == bytes_per_token
