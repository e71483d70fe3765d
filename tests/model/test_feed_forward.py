"""Activations and the feed-forward part against torch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.model.config.activation_registry import ACTIVATIONS as NAMES
from lmhp.model.activations import activation_function
from lmhp.model.feed_forward import FeedForward


def theirs(name):
  import torch
  from torch.nn import functional

  return {
    'relu': functional.relu,
    'sigmoid': torch.sigmoid,
    'tanh': torch.tanh,
    'gelu': functional.gelu,
    'gelu_tanh': lambda x: functional.gelu(x, approximate='tanh'),
    'silu': functional.silu,
    'quick_gelu': lambda x: x * torch.sigmoid(1.702 * x),
    'relu_squared': lambda x: functional.relu(x) ** 2,
    'identity': lambda x: x,
  }[name]


@pytest.mark.oracle
@pytest.mark.parametrize('name', NAMES)
def test_activation_and_its_slope_against_torch(jit, name):
  import torch

  x = np.concatenate([np.linspace(-8, 8, 40), [-30, -1e-3, 1e-3, 30]]).astype(
    np.float32
  )
  t = torch.tensor(x, requires_grad=True)
  y = theirs(name)(t)
  y.sum().backward()
  ours = activation_function(name)
  got, slope = jit(lambda x: (ours(x), jax.grad(lambda x: ours(x).sum())(x)))(x)
  np.testing.assert_allclose(got, y.detach().numpy(), rtol=3e-6, atol=3e-6)
  np.testing.assert_allclose(
    slope, t.grad.numpy(), rtol=3e-6, atol=2e-5
  )  # 1 - tanh^2 cancels


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
  module, x = (
    FeedForward(cfg),
    np.random.default_rng(0).standard_normal((3, 5, 14)).astype(np.float32),
  )
  params = fill(
    jax.eval_shape(lambda x: module.init(jax.random.key(0), x), jnp.asarray(x))[
      'params'
    ]
  )
  out, gradients = jit(
    jax.value_and_grad(
      lambda p, x: jnp.sum(jnp.square(module.apply({'params': p}, x))), argnums=(0, 1)
    )
  )(params, x)
  tensors = jax.tree.map(
    lambda p: torch.tensor(np.asarray(p), requires_grad=True), params
  )
  t = torch.tensor(x, requires_grad=True)
  linear = lambda name, x: (
    x @ tensors[name]['kernel'] + (tensors[name]['bias'] if bias else 0)
  )
  hidden = theirs(activation)(linear('gate' if gated else 'up', t)) * (
    linear('up', t) if gated else 1
  )
  expected = linear('down', hidden).square().sum()
  expected.backward()
  assert float(out) == pytest.approx(expected.item(), rel=1e-5)
  wanted = jax.tree.map(lambda p: p.grad.numpy(), tensors), t.grad.numpy()
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
    gradients,
    wanted,
  )
