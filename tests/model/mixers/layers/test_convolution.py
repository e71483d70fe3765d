"""Short convolution against LFM2 in transformers."""

from mixer_layers import SIZES, assert_equals_torch
import pytest


@pytest.mark.oracle
def test_equals_lfm2(tiny):
  from transformers import Lfm2Config
  from transformers.models.lfm2.modeling_lfm2 import Lfm2ShortConv

  convolution = {
    'mixer_pattern': ('convolution',),
    'mixer_dim': 14,
    'conv_width': 3,
    'mixer_bias': True,
  }
  cfg = tiny(**SIZES | convolution)
  reference_config = Lfm2Config(
    hidden_size=14,
    num_hidden_layers=1,
    conv_L_cache=3,
    conv_bias=True,
    layer_types=['conv'],
  )
  reference = Lfm2ShortConv(reference_config, 0)

  def to_params(tensors):
    names = ('write', 'gate', 'input')
    kernels = tensors['in_proj.weight'].T.split(14, dim=1)
    biases = tensors['in_proj.bias'].split(14)
    params = {
      name: {'kernel': kernel, 'bias': bias}
      for name, kernel, bias in zip(names, kernels, biases, strict=True)
    }
    params['convolution'] = {
      'kernel': tensors['conv.weight'][:, 0],
      'bias': tensors['conv.bias'],
    }
    params['output'] = {
      'kernel': tensors['out_proj.weight'].T,
      'bias': tensors['out_proj.bias'],
    }
    return params

  def call(module, x):
    return module(x)

  assert_equals_torch(cfg, 'convolution', reference, to_params, call)
