"""Attention against loops in float64, for each option by itself and for some together."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.counting.memory import cache_bytes
from lmhp.model.attention.counts import pair_flops, pairs
from lmhp.model.batch import Batch
from lmhp.model.transformer import build

B, L, D, H, G, K = 3, 5, 14, 8, 4, 6
TOKENS = jnp.arange(B * L).reshape(B, L)


def unit(x):
  """Root mean square 1 (the tests' epsilon is nothing)."""
  return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True))


def by_loops(x_LD, p, cfg):
  """One sequence, one query and one head at a time, after Vaswani et al. (2017) and what each option says of itself."""
  heads = lambda name: (
    np.einsum('ld,dhk->lhk', x_LD, p[name]['kernel'])
    + (p[name]['bias'] if cfg.qkv_bias else 0)
  )
  q, k, v = heads('query'), heads('key'), heads('value')
  if cfg.clip_qkv:
    q, k, v = (np.clip(x, -cfg.clip_qkv, cfg.clip_qkv) for x in (q, k, v))
  if cfg.qk_norm == 'head':
    q, k = unit(q) * p['query_norm']['scale'], unit(k) * p['key_norm']['scale']
  if cfg.qk_norm == 'each_head':
    q, k = (
      unit(x) * p[name]['scale'].reshape(-1, K)
      for x, name in ((q, 'query_norm'), (k, 'key_norm'))
    )
  if cfg.qk_norm == 'full':
    q, k = (
      (unit(x.reshape(L, -1)) * p[name]['scale']).reshape(x.shape)
      for x, name in ((q, 'query_norm'), (k, 'key_norm'))
    )
  if cfg.position == 'rotary':
    q, k = rotated(q, cfg), rotated(k, cfg)
  if cfg.qk_norm == 'l2':
    q, k = unit(q), unit(k)
  mixed = np.zeros((L, H, K))
  for i in range(L):
    for h in range(H):
      g = h // (H // cfg.n_kv_heads)
      keys = [
        m
        for m in range(L)
        if m <= i and (cfg.windows[0] is None or i - m < cfg.windows[0])
      ]
      logits = np.array([q[i, h] @ k[m, g] for m in keys]) * cfg.attention_scale
      if cfg.attention_logit_cap:
        logits = cfg.attention_logit_cap * np.tanh(logits / cfg.attention_logit_cap)
      if cfg.position == 'alibi':
        logits = logits - cfg.alibi_scale * 2.0 ** -(h + 1) * (
          i - np.array(keys)
        )  # eight heads: 1/2, 1/4, ... 1/256
      if cfg.position == 't5':
        logits = (
          logits + p['relative'][i - np.array(keys), h]
        )  # so near that each distance has its bucket
      weights = np.exp(logits)
      weights = weights / (
        weights.sum() + (np.exp(p['sinks'][h]) if cfg.attention_sinks else 0)
      )
      mixed[i, h] = sum(w * v[m, g] for w, m in zip(weights, keys))
  out = np.einsum('lhk,hkd->ld', mixed, p['output']['kernel'])
  return out + p['output']['bias'] if cfg.attention_output_bias else out


def rotated(x, cfg):
  """Pairs of coordinates as complex numbers, turned by position times frequency (arXiv:2104.09864 eq. 12)."""
  width = int(K * cfg.rotary_fraction)
  pairs_of = (
    [(2 * i, 2 * i + 1) for i in range(width // 2)]
    if cfg.rotary_interleaved
    else [(i, i + width // 2) for i in range(width // 2)]
  )
  out = x.copy()
  for i, (a, b) in enumerate(pairs_of):
    turn = np.exp(1j * np.arange(L) * cfg.rotary_base ** (-2 * i / width))[:, None]
    z = (x[..., a] + 1j * x[..., b]) * turn
    out[..., a], out[..., b] = z.real, z.imag
  return out


@pytest.mark.parametrize(
  'fields',
  [
    dict(),
    dict(n_kv_heads=1),
    dict(n_kv_heads=8, qkv_bias=True, attention_output_bias=True),
    dict(attention_sinks=True),
    dict(attention_pattern=('local',), sliding_window=2, attention_sinks=True),
    dict(qk_norm='head', rotary_fraction=0.7),
    dict(qk_norm='each_head', position='none'),
    dict(qk_norm='full', rotary_interleaved=True, rotary_base=100.0),
    dict(qk_norm='l2', attention_scale=1.0),
    dict(attention_logit_cap=0.7, position='alibi'),
    dict(position='alibi', alibi_scale=0.4, attention_logit_cap=None),
    dict(position='t5', clip_qkv=0.5),
    dict(position='sinusoidal', attention_pattern=('local',), sliding_window=1),
  ],
  ids=str,
)
def test_against_loops(jit, tiny, fill, fields):
  """A model of one layer whose feed-forward part adds nothing shows what its attention adds."""
  cfg = tiny(n_layers=1, norm='rmsnorm', norm_eps=1e-12, final_norm=False, **fields)
  model = build(cfg)
  params = fill(model.shapes, std=0.6)
  layer = params['decoder']['segment_0']
  layer['feed_forward']['down']['kernel'] = jnp.zeros_like(
    layer['feed_forward']['down']['kernel']
  )
  got = np.asarray(
    jit(lambda p: model.features(p, {}, Batch(TOKENS))[0])(params), np.float64
  )
  p = jax.tree.map(lambda x: np.asarray(x[0], np.float64), layer)
  if cfg.position == 't5':
    p['attention']['relative'] = np.asarray(
      params['decoder']['relative_bias']['table'], np.float64
    )
  x = np.asarray(params['embedding']['table'], np.float64)[np.asarray(TOKENS)]
  if cfg.position == 'sinusoidal':
    angles = np.arange(L)[:, None] / 10_000 ** (np.arange(7) / 6)
    x = x + np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)
  expected = [
    row + by_loops(unit(row) * p['attention_input_norm']['scale'], p['attention'], cfg)
    for row in x
  ]
  np.testing.assert_allclose(got, expected, rtol=0, atol=2e-5)


def test_gradients_by_differences(jit, tiny, fill):
  """All options at once: the slope along a random direction of every parameter."""
  cfg = tiny(
    qk_norm='head',
    attention_sinks=True,
    attention_logit_cap=2.0,
    qkv_bias=True,
    rotary_fraction=0.7,
    attention_pattern=('local', 'global'),
    sliding_window=3,
    norm_bias=True,
    norm_placement='sandwich',
    gated=True,
  )
  model = build(cfg)
  params, step = fill(model.shapes), fill(model.shapes, seed=1)
  loss = jit(lambda p: jnp.mean(jnp.sin(model.apply(p, TOKENS))))
  slope = jit(
    lambda p, d: sum(
      jnp.vdot(g, x)
      for g, x in zip(
        jax.tree.leaves(
          jax.grad(lambda p: jnp.mean(jnp.sin(model.apply(p, TOKENS))))(p)
        ),
        jax.tree.leaves(d),
      )
    )
  )
  move = lambda eps: jax.tree.map(lambda p, d: p + eps * d, params, step)
  difference = (float(loss(move(2e-3))) - float(loss(move(-2e-3)))) / 4e-3
  assert float(slope(params, step)) == pytest.approx(difference, rel=5e-3)


def test_a_sink_takes_weight_and_gives_nothing(jit, tiny, fill):
  """With sinks far below the logits attention is as without them; far above, it adds nothing."""
  model, plain = build(tiny(attention_sinks=True)), build(tiny())
  params = fill(plain.shapes)
  with_sinks = lambda level: {
    **params,
    'decoder': {
      'segment_0': {
        **params['decoder']['segment_0'],
        'attention': {
          **params['decoder']['segment_0']['attention'],
          'sinks': jnp.full((2, H), level),
        },
      }
    },
  }
  run = jit(lambda p: model.apply(p, TOKENS))
  np.testing.assert_allclose(
    run(with_sinks(-50.0)), jit(plain.apply)(params, TOKENS), rtol=0, atol=1e-5
  )
  off = {**params, 'decoder': {'segment_0': {**params['decoder']['segment_0']}}}
  off['decoder']['segment_0']['attention'] = {
    **params['decoder']['segment_0']['attention'],
    'output': {'kernel': jnp.zeros((2, H, K, D))},
  }
  np.testing.assert_allclose(
    run(with_sinks(50.0)), jit(plain.apply)(off, TOKENS), rtol=0, atol=1e-5
  )


def test_large_logits_and_padding_stay_finite(jit, tiny, fill):
  """A token that sees itself alone, logits of thousands: no NaN, forward or backward."""
  model = build(tiny(position='alibi'))
  params = jax.tree.map(lambda x: 30 * x, fill(model.shapes))
  batch = Batch(
    TOKENS, segments=jnp.broadcast_to(jnp.arange(L)[None], (B, L))
  )  # every token a document
  value, gradients = jit(
    jax.value_and_grad(lambda p: jnp.sum(model.features(p, {}, batch)[0]))
  )(params)
  assert math.isfinite(value) and all(
    np.all(np.isfinite(g)) for g in jax.tree.leaves(gradients)
  )


def test_counts_of_pairs_and_cache(tiny):
  """By hand: multiply and add, 8 heads, 6 for the logit, 6 for the value; 2 layers, key and value, 4 x 6 x 2 bytes."""
  assert pair_flops(tiny()) == 192
  assert (
    pairs(5, None, True) == 15 and pairs(5, 2, True) == 9 and pairs(5, 2, False) == 25
  )
  assert (
    cache_bytes(tiny(), 7) == 7 * 192
    and cache_bytes(tiny(), 7, bytes_per_number=4) == 2 * 7 * 192
  )
