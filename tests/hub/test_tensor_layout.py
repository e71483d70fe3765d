"""Layout of parameters in tensors, compared with tensors that are built by hand."""

import numpy as np
import pytest

from lmhp.hub.tensor_layout import CheckpointTensor, ParamSlice
from lmhp.params import param_of

D = 5
H = 6
G = 3
K = 2
F = 4
E = 7
N = 2

SHAPES = {
  'decoder/segment_0/attention/query/kernel': (N, D, H, K),
  'decoder/segment_0/attention/key/kernel': (N, D, G, K),
  'decoder/segment_0/attention/value/kernel': (N, D, G, K),
  'decoder/segment_0/attention/query/bias': (N, H, K),
  'decoder/segment_0/attention/query_norm/scale': (N, H * K),
  'decoder/segment_0/experts/gate/kernel': (N, E, D, F),
  'decoder/segment_0/experts/up/kernel': (N, E, D, F),
  'embedding/table': (9, D),
}


def random_array(path):
  seed = list(SHAPES).index(path)
  return np.random.default_rng(seed).standard_normal(SHAPES[path])


def slice_of(name, layer=1, **indices):
  """Returns a slice of the parameter whose path ends with a name, and its array."""
  (path,) = (path for path in SHAPES if path.endswith(name))
  array = random_array(path)
  param = param_of(path, array)
  return ParamSlice(param, layer if param.is_stacked else None, **indices), array


def check(tensor, arrays, expected):
  """Checks `join` and `split` of a tensor against its expected values."""
  assert tensor.shape == expected.shape
  parts = [part.read(array) for part, array in zip(tensor.slices, arrays, strict=True)]
  np.testing.assert_array_equal(tensor.join(parts), expected)
  for part, values in zip(parts, tensor.split(expected), strict=True):
    np.testing.assert_array_equal(values, part)


# --- slices -------------------------------------------------------------------------


def test_a_weight_is_stored_as_outputs_by_inputs():
  part, array = slice_of('query/kernel')
  assert part.shape == (H * K, D)
  np.testing.assert_array_equal(part.read(array), array[1].reshape(D, H * K).T)


def test_a_table_is_stored_as_it_is():
  part, array = slice_of('embedding/table')
  np.testing.assert_array_equal(part.read(array), array)


def test_a_bias_is_stored_flat():
  part, array = slice_of('query/bias')
  np.testing.assert_array_equal(part.read(array), array[1].reshape(-1))


def test_one_expert_is_a_matrix():
  part, array = slice_of('gate/kernel', expert=4)
  np.testing.assert_array_equal(part.read(array), array[1, 4].T)


def test_all_experts_are_stored_as_they_are():
  part, array = slice_of('gate/kernel')
  np.testing.assert_array_equal(part.read(array), array[1])


def test_one_head_is_a_part_of_a_vector():
  part, array = slice_of('query_norm/scale', head=2, n_heads=H)
  assert part.shape == (K,)
  np.testing.assert_array_equal(part.read(array), array[1].reshape(H, K)[2])


@pytest.mark.parametrize(
  'name, indices',
  [
    ('query/kernel', {}),
    ('query/bias', {}),
    ('embedding/table', {}),
    ('gate/kernel', {}),
    ('gate/kernel', {'expert': 4}),
    ('query_norm/scale', {'head': 2, 'n_heads': H}),
  ],
)
def test_write_changes_only_the_slice(name, indices):
  part, array = slice_of(name, **indices)
  target = np.zeros_like(array)
  part.write(target, part.read(array))
  np.testing.assert_array_equal(part.read(target), part.read(array))
  assert np.count_nonzero(target) == part.read(array).size


# --- tensors ------------------------------------------------------------------------


def test_a_transposed_tensor():
  part, array = slice_of('query/kernel')
  tensor = CheckpointTensor('a', (part,), is_transposed=True)
  check(tensor, [array], array[1].reshape(D, H * K))


def test_query_key_and_value_one_after_the_other():
  slices, arrays = zip(
    slice_of('query/kernel'),
    slice_of('key/kernel'),
    slice_of('value/kernel'),
    strict=True,
  )
  rows = [array[1].reshape(D, -1).T for array in arrays]
  check(CheckpointTensor('a', slices), arrays, np.concatenate(rows))


def test_query_key_and_value_in_groups():
  slices, arrays = zip(
    slice_of('query/kernel'),
    slice_of('key/kernel'),
    slice_of('value/kernel'),
    strict=True,
  )
  query, key, value = (array[1] for array in arrays)
  rows = []
  for group in range(G):
    for head in range(group * H // G, (group + 1) * H // G):
      rows.append(query[:, head].T)
    rows.append(key[:, group].T)
    rows.append(value[:, group].T)
  check(CheckpointTensor('a', slices, n_groups=G), arrays, np.concatenate(rows))


def test_a_vector_by_head():
  part, array = slice_of('query_norm/scale')
  expected = array[1].reshape(H, K)
  check(CheckpointTensor('a', (part,), n_vector_heads=H), [array], expected)


def test_gates_of_all_experts_before_the_others():
  slices, arrays = zip(slice_of('gate/kernel'), slice_of('up/kernel'), strict=True)
  expected = np.concatenate([arrays[0][1], arrays[1][1]], axis=-1)
  check(CheckpointTensor('a', slices), arrays, expected)


def test_gates_of_all_experts_alternate_with_the_others():
  slices, arrays = zip(slice_of('gate/kernel'), slice_of('up/kernel'), strict=True)
  expected = np.empty((E, D, 2 * F))
  expected[..., 0::2] = arrays[0][1]
  expected[..., 1::2] = arrays[1][1]
  check(CheckpointTensor('a', slices, is_interleaved=True), arrays, expected)
