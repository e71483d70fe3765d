"""Positions against transformers, and against complex numbers."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.model.config import ModelConfig
from lmhp.model.positional import (
  RelativeBias,
  alibi_bias,
  alibi_slopes,
  relative_bucket,
  rotary_frequencies,
  rotary_table,
  rotate,
  sinusoids,
)

SCALINGS = {  # ours, theirs
  'none': (dict(), dict(rope_type='default')),
  'linear': (dict(rotary_scaling_factor=3.0), dict(rope_type='linear', factor=3.0)),
  'dynamic': (dict(rotary_scaling_factor=3.0), dict(rope_type='dynamic', factor=3.0)),
  'llama3': (
    dict(rotary_scaling_factor=8.0, rotary_original_max_seq_len=512),
    dict(
      rope_type='llama3',
      factor=8.0,
      low_freq_factor=1.0,
      high_freq_factor=4.0,
      original_max_position_embeddings=512,
    ),
  ),
  'yarn': (
    dict(rotary_scaling_factor=4.0, rotary_original_max_seq_len=512),
    dict(rope_type='yarn', factor=4.0, original_max_position_embeddings=512),
  ),
  'longrope': (
    dict(rotary_original_max_seq_len=512),
    dict(rope_type='longrope', original_max_position_embeddings=512),
  ),
}


@pytest.mark.oracle
@pytest.mark.parametrize('fraction', [1.0, 0.5])
@pytest.mark.parametrize('scaling', [name for name in SCALINGS if name != 'none'])
def test_frequencies_against_transformers(scaling, fraction):
  """Short and long sequences; frequencies within float32, and the factor on queries and keys."""
  from transformers import LlamaConfig
  from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

  ours, theirs = SCALINGS[scaling]
  pairs = int(64 * fraction) // 2
  if scaling == 'longrope':
    short, long = np.linspace(1, 2, pairs).tolist(), np.linspace(3, 9, pairs).tolist()
    ours = ours | dict(rotary_short_factor=tuple(short), rotary_long_factor=tuple(long))
    theirs = theirs | dict(short_factor=short, long_factor=long)
  cfg = ModelConfig(
    d_model=256,
    n_heads=4,
    max_seq_len=2048,
    rotary_base=50_000.0,
    rotary_fraction=fraction,
    rotary_scaling=scaling,
    **ours,
  )
  config = LlamaConfig(
    hidden_size=256,
    num_attention_heads=4,
    max_position_embeddings=2048,
    rope_parameters=dict(theirs, rope_theta=50_000.0, partial_rotary_factor=fraction),
  )
  if scaling == 'longrope':
    config.rope_parameters['factor'] = 4.0
  for length in (100, 512, 513, 2048, 5000):
    expected, factor = ROPE_INIT_FUNCTIONS[scaling](config, None, seq_len=length)
    frequencies, attention_factor = rotary_frequencies(cfg, cfg.rotary_base, length)
    np.testing.assert_allclose(
      frequencies, expected.numpy(), rtol=2e-6, err_msg=str(length)
    )
    assert attention_factor == pytest.approx(factor, rel=1e-6)


def test_frequencies_without_scaling():
  cfg = ModelConfig(d_model=24, n_heads=4, rotary_base=100.0)
  np.testing.assert_allclose(
    rotary_frequencies(cfg, 100.0, 5)[0], [1, 100 ** (-1 / 3), 100 ** (-2 / 3)]
  )
  linear = ModelConfig(
    d_model=24, n_heads=4, rotary_scaling='linear', rotary_scaling_factor=2.0
  )
  np.testing.assert_allclose(
    rotary_frequencies(linear, 100.0, 5)[0] * 2, rotary_frequencies(cfg, 100.0, 5)[0]
  )
  assert (
    rotary_frequencies(linear, 100.0, 5, scaled=False)[0].tolist()
    == rotary_frequencies(cfg, 100.0, 5)[0].tolist()
  )
  factor = ModelConfig(d_model=24, n_heads=4, rotary_attention_factor=1.5)
  assert rotary_frequencies(factor, 100.0, 5)[1] == 1.5


@pytest.mark.parametrize('interleaved', [True, False])
@pytest.mark.parametrize('fraction', [1.0, 0.7])
def test_rotation_is_a_turn_of_complex_numbers(jit, tiny, interleaved, fraction):
  cfg = tiny(
    rotary_fraction=fraction, rotary_interleaved=interleaved, rotary_base=300.0
  )
  x = np.random.default_rng(0).standard_normal((3, 5, 8, 6)).astype(np.float32)
  positions = np.array([[0, 1, 2, 3, 4], [7, 0, 1, 400, 2], [0, 0, 0, 9, 9]])
  got = jit(lambda x, p: rotate(x, *rotary_table(cfg, False, p, 5), interleaved))(
    x, positions
  )
  width = 6 if fraction == 1.0 else 4
  first, second = (
    np.arange(width).reshape(-1, 2).T
    if interleaved
    else np.arange(width).reshape(2, -1)
  )
  expected = x.astype(np.float64)
  for i, (a, b) in enumerate(zip(first, second)):
    z = (x[..., a] + 1j * x[..., b]) * np.exp(
      1j * positions * 300.0 ** (-2 * i / width)
    )[..., None]
    expected[..., a], expected[..., b] = z.real, z.imag
  np.testing.assert_allclose(got, expected, rtol=0, atol=2e-4)
  np.testing.assert_allclose(np.asarray(got)[0, 0], x[0, 0])  # position 0 does not turn
  np.testing.assert_array_equal(np.asarray(got)[..., width:], x[..., width:])


def test_products_depend_on_the_distance_alone(jit, tiny):
  cfg = tiny()
  q, k = np.random.default_rng(0).standard_normal((2, 1, 1, 1, 6)).astype(np.float32)

  @jit
  def product(i, j):
    turned = lambda x, at: rotate(
      x, *rotary_table(cfg, False, at.reshape(1, 1), 5), False
    )
    return jnp.vdot(turned(q, i), turned(k, j))

  near, far = (
    [float(product(jnp.int32(at + gap), jnp.int32(at))) for at in (0, 3, 100)]
    for gap in (0, 5)
  )
  np.testing.assert_allclose(near, near[0], atol=1e-4)
  np.testing.assert_allclose(far, far[0], atol=1e-4)
  assert abs(near[0] - far[0]) > 1e-2


def test_windowed_layers_have_their_own_base_and_may_be_unscaled(jit, tiny):
  """Gemma 3: another base where windowed, and the stretch in global layers alone."""
  cfg = tiny(
    rotary_base=300.0,
    rotary_base_local=50.0,
    rotary_scaling='linear',
    rotary_scaling_factor=8.0,
    rotary_scaling_local=False,
  )
  tables = jit(
    lambda p: (rotary_table(cfg, False, p, 5), rotary_table(cfg, True, p, 5))
  )(jnp.arange(5)[None])
  for (cos, sin), base, stretch in zip(tables, (300.0, 50.0), (8.0, 1.0)):
    angles = np.arange(5)[:, None] * base ** (-np.arange(0, 6, 2) / 6) / stretch
    np.testing.assert_allclose(np.asarray(cos)[0, :, 0], np.cos(angles), atol=1e-6)
    np.testing.assert_allclose(np.asarray(sin)[0, :, 0], np.sin(angles), atol=1e-6)


# --- sinusoids, ALiBi, T5 -------------------------------------------------------------------------------------------


@pytest.mark.oracle
def test_sinusoids_against_transformers(jit):
  from transformers.models.xglm.modeling_xglm import XGLMSinusoidalPositionalEmbedding

  expected = XGLMSinusoidalPositionalEmbedding.get_embedding(40, 14).numpy()
  got = jit(lambda p: sinusoids(p, 14))(jnp.arange(40)[None])
  np.testing.assert_allclose(got[0], expected, rtol=0, atol=5e-6)
  assert jit(lambda p: sinusoids(p, 2))(jnp.arange(3)[None]).shape == (1, 3, 2)


@pytest.mark.oracle
@pytest.mark.parametrize('n_heads', [1, 2, 3, 8, 12, 20, 71, 112])
def test_alibi_against_transformers(n_heads):
  """Up to a number that all keys of a query share, which the softmax does not see."""
  import torch
  from transformers.models.bloom.modeling_bloom import build_alibi_tensor

  slopes = build_alibi_tensor(
    torch.ones(1, 2, dtype=torch.long), n_heads, torch.float32
  )[:, 0, 1].numpy()
  np.testing.assert_allclose(alibi_slopes(n_heads), slopes, rtol=1e-6)
  distance = np.arange(5)[:, None] - np.arange(5)[None]
  bias = np.asarray(alibi_bias(n_heads, jnp.asarray(distance), scale=0.5))
  theirs = 0.5 * slopes[:, None, None] * np.arange(5)[None, None]
  np.testing.assert_allclose(
    bias[0] - bias[0, :, :, :1], theirs + 0 * distance[None], atol=1e-6
  )
  assert np.all(bias[0][:, distance == 0] == 0) and np.all(bias[0][:, distance > 0] < 0)


@pytest.mark.oracle
@pytest.mark.parametrize(
  'buckets, most', [(32, 128), (8, 16), (2, 2), (20, 300), (32, 1000)]
)
def test_buckets_against_transformers(jit, buckets, most):
  import torch
  from transformers.models.t5.modeling_t5 import T5Attention

  distance = np.concatenate([np.arange(-5, 2 * most), [10**4, 10**6]]).astype(np.int32)
  expected = T5Attention._relative_position_bucket(
    -torch.tensor(distance), bidirectional=False, num_buckets=buckets, max_distance=most
  ).numpy()
  got = np.asarray(jit(lambda d: relative_bucket(d, buckets, most))(distance))
  np.testing.assert_array_equal(got, expected)


def test_the_relative_table_stands_by_distance_and_head(jit, tiny):
  table = np.random.default_rng(0).standard_normal((32, 8)).astype(np.float32)
  distance = np.arange(5)[:, None] - np.arange(7)[None] + 2
  got = jit(
    lambda d: RelativeBias(tiny(position='t5')).apply(
      {'params': {'table': jnp.asarray(table)}}, d
    )
  )(distance)
  assert got.shape == (1, 8, 5, 7)
  for (h, i, j), value in np.ndenumerate(got[0]):
    assert (
      value == table[max(distance[i, j], 0), h]
    )  # below 16 each distance is its own bucket


def test_long_positions_keep_their_angles(jit):
  """At position 100,000 float32 angles are off by less than a hundredth of a turn's radius."""
  cfg = ModelConfig(d_model=64, n_heads=1, max_seq_len=131_072)
  cos, _ = jit(lambda p: rotary_table(cfg, False, p, 131_072))(jnp.array([[100_000]]))
  angles = 100_000 * 10_000.0 ** (-np.arange(0, 64, 2) / 64)
  np.testing.assert_allclose(np.ravel(cos), np.cos(angles), atol=0.01)
  assert math.isclose(float(cos[0, 0, 0, -1]), math.cos(angles[-1]), abs_tol=1e-4)
