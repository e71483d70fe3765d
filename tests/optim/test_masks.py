"""Masks and rates by the leaf table."""

import jax
import pytest

from lmhp.errors import ConfigError
from lmhp.hypers import split
from lmhp.optim.chain import OptimizerConfig
from lmhp.optim.masks import decay_mask, frozen_mask, lr_multipliers, param_tree
from lmhp.params import walk_arrays

QUERY, BIAS = (
  'decoder/segment_0/attention/query/kernel',
  'decoder/segment_0/attention/query/bias',
)
NORM, DOWN = (
  'decoder/segment_0/attention_input_norm/scale',
  'decoder/segment_0/feed_forward/down/kernel',
)


def chosen(mask):
  return {path for path, value in walk_arrays(mask) if value}


def test_default_decays_what_nanogpt_decays(tree):
  two_dimensional = {
    'embedding/table',
    'positional/table',
    QUERY,
    DOWN,
    'output/kernel',
  }
  assert chosen(decay_mask(tree(), OptimizerConfig())) == two_dimensional


@pytest.mark.parametrize(
  'values,expected',
  [
    (dict(weight_decay_kinds=('attention', 'feed_forward')), {QUERY, DOWN}),
    (
      dict(weight_decay_kinds=('attention',), weight_decay_roles=('weight', 'bias')),
      {QUERY, BIAS},
    ),
    (dict(weight_decay_roles=('scale',)), {NORM, 'final_norm/scale'}),
    (dict(weight_decay_roles='table'), {'embedding/table', 'positional/table'}),
    (dict(weight_decay_kinds=()), set()),
  ],
)
def test_decay_is_by_kind_and_role(tree, values, expected):
  assert chosen(decay_mask(tree(), OptimizerConfig(**values))) == expected


@pytest.mark.parametrize(
  'freeze,expected',
  [
    ((), set()),
    (('embedding',), {'embedding/table'}),
    (('attention', 'output'), {QUERY, BIAS, 'output/kernel'}),
    (('**/bias',), {BIAS}),
    (('decoder/segment_0/*/scale',), {NORM}),
    (('decoder/**', 'embedding/table'), {QUERY, BIAS, NORM, DOWN, 'embedding/table'}),
    (('*/table',), {'embedding/table', 'positional/table'}),
  ],
)
def test_freeze_names_kinds_and_paths(tree, freeze, expected):
  structure, _ = split(OptimizerConfig(freeze=freeze))
  assert chosen(frozen_mask(tree(), structure)) == expected


@pytest.mark.parametrize(
  'freeze,message',
  [
    (('atention',), "optimizer.freeze: got 'atention', .*did you mean 'attention'"),
    (('embedding/tabel',), "did you mean 'embedding/table'"),
    (('decoder',), "got 'decoder', which names no parameter"),
    (('**',), 'no parameter to train'),
  ],
)
def test_freeze_that_names_nothing_or_all_is_an_error(tree, freeze, message):
  with pytest.raises(ConfigError, match=message):
    frozen_mask(tree(), OptimizerConfig(freeze=freeze))


def test_rates_are_by_kind(tree):
  _, numbers = split(
    OptimizerConfig(
      embedding_lr_multiplier=2,
      positional_lr_multiplier=3,
      attention_lr_multiplier=4,
      feed_forward_lr_multiplier=5,
      normalization_lr_multiplier=6,
      output_lr_multiplier=7,
    )
  )
  assert dict(walk_arrays(lr_multipliers(tree(), numbers))) == {
    'embedding/table': 2,
    'positional/table': 3,
    QUERY: 4,
    BIAS: 4,
    DOWN: 5,
    NORM: 6,
    'final_norm/scale': 6,
    'output/kernel': 7,
  }


def test_what_is_taken_out_stays_out(tree):
  params = tree()
  params['embedding']['table'] = None
  assert len(jax.tree.leaves(param_tree(params))) == 7
  assert decay_mask(params, OptimizerConfig())['embedding']['table'] is None
