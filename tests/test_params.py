"""The leaf table: total, disjoint, and right about each leaf's axes."""

import itertools

import jax
import numpy as np
import pytest

from lmhp.model.config import MIXERS
from lmhp.model.transformer import build
from lmhp.params import (
  KINDS,
  PARAM_TABLE,
  ROLES,
  list_params,
  map_params,
  param_of,
  param_spec_of,
  walk_arrays,
)


class Shape:
  """All that a leaf asks of an array."""

  def __init__(self, *shape):
    self.shape = shape


def test_rows_are_well_formed():
  assert len({row.pattern for row in PARAM_TABLE}) == len(PARAM_TABLE)
  for row in PARAM_TABLE:
    assert row.kind in KINDS and row.role in ROLES
    assert ('>' in row.axes) == (row.role == 'weight'), row
    assert all(len(axis) == 1 for axis in row.axes.split())


def test_every_pattern_is_matched_by_its_own_example_alone():
  """Disjoint: what one row's pattern produces, no other row matches."""
  for row in PARAM_TABLE:
    path = row.pattern.replace('**', 'decoder/segment_0').replace('*', 'decoder')
    assert param_spec_of(path) is row


@pytest.mark.parametrize(
  'path',
  [
    'embedding/tables',
    'decoder/segment_0/attention/query/kernels',
    'output',
    '',
    'decoder/segment_0/attention/query/kernel/extra',
    'attention/query/kernel',
  ],
)
def test_an_unknown_leaf_is_an_error(path):
  with pytest.raises(KeyError, match='matches no row'):
    param_spec_of(path)


def test_a_leaf_of_two_rows_is_an_error(monkeypatch):
  import lmhp.params as module

  monkeypatch.setattr(
    module,
    'PARAM_TABLE',
    PARAM_TABLE + (PARAM_TABLE[0].__class__('embedding/*', 'other', 'table', 'V D'),),
  )
  param_spec_of.cache_clear()
  with pytest.raises(KeyError, match='matches rows embedding/table, embedding'):
    param_spec_of('embedding/table')
  param_spec_of.cache_clear()


def test_a_leaf_of_another_shape_is_an_error():
  with pytest.raises(KeyError, match='has shape'):
    param_of('final_norm/scale', Shape(2, 3, 4))
  with pytest.raises(KeyError, match='has shape'):
    param_of('embedding/table', Shape(31))


def test_axes_have_the_sizes_of_the_config(tiny):
  """Every size differs, so each axis of each leaf can be told by its size, in all kinds of blocks."""
  sizes = dict(N=2, D=14, H=8, G=4, K=6, F=20, V=31, X=10, U=8, L=5 + 2, T=3)
  seen = set()
  for position, placement, qk_norm, (width, projection), (
    architecture,
    transform,
  ) in itertools.product(
    ('learned', 't5'),
    ('sandwich', 'post'),
    ('head', 'full'),
    ((None, 'tokens'), (10, 'tokens'), (10, 'sum')),
    (('decoder', False), ('encoder_decoder', True)),
  ):
    cfg = tiny(
      architecture=architecture,
      position=position,
      norm_placement=placement,
      qk_norm=qk_norm,
      position_offset=2,
      gated=True,
      norm_bias=True,
      qkv_bias=True,
      attention_output_bias=True,
      feed_forward_bias=True,
      head_bias=True,
      attention_sinks=True,
      embedding_norm=True,
      final_norm=True,
      tie_embeddings=False,
      embedding_dim=width,
      relative_buckets=8,
      relative_max_distance=9,
      embedding_projection=projection,
      token_types=3,
      head_transform=transform,
    )
    for leaf in list_params(build(cfg).shapes):
      seen.add(leaf.row.pattern)
      for axis, size in zip(leaf.axes, leaf.shape):
        narrow = ('embedding/table', 'output/kernel')
        if (
          projection == 'sum'
        ):  # what is added before the projection is as narrow as the table
          narrow += (
            'positional/table',
            'token_types/table',
            'embedding_norm/scale',
            'embedding_norm/bias',
          )
        expected = {
          'Q': 6 if qk_norm == 'head' else 48 if 'query' in leaf.path else 24,
          'X': width or 14,
        }
        expected['D'] = 10 if width and leaf.path in narrow else 14
        assert size == (sizes | expected)[axis], leaf
      assert leaf.stacked == ('/segment_0/' in leaf.path)
      assert leaf.size == np.prod(leaf.shape)
  for cfg, size_of in others(tiny):
    for leaf in list_params(build(cfg).shapes):
      seen.add(leaf.row.pattern)
      assert leaf.shape == tuple(size_of(leaf, axis) for axis in leaf.axes), leaf
  assert seen == {row.pattern for row in PARAM_TABLE}


def others(tiny):
  """Models with experts, latent attention and every mixer, and what size an axis of a leaf of theirs has."""
  biases = dict(
    norm_bias=True,
    qkv_bias=True,
    attention_output_bias=True,
    feed_forward_bias=True,
    mixer_bias=True,
  )
  latent = tiny(
    kv_latent_dim=11,
    query_latent_dim=9,
    rotary_head_dim=2,
    value_head_dim=5,
    n_kv_heads=None,
    n_experts=7,
    d_ff_expert=13,
    n_shared_experts=3,
    gated=True,
    router_bias=True,
    router_correction=True,
    **biases,
  )
  plain_query = tiny(
    kv_latent_dim=11, rotary_head_dim=2, value_head_dim=5, n_kv_heads=None
  )
  heads = {
    'key_up': 4,
    'value_up': 5,
    'output': 5,
  }  # a key's part that does not rotate, a value

  def of_latent(leaf, axis):
    module = leaf.path.split('/')[-2]
    special = {
      'C': 9 if 'query' in leaf.path else 11,
      'K': heads.get(module, 6),
      'P': 2,
      'E': 7,
      'F': 39 if 'shared' in leaf.path else 13 if 'experts' in leaf.path else 20,
    }
    return (dict(N=2, D=14, H=8, V=31) | special)[axis]

  yield latent, of_latent
  yield plain_query, of_latent
  for name in MIXERS[1:]:
    gates, channels = (
      {'lstm': 4, 'gru': 3}.get(name),
      12 + 2 * 2 * 9 if name == 'mamba2' else 12,
    )
    sizes = dict(N=2, D=14, I=12, Z=gates, H=4, K=3, Y=18, C=channels, W=5, F=20, V=31)
    yield (
      tiny(
        mixer_pattern=(name,),
        mixer_dim=12,
        mixer_head_dim=3,
        state_dim=9,
        state_groups=2,
        conv_width=5,
        **biases,
      ),
      lambda leaf, axis, sizes=sizes: sizes[axis],
    )


@pytest.mark.parametrize(
  'path, shape, inputs, outputs, fan_in, fan_out',
  [
    ('decoder/segment_0/attention/query/kernel', (2, 14, 8, 6), (1,), (2, 3), 14, 48),
    ('decoder/segment_0/attention/output/kernel', (2, 8, 6, 14), (1, 2), (3,), 48, 14),
    (
      'decoder/attention/output/kernel',
      (8, 6, 14),
      (0, 1),
      (2,),
      48,
      14,
    ),  # a layer that is not stacked
    ('output/kernel', (14, 31), (0,), (1,), 14, 31),
    ('embedding/table', (31, 14), (), (), 1, 1),
    ('final_norm/scale', (14,), (), (), 1, 1),
    ('decoder/segment_0/feed_forward/up/bias', (2, 20), (), (), 1, 1),
  ],
)
def test_fans(path, shape, inputs, outputs, fan_in, fan_out):
  leaf = param_of(path, Shape(*shape))
  assert (leaf.input_axes, leaf.output_axes, leaf.fan_in, leaf.fan_out) == (
    inputs,
    outputs,
    fan_in,
    fan_out,
  )
  assert leaf.layer_axes == tuple(range(len(shape)))[leaf.stacked :]


def test_what_muon_and_gpt2_ask(tiny):
  shapes = build(tiny(tie_embeddings=False, embedding_dim=10, qkv_bias=True)).shapes
  by_path = {leaf.path: leaf for leaf in list_params(shapes)}
  hidden = {
    path.removeprefix('decoder/segment_0/')
    for path, leaf in by_path.items()
    if leaf.is_hidden_matrix
  }
  assert hidden == {
    'attention/query/kernel',
    'attention/key/kernel',
    'attention/value/kernel',
    'attention/output/kernel',
    'feed_forward/up/kernel',
    'feed_forward/down/kernel',
  }
  residual = {
    path.removeprefix('decoder/segment_0/')
    for path, leaf in by_path.items()
    if leaf.row.residual
  }
  assert residual == {'attention/output/kernel', 'feed_forward/down/kernel'}


def test_walk_is_in_jaxs_order_and_leaves_out_none(tiny):
  shapes = build(tiny()).shapes
  flat = jax.tree_util.tree_flatten_with_path(shapes)[0]
  assert [path for path, _ in walk_arrays(shapes)] == [
    jax.tree_util.keystr(p, simple=True, separator='/') for p, _ in flat
  ]
  holed = {'final_norm': {'scale': None}, 'embedding': {'table': Shape(31, 14)}}
  assert [path for path, _ in walk_arrays(holed)] == ['embedding/table']


def test_map_leaves_keeps_the_form():
  tree = {
    'final_norm': {'scale': Shape(14), 'bias': None},
    'embedding': {'table': Shape(31, 14)},
  }
  other = {'final_norm': {'scale': 1, 'bias': 2}, 'embedding': {'table': 3}}
  got = map_params(
    lambda leaf, array, number: (leaf.kind, array.shape, number), tree, other
  )
  assert got == {
    'final_norm': {'scale': ('normalization', (14,), 1), 'bias': None},
    'embedding': {'table': ('embedding', (31, 14), 3)},
  }
  part = map_params(
    lambda leaf, array: leaf.path, {'scale': Shape(14)}, prefix='final_norm'
  )
  assert part == {'scale': 'final_norm/scale'}
