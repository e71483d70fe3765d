"""LSTM against torch, and its initial bias."""

import jax
from mixer_layers import SIZES, assert_equals_torch
import numpy as np
import pytest

from lmhp.model.mixers.layers.lstm import init_gate_bias

WIDTH = 9
N_GATES = 4


@pytest.mark.oracle
def test_equals_torch(tiny):
  import torch

  cfg = tiny(**SIZES | {'mixer_pattern': ('lstm',), 'mixer_dim': WIDTH})

  class Reference(torch.nn.Module):
    def __init__(self):
      super().__init__()
      self.cell = torch.nn.LSTM(cfg.d_model, WIDTH, batch_first=True)
      self.out = torch.nn.Linear(WIDTH, cfg.d_model, bias=False)

    def forward(self, x):
      return self.out(self.cell(x)[0])

  def to_params(tensors):
    def split(kernel):
      return kernel.T.reshape(-1, N_GATES, WIDTH)

    return {
      'input': {
        'kernel': split(tensors['cell.weight_ih_l0']),
        'bias': tensors['cell.bias_ih_l0'].reshape(N_GATES, WIDTH),
      },
      'recurrent': {'kernel': split(tensors['cell.weight_hh_l0'])},
      'output': {'kernel': tensors['out.weight'].T},
    }

  def call(module, x):
    module.cell.bias_hh_l0.data.zero_()  # torch has two biases that are added
    return module(x)

  assert_equals_torch(cfg, 'lstm', Reference(), to_params, call)


def test_only_the_forget_gate_starts_with_a_bias():
  bias = init_gate_bias(jax.random.key(0), (2, N_GATES, WIDTH))
  expected = np.zeros((2, N_GATES, WIDTH))
  expected[:, 1] = 1
  np.testing.assert_array_equal(bias, expected)
