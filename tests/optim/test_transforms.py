"""Norms, clipping, and transformations of single matrices of stacked layers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lmhp.hypers import split
from lmhp.optim.config import OptimizerConfig
from lmhp.optim.transforms import (
  as_matrices,
  clip_by_global_norm,
  global_norm,
  per_layer,
  scale_by_learning_rates,
)
from lmhp.params import list_params, walk_arrays


def test_global_norm_is_over_all_parameters(tree):
  flat = np.concatenate(
    [np.asarray(x, np.float64).ravel() for _, x in walk_arrays(tree())]
  )
  np.testing.assert_allclose(global_norm(tree()), np.linalg.norm(flat), rtol=1e-6)


def test_clipping_equals_that_of_optax_with_and_without_a_given_norm(tree):
  grads = tree()
  for limit in (0.5, 1e3):
    expected, _ = optax.clip_by_global_norm(limit).update(grads, optax.EmptyState())
    for norm in (None, global_norm(grads)):
      got, _ = clip_by_global_norm(limit, norm).update(grads, optax.EmptyState())
      jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), got, expected
      )


def test_clip_at_infinity_and_at_zero_gradient_changes_nothing(tree):
  zeros = jax.tree.map(jnp.zeros_like, tree())
  for grads, limit in ((tree(), jnp.inf), (zeros, jnp.inf), (zeros, 1.0)):
    got, _ = clip_by_global_norm(limit).update(grads, optax.EmptyState())
    jax.tree.map(np.testing.assert_array_equal, got, grads)


def test_a_given_norm_is_not_computed_again(tree):
  def squares(norm):
    return str(
      jax.make_jaxpr(lambda g: clip_by_global_norm(1.0, norm).update(g, ())[0])(tree())
    ).count('square')

  assert squares(None) == 8
  assert squares(2.0) == 0


def test_scale_by_learning_rates_multiplies_by_the_multiplier_of_the_kind(tree):
  _, numbers = split(
    OptimizerConfig(
      learning_rate=0.5,
      embedding_lr_multiplier=2,
      positional_lr_multiplier=3,
      attention_lr_multiplier=4,
      feed_forward_lr_multiplier=5,
      normalization_lr_multiplier=6,
      output_lr_multiplier=7,
    )
  )
  ones = jax.tree.map(jnp.ones_like, tree())
  got, _ = scale_by_learning_rates(numbers).update(ones, optax.EmptyState())
  layer = 'decoder/segment_0'
  assert {path: set(x.ravel().tolist()) for path, x in walk_arrays(got)} == {
    'embedding/table': {1.0},
    'positional/table': {1.5},
    f'{layer}/attention/query/kernel': {2.0},
    f'{layer}/attention/query/bias': {2.0},
    f'{layer}/feed_forward/down/kernel': {2.5},
    f'{layer}/attention_input_norm/scale': {3.0},
    'final_norm/scale': {3.0},
    'output/kernel': {3.5},
  }


def test_matrices_are_fan_in_by_fan_out_of_each_layer(tree):
  shapes = {
    param.path.split('/', 2)[-1]: as_matrices(param, jnp.zeros(param.shape)).shape
    for param in list_params(tree())
  }
  assert shapes['attention/query/kernel'] == (2, 14, 48)
  assert shapes['attention/query/bias'] == (2, 48)
  assert shapes['feed_forward/down/kernel'] == (2, 20, 14)
  assert shapes['attention_input_norm/scale'] == (2, 14)
  assert as_matrices(list_params(tree())[4], jnp.zeros((31, 14))).shape == (
    31,
    14,
  )  # the embedding's table


def test_matrix_keeps_the_order_of_its_rows_and_columns(tree):
  param = next(
    param for param in list_params(tree()) if param.path.endswith('query/kernel')
  )
  kernel = tree()['decoder']['segment_0']['attention']['query']['kernel']
  x = jnp.arange(14.0)
  heads = jnp.einsum('d,ndhk->nhk', x, kernel)
  np.testing.assert_allclose(
    jnp.einsum('d,ndj->nj', x, as_matrices(param, kernel)).reshape(2, 8, 6),
    heads,
    rtol=1e-5,
  )


def test_per_layer_passes_one_matrix_at_a_time(tree):
  shapes = []

  def divide_by_norm(updates, params):
    shapes.append((updates.shape, params.shape))
    return updates / jnp.linalg.norm(params)

  params = tree()
  tx = per_layer(optax.stateless(divide_by_norm))
  got, _ = tx.update(tree(1), tx.init(params), params)
  assert sorted(shapes) == sorted(
    (s, s)
    for s in [(31, 14), (5, 14), (14, 48), (48,), (14,), (20, 14), (14,), (14, 31)]
  )

  def kernel(t):
    return t['decoder']['segment_0']['attention']['query']['kernel']

  norm = np.linalg.norm(np.asarray(kernel(params)).reshape(2, -1), axis=1).reshape(
    2, 1, 1, 1
  )
  np.testing.assert_allclose(kernel(got), kernel(tree(1)) / norm, rtol=1e-5)


def test_per_layer_keeps_one_state_for_each_layer(tree):
  params = tree()
  tx = per_layer(optax.scale_by_factored_rms(min_dim_size_to_factor=1))
  state = jax.eval_shape(tx.init, params)['decoder']['segment_0']
  assert state['attention']['query']['kernel'].count.shape == (2,)
  assert sorted(
    [
      state['attention']['query']['kernel'].v_row.shape,
      state['attention']['query']['kernel'].v_col.shape,
    ]
  ) == [(2, 14), (2, 48)]
  before = jax.eval_shape(tx.init, params)
  assert jax.eval_shape(tx.update, params, before, params)[1] == before
