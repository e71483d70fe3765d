"""Best values over studies of several sizes follow the law that was planted."""

import dataclasses

import numpy as np
import planted_studies as planted
import pytest

from lmhp.analysis.analysis import analyze
from lmhp.analysis.scaling.transfer import power_laws

RATE = 'optimizer.learning_rate'


def at_size(parameters, exponent=-0.5, tokens=1e6, seed=0):
  """A study whose best learning rate is 1e-3 at a million parameters, and goes as their power."""
  best = np.log10(1e-3 * (parameters / 1e6) ** exponent / 1e-4) / 2
  runs = planted.study(lambda places, rng: 3.0 + 2 * (places[RATE] - best) ** 2, seed)
  sized = {
    'parameters': np.full(len(runs), parameters),
    'tokens': np.full(len(runs), tokens),
  }
  return analyze(
    dataclasses.replace(runs, measured={**runs.measured, **sized}), pictures=False
  )


def test_the_exponent_is_found_and_a_bigger_model_predicted():
  (one,) = power_laws([at_size(n, seed=i) for i, n in enumerate((2e5, 1e6, 5e6, 2e7))])
  assert one.axes == (RATE,) and one.numbers['exponent'] == pytest.approx(
    -0.5, abs=0.08
  )
  assert one.numbers['exponent_low'] < -0.5 < one.numbers['exponent_high']
  assert one.numbers['at_parameters'] == 2e8
  assert one.numbers['predicted_low'] < 1e-3 * 200**-0.5 < one.numbers['predicted_high']
  assert 'N to the power -0.5' in one.title and 'Tokens differ' not in one.evidence


def test_tokens_that_grow_along_are_said():
  (one,) = power_laws([at_size(n, tokens=20 * n) for n in (2e5, 1e6, 5e6)])
  assert 'Tokens differ' in one.evidence and 'parameters' in one.title


def test_two_sizes_make_no_law():
  assert power_laws([at_size(1e6), at_size(5e6)]) == []
  assert power_laws([at_size(1e6, seed=i) for i in range(3)]) == []
