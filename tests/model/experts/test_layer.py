"""Layers with experts: their output against numpy, their keys, caches and gradients."""

from expert_reference import DEEPSEEK, EXPERTS, N_EXPERTS, route_in_numpy
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lmhp.errors import ConfigError
from lmhp.model.batch import Batch
from lmhp.model.experts.layer import Experts
from lmhp.model.transformer import build
from lmhp.optim.transforms import per_layer


def feed_forward_in_numpy(x, part, expert=...):
  gate = x @ part['gate']['kernel'][expert]
  up = x @ part['up']['kernel'][expert]
  return gate / (1 + np.exp(-gate)) * up @ part['down']['kernel'][expert]


@pytest.mark.parametrize(
  'fields',
  [
    EXPERTS,
    DEEPSEEK,
    EXPERTS | {'expert_input_scaled': True, 'router_normalize': False},
  ],
)
def test_the_output_is_the_weighted_sum_of_the_experts(tiny, fill, fields):
  cfg = tiny(**fields)
  x = np.random.default_rng(0).normal(size=(3, 5, 14)).astype(np.float32)
  layer = Experts(cfg)
  shapes = jax.eval_shape(lambda: layer.init(jax.random.key(0), jnp.asarray(x)))
  params = fill(shapes['params'])
  y, metrics = layer.apply({'params': params}, jnp.asarray(x))

  exact = jax.tree.map(lambda array: np.asarray(array, np.float64), params)
  rows = x.reshape(-1, 14).astype(np.float64)
  correction = exact['correction'] if cfg.router_correction else 0.0
  weights, chosen = route_in_numpy(cfg, rows @ exact['router']['kernel'], correction)
  for row, output, row_weights, experts in zip(
    rows, y.reshape(-1, 14), weights, chosen, strict=True
  ):
    expected = np.zeros(14)
    for weight, expert in zip(row_weights, experts, strict=True):
      if cfg.expert_input_scaled:
        expected += feed_forward_in_numpy(weight * row, exact, expert)
      else:
        expected += weight * feed_forward_in_numpy(row, exact, expert)
    if cfg.n_shared_experts:
      expected += feed_forward_in_numpy(row, exact['shared'])
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-4)

  load = np.bincount(chosen.reshape(-1), minlength=N_EXPERTS) / chosen.size
  np.testing.assert_allclose(metrics['expert_load'], load, rtol=1e-6)


@pytest.mark.parametrize(
  'fields, key',
  [
    ({'experts_per_token': 7}, 'experts_per_token'),
    ({'router_groups': 4}, 'router_groups'),
    ({'router_groups': 2, 'router_groups_per_token': 3}, 'router_groups_per_token'),
    ({'router_groups': 6, 'router_group_score': 'top2'}, 'router_group_score'),
    ({'router_groups': 6, 'experts_per_token': 2}, 'experts_per_token'),
    ({'n_dense_layers': 2}, 'n_experts'),
    ({'router_score': 'tanh'}, 'router_score'),
  ],
)
def test_keys_that_do_not_fit_are_refused(tiny, fields, key):
  with pytest.raises(ConfigError) as error:
    tiny(**EXPERTS | fields)
  assert str(error.value).startswith(f'model.{key}: got ')


def test_a_token_does_not_depend_on_later_ones(tiny, jit, fill):
  model = build(tiny(**DEEPSEEK))
  params = fill(model.shapes)
  tokens = jnp.arange(15).reshape(3, 5)
  logits = jit(model.apply)(params, tokens)
  other = jit(model.apply)(params, tokens.at[:, 4].set(30))
  np.testing.assert_allclose(other[:, :4], logits[:, :4], atol=1e-5)


@pytest.mark.slow
def test_decoding_with_a_cache_equals_the_full_pass(tiny, jit, fill):
  model = build(tiny(**DEEPSEEK))
  params = fill(model.shapes)
  tokens = jnp.arange(15).reshape(3, 5)
  logits = jit(model.apply)(params, tokens)
  cache = model.init_cache(3, 5)
  for t in range(5):
    x_BLD, _, cache = model.features(
      params, {}, Batch(tokens[:, t : t + 1]), cache=cache
    )
    np.testing.assert_allclose(
      model.logits(params, {}, x_BLD)[:, 0], logits[:, t], atol=2e-5
    )


def test_an_optimizer_of_matrices_treats_each_expert_by_itself(tiny, fill):
  """An update that is divided by the norm of a matrix has norm 1 for each expert."""

  def normalize(gradients, params):
    return jax.tree.map(lambda g: g / jnp.sqrt(jnp.sum(g * g)), gradients)

  gradients = fill(build(tiny(**EXPERTS)).shapes)
  transform = per_layer(optax.stateless(normalize))
  updates, _ = transform.update(gradients, transform.init(gradients), gradients)
  kernel = updates['decoder']['segment_0']['experts']['up']['kernel']
  norms = np.sqrt(np.sum(np.square(kernel), axis=(2, 3)))
  np.testing.assert_allclose(norms, np.ones((2, N_EXPERTS)), rtol=1e-5)
