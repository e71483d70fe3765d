"""Keys of experts: layers that have them, and checks."""

import pytest

from lmhp.model.config import ModelConfig


def test_an_expert_is_as_wide_as_the_feed_forward_part_by_default():
  assert ModelConfig(n_experts=4, d_ff=20).d_ff_expert == 20
  assert ModelConfig(n_experts=4, d_ff=20, d_ff_expert=6).d_ff_expert == 6


@pytest.mark.parametrize(
  'fields, expected',
  [
    ({'n_experts': 0}, []),
    ({}, [0, 1, 2, 3, 4, 5]),
    ({'n_dense_layers': 2}, [2, 3, 4, 5]),
    ({'experts_every': 2}, [1, 3, 5]),
    ({'dense_layers': (1, 4)}, [0, 2, 3, 5]),
    ({'n_dense_layers': 2, 'experts_every': 2, 'dense_layers': (5,)}, [3]),
  ],
)
def test_layers_with_experts(fields, expected):
  cfg = ModelConfig(**{'n_layers': 6, 'n_experts': 4, **fields})
  assert [layer for layer in range(6) if cfg.has_experts(layer)] == expected


@pytest.mark.parametrize(
  'key, fields',
  [
    ('experts_per_token', {'experts_per_token': 5}),
    ('router_groups', {'router_groups': 3}),
    ('router_groups_per_token', {'router_groups_per_token': 3, 'router_groups': 2}),
    (
      'router_group_score',
      {'router_group_score': 'top2', 'router_groups': 4, 'router_groups_per_token': 2},
    ),
    ('experts_per_token', {'experts_per_token': 3, 'router_groups': 2}),
    ('n_experts', {'n_dense_layers': 4}),
    ('n_experts', {'experts_every': 5}),
  ],
)
def test_experts_that_do_not_fit_are_refused(assert_refused, key, fields):
  assert_refused(key, **{'n_experts': 4, 'n_layers': 4, **fields})


def test_keys_of_experts_are_not_checked_without_experts():
  cfg = ModelConfig(n_experts=0, router_groups=3, experts_per_token=7)
  assert cfg.router_groups == 3
