"""TrainStream: the same sequences on device and host, for any batch size, from any step."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp import hypers
from lmhp.data import order
from lmhp.data import stream as streams
from lmhp.data.config import DataConfig
from lmhp.data.dataset import Dataset
from lmhp.data.shards import TokenShards
from lmhp.data.stream import TrainStream
from lmhp.data.tokenizer import ByteTokenizer, CharTokenizer
from lmhp.errors import ConfigError

L = 7


def make(lengths=(200,), dtype=np.uint16, tokenizer=None, **values):
  """A stream over made-up sources whose tokens tell source and place: 0, 1, 2, ... and 1000, 1001, ..."""
  cfg = DataConfig(path=tuple(f'source {k}' for k in range(len(lengths))), **values)
  train = tuple(
    TokenShards((1000 * k + np.arange(n)).astype(dtype), np.zeros(1, np.int64))
    for k, n in enumerate(lengths)
  )
  dataset = Dataset(tokenizer or ByteTokenizer(), train, train, (), '')
  structure, data_hypers = hypers.split(cfg)
  return TrainStream(dataset, L, structure), data_hypers


@functools.cache
def program(stream):
  return jax.jit(stream.gather)


def gather(stream, data_hypers, first, count):
  numbers = np.arange(first, first + count).astype(np.uint32)
  return jax.device_get(program(stream)(stream.arrays, data_hypers, numbers))


def same(a, b):
  left, right = jax.tree.leaves(a), jax.tree.leaves(b)
  assert jax.tree.structure(a) == jax.tree.structure(b)
  assert all(
    x.dtype == y.dtype and x.shape == y.shape and (x == y).all()
    for x, y in zip(left, right, strict=True)
  )


def test_an_epoch_covers_a_contiguous_stretch_once():
  stream, h = make((200,))
  n = stream.windows_per_epoch[0]
  assert n == 200 // L - 1
  for epoch in range(3):
    batch = gather(stream, h, epoch * n, n)
    covered = np.sort(batch.tokens.ravel())
    assert (
      (np.diff(covered) == 1).all() and covered[0] < L and batch.targets.max() < 200
    )
    assert (batch.targets == batch.tokens + 1).all()


def test_the_batch_size_does_not_change_the_sequences():
  stream, h = make((200, 90), mixture_weights=(1, 2), seed=5)
  whole = gather(stream, h, 0, 48)
  for size in (1, 6, 16):
    parts = [gather(stream, h, i, size) for i in range(0, 48, size)]
    same(jax.tree.map(lambda *x: np.concatenate(x), *parts), whole)


def test_a_resumed_run_needs_only_its_step():
  first, h = make((200,), seed=9)
  again, _ = make((200,), seed=9)
  whole = first.host_batches(h, 0, 4, 10)
  same(again.host_batches(h, 24, 4, 4), jax.tree.map(lambda x: x[6:], whole))


@pytest.mark.parametrize(
  'values',
  [
    dict(lengths=(200,)),
    dict(lengths=(200, 90, 33), mixture_weights=(1, 0.3, 0)),
    dict(lengths=(200, 300), dtype=np.uint32, intra_document_attention=True),
  ],
)
def test_streamed_equals_resident_bit_for_bit(values):
  resident, h = make(placement='device', seed=4, **values)
  streamed, _ = make(placement='host', seed=4, **values)
  assert resident.resident and not streamed.resident and streamed.arrays == {}
  chunk = streamed.host_batches(h, 30, 5, 3)
  assert chunk.tokens.shape == (3, 5, L) and isinstance(chunk.tokens, np.ndarray)
  for step in range(3):
    same(jax.tree.map(lambda x: x[step], chunk), gather(resident, h, 30 + 5 * step, 5))


def test_members_with_other_seeds_and_weights_vmap():
  stream, _ = make((200, 90))
  members = {
    'seed': np.uint32([1, 2, 1]),
    'mixture_weights': np.float32([[1, 1], [1, 1], [0, 1]]),
  }
  numbers = np.arange(40, 46, dtype=np.uint32)
  together = jax.device_get(
    jax.jit(jax.vmap(stream.gather, in_axes=(None, 0, None)))(
      stream.arrays, members, numbers
    )
  )
  for i in range(3):
    alone = gather(stream, jax.tree.map(lambda x: x[i], members), 40, 6)
    same(jax.tree.map(lambda x: x[i], together), alone)
  assert (together.tokens[0] != together.tokens[1]).any() and (
    together.tokens[2] >= 1000
  ).all()


def test_seed_and_weights_are_numbers_of_one_program():
  stream, h = make((200, 90))
  for seed, weights in ((1, (1, 1)), (2, (3, 1)), (3, (0, 1))):
    gather(
      stream, {'seed': np.uint32(seed), 'mixture_weights': np.float32(weights)}, 0, 4
    )
  assert program(stream)._cache_size() == 1
  closed_over = jax.make_jaxpr(stream.gather)(
    stream.arrays, h, jnp.arange(4, dtype=jnp.uint32)
  ).consts
  assert all(
    x.size <= 2 for x in closed_over
  )  # a figure for each source, and no tokens


def test_it_gathers_inside_a_scan():
  stream, h = make((200,))

  def body(step, _):
    numbers = step * 3 + jnp.arange(3, dtype=jnp.uint32)
    return step + 1, stream.gather(stream.arrays, h, numbers)

  _, batches = jax.lax.scan(body, jnp.uint32(2), length=4)
  same(jax.device_get(batches), stream.host_batches(h, 6, 3, 4))


def test_tokens_beyond_31_bits_are_addressed_on_the_host():
  """A stream of 2**33 tokens without the memory for it: an array that gives each place modulo a prime."""

  class Long:
    dtype, nbytes = np.dtype(np.uint16), 2**34

    def __len__(self):
      return 2**33

    def __getitem__(self, where):
      self.asked = where
      return (where % 65_521).astype(np.uint16)

  stream, h = make((200,), placement='host')
  long = Long()
  stream._sources, stream._order = (
    [long],
    order.Order(L, (order.windows_of(len(long), L),)),
  )
  batch = stream.host_batches(h, 0, 64, 1)
  assert (
    long.asked.dtype == np.int64
    and long.asked.min() >= 0
    and 2**32 < long.asked.max() < 2**33
  )
  assert ((batch.targets - batch.tokens) % 65_521 == 1).all()


def test_prefetched_chunks_are_those_asked_for():
  stream, h = make((200,), placement='host')
  chunks = list(stream.prefetch(h, 8, 4, [3, 3, 0, 1]))
  assert [c.tokens.shape for c in chunks] == [
    (3, 4, L),
    (3, 4, L),
    (0, 4, L),
    (1, 4, L),
  ]
  same(
    jax.tree.map(lambda *x: np.concatenate(x), *chunks), stream.host_batches(h, 8, 4, 7)
  )
  assert list(stream.prefetch(h, 0, 4, [])) == []


def test_the_next_chunk_is_made_while_the_first_is_used(monkeypatch):
  import threading

  stream, h = make((200,), placement='host')
  begun = [threading.Event() for _ in range(3)]
  made = stream.host_batches
  monkeypatch.setattr(
    stream,
    'host_batches',
    lambda h, first, b, s: (begun[first // 4].set(), made(h, first, b, s))[1],
  )
  chunks = stream.prefetch(h, 0, 4, [1, 1, 1])
  next(chunks)
  assert begun[1].wait(10) and not begun[2].is_set()
  chunks.close()


def test_an_error_of_the_thread_reaches_the_reader(monkeypatch):
  stream, h = make((200,))
  monkeypatch.setattr(stream, 'host_batches', lambda *_: 1 / 0)
  with pytest.raises(ZeroDivisionError):
    list(stream.prefetch(h, 0, 4, [1]))


def test_repeats_are_counted():
  stream, _ = make((200,))
  assert stream.epochs(54) == (2.0,)
  mixture, _ = make((200, 90))
  assert mixture.epochs(1024, (3, 1)) == (768 / 27, 256 / 11)
  with pytest.raises(ConfigError, match='at most 4294967296'):
    stream.epochs(2**32 + 1)


def test_residence(monkeypatch):
  assert make((200,))[0].resident
  monkeypatch.setattr(streams, 'RESIDENT_BYTES', 399)
  assert not make((200,))[0].resident and make((200,), placement='device')[0].resident


def test_too_little_text_is_said():
  make((14,))
  with pytest.raises(
    ConfigError,
    match=r"data\.path: 'source 1' has 13 training tokens, expected at least 14",
  ):
    make((200, 13))


def test_documents_cannot_be_masked_without_an_end():
  with pytest.raises(
    ConfigError,
    match=r'data\.intra_document_attention: got True, expected False: the char tokenizer',
  ):
    make(
      (200,),
      tokenizer=CharTokenizer('ab', end_of_text=False),
      intra_document_attention=True,
    )


def test_masked_documents_count_and_restart():
  stream, h = make((600,), intra_document_attention=True, placement='device')
  batch = gather(stream, h, 0, 200)
  row = next(i for i, tokens in enumerate(batch.tokens) if 256 in tokens[:-1])
  at = batch.tokens[row].tolist().index(256)
  assert batch.weights[row].tolist() == [0.0 if i == at else 1.0 for i in range(L)]
  assert batch.segments[row].tolist() == [1] * (at + 1) + [2] * (L - at - 1)
  assert batch.positions[row].tolist() == [*range(at + 1), *range(L - at - 1)]
