"""Best values over studies of several sizes follow the planted power law."""

import dataclasses

import numpy as np
import planted_studies as planted
import pytest

from lmhp.analysis.advice.transfer import optima_at_size, power_laws
from lmhp.analysis.analysis import Analysis

RATE = planted.LEARNING_RATE
EXPONENT = -0.5


def study_of_size(parameters, tokens=1e6, seed=0):
  """A study whose best learning rate is 1e-3 (N / 1e6)^EXPONENT."""
  best_rate = 1e-3 * (parameters / 1e6) ** EXPONENT
  best = float(planted.AXES[RATE].to_unit([best_rate])[0])

  def law(units, rng):
    return 3.0 + 2 * (units[RATE] - best) ** 2

  runs = planted.study(law, seed)
  sizes = {
    'parameters': np.full(len(runs), parameters),
    'tokens': np.full(len(runs), tokens),
  }
  analysis = Analysis(dataclasses.replace(runs, measured={**runs.measured, **sizes}))
  return optima_at_size(analysis.runs, analysis.optima)


@pytest.fixture(scope='module')
def law():
  studies = [study_of_size(n, seed=i) for i, n in enumerate((2e5, 1e6, 5e6, 2e7))]
  (finding,) = power_laws(studies)
  return finding


def test_exponent_is_the_planted_one(law):
  assert law.kind == 'power_law'
  assert law.axes == (RATE,)
  assert law.numbers['N'] == pytest.approx(EXPONENT, abs=0.08)
  assert law.numbers['N_low'] < EXPONENT < law.numbers['N_high']


def test_prediction_is_for_ten_times_the_largest_size(law):
  assert '200,000,000 parameters' in law.title
  truth = 1e-3 * 200**EXPONENT
  assert law.numbers['predicted_low'] < truth < law.numbers['predicted_high']


def test_law_is_in_parameters_if_tokens_grow_in_proportion():
  studies = [study_of_size(n, tokens=20 * n) for n in (2e5, 1e6, 5e6)]
  (finding,) = power_laws(studies)
  assert 'N' in finding.numbers
  assert 'D' not in finding.numbers


def test_law_has_both_sizes_if_they_vary_independently():
  sizes = [(n, d) for n in (2e5, 1e6, 5e6) for d in (1e7, 1e8)]
  studies = [study_of_size(n, tokens=d, seed=i) for i, (n, d) in enumerate(sizes)]
  more = [study_of_size(1e6, tokens=1e9, seed=9)]
  (finding,) = power_laws([*studies, *more])
  assert finding.numbers['N'] == pytest.approx(EXPONENT, abs=0.1)
  assert finding.numbers['D'] == pytest.approx(0, abs=0.1)


def test_two_sizes_have_no_law():
  assert power_laws([study_of_size(1e6), study_of_size(5e6)]) == []


def test_one_size_has_no_law():
  assert power_laws([study_of_size(1e6, seed=i) for i in range(3)]) == []
