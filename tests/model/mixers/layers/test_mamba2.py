"""Mamba-2 against transformers, its initial values, and gradients of a single chunk."""

import jax
import jax.numpy as jnp
from mixer_layers import FLAGS, INPUTS, SIZES, assert_equals_torch
import numpy as np
import pytest

from lmhp.model.block import mixer_layer
from lmhp.model.mixers.layers.mamba2 import init_log_decay, init_step_bias
from lmhp.params import walk_arrays


@pytest.mark.oracle
@pytest.mark.parametrize('groups, chunk', [(1, 4), (2, 3), (4, 64)])
def test_equals_transformers(tiny, groups, chunk):
  from transformers import Mamba2Config
  from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

  mamba2 = {
    'mixer_pattern': ('mamba2',),
    'mixer_dim': 28,
    'mixer_head_dim': 7,
    'state_dim': 5,
    'state_groups': groups,
    'state_chunk': chunk,
  }
  cfg = tiny(**SIZES | mamba2)
  reference_config = Mamba2Config(
    hidden_size=14,
    expand=2,
    num_heads=4,
    head_dim=7,
    state_size=5,
    n_groups=groups,
    conv_kernel=4,
    chunk_size=4,
    use_bias=False,
    use_conv_bias=True,
    num_hidden_layers=1,
  )
  reference = Mamba2Mixer(reference_config, 0).eval()

  def to_params(tensors):
    names = ('gate', 'input', 'write', 'read', 'step')
    widths = [28, 28, 5 * groups, 5 * groups, 4]
    kernels = tensors['in_proj.weight'].T.split(widths, dim=1)
    params = {
      name: {'kernel': kernel} for name, kernel in zip(names, kernels, strict=True)
    }
    params['norm'] = {'scale': tensors['norm.weight']}
    params['convolution'] = {
      'kernel': tensors['conv1d.weight'][:, 0],
      'bias': tensors['conv1d.bias'],
    }
    params['step_bias'] = tensors['dt_bias']
    params['log_decay'] = tensors['A_log']
    params['skip'] = tensors['D']
    params['output'] = {'kernel': tensors['out_proj.weight'].T}
    return params

  def call(module, x):
    return module(x)

  assert_equals_torch(cfg, 'mamba2', reference, to_params, call)


@pytest.mark.slow
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_gradients_of_a_single_chunk_are_the_same_compiled_or_not(tiny, dtype):
  """XLA on CPU (jax 0.10.2) reads memory that it never wrote if a chunk is the sequence."""
  sizes = {'d_model': 12, 'n_heads': 2, 'n_kv_heads': 2}
  layer = mixer_layer(tiny(mixer_pattern=('mamba2',), dtype=dtype, **sizes), 'mamba2')
  rng = np.random.default_rng(0)

  def normal(shape):
    return jnp.asarray(0.3 * rng.normal(size=shape), jnp.float32)

  x_BLD = normal((4, 8, 12))
  variables = layer.init(jax.random.key(0), x_BLD, FLAGS, INPUTS)
  variables = jax.tree.map(lambda array: normal(array.shape), variables)

  def loss(variables):
    y_BLD, _ = layer.apply(variables, x_BLD, FLAGS, INPUTS)
    return jnp.sum(jnp.square(y_BLD))

  compiled = dict(walk_arrays(jax.jit(jax.grad(loss))(variables)))
  for path, gradient in walk_arrays(jax.grad(loss)(variables)):
    np.testing.assert_allclose(
      compiled[path], gradient, rtol=0.02, atol=0.02, err_msg=path
    )


def test_initial_steps_are_between_a_thousandth_and_a_tenth():
  step = jax.nn.softplus(init_step_bias(jax.random.key(0), (600,)))
  assert 0.000999 < step.min() < 0.0015
  assert 0.07 < step.max() <= 0.1001


def test_initial_decays_are_between_1_and_16():
  decay = np.exp(init_log_decay(jax.random.key(0), (600,)))
  assert 1 <= decay.min() < 1.5
  assert 15 < decay.max() <= 16
