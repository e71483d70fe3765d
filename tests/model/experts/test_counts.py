"""Counts of layers with experts against the parameters of the network."""

from expert_reference import EXPERTS, N_EXPERTS
import pytest
from traced_counts import count_tree

from lmhp.counting.parameters import count
from lmhp.model.transformer import build

ONE_EXPERT = 3 * 14 * 10  # gate, up and down


@pytest.mark.parametrize(
  'fields, has_experts',
  [
    ({}, [True, True, True, True, True]),
    ({'n_dense_layers': 2}, [False, False, True, True, True]),
    ({'experts_every': 2}, [False, True, False, True, False]),
    ({'n_dense_layers': 1, 'dense_layers': (3,)}, [False, True, True, False, True]),
  ],
)
def test_counts_follow_the_layers_with_experts(tiny, fields, has_experts):
  cfg = tiny(n_layers=5, n_shared_experts=1, **EXPERTS | fields)
  assert [spec.experts for spec in cfg.layer_specs] == has_experts
  counts = count(cfg)
  assert counts.by_kind == count_tree(build(cfg).shapes).by_kind
  assert counts.inactive == sum(has_experts) * (N_EXPERTS - 2) * ONE_EXPERT
  assert counts.active == counts.total - counts.inactive
