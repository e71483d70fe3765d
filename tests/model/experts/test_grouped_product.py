"""The backends of the grouped product against a loop in float64, and under `vmap`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.model.experts.expert_weights import ExpertMap, ExpertWeights
from lmhp.model.experts.grouped_product import apply_experts

T, K, E, D, F, R = 37, 3, 7, 14, 20, 4


def gated(inputs):
  return jax.nn.silu(inputs[0]) * inputs[1]


def not_gated(inputs):
  return jnp.tanh(inputs[0])


ACTIVATIONS = [
  pytest.param(gated, 2, True, id='gated with biases'),
  pytest.param(gated, 2, False, id='gated'),
  pytest.param(not_gated, 1, True, id='not gated with biases'),
]


def draw_weights(seed=0, n_inputs=2, biases=True):
  """Draws the weights of E experts. The second input map has no bias."""
  rng = np.random.default_rng(seed)

  def normal(*shape):
    return jnp.asarray(0.5 * rng.normal(size=shape), jnp.float32)

  inputs = []
  for i in range(n_inputs):
    kernel = normal(E, D, F)
    inputs.append(ExpertMap(kernel, normal(E, F) if biases and i == 0 else None))
  down = ExpertMap(normal(E, F, D), normal(E, D) if biases else None)
  return ExpertWeights(tuple(inputs), down)


def draw_rows(seed=0, n_tokens=T, k=K):
  """Draws rows, and k different experts for each."""
  rng = np.random.default_rng(seed)
  experts = np.stack([rng.permutation(E)[:k] for _ in range(n_tokens)])
  x_TD = jnp.asarray(rng.normal(size=(n_tokens, D)), jnp.float32)
  return x_TD, jnp.asarray(experts, jnp.int32)


def apply_in_numpy(x_TD, experts_Tk, weights, activate):
  """Computes each row by itself, in float64."""

  def exact(array):
    return np.asarray(array, np.float64)

  def affine(x, map_, expert):
    y = x @ exact(map_.kernel[expert])
    return y if map_.bias is None else y + exact(map_.bias[expert])

  y = np.zeros((*experts_Tk.shape, D))
  for t, j in np.ndindex(*experts_Tk.shape):
    expert = int(experts_Tk[t, j])
    inputs = [affine(exact(x_TD[t]), map_, expert) for map_ in weights.input_maps]
    if activate is not_gated:
      hidden = np.tanh(inputs[0])
    else:
      hidden = inputs[0] / (1 + np.exp(-inputs[0])) * inputs[1]
    y[t, j] = affine(hidden, weights.down, expert)
  return y


@pytest.mark.parametrize(
  'rows',
  [
    pytest.param(draw_rows(), id='several blocks'),
    pytest.param(draw_rows(1, n_tokens=1, k=2), id='one token'),
    pytest.param(draw_rows(2, n_tokens=3, k=1), id='one expert per token'),
    pytest.param(
      (draw_rows(3)[0], jnp.full((T, 1), 4, jnp.int32)), id='all to one expert'
    ),
  ],
)
@pytest.mark.parametrize('backend', ['blocks', 'ragged', 'dense'])
@pytest.mark.parametrize('activate, n_inputs, biases', ACTIVATIONS)
def test_each_backend_equals_a_loop(backend, activate, n_inputs, biases, rows):
  weights = draw_weights(n_inputs=n_inputs, biases=biases)
  x_TD, experts_Tk = rows
  y = jax.jit(apply_experts, static_argnums=(3, 4, 5))(
    x_TD, experts_Tk, weights, activate, 'float32', backend
  )
  expected = apply_in_numpy(x_TD, experts_Tk, weights, activate)
  np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def output_gradient():
  return jnp.asarray(np.random.default_rng(3).normal(size=(T, K, D)), jnp.float32)


@pytest.mark.parametrize('backend', ['blocks', 'ragged'])
@pytest.mark.parametrize(
  'activate, n_inputs, biases', [(gated, 2, True), (not_gated, 1, False)]
)
def test_gradients_equal_those_of_the_dense_backend(
  backend, activate, n_inputs, biases
):
  """The gradient of an expert without rows is zero."""
  weights = draw_weights(n_inputs=n_inputs, biases=biases)
  x_TD, experts_Tk = draw_rows()
  experts_Tk = jnp.where(experts_Tk == 5, 6, experts_Tk)

  def gradients(backend):
    def loss(weights, x_TD):
      y = apply_experts(x_TD, experts_Tk, weights, activate, 'float32', backend)
      return jnp.sum(y * output_gradient())

    return jax.jit(jax.grad(loss, (0, 1)))(weights, x_TD)

  ours = gradients(backend)
  for array, expected in zip(
    jax.tree.leaves(ours), jax.tree.leaves(gradients('dense')), strict=True
  ):
    np.testing.assert_allclose(array, expected, rtol=1e-4, atol=2e-4)
  assert (ours[0].input_maps[0].kernel[5] == 0).all()


def stack(trees):
  return jax.tree.map(lambda *arrays: jnp.stack(arrays), *trees)


@pytest.mark.slow
@pytest.mark.parametrize('backend', ['blocks', 'ragged'])
@pytest.mark.parametrize(
  'axes', [(0, 0, 0), (None, 0, 0), (0, None, None), (None, 0, None)]
)
def test_members_of_a_population_are_computed_as_alone(backend, axes):
  """Members have their own weights, rows and experts, or share them (axis None)."""
  own = (
    stack([draw_weights(seed) for seed in range(R)]),
    stack([draw_rows(seed)[0] for seed in range(R)]),
    stack([draw_rows(seed)[1] for seed in range(R)]),
  )
  shared = (draw_weights(), *draw_rows())
  arguments = [
    mine if axis == 0 else ours
    for mine, ours, axis in zip(own, shared, axes, strict=True)
  ]

  def loss_and_gradients(weights, x_TD, experts_Tk):
    def loss(weights, x_TD):
      y = apply_experts(x_TD, experts_Tk, weights, gated, 'float32', backend)
      return jnp.sum(y * output_gradient())

    return jax.value_and_grad(loss, (0, 1))(weights, x_TD)

  together = jax.jit(jax.vmap(loss_and_gradients, axes))(*arguments)
  for r in range(R):
    of_member = [
      jax.tree.map(lambda array, r=r: array[r], argument) if axis == 0 else argument
      for argument, axis in zip(arguments, axes, strict=True)
    ]
    alone = loss_and_gradients(*of_member)
    for array, expected in zip(
      jax.tree.leaves(together), jax.tree.leaves(alone), strict=True
    ):
      np.testing.assert_allclose(array[r], expected, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize('backend', ['blocks', 'ragged'])
def test_shared_weights_stay_one_copy(backend):
  """No array of the program has the weights of all experts R times."""
  x_RTD = stack([draw_rows(seed)[0] for seed in range(R)])
  experts_RTk = stack([draw_rows(seed)[1] for seed in range(R)])
  weights = draw_weights(biases=False)

  def apply(x_TD, experts_Tk):
    return apply_experts(x_TD, experts_Tk, weights, gated, 'float32', backend)

  program = str(jax.make_jaxpr(jax.vmap(apply))(x_RTD, experts_RTk))
  for matrix in (f'{D},{F}', f'{F},{D}'):
    assert f'[{R},{E},{matrix}]' not in program
    assert f'[{R * E},{matrix}]' not in program


@pytest.mark.slow
def test_populations_of_populations_are_computed_as_alone():
  """The outer members share the weights, and the inner ones have their own."""
  weights = stack([draw_weights(seed) for seed in range(2)])
  rows = [[draw_rows(2 * a + b, n_tokens=9) for b in range(2)] for a in range(3)]
  x = jnp.stack([jnp.stack([x for x, _ in inner]) for inner in rows])
  experts = jnp.stack([jnp.stack([e for _, e in inner]) for inner in rows])

  def loss(weights, x_TD, experts_Tk):
    y = apply_experts(x_TD, experts_Tk, weights, gated, 'float32', 'blocks')
    return jnp.sum(jnp.square(y))

  inner = jax.vmap(jax.grad(loss))
  together = jax.vmap(inner, (None, 0, 0))(weights, x, experts)
  for a, b in np.ndindex(3, 2):
    own_weights = jax.tree.map(lambda array, b=b: array[b], weights)
    alone = jax.grad(loss)(own_weights, x[a, b], experts[a, b])
    for array, expected in zip(
      jax.tree.leaves(together), jax.tree.leaves(alone), strict=True
    ):
      np.testing.assert_allclose(array[a, b], expected, rtol=1e-4, atol=1e-3)


def test_another_choice_of_experts_does_not_compile_again():
  weights = draw_weights()

  @jax.jit
  def program(x_TD, experts_Tk):
    return apply_experts(x_TD, experts_Tk, weights, gated, 'float32', 'blocks')

  for seed in range(3):
    program(*draw_rows(seed))
  assert program._cache_size() == 1


def test_bfloat16_rounds_operands_and_not_results():
  x_TD, experts_Tk = draw_rows()
  weights = draw_weights()
  low, high = (
    apply_experts(x_TD, experts_Tk, weights, gated, dtype, 'blocks')
    for dtype in ('bfloat16', 'float32')
  )
  error = np.linalg.norm(low - high) / np.linalg.norm(high)
  assert low.dtype == jnp.float32
  assert 1e-4 < error < 2e-2
