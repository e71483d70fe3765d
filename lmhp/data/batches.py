"""Batches of windows of tokens, and of held-out streams for evaluation.

Dimension key: B batch, L sequence, M encoder sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lmhp.data.dataset import Dataset
from lmhp.data.shards import TokenShards
from lmhp.errors import ConfigError
from lmhp.model.batch import Batch


def make_batch(windows: Any, end_of_text: int | None = None) -> Batch:
  """Shifts windows of L + 1 tokens into a batch; numpy in, numpy out.

  With `end_of_text`, documents are told apart: positions restart after it, segments count up, and the target of the
  end-of-text itself, the first token of another document, has weight 0.

  Args:
    windows: (..., L + 1) unsigned integers.
    end_of_text: the id that ends a document; None leaves documents run together.
  """
  on_host = isinstance(windows, np.ndarray)
  xp = np if on_host else jnp
  tokens, targets = (
    windows[..., :-1].astype(np.int32),
    windows[..., 1:].astype(np.int32),
  )
  if end_of_text is None:
    return Batch(tokens, targets, xp.ones(tokens.shape, np.float32))
  ends = tokens == end_of_text
  begins = xp.concatenate([xp.ones_like(ends[..., :1]), ends[..., :-1]], axis=-1)
  places = xp.broadcast_to(xp.arange(tokens.shape[-1], dtype=np.int32), tokens.shape)
  running_max = np.maximum.accumulate if on_host else jax.lax.cummax
  first = running_max(xp.where(begins, places, np.int32(0)), axis=tokens.ndim - 1)
  segments = xp.cumsum(begins, axis=-1, dtype=np.int32)
  return Batch(
    tokens,
    targets,
    1 - ends.astype(np.float32),
    positions=places - first,
    segments=segments,
  )


def evaluation_batches(
  validation: Dataset | TokenShards | Sequence[TokenShards],
  seq_len: int,
  batch_size: int,
  limit: int | None = None,
  end_of_text: int | None = None,
  change: Callable[[Batch, np.ndarray], Batch] | None = None,
) -> Iterator[Batch]:
  """Walks held-out streams in consecutive windows, so that each of their tokens but the first is a target once.

  The last window of a stream is filled up with tokens of weight 0, the last batch with sequences of weight 0: every
  batch has the same shape.

  Args:
    validation: a dataset (its validation streams), one stream, or several, read one after the other.
    seq_len: L.
    batch_size: B.
    limit: take only this many windows, evenly spaced; None takes all.
    end_of_text: give it to mask documents, as training did.
    change: what is made of a batch, from it and (B,) uint32 numbers of its windows; None leaves it.

  Returns:
    An iterator of numpy batches.

  Raises:
    ConfigError: where a stream is shorter than a window and its target.
  """
  streams = validation.validation if isinstance(validation, Dataset) else validation
  streams = (streams,) if isinstance(streams, TokenShards) else tuple(streams)
  for tokens in streams:
    if len(tokens) < seq_len + 1:
      raise ConfigError(
        f'data.validation_fraction: {len(tokens)} validation tokens, expected at least {seq_len + 1}: '
        'the sequence length and one'
      )
  starts = [
    (k, start)
    for k, tokens in enumerate(streams)
    for start in range(0, len(tokens) - 1, seq_len)
  ]
  if limit is not None and limit < len(starts):
    starts = [starts[i * len(starts) // limit] for i in range(limit)]
  return (
    _evaluation_batch(
      streams, starts[i : i + batch_size], seq_len, batch_size, end_of_text, change
    )
    for i in range(0, len(starts), batch_size)
  )


def _evaluation_batch(
  streams: Sequence[TokenShards],
  starts: Sequence[tuple[int, int]],
  seq_len: int,
  batch_size: int,
  end_of_text: int | None,
  change: Callable[[Batch, np.ndarray], Batch] | None,
) -> Batch:
  """The windows that begin at (stream, token), padded."""
  windows = np.zeros(
    (batch_size, seq_len + 1), np.result_type(*(tokens.ids.dtype for tokens in streams))
  )
  real = np.zeros((batch_size, seq_len), np.float32)
  for row, (k, start) in enumerate(starts):
    ids = streams[k].ids[start : start + seq_len + 1]
    windows[row, : len(ids)] = ids
    real[row, : len(ids) - 1] = 1
  batch = make_batch(windows, end_of_text)
  if change is not None:
    numbers = [k * 2**24 + start // seq_len for k, start in starts]
    batch = change(batch, np.resize(np.asarray(numbers, np.uint32), batch_size))
  if (
    batch.weights.shape != real.shape
  ):  # other targets than the text's next tokens: of whole windows alone
    real = real.min(axis=-1, keepdims=True)
  return dataclasses.replace(batch, weights=np.asarray(batch.weights) * real)
