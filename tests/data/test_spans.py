"""Span corruption gives the text back when its holes are filled; prefixes hide no target after them."""

import jax
import numpy as np
import pytest

from lmhp import hypers
from lmhp.data.batches import evaluation_batches, make_batch
from lmhp.data.config import DataConfig
from lmhp.data.dataset import Dataset, start_token
from lmhp.data.shards import TokenShards
from lmhp.data.spans import Prefix, SpanCorruption
from lmhp.data.stream import TrainStream
from lmhp.data.tokenizer import ByteTokenizer
from lmhp.errors import ConfigError

SENTINELS = tuple(range(257, 357))
START, END = 357, 256


def corrupt(seq_len, fraction=0.15, length=3.0, n=40, end=END, seed=0):
  spans = SpanCorruption(SENTINELS, START, end, seq_len, fraction, length)
  text = np.random.default_rng(0).integers(0, 256, (n, seq_len + 1)).astype(np.uint16)
  batch = spans.apply(make_batch(text), np.arange(n).astype(np.uint32), seed, {})
  return spans, text[:, :-1], jax.device_get(batch)


@pytest.mark.parametrize('end', [END, None])
@pytest.mark.parametrize(
  'seq_len, fraction, length',
  [
    (64, 0.15, 3.0),
    (100, 0.5, 3.0),
    (7, 0.15, 3.0),
    (5, 0.8, 1.0),
    (512, 0.15, 3.0),
    (40, 0.3, 8.0),
  ],
)
def test_the_holes_filled_give_the_text_back(seq_len, fraction, length, end):
  spans, text, batch = corrupt(seq_len, fraction, length, end=end)
  assert batch.encoder_tokens.shape == (
    40,
    spans.encoder_len,
  ) and batch.targets.shape == (40, spans.target_len)
  assert (batch.weights == 1).all()
  np.testing.assert_array_equal(batch.tokens[:, 1:], batch.targets[:, :-1])
  assert (batch.tokens[:, 0] == START).all()
  for encoder, targets, whole in zip(batch.encoder_tokens, batch.targets, text):
    if end is not None:
      assert encoder[-1] == targets[-1] == END
      encoder, targets = encoder[:-1], targets[:-1]
    at = np.flatnonzero(targets >= SENTINELS[0])
    assert targets[at].tolist() == list(SENTINELS[: spans.n_spans])
    holes = {
      targets[i]: targets[i + 1 : j] for i, j in zip(at, [*at[1:], len(targets)])
    }
    assert (
      min(map(len, holes.values())) >= 1
      and sum(map(len, holes.values())) == spans.n_noise
    )
    filled = np.concatenate([holes.get(token, [token]) for token in encoder])
    np.testing.assert_array_equal(filled, whole)


def test_the_shares_are_those_of_t5():
  """The published recipe: 568 tokens of text make 512 of the encoder and 114 targets."""
  spans = SpanCorruption(SENTINELS, START, END, 568, 0.15, 3.0)
  assert (spans.encoder_len, spans.target_len) == (512, 114)


def test_every_place_is_taken_out_alike():
  spans = SpanCorruption(SENTINELS, START, None, 30, 0.3, 3.0)
  encoder = jax.device_get(
    spans.apply(
      make_batch(np.arange(31)[None].repeat(4000, 0).astype(np.uint16)),
      np.arange(4000).astype(np.uint32),
      0,
      {},
    )
  ).encoder_tokens
  kept = np.bincount(encoder[encoder < 30], minlength=30) / 4000
  assert kept[0] == 1.0  # a text begins with text, as T5's do
  assert (
    abs(kept[3:].mean() - (21 - kept[:3].sum()) / 27) < 1e-9
    and kept[10:25].std() < 0.08
  )


def test_a_seed_draws_other_spans_and_a_number_the_same():
  _, _, one = corrupt(64)
  _, _, again = corrupt(64)
  _, _, other = corrupt(64, seed=1)
  jax.tree.map(np.testing.assert_array_equal, one, again)
  assert (one.encoder_tokens != other.encoder_tokens).any(axis=1).mean() > 0.9


def test_a_prefix_has_no_targets_but_the_first_after_it():
  batch = make_batch(
    np.random.default_rng(0).integers(0, 256, (3000, 9)).astype(np.uint16)
  )
  out = jax.device_get(Prefix().apply(batch, np.arange(3000).astype(np.uint32), 0, {}))
  assert (
    set(out.prefix_lengths) == set(range(1, 8))
    and abs(out.prefix_lengths.mean() - 4) < 0.2
  )
  for length, weights in zip(out.prefix_lengths, out.weights):
    assert weights.tolist() == [0] * (length - 1) + [1] * (8 - length + 1)


def stream(objective, **values):
  cfg = DataConfig(objective=objective, **values)
  tokens = TokenShards(
    np.random.default_rng(0).integers(0, 256, 5000).astype(np.uint16),
    np.zeros(1, np.int64),
  )
  structure, numbers = hypers.split(cfg)
  more = dict(sentinels=SENTINELS, start_token=START) if objective == 'span' else {}
  return (
    TrainStream(
      Dataset(ByteTokenizer(), (tokens,), (tokens,), (), '', **more), 40, structure
    ),
    numbers,
    tokens,
  )


@pytest.mark.parametrize('objective', ['span', 'prefix'])
@pytest.mark.parametrize('dynamic', [True, False])
def test_host_and_device_draw_the_same(objective, dynamic):
  made, numbers, _ = stream(objective, dynamic_masking=dynamic)
  device = jax.device_get(
    jax.jit(made.gather)(made.arrays, numbers, np.arange(12, 18).astype(np.uint32))
  )
  host = jax.tree.map(
    lambda x: x.reshape(6, *x.shape[2:]), made.host_batches(numbers, 12, 3, 2)
  )
  jax.tree.map(np.testing.assert_array_equal, host, device)


def test_evaluation_scores_whole_windows():
  made, _, tokens = stream('span')
  batches = list(evaluation_batches(tokens, 40, 50, change=made.for_evaluation))
  weights = np.concatenate([batch.weights for batch in batches])
  assert weights[: 4999 // 40].all() and not weights[4999 // 40 :].any()


def test_more_spans_than_tokens_for_them_are_said():
  with pytest.raises(
    ConfigError, match='data.span_length: .* expected at most the 100 that have a token'
  ):
    cfg = hypers.split(DataConfig(objective='span', span_length=1.0))[0]
    tokens = TokenShards(np.zeros(5000, np.uint16), np.zeros(1, np.int64))
    TrainStream(
      Dataset(ByteTokenizer(), (tokens,), (tokens,), (), '', None, SENTINELS, START),
      2000,
      cfg,
    )


def test_the_vocabulary_has_rows_for_sentinels_and_start():
  tokens = TokenShards(np.arange(10).astype(np.uint16), np.zeros(1, np.int64))
  made = Dataset(
    ByteTokenizer(),
    (tokens,),
    (tokens,),
    (),
    '',
    None,
    SENTINELS,
    start_token(ByteTokenizer()),
  )
  assert made.start_token == START and made.vocab_size == 358
