"""Batch, the shift of targets, the masking of documents, and evaluation from end to end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.data.batches import evaluation_batches, make_batch
from lmhp.data.shards import TokenShards
from lmhp.errors import ConfigError
from lmhp.model.batch import Batch

END = 9


def stream(n, dtype=np.uint16):
  return TokenShards(np.arange(n, dtype=dtype), np.zeros(1, np.int64))


def test_the_target_is_the_next_token():
  batch = make_batch(np.asarray([[5, 6, 7, 8]], np.uint16))
  assert batch.tokens.tolist() == [[5, 6, 7]] and batch.targets.tolist() == [[6, 7, 8]]
  assert (
    batch.weights.tolist() == [[1, 1, 1]]
    and batch.positions is None
    and batch.segments is None
  )
  assert (batch.tokens.dtype, batch.targets.dtype, batch.weights.dtype) == (
    'int32',
    'int32',
    'float32',
  )


def test_a_batch_is_a_pytree_without_what_it_lacks():
  batch = make_batch(np.zeros((2, 4), np.uint16))
  assert len(jax.tree.leaves(batch)) == 3
  assert isinstance(jax.tree.map(lambda x: x + 1, batch), Batch)


def by_hand(window):
  """Documents told apart one token after the other."""
  segment, position, rows = 1, 0, []
  for token, target in zip(window[:-1], window[1:]):
    rows.append((token, target, float(token != END), position, segment))
    segment, position = (segment + 1, 0) if token == END else (segment, position + 1)
  return [list(column) for column in zip(*rows)]


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
def test_documents_are_told_apart(window):
  expected = by_hand(window)
  for array in (np, jnp):
    batch = make_batch(array.asarray([window], dtype='uint16'), END)
    assert [np.asarray(x)[0].tolist() for x in jax.tree.leaves(batch)] == expected
    assert [str(x.dtype) for x in jax.tree.leaves(batch)] == [
      'int32',
      'int32',
      'float32',
      'int32',
      'int32',
    ]


def scored(batches):
  """The targets that count, in order, and their tokens."""
  pairs = []
  for b in batches:
    pairs += list(
      zip(b.tokens[b.weights > 0].tolist(), b.targets[b.weights > 0].tolist())
    )
  return pairs


@pytest.mark.parametrize('n', [9, 10, 15, 16, 17, 33, 100])
@pytest.mark.parametrize('batch_size', [1, 3])
def test_each_token_but_the_first_is_a_target_once(n, batch_size):
  batches = list(evaluation_batches(stream(n), 8, batch_size))
  assert scored(batches) == [(i, i + 1) for i in range(n - 1)]
  assert all(b.tokens.shape == b.weights.shape == (batch_size, 8) for b in batches)
  assert sum(b.weights.any(axis=1).sum() for b in batches) == -(-(n - 1) // 8)


def test_windows_are_consecutive():
  first, second = list(evaluation_batches(stream(33), 8, 2))
  assert first.tokens[:, 0].tolist() == [0, 8] and second.tokens[:, 0].tolist() == [
    16,
    24,
  ]


def test_several_streams_are_read_one_after_the_other_and_never_across():
  streams = (
    stream(12),
    TokenShards(np.arange(100, 120, dtype=np.uint32) * 1000, np.zeros(1, np.int64)),
  )
  got = scored(evaluation_batches(streams, 8, 3))
  assert got == [(i, i + 1) for i in range(11)] + [
    (i * 1000, i * 1000 + 1000) for i in range(100, 119)
  ]


def test_a_limit_takes_windows_spread_over_the_stream():
  batches = list(evaluation_batches(stream(801), 8, 3, limit=4))
  assert [b.tokens.shape for b in batches] == [(3, 8)] * 2
  starts = [
    row[0]
    for b in batches
    for row, weights in zip(b.tokens, b.weights)
    if weights.any()
  ]
  assert starts == [0, 200, 400, 600]
  assert scored(evaluation_batches(stream(33), 8, 3, limit=99)) == scored(
    evaluation_batches(stream(33), 8, 3)
  )


def test_masked_documents_do_not_score_the_first_token_of_another():
  tokens = TokenShards(
    np.asarray([1, 2, END, 3, 4, END, 5, 6], np.uint16), np.asarray([0, 3, 6])
  )
  (batch,) = evaluation_batches(tokens, 7, 1, end_of_text=END)
  assert scored([batch]) == [(1, 2), (2, END), (3, 4), (4, END), (5, 6)]
  assert batch.segments.tolist() == [
    [1, 1, 1, 2, 2, 2, 3]
  ] and batch.positions.tolist() == [[0, 1, 2, 0, 1, 2, 0]]


def test_too_short_a_stream_is_said_at_once():
  with pytest.raises(
    ConfigError,
    match=r'data\.validation_fraction: 8 validation tokens, expected at least 9',
  ):
    evaluation_batches(stream(8), 8, 1)
