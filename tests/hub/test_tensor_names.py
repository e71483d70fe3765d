"""Tensors of a checkpoint: each element of each parameter is in exactly one of them."""

import dataclasses
import math

import numpy as np
import pytest
from small_checkpoints import CONFIGS

from lmhp.errors import ConfigError
from lmhp.hub.config_json import model_config
from lmhp.hub.families import FAMILIES
from lmhp.hub.tensor_names import checkpoint_tensors, has_head, tied_names
from lmhp.model.transformer import build
from lmhp.params import list_params

CASES = [
  (family, i) for family, configs in CONFIGS.items() for i in range(len(configs))
]


def model_of(family, i=0, **fields):
  cfg = model_config(CONFIGS[family][i] | {'model_type': family})
  return build(dataclasses.replace(cfg, dtype='float32', **fields))


@pytest.mark.parametrize('family, i', CASES)
def test_each_element_is_in_exactly_one_tensor(family, i):
  model = model_of(family, i)
  tensors = checkpoint_tensors(FAMILIES[family], model.cfg, model.shapes)
  names = [tensor.name for tensor in tensors]
  assert len(set(names)) == len(names)

  counts = {
    param.path: np.zeros(param.shape, int) for param in list_params(model.shapes)
  }
  for tensor in tensors:
    assert '{' not in tensor.name
    assert sum(math.prod(part.shape) for part in tensor.slices) == math.prod(
      tensor.shape
    )
    for part in tensor.slices:
      ones = np.zeros_like(counts[part.param.path])
      part.write(ones, np.ones(part.shape, int))
      counts[part.param.path] += ones
  for path, count in counts.items():
    assert (count == 1).all(), path


def test_layers_of_later_segments_keep_their_index():
  """The first layer of DeepSeek has no experts, so that the others are a second segment."""
  model = model_of('deepseek_v3')
  tensors = checkpoint_tensors(FAMILIES['deepseek_v3'], model.cfg, model.shapes)
  routers = [tensor.name for tensor in tensors if tensor.name.endswith('gate.weight')]
  assert routers == ['model.layers.1.mlp.gate.weight', 'model.layers.2.mlp.gate.weight']


def test_a_family_without_names_is_an_error():
  model = model_of('llama')
  with pytest.raises(ConfigError, match='^gemma3: '):
    checkpoint_tensors(FAMILIES['gemma3'], model.cfg, model.shapes)


def test_a_parameter_without_a_name_is_an_error():
  model = model_of('llama', mixer_pattern=('mingru',))
  with pytest.raises(ConfigError, match='^llama: .*mingru/'):
    checkpoint_tensors(FAMILIES['llama'], model.cfg, model.shapes)


def test_a_head_is_found_by_its_name():
  cfg = model_of('gpt_neox').cfg
  assert has_head(FAMILIES['gpt_neox'], cfg, {'embed_out.weight': None})
  assert not has_head(FAMILIES['gpt_neox'], cfg, {'lm_head.weight': None})


def test_only_a_tied_head_may_repeat_the_embedding():
  family = FAMILIES['llama']
  tied = model_of('llama', tie_embeddings=True).cfg
  assert tied_names(family, tied) == {'lm_head.weight': 'model.embed_tokens.weight'}
  assert tied_names(family, model_of('llama', tie_embeddings=False).cfg) == {}
