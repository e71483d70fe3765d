"""Attention against loops in float64, for each option by itself and for some together."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.model.batch import Batch
from lmhp.model.transformer import build

B, L, D, H, G, K = 3, 5, 14, 8, 4, 6
TOKENS = jnp.arange(B * L).reshape(B, L)


# --- the reference ------------------------------------------------------------------


def root_mean_square_norm(x):
  """Normalizes the last axis. The models of these tests have no epsilon to speak of."""
  return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True))


def attention_by_loops(x_LD, p, cfg):
  """Attention of one sequence, one query and one head at a time (arXiv:1706.03762)."""
  q, k, v = (project_to_heads(x_LD, p[name], cfg) for name in ('query', 'key', 'value'))
  if cfg.qk_norm in ('head', 'each_head', 'full'):
    q = normalized_heads(q, p['query_norm']['scale'], cfg.qk_norm)
    k = normalized_heads(k, p['key_norm']['scale'], cfg.qk_norm)
  if cfg.clip_qkv:
    q, k, v = (np.clip(x, -cfg.clip_qkv, cfg.clip_qkv) for x in (q, k, v))
  if cfg.position == 'rotary':
    q = rotated(q, cfg)
    k = rotated(k, cfg)
  if cfg.qk_norm == 'l2':
    q = root_mean_square_norm(q)
    k = root_mean_square_norm(k)

  group_size = H // cfg.n_kv_heads
  mixed = np.zeros((L, H, K))
  for i in range(L):
    for h in range(H):
      g = h // group_size
      keys = [
        m for m in range(i + 1) if cfg.windows[0] is None or i - m < cfg.windows[0]
      ]
      weights = np.exp(logits_of(q[i, h], k[keys, g], i - np.array(keys), h, p, cfg))
      sink = np.exp(p['sinks'][h]) if cfg.attention_sinks else 0
      weights = weights / (weights.sum() + sink)
      mixed[i, h] = weights @ v[keys, g]
  output = np.einsum('lhk,hkd->ld', mixed, p['output']['kernel'])
  return output + p['output']['bias'] if cfg.attention_output_bias else output


def project_to_heads(x_LD, p, cfg):
  heads = np.einsum('ld,dhk->lhk', x_LD, p['kernel'])
  return heads + p['bias'] if cfg.qkv_bias else heads


def normalized_heads(x_LHK, scale, qk_norm):
  if qk_norm == 'head':
    return root_mean_square_norm(x_LHK) * scale
  if qk_norm == 'each_head':
    return root_mean_square_norm(x_LHK) * scale.reshape(-1, K)
  flat = x_LHK.reshape(L, -1)
  return (root_mean_square_norm(flat) * scale).reshape(x_LHK.shape)


def logits_of(query, keys, distances, head, p, cfg):
  """Logits of one query and one head, with cap and position bias."""
  logits = keys @ query * cfg.attention_scale
  if cfg.attention_logit_cap:
    logits = cfg.attention_logit_cap * np.tanh(logits / cfg.attention_logit_cap)
  if cfg.position == 'alibi':
    # The slopes of eight heads are 1/2, 1/4, ... 1/256.
    logits = logits - cfg.alibi_scale * 2.0 ** -(head + 1) * distances
  if cfg.position == 't5':
    # Each of these distances has its own bucket.
    logits = logits + p['relative'][distances, head]
  return logits


def rotated(x_LHK, cfg):
  """Multiplies pairs of coordinates by exp(i position frequency) (arXiv:2104.09864 eq. 12)."""
  width = int(K * cfg.rotary_fraction)
  rotated_LHK = x_LHK.copy()
  for i in range(width // 2):
    a, b = (2 * i, 2 * i + 1) if cfg.rotary_interleaved else (i, i + width // 2)
    angles = np.arange(L) * cfg.rotary_base ** (-2 * i / width)
    z = (x_LHK[..., a] + 1j * x_LHK[..., b]) * np.exp(1j * angles)[:, None]
    rotated_LHK[..., a] = z.real
    rotated_LHK[..., b] = z.imag
  return rotated_LHK


# --- tests --------------------------------------------------------------------------


@pytest.mark.parametrize(
  'fields',
  [
    {},
    {'n_kv_heads': 1},
    {'n_kv_heads': 8, 'qkv_bias': True, 'attention_output_bias': True},
    {'attention_sinks': True},
    {'attention_pattern': ('local',), 'sliding_window': 2, 'attention_sinks': True},
    {'qk_norm': 'head', 'rotary_fraction': 0.7},
    {'qk_norm': 'each_head', 'position': 'none'},
    {'qk_norm': 'full', 'rotary_interleaved': True, 'rotary_base': 100.0},
    {'qk_norm': 'l2', 'attention_scale': 1.0},
    {'attention_logit_cap': 0.7, 'position': 'alibi'},
    {'position': 'alibi', 'alibi_scale': 0.4},
    {'position': 't5', 'clip_qkv': 0.5},
    {'position': 'sinusoidal', 'attention_pattern': ('local',), 'sliding_window': 1},
  ],
  ids=str,
)
def test_against_loops(jit, tiny, fill, fields):
  """A model of one layer whose feed-forward part adds zero."""
  cfg = tiny(n_layers=1, norm='rmsnorm', norm_eps=1e-12, final_norm=False, **fields)
  model = build(cfg)
  params = fill(model.shapes, std=0.6)
  layer = params['decoder']['segment_0']
  down = layer['feed_forward']['down']
  down['kernel'] = jnp.zeros_like(down['kernel'])
  features = jit(lambda params: model.features(params, {}, Batch(TOKENS)).x_BLD)(params)

  p = jax.tree.map(lambda x: np.asarray(x[0], np.float64), layer)
  if cfg.position == 't5':
    table = params['decoder']['relative_bias']['table']
    p['attention']['relative'] = np.asarray(table, np.float64)
  table = np.asarray(params['embedding']['table'], np.float64)
  x_BLD = table[np.asarray(TOKENS)]
  if cfg.position == 'sinusoidal':
    angles = np.arange(L)[:, None] / 10_000 ** (np.arange(7) / 6)
    x_BLD = x_BLD + np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)
  for x_LD, features_LD in zip(x_BLD, features):
    h_LD = root_mean_square_norm(x_LD) * p['attention_input_norm']['scale']
    expected = x_LD + attention_by_loops(h_LD, p['attention'], cfg)
    np.testing.assert_allclose(features_LD, expected, rtol=0, atol=2e-5)


def test_the_gradient_against_differences(jit, tiny, fill):
  """The slope along a random direction of all parameters, with many options at once."""
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
  params = fill(model.shapes)
  direction = fill(model.shapes, seed=1)

  def loss(params):
    return jnp.mean(jnp.sin(model.apply(params, TOKENS)))

  gradient = jit(jax.grad(loss))(params)
  products = jax.tree.map(jnp.vdot, gradient, direction)
  slope = float(sum(jax.tree.leaves(products)))

  def loss_at(step):
    return float(jit(loss)(jax.tree.map(lambda p, d: p + step * d, params, direction)))

  difference = (loss_at(2e-3) - loss_at(-2e-3)) / 4e-3
  assert slope == pytest.approx(difference, rel=5e-3)


def with_attention(params, **changes):
  """Returns parameters whose attention has other arrays."""
  layer = params['decoder']['segment_0']
  attention = {**layer['attention'], **changes}
  return {**params, 'decoder': {'segment_0': {**layer, 'attention': attention}}}


def test_a_sink_far_below_the_logits_has_no_effect(jit, tiny, fill):
  model = build(tiny(attention_sinks=True))
  plain = build(tiny())
  params = fill(plain.shapes)
  logits = jit(model.apply)(
    with_attention(params, sinks=jnp.full((2, H), -50.0)), TOKENS
  )
  expected = jit(plain.apply)(params, TOKENS)
  np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)


def test_a_sink_far_above_the_logits_switches_attention_off(jit, tiny, fill):
  model = build(tiny(attention_sinks=True))
  plain = build(tiny())
  params = fill(plain.shapes)
  logits = jit(model.apply)(
    with_attention(params, sinks=jnp.full((2, H), 50.0)), TOKENS
  )
  off = with_attention(params, output={'kernel': jnp.zeros((2, H, K, D))})
  np.testing.assert_allclose(logits, jit(plain.apply)(off, TOKENS), rtol=0, atol=1e-5)


def test_large_logits_and_single_tokens_stay_finite(jit, tiny, fill):
  """Logits of thousands, and documents of one token, forward and backward."""
  model = build(tiny(position='alibi'))
  params = jax.tree.map(lambda x: 30 * x, fill(model.shapes))
  segments = jnp.broadcast_to(jnp.arange(L)[None], (B, L))
  batch = Batch(TOKENS, segments=segments)

  def loss(params):
    return jnp.sum(model.features(params, {}, batch).x_BLD)

  value, gradients = jit(jax.value_and_grad(loss))(params)
  assert math.isfinite(value)
  for gradient in jax.tree.leaves(gradients):
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize('name', ['query', 'key'])
def test_l2_normalizes_the_cross_attention_too(tiny, fill, name):
  """The length of a normalized query or key does not matter."""
  cfg = tiny(architecture='encoder_decoder', qk_norm='l2', norm_eps=1e-12)
  model = build(dataclasses.replace(cfg, dtype='float32'))
  params = fill(model.shapes)
  tokens = jnp.arange(5)[None]
  expected = model.apply(params, tokens, encoder_tokens_BM=tokens[:, ::-1])
  cross_attention = params['decoder']['segment_0']['cross_attention']
  kernel = cross_attention[name]['kernel']
  cross_attention[name]['kernel'] = 3 * kernel
  logits = model.apply(params, tokens, encoder_tokens_BM=tokens[:, ::-1])
  np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)
