"""Decoding with a cache against one pass over the whole sequence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.model.batch import Batch
from lmhp.model.config import POSITIONS
from lmhp.model.transformer import build

B, L, M = 3, 5, 7
TOKENS = jnp.arange(B * L).reshape(B, L)
ENCODER_TOKENS = 30 - jnp.arange(B * M).reshape(B, M)
STRUCTURES = {
  **{position: {'position': position} for position in POSITIONS},
  'windowed': {
    'attention_pattern': ('local',),
    'sliding_window': 2,
    'n_kv_heads': 1,
  },
  'alternating': {
    'attention_pattern': ('local', 'global'),
    'sliding_window': 2,
    'no_position_every': 2,
    'n_kv_heads': None,
    'rotary_base_local': 50.0,
    'attention_sinks': True,
  },
  'post': {
    'position': 'alibi',
    'norm_placement': 'post',
    'qk_norm': 'l2',
    'attention_pattern': ('global', 'local'),
    'sliding_window': 3,
  },
  'latent': {
    'kv_latent_dim': 11,
    'query_latent_dim': 9,
    'rotary_head_dim': 2,
    'value_head_dim': 5,
    'n_kv_heads': None,
  },
  'first layer without a normalization': {
    'n_layers': 4,
    'first_attention_norm': False,
  },
}


def assert_decodes(jit, model, params, first, whole, tolerance):
  """Checks features of the first tokens at once, and of each later token by itself.

  Args:
    jit: `jax.jit`, as the fixture gives it.
    model: Network.
    params: Parameters.
    first: Batch of the first tokens.
    whole: (B, L, D), features of one pass.
    tolerance: Largest absolute error.
  """
  n_first = first.tokens.shape[1]
  n_encoder = 0 if first.encoder_tokens is None else M
  # The cache has room for more tokens than are written.
  empty = model.init_cache(B, L + 2, n_encoder)

  @jit
  def decode(params):
    start = model.features(params, {}, first, cache=empty)

    def step(cache, token_B):
      x_B1D, _, cache = model.features(params, {}, Batch(token_B[:, None]), cache=cache)
      return cache, x_B1D[:, 0]

    cache, rest = jax.lax.scan(step, start.cache, TOKENS[:, n_first:].T)
    decoded = jnp.concatenate([start.x_BLD, jnp.swapaxes(rest, 0, 1)], axis=1)
    return decoded, cache.length

  decoded, length = decode(params)
  assert length == L
  np.testing.assert_allclose(decoded, whole, rtol=0, atol=tolerance)


@pytest.mark.parametrize('name', STRUCTURES)
def test_decoder(jit, tiny, fill, name):
  model = build(tiny(**STRUCTURES[name]))
  params = fill(model.shapes)
  whole = jit(lambda params: model.features(params, {}, Batch(TOKENS)).x_BLD)(params)
  tolerance = 2e-6 * float(jnp.max(jnp.abs(whole)))
  assert_decodes(jit, model, params, Batch(TOKENS[:, :2]), whole, tolerance)


WINDOWED = {
  'all layers': {'attention_pattern': ('local',), 'sliding_window': 2},
  'long window': {'attention_pattern': ('local', 'global'), 'sliding_window': 4},
  'pattern': {
    'attention_pattern': ('local', 'local', 'global'),
    'sliding_window': 3,
    'position': 't5',
    'relative_buckets': 8,
    'relative_max_distance': 9,
  },
  'chunks': {'attention_pattern': ('local', 'global'), 'attention_chunk': 3},
  'latent': {
    'attention_pattern': ('global', 'local'),
    'sliding_window': 2,
    'kv_latent_dim': 11,
    'rotary_head_dim': 2,
    'n_kv_heads': None,
  },
  'shared': {
    'attention_pattern': ('local', 'global'),
    'sliding_window': 2,
    'share_layers': True,
  },
  'two segments': {
    'attention_pattern': ('local', 'global'),
    'sliding_window': 2,
    'first_attention_norm': False,
  },
  'beside a recurrence': {
    'attention_pattern': ('local',),
    'sliding_window': 2,
    'mixer_pattern': ('mingru', 'attention'),
  },
}


@pytest.mark.parametrize('n_first', [1, 2, 4])
@pytest.mark.parametrize('name', WINDOWED)
def test_windowed_caches(jit, tiny, fill, name, n_first):
  model = build(tiny(n_layers=5, **WINDOWED[name]))
  params = fill(model.shapes)
  whole = jit(lambda params: model.features(params, {}, Batch(TOKENS)).x_BLD)(params)
  tolerance = 2e-6 * float(jnp.max(jnp.abs(whole)))
  assert_decodes(jit, model, params, Batch(TOKENS[:, :n_first]), whole, tolerance)


def test_several_tokens_follow_those_in_windowed_caches(jit, tiny, fill):
  model = build(tiny(n_layers=3, **WINDOWED['pattern']))
  params = fill(model.shapes)
  whole = jit(lambda params: model.features(params, {}, Batch(TOKENS)).x_BLD)(params)

  @jit
  def decode(params):
    cache = model.init_cache(B, L)
    parts = []
    for part in (TOKENS[:, :1], TOKENS[:, 1:3], TOKENS[:, 3:]):
      features = model.features(params, {}, Batch(part), cache=cache)
      cache = features.cache
      parts.append(features.x_BLD)
    return jnp.concatenate(parts, axis=1)

  np.testing.assert_allclose(decode(params), whole, rtol=0, atol=2e-5)


def test_decoder_with_a_prefix(jit, tiny, fill):
  model = build(tiny(prefix_lm=True))
  params = fill(model.shapes)
  lengths = jnp.full(B, 3)
  batch = Batch(TOKENS, prefix_lengths=lengths)
  whole = jit(lambda params: model.features(params, {}, batch).x_BLD)(params)
  first = Batch(TOKENS[:, :3], prefix_lengths=lengths)
  assert_decodes(jit, model, params, first, whole, tolerance=2e-5)


@pytest.mark.parametrize('position', ['t5', 'rotary', 'learned'])
@pytest.mark.parametrize(
  'fields',
  [
    {},
    {'norm_placement': 'post', 'qk_norm': 'head', 'attention_sinks': True},
    {'share_layers': True, 'n_kv_heads': 2},
  ],
  ids=str,
)
def test_encoder_decoder(jit, tiny, fill, position, fields):
  """The encoder runs with the first tokens. Later steps read its keys in the cache."""
  cfg = tiny(
    architecture='encoder_decoder',
    n_encoder_layers=3,
    max_seq_len=M,
    relative_buckets=8,
    relative_max_distance=9,
    position=position,
    **fields,
  )
  model = build(cfg)
  params = fill(model.shapes)
  is_real = np.arange(M)[None] < np.array([[7], [5], [2]])
  encoder = {
    'encoder_tokens': ENCODER_TOKENS,
    'encoder_weights': jnp.asarray(is_real, jnp.float32),
  }
  batch = Batch(TOKENS, **encoder)
  whole = jit(lambda params: model.features(params, {}, batch).x_BLD)(params)
  first = Batch(TOKENS[:, :2], **encoder)
  assert_decodes(jit, model, params, first, whole, tolerance=2e-5)


def test_init_cache(tiny):
  cache = build(tiny()).init_cache(B, 7)
  keys_and_values = cache.segments['segment_0'].mixer
  assert [x.shape for x in keys_and_values] == [(2, B, 7, 4, 6)] * 2
  assert cache.length == 0
  assert not any(np.any(x) for x in keys_and_values)
