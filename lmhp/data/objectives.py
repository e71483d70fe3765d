"""Objectives other than next-token prediction: `data.objective` as a function of a batch."""

from __future__ import annotations

from typing import Protocol

from lmhp.data.config import DataConfig
from lmhp.data.dataset import Dataset
from lmhp.data.masking import Masking
from lmhp.data.order import DataHypers
from lmhp.data.prefix import Prefix
from lmhp.data.spans import SpanCorruption
from lmhp.errors import ConfigError
from lmhp.model.batch import Array, Batch


class Objective(Protocol):
  """A random change of the inputs and targets of a batch.

  Attributes:
    dynamic: If True, the draws follow the number of the sequence in the run. If False, they
      follow the position of its window in the data.
  """

  @property
  def dynamic(self) -> bool: ...

  def apply(self, batch: Batch, draw_numbers_B: Array, hypers: DataHypers) -> Batch:
    """Returns the changed batch.

    Args:
      batch: Batch of `make_batch`, (B, L).
      draw_numbers_B: (B,) uint32, a number for each sequence. Together with the seed, it
        determines the random draws of the sequence.
      hypers: Traced numbers of the section `data`.
    """
    ...


def make_objective(dataset: Dataset, seq_len: int, cfg: DataConfig) -> Objective | None:
  """Returns the objective of a config. None stands for next-token prediction."""
  tokenizer = dataset.tokenizer
  if cfg.objective == 'masked':
    if dataset.mask_token is None:
      raise ValueError('dataset: got no mask token, expected one (objective masked)')
    return Masking(
      dataset.mask_token,
      tokenizer.vocab_size,
      tokenizer.end_of_text,
      cfg.dynamic_masking,
    )
  if cfg.objective == 'prefix':
    return Prefix(cfg.dynamic_masking)
  if cfg.objective == 'span':
    return make_span_corruption(dataset, seq_len, cfg)
  return None


def make_span_corruption(
  dataset: Dataset, seq_len: int, cfg: DataConfig
) -> SpanCorruption:
  """Returns the span objective of a config.

  Raises:
    ConfigError: If a sequence has more spans than the dataset has sentinels.
  """
  if dataset.start_token is None:
    raise ValueError('dataset: got no start token, expected one (objective span)')
  spans = SpanCorruption(
    dataset.sentinels,
    dataset.start_token,
    dataset.tokenizer.end_of_text,
    seq_len,
    cfg.span_fraction,
    cfg.span_length,
    cfg.dynamic_masking,
  )
  if spans.n_spans > len(dataset.sentinels):
    raise ConfigError(
      f'data.span_length: got {spans.n_spans} spans in a sequence, expected at most '
      f'{len(dataset.sentinels)}, one for each sentinel token; use longer spans or a '
      'smaller train.seq_len'
    )
  return spans
