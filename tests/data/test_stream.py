"""TrainStream: equal sequences on device and host, for every batch size and first step."""

import functools
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp import hypers
from lmhp.data import stream as stream_lib
from lmhp.data.config import DataConfig
from lmhp.data.dataset import Dataset
from lmhp.data.order import Order, n_windows
from lmhp.data.shards import TokenStream
from lmhp.data.tokenizer import ByteTokenizer, CharTokenizer
from lmhp.errors import ConfigError

L = 7


def make(lengths=(200,), dtype=np.uint16, tokenizer=None, **values):
  """Returns a stream and the traced numbers of its config.

  Source k has the tokens 1000 k, 1000 k + 1, ..., so that a token tells its position.
  """
  paths = tuple(f'source {k}' for k in range(len(lengths)))
  structure, data_hypers = hypers.split(DataConfig(path=paths, **values))
  train = tuple(
    TokenStream((1000 * k + np.arange(n)).astype(dtype), np.zeros(1, np.int64))
    for k, n in enumerate(lengths)
  )
  dataset = Dataset(tokenizer or ByteTokenizer(), train, train, (), '')
  return stream_lib.TrainStream(dataset, L, structure), data_hypers


@functools.cache
def jitted_gather(stream):
  return jax.jit(stream.gather)


def gather(stream, data_hypers, first, count):
  numbers = np.arange(first, first + count).astype(np.uint32)
  batch = jitted_gather(stream)(stream.arrays, data_hypers, numbers)
  return jax.device_get(batch)


def concatenate(batches):
  return jax.tree.map(lambda *x: np.concatenate(x), *batches)


def take(batch, i):
  """Returns item i of the leading axis of all arrays."""
  return jax.tree.map(lambda x: x[i], batch)


def check_equal(first, second):
  """Asserts that two batches have equal arrays of equal dtypes."""
  assert jax.tree.structure(first) == jax.tree.structure(second)
  jax.tree.map(np.testing.assert_array_equal, first, second)
  dtypes = [x.dtype for x in jax.tree.leaves(first)]
  assert dtypes == [x.dtype for x in jax.tree.leaves(second)]


# --- sequences ----------------------------------------------------------------------


@pytest.mark.parametrize('epoch', [0, 1, 2])
def test_epoch_reads_one_contiguous_part_of_the_source_once(epoch):
  stream, data_hypers = make((200,))
  (n,) = stream.windows_per_epoch
  assert n == 200 // L - 1
  batch = gather(stream, data_hypers, epoch * n, n)
  tokens = np.sort(batch.tokens.ravel())
  assert (np.diff(tokens) == 1).all()
  assert tokens[0] < L
  assert batch.targets.max() < 200
  assert (batch.targets == batch.tokens + 1).all()


@pytest.mark.parametrize('batch_size', [1, 6, 16])
def test_batch_size_does_not_change_the_sequences(batch_size):
  stream, data_hypers = make((200, 90), mixture_weights=(1, 2), seed=5)
  expected = gather(stream, data_hypers, 0, 48)
  batches = [
    gather(stream, data_hypers, first, batch_size) for first in range(0, 48, batch_size)
  ]
  check_equal(concatenate(batches), expected)


def test_resumed_run_reads_on_at_its_step():
  first, data_hypers = make((200,), seed=9)
  resumed, _ = make((200,), seed=9)
  expected = take(first.host_batches(data_hypers, 0, 4, 10), slice(6, None))
  check_equal(resumed.host_batches(data_hypers, 24, 4, 4), expected)


@pytest.mark.parametrize(
  'values',
  [
    {'lengths': (200,)},
    {'lengths': (200, 90, 33), 'mixture_weights': (1, 0.3, 0)},
    {'lengths': (200, 300), 'dtype': np.uint32, 'intra_document_attention': True},
  ],
)
def test_host_batches_equal_gathered_batches(values):
  resident, data_hypers = make(placement='device', seed=4, **values)
  streamed, _ = make(placement='host', seed=4, **values)
  chunk = streamed.host_batches(data_hypers, 30, 5, 3)
  assert chunk.tokens.shape == (3, 5, L)
  assert isinstance(chunk.tokens, np.ndarray)
  for step in range(3):
    check_equal(take(chunk, step), gather(resident, data_hypers, 30 + 5 * step, 5))


def test_documents_restart_positions_and_count_segments():
  stream, data_hypers = make((600,), intra_document_attention=True, placement='device')
  batch = gather(stream, data_hypers, 0, 200)
  row = np.flatnonzero((batch.tokens[:, :-1] == 256).any(axis=1))[0]
  end = batch.tokens[row].tolist().index(256)
  n_after = L - end - 1
  assert batch.weights[row].tolist() == [0.0 if i == end else 1.0 for i in range(L)]
  assert batch.segments[row].tolist() == [1] * (end + 1) + [2] * n_after
  assert batch.positions[row].tolist() == [*range(end + 1), *range(n_after)]


# --- programs -----------------------------------------------------------------------


def test_members_with_different_seeds_and_weights_can_be_vmapped():
  stream, _ = make((200, 90))
  members = {
    'seed': np.uint32([1, 2, 1]),
    'mixture_weights': np.float32([[1, 1], [1, 1], [0, 1]]),
  }
  numbers = np.arange(40, 46, dtype=np.uint32)
  vmapped = jax.jit(jax.vmap(stream.gather, in_axes=(None, 0, None)))
  batches = jax.device_get(vmapped(stream.arrays, members, numbers))
  for i in range(3):
    check_equal(take(batches, i), gather(stream, take(members, i), 40, 6))
  assert (batches.tokens[0] != batches.tokens[1]).any()
  assert (batches.tokens[2] >= 1000).all()


def test_seeds_and_weights_share_one_program():
  stream, _ = make((200, 90))
  for seed, weights in ((1, (1, 1)), (2, (3, 1)), (3, (0, 1))):
    data_hypers = {'seed': np.uint32(seed), 'mixture_weights': np.float32(weights)}
    gather(stream, data_hypers, 0, 4)
  assert jitted_gather(stream)._cache_size() == 1


def test_tokens_are_no_constants_of_the_program():
  stream, data_hypers = make((200, 90))
  numbers = jnp.arange(4, dtype=jnp.uint32)
  jaxpr = jax.make_jaxpr(stream.gather)(stream.arrays, data_hypers, numbers)
  # The constants are one number for each source.
  assert all(x.size <= 2 for x in jaxpr.consts)


def test_gather_works_inside_a_scan():
  stream, data_hypers = make((200,))

  def body(step, _):
    numbers = step * 3 + jnp.arange(3, dtype=jnp.uint32)
    return step + 1, stream.gather(stream.arrays, data_hypers, numbers)

  _, batches = jax.lax.scan(body, jnp.uint32(2), length=4)
  check_equal(jax.device_get(batches), stream.host_batches(data_hypers, 6, 3, 4))


class HugeArray:
  """An array of 2**33 tokens: each is its index modulo a prime. Records the indices."""

  dtype = np.dtype(np.uint16)
  nbytes = 2**34

  def __len__(self):
    return 2**33

  def __getitem__(self, indices):
    self.indices = indices
    return (indices % 65_521).astype(np.uint16)


def test_host_reads_sources_of_more_than_2_to_the_32_tokens():
  stream, data_hypers = make((200,), placement='host')
  ids = HugeArray()
  stream._sources = [ids]
  stream._order = Order(L, (n_windows(len(ids), L),))
  batch = stream.host_batches(data_hypers, 0, 64, 1)
  assert ids.indices.dtype == np.int64
  assert ids.indices.min() >= 0
  assert 2**32 < ids.indices.max() < 2**33
  assert ((batch.targets - batch.tokens) % 65_521 == 1).all()


# --- prefetching --------------------------------------------------------------------


def test_prefetched_chunks_have_the_given_lengths():
  stream, data_hypers = make((200,), placement='host')
  chunks = list(stream.prefetch(data_hypers, 8, 4, [3, 3, 0, 1]))
  assert [chunk.tokens.shape for chunk in chunks] == [
    (3, 4, L),
    (3, 4, L),
    (0, 4, L),
    (1, 4, L),
  ]
  check_equal(concatenate(chunks), stream.host_batches(data_hypers, 8, 4, 7))


def test_no_chunks_are_prefetched_without_lengths():
  stream, data_hypers = make((200,), placement='host')
  assert not list(stream.prefetch(data_hypers, 0, 4, []))


def test_one_chunk_is_prepared_ahead(monkeypatch):
  stream, data_hypers = make((200,), placement='host')
  started = [threading.Event() for _ in range(3)]
  host_batches = stream.host_batches

  def record(data_hypers, first_sequence, batch_size, n_steps):
    started[first_sequence // 4].set()
    return host_batches(data_hypers, first_sequence, batch_size, n_steps)

  monkeypatch.setattr(stream, 'host_batches', record)
  chunks = stream.prefetch(data_hypers, 0, 4, [1, 1, 1])
  next(chunks)
  assert started[1].wait(10)
  assert not started[2].is_set()
  chunks.close()


def test_error_of_the_thread_is_raised(monkeypatch):
  stream, data_hypers = make((200,))
  monkeypatch.setattr(stream, 'host_batches', lambda *_: 1 / 0)
  with pytest.raises(ZeroDivisionError):
    list(stream.prefetch(data_hypers, 0, 4, [1]))


# --- epochs, placement and errors ---------------------------------------------------


def test_epochs_of_one_source_and_of_a_mixture():
  stream, _ = make((200,))
  assert stream.epochs(54) == (2.0,)
  mixture, _ = make((200, 90))
  assert mixture.epochs(1024, (3, 1)) == (768 / 27, 256 / 11)


def test_sequence_numbers_above_uint32_are_an_error():
  stream, _ = make((200,))
  with pytest.raises(ConfigError, match=r'train\.steps: .* at most 4294967296'):
    stream.epochs(2**32 + 1)


def test_automatic_placement_depends_on_the_size_of_the_tokens(monkeypatch):
  assert make((200,))[0].resident
  monkeypatch.setattr(stream_lib, 'MAX_RESIDENT_BYTES', 399)
  assert not make((200,))[0].resident
  assert make((200,), placement='device')[0].resident


def test_source_with_fewer_tokens_than_two_sequences_is_an_error():
  make((14,))
  message = r"data\.path: 'source 1' has 13 training tokens, expected at least 14"
  with pytest.raises(ConfigError, match=message):
    make((200, 13))


def test_intra_document_attention_needs_an_end_of_text():
  tokenizer = CharTokenizer('ab', end_of_text=False)
  message = r'data\.intra_document_attention: got True, expected False: .* char'
  with pytest.raises(ConfigError, match=message):
    make((200,), tokenizer=tokenizer, intra_document_attention=True)
