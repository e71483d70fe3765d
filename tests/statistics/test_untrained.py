"""Runs that train nothing are recognized by their rows, and healthy runs are not."""

import numpy as np
import pytest

from lmhp.statistics.untrained import untrained_reason

FALLING = np.linspace(5.5, 2.0, 30)


@pytest.mark.parametrize(
  ('losses', 'norms', 'word'),
  [
    (np.zeros(5), np.zeros(5), 'target'),
    ([0.0, 0.0, 0.0, 2.0], (), 'target'),
    (FALLING, np.full(30, np.inf), 'gradient'),
    (FALLING, np.full(30, np.nan), 'gradient'),
    (FALLING, np.where(np.arange(30) % 3, np.inf, 1.0), 'gradient'),
  ],
)
def test_a_run_that_trains_nothing_is_recognized(losses, norms, word):
  assert word in untrained_reason(losses, norms)


@pytest.mark.parametrize(
  ('losses', 'norms'),
  [
    ((), ()),
    (FALLING, ()),
    (FALLING, np.ones(30)),
    # A loss that falls to 0, and single infinite norms.
    (np.maximum(FALLING - 4, 0), np.ones(30)),
    (FALLING, np.where(np.arange(30) % 3, 1.0, np.inf)),
    # A divergence is reported as one.
    (np.full(30, np.nan), np.full(30, np.nan)),
  ],
)
def test_a_healthy_run_is_not(losses, norms):
  assert untrained_reason(losses, norms) is None
