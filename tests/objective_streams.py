"""A stream with an objective, and its batches from the device and from the host."""

import jax
import numpy as np

from lmhp import hypers
from lmhp.data.config import DataConfig
from lmhp.data.dataset import Dataset
from lmhp.data.shards import TokenStream
from lmhp.data.stream import TrainStream
from lmhp.data.tokenizer import ByteTokenizer


def make_stream(objective, n_tokens, seq_len, tokens, **values):
  """Returns a stream of random bytes and the traced numbers of its config.

  Args:
    objective: Value of `data.objective`.
    n_tokens: Training tokens.
    seq_len: Tokens in a sequence.
    tokens: Tokens that the objective adds, as arguments of `Dataset`.
    **values: Other keys of the section `data`.
  """
  ids = np.random.default_rng(0).integers(0, 256, n_tokens).astype(np.uint16)
  train = (TokenStream(ids, np.zeros(1, np.int64)),)
  dataset = Dataset(ByteTokenizer(), train, train, (), '', **tokens)
  structure, numbers = hypers.split(DataConfig(objective=objective, **values))
  return TrainStream(dataset, seq_len, structure), numbers


def gather(stream, numbers, first, n_sequences):
  """Returns the batch of consecutive sequences, gathered on the device."""
  sequence_numbers = np.arange(first, first + n_sequences).astype(np.uint32)
  batch = jax.jit(stream.gather)(stream.arrays, numbers, sequence_numbers)
  return jax.device_get(batch)


def check_host_equals_device(stream, numbers):
  """Asserts that two host batches of 3 sequences equal the batch of the device."""
  batches = stream.host_batches(numbers, 12, 3, 2)
  host = jax.tree.map(lambda x: x.reshape(6, *x.shape[2:]), batches)
  jax.tree.map(np.testing.assert_array_equal, host, gather(stream, numbers, 12, 6))
