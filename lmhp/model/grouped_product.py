"""Each row through the feed-forward weights of its own expert, without a capacity: no row is dropped, none is padded to
the fullest expert.

One function, :func:`by_expert`, and three ways to compute it:
  - `blocks`: rows are sorted by expert and cut into blocks of one expert each (the last of an expert filled up with
    zeros), and a loop multiplies block after block with its expert's matrices. On CPU the only fast one.
  - `ragged`: rows are sorted by expert and go through `jax.lax.ragged_dot`, which is fast on GPU and TPU.
  - `dense`: every row through every expert, and the others thrown away. E / k times the work; nothing is sorted.

Blocks have a batching rule of their own: members of a population whose weights are their own are so many more experts;
where they share weights, their blocks follow each other, and the weights stay one copy.

Dimension key: T rows, k experts of a row, E experts, n blocks of b rows, I and D width of rows, F hidden.
"""

from __future__ import annotations

import functools
from typing import Any, Callable

import jax
from jax.custom_batching import custom_vmap
import jax.numpy as jnp

from lmhp.model.projection import matmul, on_cpu, weight_gradient

BACKENDS = ('auto', 'blocks', 'ragged', 'dense')
LARGEST_BLOCK = 128
Weights = dict[str, Any]
"""`{'into': ((kernel_EDF, bias_EF or None), ...), 'down': (kernel_EFD, bias_ED or None)}`."""
Activate = Callable[[list[jax.Array]], jax.Array]


def by_expert(
  x_TD: jax.Array,
  experts_Tk: jax.Array,
  weights: Weights,
  activate: Activate,
  dtype: str,
  backend: str = 'auto',
) -> jax.Array:
  """`down_e(activate(into_e x))` for each of the k experts e of each row.

  Args:
    x_TD: (T, D) float32.
    experts_Tk: (T, k) int32, below E.
    weights: of all experts, float32.
    activate: a function of the module (so that it compares equal to itself) of the one or two products with `into`.
    dtype: of the operands of products.
    backend: one of `BACKENDS`; auto is blocks on CPU, else ragged.

  Returns:
    (T, k, D) float32.
  """
  backend = ('blocks' if on_cpu() else 'ragged') if backend == 'auto' else backend
  return {'blocks': _blocks, 'ragged': _ragged, 'dense': _dense}[backend](
    x_TD, experts_Tk, weights, activate, dtype
  )


# --- blocks -----------------------------------------------------------------------------------------------------------


def block_rows(n_rows: int, n_experts: int) -> int:
  """Rows of a block: a power of two, half of what an expert has on average or less."""
  mean = max(n_rows // (2 * n_experts), 8)
  return min(1 << (mean.bit_length() - 1), LARGEST_BLOCK)


def block_count(n_rows: int, n_experts: int, rows: int) -> int:
  """Most blocks that `n_rows` rows can need, however they fall on the experts."""
  used = min(n_rows, n_experts)
  return used + (n_rows - used) // rows


def _blocks(x_TD, experts_Tk, weights, activate, dtype):
  n_tokens, k = experts_Tk.shape
  n_experts = weights['down'][0].shape[0]
  rows = block_rows(n_tokens * k, n_experts)
  n_blocks = block_count(n_tokens * k, n_experts, rows)
  chosen = jax.nn.one_hot(experts_Tk.reshape(-1), n_experts, dtype=jnp.int32)
  before = jnp.cumsum(chosen, axis=0)  # rows of each expert up to and with each row
  blocks_E = -(-before[-1] // rows)
  ends_E = jnp.cumsum(blocks_E)
  place = jnp.sum(
    chosen * ((ends_E - blocks_E)[None] * rows + before - 1), axis=1
  )  # of each row among all blocks' rows
  row_at = (
    jnp.full(n_blocks * rows, n_tokens * k, jnp.int32)
    .at[place]
    .set(jnp.arange(n_tokens * k, dtype=jnp.int32))
  )
  expert_n = jnp.minimum(
    jnp.searchsorted(ends_E, jnp.arange(n_blocks), side='right'), n_experts - 1
  )
  x_nbD = (
    x_TD.at[row_at // k].get(mode='fill', fill_value=0).reshape(n_blocks, rows, -1)
  )
  y_nbD = _products(activate, dtype)(weights, x_nbD, expert_n.astype(jnp.int32))
  return y_nbD.reshape(n_blocks * rows, -1)[place].reshape(n_tokens, k, -1)


def _of(weight, e):
  """One expert's matrix and bias."""
  return tuple(
    None if w is None else jax.lax.dynamic_index_in_dim(w, e, 0, keepdims=False)
    for w in weight
  )


def _affine(x_bI, weight, dtype):
  kernel, bias = weight
  y_bO = matmul(x_bI.astype(dtype), kernel.astype(dtype))
  return y_bO if bias is None else y_bO + bias[None]


@functools.cache
def _products(activate: Activate, dtype: str) -> Callable:
  """`(weights, x_nbD, expert_n) -> y_nbD`, differentiable in the first two."""

  @jax.custom_vjp
  def products(weights, x_nbD, expert_n):
    return _forward(activate, dtype)(weights, x_nbD, expert_n)[0]

  def forward(weights, x_nbD, expert_n):
    y_nbD, into = _forward(activate, dtype)(weights, x_nbD, expert_n)
    return y_nbD, (weights, x_nbD, into, expert_n)

  def backward(saved, g_nbD):
    return *_backward(activate, dtype, 1)(*saved, saved[-1], g_nbD), None

  products.defvjp(forward, backward)
  return products


@functools.cache
def _forward(activate: Activate, dtype: str) -> Callable:
  """`(weights, x_nbD, expert_n) -> (y_nbD, the products that activate is given)`."""

  @custom_vmap
  def forward(weights, x_nbD, expert_n):
    def one(block):
      x_bD, e = block
      into = [_affine(x_bD, _of(w, e), dtype) for w in weights['into']]
      return _affine(activate(into), _of(weights['down'], e), dtype), into

    return jax.lax.map(one, (x_nbD, expert_n))

  @forward.def_vmap
  def rule(size, batched, weights, x_nbD, expert_n):
    x_RnbD, expert_Rn = (
      _all(x, b, size) for x, b in zip((x_nbD, expert_n), batched[1:])
    )
    weights, expert_n = _fold_weights(size, batched[0], weights, expert_Rn)
    out = forward(weights, _flat(x_RnbD), expert_n)
    return jax.tree.map(lambda x: x.reshape(size, -1, *x.shape[1:]), out), jax.tree.map(
      lambda _: True, out
    )

  return forward


@functools.cache
def _backward(activate: Activate, dtype: str, copies: int) -> Callable:
  """`(weights, x_nbD, into, expert_n, slot_n, g_nbD) -> (gradients of weights, of x_nbD)`.

  Gradients of weights have `copies` times as many experts as the weights have; `slot_n` says where a block adds its own.
  """

  @custom_vmap
  def backward(weights, x_nbD, into, expert_n, slot_n, g_nbD):
    def one(sums, block):
      x_bD, into, e, slot, g_bD = block
      h_bF, pull = jax.vjp(activate, into)
      down = _of(weights['down'], e)
      (dinto,) = pull(
        matmul(g_bD.astype(dtype), down[0].astype(dtype), transpose_b=True)
      )
      add = lambda sum_, x, g: _add(sum_, slot, x.astype(dtype), g, dtype)
      dx_bD = sum(
        matmul(g.astype(dtype), _of(w, e)[0].astype(dtype), transpose_b=True)
        for g, w in zip(dinto, weights['into'])
      )
      return {
        'into': tuple(add(s, x_bD, g) for s, g in zip(sums['into'], dinto)),
        'down': add(sums['down'], h_bF, g_bD),
      }, dx_bD

    zeros = jax.tree.map(
      lambda w: jnp.zeros((copies * w.shape[0], *w.shape[1:]), jnp.float32), weights
    )
    return jax.lax.scan(one, zeros, (x_nbD, into, expert_n, slot_n, g_nbD))

  @backward.def_vmap
  def rule(size, batched, weights, *blocks):
    x, into, expert_Rn, slot_Rn, g = (
      jax.tree.map(lambda x, b: _all(x, b, size), *pair)
      for pair in zip(blocks, batched[1:])
    )
    own = any(jax.tree.leaves(batched[0]))
    n_slots = copies * weights['down'][0].shape[1 if batched[0]['down'][0] else 0]
    weights, expert_n = _fold_weights(size, batched[0], weights, expert_Rn)
    slot_n = (slot_Rn + n_slots * jnp.arange(size, dtype=jnp.int32)[:, None]).reshape(
      -1
    )
    inner = _backward(activate, dtype, copies if own else copies * size)
    out = inner(weights, _flat(x), [_flat(i) for i in into], expert_n, slot_n, _flat(g))
    return jax.tree.map(lambda x: x.reshape(size, -1, *x.shape[1:]), out), jax.tree.map(
      lambda _: True, out
    )

  return backward


def _add(sums, slot, x_bI, g_bO, dtype):
  """Gradients of a matrix and a bias with a block's share of them added."""
  kernel, bias = sums
  kernel = kernel.at[slot].add(weight_gradient(x_bI, g_bO.astype(dtype)))
  return kernel, None if bias is None else bias.at[slot].add(jnp.sum(g_bO, axis=0))


def _all(x, batched: bool, size: int):
  """With a leading axis of members, repeated where they share it."""
  return x if batched else jnp.broadcast_to(x, (size, *x.shape))


def _flat(x):
  return x.reshape(-1, *x.shape[2:])


def _fold_weights(size: int, batched: Any, weights: Weights, expert_Rn: jax.Array):
  """Members' own weights as so many more experts; shared ones as they are."""
  if not any(jax.tree.leaves(batched)):
    return weights, expert_Rn.reshape(-1)
  weights = jax.tree.map(lambda w, b: _flat(_all(w, b, size)), weights, batched)
  n_experts = weights['down'][0].shape[0] // size
  return weights, (
    expert_Rn + n_experts * jnp.arange(size, dtype=jnp.int32)[:, None]
  ).reshape(-1)


# --- the other two ----------------------------------------------------------------------------------------------------


def _ragged(x_TD, experts_Tk, weights, activate, dtype):
  n_tokens, k = experts_Tk.shape
  expert_of = experts_Tk.reshape(-1)
  order = jnp.argsort(expert_of)
  sizes_E = jnp.sum(
    jax.nn.one_hot(expert_of, weights['down'][0].shape[0], dtype=jnp.int32), axis=0
  )

  def affine(x, weight):
    kernel, bias = weight
    y = ragged(x, kernel, sizes_E, dtype)
    return y if bias is None else y + bias[expert_of[order]]

  y = affine(
    activate([affine(x_TD[order // k], w) for w in weights['into']]), weights['down']
  )
  return jnp.zeros_like(y).at[order].set(y).reshape(n_tokens, k, -1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def ragged(
  x_TI: jax.Array, kernel_EIO: jax.Array, sizes_E: jax.Array, dtype: str
) -> jax.Array:
  """Rows sorted by expert, each times its expert's matrix: (T, O) float32."""
  return _ragged_product(dtype)(x_TI, kernel_EIO, sizes_E)


def _ragged_forward(x_TI, kernel_EIO, sizes_E, dtype):
  return ragged(x_TI, kernel_EIO, sizes_E, dtype), (x_TI, kernel_EIO, sizes_E)


def _ragged_backward(dtype, saved, g_TO):
  x_TI, kernel_EIO, sizes_E = saved
  dx_TI = _ragged_product(dtype)(g_TO, jnp.swapaxes(kernel_EIO, 1, 2), sizes_E)
  return dx_TI, _ragged_gradient(dtype)(x_TI, g_TO, sizes_E), None


ragged.defvjp(_ragged_forward, _ragged_backward)


@functools.cache
def _ragged_product(dtype: str) -> Callable:
  @custom_vmap
  def product(x_TI, kernel_EIO, sizes_E):
    return jax.lax.ragged_dot(
      x_TI.astype(dtype),
      kernel_EIO.astype(dtype),
      sizes_E,
      preferred_element_type=jnp.float32,
    )

  @product.def_vmap
  def rule(size, batched, x, kernel, sizes):
    x, sizes = _all(x, batched[0], size), _all(sizes, batched[2], size)
    if batched[1]:  # members' own matrices are so many more experts
      y = product(_flat(x), _flat(kernel), _flat(sizes))
    else:  # one matrix for all members' rows of an expert: sorted again, by expert before member
      ends_RE = jnp.cumsum(sizes, axis=1)
      expert_RT = jax.vmap(
        lambda ends: jnp.searchsorted(ends, jnp.arange(x.shape[1]), side='right')
      )(ends_RE)
      order = jnp.argsort(expert_RT.reshape(-1))
      y = product(_flat(x)[order], kernel, jnp.sum(sizes, axis=0))
      y = jnp.zeros_like(y).at[order].set(y)
    return y.reshape(size, -1, y.shape[-1]), True

  return product


@functools.cache
def _ragged_gradient(dtype: str) -> Callable:
  numbers = jax.lax.RaggedDotDimensionNumbers(
    (((0,), (0,)), ((), ())), lhs_ragged_dimensions=[0], rhs_group_dimensions=[]
  )

  @custom_vmap
  def gradient(x_TI, g_TO, sizes_E):
    return jax.lax.ragged_dot_general(
      x_TI.astype(dtype),
      g_TO.astype(dtype),
      sizes_E,
      numbers,
      preferred_element_type=jnp.float32,
    )

  @gradient.def_vmap
  def rule(size, batched, *arguments):
    out = gradient(*(_flat(_all(x, b, size)) for x, b in zip(arguments, batched)))
    return out.reshape(size, -1, *out.shape[1:]), True

  return gradient


def _dense(x_TD, experts_Tk, weights, activate, dtype):
  def one(weight):
    return _affine(
      activate([_affine(x_TD, w, dtype) for w in weight['into']]), weight['down'], dtype
    )

  y_TED = jnp.swapaxes(jax.lax.map(one, weights), 0, 1)
  return jnp.take_along_axis(y_TED, experts_Tk[..., None], axis=1)
