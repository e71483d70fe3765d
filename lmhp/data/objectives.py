"""Objectives other than next-token prediction: `data.objective` as a function of a batch.

All functions are pure, so that host and device draw the same masks, prefixes and spans.
Dimension key: B batch, L sequence, M encoder sequence, T targets of an encoder-decoder.
"""

from __future__ import annotations

import abc
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from lmhp.data.config import DataConfig
from lmhp.data.dataset import Dataset
from lmhp.data.order import DataHypers
from lmhp.errors import ConfigError
from lmhp.model.batch import Array, Batch
from lmhp.model.rng import named_key

EVALUATION_HYPERS: DataHypers = {
  'seed': np.asarray(0, np.uint32),
  'mask_fraction': np.asarray(0.15, np.float32),
  'mask_random_fraction': np.asarray(0.1, np.float32),
  'mask_keep_fraction': np.asarray(0.1, np.float32),
}
"""Seed and fractions of the masks in all evaluations.

They are fixed, so that runs with other fractions are scored on equal targets. Source:
arXiv:1810.04805 (BERT).
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective(abc.ABC):
  """A random change of the inputs and targets of a batch.

  Attributes:
    dynamic: If True, the random draws (such as the mask) depend on the number of the sequence
      in the run, so the same text gets new draws each time that it is read. If False, they
      depend on the place of the text in the data, so it gets the same draws each time.
  """

  dynamic: bool = True

  @abc.abstractmethod
  def apply(self, batch: Batch, draw_numbers_B: Array, hypers: DataHypers) -> Batch:
    """Returns the changed batch.

    Args:
      batch: Batch of `make_batch`, (B, L).
      draw_numbers_B: (B,) uint32, a number for each sequence. Together with the seed, it
        determines the random draws of the sequence.
      hypers: Traced numbers of the section `data`.
    """


def _sequence_keys(hypers: DataHypers, name: str, draw_numbers_B: Array) -> jax.Array:
  """Returns the PRNG key of each sequence, (B,).

  A key depends on the seed and on the draw number of the sequence, not on the other sequences
  of the batch.
  """
  root = named_key(jax.random.key(hypers['seed']), name)
  return jax.vmap(lambda number: jax.random.fold_in(root, number))(draw_numbers_B)


@dataclasses.dataclass(frozen=True)
class Masking(Objective):
  """Objective of an encoder: predicts the original token at each masked position.

  Attributes:
    mask_token: Token that replaces a masked token.
    vocab_size: Random replacements are drawn from the ids 0 to `vocab_size` - 1.
    end_of_text: Token that is never masked. None if there is none.

  Source: arXiv:1810.04805 section 3.1. Dynamic masking: arXiv:1907.11692 section 4.1.
  """

  mask_token: int
  vocab_size: int
  end_of_text: int | None = None

  def apply(self, batch: Batch, draw_numbers_B: Array, hypers: DataHypers) -> Batch:
    """Returns a batch with masked inputs. All positions that are not targets have weight 0.

    A token is a target with probability `mask_fraction`. The input at a target is a random
    token with probability `mask_random_fraction`, the token itself with probability
    `mask_keep_fraction`, and otherwise the mask token.

    See `Objective.apply`. `hypers` has the three fractions.
    """
    shape = batch.tokens.shape[-1:]

    # For each token, a number in [0, 1) that decides if it is a target, a number in [0, 1)
    # that decides its input, and a random token.
    def draw(key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
      target_key, replacement_key, token_key = jax.random.split(key, 3)
      random_L = jax.random.randint(token_key, shape, 0, self.vocab_size, jnp.int32)
      target_L = jax.random.uniform(target_key, shape)
      replacement_L = jax.random.uniform(replacement_key, shape)
      return target_L, replacement_L, random_L

    target_BL, replacement_BL, random_BL = jax.vmap(draw)(
      _sequence_keys(hypers, 'mask', draw_numbers_B)
    )
    tokens_BL = jnp.asarray(batch.tokens)

    # Choose the targets.
    is_target_BL = target_BL < hypers['mask_fraction']
    if self.end_of_text is not None:
      # End-of-text tokens are never masked.
      is_target_BL &= tokens_BL != self.end_of_text

    # Choose the input of each target: a random token if its number is below `random_below`,
    # else the token itself if it is below `keep_below`, else the mask token.
    random_below = hypers['mask_random_fraction']
    keep_below = random_below + hypers['mask_keep_fraction']
    masked_BL = jnp.where(replacement_BL < random_below, random_BL, self.mask_token)
    is_kept_BL = (replacement_BL >= random_below) & (replacement_BL < keep_below)
    masked_BL = jnp.where(is_kept_BL, tokens_BL, masked_BL)
    return dataclasses.replace(
      batch,
      tokens=jnp.where(is_target_BL, masked_BL, tokens_BL),
      targets=tokens_BL,
      weights=is_target_BL.astype(jnp.float32),
    )


@dataclasses.dataclass(frozen=True)
class Prefix(Objective):
  """Objective of a prefix LM: predicts the tokens after a prefix of random length.

  Source: arXiv:1910.10683 section 3.2.1.
  """

  def apply(self, batch: Batch, draw_numbers_B: Array, hypers: DataHypers) -> Batch:
    """Returns the batch with prefixes of 1 to L - 1 tokens. See `Objective.apply`."""
    seq_len = batch.tokens.shape[-1]

    # `randint` needs a non-empty range, also for L = 1.
    def draw(key: jax.Array) -> jax.Array:
      return jax.random.randint(key, (), 1, max(seq_len, 2), jnp.int32)

    prefix_B = jax.vmap(draw)(_sequence_keys(hypers, 'prefix', draw_numbers_B))

    # The last token of the prefix predicts the first token after it.
    is_scored_BL = jnp.arange(seq_len)[None] >= prefix_B[:, None] - 1
    _, weights_BL = batch.targets_and_weights()
    return dataclasses.replace(
      batch, weights=jnp.asarray(weights_BL) * is_scored_BL, prefix_lengths=prefix_B
    )


@dataclasses.dataclass(frozen=True)
class SpanCorruption(Objective):
  """Objective of an encoder-decoder: predicts the spans that were removed from its input.

  A sentinel token replaces each span in the encoder's input. The targets are the first
  sentinel, the first span, the second sentinel, and so on. All sequences have the same number
  of removed tokens and of spans, so that shapes are fixed. Only the lengths and places of the
  spans are random.

  Attributes:
    sentinels: Tokens that replace the first span, the second span, and so on.
    start: First token of the decoder's input.
    end_of_text: Last token of the encoder's input and of the targets. None adds no token.
    seq_len: L, tokens of text in a sequence.
    fraction: Fraction of the tokens that is removed.
    span_length: Mean number of tokens in a span.

  Source: arXiv:1910.10683 section 3.1.4, and `random_spans_noise_mask` of its code.
  """

  sentinels: tuple[int, ...]
  start: int
  end_of_text: int | None
  seq_len: int
  fraction: float
  span_length: float

  @property
  def n_noise(self) -> int:
    """Number of removed tokens."""
    return min(max(round(self.seq_len * self.fraction), 1), self.seq_len - 1)

  @property
  def n_spans(self) -> int:
    """Number of removed spans. At least one token stays before each span."""
    n_spans = max(round(self.n_noise / self.span_length), 1)
    return min(n_spans, self.seq_len - self.n_noise)

  @property
  def encoder_len(self) -> int:
    """M, length of the encoder's input."""
    return self.seq_len - self.n_noise + self.n_spans + (self.end_of_text is not None)

  @property
  def target_len(self) -> int:
    """T, length of the targets and of the decoder's input."""
    return self.n_noise + self.n_spans + (self.end_of_text is not None)

  def apply(self, batch: Batch, draw_numbers_B: Array, hypers: DataHypers) -> Batch:
    """Returns the batch of an encoder-decoder. See `Objective.apply`."""
    text_BL = jnp.asarray(batch.tokens)
    keys_B = _sequence_keys(hypers, 'spans', draw_numbers_B)
    encoder_BM, targets_BT = jax.vmap(self._corrupt)(text_BL, keys_B)

    # The decoder reads the start token and the targets, shifted by one position.
    start_B1 = jnp.full((len(text_BL), 1), self.start, jnp.int32)
    return Batch(
      jnp.concatenate([start_B1, targets_BT[:, :-1]], axis=1),
      targets_BT,
      jnp.ones(targets_BT.shape, jnp.float32),
      encoder_tokens=encoder_BM,
    )

  def _corrupt(self, tokens_L: Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the encoder's input (M,) and the targets (T,) of one sequence."""
    # `noise_L` is True for removed tokens, and `begins_L` for the first token of each span.
    # `span_L` is the index of the span.
    noise_L, span_L, begins_L = self._draw_spans(key)
    sentinels = jnp.asarray(self.sentinels[: self.n_spans], jnp.int32)

    # A token that stays goes to `encoder_index_L` of the encoder's input. A removed token goes
    # to `target_index_L` of the targets. Both indices leave room for the sentinels before them.
    encoder_index_L = jnp.cumsum(~noise_L) - 1 + jnp.cumsum(begins_L)
    target_index_L = jnp.cumsum(noise_L) - 1 + jnp.cumsum(begins_L)
    # Writes to an index beyond the end are dropped.
    dropped = 2 * self.seq_len

    # Returns n tokens with the text at `text_index_L` and, for the first token of each span,
    # its sentinel at `sentinel_index_L`.
    def write(
      n: int, text_index_L: jax.Array, sentinel_index_L: jax.Array
    ) -> jax.Array:
      output = jnp.zeros(n, jnp.int32).at[text_index_L].set(tokens_L, mode='drop')
      index_L = jnp.where(begins_L, sentinel_index_L, dropped)
      return output.at[index_L].set(sentinels[span_L], mode='drop')

    # Write the text that stays, and a sentinel in place of each span.
    index_L = jnp.where(noise_L, dropped, encoder_index_L)
    n_encoder = self.seq_len - self.n_noise + self.n_spans
    encoder = write(n_encoder, index_L, encoder_index_L)

    # Write the removed text, and the sentinel before each span.
    index_L = jnp.where(noise_L, target_index_L, dropped)
    targets = write(self.n_noise + self.n_spans, index_L, target_index_L - 1)

    if self.end_of_text is None:
      return encoder, targets
    # Both sequences end with the end-of-text token, as in T5.
    end = jnp.full(1, self.end_of_text, jnp.int32)
    return jnp.concatenate([encoder, end]), jnp.concatenate([targets, end])

  def _draw_spans(self, key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Draws the spans of one sequence, which starts with text that stays.

    Returns:
      Three (L,) arrays: True for removed tokens, the index of the last span that begins at or
      before each token (0 if there is none), and True for the first token of each span.
    """
    noise_key, text_key = jax.random.split(key)
    # Random lengths of the spans (`noise`), and of the text before each span.
    text = _random_lengths(text_key, self.seq_len - self.n_noise, self.n_spans)
    noise = _random_lengths(noise_key, self.n_noise, self.n_spans)

    # Text and spans alternate. A span begins after all earlier text and all earlier spans.
    earlier_noise = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(noise)[:-1]])
    begins = jnp.cumsum(text) + earlier_noise

    # For each position, find the latest span that has begun. The position is removed if it
    # is before the end of that span.
    index_L = jnp.arange(self.seq_len)
    begins_L = jnp.zeros(self.seq_len, bool).at[begins].set(True)
    span_L = jnp.maximum(jnp.cumsum(begins_L) - 1, 0)
    noise_L = (jnp.cumsum(begins_L) > 0) & (index_L < (begins + noise)[span_L])
    return noise_L, span_L, begins_L


def _random_lengths(key: jax.Array, n: int, k: int) -> jax.Array:
  """Returns k positive lengths with the sum n, (k,) int32. All such lists are equally likely."""
  # Cut a row of n items after k - 1 of its first n - 1 items, and count the items of each part.
  cuts = jax.random.permutation(key, jnp.arange(n - 1) < k - 1)
  part_of_item = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(cuts)])
  return jnp.zeros(k, jnp.int32).at[part_of_item].add(1)


def make_objective(dataset: Dataset, seq_len: int, cfg: DataConfig) -> Objective | None:
  """Returns the objective of a config. None for next-token prediction (`causal`)."""
  tokenizer = dataset.tokenizer
  if cfg.objective == 'masked':
    assert dataset.mask_token is not None
    return Masking(
      dataset.mask_token,
      tokenizer.vocab_size,
      tokenizer.end_of_text,
      dynamic=cfg.dynamic_masking,
    )
  if cfg.objective == 'prefix':
    return Prefix(dynamic=cfg.dynamic_masking)
  if cfg.objective == 'span':
    return make_span_corruption(dataset, seq_len, cfg)
  return None


def make_span_corruption(
  dataset: Dataset, seq_len: int, cfg: DataConfig
) -> SpanCorruption:
  """Returns the objective of span corruption for a config.

  Raises:
    ConfigError: If a sequence has more spans than the dataset has sentinels.
  """
  assert dataset.start_token is not None
  spans = SpanCorruption(
    dataset.sentinels,
    dataset.start_token,
    dataset.tokenizer.end_of_text,
    seq_len,
    cfg.span_fraction,
    cfg.span_length,
    dynamic=cfg.dynamic_masking,
  )
  if spans.n_spans > len(dataset.sentinels):
    raise ConfigError(
      f'data.span_length: got {spans.n_spans} spans in a sequence, expected at most '
      f'{len(dataset.sentinels)}, one for each sentinel token; use longer spans or a '
      'smaller train.seq_len'
    )
  return spans
