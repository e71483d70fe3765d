"""Tests of the critical batch size: a fit by scipy, coverage, and first crossings of curves."""

import numpy as np
import pytest
from scipy import optimize

from lmhp.analysis.scaling.critical_batch_size import (
  critical_batch_size,
  steps_to_target,
)
from lmhp.errors import ConfigError

BATCHES = 2.0 ** np.arange(3, 12)


def steps_of(batches, critical=128.0, fewest=500.0, noise=0.0, rng=None):
  steps = fewest * (1 + critical / batches)
  return steps * np.exp(noise * rng.standard_normal(len(batches))) if noise else steps


def test_the_law_is_recovered_without_noise():
  found = critical_batch_size(BATCHES, steps_of(BATCHES))
  for value in (found.batch_size, found.batch_size_low, found.batch_size_high):
    assert value == pytest.approx(128, rel=1e-5)
  assert found.steps_min == pytest.approx(
    500, rel=1e-5
  ) and found.examples_min == pytest.approx(64_000, rel=1e-5)
  assert found.reason == '' and found.noise < 1e-6 and found.n_runs == 9


def test_steps_examples_and_the_hyperbola_between_them():
  found = critical_batch_size(BATCHES, steps_of(BATCHES))
  np.testing.assert_allclose(found.steps(BATCHES), steps_of(BATCHES), rtol=1e-5)
  steps, examples = found.steps(BATCHES), found.examples(BATCHES)
  np.testing.assert_allclose(examples, BATCHES * steps)
  np.testing.assert_allclose(
    (steps / found.steps_min - 1) * (examples / found.examples_min - 1), 1
  )
  assert found.steps(found.batch_size) == pytest.approx(2 * found.steps_min)
  assert found.examples(found.batch_size) == pytest.approx(2 * found.examples_min)


def test_the_fit_and_the_interval_are_scipys():
  steps = steps_of(BATCHES, noise=0.1, rng=np.random.default_rng(3))

  def residuals(p):
    return np.log(steps) - p[0] - np.log1p(np.exp(p[1]) / BATCHES)

  oracle = optimize.least_squares(
    residuals, [np.log(300), np.log(50)], xtol=1e-14, ftol=1e-14, gtol=1e-14
  )
  found = critical_batch_size(BATCHES, steps)
  assert found.steps_min == pytest.approx(np.exp(oracle.x[0]), rel=1e-5)
  assert found.batch_size == pytest.approx(np.exp(oracle.x[1]), rel=1e-5)
  assert found.noise == pytest.approx(np.sqrt(2 * oracle.cost / 7), rel=1e-6)
  from scipy import stats

  limit = 2 * oracle.cost * (1 + stats.f.ppf(0.9, 1, 7) / 7)
  precise = {'bounds': (0, 9), 'method': 'bounded', 'options': {'xatol': 1e-10}}

  def least(squares):
    return optimize.minimize_scalar(squares, **precise).fun

  for end in np.log(
    [found.intervals['steps_min'][0], found.intervals['steps_min'][1]]
  ):  # the profile, by another minimizer
    assert least(lambda b, a=end: np.sum(residuals([a, b]) ** 2)) == pytest.approx(
      limit, rel=1e-5
    )
  for end in np.log(
    [found.intervals['examples_min'][0], found.intervals['examples_min'][1]]
  ):
    assert least(lambda b, e=end: np.sum(residuals([e - b, b]) ** 2)) == pytest.approx(
      limit, rel=1e-5
    )


@pytest.mark.slow
def test_intervals_hold_the_truth():
  rng, batches, held = np.random.default_rng(0), 2.0 ** np.arange(4, 11), []
  for _ in range(400):
    found = critical_batch_size(batches, steps_of(batches, noise=0.1, rng=rng))
    held.append(
      [
        found.batch_size_low <= 128 <= found.batch_size_high,
        found.intervals['steps_min'][0] <= 500 <= found.intervals['steps_min'][1],
        found.intervals['examples_min'][0]
        <= 64_000
        <= found.intervals['examples_min'][1],
      ]
    )
  share = np.mean(held, axis=0)
  assert (0.85 < share).all() and (share < 0.95).all()  # three standard errors of 400


def test_units_of_batches_scale_through():
  steps = steps_of(BATCHES, noise=0.05, rng=np.random.default_rng(1))
  one, tokens = (
    critical_batch_size(BATCHES, steps),
    critical_batch_size(1024 * BATCHES, steps),
  )
  for name in ('batch_size', 'examples_min'):
    assert tokens.estimates[name] == pytest.approx(1024 * one.estimates[name], rel=1e-5)
    assert tokens.se[name] == pytest.approx(1024 * one.se[name], rel=1e-5)
    ends = 1024 * np.array(one.intervals[name])
    np.testing.assert_allclose(tokens.intervals[name], ends, rtol=1e-5)
  assert tokens.intervals['steps_min'][1] == pytest.approx(
    one.intervals['steps_min'][1], rel=1e-5
  )


def test_what_lies_beyond_the_batches_is_left_open():
  rng = np.random.default_rng(2)
  large = critical_batch_size(
    BATCHES, steps_of(BATCHES, critical=1e7, noise=0.1, rng=rng)
  )
  small = critical_batch_size(
    BATCHES, steps_of(BATCHES, critical=1e-4, noise=0.1, rng=rng)
  )
  assert (
    large.batch_size_high == np.inf
    and large.batch_size_low > 500
    and large.intervals['steps_min'][0] == 0
  )
  assert (
    large.intervals['examples_min'][0] < 500 * 1e7 < large.intervals['examples_min'][1]
  )
  assert (
    small.batch_size_low == 0
    and small.batch_size_high < 50
    and small.intervals['examples_min'][0] == 0
  )
  assert small.intervals['steps_min'][0] < 500 < small.intervals['steps_min'][1]


@pytest.mark.parametrize(
  'steps, unknown, known',
  [
    (1e6 / BATCHES, 'steps_min', 'examples_min'),
    (np.full(9, 500.0), 'examples_min', 'steps_min'),
    (1e3 * BATCHES**0.2, 'examples_min', 'steps_min'),
  ],
)
def test_a_critical_batch_size_outside_the_batch_sizes_is_unknown(
  steps, unknown, known
):
  result = critical_batch_size(BATCHES, steps)
  assert np.isnan(result.batch_size)
  assert result.reason
  assert np.isnan(getattr(result, unknown))
  assert np.isfinite(getattr(result, known))


def test_runs_that_never_got_there_are_left_out():
  steps = steps_of(BATCHES)
  steps[[0, 4]] = np.nan, np.inf
  found = critical_batch_size(BATCHES, steps)
  assert found.n_runs == 7 and found.batch_size == pytest.approx(128, rel=1e-5)
  steps[2:] = np.nan
  assert critical_batch_size(BATCHES, steps).reason
  assert np.isnan(critical_batch_size([8, 8, 16, 16], [100, 110, 60, 61]).batch_size)


@pytest.mark.parametrize(
  'arguments',
  [
    ([8, 16], [1, 2, 3]),
    ([8, 0, 4], [3, 2, 1]),
    ([8, 16, 32], [3, -2, 1]),
    ([8, 16, 32], [3, 2, 1], 1.0),
    ([8, np.nan, 32], [3, 2, 1]),
  ],
)
def test_batches_that_make_no_sense_are_refused(arguments):
  with pytest.raises(ConfigError):
    critical_batch_size(*arguments)


# --- first crossings ----------------------------------------------------------------


def test_crossings_of_straight_lines_are_exact_smoothed_or_not():
  steps, losses = np.arange(0, 1000, 10.0), 4 - 0.001 * np.arange(0, 1000, 10.0)
  for window in (None, 0, 3, 5, 40):
    assert steps_to_target(steps, losses, 3.5037, window) == pytest.approx(496.3)


def test_noise_is_smoothed_without_lag():
  rng, steps, found, rough = np.random.default_rng(0), np.arange(500.0), [], []
  curve = 2 + 2 * np.exp(-steps / 200)
  truth = 200 * np.log(2)
  for _ in range(200):
    losses = curve + 0.05 * rng.standard_normal(500)
    found.append(steps_to_target(steps, losses, 3.0))
    rough.append(steps_to_target(steps, losses, 3.0, window=0))
  assert abs(np.mean(found) - truth) < 3 and np.std(found) < 5
  assert np.mean(rough) < truth - 10  # the first of many noisy values is early


@pytest.mark.parametrize(
  'losses, target, expected',
  [
    ([4, 3, 2], 1.0, np.nan),
    ([4, 3, 2], 5.0, 0.0),
    ([4, 3, 2], 2.0, 200.0),
    ([4, np.nan, 2], 3.0, 100.0),
    ([4, np.inf, 2], 3.0, np.nan),
    ([4, 3, np.inf], 3.5, 50.0),
    ([np.nan, np.nan, np.nan], 3.0, np.nan),
    ([4, 2, 5], 3.0, 50.0),
    ([np.nan, 4, 2], 3.0, 150.0),
  ],
)
def test_crossings_by_hand(losses, target, expected):
  assert steps_to_target([0, 100, 200], losses, target) == pytest.approx(
    expected, nan_ok=True
  )


def test_an_empty_curve_and_a_wrong_shape():
  assert np.isnan(steps_to_target([], [], 3.0))
  with pytest.raises(ConfigError):
    steps_to_target([0, 1], [4.0], 3.0)


# Steps to the target loss of five models (85M to 1.2B parameters) at batch sizes of 64 to 16,384,
# and the batch sizes at 20% overhead over 256: hlzhang109/critical-batch-size at c5b509d,
# plots/chinchilla.ipynb.
PUBLISHED = [
  ([46000, 23000, 13282, 7000, 3840, 2528, 1917, 1600, 1600], 745.3201466),
  ([96000, 49000, 24000, 12000, 7128, 4350, 2940, 2400, 2300], 955.1582414),
  ([196000, 90000, 46000, 23400, 13300, 7224, 4980, 3400, 2879], 1393.7269473),
  ([311000, 166000, 81000, 37440, 21320, 11400, 7199, 4700, 3800], 1888.5221009),
  ([642000, 331000, 176000, 94000, 46500, 25000, 15360, 8900, 6500], 2533.4108018),
]


@pytest.mark.parametrize('steps, published', PUBLISHED)
def test_published_batch_sizes_at_an_overhead_are_reproduced(steps, published):
  found = critical_batch_size(2.0 ** np.arange(6, 15), steps)
  at_overhead = found.batch_at_overhead(0.2, reference=256)
  assert at_overhead.value == pytest.approx(published, rel=1e-6)
  # The definition: 20% more examples than at a batch size of 256.
  examples = found.examples(at_overhead.value) / found.examples(256)
  assert examples == pytest.approx(1.2)
  assert at_overhead.low < published < at_overhead.high


def test_the_critical_batch_size_has_an_overhead_of_one():
  found = critical_batch_size(
    BATCHES, steps_of(BATCHES, noise=0.1, rng=np.random.default_rng(3))
  )
  assert found.batch_at_overhead(1) == (
    found.batch_size,
    found.batch_size_low,
    found.batch_size_high,
  )
  with pytest.raises(ConfigError, match='overhead'):
    found.batch_at_overhead(0)


def test_standard_errors_are_scipys():
  steps = steps_of(BATCHES, noise=0.1, rng=np.random.default_rng(3))

  def law(batches, fewest, critical):
    return np.log(fewest) + np.log1p(critical / batches)

  _, cov = optimize.curve_fit(law, BATCHES, np.log(steps), (300, 50), ftol=1e-14)
  found = critical_batch_size(BATCHES, steps)
  np.testing.assert_allclose(found.cov[np.ix_([1, 0], [1, 0])], cov, rtol=1e-3)
  assert list(found.se) == ['batch_size', 'steps_min', 'examples_min']
  assert found.title.splitlines()[1].startswith('9 runs, 0 left out')
