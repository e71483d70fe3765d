"""Batches of token windows, and the batches of an evaluation.

Dimension key: B batch, L sequence, M encoder sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lmhp.data.shards import TokenStream
from lmhp.errors import ConfigError
from lmhp.model.batch import Array, Batch

STREAM_STRIDE = 2**24
"""The windows of validation stream i are numbered from i * STREAM_STRIDE.

Two windows of different streams therefore have different numbers.
"""


def make_batch(windows: Array, end_of_text: int | None = None) -> Batch:
  """Splits windows of L + 1 tokens into inputs and targets.

  If `end_of_text` is given, attention is to stay within documents. Positions restart after
  each end-of-text token and segments count the documents. The target of an end-of-text
  token belongs to the next document, so it has weight 0.

  Args:
    windows: (..., L + 1) tokens, unsigned integers.
    end_of_text: Token that ends a document. None treats a window as one document.

  Returns:
    A batch of NumPy arrays if `windows` is one, else of JAX arrays.
  """
  xp = np if isinstance(windows, np.ndarray) else jnp
  tokens = windows[..., :-1].astype(np.int32)
  targets = windows[..., 1:].astype(np.int32)
  if end_of_text is None:
    return Batch(tokens, targets, xp.ones(tokens.shape, np.float32))

  # A document begins at the start of the window and after each end-of-text token.
  ends = tokens == end_of_text
  begins = xp.concatenate([xp.ones_like(ends[..., :1]), ends[..., :-1]], axis=-1)

  # Positions count from the last beginning.
  index = xp.broadcast_to(xp.arange(tokens.shape[-1], dtype=np.int32), tokens.shape)
  document_start = _running_max(xp.where(begins, index, np.int32(0)))
  segments = xp.cumsum(begins, axis=-1, dtype=np.int32)
  return Batch(
    tokens,
    targets,
    # An end-of-text token does not have to predict the next document.
    1 - ends.astype(np.float32),
    positions=index - document_start,
    segments=segments,
  )


def _running_max(x: Array) -> Array:
  if isinstance(x, np.ndarray):
    return np.maximum.accumulate(x, axis=-1)
  return jax.lax.cummax(x, axis=x.ndim - 1)


# --- evaluation ---------------------------------------------------------------------


class _Window(NamedTuple):
  """Position of a validation window: its stream, and its first token in the stream."""

  stream: int
  start: int


def evaluation_batches(
  streams: Sequence[TokenStream],
  seq_len: int,
  batch_size: int,
  limit: int | None = None,
  end_of_text: int | None = None,
  transform: Callable[[Batch, np.ndarray], Batch] | None = None,
) -> Iterator[Batch]:
  """Yields batches of consecutive windows of the validation streams.

  Each token of a stream except the first is a target once. The last window of a stream is
  padded with tokens of weight 0, and the last batch with sequences of weight 0, so that all
  batches have the same shape.

  Args:
    streams: Validation streams, read in order.
    seq_len: L, tokens in a sequence.
    batch_size: B, sequences in a batch.
    limit: Number of windows to read, evenly spaced. None reads all.
    end_of_text: Token that ends a document, if attention stays within documents.
    transform: Function of a batch and the (B,) uint32 numbers of its windows that applies
      the objective. None leaves next-token targets.

  Returns:
    An iterator of NumPy batches.

  Raises:
    ConfigError: If a stream has fewer than L + 1 tokens.
  """
  for stream in streams:
    if len(stream) < seq_len + 1:
      raise ConfigError(
        f'data.validation_fraction: got {len(stream)} validation tokens, expected at '
        f'least {seq_len + 1} (sequence length + 1)'
      )

  # Windows share one token: the last target of one is the first input of the next.
  windows = [
    _Window(number, start)
    for number, stream in enumerate(streams)
    for start in range(0, len(stream) - 1, seq_len)
  ]
  if limit is not None and limit < len(windows):
    # A limited evaluation takes windows that are spread evenly over all streams.
    windows = [windows[i * len(windows) // limit] for i in range(limit)]

  # The check above runs at the call, and the batches are made when they are read.
  return (
    _evaluation_batch(
      streams,
      windows[first : first + batch_size],
      (batch_size, seq_len),
      end_of_text,
      transform,
    )
    for first in range(0, len(windows), batch_size)
  )


def _evaluation_batch(
  streams: Sequence[TokenStream],
  windows: Sequence[_Window],
  shape: tuple[int, int],
  end_of_text: int | None,
  transform: Callable[[Batch, np.ndarray], Batch] | None,
) -> Batch:
  """Returns the batch of some windows, padded to shape (B, L)."""
  batch_size, seq_len = shape
  dtype = np.result_type(*(stream.ids.dtype for stream in streams))
  # Short windows and missing rows are padded with zeros, which have weight 0.
  ids = np.zeros((batch_size, seq_len + 1), dtype)
  is_real = np.zeros(shape, np.float32)
  for row, window in enumerate(windows):
    stream = streams[window.stream]
    window_ids = stream.ids[window.start : window.start + seq_len + 1]
    ids[row, : len(window_ids)] = window_ids
    is_real[row, : len(window_ids) - 1] = 1

  batch = make_batch(ids, end_of_text)
  if transform is not None:
    # Each window has a fixed number, so that it is masked alike in every evaluation.
    numbers = [
      window.stream * STREAM_STRIDE + window.start // seq_len for window in windows
    ]
    batch = transform(batch, np.resize(np.asarray(numbers, np.uint32), batch_size))

  _, weights = batch.targets_and_weights()
  if weights.shape != is_real.shape:
    # With span corruption, the targets do not match the positions of the text, so padding
    # cannot be removed token by token. All targets of a window with padding have weight 0.
    is_real = is_real.min(axis=-1, keepdims=True)
  return dataclasses.replace(batch, weights=np.asarray(weights) * is_real)
