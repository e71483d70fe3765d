"""The closed form, against the table of parameters, their names, and live arrays."""

import jax
import numpy as np
import pytest
from traced_counts import count_tree

from lmhp.counting.parameters import Count, count
from lmhp.model.config import ModelConfig
from lmhp.model.presets import preset
from lmhp.model.transformer import build
from lmhp.params import KINDS, walk_arrays

FIRST_NAMES = {
  'embedding': 'embedding',
  'positional': 'positional',
  'embedding_norm': 'normalization',
  'token_types': 'embedding',
  'encoder_final_norm': 'normalization',
  'final_norm': 'normalization',
  'output': 'output',
}


def kind_by_name(path):
  """Returns the kind of a parameter by the names in its path, without the table."""
  first, *rest = path.split('/')
  if path.startswith('output/project'):
    return 'embedding'  # projection of a factorized embedding to the output
  if any(name.endswith('_norm') for name in rest):
    return 'normalization'
  if first not in ('decoder', 'encoder'):
    return FIRST_NAMES[first]
  return 'positional' if 'relative_bias' in rest else rest[1].removeprefix('cross_')


@pytest.mark.slow
@pytest.mark.parametrize('block', range(6))
def test_closed_form_table_and_names_agree(draw, block):
  """300 random configs."""
  configs = set()
  for seed in range(50 * block, 50 * (block + 1)):
    cfg = draw(seed)
    shapes = build(cfg).shapes
    by_name = dict.fromkeys(KINDS, 0)
    for path, array in walk_arrays(shapes):
      by_name[kind_by_name(path)] += int(np.prod(array.shape))
    assert count(cfg) == count_tree(shapes), (seed, cfg)
    assert count(cfg).by_kind == by_name, (seed, cfg)
    configs.add(cfg)
  assert len(configs) == 50


def test_live_arrays_have_as_many_elements(jit, draw):
  cfg = draw(5)
  params = jit(build(cfg).init)(jax.random.key(0), {'init_scale': 1.0})
  n_elements = sum(array.size for array in jax.tree.leaves(params))
  assert count_tree(params).total == n_elements
  assert count(cfg).total == n_elements


def test_conventions():
  by_kind = {
    'embedding': 100,
    'positional': 20,
    'attention': 3,
    'feed_forward': 4,
    'normalization': 5,
    'output': 6,
    'other': 7,
  }
  counts = Count(by_kind, inactive=2)
  assert counts.total == 145
  assert counts.active == 143
  assert counts.active_excluding_embedding == 43
  assert counts.non_embedding == 3 + 4 + 5 + 7


@pytest.mark.parametrize(
  'name,embedding,non_embedding',
  [
    ('bloom-176b', 3_596_615_680, None),  # model card
    ('pythia-410m', None, 302_311_424),  # model card
    ('gemma-2-9b', None, 8_324_201_984),  # arXiv:2408.00118 table 2
  ],
)
def test_published_parts(name, embedding, non_embedding):
  counts = count(preset(name))
  assert embedding in (None, counts.by_kind['embedding'])
  assert non_embedding in (None, counts.non_embedding)


def test_a_million_layers_are_counted_exactly_and_at_once():
  def total(n_layers):
    cfg = ModelConfig(
      vocab_size=31, d_model=14, n_heads=7, head_dim=6, n_layers=n_layers
    )
    return count(cfg).total

  per_layer = total(2) - total(1)
  assert total(10**6) - total(2) == (10**6 - 2) * per_layer
