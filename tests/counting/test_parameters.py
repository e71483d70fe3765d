"""The closed form, the tree, and the arrays themselves count alike."""

import jax
import numpy as np
import pytest

from lmhp.counting.parameters import Count, count, count_tree
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
  """The kind that a path's own names say, without the leaf table."""
  first, *rest = path.split('/')
  if path.startswith('output/project'):
    return 'embedding'  # the way out of a factorized embedding
  if any(name.endswith('_norm') for name in rest):
    return 'normalization'
  if first not in ('decoder', 'encoder'):
    return FIRST_NAMES[first]
  return 'positional' if 'relative_bias' in rest else rest[1].removeprefix('cross_')


@pytest.mark.parametrize('block', range(6))
def test_closed_form_tree_and_shapes_agree(draw, block):
  """300 random configs: by kind, in closed form, by the leaf table, and by the names of the leaves."""
  seen = set()
  for seed in range(50 * block, 50 * (block + 1)):
    cfg = draw(seed)
    shapes = build(cfg).shapes
    by_name = dict.fromkeys(KINDS, 0)
    for path, array in walk_arrays(shapes):
      by_name[kind_by_name(path)] += int(np.prod(array.shape))
    assert count(cfg) == count_tree(shapes), (seed, cfg)
    assert count(cfg).by_kind == by_name, (seed, cfg)
    seen.add(cfg)
  assert len(seen) == 50


def test_a_live_tree_counts_its_arrays(jit, draw):
  cfg = draw(5)
  params = jit(build(cfg).init)(jax.random.key(0), {'init_scale': 1.0})
  assert (
    sum(x.size for x in jax.tree.leaves(params))
    == count_tree(params).total
    == count(cfg).total
  )


def test_conventions():
  counts = Count(
    dict(
      embedding=100,
      positional=20,
      attention=3,
      feed_forward=4,
      normalization=5,
      output=6,
      other=7,
    ),
    2,
  )
  assert counts.total == 145 and counts.active == 143
  assert counts.active_excluding_embedding == 43
  assert counts.non_embedding == 19  # Kaplan: neither tables nor the head


@pytest.mark.parametrize(
  'name, embedding, non_embedding',
  [
    ('bloom-176b', 3_596_615_680, None),  # its card
    ('pythia-410m', None, 302_311_424),  # its card
    ('gemma-2-9b', None, 8_324_201_984),  # arXiv:2408.00118 table 2
  ],
)
def test_published_parts(name, embedding, non_embedding):
  counts = count(preset(name))
  assert embedding in (None, counts.by_kind['embedding'])
  assert non_embedding in (None, counts.non_embedding)


def test_depth_costs_no_time_to_count():
  """Nothing is walked or allocated: a model of a million layers counts at once, exactly."""
  total = lambda n: (
    count(
      ModelConfig(vocab_size=31, d_model=14, n_heads=7, head_dim=6, n_layers=n)
    ).total
  )
  one, small, large = total(1), total(2), total(10**6)
  assert large - small == (10**6 - 2) * (small - one)
