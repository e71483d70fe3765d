"""`TrainStream`: training batches by sequence number, made on the device or on the host.

Dimension key: B batch, L sequence, S steps of a chunk (consecutive steps of one jitted call).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent import futures
import functools

import jax
import jax.numpy as jnp
import numpy as np

from lmhp.data.batches import make_batch
from lmhp.data.config import MIXTURE_BLOCK, DataConfig
from lmhp.data.dataset import Dataset
from lmhp.data.objectives import EVALUATION_HYPERS, make_objective
from lmhp.data.order import MAX_SEQUENCES, DataHypers, Order, block_quotas, n_windows
from lmhp.errors import ConfigError
from lmhp.model.batch import Array, Batch

MAX_RESIDENT_BYTES = 1 << 30
"""Largest size of tokens that `data.placement = 'auto'` keeps in device memory."""


class TrainStream:
  """The endless stream of training sequences. A sequence is read by its number in the run.

  The stream has no state. If the tokens are resident (in device memory), a jitted program makes
  its batches with `gather`. Otherwise `host_batches` or `prefetch` makes the batches on the
  host. Both ways give the same bits.

  Args:
    dataset: Dataset of `load`.
    seq_len: L, tokens in a sequence.
    cfg: Section `data`. It may lack the traced numbers (see `lmhp.hypers`), such as the seed.

  Attributes:
    end_of_text: Token that separates documents. None if attention may cross their borders.
    objective: Random change of each batch, such as masking. None for next-token prediction.
    resident: True if all tokens are in device memory. False if batches are made on the host.
    windows_per_epoch: Number of sequences in one pass over each source.

  Raises:
    ConfigError: If a source has fewer than 2 L tokens, or if a key of `cfg` cannot be used
      with the dataset (such as `intra_document_attention` without an end-of-text token).
  """

  def __init__(self, dataset: Dataset, seq_len: int, cfg: DataConfig):
    for name, stream in zip(cfg.path, dataset.train):
      if n_windows(len(stream), seq_len) < 1:
        raise ConfigError(
          f'data.path: {name!r} has {len(stream)} training tokens, expected at least '
          f'{2 * seq_len} (twice the sequence length)'
        )
    self.end_of_text = _document_separator(dataset, cfg)
    self.objective = make_objective(dataset, seq_len, cfg)
    self._sources = [stream.ids for stream in dataset.train]
    self._seq_len = seq_len
    self.windows_per_epoch = tuple(
      n_windows(len(ids), seq_len) for ids in self._sources
    )
    self._order = Order(seq_len, self.windows_per_epoch)
    # Index of the first token of each source in the concatenation of all sources, and at the
    # end the total number of tokens.
    self._bases = np.cumsum([0] + [len(ids) for ids in self._sources])
    self.resident = self._is_resident(cfg)

  def _is_resident(self, cfg: DataConfig) -> bool:
    if cfg.placement == 'auto':
      return sum(ids.nbytes for ids in self._sources) <= MAX_RESIDENT_BYTES
    # Positions on the device are int32.
    n_tokens = self._bases[-1]
    if cfg.placement == 'device' and n_tokens >= 2**31:
      raise ConfigError(
        f"data.placement: got 'device' for {n_tokens} training tokens, expected 'host' for "
        f'{2**31} tokens or more'
      )
    return cfg.placement == 'device'

  def epochs(
    self, n_sequences: int, mixture_weights: Sequence[float] = (1.0,)
  ) -> tuple[float, ...]:
    """Returns the number of passes over each source in the first `n_sequences` of a run.

    Raises:
      ConfigError: If the sequence numbers would exceed uint32.
    """
    if n_sequences > MAX_SEQUENCES:
      raise ConfigError(
        f'train.steps: got {n_sequences} sequences, expected at most {MAX_SEQUENCES}'
      )
    if len(self._sources) == 1:
      return (n_sequences / self.windows_per_epoch[0],)
    quotas = block_quotas(jnp.asarray(mixture_weights, jnp.float32))
    shares = np.asarray(quotas) / MIXTURE_BLOCK
    # Number of sequences of each source, divided by its number of windows.
    return tuple(
      float(n_sequences * share / n) for share, n in zip(shares, self.windows_per_epoch)
    )

  # --- resident tokens: inside a jitted program ---------------------------------------

  @functools.cached_property
  def arrays(self) -> dict[str, jax.Array]:
    """Device arrays that `gather` reads. Only for resident tokens.

    Pass the arrays to a jitted program as an argument. Otherwise they would be compiled into
    the program as constants.
    """
    return {'tokens': jnp.asarray(np.concatenate(self._sources))}

  def gather(
    self,
    arrays: Mapping[str, jax.Array],
    data_hypers: DataHypers,
    sequence_numbers_B: Array,
  ) -> Batch:
    """Returns the batch of some sequences. A pure function, for use in jit, scan and vmap.

    Args:
      arrays: The attribute `arrays`.
      data_hypers: Traced numbers of the section `data`.
      sequence_numbers_B: (B,) uint32, usually step * B + arange(B).
    """
    location = self._order.locate(
      data_hypers['seed'], data_hypers['mixture_weights'], sequence_numbers_B
    )

    # Find the index of the first token of each sequence, and from it those of all tokens.
    bases = jnp.asarray(self._bases[:-1], jnp.uint32)
    window_start = location.window * np.uint32(self._seq_len)
    starts_B = bases[location.source] + location.offset + window_start
    offsets = jnp.arange(self._seq_len + 1, dtype=jnp.int32)
    indices = starts_B.astype(jnp.int32)[:, None] + offsets[None]

    # All indices are valid. Mode 'clip' omits the check for negative indices. `take` is three
    # times as fast as a vmapped `dynamic_slice`.
    windows = jnp.take(arrays['tokens'], indices, mode='clip')
    batch = make_batch(windows, self.end_of_text)
    if self.objective is None:
      return batch
    # If the objective is not dynamic, its draws (such as the mask) depend on the place of the
    # window in the data.
    draw_numbers_B = sequence_numbers_B if self.objective.dynamic else starts_B
    return self.objective.apply(batch, draw_numbers_B, data_hypers)

  # --- streamed tokens: on the host ---------------------------------------------------

  def host_batches(
    self, data_hypers: DataHypers, first_sequence: int, batch_size: int, n_steps: int
  ) -> Batch:
    """Returns the batches of consecutive steps in NumPy, with the same bits as `gather`.

    Args:
      data_hypers: Traced numbers of the section `data`, of one run.
      first_sequence: Number of the first sequence, step * B.
      batch_size: B, sequences in a batch.
      n_steps: S, number of steps. It may be 0.

    Returns:
      A batch of arrays with leading axes (S, B).
    """
    # Pad the number of sequences to a power of two, so that few shapes are compiled.
    n_sequences = n_steps * batch_size
    n_padded = 1 << max(n_sequences - 1, 0).bit_length()
    numbers = np.arange(first_sequence, first_sequence + n_padded).astype(np.uint32)

    # Locate the sequences. Indices are int64, because a source may exceed 2**31 tokens.
    location = self._jitted_locate(
      jnp.asarray(data_hypers['seed']),
      jnp.asarray(data_hypers['mixture_weights']),
      numbers,
    )
    source, _, window, offset = (
      np.asarray(x)[:n_sequences].astype(np.int64) for x in location
    )
    starts = offset + window * self._seq_len
    indices = starts[:, None] + np.arange(self._seq_len + 1)

    # Read the windows of each source.
    dtype = np.result_type(*(ids.dtype for ids in self._sources))
    windows = np.zeros(indices.shape, dtype)
    for k, ids in enumerate(self._sources):
      windows[source == k] = ids[indices[source == k]]
    batch = make_batch(windows, self.end_of_text)

    if self.objective is not None:
      # Draw numbers as in `gather`. `np.resize` repeats them for the padding.
      if not self.objective.dynamic:
        global_starts = (starts + self._bases[source]).astype(np.uint32)
        numbers = np.resize(global_starts, n_padded)
      batch = self._apply_objective(batch, numbers, data_hypers)
    return jax.tree.map(lambda x: x.reshape(n_steps, batch_size, *x.shape[1:]), batch)

  def _apply_objective(
    self, batch: Batch, numbers: np.ndarray, data_hypers: DataHypers
  ) -> Batch:
    """Applies the objective as `gather` does, and returns NumPy arrays.

    `numbers` are the draw numbers of `Objective.apply`. They may be more than the sequences of
    the batch. The objective is then applied to a padded batch.
    """
    n_sequences = len(batch.tokens)
    n_missing = len(numbers) - n_sequences

    # Pad the batch to the length of `numbers`, which has few values, so that few shapes are
    # compiled.
    def pad(x: np.ndarray) -> np.ndarray:
      return np.concatenate([x, np.zeros((n_missing, *x.shape[1:]), x.dtype)])

    # Only the traced numbers that an objective reads, so that training and evaluation use the
    # same compiled program.
    hypers = {name: data_hypers[name] for name in EVALUATION_HYPERS}
    changed = self._jitted_objective(jax.tree.map(pad, batch), numbers, hypers)
    return jax.tree.map(lambda x: np.asarray(x)[:n_sequences], changed)

  def evaluation_transform(self, batch: Batch, numbers: np.ndarray) -> Batch:
    """Applies the objective to a batch of an evaluation. Returns NumPy arrays.

    The random draws (such as the mask) depend only on the numbers of the windows, so all
    evaluations score the same targets.

    Args:
      batch: Batch of (B, L) NumPy arrays.
      numbers: (B,) uint32 numbers of the windows.
    """
    if self.objective is None:
      return batch
    return self._apply_objective(batch, numbers, EVALUATION_HYPERS)

  @functools.cached_property
  def _jitted_objective(self) -> Callable[[Batch, np.ndarray, DataHypers], Batch]:
    assert self.objective is not None
    return jax.jit(self.objective.apply)

  @functools.cached_property
  def _jitted_locate(self):
    return jax.jit(self._order.locate)

  def prefetch(
    self,
    data_hypers: DataHypers,
    first_sequence: int,
    batch_size: int,
    chunk_lengths: Iterable[int],
  ) -> Iterator[Batch]:
    """Yields `host_batches` of consecutive chunks. A thread prepares one chunk ahead.

    Args:
      data_hypers: Traced numbers of the section `data`, of one run.
      first_sequence: Number of the first sequence of the first chunk.
      batch_size: B, sequences in a batch.
      chunk_lengths: Number of steps of each chunk.
    """
    with futures.ThreadPoolExecutor(1, 'lmhp-data') as thread:
      current = None
      for n_steps in chunk_lengths:
        # Start to prepare the next chunk before the current one is yielded.
        following = thread.submit(
          self.host_batches, data_hypers, first_sequence, batch_size, n_steps
        )
        first_sequence += n_steps * batch_size
        if current is not None:
          yield current.result()
        current = following
      if current is not None:
        yield current.result()


def _document_separator(dataset: Dataset, cfg: DataConfig) -> int | None:
  """Returns the end-of-text token if attention stays within documents, else None."""
  end_of_text = dataset.tokenizer.end_of_text
  if cfg.intra_document_attention and end_of_text is None:
    raise ConfigError(
      'data.intra_document_attention: got True, expected False: the '
      f'{dataset.tokenizer.kind} tokenizer has no end-of-text token'
    )
  return end_of_text if cfg.intra_document_attention else None
