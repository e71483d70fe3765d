"""Masks and learning-rate multipliers from the table of parameters."""

import jax
import pytest

from lmhp.errors import ConfigError
from lmhp.hypers import split
from lmhp.optim.config import OptimizerConfig
from lmhp.optim.masks import decay_mask, frozen_mask, param_tree
from lmhp.params import walk_arrays

QUERY = 'decoder/segment_0/attention/query/kernel'
BIAS = 'decoder/segment_0/attention/query/bias'
NORM = 'decoder/segment_0/attention_input_norm/scale'
DOWN = 'decoder/segment_0/feed_forward/down/kernel'


def selected(mask):
  return {path for path, value in walk_arrays(mask) if value}


def test_default_decays_the_same_parameters_as_nanogpt(tree):
  two_dimensional = {
    'embedding/table',
    'positional/table',
    QUERY,
    DOWN,
    'output/kernel',
  }
  assert selected(decay_mask(tree(), OptimizerConfig())) == two_dimensional


@pytest.mark.parametrize(
  'values,expected',
  [
    ({'weight_decay_kinds': ('attention', 'feed_forward')}, {QUERY, DOWN}),
    (
      {'weight_decay_kinds': ('attention',), 'weight_decay_roles': ('weight', 'bias')},
      {QUERY, BIAS},
    ),
    ({'weight_decay_roles': ('scale',)}, {NORM, 'final_norm/scale'}),
    ({'weight_decay_roles': 'table'}, {'embedding/table', 'positional/table'}),
    ({'weight_decay_kinds': ()}, set()),
  ],
)
def test_decay_is_by_kind_and_role(tree, values, expected):
  assert selected(decay_mask(tree(), OptimizerConfig(**values))) == expected


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
def test_freeze_selects_kinds_and_paths(tree, freeze, expected):
  structure, _ = split(OptimizerConfig(freeze=freeze))
  assert selected(frozen_mask(tree(), structure)) == expected


@pytest.mark.parametrize(
  'freeze,message',
  [
    (('atention',), "optimizer.freeze: got 'atention', .*did you mean 'attention'"),
    (('embedding/tabel',), "did you mean 'embedding/table'"),
    (('decoder',), "optimizer.freeze: got 'decoder'"),
    (('**',), r"optimizer.freeze: got \('\*\*',\)"),
  ],
)
def test_freeze_that_selects_nothing_or_everything_is_an_error(tree, freeze, message):
  with pytest.raises(ConfigError, match=message):
    frozen_mask(tree(), OptimizerConfig(freeze=freeze))


def test_a_parameter_that_is_left_out_stays_left_out(tree):
  params = tree()
  params['embedding']['table'] = None
  assert len(jax.tree.leaves(param_tree(params))) == 7
  assert decay_mask(params, OptimizerConfig())['embedding']['table'] is None
