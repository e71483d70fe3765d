"""LSTM and GRU against torch, and the initial bias of an LSTM."""

import jax
from mixer_layers import SIZES, assert_equals_torch
import numpy as np
import pytest

from lmhp.model.mixers.layers.gated_recurrence import init_gate_bias

WIDTH = 9


def assert_cell_equals_torch(cfg, name, cell, n_gates, fixed_bias, more_params):
  """Compares a mixer to a cell of torch and a linear map.

  Args:
    cfg: Config of the model.
    name: Name of the mixer.
    cell: Class of the cell.
    n_gates: Number of gates.
    fixed_bias: Part of torch's second bias that is added to the first, and is set to 0.
    more_params: `(tensors) -> params`, parameters besides the linear maps.
  """
  import torch

  class Reference(torch.nn.Module):
    def __init__(self):
      super().__init__()
      self.cell = cell(cfg.d_model, WIDTH, batch_first=True)
      self.out = torch.nn.Linear(WIDTH, cfg.d_model, bias=False)

    def forward(self, x):
      return self.out(self.cell(x)[0])

  def split(kernel):
    return kernel.T.reshape(-1, n_gates, WIDTH)

  def to_params(tensors):
    bias = tensors['cell.bias_ih_l0'].reshape(n_gates, WIDTH)
    return {
      'input': {'kernel': split(tensors['cell.weight_ih_l0']), 'bias': bias},
      'recurrent': {'kernel': split(tensors['cell.weight_hh_l0'])},
      'output': {'kernel': tensors['out.weight'].T},
      **more_params(tensors),
    }

  def call(module, x):
    module.cell.bias_hh_l0.data[fixed_bias] = 0
    return module(x)

  assert_equals_torch(cfg, name, Reference(), to_params, call)


@pytest.mark.oracle
def test_an_lstm_equals_that_of_torch(tiny):
  import torch

  cfg = tiny(**SIZES | {'mixer_pattern': ('lstm',), 'mixer_dim': WIDTH})
  assert_cell_equals_torch(
    cfg,
    'lstm',
    torch.nn.LSTM,
    n_gates=4,
    fixed_bias=slice(None),
    more_params=lambda tensors: {},
  )


@pytest.mark.oracle
def test_a_gru_equals_that_of_torch(tiny):
  import torch

  cfg = tiny(**SIZES | {'mixer_pattern': ('gru',), 'mixer_dim': WIDTH})
  assert_cell_equals_torch(
    cfg,
    'gru',
    torch.nn.GRU,
    n_gates=3,
    fixed_bias=slice(2 * WIDTH),
    more_params=lambda tensors: {
      'candidate_bias': tensors['cell.bias_hh_l0'].reshape(3, WIDTH)[2].clone()
    },
  )


def test_only_the_forget_gate_starts_with_a_bias():
  bias = init_gate_bias(jax.random.key(0), (2, 4, WIDTH))
  expected = np.zeros((2, 4, WIDTH))
  expected[:, 1] = 1
  np.testing.assert_array_equal(bias, expected)
