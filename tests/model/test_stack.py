"""Segments of layers: scanned, unrolled, rematerialized and shared."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.model.config import REMAT_POLICIES
from lmhp.model.transformer import build
from lmhp.params import walk_arrays

B, L, M = 3, 5, 7
TOKENS = jnp.arange(B * L).reshape(B, L)
ENCODER_TOKENS = 30 - jnp.arange(B * M).reshape(B, M)
# Three layers with different masks, and with and without positions.
VARYING_LAYERS = {
  'n_layers': 3,
  'no_position_every': 2,
  'attention_pattern': ('local', 'global'),
  'sliding_window': 2,
  'position': 't5',
  'gated': True,
}


def loss_and_gradients(jit, cfg, params):
  model = build(cfg)

  def loss(params):
    logits = model.apply(params, TOKENS)
    return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - logits[..., 3])

  return jit(jax.value_and_grad(loss))(params)


@pytest.fixture(scope='module')
def scanned(jit, tiny, fill):
  """Parameters of `VARYING_LAYERS`, with the loss and the gradients of a scan."""
  cfg = tiny(**VARYING_LAYERS)
  params = fill(build(cfg).shapes)
  return params, loss_and_gradients(jit, cfg, params)


@pytest.mark.parametrize(
  'fields',
  [
    {'scan_layers': False},
    *({'remat': policy} for policy in REMAT_POLICIES[1:]),
    {'remat': 'full', 'scan_layers': False},
  ],
  ids=str,
)
def test_unrolled_and_rematerialized_layers_have_the_gradients_of_a_scan(
  jit, tiny, scanned, fields
):
  params, expected = scanned
  cfg = tiny(**VARYING_LAYERS, **fields)
  shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params)
  assert build(cfg).shapes == shapes

  def assert_close(actual, desired):
    np.testing.assert_allclose(actual, desired, rtol=1e-5, atol=2e-6)

  jax.tree.map(assert_close, loss_and_gradients(jit, cfg, params), expected)


@pytest.mark.parametrize(
  'fields',
  [
    {},
    {'share_layers': True},
    {'embedding_dim': 10, 'head_transform': True},
    {'embedding_dim': 10, 'token_types': 2, 'gated': True},
  ],
  ids=str,
)
def test_unrolled_and_rematerialized_encoder_decoders_have_the_logits_of_a_scan(
  jit, tiny, fill, fields
):
  fields = {
    'architecture': 'encoder_decoder',
    'n_encoder_layers': 3,
    'max_seq_len': M,
    'position': 't5',
    'relative_buckets': 8,
    'relative_max_distance': 9,
    **fields,
  }
  params = fill(build(tiny(**fields)).shapes)

  def logits(**computation):
    model = build(tiny(**fields, **computation))
    return jit(
      lambda params: model.apply(params, TOKENS, encoder_tokens_BM=ENCODER_TOKENS)
    )(params)

  expected = logits()
  np.testing.assert_allclose(logits(scan_layers=False), expected, atol=2e-5)
  np.testing.assert_allclose(logits(remat='full'), expected, atol=2e-5)


def test_the_scanned_program_does_not_grow_with_depth(tiny):
  def n_equations(n_layers):
    cfg = tiny(
      n_layers=n_layers, attention_pattern=('local', 'global'), sliding_window=2
    )
    model = build(cfg)

    def total(params):
      return jnp.sum(model.apply(params, TOKENS))

    return len(str(jax.make_jaxpr(jax.grad(total))(model.shapes)).splitlines())

  assert n_equations(24) <= 1.02 * n_equations(2)


@pytest.mark.parametrize('scan', [True, False])
def test_shared_layers_are_layers_with_equal_parameters(jit, tiny, fill, scan):
  fields = {'architecture': 'encoder', 'n_layers': 3, 'scan_layers': scan}
  shared = build(tiny(**fields, share_layers=True))
  separate = build(tiny(**fields))
  params = fill(shared.shapes)

  # Separate layers have one more axis, N.
  repeated = jax.tree.map(lambda x: jnp.stack([x] * 3), params['encoder'])
  repeated_params = {**params, 'encoder': repeated}
  assert jax.tree.map(jnp.shape, repeated_params) == jax.tree.map(
    lambda x: x.shape, separate.shapes
  )
  np.testing.assert_allclose(
    jit(shared.apply)(params, TOKENS),
    jit(separate.apply)(repeated_params, TOKENS),
    rtol=0,
    atol=1e-6,
  )


def test_a_first_layer_without_a_normalization_has_its_own_parameters(tiny):
  model = build(tiny(n_layers=4, first_attention_norm=False))
  shapes = {path: array.shape for path, array in walk_arrays(model.shapes)}
  assert shapes['decoder/segment_1/attention_input_norm/scale'] == (3, 14)
  assert 'decoder/segment_0/attention_input_norm/scale' not in shapes


@pytest.mark.parametrize('position', ['rotary', 'alibi', 't5'])
def test_a_layer_without_positions_is_one_of_a_model_without_positions(
  jit, tiny, fill, position
):
  two_layers = build(tiny(position=position, no_position_every=2))
  one_layer = build(tiny(position='none', n_layers=1))

  # The first layer adds zero, so that the second reads the embedding.
  params = fill(two_layers.shapes)
  layers = params['decoder']['segment_0']
  for part, name in (('attention', 'output'), ('feed_forward', 'down')):
    layers[part][name]['kernel'] = layers[part][name]['kernel'].at[0].set(0)
  second_layer = jax.tree.map(lambda x: x[1:], layers)
  second_params = {**params, 'decoder': {'segment_0': second_layer}}
  np.testing.assert_allclose(
    jit(two_layers.apply)(params, TOKENS),
    jit(one_layer.apply)(second_params, TOKENS),
    rtol=0,
    atol=1e-5,
  )
