"""Counts of attention by hand."""

from lmhp.model.mixers.attention import pair_flops, pairs


def test_flops_of_a_pair(tiny):
  """A multiply-add is two FLOPs. 8 heads: 6 for the logit, 6 for the weighted value."""
  assert pair_flops(tiny()) == 2 * 8 * (6 + 6)


def test_flops_of_a_pair_with_a_latent(tiny):
  cfg = tiny(kv_latent_dim=11, rotary_head_dim=2, value_head_dim=5, n_kv_heads=None)
  assert pair_flops(cfg) == 2 * 8 * (6 + 5)


def test_pairs_of_a_causal_mask():
  assert pairs(5, None, causal=True) == 5 * 6 // 2


def test_pairs_of_a_window():
  assert pairs(5, 2, causal=True) == 1 + 2 + 2 + 2 + 2


def test_all_pairs_of_a_dense_product():
  assert pairs(5, 2, causal=False) == 25


def test_pairs_of_a_window_on_both_sides():
  assert pairs(5, 2, causal=True, both_sides=True) == 2 + 3 + 3 + 3 + 2


def test_pairs_of_chunks():
  assert pairs(5, 2, causal=True, chunked=True) == (1 + 2) + (1 + 2) + 1
