"""Activations and their slopes against torch."""

import jax
import numpy as np
import pytest

from lmhp.model.activations import activation_function
from lmhp.model.config import ACTIVATIONS


def torch_activation(name):
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
@pytest.mark.parametrize('name', ACTIVATIONS)
def test_activation_and_its_slope_against_torch(jit, name):
  import torch

  x = np.concatenate([np.linspace(-8, 8, 40), [-30, -1e-3, 1e-3, 30]])
  x = x.astype(np.float32)
  torch_x = torch.tensor(x, requires_grad=True)
  expected = torch_activation(name)(torch_x)
  expected.sum().backward()

  function = activation_function(name)
  slope_of = jax.grad(lambda x: function(x).sum())
  y, slope = jit(lambda x: (function(x), slope_of(x)))(x)
  np.testing.assert_allclose(y, expected.detach().numpy(), rtol=3e-6, atol=3e-6)
  # 1 - tanh^2 loses digits to cancellation.
  np.testing.assert_allclose(slope, torch_x.grad.numpy(), rtol=3e-6, atol=2e-5)
