"""Arrangement of rows in blocks that belong to one expert each.

An assignment is one pair of a token and an expert that was chosen for it. With k experts for
each of T tokens, there are A = T * k assignments. Assignment i belongs to token i // k. Each
assignment has one row: the vector of its token, which is the input of its expert.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

LARGEST_BLOCK = 128
"""Largest number of rows of a block."""


class BlockLayout(NamedTuple):
  """Positions of rows in n blocks of b rows each.

  A slot is a position among the n * b rows of all blocks.

  Attributes:
    slot_A: (A,) int32, slot of each assignment.
    assignment: (n * b,) int32, number of the assignment in each slot, from 0 to A - 1. An
      empty slot has the number A.
    expert_n: (n,) int32, expert of each block.
  """

  slot_A: jax.Array
  assignment: jax.Array
  expert_n: jax.Array


def block_rows(n_assignments: int, n_experts: int) -> int:
  """Returns the number of rows of a block.

  The number is the largest power of two up to half of the mean number of rows of an expert,
  clipped to the range from 8 to `LARGEST_BLOCK`.
  """
  half_mean = max(n_assignments // (2 * n_experts), 8)
  return min(1 << (half_mean.bit_length() - 1), LARGEST_BLOCK)


def block_count(n_assignments: int, n_experts: int, n_rows: int) -> int:
  """Returns the number of blocks that the worst choice of experts needs.

  Args:
    n_assignments: Number of assignments, A.
    n_experts: Number of experts.
    n_rows: Number of rows of a block.
  """
  # In the worst case, as many experts as possible have a block with a single row. From there,
  # one more block is needed only for every `n_rows` more rows of one expert.
  n_used = min(n_assignments, n_experts)
  return n_used + (n_assignments - n_used) // n_rows


def arrange_in_blocks(
  experts_Tk: jax.Array, n_experts: int, n_rows: int
) -> BlockLayout:
  """Sorts assignments by expert into blocks of rows of one expert.

  Args:
    experts_Tk: (T, k) int32, numbers of the experts of each token.
    n_experts: Number of experts.
    n_rows: Number of rows of a block.
  """
  n_assignments = experts_Tk.size
  n_blocks = block_count(n_assignments, n_experts, n_rows)

  # For each assignment, count the rows of each expert up to and including it.
  chosen_AE = jax.nn.one_hot(experts_Tk.reshape(-1), n_experts, dtype=jnp.int32)
  count_AE = jnp.cumsum(chosen_AE, axis=0)

  # Give each expert as many blocks as its rows need, rounded up.
  n_blocks_E = -(-count_AE[-1] // n_rows)
  end_E = jnp.cumsum(n_blocks_E)
  first_slot_E = (end_E - n_blocks_E) * n_rows

  # Place each assignment after the earlier ones of its expert. Then invert the map from
  # assignments to slots.
  slot_A = jnp.sum(chosen_AE * (first_slot_E[None] + count_AE - 1), axis=1)
  assignment = jnp.full(n_blocks * n_rows, n_assignments, jnp.int32)
  assignment = assignment.at[slot_A].set(jnp.arange(n_assignments, dtype=jnp.int32))

  # Find the expert of each block. Blocks after the last one in use are empty, and get the last
  # expert.
  expert_n = jnp.searchsorted(end_E, jnp.arange(n_blocks), side='right')
  expert_n = jnp.minimum(expert_n, n_experts - 1).astype(jnp.int32)
  return BlockLayout(slot_A, assignment, expert_n)
