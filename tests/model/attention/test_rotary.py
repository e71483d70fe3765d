"""Rotary positions against transformers, and against complex numbers."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.model.attention.rotary import rotary_frequencies, rotary_table, rotate
from lmhp.model.config import ModelConfig

SCALINGS = {
  'linear': ({'rotary_scaling_factor': 3.0}, {'factor': 3.0}),
  'dynamic': ({'rotary_scaling_factor': 3.0}, {'factor': 3.0}),
  'llama3': (
    {'rotary_scaling_factor': 8.0, 'rotary_original_max_seq_len': 512},
    {
      'factor': 8.0,
      'low_freq_factor': 1.0,
      'high_freq_factor': 4.0,
      'original_max_position_embeddings': 512,
    },
  ),
  'yarn': (
    {'rotary_scaling_factor': 4.0, 'rotary_original_max_seq_len': 512},
    {'factor': 4.0, 'original_max_position_embeddings': 512},
  ),
  'longrope': (
    {'rotary_original_max_seq_len': 512},
    {'original_max_position_embeddings': 512},
  ),
}
"""{scaling: (keys of lmhp, keys of transformers)}."""


@pytest.mark.oracle
@pytest.mark.parametrize('length', [100, 512, 513, 2048, 5000])
@pytest.mark.parametrize('fraction', [1.0, 0.5])
@pytest.mark.parametrize('scaling', SCALINGS)
def test_frequencies_against_transformers(scaling, fraction, length):
  from transformers import LlamaConfig
  from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

  ours, theirs = SCALINGS[scaling]
  if scaling == 'longrope':
    n_pairs = int(64 * fraction) // 2
    short = np.linspace(1, 2, n_pairs).tolist()
    long = np.linspace(3, 9, n_pairs).tolist()
    ours = {
      **ours,
      'rotary_short_factor': tuple(short),
      'rotary_long_factor': tuple(long),
    }
    theirs = {**theirs, 'short_factor': short, 'long_factor': long}
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
    rope_parameters={
      **theirs,
      'rope_type': scaling,
      'rope_theta': 50_000.0,
      'partial_rotary_factor': fraction,
    },
  )
  if scaling == 'longrope':
    config.rope_parameters['factor'] = 4.0

  expected, expected_factor = ROPE_INIT_FUNCTIONS[scaling](config, None, seq_len=length)
  frequencies, factor = rotary_frequencies(cfg, cfg.rotary_base, length)
  np.testing.assert_allclose(frequencies, expected.numpy(), rtol=2e-6)
  assert factor == pytest.approx(expected_factor, rel=1e-6)


def test_frequencies_are_a_geometric_sequence():
  cfg = ModelConfig(d_model=24, n_heads=4)
  frequencies, factor = rotary_frequencies(cfg, 100.0, length=5)
  np.testing.assert_allclose(frequencies, [1, 100 ** (-1 / 3), 100 ** (-2 / 3)])
  assert factor == 1.0


def test_the_scaling_can_be_left_out():
  cfg = ModelConfig(d_model=24, n_heads=4)
  linear = ModelConfig(
    d_model=24, n_heads=4, rotary_scaling='linear', rotary_scaling_factor=2.0
  )
  plain, _ = rotary_frequencies(cfg, 100.0, length=5)
  scaled, _ = rotary_frequencies(linear, 100.0, length=5)
  unscaled, _ = rotary_frequencies(linear, 100.0, length=5, is_scaled=False)
  np.testing.assert_allclose(scaled * 2, plain)
  np.testing.assert_array_equal(unscaled, plain)


def test_the_attention_factor_can_be_set():
  cfg = ModelConfig(d_model=24, n_heads=4, rotary_attention_factor=1.5)
  assert rotary_frequencies(cfg, 100.0, length=5)[1] == 1.5


@pytest.mark.parametrize('interleaved', [True, False])
@pytest.mark.parametrize('fraction', [1.0, 0.7])
def test_rotation_multiplies_by_complex_numbers(jit, tiny, interleaved, fraction):
  cfg = tiny(
    rotary_fraction=fraction, rotary_interleaved=interleaved, rotary_base=300.0
  )
  x = np.random.default_rng(0).standard_normal((3, 5, 8, 6)).astype(np.float32)
  positions = np.array([[0, 1, 2, 3, 4], [7, 0, 1, 400, 2], [0, 0, 0, 9, 9]])

  @jit
  def rotated_at(x, positions):
    return rotate(x, rotary_table(cfg, False, positions, length=5), interleaved)

  rotated = np.asarray(rotated_at(x, positions))

  width = 6 if fraction == 1.0 else 4
  if interleaved:
    first, second = np.arange(width).reshape(-1, 2).T
  else:
    first, second = np.arange(width).reshape(2, -1)
  expected = x.astype(np.float64)
  for i, (a, b) in enumerate(zip(first, second)):
    angles = positions * 300.0 ** (-2 * i / width)
    z = (x[..., a] + 1j * x[..., b]) * np.exp(1j * angles)[..., None]
    expected[..., a] = z.real
    expected[..., b] = z.imag
  np.testing.assert_allclose(rotated, expected, rtol=0, atol=2e-4)
  np.testing.assert_array_equal(rotated[..., width:], x[..., width:])


def test_position_0_does_not_rotate(jit, tiny):
  x = np.random.default_rng(0).standard_normal((1, 1, 8, 6)).astype(np.float32)
  table = rotary_table(tiny(), False, jnp.zeros((1, 1), jnp.int32), length=5)
  np.testing.assert_array_equal(rotate(x, table, False), x)


def test_products_depend_only_on_the_distance(jit, tiny):
  cfg = tiny()
  q, k = np.random.default_rng(0).standard_normal((2, 1, 1, 1, 6)).astype(np.float32)

  def rotated_at(x, position):
    table = rotary_table(cfg, False, position.reshape(1, 1), length=5)
    return rotate(x, table, False)

  @jit
  def product(i, j):
    return jnp.vdot(rotated_at(q, i), rotated_at(k, j))

  def products(distance):
    return [float(product(jnp.int32(j + distance), jnp.int32(j))) for j in (0, 3, 100)]

  np.testing.assert_allclose(products(0), products(0)[0], atol=1e-4)
  np.testing.assert_allclose(products(5), products(5)[0], atol=1e-4)
  assert abs(products(0)[0] - products(5)[0]) > 1e-2


def test_local_layers_may_have_their_own_base_and_no_scaling(jit, tiny):
  """Gemma 3 scales global layers only, and gives local layers another base."""
  cfg = tiny(
    rotary_base=300.0,
    rotary_base_local=50.0,
    rotary_scaling='linear',
    rotary_scaling_factor=8.0,
    rotary_scaling_local=False,
  )

  @jit
  def tables(positions):
    return [
      rotary_table(cfg, False, positions, length=5),
      rotary_table(cfg, True, positions, length=5),
    ]

  bases_and_factors = ((300.0, 8.0), (50.0, 1.0))
  for table, (base, factor) in zip(tables(jnp.arange(5)[None]), bases_and_factors):
    angles = np.arange(5)[:, None] * base ** (-np.arange(0, 6, 2) / 6) / factor
    np.testing.assert_allclose(table.cos_BL1P[0, :, 0], np.cos(angles), atol=1e-6)
    np.testing.assert_allclose(table.sin_BL1P[0, :, 0], np.sin(angles), atol=1e-6)


def test_angles_of_large_positions_are_accurate(jit):
  """At position 100,000 the cosines of float32 angles are off by less than 0.01."""
  cfg = ModelConfig(d_model=64, n_heads=1, max_seq_len=131_072)
  positions = jnp.array([[100_000]])
  table = jit(lambda p: rotary_table(cfg, False, p, length=131_072))(positions)
  angles = 100_000 * 10_000.0 ** (-np.arange(0, 64, 2) / 64)
  cos = np.ravel(table.cos_BL1P)
  np.testing.assert_allclose(cos, np.cos(angles), atol=0.01)
  assert math.isclose(cos[-1], math.cos(angles[-1]), abs_tol=1e-4)
