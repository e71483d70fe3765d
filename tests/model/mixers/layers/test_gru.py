"""GRU against torch."""

from mixer_layers import SIZES, assert_equals_torch
import pytest

WIDTH = 9
N_GATES = 3


@pytest.mark.oracle
def test_equals_torch(tiny):
  import torch

  cfg = tiny(**SIZES | {'mixer_pattern': ('gru',), 'mixer_dim': WIDTH})

  class Reference(torch.nn.Module):
    def __init__(self):
      super().__init__()
      self.cell = torch.nn.GRU(cfg.d_model, WIDTH, batch_first=True)
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
      'candidate_bias': tensors['cell.bias_hh_l0'].reshape(N_GATES, WIDTH)[2].clone(),
      'output': {'kernel': tensors['out.weight'].T},
    }

  def call(module, x):
    # The second bias of torch's reset and update gates is added to the first.
    module.cell.bias_hh_l0.data[: 2 * WIDTH] = 0
    return module(x)

  assert_equals_torch(cfg, 'gru', Reference(), to_params, call)
