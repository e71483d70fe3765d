"""Parameters from tensors: names, repeated tensors, precision and errors."""

import re

import jax
import ml_dtypes
import numpy as np
import pytest

from lmhp.errors import ConfigError
from lmhp.hub.pretrained import load_pretrained, save_pretrained
from lmhp.hub.tensor_file import read_tensors, write_tensors

EMBEDDING = 'model.embed_tokens.weight'
HEAD = 'lm_head.weight'
NORM = 'model.norm.weight'
QUERY = 'model.layers.1.self_attn.q_proj.weight'


def tensors_of(path):
  """Returns copies of the tensors of a directory."""
  tensors = read_tensors(path / 'model.safetensors')
  return {name: np.array(array) for name, array in tensors.items()}


def replace_tensors(path, tensors):
  write_tensors(path / 'model.safetensors', tensors)


def assert_same(tree, other):
  jax.tree.map(np.testing.assert_array_equal, tree, other)


# --- names --------------------------------------------------------------------------


def test_a_weight_is_transposed_and_placed_in_its_layer(saved):
  query = saved.params['decoder']['segment_0']['attention']['query']['kernel']
  expected = query[1].reshape(24, 24).T
  np.testing.assert_array_equal(tensors_of(saved.path)[QUERY], expected)


def test_names_may_lack_their_first_word(saved):
  tensors = {
    name.removeprefix('model.'): array for name, array in tensors_of(saved.path).items()
  }
  replace_tensors(saved.path, tensors)
  assert_same(load_pretrained(saved.path)[1], saved.params)


def test_normalizations_may_have_the_names_of_the_first_files_of_bert(saved):
  tensors = {
    re.sub(r'norm\.weight$', 'norm.gamma', name): array
    for name, array in tensors_of(saved.path).items()
  }
  assert 'model.norm.gamma' in tensors
  replace_tensors(saved.path, tensors)
  assert_same(load_pretrained(saved.path)[1], saved.params)


@pytest.fixture
def tied(saved, tmp_path):
  """A llama whose head is tied to the embedding."""
  config = saved.config | {'tie_word_embeddings': True}
  params = {name: x for name, x in saved.params.items() if name != 'output'}
  save_pretrained(tmp_path / 'tied', config, params)
  return tmp_path / 'tied', params


def test_a_tied_head_may_be_stored_again(tied):
  path, params = tied
  tensors = tensors_of(path)
  tensors[HEAD] = tensors[EMBEDDING]
  replace_tensors(path, tensors)
  assert_same(load_pretrained(path)[1], params)


def test_a_tied_head_with_other_numbers_is_an_error(tied):
  path, _ = tied
  tensors = tensors_of(path)
  tensors[HEAD] = tensors[EMBEDDING] + 1
  replace_tensors(path, tensors)
  with pytest.raises(ConfigError, match=f'{HEAD}: .*{EMBEDDING}'):
    load_pretrained(path)


def test_constants_of_older_files_are_ignored(saved):
  tensors = tensors_of(saved.path)
  tensors['model.layers.0.self_attn.rotary_emb.inv_freq'] = np.ones(3, np.float32)
  replace_tensors(saved.path, tensors)
  assert_same(load_pretrained(saved.path)[1], saved.params)


# --- precision ----------------------------------------------------------------------


def test_each_parameter_keeps_its_precision(saved):
  tensors = tensors_of(saved.path)
  tensors[NORM] = tensors[NORM].astype(ml_dtypes.bfloat16)
  replace_tensors(saved.path, tensors)
  params = load_pretrained(saved.path)[1]
  assert params['final_norm']['scale'].dtype == ml_dtypes.bfloat16
  assert params['embedding']['table'].dtype == np.float32


def test_layers_of_several_precisions_are_float32(saved):
  tensors = tensors_of(saved.path)
  tensors[QUERY] = tensors[QUERY].astype(np.float16)
  replace_tensors(saved.path, tensors)
  params = load_pretrained(saved.path)[1]
  query = params['decoder']['segment_0']['attention']['query']['kernel']
  assert query.dtype == np.float32
  np.testing.assert_array_equal(query[1].reshape(24, 24).T, tensors[QUERY])


# --- errors -------------------------------------------------------------------------


def without_norm(tensors):
  del tensors[NORM]


def with_another_tensor(tensors):
  tensors['model.layers.0.mlp.extra.weight'] = np.ones(3, np.float32)


def with_another_shape(tensors):
  tensors[NORM] = tensors[NORM].reshape(4, 6)


def with_whole_numbers(tensors):
  tensors[NORM] = tensors[NORM].astype(np.int32)


def with_bytes(tensors):
  tensors[NORM] = tensors[NORM].astype(np.int8)


WRONG = {
  'a missing tensor': (without_norm, f'{NORM}.* final_norm/scale'),
  'a further tensor': (with_another_tensor, r'model\.layers\.0\.mlp\.extra\.weight: '),
  'another shape': (with_another_shape, rf'{NORM}: .*\[4, 6\].*\[24\]'),
  'whole numbers': (with_whole_numbers, f'{NORM}: got int32 '),
  'bytes': (with_bytes, f'{NORM}: got int8 '),
}


@pytest.mark.parametrize('case', WRONG)
def test_wrong_tensors_are_an_error_of_one_line(saved, case):
  change, pattern = WRONG[case]
  tensors = tensors_of(saved.path)
  change(tensors)
  replace_tensors(saved.path, tensors)
  with pytest.raises(ConfigError, match=pattern) as caught:
    load_pretrained(saved.path)
  assert '\n' not in str(caught.value)
  assert str(saved.path) in str(caught.value)
