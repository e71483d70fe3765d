"""Properties of models with each mixer: counts, causality, caches, packing and cost."""

import dataclasses

import jax
import jax.numpy as jnp
from mixer_layers import SIZES, B, L
import numpy as np
import pytest
from traced_counts import count_tree, traced_flops

from lmhp.counting.flops import flops_per_token
from lmhp.counting.parameters import count
from lmhp.model.batch import Batch
from lmhp.model.mixers.registry import MIXERS
from lmhp.model.transformer import build
from lmhp.params import walk_arrays

PATTERNS = {
  name: (name,)
  for name in MIXERS
  if name != 'attention' and MIXERS.module_of(name).startswith('lmhp.')
}
PATTERNS['hybrid'] = ('rglru', 'attention', 'mamba2')
TOKENS = jnp.asarray(np.random.default_rng(0).integers(0, 31, (B, L)), jnp.int32)


@pytest.fixture
def model(tiny):
  """`model(pattern, **fields)` builds a model of three layers with these mixers."""

  def build_model(pattern, **fields):
    base = {'mixer_pattern': PATTERNS[pattern], 'n_layers': 3}
    return build(tiny(**SIZES | base | fields))

  return build_model


def assert_close(x, y):
  np.testing.assert_allclose(x, y, rtol=0, atol=2e-5)


@pytest.mark.parametrize('pattern', PATTERNS)
def test_counts_equal_those_of_the_parameters(model, pattern):
  built = model(pattern)
  counts = count(built.cfg).by_kind
  assert counts == count_tree(built.shapes).by_kind
  assert counts['other'] > 0


@pytest.mark.parametrize('pattern', PATTERNS)
def test_flops_equal_those_of_the_program(model, pattern):
  built = model(pattern)
  forward = flops_per_token(built.cfg, L, causal=False).forward * B * L

  def loss(params):
    return jnp.sum(jnp.square(built.apply(params, TOKENS)))

  assert traced_flops(loss, built.shapes) == pytest.approx(forward, rel=1e-12)
  backward_too = traced_flops(jax.grad(loss), built.shapes)
  assert backward_too == pytest.approx(3 * forward, rel=1e-12)


def reach(built, params, jit):
  """Returns the largest gradient of each output to each input, (L, L)."""
  batch = Batch(jnp.arange(L)[None])

  def feature_sums(table):
    changed = {**params, 'embedding': {'table': table}}
    x_BLD, _, _ = built.features(changed, {}, batch)
    return jnp.sum(x_BLD[0], -1)

  jacobian = jit(jax.jacrev(feature_sums))(params['embedding']['table'])
  return np.abs(jacobian[:, :L]).max(-1)


@pytest.mark.parametrize('pattern', PATTERNS)
def test_a_token_depends_on_all_earlier_ones_and_on_no_later_one(
  model, jit, fill, pattern
):
  if pattern == 'convolution':
    pytest.skip('a convolution depends on its last inputs alone')
  built = model(pattern)
  gradients = reach(built, fill(built.shapes), jit)
  row, column = np.indices((L, L))
  assert (gradients[row < column] == 0).all()
  assert (gradients[row >= column] > 0).all()


def test_a_convolution_depends_on_its_last_four_inputs(model, jit, fill):
  built = model('convolution', n_layers=1)
  gradients = reach(built, fill(built.shapes), jit)
  row, column = np.indices((L, L))
  within = (row >= column) & (row - column < 4)
  assert (gradients[within] > 0).all()
  assert (gradients[~within] == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize('pattern', PATTERNS)
def test_decoding_with_a_cache_equals_the_full_pass(model, jit, fill, pattern):
  built = model(pattern)
  params = fill(built.shapes)
  logits_BLV = jit(built.apply)(params, TOKENS)

  cache = built.init_cache(B, L)
  x_BLD, _, cache = built.features(params, {}, Batch(TOKENS[:, :4]), cache=cache)
  assert_close(built.logits(params, {}, x_BLD), logits_BLV[:, :4])

  @jit
  def step(cache, token):
    x_BLD, _, cache = built.features(params, {}, Batch(token), cache=cache)
    return built.logits(params, {}, x_BLD)[:, 0], cache

  for t in range(4, L):
    logits_BV, cache = step(cache, TOKENS[:, t : t + 1])
    assert_close(logits_BV, logits_BLV[:, t])


@pytest.mark.parametrize('pattern', PATTERNS)
def test_documents_in_one_sequence_are_computed_as_alone(model, jit, fill, pattern):
  built = model(pattern)
  params = fill(built.shapes)
  first = 6
  segments = jnp.broadcast_to((jnp.arange(L) >= first).astype(jnp.int32), (B, L))
  positions = jnp.concatenate([jnp.arange(first), jnp.arange(L - first)])[None]
  batch = Batch(TOKENS, positions=positions, segments=segments)
  x_BLD, _, _ = jit(lambda p: built.features(p, {}, batch))(params)
  packed = built.logits(params, {}, x_BLD)
  assert_close(packed[:, :first], jit(built.apply)(params, TOKENS[:, :first]))
  assert_close(packed[:, first:], jit(built.apply)(params, TOKENS[:, first:]))


@pytest.mark.slow
@pytest.mark.parametrize('pattern', PATTERNS)
def test_unrolling_and_remat_change_no_number(model, jit, fill, pattern):
  built = model(pattern)
  params = fill(built.shapes)

  def value_and_gradient(model):
    def loss(params):
      logits_BLV = model.apply(params, TOKENS)
      return jnp.mean(jnp.square(logits_BLV)), logits_BLV

    (_, logits_BLV), gradient = jit(jax.value_and_grad(loss, has_aux=True))(params)
    return logits_BLV, dict(walk_arrays(gradient))

  logits_BLV, gradient = value_and_gradient(built)
  for change in ({'scan_layers': False}, {'remat': 'full'}):
    other_logits, other = value_and_gradient(
      build(dataclasses.replace(built.cfg, **change))
    )
    assert_close(other_logits, logits_BLV)
    for path, array in other.items():
      np.testing.assert_allclose(
        array, gradient[path], rtol=2e-3, atol=2e-5, err_msg=path
      )


def test_weights_with_few_inputs_start_at_their_fan_in(model):
  params = model('rglru', mixer_dim=600, n_layers=1).init(
    jax.random.key(0), {'init_scale': 1.0}
  )
  kernel = params['decoder']['segment_0']['rglru']['convolution']['kernel']
  assert np.std(kernel) == pytest.approx(4**-0.5, rel=0.1)


def test_a_mixers_own_initial_values_reach_its_parameters(model):
  params = model('mamba2', n_layers=1).init(jax.random.key(0), {'init_scale': 1.0})
  mamba2 = params['decoder']['segment_0']['mamba2']
  assert (mamba2['skip'] == 1).all()
  assert (mamba2['log_decay'] >= 0).all()
  assert (mamba2['step_bias'] < -2).all()


@pytest.mark.slow
@pytest.mark.parametrize('pattern', ['mingru', 'rglru', 'mamba2', 'convolution'])
def test_cost_is_linear_in_the_length(model, pattern):
  """FLOPs double exactly, and temporary memory about doubles."""
  built = model(pattern)

  def features(params, tokens):
    return built.features(params, {}, Batch(tokens))[0]

  def cost(length):
    tokens = jax.ShapeDtypeStruct((1, length), jnp.int32)
    gradient = jax.jit(jax.grad(lambda p, t: jnp.sum(features(p, t))))
    memory = gradient.lower(built.shapes, tokens).compile().memory_analysis()
    flops = traced_flops(features, built.shapes, tokens)
    return flops, memory.temp_size_in_bytes

  flops, memory = cost(512)
  twice_flops, twice_memory = cost(1024)
  assert twice_flops == 2 * flops
  assert twice_memory < 2.3 * memory
