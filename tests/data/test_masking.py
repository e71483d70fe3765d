"""What is hidden: the shares asked for, never end-of-text, anew each time or alike, the same on host and device."""

import dataclasses

import jax
import numpy as np
import pytest

from lmhp import hypers
from lmhp.data.batches import evaluation_batches, make_batch
from lmhp.data.config import DataConfig
from lmhp.data.dataset import Dataset
from lmhp.data.masking import Masking
from lmhp.data.shards import TokenShards
from lmhp.data.stream import TrainStream
from lmhp.data.tokenizer import ByteTokenizer
from lmhp.errors import ConfigError

L, MASK, END = 64, 257, 256
NUMBERS = dict(mask_fraction=0.2, mask_random_fraction=0.3, mask_keep_fraction=0.25)


@pytest.fixture(scope='module')
def batch():
  windows = np.random.default_rng(0).integers(0, 256, (200, L + 1)).astype(np.uint16)
  windows[:, ::9] = END
  return make_batch(windows)


def masked(batch, seed=0, **numbers):
  names = np.arange(len(batch.tokens)).astype(np.uint32)
  return jax.device_get(
    Masking(MASK, 256, END).apply(batch, names, seed, NUMBERS | numbers)
  )


def test_shares_are_those_asked_for(batch):
  out = masked(batch)
  assert out.targets.tolist() == batch.tokens.tolist()
  target = out.weights == 1
  assert set(np.unique(out.weights)) == {0, 1} and not target[batch.tokens == END].any()
  assert (out.tokens == batch.tokens)[~target].all()
  text = (batch.tokens != END).sum()
  near = lambda x, p, n: abs(x / n - p) < 4 * np.sqrt(p * (1 - p) / n)
  assert near(target.sum(), 0.2, text)
  hidden, kept = target & (out.tokens == MASK), target & (out.tokens == batch.tokens)
  assert near(hidden.sum(), 0.45, target.sum()) and near(
    kept.sum(), 0.25 + 0.3 / 256, target.sum()
  )
  at_random = out.tokens[target & ~hidden & ~kept]
  assert len(np.unique(at_random)) > 200 and at_random.max() < 256


def test_bounds(batch):
  all_hidden = masked(
    batch, mask_fraction=1.0, mask_random_fraction=0.0, mask_keep_fraction=0.0
  )
  assert (all_hidden.tokens == np.where(batch.tokens == END, END, MASK)).all()
  shown = masked(
    batch, mask_fraction=1.0, mask_random_fraction=0.0, mask_keep_fraction=1.0
  )
  assert (shown.tokens == batch.tokens).all() and shown.weights.sum() == (
    batch.tokens != END
  ).sum()


def test_a_larger_fraction_hides_more_of_the_same_and_another_seed_others(batch):
  few, many, others = (
    masked(batch),
    masked(batch, mask_fraction=0.4),
    masked(batch, seed=1),
  )
  assert (
    many.weights >= few.weights
  ).all() and many.weights.sum() > 1.5 * few.weights.sum()
  assert 0.1 < (few.weights * others.weights).sum() / few.weights.sum() < 0.3


def stream(**values):
  cfg = DataConfig(objective='masked', **values)
  tokens = TokenShards(
    np.random.default_rng(0).integers(0, 256, 2000).astype(np.uint16),
    np.zeros(1, np.int64),
  )
  structure, numbers = hypers.split(cfg)
  return TrainStream(
    Dataset(ByteTokenizer(), (tokens,), (tokens,), (), '', mask_token=MASK),
    L,
    structure,
  ), numbers


def gather(stream, numbers, first, count):
  names = np.arange(first, first + count).astype(np.uint32)
  return jax.device_get(jax.jit(stream.gather)(stream.arrays, numbers, names))


@pytest.mark.parametrize('dynamic', [True, False])
def test_host_and_device_hide_the_same(dynamic):
  made, numbers = stream(dynamic_masking=dynamic)
  device = gather(made, numbers, 12, 6)
  host = jax.tree.map(
    lambda x: x.reshape(6, *x.shape[2:]), made.host_batches(numbers, 12, 3, 2)
  )
  jax.tree.map(np.testing.assert_array_equal, host, device)


@pytest.mark.parametrize('dynamic', [True, False])
def test_a_second_pass_is_masked_anew_or_alike(dynamic):
  """Windows of two passes begin at other offsets but for a fraction; those that begin alike are compared."""
  made, numbers = stream(dynamic_masking=dynamic)
  out = gather(made, numbers, 0, 4000)
  seen, alike, same = {}, 0, 0
  for target, weight in zip(out.targets, out.weights):
    if (before := seen.setdefault(target.tobytes(), weight)) is not weight:
      alike, same = alike + 1, same + bool((before == weight).all())
  assert alike > 20 and same == (0 if dynamic else alike)


def test_evaluations_hide_the_same_tokens_whatever_training_hides():
  scored = []
  for fraction, seed in ((0.15, 0), (0.5, 3)):
    made, _ = stream(mask_fraction=fraction, seed=seed)
    tokens = TokenShards(np.arange(1000).astype(np.uint16) % 256, np.zeros(1, np.int64))
    scored.append(list(evaluation_batches(tokens, L, 5, change=made.for_evaluation)))
  jax.tree.map(np.testing.assert_array_equal, *scored)
  weights = np.concatenate([b.weights for b in scored[0]])
  assert 0.1 < weights[: 999 // L].mean() < 0.2
  assert not weights[-1].any()  # a sequence of padding


def test_shares_above_one_are_said():
  with pytest.raises(
    ConfigError,
    match='data.mask_keep_fraction: got 0.6, expected at most 1 together with',
  ):
    DataConfig(mask_random_fraction=0.5, mask_keep_fraction=0.6)


def test_the_vocabulary_has_a_row_for_the_mask():
  tokens = TokenShards(np.arange(10).astype(np.uint16), np.zeros(1, np.int64))
  made = Dataset(ByteTokenizer(), (tokens,), (tokens,), (), '')
  assert (
    made.vocab_size == 257
    and dataclasses.replace(made, mask_token=MASK).vocab_size == 258
  )
  assert len(dataclasses.replace(made, mask_token=MASK).token_bytes(258)) == 258
