"""Rows through their experts' weights: three backends and a float64 loop, the batching rules, the bound on blocks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.model.grouped_product import block_count, block_rows, by_expert

T, K, E, D, F, R = 37, 3, 7, 14, 20, 4


def gated(into):
  return jax.nn.silu(into[0]) * into[1]


def plain(into):
  return jnp.tanh(into[0])


def draw(seed=0, n=2, biases=True):
  """Weights of E experts with n products into the nonlinearity, the last without a bias."""
  rng = np.random.default_rng(seed)
  normal = lambda *shape: jnp.asarray(0.5 * rng.normal(size=shape), jnp.float32)
  into = tuple(
    (normal(E, D, F), normal(E, F) if biases and i == 0 else None) for i in range(n)
  )
  return {'into': into, 'down': (normal(E, F, D), normal(E, D) if biases else None)}


def rows(seed=0, n_tokens=T, k=K):
  rng = np.random.default_rng(seed)
  experts = np.stack([rng.permutation(E)[:k] for _ in range(n_tokens)])
  return jnp.asarray(rng.normal(size=(n_tokens, D)), jnp.float32), jnp.asarray(
    experts, jnp.int32
  )


def loop(x_TD, experts_Tk, weights, activate):
  """Each row by itself, in float64."""
  f = lambda x: np.asarray(x, np.float64)
  out = np.zeros((*experts_Tk.shape, D))
  for t, j in np.ndindex(*experts_Tk.shape):
    e = int(experts_Tk[t, j])
    affine = lambda x, w: x @ f(w[0][e]) + (0 if w[1] is None else f(w[1][e]))
    into = [affine(f(x_TD[t]), w) for w in weights['into']]
    h = (
      np.tanh(into[0])
      if activate is plain
      else into[0] / (1 + np.exp(-into[0])) * into[1]
    )
    out[t, j] = affine(h, weights['down'])
  return out


def all_to_one(n_tokens):
  return jnp.zeros((n_tokens, 1), jnp.int32) + 4


@pytest.mark.parametrize('backend', ['blocks', 'ragged', 'dense'])
@pytest.mark.parametrize(
  'activate, n, biases', [(gated, 2, True), (gated, 2, False), (plain, 1, True)]
)
def test_every_backend_is_the_loop(backend, activate, n, biases):
  weights = draw(n=n, biases=biases)
  for x_TD, experts_Tk in (
    rows(),
    rows(1, 1, 2),
    rows(2, 3, 1),
    (rows(3)[0], all_to_one(T)),
  ):
    y = jax.jit(by_expert, static_argnums=(3, 4, 5))(
      x_TD, experts_Tk, weights, activate, 'float32', backend
    )
    np.testing.assert_allclose(
      y, loop(x_TD, experts_Tk, weights, activate), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize('backend', ['blocks', 'ragged'])
@pytest.mark.parametrize('activate, n, biases', [(gated, 2, True), (plain, 1, False)])
def test_gradients_are_those_of_computing_everything(backend, activate, n, biases):
  """Of weights, biases and rows; experts without a row get zeros."""
  weights, (x_TD, experts_Tk) = draw(n=n, biases=biases), rows()
  experts_Tk = jnp.where(experts_Tk == 5, 6, experts_Tk)  # nobody takes the fifth
  g = jnp.asarray(np.random.default_rng(3).normal(size=(T, K, D)), jnp.float32)
  loss = lambda w, x, how: jnp.sum(
    by_expert(x, experts_Tk, w, activate, 'float32', how) * g
  )
  ours, theirs = (
    jax.jit(jax.grad(loss, (0, 1)), static_argnums=2)(weights, x_TD, how)
    for how in (backend, 'dense')
  )
  for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-4)
  assert (ours[0]['down'][0][5] == 0).all()


@pytest.mark.parametrize('backend', ['blocks', 'ragged'])
@pytest.mark.parametrize(
  'axes', [(0, 0, 0), (None, 0, 0), (0, None, None), (None, 0, None)]
)
def test_members_of_a_population_are_as_alone(backend, axes):
  """Own weights or shared ones, own rows or shared ones; values and gradients."""
  many = lambda of: jax.tree.map(
    lambda *x: jnp.stack(x), *(of(seed) for seed in range(R))
  )
  arguments = [draw() if axes[0] is None else many(draw)]
  for i in (0, 1):
    arguments.append(
      rows()[i] if axes[1 + i] is None else many(lambda seed: rows(seed)[i])
    )
  g = jnp.asarray(np.random.default_rng(3).normal(size=(T, K, D)), jnp.float32)
  one = lambda w, x, e: jax.value_and_grad(
    lambda w, x: jnp.sum(by_expert(x, e, w, gated, 'float32', backend) * g), (0, 1)
  )(w, x)
  together = jax.jit(jax.vmap(one, axes))(*arguments)
  for r in range(R):
    alone = one(
      *(
        a if axis is None else jax.tree.map(lambda t: t[r], a)
        for a, axis in zip(arguments, axes)
      )
    )
    for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
      np.testing.assert_allclose(a[r], b, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize('backend', ['blocks', 'ragged'])
def test_a_shared_base_stays_one_copy(backend):
  """Where members share weights, no array of the program holds them R times."""
  x = jnp.stack([rows(seed)[0] for seed in range(R)])
  experts = jnp.stack([rows(seed)[1] for seed in range(R)])
  weights = draw(biases=False)
  program = str(
    jax.make_jaxpr(
      jax.vmap(lambda x, e: by_expert(x, e, weights, gated, 'float32', backend))
    )(x, experts)
  )
  for size in (
    f'{R},{E},{D},{F}',
    f'{R * E},{D},{F}',
    f'{R},{E},{F},{D}',
    f'{R * E},{F},{D}',
  ):
    assert f'[{size}]' not in program


def test_populations_of_populations():
  weights = jax.tree.map(lambda *x: jnp.stack(x), draw(0), draw(1))
  x, experts = (
    jnp.stack([jnp.stack([rows(2 * a + b)[i] for b in range(2)]) for a in range(3)])
    for i in (0, 1)
  )
  one = lambda w, x, e: jnp.sum(
    jnp.square(by_expert(x, e, w, gated, 'float32', 'blocks'))
  )
  together = jax.vmap(jax.vmap(jax.grad(one)), (None, 0, 0))(weights, x, experts)
  for a, b in np.ndindex(3, 2):
    alone = jax.grad(one)(jax.tree.map(lambda w: w[b], weights), x[a, b], experts[a, b])
    for p, q in zip(jax.tree.leaves(together), jax.tree.leaves(alone)):
      np.testing.assert_allclose(p[a, b], q, rtol=1e-4, atol=1e-3)


def test_blocks_always_suffice_and_are_sometimes_all_used():
  rng = np.random.default_rng(0)
  for _ in range(300):
    n_rows, n_experts = int(rng.integers(1, 200)), int(rng.integers(1, 20))
    size = block_rows(n_rows, n_experts)
    loads = rng.multinomial(
      n_rows, rng.dirichlet(np.full(n_experts, rng.choice([0.05, 1.0, 50.0])))
    )
    assert np.sum(-(-loads // size)) <= block_count(n_rows, n_experts, size)
  used = min(7, 37)  # one row each, the rest in full blocks of one expert
  assert (
    block_count(37, 7, 8)
    == used + (37 - used) // 8
    == np.sum(-(-np.array([1, 1, 1, 1, 1, 1, 31]) // 8)) + 0
  )


def test_another_routing_is_the_same_program():
  program = jax.jit(lambda x, e: by_expert(x, e, draw(), gated, 'float32', 'blocks'))
  for seed in range(3):
    program(*rows(seed))
  assert program._cache_size() == 1


def test_bfloat16_operands_round_and_no_more():
  weights, (x, experts) = draw(), rows()
  low, high = (
    by_expert(x, experts, weights, gated, dtype, 'blocks')
    for dtype in ('bfloat16', 'float32')
  )
  error = np.linalg.norm(low - high) / np.linalg.norm(high)
  assert low.dtype == jnp.float32 and 1e-4 < error < 2e-2
