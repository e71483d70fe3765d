"""The oracle `traced_flops`, on programs whose products are counted by hand."""

import jax
import jax.numpy as jnp
import pytest
from traced_counts import traced_flops

A = jax.ShapeDtypeStruct((3, 5), jnp.float32)
B = jax.ShapeDtypeStruct((5, 5), jnp.float32)
ONCE = 2 * 3 * 5 * 5


def product(a, b):
  return a @ b


def in_jit(a, b):
  return jax.jit(lambda a, b: jnp.sin(a @ b))(a, b)


def in_checkpoint(a, b):
  return jax.checkpoint(product)(a, b)


def as_einsum(a, b):
  return jnp.einsum('bij,bjk->bik', a.reshape(1, 3, 5), b[None])


def scan_of_seven(a, b):
  return jax.lax.scan(lambda carry, _: (carry @ b, None), a, None, length=7)[0]


def nested_scans_of_three_and_two(a, b):
  def outer(carry, _):
    return jax.lax.scan(lambda x, _: (x @ b, None), carry, None, length=2)[0], None

  return jax.lax.scan(outer, a, None, length=3)[0]


def branch(a, b):
  return jax.lax.cond(a[0, 0] > 0, lambda: a @ b, lambda: a @ b @ b)


def nothing(a, b):
  return a + 1


@pytest.mark.parametrize(
  'function,n_products',
  [
    (product, 1),
    (in_jit, 1),
    (in_checkpoint, 1),
    (as_einsum, 1),
    (scan_of_seven, 7),
    (nested_scans_of_three_and_two, 6),
    (branch, 2),
    (nothing, 0),
  ],
)
def test_traced_flops(function, n_products):
  assert traced_flops(function, A, B) == n_products * ONCE


def test_a_loop_counts_once_or_for_each_iteration():
  def loop(a, b):
    return jax.lax.fori_loop(0, 9, lambda _, x: x @ b, a)

  assert traced_flops(loop, A, B) in (ONCE, 9 * ONCE)


def test_custom_gradients_are_counted():
  @jax.custom_vjp
  def custom(a, b):
    return a @ b

  def forward(a, b):
    return a @ b, (a, b)

  def backward(saved, g):
    a, b = saved
    return g @ b.T, a.T @ g

  custom.defvjp(forward, backward)
  gradient = jax.grad(lambda a, b: jnp.sum(custom(a, b)), argnums=(0, 1))
  assert traced_flops(custom, A, B) == ONCE
  assert traced_flops(gradient, A, B) == 3 * ONCE
