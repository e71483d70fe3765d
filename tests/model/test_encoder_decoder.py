"""Encoder-decoders and prefixes: who sees whom, the cache, shared layers, unlike depths, and FLOPs of unlike lengths."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced_counts import count_tree, traced_flops

from lmhp.counting.flops import encoder_decoder_flops
from lmhp.counting.parameters import count
from lmhp.errors import ConfigError
from lmhp.model.batch import Batch
from lmhp.model.transformer import build

B, L, M = 3, 5, 7
TOKENS, SOURCE = (
  jnp.arange(B * L).reshape(B, L),
  31 - 1 - jnp.arange(B * M).reshape(B, M),
)
T5 = dict(
  architecture='encoder_decoder',
  n_encoder_layers=3,
  max_seq_len=M,
  relative_buckets=8,
  relative_max_distance=9,
)


def reach(jit, model, params, batch, rows):
  """For each position of the decoder, whether its features hang on each row of the embedding."""

  def features(table):
    return jnp.sum(
      model.features({**params, 'embedding': {'table': table}}, {}, batch)[0], axis=-1
    ).reshape(-1)

  gradient = jit(jax.jacrev(features))(params['embedding']['table'])
  return np.abs(gradient[:, np.asarray(rows)]).max(-1) > 1e-6


@pytest.mark.parametrize('position', ['t5', 'rotary', 'learned', 'alibi'])
def test_a_token_sees_all_of_the_source_and_what_was_written(jit, tiny, fill, position):
  """A vocabulary in which no token of the source is one of the target, so that a row is a place."""
  model = build(tiny(**T5 | dict(position=position, vocab_size=40)))
  params = fill(model.shapes)
  tokens, source = jnp.arange(L)[None], 20 + jnp.arange(M)[None]
  seen = reach(jit, model, params, Batch(tokens, encoder_tokens=source), np.arange(L))
  np.testing.assert_array_equal(seen, np.tri(L, dtype=bool))
  assert reach(
    jit, model, params, Batch(tokens, encoder_tokens=source), 20 + np.arange(M)
  ).all()
  padded = Batch(
    tokens, encoder_tokens=source, encoder_weights=jnp.asarray([[1.0] * 4 + [0.0] * 3])
  )
  np.testing.assert_array_equal(
    reach(jit, model, params, padded, 20 + np.arange(M)),
    np.broadcast_to(np.arange(M) < 4, (L, M)),
  )


@pytest.mark.parametrize('position', ['t5', 'rotary', 'learned'])
@pytest.mark.parametrize(
  'fields',
  [
    dict(),
    dict(norm_placement='post', qk_norm='head', attention_sinks=True),
    dict(share_layers=True, n_kv_heads=2),
  ],
)
def test_token_by_token_as_all_at_once(jit, tiny, fill, position, fields):
  """The encoder's keys and values are made once, with the first tokens, and kept."""
  model = build(tiny(**T5 | dict(position=position) | fields))
  params = fill(model.shapes)
  weights = jnp.asarray(np.arange(M)[None] < np.array([[7], [5], [2]]), jnp.float32)
  whole, _, _ = model.features(
    params, {}, Batch(TOKENS, encoder_tokens=SOURCE, encoder_weights=weights)
  )
  cache = model.init_cache(B, L, M)
  x_BLD, _, cache = model.features(
    params,
    {},
    Batch(TOKENS[:, :2], encoder_tokens=SOURCE, encoder_weights=weights),
    cache=cache,
  )
  np.testing.assert_allclose(x_BLD, whole[:, :2], atol=2e-5)
  step = jit(
    lambda cache, token: model.features(params, {}, Batch(token), cache=cache)[::2]
  )
  for t in range(2, L):
    x_BLD, cache = step(cache, TOKENS[:, t : t + 1])
    np.testing.assert_allclose(x_BLD[:, 0], whole[:, t], atol=2e-5)


@pytest.mark.parametrize(
  'fields',
  [
    dict(),
    dict(share_layers=True),
    dict(embedding_dim=10, head_transform=True),
    dict(embedding_dim=10, token_types=2, gated=True),
  ],
)
def test_unrolled_recomputed_and_counted(jit, tiny, fill, fields):
  model = build(tiny(**T5 | dict(position='t5') | fields))
  params = fill(model.shapes)
  assert count(model.cfg).by_kind == count_tree(params).by_kind
  apply = lambda m: jit(lambda p: m.apply(p, TOKENS, encoder_tokens_BM=SOURCE))(params)
  whole = apply(model)
  for other in (dict(scan_layers=False), dict(remat='full')):
    np.testing.assert_allclose(
      apply(build(dataclasses.replace(model.cfg, **other))), whole, atol=2e-5
    )
  traced = traced_flops(
    lambda p: model.apply(p, TOKENS, encoder_tokens_BM=SOURCE), params
  )
  assert traced == B * encoder_decoder_flops(model.cfg, L, M, causal=False)


@pytest.mark.parametrize('position', ['t5', 'rotary', 'learned', 'alibi', 'none'])
def test_a_prefix_is_seen_from_both_sides(jit, tiny, fill, position):
  model = build(
    tiny(prefix_lm=True, position=position, relative_buckets=8, relative_max_distance=9)
  )
  params = fill(model.shapes)
  i, j = np.indices((L, L))
  for length in (1, 3, 5):
    seen = reach(
      jit,
      model,
      params,
      Batch(jnp.arange(L)[None], prefix_lengths=jnp.asarray([length])),
      np.arange(L),
    )
    np.testing.assert_array_equal(seen, (j <= i) | (j < length))
  np.testing.assert_array_equal(
    reach(jit, model, params, Batch(jnp.arange(L)[None]), np.arange(L)), j <= i
  )


def test_a_prefix_in_a_cache(jit, tiny, fill):
  """The beginning is read at once and from both sides; what follows comes token by token."""
  model = build(tiny(prefix_lm=True))
  params = fill(model.shapes)
  whole, _, _ = model.features(params, {}, Batch(TOKENS, prefix_lengths=jnp.full(B, 3)))
  x_BLD, _, cache = model.features(
    params,
    {},
    Batch(TOKENS[:, :3], prefix_lengths=jnp.full(B, 3)),
    cache=model.init_cache(B, L),
  )
  np.testing.assert_allclose(x_BLD, whole[:, :3], atol=2e-5)
  for t in range(3, L):
    x_BLD, _, cache = model.features(
      params, {}, Batch(TOKENS[:, t : t + 1]), cache=cache
    )
    np.testing.assert_allclose(x_BLD[:, 0], whole[:, t], atol=2e-5)


@pytest.mark.parametrize(
  'fields, said',
  [
    (dict(T5, parallel_residual=True), 'model.parallel_residual'),
    (
      dict(T5, prefix_lm=True),
      'model.prefix_lm: got True, expected False unless model.architecture is decoder',
    ),
    (dict(n_encoder_layers=2), 'model.n_encoder_layers: got 2, expected None unless'),
    (
      dict(T5, position='t5', relative_buckets=6),
      'model.relative_buckets: got 6, expected a multiple of 4',
    ),
  ],
)
def test_what_does_not_fit_is_one_line(tiny, fields, said):
  with pytest.raises(ConfigError, match=said):
    tiny(**fields)
