"""Activations from outside the package."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.errors import ConfigError
from lmhp.model.activations import activation_function
from lmhp.model.config import ACTIVATIONS, ModelConfig, register_activation
from lmhp.model.transformer import build

TOKENS = jnp.arange(10).reshape(2, 5)


@pytest.fixture
def cube():
  """Registers an activation as an experiment file does, and removes it after the test."""
  register_activation('cube', lambda x: x**3)
  yield 'cube'
  del ACTIVATIONS._entries['cube']
  del ACTIVATIONS._modules['cube']


def test_an_activation_from_outside_is_a_value_of_the_config(cube):
  assert ModelConfig(activation=cube).activation == cube
  assert ModelConfig(activation=cube).head_activation == cube


def test_an_activation_from_outside_computes_the_feed_forward_part(
  cube, jit, tiny, fill
):
  """x ** 3 with scaled weights: 8 times the hidden activation of the cube."""
  model = build(tiny(activation=cube, n_layers=1, norm_placement='output'))
  params = fill(model.shapes)
  up = params['decoder']['segment_0']['feed_forward']['up']
  down = params['decoder']['segment_0']['feed_forward']['down']
  logits = jit(model.apply)(params, TOKENS)
  up['kernel'] = 2 * up['kernel']
  down['kernel'] = down['kernel'] / 8
  np.testing.assert_allclose(jit(model.apply)(params, TOKENS), logits, atol=1e-4)


def test_an_activation_may_be_an_import_path():
  assert activation_function('silu') is jax.nn.silu


def test_a_name_cannot_be_registered_twice():
  with pytest.raises(ConfigError, match='silu'):
    register_activation('silu', jax.nn.relu)


def test_without_registration_the_name_is_refused():
  with pytest.raises(ConfigError, match='model.activation'):
    ModelConfig(activation='cube')
