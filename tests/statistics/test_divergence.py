"""The step at which a loss diverged."""

import numpy as np
import pytest

from lmhp.statistics.divergence import diverged_at

BAD_START = np.concatenate([np.linspace(4, 5, 30), np.linspace(5, 2, 170)])


@pytest.mark.parametrize(
  'losses,expected',
  [
    ([4.0, 3.0, np.nan, 3.0], 2),
    ([4.0, np.inf], 1),
    ([np.nan], 0),
    ([4.0, 3.0, -np.inf, np.nan], 2),
    ([], None),
    ([4.0], None),
    ([4.0, 9.0, 9.0], None),  # too short for the second rule
    # A short run that is far above its start at its end.
    ([5.5, 5.4, 3000.0, 3442.0, 3400.0], 2),
    ([5.5, 3000.0], 1),
    ([5.5, 3000.0, 5.0], None),
    ([0.01, 0.5, 0.9], None),
    ([-5.0, -3.0], None),
    ([], None),
    (np.linspace(4, 2, 200), None),
    (np.full(200, 4.0), None),
    (BAD_START, None),
    (np.concatenate([[4.0], np.full(100, 5.0)]), 1),
  ],
)
def test_diverged_at(losses, expected):
  assert diverged_at(np.array(losses)) == expected


@pytest.fixture
def falling():
  """A noisy loss that falls from 4 to 2."""
  noise = 0.05 * np.random.default_rng(0).standard_normal(400)
  return np.linspace(4, 2, 400) + noise


def test_a_spike_is_not_a_divergence(falling):
  falling[200:205] = 50
  assert diverged_at(falling) is None


def test_a_plateau_above_the_start_is_a_divergence(falling):
  falling[200:] = 6
  assert 200 < diverged_at(falling) <= 240


def test_steps_are_counted_from_the_first_one(falling):
  falling[200:] = 6
  assert diverged_at(falling, first_step=1000) == 1000 + diverged_at(falling)


def test_a_shorter_half_life_finds_the_divergence_earlier(falling):
  falling[200:] = 6
  assert diverged_at(falling, half_life=5.0) < diverged_at(falling, half_life=40.0)
