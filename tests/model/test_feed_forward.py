"""The feed-forward part and its gradients against torch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.model.feed_forward import FeedForward, input_activation


@pytest.mark.oracle
@pytest.mark.parametrize(
  'activation, gated, bias',
  [
    ('gelu', False, True),
    ('silu', True, False),
    ('gelu_tanh', True, True),
    ('relu_squared', False, False),
    ('gelu', True, False),
    ('gelu_tanh', False, False),
    ('silu', False, True),
  ],
)
def test_part_and_its_gradients_against_torch(jit, tiny, fill, activation, gated, bias):
  import torch

  cfg = tiny(activation=activation, gated=gated, feed_forward_bias=bias)
  module = FeedForward(cfg)
  x = np.random.default_rng(0).standard_normal((3, 5, 14)).astype(np.float32)
  variables = jax.eval_shape(
    lambda x: module.init(jax.random.key(0), x), jnp.asarray(x)
  )
  params = fill(variables['params'])

  def loss(params, x):
    return jnp.sum(jnp.square(module.apply({'params': params}, x)))

  value, gradients = jit(jax.value_and_grad(loss, argnums=(0, 1)))(params, x)

  tensors = jax.tree.map(
    lambda p: torch.tensor(p, requires_grad=True), to_numpy(params)
  )
  torch_x = torch.tensor(x, requires_grad=True)
  expected = torch_feed_forward(tensors, torch_x, activation).square().sum()
  expected.backward()
  assert float(value) == pytest.approx(expected.item(), rel=1e-5)
  torch_gradients = jax.tree.map(lambda p: p.grad.numpy(), tensors)
  for ours, theirs in zip(
    jax.tree.leaves(gradients), jax.tree.leaves((torch_gradients, torch_x.grad.numpy()))
  ):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def to_numpy(params):
  return jax.tree.map(np.asarray, params)


def torch_feed_forward(p, x, activation):
  from torch.nn import functional

  functions = {
    'gelu': functional.gelu,
    'gelu_tanh': lambda x: functional.gelu(x, approximate='tanh'),
    'silu': functional.silu,
    'relu_squared': lambda x: functional.relu(x) ** 2,
  }

  def linear(name, x):
    y = x @ p[name]['kernel']
    return y + p[name]['bias'] if 'bias' in p[name] else y

  if 'gate' in p:
    hidden = functions[activation](linear('gate', x)) * linear('up', x)
  else:
    hidden = functions[activation](linear('up', x))
  return linear('down', hidden)


def test_a_clipped_gate_with_an_offset():
  """gpt-oss: the gate is clipped above, up on both sides, and 1 is added to up."""
  gate = jnp.array([-9.0, 2.0, 9.0])
  up = jnp.array([-9.0, 2.0, 9.0])
  hidden = input_activation('identity', True, 7.0, 1.0)([gate, up])
  np.testing.assert_allclose(hidden, [-9.0 * (-7 + 1), 2.0 * (2 + 1), 7.0 * (7 + 1)])


def test_without_a_gate_clip_and_offset_are_ignored():
  up = jnp.array([-9.0, 2.0, 9.0])
  hidden = input_activation('relu', False, 7.0, 1.0)([up])
  np.testing.assert_allclose(hidden, [0.0, 2.0, 9.0])
