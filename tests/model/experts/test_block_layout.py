"""The number of blocks that any choice of experts needs."""

import numpy as np

from lmhp.model.experts.block_layout import block_count, block_rows


def test_there_are_always_enough_blocks():
  rng = np.random.default_rng(0)
  for _ in range(300):
    n_assignments = int(rng.integers(1, 200))
    n_experts = int(rng.integers(1, 20))
    concentration = rng.choice([0.05, 1.0, 50.0])
    probabilities = rng.dirichlet(np.full(n_experts, concentration))
    loads = rng.multinomial(n_assignments, probabilities)
    n_rows = block_rows(n_assignments, n_experts)
    needed = np.sum(-(-loads // n_rows))
    assert needed <= block_count(n_assignments, n_experts, n_rows)


def test_all_blocks_can_be_needed():
  """Six experts have one row each, and the seventh has the rest."""
  loads = np.array([1, 1, 1, 1, 1, 1, 31])
  assert block_count(37, 7, 8) == np.sum(-(-loads // 8))
