"""Activations, compared with the functions of transformers."""

import pytest

from lmhp.hub.families.field_values import ACTIVATIONS, activation_name, write_value


@pytest.mark.oracle
@pytest.mark.parametrize('name', ACTIVATIONS)
def test_activations_are_the_functions_of_transformers(name):
  import torch
  import torch.nn.functional as F
  from transformers.activations import ACT2FN

  functions = {
    'relu': F.relu,
    'sigmoid': torch.sigmoid,
    'tanh': torch.tanh,
    'gelu': F.gelu,
    'silu': F.silu,
    'gelu_tanh': lambda x: F.gelu(x, approximate='tanh'),
    'quick_gelu': lambda x: x * torch.sigmoid(1.702 * x),
    'relu_squared': lambda x: F.relu(x) ** 2,
    'identity': lambda x: x,
  }
  x = torch.linspace(-4, 4, 101, dtype=torch.float64)
  torch.testing.assert_close(
    functions[ACTIVATIONS[name]](x), ACT2FN[name](x), rtol=1e-5, atol=1e-6
  )


@pytest.mark.parametrize('name', ACTIVATIONS)
def test_a_written_activation_reads_back(name):
  activation = ACTIVATIONS[name]
  assert ACTIVATIONS[activation_name(activation)] == activation


def test_the_name_of_the_family_is_written():
  assert write_value('activation', 'gelu_tanh', 'gelu_pytorch_tanh') == (
    'gelu_pytorch_tanh'
  )
  assert write_value('activation', 'gelu_tanh', 'silu') == 'gelu_new'


def test_an_activation_that_transformers_lacks_is_unchanged():
  assert activation_name('toy_activation') == 'toy_activation'
