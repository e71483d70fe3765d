"""`TrainStream`: training batches by sequence number, gathered on the device or streamed from the host.

Dimension key: B batch, L sequence, S steps of a chunk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent import futures
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lmhp.data.batches import make_batch
from lmhp.data.config import DataConfig
from lmhp.data.dataset import Dataset
from lmhp.data.masking import EVALUATION, Masking
from lmhp.data.order import BLOCK, MAX_SEQUENCES, Order, quotas, windows_of
from lmhp.data.spans import Prefix, SpanCorruption
from lmhp.errors import ConfigError
from lmhp.model.batch import Batch

RESIDENT_BYTES = 1 << 30
"""Tokens up to this size live on the device where data.placement is auto."""


class TrainStream:
  """The endless stream of training sequences, addressed by number; holds nothing that changes.

  Args:
    dataset: what `load` gave.
    seq_len: tokens of a sequence, L.
    cfg: the config, or the structure of a split one: no traced field is read.

  Attributes:
    end_of_text: what tells documents apart; None where nothing shall.
    objective: what is made of a batch; None where the next token is learnt.
    resident: whether tokens live on the device, so that `gather` serves; else `host_batches` does.
    windows_per_epoch: for each source, sequences after which it repeats.

  Raises:
    ConfigError: where a source has fewer than 2 L tokens, or cannot do what the config asks.
  """

  def __init__(self, dataset: Dataset, seq_len: int, cfg: DataConfig):
    for name, tokens in zip(cfg.path, dataset.train):
      if windows_of(len(tokens), seq_len) < 1:
        raise ConfigError(
          f'data.path: {name!r} has {len(tokens)} training tokens, expected at least {2 * seq_len}: '
          f'twice the sequence length'
        )
    self.end_of_text = _end_of_text(dataset, cfg)
    self.objective = objective_of(dataset, seq_len, cfg)
    self._sources = [tokens.ids for tokens in dataset.train]
    self._seq_len = seq_len
    self._order = Order(
      seq_len, tuple(windows_of(len(ids), seq_len) for ids in self._sources)
    )
    self._bases = np.cumsum([0] + [len(ids) for ids in self._sources])
    self.windows_per_epoch = self._order.windows
    self.resident = self._decide_residence(cfg)

  def _decide_residence(self, cfg: DataConfig) -> bool:
    if cfg.placement == 'auto':
      return sum(ids.nbytes for ids in self._sources) <= RESIDENT_BYTES
    if cfg.placement == 'device' and self._bases[-1] >= 2**31:
      raise ConfigError(
        f"data.placement: got 'device' for {self._bases[-1]} training tokens, expected 'host' from "
        f'{2**31}'
      )
    return cfg.placement == 'device'

  def epochs(
    self, n_sequences: int, mixture_weights: Sequence[float] = (1.0,)
  ) -> tuple[float, ...]:
    """How often each source is read in a run's first `n_sequences`; above 1, tokens repeat.

    Raises:
      ConfigError: where the run is longer than sequences can be numbered.
    """
    if n_sequences > MAX_SEQUENCES:
      raise ConfigError(
        f'train.steps: {n_sequences} sequences, expected at most {MAX_SEQUENCES}'
      )
    if len(self._sources) == 1:
      return (n_sequences / self.windows_per_epoch[0],)
    shares = np.asarray(quotas(jnp.asarray(mixture_weights, jnp.float32))) / BLOCK
    return tuple(
      float(n_sequences * share / n) for share, n in zip(shares, self.windows_per_epoch)
    )

  # --- resident: inside the jitted program ---------------------------------------------------------------------------

  @functools.cached_property
  def arrays(self) -> dict[str, jax.Array]:
    """What `gather` reads, on the device: pass it to the program as an argument, or it becomes part of it."""
    if not self.resident:
      return {}
    return {'tokens': jnp.asarray(np.concatenate(self._sources))}

  def gather(
    self,
    arrays: Mapping[str, jax.Array],
    data_hypers: Mapping[str, jax.Array],
    sequence_numbers: jax.Array,
  ) -> Batch:
    """The batch of these sequences. Pure; jits, scans and vmaps over any argument.

    Args:
      arrays: `self.arrays`.
      data_hypers: `seed`, uint32, and `mixture_weights`, (sources,) float32.
      sequence_numbers: (B,) uint32, for instance step * B + arange(B).
    """
    place = self._order.places(
      data_hypers['seed'], data_hypers['mixture_weights'], sequence_numbers
    )
    bases = jnp.asarray(self._bases[:-1], jnp.uint32)
    starts = (
      bases[place.source] + place.offset + place.window * np.uint32(self._seq_len)
    )
    where = (
      starts.astype(jnp.int32)[:, None]
      + jnp.arange(self._seq_len + 1, dtype=jnp.int32)[None]
    )
    # Every place is inside; clip is the mode that reads without first asking. Three times vmap(dynamic_slice)'s speed.
    batch = make_batch(jnp.take(arrays['tokens'], where, mode='clip'), self.end_of_text)
    if self.objective is None:
      return batch
    numbers = sequence_numbers if self.objective.dynamic else starts
    return self.objective.apply(batch, numbers, data_hypers['seed'], data_hypers)

  # --- streamed: from the host ---------------------------------------------------------------------------------------

  def host_batches(
    self,
    data_hypers: Mapping[str, Any],
    first_sequence: int,
    batch_size: int,
    n_steps: int,
  ) -> Batch:
    """The batches of consecutive steps, in numpy: bit for bit what `gather` gives for each step.

    Args:
      data_hypers: as for `gather`, of one member.
      first_sequence: number of the first sequence, step * batch_size.
      batch_size: B.
      n_steps: S, 0 or more.

    Returns:
      A batch of arrays (S, B, L).
    """
    count = n_steps * batch_size
    padded = 1 << max(count - 1, 0).bit_length()  # few shapes to compile for
    numbers = np.arange(first_sequence, first_sequence + padded).astype(np.uint32)
    seed, weights = (
      jnp.asarray(data_hypers[name]) for name in ('seed', 'mixture_weights')
    )
    source, _, window, offset = (
      np.asarray(x)[:count].astype(np.int64)
      for x in self._places(seed, weights, numbers)
    )
    where = (offset + window * self._seq_len)[:, None] + np.arange(self._seq_len + 1)
    windows = np.zeros(
      (count, self._seq_len + 1), np.result_type(*(ids.dtype for ids in self._sources))
    )
    for k, ids in enumerate(self._sources):
      windows[source == k] = ids[where[source == k]]
    batch = make_batch(windows, self.end_of_text)
    if self.objective is not None:
      starts = (where[:, 0] + self._bases[source]).astype(np.uint32)
      batch = self._masked(
        batch,
        numbers if self.objective.dynamic else np.resize(starts, padded),
        data_hypers,
        padded,
      )
    return jax.tree.map(lambda x: x.reshape(n_steps, batch_size, *x.shape[1:]), batch)

  def _masked(
    self, batch: Batch, numbers: np.ndarray, data_hypers: Mapping[str, Any], padded: int
  ) -> Batch:
    """Hides tokens as `gather` does; in numpy again."""
    count = len(batch.tokens)
    whole = jax.tree.map(
      lambda x: np.concatenate([x, np.zeros((padded - count, *x.shape[1:]), x.dtype)]),
      batch,
    )
    masked = self._mask(
      whole,
      numbers,
      data_hypers['seed'],
      {name: data_hypers[name] for name in EVALUATION},
    )
    return jax.tree.map(lambda x: np.asarray(x)[:count], masked)

  @functools.cached_property
  def _mask(self):
    return jax.jit(self.objective.apply)

  @property
  def for_evaluation(self) -> Any:
    """What `evaluation_batches` makes of a batch: hides the same tokens of it always; None where nothing is hidden."""
    if self.objective is None:
      return None
    return lambda batch, numbers: jax.tree.map(
      np.asarray, self._mask(batch, numbers, np.uint32(0), EVALUATION)
    )

  @functools.cached_property
  def _places(self):
    return jax.jit(self._order.places)

  def prefetch(
    self,
    data_hypers: Mapping[str, Any],
    first_sequence: int,
    batch_size: int,
    chunks: Iterable[int],
  ) -> Iterator[Batch]:
    """`host_batches` for one chunk of steps after another, each made in a thread while the one before is used.

    Args:
      data_hypers: as for `gather`, of one member.
      first_sequence: number of the first sequence of the first chunk.
      batch_size: B.
      chunks: the steps of each chunk.
    """
    with futures.ThreadPoolExecutor(1, 'lmhp-data') as thread:
      current = None
      for n_steps in chunks:
        following = thread.submit(
          self.host_batches, data_hypers, first_sequence, batch_size, n_steps
        )
        first_sequence += n_steps * batch_size
        if current is not None:
          yield current.result()
        current = following
      if current is not None:
        yield current.result()


def objective_of(
  dataset: Dataset, seq_len: int, cfg: DataConfig
) -> Masking | SpanCorruption | Prefix | None:
  """What `data.objective` makes of a batch."""
  tokenizer, dynamic = dataset.tokenizer, cfg.dynamic_masking
  if cfg.objective == 'masked':
    return Masking(
      dataset.mask_token, tokenizer.vocab_size, tokenizer.end_of_text, dynamic
    )
  if cfg.objective == 'prefix':
    return Prefix(dynamic)
  if cfg.objective == 'causal':
    return None
  spans = SpanCorruption(
    dataset.sentinels,
    dataset.start_token,
    tokenizer.end_of_text,
    seq_len,
    cfg.span_fraction,
    cfg.span_length,
    dynamic,
  )
  if spans.n_spans > len(dataset.sentinels):
    raise ConfigError(
      f'data.span_length: {spans.n_spans} spans in a sequence, expected at most the '
      f'{len(dataset.sentinels)} that have a token; make spans longer or train.seq_len smaller'
    )
  return spans


def _end_of_text(dataset: Dataset, cfg: DataConfig) -> int | None:
  """What tells documents apart, None where nothing shall."""
  if not cfg.intra_document_attention:
    return None
  if dataset.tokenizer.end_of_text is None:
    raise ConfigError(
      f'data.intra_document_attention: got True, expected False: the {dataset.tokenizer.kind} tokenizer has no '
      'end-of-text to tell documents apart'
    )
  return dataset.tokenizer.end_of_text
