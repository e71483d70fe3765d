"""Placements of normalizations, and parallel blocks, in float64.

With one token in a sequence, attention is a linear map, because the token attends to itself
alone. With the identity as activation, the feed-forward part is another linear map.
"""

import itertools

import jax
import numpy as np
import pytest

from lmhp.model.batch import Batch
from lmhp.model.transformer import build

TOKENS = np.array([[3], [30], [0]])


def layer_norm(p, x):
  """Layer normalization with a scale and a bias."""
  x = x - x.mean(-1, keepdims=True)
  return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * p['scale'] + p['bias']


def attention(p, x):
  """Attention of single tokens. Two heads share a value."""
  value = np.einsum('bd,dgk->bgk', x, p['attention']['value']['kernel'])
  return np.einsum(
    'bhk,hkd->bd', value.repeat(2, axis=1), p['attention']['output']['kernel']
  )


def feed_forward(p, x):
  return x @ p['feed_forward']['up']['kernel'] @ p['feed_forward']['down']['kernel']


def branch(part, name, p, x, cfg):
  """The scaled output of a part, with the normalizations around it."""
  if cfg.norm_placement in ('pre', 'sandwich'):
    norm_name = 'attention' if cfg.shared_norm else name
    x = layer_norm(p[f'{norm_name}_input_norm'], x)
  y = part(p, x)
  if cfg.norm_placement in ('output', 'sandwich'):
    y = layer_norm(p[f'{name}_output_norm'], y)
  return cfg.residual_scale * y


def block(p, x, cfg):
  """One layer, as the papers write it."""
  if cfg.parallel_residual:
    mixed = branch(attention, 'attention', p, x, cfg)
    return x + mixed + branch(feed_forward, 'feed_forward', p, x, cfg)
  for part, name in ((attention, 'attention'), (feed_forward, 'feed_forward')):
    x = x + branch(part, name, p, x, cfg)
    if cfg.norm_placement == 'post':
      x = layer_norm(p[f'{name}_residual_norm'], x)
  return x


def possible_blocks():
  """Each placement with each form that it allows."""
  placements = ('pre', 'post', 'sandwich', 'output')
  forms = ('sequential', 'parallel', 'shared')
  for placement, form in itertools.product(placements, forms):
    if placement == 'post' and form != 'sequential':
      continue
    if placement == 'output' and form == 'shared':
      continue
    yield {
      'norm_placement': placement,
      'parallel_residual': form != 'sequential',
      'shared_norm': form == 'shared',
      'residual_scale': 0.3 if placement == 'pre' else 1.0,
    }


@pytest.mark.parametrize('fields', list(possible_blocks()), ids=str)
def test_block_against_float64(jit, tiny, fill, fields):
  cfg = tiny(
    activation='identity', norm_bias=True, final_norm=False, position='none', **fields
  )
  model = build(cfg)
  params = fill(model.shapes)
  features = jit(lambda params: model.features(params, {}, Batch(TOKENS)).x_BLD)(params)

  in_float64 = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
  x = in_float64['embedding']['table'][TOKENS[:, 0]]
  for i in range(cfg.n_layers):
    layer = jax.tree.map(lambda a, i=i: a[i], in_float64['decoder']['segment_0'])
    x = block(layer, x, cfg)
  tolerance = 3e-6 * max(1, np.abs(x).max())
  np.testing.assert_allclose(features[:, 0], x, rtol=0, atol=tolerance)


def test_normalizations_of_the_embedding_and_before_the_head(jit, tiny, fill):
  """If the parts add zero, features are two normalizations of the embedding.

  Positions are added before the first one.
  """
  cfg = tiny(embedding_norm=True, norm_bias=True, position='learned', position_offset=2)
  model = build(cfg)
  params = fill(model.shapes)
  layer = params['decoder']['segment_0']
  for part, name in (('attention', 'output'), ('feed_forward', 'down')):
    layer[part][name]['kernel'] = 0 * layer[part][name]['kernel']
  tokens = np.arange(5)[None]
  features = jit(lambda params: model.features(params, {}, Batch(tokens)).x_BLD)(params)

  p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
  x = p['embedding']['table'][:5] + p['positional']['table'][2:7]
  expected = layer_norm(p['final_norm'], layer_norm(p['embedding_norm'], x))
  np.testing.assert_allclose(features[0], expected, rtol=0, atol=3e-6)
