"""Estimated memory of traced programs, against sums by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.counting.liveness import peak_bytes

SIZE = 10 * 10 * 4


def peak(function, *shapes, dtype='float32', float32_products=False):
  """Returns the estimated bytes, in matrices of 10 x 10 float32 numbers."""
  arguments = [jax.ShapeDtypeStruct(shape or (10, 10), dtype) for shape in shapes]
  traced = jax.make_jaxpr(function)(*arguments)
  return peak_bytes(traced.jaxpr, float32_products) / SIZE


def test_an_output_takes_no_memory():
  assert peak(lambda x: x @ x, ()) == 0


def test_a_product_that_a_product_reads_is_in_memory():
  assert peak(lambda x: x @ x @ x, ()) == 1


def test_an_elementwise_result_that_a_product_reads_replaces_its_input():
  assert peak(lambda x: jnp.sin(x @ x) @ x, ()) == 1
  # The product is read again, so both exist.
  assert peak(lambda x: (lambda y: jnp.sin(y) @ y)(x @ x), ()) == 2


def test_elementwise_operations_are_fused():
  def function(x):
    y = jnp.exp(jnp.sin(jnp.broadcast_to(x[:, None], (10, 10, 10))))
    return jnp.sum(y * 2, axis=0)

  assert peak(function, ()) == 0


def test_inputs_of_a_fused_operation_stay_alive():
  def function(x):
    y = x @ x
    # `z` takes no memory, so `y` is kept for it.
    z = jnp.sin(y)
    w = jnp.tanh(x) @ x
    return jnp.sum(z * w)

  # y, the tanh that the second product reads, and w.
  assert peak(function, ()) == 3


def test_a_loop_has_its_stacked_outputs_and_one_iteration():
  def function(x):
    def body(carry, _):
      y = jnp.sin(carry @ carry)
      return y @ y, y

    carry, stacked = jax.lax.scan(body, x, None, length=7)
    # Reading makes the outputs of the loop no outputs of the program.
    return jnp.sum(carry) + jnp.sum(stacked)

  # 7 stacked, the carry, and y and the next carry of one iteration.
  assert peak(function, ()) == 7 + 1 + 2


def test_a_carry_that_is_not_read_again_is_overwritten():
  def function(x):
    start = x @ x
    end = jax.lax.fori_loop(0, 5, lambda _, carry: carry @ x, start)
    return jnp.sum(end)

  kept = peak(function, ())

  def keeping(x):
    start = x @ x
    end = jax.lax.fori_loop(0, 5, lambda _, carry: carry @ x, start)
    return jnp.sum(end) + jnp.sum(start)

  assert peak(keeping, ()) == kept + 1


def test_the_larger_branch_counts():
  def function(x):
    small = lambda y: y
    large = lambda y: y @ y @ y
    return jnp.sum(jax.lax.cond(x[0, 0] > 0, large, small, x))

  assert peak(function, ()) == pytest.approx(1 + 2, abs=0.05)


def test_products_of_bfloat16_have_copies_on_a_cpu():
  def function(x):
    return x @ x @ x

  assert peak(function, (), dtype='bfloat16') == 0.5
  # The second product reads two copies in float32, beside its input.
  assert peak(function, (), dtype='bfloat16', float32_products=True) == 2.5


def test_an_operation_without_a_reader_takes_nothing():
  def function(x):
    _ = x @ x
    return jnp.sum(x)

  assert peak(function, ()) == 0


def test_calls_are_followed():
  inner = jax.jit(lambda x: jnp.sin(x @ x) @ x)
  assert peak(lambda x: inner(x) @ x, ()) == peak(
    lambda x: jnp.sin(x @ x) @ x @ x, ()
  )


def test_keys_of_random_numbers_have_a_size():
  def function(seed):
    return jax.random.normal(jax.random.key(seed[0]), (100,)) @ np.ones((100, 2))

  assert peak(function, (1,), dtype='uint32') > 0
