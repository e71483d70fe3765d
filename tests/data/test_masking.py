"""Masking: fractions of the targets and replacements, and the same masks everywhere."""

import jax
import numpy as np
from objective_streams import check_host_equals_device, gather, make_stream
import pytest

from lmhp.data.batches import evaluation_batches, make_batch
from lmhp.data.objectives import Masking
from lmhp.data.shards import TokenStream

L = 64
MASK = 257
END = 256
HYPERS = {
  'seed': np.uint32(0),
  'mask_fraction': 0.2,
  'mask_random_fraction': 0.3,
  'mask_keep_fraction': 0.25,
}


@pytest.fixture(scope='module')
def batch():
  windows = np.random.default_rng(0).integers(0, 256, (200, L + 1)).astype(np.uint16)
  windows[:, ::9] = END
  return make_batch(windows)


def mask(batch, **hypers):
  draw_numbers = np.arange(len(batch.tokens)).astype(np.uint32)
  masking = Masking(MASK, 256, END)
  return jax.device_get(masking.apply(batch, draw_numbers, HYPERS | hypers))


def is_close_to_fraction(n, fraction, total):
  """Returns True if a binomial count is within four standard deviations."""
  deviation = np.sqrt(fraction * (1 - fraction) / total)
  return abs(n / total - fraction) < 4 * deviation


def test_targets_are_the_original_tokens(batch):
  masked = mask(batch)
  is_target = masked.weights == 1
  assert set(np.unique(masked.weights)) == {0, 1}
  assert masked.targets.tolist() == batch.tokens.tolist()
  assert (masked.tokens == batch.tokens)[~is_target].all()


def test_end_of_text_is_never_masked(batch):
  masked = mask(batch, mask_fraction=1.0)
  assert not masked.weights[batch.tokens == END].any()


def test_fractions_of_targets_and_replacements(batch):
  masked = mask(batch)
  is_target = masked.weights == 1
  n_targets = is_target.sum()
  assert is_close_to_fraction(n_targets, 0.2, (batch.tokens != END).sum())
  is_masked = is_target & (masked.tokens == MASK)
  assert is_close_to_fraction(is_masked.sum(), 0.45, n_targets)
  # A random token is the original one in 1 of 256 cases.
  is_kept = is_target & (masked.tokens == batch.tokens)
  assert is_close_to_fraction(is_kept.sum(), 0.25 + 0.3 / 256, n_targets)


def test_random_replacements_cover_the_vocabulary(batch):
  masked = mask(batch)
  is_random = (masked.weights == 1) & (masked.tokens != MASK)
  is_random &= masked.tokens != batch.tokens
  replacements = masked.tokens[is_random]
  assert len(np.unique(replacements)) > 200
  assert replacements.max() < 256


def test_all_tokens_can_be_masked(batch):
  masked = mask(
    batch, mask_fraction=1.0, mask_random_fraction=0.0, mask_keep_fraction=0.0
  )
  expected = np.where(batch.tokens == END, END, MASK)
  np.testing.assert_array_equal(masked.tokens, expected)


def test_all_targets_can_keep_their_tokens(batch):
  masked = mask(
    batch, mask_fraction=1.0, mask_random_fraction=0.0, mask_keep_fraction=1.0
  )
  np.testing.assert_array_equal(masked.tokens, batch.tokens)
  assert masked.weights.sum() == (batch.tokens != END).sum()


def test_larger_fraction_adds_targets(batch):
  few = mask(batch)
  many = mask(batch, mask_fraction=0.4)
  assert (many.weights >= few.weights).all()
  assert many.weights.sum() > 1.5 * few.weights.sum()


def test_another_seed_draws_another_mask(batch):
  first = mask(batch)
  second = mask(batch, seed=np.uint32(1))
  n_common = (first.weights * second.weights).sum()
  assert 0.1 < n_common / first.weights.sum() < 0.3


def make_masked_stream(**values):
  return make_stream('masked', 2000, L, {'mask_token': MASK}, **values)


@pytest.mark.parametrize('dynamic', [True, False])
def test_host_and_device_draw_the_same_masks(dynamic):
  check_host_equals_device(*make_masked_stream(dynamic_masking=dynamic))


@pytest.mark.parametrize('dynamic', [True, False])
def test_second_pass_draws_a_new_mask_only_if_masking_is_dynamic(dynamic):
  """Compares the masks of windows that begin at the same token in two epochs."""
  masked = gather(*make_masked_stream(dynamic_masking=dynamic), 0, 4000)
  first_masks = {}
  n_repeated = 0
  n_equal = 0
  for target, weight in zip(masked.targets, masked.weights):
    first = first_masks.setdefault(target.tobytes(), weight)
    if first is not weight:
      n_repeated += 1
      n_equal += bool((first == weight).all())
  assert n_repeated > 20
  assert n_equal == (0 if dynamic else n_repeated)


def masked_evaluation(**values):
  stream, _ = make_masked_stream(**values)
  ids = np.arange(1000).astype(np.uint16) % 256
  validation = TokenStream(ids, np.zeros(1, np.int64))
  transform = stream.evaluation_transform
  return list(evaluation_batches([validation], L, 5, transform=transform))


def test_evaluations_mask_the_same_tokens_for_all_seeds_and_fractions():
  first = masked_evaluation(mask_fraction=0.15, seed=0)
  second = masked_evaluation(mask_fraction=0.5, seed=3)
  jax.tree.map(np.testing.assert_array_equal, first, second)


def test_evaluations_mask_the_fraction_of_bert_and_no_padding():
  weights = np.concatenate([b.weights for b in masked_evaluation(mask_fraction=0.5)])
  assert 0.1 < weights[: 999 // L].mean() < 0.2
  assert not weights[-1].any()
