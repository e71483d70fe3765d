"""Placements of the normalizations and ways of adding, in float64.

With one token in a sequence attention is a linear map (it sees itself), and with the identity as activation the
feed-forward part is another; what is left is the block.
"""

import itertools

import jax
import numpy as np
import pytest

from lmhp.errors import ConfigError
from lmhp.model.batch import Batch
from lmhp.model.transformer import build

TOKENS = np.array([[3], [30], [0]])


def norm(p, x):
  """Layer normalization with a scale and a bias."""
  x = x - x.mean(-1, keepdims=True)
  return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * p['scale'] + p['bias']


def block(p, x, cfg):
  """The block as the papers write it."""

  def attention(x):
    value = np.einsum('bd,dgk->bgk', x, p['attention']['value']['kernel']).repeat(
      2, axis=1
    )  # two heads share one
    return np.einsum('bhk,hkd->bd', value, p['attention']['output']['kernel'])

  feed_forward = lambda x: (
    x @ p['feed_forward']['up']['kernel'] @ p['feed_forward']['down']['kernel']
  )
  n = lambda name: lambda x: norm(p[name], x)
  scale, placement = cfg.residual_scale, cfg.norm_placement
  before = [lambda x: x, lambda x: x]
  after = [lambda x: x, lambda x: x]
  if placement in ('pre', 'sandwich'):
    before = [
      n('attention_input_norm'),
      n('attention_input_norm' if cfg.shared_norm else 'feed_forward_input_norm'),
    ]
  if placement in ('output', 'sandwich'):
    after = [n('attention_output_norm'), n('feed_forward_output_norm')]
  attended = lambda x: scale * after[0](attention(before[0](x)))
  fed = lambda x: scale * after[1](feed_forward(before[1](x)))
  if cfg.parallel_residual:
    return x + attended(x) + fed(x)
  if placement == 'post':
    x = norm(p['attention_residual_norm'], x + attended(x))
    return norm(p['feed_forward_residual_norm'], x + fed(x))
  x = x + attended(x)
  return x + fed(x)


CASES = [
  dict(
    norm_placement=placement,
    parallel_residual=parallel,
    shared_norm=shared,
    residual_scale=scale,
  )
  for placement, (parallel, shared), scale in itertools.product(
    ('pre', 'post', 'sandwich', 'output'),
    ((False, False), (True, False), (True, True)),
    (1.0, 0.3),
  )
  if (scale == 1.0) == (placement != 'pre')
]


@pytest.mark.parametrize('fields', CASES, ids=str)
def test_block_against_float64(jit, tiny, fill, fields):
  try:
    cfg = tiny(
      activation='identity', norm_bias=True, final_norm=False, position='none', **fields
    )
  except ConfigError:
    assert fields['parallel_residual'] and fields['norm_placement'] in (
      'post',
      'output',
    )  # said to be impossible
    return
  model = build(cfg)
  params = fill(model.shapes)
  got = jit(lambda p: model.features(p, {}, Batch(TOKENS))[0])(params)
  x = np.asarray(params['embedding']['table'], np.float64)[TOKENS[:, 0]]
  for i in range(2):
    x = block(
      jax.tree.map(
        lambda a: np.asarray(a[i], np.float64), params['decoder']['segment_0']
      ),
      x,
      cfg,
    )
  np.testing.assert_allclose(got[:, 0], x, rtol=0, atol=3e-6 * max(1, np.abs(x).max()))


def test_embedding_norm_and_final_norm_stand_at_the_ends(jit, tiny, fill):
  """With parts that add nothing, features are the two norms of the embedding, positions added before the first."""
  cfg = tiny(embedding_norm=True, norm_bias=True, position='learned', position_offset=2)
  model = build(cfg)
  params = fill(model.shapes)
  layer = params['decoder']['segment_0']
  for part, name in (('attention', 'output'), ('feed_forward', 'down')):
    layer[part][name] = {'kernel': 0 * layer[part][name]['kernel']}
  tokens = np.arange(5)[None]
  got = jit(lambda p: model.features(p, {}, Batch(tokens))[0])(params)
  p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
  x = p['embedding']['table'][:5] + p['positional']['table'][2:7]
  np.testing.assert_allclose(
    got[0], norm(p['final_norm'], norm(p['embedding_norm'], x)), rtol=0, atol=3e-6
  )
