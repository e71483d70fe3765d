"""The table of parameter specifications: total, disjoint, and right about the axes."""

from collections.abc import Callable
import dataclasses
import itertools

import jax
import numpy as np
import pytest

from lmhp import params as params_module
from lmhp.model.config import ModelConfig
from lmhp.model.mixers.registry import MIXERS
from lmhp.model.transformer import build
from lmhp.params import (
  PARAM_TABLE,
  Param,
  ParamSpec,
  linear_specs,
  list_params,
  map_params,
  norm_specs,
  param_of,
  param_spec_of,
  register_params,
  walk_arrays,
)


class Shape:
  """The part of an array's interface that a parameter reads."""

  def __init__(self, *shape: int):
    self.shape = shape


@pytest.fixture
def table(monkeypatch):
  """The table as a copy that a test may change."""
  copy = list(PARAM_TABLE)
  monkeypatch.setattr(params_module, 'PARAM_TABLE', copy)
  param_spec_of.cache_clear()
  yield copy
  param_spec_of.cache_clear()


# --- specifications -----------------------------------------------------------------


@pytest.mark.parametrize(
  'change',
  [
    {'kind': 'convolution'},
    {'role': 'gain'},
    {'axes': 'D F'},
    {'axes': 'DD > F'},
    {'role': 'bias'},
  ],
  ids=[
    'kind',
    'role',
    'no contracted axes',
    'two letters',
    'contracted axes of a bias',
  ],
)
def test_a_malformed_specification_is_an_error(change):
  spec = ParamSpec('**/feed_forward/up/kernel', 'feed_forward', 'weight', 'D > F')
  with pytest.raises(ValueError, match='expected'):
    dataclasses.replace(spec, **change)


@pytest.mark.parametrize(
  'axes, bias_axes',
  [
    ('D > H K', 'H K'),
    ('H K > D', 'D'),
    ('E | D > F', 'E | F'),
    ('H | K > K', 'H | K'),
  ],
)
def test_a_linear_map_has_a_bias_for_each_copied_and_produced_axis(axes, bias_axes):
  kernel, bias = linear_specs('**/part/map', 'other', axes, residual=True)
  assert kernel == ParamSpec('**/part/map/kernel', 'other', 'weight', axes, True)
  assert bias == ParamSpec('**/part/map/bias', 'other', 'bias', bias_axes)


def test_a_normalization_has_a_scale_and_a_bias():
  scale, bias = norm_specs('**/part/norm', 'D')
  assert scale == ParamSpec('**/part/norm/scale', 'normalization', 'scale', 'D')
  assert bias == ParamSpec('**/part/norm/bias', 'normalization', 'bias', 'D')


# --- the table ----------------------------------------------------------------------


def test_patterns_are_disjoint():
  """The path that a pattern produces is matched by no other row."""
  for spec in PARAM_TABLE:
    path = spec.pattern.replace('**', 'decoder/segment_0').replace('*', 'decoder')
    assert param_spec_of(path) is spec


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
def test_an_unknown_parameter_is_an_error(path):
  with pytest.raises(KeyError, match='matches 0 specifications'):
    param_spec_of(path)


def test_a_parameter_that_two_rows_match_is_an_error(table):
  register_params([ParamSpec('embedding/*', 'other', 'table', 'V D')])
  with pytest.raises(
    KeyError, match=r'2 specifications \(embedding/table, embedding/\*'
  ):
    param_spec_of('embedding/table')


def test_registered_parameters_are_found(table):
  path = 'decoder/segment_0/toy/gain'
  with pytest.raises(KeyError):
    param_spec_of(path)
  spec = ParamSpec('**/toy/gain', 'other', 'scale', 'D')
  register_params([spec])
  assert param_spec_of(path) is spec


def test_a_specification_can_be_registered_twice_but_not_changed(table):
  spec = ParamSpec('**/toy/gain', 'other', 'scale', 'D')
  register_params([spec])
  register_params([spec])
  assert table.count(spec) == 1
  with pytest.raises(ValueError, match='toy/gain'):
    register_params([dataclasses.replace(spec, axes='F')])


@pytest.mark.parametrize(
  'path, shape',
  [('final_norm/scale', (2, 3, 4)), ('embedding/table', (31,))],
)
def test_a_parameter_with_another_number_of_axes_is_an_error(path, shape):
  with pytest.raises(KeyError, match='has shape'):
    param_of(path, Shape(*shape))


# --- axes of all models -------------------------------------------------------------

BIASES = {
  'norm_bias': True,
  'qkv_bias': True,
  'attention_output_bias': True,
  'feed_forward_bias': True,
}

AxisSize = Callable[[Param, str], int]
"""Returns the expected size of one axis of a parameter."""


def models_with_attention(tiny) -> list[tuple[ModelConfig, AxisSize]]:
  """Decoders and encoder-decoders in which each size is used once."""
  positions = ('learned', 't5')
  placements = ('sandwich', 'post')
  qk_norms = ('head', 'full')
  embeddings = ((None, 'tokens'), (10, 'tokens'), (10, 'sum'))
  architectures = (('decoder', False), ('encoder_decoder', True))
  models = []
  for position, placement, qk_norm, embedding, architecture in itertools.product(
    positions, placements, qk_norms, embeddings, architectures
  ):
    cfg = tiny(
      architecture=architecture[0],
      head_transform=architecture[1],
      position=position,
      norm_placement=placement,
      qk_norm=qk_norm,
      embedding_dim=embedding[0],
      embedding_projection=embedding[1],
      position_offset=2,
      gated=True,
      head_bias=True,
      attention_sinks=True,
      embedding_norm=True,
      final_norm=True,
      tie_embeddings=False,
      relative_buckets=8,
      relative_max_distance=9,
      token_types=3,
      **BIASES,
    )
    models.append((cfg, axis_size_with_attention(cfg)))
  return models


def axis_size_with_attention(cfg: ModelConfig) -> AxisSize:
  # Tables, and what is added before the projection, are as narrow as the embedding.
  narrow = {'embedding/table', 'output/kernel'}
  if cfg.embedding_projection == 'sum':
    narrow |= {
      'positional/table',
      'token_types/table',
      'embedding_norm/scale',
      'embedding_norm/bias',
    }

  def axis_size(param: Param, axis: str) -> int:
    if axis == 'D' and param.path in narrow:
      return cfg.embedding_dim
    if axis == 'Q':
      width = 48 if 'query' in param.path else 24
      return 6 if cfg.qk_norm == 'head' else width
    if axis == 'X':
      return cfg.embedding_dim
    sizes = {'N': 2, 'D': 14, 'H': 8, 'G': 4, 'K': 6, 'F': 20, 'V': 31}
    return {**sizes, 'U': 8, 'L': 5 + 2, 'T': 3}[axis]

  return axis_size


def models_with_latent_attention(tiny) -> list[tuple[ModelConfig, AxisSize]]:
  """Latent attention with and without a latent of the queries, the former with experts."""
  sizes = {
    'kv_latent_dim': 11,
    'rotary_head_dim': 2,
    'value_head_dim': 5,
    'n_kv_heads': None,
  }
  with_experts = tiny(
    query_latent_dim=9,
    n_experts=7,
    d_ff_expert=13,
    n_shared_experts=3,
    gated=True,
    router_bias=True,
    router_correction=True,
    **sizes,
    **BIASES,
  )
  # Size of a key's part that does not rotate, and of a value.
  head_sizes = {'key_up': 4, 'value_up': 5, 'output': 5}

  def axis_size(param: Param, axis: str) -> int:
    module = param.path.split('/')[-2]
    if axis == 'C':
      return 9 if 'query' in param.path else 11
    if axis == 'K':
      return head_sizes.get(module, 6)
    if axis == 'F':
      widths = {'shared': 3 * 13, 'experts': 13, 'feed_forward': 20}
      return next(n for name, n in widths.items() if f'/{name}/' in param.path)
    return {'N': 2, 'D': 14, 'H': 8, 'V': 31, 'P': 2, 'E': 7}[axis]

  return [(with_experts, axis_size), (tiny(**sizes), axis_size)]


def models_with_other_mixers(tiny) -> list[tuple[ModelConfig, AxisSize]]:
  """A model for each mixer of lmhp other than attention."""
  models = []
  for mixer in MIXERS:
    is_built_in = MIXERS.module_of(mixer).startswith('lmhp.')
    if mixer == 'attention' or not is_built_in:
      continue
    cfg = tiny(
      mixer_pattern=(mixer,),
      mixer_dim=12,
      mixer_head_dim=3,
      state_dim=9,
      state_groups=2,
      conv_width=5,
      mixer_bias=True,
      **BIASES,
    )
    models.append((cfg, axis_size_of_mixer(mixer)))
  return models


def axis_size_of_mixer(mixer: str) -> AxisSize:
  sizes = {'N': 2, 'D': 14, 'I': 12, 'H': 4, 'K': 3, 'Y': 18, 'W': 5, 'F': 20, 'V': 31}
  sizes['C'] = 12 + 2 * 2 * 9 if mixer == 'mamba2' else 12
  if mixer in ('lstm', 'gru'):
    sizes['Z'] = {'lstm': 4, 'gru': 3}[mixer]
  return lambda param, axis: sizes[axis]


@pytest.mark.slow
def test_axes_have_the_sizes_of_the_config(tiny):
  """Together the models use each row of the table. Sizes differ, so they identify an axis."""
  models = [
    *models_with_attention(tiny),
    *models_with_latent_attention(tiny),
    *models_with_other_mixers(tiny),
  ]
  patterns = set()
  for cfg, axis_size in models:
    for param in list_params(build(cfg).shapes):
      patterns.add(param.spec.pattern)
      assert param.shape == tuple(axis_size(param, axis) for axis in param.axes), param
      assert param.is_stacked == ('/segment_0/' in param.path)
      assert param.size == np.prod(param.shape)
  # Other tests register rows of their own, for a mixer called toy.
  assert patterns == {spec.pattern for spec in PARAM_TABLE if 'toy' not in spec.pattern}


@pytest.mark.parametrize(
  'path, shape, input_axes, output_axes, fan_in, fan_out',
  [
    ('decoder/segment_0/attention/query/kernel', (2, 14, 8, 6), (1,), (2, 3), 14, 48),
    ('decoder/segment_0/attention/output/kernel', (2, 8, 6, 14), (1, 2), (3,), 48, 14),
    # A layer that is not stacked.
    ('decoder/attention/output/kernel', (8, 6, 14), (0, 1), (2,), 48, 14),
    ('output/kernel', (14, 31), (0,), (1,), 14, 31),
    ('embedding/table', (31, 14), (), (), 1, 1),
    ('final_norm/scale', (14,), (), (), 1, 1),
    ('decoder/segment_0/feed_forward/up/bias', (2, 20), (), (), 1, 1),
  ],
)
def test_fans(path, shape, input_axes, output_axes, fan_in, fan_out):
  param = param_of(path, Shape(*shape))
  assert param.input_axes == input_axes
  assert param.output_axes == output_axes
  assert (param.fan_in, param.fan_out) == (fan_in, fan_out)


def test_hidden_matrices_and_residual_outputs(tiny):
  """Muon orthogonalizes the former. GPT-2's initialization scales the latter."""
  model = build(tiny(tie_embeddings=False, embedding_dim=10, qkv_bias=True))
  hidden = set()
  residual = set()
  for param in list_params(model.shapes):
    name = param.path.removeprefix('decoder/segment_0/')
    if param.is_hidden_matrix:
      hidden.add(name)
    if param.spec.residual:
      residual.add(name)
  assert hidden == {
    'attention/query/kernel',
    'attention/key/kernel',
    'attention/value/kernel',
    'attention/output/kernel',
    'feed_forward/up/kernel',
    'feed_forward/down/kernel',
  }
  assert residual == {'attention/output/kernel', 'feed_forward/down/kernel'}


# --- trees --------------------------------------------------------------------------


def test_arrays_are_walked_in_the_order_of_jax(tiny):
  shapes = build(tiny()).shapes
  expected = [
    jax.tree_util.keystr(path, simple=True, separator='/')
    for path, _ in jax.tree_util.tree_flatten_with_path(shapes)[0]
  ]
  assert [path for path, _ in walk_arrays(shapes)] == expected


def test_walk_leaves_out_none():
  tree = {'final_norm': {'scale': None}, 'embedding': {'table': Shape(31, 14)}}
  assert [path for path, _ in walk_arrays(tree)] == ['embedding/table']


def test_map_params_keeps_the_structure():
  tree = {
    'final_norm': {'scale': Shape(14), 'bias': None},
    'embedding': {'table': Shape(31, 14)},
  }
  other = {'final_norm': {'scale': 1, 'bias': 2}, 'embedding': {'table': 3}}
  mapped = map_params(
    lambda param, array, number: (param.kind, array.shape, number), tree, other
  )
  assert mapped == {
    'final_norm': {'scale': ('normalization', (14,), 1), 'bias': None},
    'embedding': {'table': ('embedding', (31, 14), 3)},
  }


def test_map_params_of_a_part_of_the_tree():
  part = {'scale': Shape(14)}
  mapped = map_params(lambda param, array: param.path, part, prefix='final_norm')
  assert mapped == {'scale': 'final_norm/scale'}
