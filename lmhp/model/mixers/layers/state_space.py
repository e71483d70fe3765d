"""The state space of Mamba-2: attention within chunks of tokens, and a scan across chunks.

Dimension key besides that of `lmhp.model.mixers.layers` (H heads, P head size, S state size,
G groups of heads): c chunks, Q tokens of a chunk.

Source: arXiv:2405.21060 (state space duality).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lmhp.model.mixers.layers.linear_recurrence import linear_recurrence
from lmhp.model.projection import product


class StateSpaceInputs(NamedTuple):
  """Inputs of a state space for each token.

  Attributes:
    x_BLHP: (B, L, H, P) float32, input.
    log_a_BLH: (B, L, H) float32, logarithm of the factor on the state, at most 0.
    write_BLGS: (B, L, G, S) float32, vectors with which inputs are added to the state. The heads
      of a group share one.
    read_BLGS: (B, L, G, S) float32, vectors with which the state is multiplied for the output.
      The heads of a group share one.
    document_start_BL: (B, L) bool, True at the first token of each document except at the
      start of the sequence. None if the sequence is one document.
  """

  x_BLHP: jax.Array
  log_a_BLH: jax.Array
  write_BLGS: jax.Array
  read_BLGS: jax.Array
  document_start_BL: jax.Array | None


class _Chunks(NamedTuple):
  """`StateSpaceInputs`, cut into chunks.

  Attributes:
    x_BcHQP: Input.
    write_BcGQS: Write vectors.
    read_BcGQS: Read vectors.
    log_decay_BcHQ: Sum of log_a from the start of the chunk to each token, itself included.
    document_BcQ: Number of the document of each token. B is 1 if each sequence is one document.
  """

  x_BcHQP: jax.Array
  write_BcGQS: jax.Array
  read_BcGQS: jax.Array
  log_decay_BcHQ: jax.Array
  document_BcQ: jax.Array

  def for_heads(self, x_BcG: jax.Array) -> jax.Array:
    """Repeats the entries of groups for their heads: (B, c, G, ...) to (B, c, H, ...)."""
    heads_per_group = self.x_BcHQP.shape[2] // self.write_BcGQS.shape[2]
    return jnp.repeat(x_BcG, heads_per_group, axis=2)


def state_space(
  inputs: StateSpaceInputs, first_BHPS: jax.Array, chunk: int, dtype: str
) -> tuple[jax.Array, jax.Array]:
  """Computes a state space with a scalar factor exp(log_a) for each head and token.

    state_t = exp(log_a_t) state_(t-1) + x_t write_t^T
    y_t = state_t read_t

  The state is reset to zero before each token that `document_start_BL` marks.

  Args:
    inputs: Inputs for each token.
    first_BHPS: (B, H, P, S) float32, the state before the first token.
    chunk: Number of tokens of a chunk. Larger chunks make the attention within chunks more
      expensive, and the scan over L / chunk chunks shorter.
    dtype: Data type of the operands of matrix products.

  Returns:
    y, (B, L, H, P) float32, and the state after the last token, (B, H, P, S) float32.
  """
  # Without the barrier, XLA folds an initial state of zeros into a product of a constant.
  # For a single chunk, XLA on CPU (jax 0.10.2) then reads memory that it never wrote, and
  # the gradients of `read_BLGS` are arbitrary numbers.
  first_BHPS = jax.lax.optimization_barrier(first_BHPS)
  batch, length, n_heads, head_size = inputs.x_BLHP.shape
  chunks = _split_into_chunks(inputs, min(length, chunk))

  y_BcHQP = _within_chunks(chunks, dtype)
  y_BcHQP, last_BHPS = _across_chunks(chunks, first_BHPS, y_BcHQP, dtype)

  y_BLHP = jnp.moveaxis(y_BcHQP, 2, 3).reshape(batch, -1, n_heads, head_size)
  return y_BLHP[:, :length], last_BHPS


def _split_into_chunks(inputs: StateSpaceInputs, n: int) -> _Chunks:
  """Cuts the sequence into chunks of `n` tokens. The last chunk is padded with zeros."""
  batch, length, n_heads = inputs.log_a_BLH.shape
  padding = -length % n

  def padded(x_BL: jax.Array) -> jax.Array:
    return jnp.pad(x_BL, ((0, 0), (0, padding)) + ((0, 0),) * (x_BL.ndim - 2))

  def chunked(x_BLH: jax.Array) -> jax.Array:
    """Reshapes (B, L, H, ...) to (B, c, H, Q, ...)."""
    x_BcQH = padded(x_BLH).reshape(batch, -1, n, *x_BLH.shape[2:])
    return jnp.moveaxis(x_BcQH, 3, 2)

  x_BcHQP = chunked(inputs.x_BLHP)
  write_BcGQS = chunked(inputs.write_BLGS)
  read_BcGQS = chunked(inputs.read_BLGS)
  log_decay_BcHQ = jnp.cumsum(chunked(inputs.log_a_BLH), axis=-1)
  document_BcQ = jnp.zeros((1, log_decay_BcHQ.shape[1], n), jnp.int32)
  if inputs.document_start_BL is not None:
    starts_BL = padded(inputs.document_start_BL.astype(jnp.int32))
    document_BcQ = jnp.cumsum(starts_BL, axis=1).reshape(batch, -1, n)
  return _Chunks(x_BcHQP, write_BcGQS, read_BcGQS, log_decay_BcHQ, document_BcQ)


def _within_chunks(chunks: _Chunks, dtype: str) -> jax.Array:
  """Returns the part of y that comes from tokens of the same chunk, (B, c, H, Q, P).

  This part is attention without a softmax. Its weights shrink with the decay between tokens i
  and j:

    y_i = sum_(j <= i) exp(log_decay_i - log_decay_j) (read_i . write_j) x_j
  """
  log_decay_BcHQ = chunks.log_decay_BcHQ
  document_BcQ = chunks.document_BcQ
  n = document_BcQ.shape[-1]

  dots_BcGQQ = product(chunks.read_BcGQS, chunks.write_BcGQS, True, dtype)
  same_BcQQ = document_BcQ[..., :, None] == document_BcQ[..., None, :]
  mask_BcQQ = same_BcQQ & jnp.tri(n, dtype=bool)[None, None]
  difference_BcHQQ = log_decay_BcHQ[..., :, None] - log_decay_BcHQ[..., None, :]
  log_weights_BcHQQ = jnp.where(mask_BcQQ[:, :, None], difference_BcHQQ, -jnp.inf)
  weights_BcHQQ = chunks.for_heads(dots_BcGQQ) * jnp.exp(log_weights_BcHQQ)
  return product(weights_BcHQQ, chunks.x_BcHQP, False, dtype)


def _across_chunks(
  chunks: _Chunks, first_BHPS: jax.Array, y_BcHQP: jax.Array, dtype: str
) -> tuple[jax.Array, jax.Array]:
  """Adds the part of y that comes from earlier chunks.

  Returns:
    y, (B, c, H, Q, P), and the state after the last chunk, (B, H, P, S).
  """
  batch = first_BHPS.shape[0]
  log_decay_BcHQ = chunks.log_decay_BcHQ
  document_BcQ = chunks.document_BcQ

  # The state that each chunk adds: sum_j exp(log_decay_end - log_decay_j) x_j write_j^T,
  # over the tokens of the document that the chunk ends in.
  last_document_Bc1 = document_BcQ[..., -1:]
  remaining_BcHQ = jnp.where(
    (document_BcQ == last_document_Bc1)[:, :, None],
    jnp.exp(log_decay_BcHQ[..., -1:] - log_decay_BcHQ),
    0.0,
  )
  added_BcHPS = product(
    jnp.swapaxes(chunks.x_BcHQP * remaining_BcHQ[..., None], -1, -2),
    chunks.for_heads(chunks.write_BcGQS),
    False,
    dtype,
  )

  # The state after each chunk, by a scan. If a document starts in a chunk, the state before the
  # chunk does not pass through it (`passes` is 0).
  previous_document_Bc1 = jnp.concatenate(
    [jnp.zeros_like(last_document_Bc1[:, :1]), last_document_Bc1[:, :-1]], axis=1
  )
  passes_Bc1 = jnp.where(last_document_Bc1 == previous_document_Bc1, 1.0, 0.0)
  decay_BcH = passes_Bc1 * jnp.exp(log_decay_BcHQ[..., -1])
  decay_BcHPS = jnp.broadcast_to(decay_BcH[..., None, None], added_BcHPS.shape)
  n_chunks = added_BcHPS.shape[1]
  after_BcHPS = linear_recurrence(
    decay_BcHPS.reshape(batch, n_chunks, -1),
    added_BcHPS.reshape(batch, n_chunks, -1),
    first_BHPS.reshape(batch, -1),
  ).reshape(added_BcHPS.shape)

  # Each token of the document that the chunk begins in reads the state before the chunk.
  before_BcHPS = jnp.concatenate([first_BHPS[:, None], after_BcHPS[:, :-1]], axis=1)
  kept_BcHQ = jnp.where(
    (document_BcQ == previous_document_Bc1)[:, :, None], jnp.exp(log_decay_BcHQ), 0.0
  )
  read_BcHQS = chunks.for_heads(chunks.read_BcGQS)
  from_state_BcHQP = product(read_BcHQS, before_BcHPS, True, dtype)
  return y_BcHQP + from_state_BcHQP * kept_BcHQ[..., None], after_BcHPS[:, -1]
