"""Batches: shifted targets, document boundaries, and evaluation of whole streams."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.data.batches import evaluation_batches, make_batch
from lmhp.data.shards import TokenStream
from lmhp.errors import ConfigError
from lmhp.model.batch import Batch

END = 9


def make_stream(n, dtype=np.uint16):
  return TokenStream(np.arange(n, dtype=dtype), np.zeros(1, np.int64))


def test_target_is_the_next_token():
  batch = make_batch(np.asarray([[5, 6, 7, 8]], np.uint16))
  assert batch.tokens.tolist() == [[5, 6, 7]]
  assert batch.targets.tolist() == [[6, 7, 8]]
  assert batch.weights.tolist() == [[1, 1, 1]]
  assert batch.positions is None
  assert batch.segments is None


def test_arrays_have_the_dtypes_of_a_batch():
  batch = make_batch(np.asarray([[5, 6, 7, 8]], np.uint16))
  dtypes = [str(x.dtype) for x in (batch.tokens, batch.targets, batch.weights)]
  assert dtypes == ['int32', 'int32', 'float32']


def test_missing_arrays_are_no_leaves_of_the_pytree():
  batch = make_batch(np.zeros((2, 4), np.uint16))
  assert len(jax.tree.leaves(batch)) == 3
  assert isinstance(jax.tree.map(lambda x: x + 1, batch), Batch)


def documents_by_hand(window):
  """Returns the five arrays of a window, computed token by token."""
  segment = 1
  position = 0
  rows = []
  for token, target in zip(window[:-1], window[1:]):
    rows.append((token, target, float(token != END), position, segment))
    position += 1
    if token == END:
      segment += 1
      position = 0
  return [list(column) for column in zip(*rows)]


@pytest.mark.parametrize('xp', [np, jnp])
@pytest.mark.parametrize(
  'window',
  [
    [1, 2, 3, 4, 5],
    [1, END, 3, 4, 5],
    [END, 2, 3, END, 5],
    [1, 2, 3, 4, END],
    [END, END, END, 1, 2],
    [1, 2, 3, END, END],
  ],
)
def test_documents_have_own_positions_and_segments(window, xp):
  batch = make_batch(xp.asarray([window], dtype='uint16'), END)
  leaves = [np.asarray(x)[0] for x in jax.tree.leaves(batch)]
  assert [x.tolist() for x in leaves] == documents_by_hand(window)
  dtypes = [str(x.dtype) for x in leaves]
  assert dtypes == ['int32', 'int32', 'float32', 'int32', 'int32']


def scored_pairs(batches):
  """Returns the token and target at each position of weight above 0, in order."""
  pairs = []
  for batch in batches:
    is_scored = batch.weights > 0
    tokens = batch.tokens[is_scored].tolist()
    targets = batch.targets[is_scored].tolist()
    pairs += zip(tokens, targets)
  return pairs


@pytest.mark.parametrize('n', [9, 10, 15, 16, 17, 33, 100])
@pytest.mark.parametrize('batch_size', [1, 3])
def test_each_token_except_the_first_is_a_target_once(n, batch_size):
  batches = list(evaluation_batches([make_stream(n)], 8, batch_size))
  assert scored_pairs(batches) == [(i, i + 1) for i in range(n - 1)]


@pytest.mark.parametrize('n', [9, 16, 33, 100])
def test_batches_of_an_evaluation_have_one_shape(n):
  batches = list(evaluation_batches([make_stream(n)], 8, 3))
  assert {b.tokens.shape for b in batches} == {(3, 8)}
  assert {b.weights.shape for b in batches} == {(3, 8)}
  n_real_sequences = sum(b.weights.any(axis=1).sum() for b in batches)
  assert n_real_sequences == -(-(n - 1) // 8)


def test_windows_are_consecutive():
  first, second = list(evaluation_batches([make_stream(33)], 8, 2))
  assert first.tokens[:, 0].tolist() == [0, 8]
  assert second.tokens[:, 0].tolist() == [16, 24]


def test_no_window_crosses_two_streams():
  large_ids = np.arange(100, 120, dtype=np.uint32) * 1000
  streams = (make_stream(12), TokenStream(large_ids, np.zeros(1, np.int64)))
  pairs = scored_pairs(evaluation_batches(streams, 8, 3))
  expected = [(i, i + 1) for i in range(11)]
  expected += [(i * 1000, i * 1000 + 1000) for i in range(100, 119)]
  assert pairs == expected


def test_limit_takes_evenly_spaced_windows():
  batches = list(evaluation_batches([make_stream(801)], 8, 3, limit=4))
  assert [b.tokens.shape for b in batches] == [(3, 8)] * 2
  starts = []
  for batch in batches:
    starts += batch.tokens[batch.weights.any(axis=1), 0].tolist()
  assert starts == [0, 200, 400, 600]


def test_limit_above_the_number_of_windows_takes_all():
  limited = evaluation_batches([make_stream(33)], 8, 3, limit=99)
  unlimited = evaluation_batches([make_stream(33)], 8, 3)
  assert scored_pairs(limited) == scored_pairs(unlimited)


def test_first_token_of_the_next_document_is_not_scored():
  ids = np.asarray([1, 2, END, 3, 4, END, 5, 6], np.uint16)
  stream = TokenStream(ids, np.asarray([0, 3, 6]))
  (batch,) = evaluation_batches([stream], 7, 1, end_of_text=END)
  assert scored_pairs([batch]) == [(1, 2), (2, END), (3, 4), (4, END), (5, 6)]
  assert batch.segments.tolist() == [[1, 1, 1, 2, 2, 2, 3]]
  assert batch.positions.tolist() == [[0, 1, 2, 0, 1, 2, 0]]


def test_stream_shorter_than_a_window_is_an_error_before_the_first_batch():
  message = r'data\.validation_fraction: got 8 .* expected at least 9'
  with pytest.raises(ConfigError, match=message):
    evaluation_batches([make_stream(8)], 8, 1)
