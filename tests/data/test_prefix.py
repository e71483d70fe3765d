"""Prefix language modelling: lengths of the prefixes, and targets after them."""

import jax
import numpy as np
from objective_streams import check_host_equals_device, make_stream
import pytest

from lmhp.data.batches import make_batch
from lmhp.data.objectives import Prefix


def draw_prefixes(n):
  windows = np.random.default_rng(0).integers(0, 256, (n, 9)).astype(np.uint16)
  draw_numbers = np.arange(n).astype(np.uint32)
  hypers = {'seed': np.uint32(0)}
  return jax.device_get(Prefix().apply(make_batch(windows), draw_numbers, hypers))


def test_prefix_lengths_are_uniform_from_1_to_one_less_than_the_sequence():
  lengths = draw_prefixes(3000).prefix_lengths
  assert set(lengths) == set(range(1, 8))
  assert abs(lengths.mean() - 4) < 0.2


def test_targets_within_the_prefix_have_weight_0():
  batch = draw_prefixes(100)
  for length, weights in zip(batch.prefix_lengths, batch.weights):
    assert weights.tolist() == [0] * (length - 1) + [1] * (8 - length + 1)


@pytest.mark.parametrize('dynamic', [True, False])
def test_host_and_device_draw_the_same_prefixes(dynamic):
  check_host_equals_device(
    *make_stream('prefix', 5000, 40, {}, dynamic_masking=dynamic)
  )
