"""Batches for training and evaluation, made from windows (L + 1 consecutive tokens of a stream).

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
"""Difference between the numbers of the first windows of two consecutive validation streams.

The windows of stream i have the numbers i * STREAM_STRIDE, i * STREAM_STRIDE + 1, ... So no two
windows have the same number.
"""


def make_batch(windows: Array, end_of_text: int | None = None) -> Batch:
  """Splits windows of L + 1 tokens into inputs and targets.

  If `end_of_text` is given, the batch keeps attention within documents:

  - Positions restart after each end-of-text token.
  - Segments number the documents. A token attends only within its segment.
  - The target of an end-of-text token belongs to the next document, so it has weight 0.

  Args:
    windows: (..., L + 1) tokens, unsigned integers.
    end_of_text: Token that ends a document. None treats each window as one document.

  Returns:
    A batch of NumPy arrays if `windows` is a NumPy array, else of JAX arrays.
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
    # Weights of the targets.
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
  """Place of a validation window: index of its stream, and of its first token in the stream."""

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

  Without a limit, each token of a stream except the first is a target once. All batches have
  the same shape: the last window of a stream is padded with tokens of weight 0, and the last
  batch with sequences of weight 0.

  Args:
    streams: Validation streams, read in order.
    seq_len: L, tokens in a sequence.
    batch_size: B, sequences in a batch.
    limit: Number of windows to read, spread evenly over all streams. None reads all.
    end_of_text: As in `make_batch`.
    transform: `(batch, numbers) -> batch`, which applies the objective, such as masking.
      `numbers` are (B,) uint32, one for each window. None keeps next-token targets.

  Returns:
    An iterator of NumPy batches.

  Raises:
    ConfigError: If a stream has fewer than L + 1 tokens.
  """
  for stream in streams:
    if len(stream) < seq_len + 1:
      raise ConfigError(
        f'data.validation_fraction: got {len(stream)} validation tokens, expected at '
        f'least {seq_len + 1} (sequence length + 1), also for data.validation_path'
      )

  # Neighbouring windows share one token, the last target of the first and the first input of
  # the second.
  windows = [
    _Window(number, start)
    for number, stream in enumerate(streams)
    for start in range(0, len(stream) - 1, seq_len)
  ]
  if limit is not None and limit < len(windows):
    windows = [windows[i * len(windows) // limit] for i in range(limit)]

  # With a returned generator instead of `yield`, the check above runs at the call. The batches
  # are made when they are read.
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
  # Pad short windows and missing rows with token 0. `is_real` is 0 for targets of padding.
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
    # `np.resize` repeats the numbers for the rows of padding.
    batch = transform(batch, np.resize(np.asarray(numbers, np.uint32), batch_size))

  _, weights = batch.targets_and_weights()
  if batch.encoder_tokens is not None:
    # With span corruption, a target is not at the place of its token. So if a window has
    # padding, all its targets get weight 0.
    is_real = is_real.min(axis=-1, keepdims=True)
  return dataclasses.replace(batch, weights=np.asarray(weights) * is_real)
