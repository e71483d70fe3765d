"""Span corruption: encoder and targets together contain the text, as in T5."""

import jax
import numpy as np
from objective_streams import check_host_equals_device, make_stream
import pytest

from lmhp.data.batches import evaluation_batches, make_batch
from lmhp.data.objectives import SpanCorruption
from lmhp.data.shards import TokenStream
from lmhp.errors import ConfigError

SENTINELS = tuple(range(257, 357))
START = 357
END = 256
TOKENS = {'sentinels': SENTINELS, 'start_token': START}
SIZES = [
  # (L, fraction, length)
  (64, 0.15, 3.0),
  (100, 0.5, 3.0),
  (7, 0.15, 3.0),
  (5, 0.8, 1.0),
  (512, 0.15, 3.0),
  (40, 0.3, 8.0),
]


def apply(spans, windows, seed=0):
  draw_numbers = np.arange(len(windows)).astype(np.uint32)
  batch = spans.apply(make_batch(windows), draw_numbers, {'seed': np.uint32(seed)})
  return jax.device_get(batch)


def corrupt(seq_len, fraction=0.15, length=3.0, end=END, seed=0):
  """Returns the objective, the text (40, L) and the corrupted batch."""
  spans = SpanCorruption(SENTINELS, START, end, seq_len, fraction, length)
  windows = np.random.default_rng(0).integers(0, 256, (40, seq_len + 1))
  windows = windows.astype(np.uint16)
  return spans, windows[:, :-1], apply(spans, windows, seed)


@pytest.mark.parametrize('end', [END, None])
@pytest.mark.parametrize('seq_len, fraction, length', SIZES)
def test_spans_put_back_give_the_text(seq_len, fraction, length, end):
  spans, text, batch = corrupt(seq_len, fraction, length, end)
  for encoder, targets, expected in zip(batch.encoder_tokens, batch.targets, text):
    if end is not None:
      assert encoder[-1] == targets[-1] == END
      encoder = encoder[:-1]
      targets = targets[:-1]
    starts = np.flatnonzero(targets >= SENTINELS[0])
    stops = [*starts[1:], len(targets)]
    assert targets[starts].tolist() == list(SENTINELS[: spans.n_spans])

    removed = {targets[i]: targets[i + 1 : j] for i, j in zip(starts, stops)}
    lengths = [len(span) for span in removed.values()]
    assert min(lengths) >= 1
    assert sum(lengths) == spans.n_noise
    restored = np.concatenate([removed.get(token, [token]) for token in encoder])
    np.testing.assert_array_equal(restored, expected)


@pytest.mark.parametrize('seq_len, fraction, length', SIZES)
def test_shapes_follow_from_the_config(seq_len, fraction, length):
  spans, _, batch = corrupt(seq_len, fraction, length)
  assert batch.encoder_tokens.shape == (40, spans.encoder_len)
  assert batch.targets.shape == (40, spans.target_len)
  assert (batch.weights == 1).all()


def test_decoder_reads_the_start_token_and_the_shifted_targets():
  _, _, batch = corrupt(64)
  assert (batch.tokens[:, 0] == START).all()
  np.testing.assert_array_equal(batch.tokens[:, 1:], batch.targets[:, :-1])


def test_lengths_equal_those_of_t5():
  """In T5, 568 tokens of text become 512 encoder tokens and 114 targets."""
  spans = SpanCorruption(SENTINELS, START, END, 568, 0.15, 3.0)
  assert spans.encoder_len == 512
  assert spans.target_len == 114


@pytest.mark.slow
def test_every_position_is_removed_equally_often_except_the_first():
  spans = SpanCorruption(SENTINELS, START, None, 30, 0.3, 3.0)
  windows = np.arange(31)[None].repeat(4000, 0).astype(np.uint16)
  encoder = apply(spans, windows).encoder_tokens
  kept_fraction = np.bincount(encoder[encoder < 30], minlength=30) / 4000
  # A sequence begins with text that stays, as in T5.
  assert kept_fraction[0] == 1.0
  expected_mean = (21 - kept_fraction[:3].sum()) / 27
  assert abs(kept_fraction[3:].mean() - expected_mean) < 1e-9
  assert kept_fraction[10:25].std() < 0.08


def test_equal_seeds_draw_equal_spans():
  _, _, first = corrupt(64)
  _, _, second = corrupt(64)
  jax.tree.map(np.testing.assert_array_equal, first, second)


def test_another_seed_draws_other_spans():
  _, _, first = corrupt(64)
  _, _, second = corrupt(64, seed=1)
  is_different = (first.encoder_tokens != second.encoder_tokens).any(axis=1)
  assert is_different.mean() > 0.9


@pytest.mark.parametrize('dynamic', [True, False])
def test_host_and_device_draw_the_same_spans(dynamic):
  check_host_equals_device(
    *make_stream('span', 5000, 40, TOKENS, dynamic_masking=dynamic)
  )


# The second case has as many targets as tokens, so their shapes do not differ.
@pytest.mark.parametrize(
  'spans, n_targets',
  [({}, 9), ({'span_fraction': 0.65, 'span_length': 2.0}, 40)],
)
def test_evaluation_scores_only_full_windows(spans, n_targets):
  stream, _ = make_stream('span', 5000, 40, TOKENS, **spans)
  validation = TokenStream(np.arange(5000, dtype=np.uint16) % 256, np.zeros(1, int))
  transform = stream.evaluation_transform
  batches = list(evaluation_batches([validation], 40, 50, transform=transform))
  weights = np.concatenate([batch.weights for batch in batches])
  assert weights.shape[1] == n_targets
  assert weights[: 4999 // 40].all()
  assert not weights[4999 // 40 :].any()


def test_more_spans_than_sentinels_are_an_error():
  message = r'data\.span_length: got 300 spans .* expected at most 100'
  with pytest.raises(ConfigError, match=message):
    make_stream('span', 5000, 2000, TOKENS, span_length=1.0)
