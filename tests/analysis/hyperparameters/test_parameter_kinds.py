"""Tests of the effects of parameters by kind."""

import numpy as np
import pytest
from scipy import stats

from lmhp.analysis.hyperparameters.parameter_kinds import effects_by_kind
from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.table import Runs
from lmhp.errors import ConfigError

KINDS = ('embedding', 'attention', 'feed_forward')


def models(rng, n, effects=(0.0, 0.0, 0.0), noise=0.01, doubling=-0.1, **columns):
  """Runs of models whose loss is linear in shares (nats per 1%) and in the log of the total."""
  parts = rng.uniform(1, 3, (n, 3)) * 10 ** rng.uniform(6, 7, (n, 1))
  total = parts.sum(axis=1)
  losses = (
    3
    + doubling * np.log2(total / 1e6)
    + 100 * (parts / total[:, None]) @ np.array(effects)
  )
  measured = {f'parameters_{kind}': parts[:, i] for i, kind in enumerate(KINDS)}
  return Runs(
    'models',
    {},
    {},
    losses + noise * rng.standard_normal(n),
    measured={**measured, **columns},
  )


def shares_of(runs):
  counts = np.column_stack([runs.measured[f'parameters_{kind}'] for kind in KINDS])
  return counts / counts.sum(axis=1, keepdims=True), np.log2(counts.sum(axis=1))


def test_a_move_costs_what_was_planted():
  runs = models(np.random.default_rng(0), 40, effects=(0.002, 0.0, -0.004), noise=1e-9)
  found, (shares, _) = effects_by_kind(runs), shares_of(runs)
  mean = shares.mean(axis=0)
  for i, kind in enumerate(KINDS):
    others = [j for j in range(3) if j != i]
    expected = (0.002, 0, -0.004)[i] - sum(
      (0.002, 0, -0.004)[j] * mean[j] for j in others
    ) / (1 - mean[i])
    assert found.per_percent[found.kinds.index(kind)] == pytest.approx(
      expected, abs=1e-7
    )
  assert found.per_doubling[0] == pytest.approx(-0.1, abs=1e-7)
  np.testing.assert_allclose(
    found.fraction[[found.kinds.index(kind) for kind in KINDS]], mean
  )


def test_effects_and_intervals_are_those_of_a_fit_that_leaves_one_kind_out():
  runs = models(np.random.default_rng(1), 25, effects=(0.002, 0.0, -0.004))
  found, (shares, doublings) = effects_by_kind(runs), shares_of(runs)
  mean = shares.mean(axis=0)
  design = np.column_stack(
    [np.ones(25), doublings, shares[:, 0], shares[:, 1]]
  )  # against feed-forward
  coefficients, rss = np.linalg.lstsq(design, runs.objective, rcond=None)[:2]
  covariance = np.linalg.inv(design.T @ design) * rss[0] / 21
  move = 0.01 * np.array([0, 0, 1, -mean[1] / (1 - mean[0])])  # to the embedding
  estimate, error = move @ coefficients, np.sqrt(move @ covariance @ move)
  i = found.kinds.index('embedding')
  half = stats.t.ppf(0.95, 21) * error
  np.testing.assert_allclose(
    [found.per_percent[i], found.low[i], found.high[i]],
    [estimate, estimate - half, estimate + half],
    rtol=1e-8,
  )
  assert found.p_value[i] == pytest.approx(
    min(1, 3 * 2 * stats.t.sf(abs(estimate / error), 21)), rel=1e-8
  )
  assert found.per_doubling[0] == pytest.approx(coefficients[1], rel=1e-8)


def test_intervals_hold_and_noise_is_noise():
  held, false, rng = [], 0, np.random.default_rng(0)
  for _ in range(1000):
    found = effects_by_kind(models(rng, 14))
    held.append((found.low <= 0) & (found.high >= 0))
    false += bool(found.significant)
  assert 0.87 < np.mean(held) < 0.93 and false <= stats.binom.ppf(0.999, 1000, 0.05)


def test_a_planted_kind_is_found_in_95_of_100():
  missed = 0
  for seed in range(100):
    found = effects_by_kind(
      models(np.random.default_rng(seed), 20, effects=(0, 0, -0.002))
    )
    missed += (
      'feed_forward' not in found.significant
      or found.per_percent[found.kinds.index('feed_forward')] > 0
    )
  assert missed <= 5


def test_seeds_of_one_model_are_one_point():
  runs = models(np.random.default_rng(0), 20)
  losses = np.repeat(runs.objective, 2) + np.tile([0.1, -0.1], 20)
  twice = Runs(
    'models',
    {},
    {},
    losses,
    point=np.repeat(np.arange(20), 2),
    measured={name: np.repeat(column, 2) for name, column in runs.measured.items()},
  )
  one, two = effects_by_kind(runs), effects_by_kind(twice)
  assert two.n_points == 20
  np.testing.assert_allclose(two.low, one.low)


def test_what_diverged_or_has_no_counts_is_left_out():
  runs = models(np.random.default_rng(0), 22)
  measured = {name: column.copy() for name, column in runs.measured.items()}
  for column in measured.values():
    column[3] = np.nan
  status = np.array(['complete'] * 21 + ['diverged'])
  losses = runs.objective.copy()
  losses[[3, 21]] = 99
  found = effects_by_kind(
    Runs('models', {}, {}, losses, status=status, measured=measured)
  )
  keep = ~np.isin(np.arange(22), [3, 21])
  expected = effects_by_kind(
    Runs(
      'models', {}, {}, losses[keep], measured={k: v[keep] for k, v in measured.items()}
    )
  )
  assert found.n_points == 20
  np.testing.assert_allclose(found.per_percent, expected.per_percent)


def test_a_kind_that_hardly_varies_is_left_out():
  runs = models(np.random.default_rng(0), 20)
  norms = dict(
    runs.measured,
    parameters_normalization=np.full(20, 1000.0),
    parameters_output=np.zeros(20),
  )
  found = effects_by_kind(Runs('models', {}, {}, runs.objective, measured=norms))
  assert set(found.kinds) == set(KINDS)
  np.testing.assert_allclose(
    found.per_percent, effects_by_kind(runs).per_percent, rtol=0.02, atol=1e-5
  )


def test_kinds_that_move_together_are_not_told_apart():
  rng = np.random.default_rng(0)
  width, embedding = rng.uniform(1, 3, 24) * 1e6, rng.uniform(1, 3, 24) * 1e6
  measured = {
    'parameters_embedding': embedding,
    'parameters_attention': width,
    'parameters_feed_forward': 2 * width,
  }
  found = effects_by_kind(
    Runs('models', {}, {}, rng.normal(size=24), measured=measured)
  )
  told = dict(zip(found.kinds, np.isfinite(found.per_percent)))
  assert told == {'embedding': True, 'attention': False, 'feed_forward': False}
  assert not set(found.significant) - {'embedding'}


def test_models_of_one_total_say_nothing_of_size():
  rng = np.random.default_rng(0)
  shares = rng.dirichlet([3, 3, 3], 20)
  measured = {f'parameters_{kind}': 1e6 * shares[:, i] for i, kind in enumerate(KINDS)}
  found = effects_by_kind(Runs('models', {}, {}, 3 - shares[:, 2], measured=measured))
  assert np.isnan(found.per_doubling).all() and np.isfinite(found.per_percent).all()
  assert found.per_percent[found.kinds.index('feed_forward')] == pytest.approx(-0.01)


def test_other_axes_are_held_equal():
  rng, n = np.random.default_rng(0), 40
  runs = models(rng, n, effects=(0, 0, -0.002), tokens=np.repeat([1e8, 2e8], n // 2))
  rates = 10 ** rng.uniform(-4, -2, n)
  losses = runs.objective + np.log10(rates / 1e-3) ** 2 + (np.arange(n) < n // 2)
  axes = {
    'optimizer.learning_rate': Axis(
      'optimizer.learning_rate', low=1e-4, high=1e-2, log=True
    ),
    'model.d_ff': Axis('model.d_ff', low=0, high=1),
  }
  study = Runs(
    'models',
    axes,
    {'optimizer.learning_rate': rates, 'model.d_ff': rng.uniform(size=n)},
    losses,
    measured=runs.measured,
  )
  found = effects_by_kind(study)
  assert (
    found.covariates == ('optimizer.learning_rate', 'tokens')
    and found.noise < 0.02
    and 'feed_forward' in found.significant
  )
  assert effects_by_kind(study, covariates=()).noise > 0.1
  with pytest.raises(ConfigError, match='did you mean'):
    effects_by_kind(study, covariates=['optimizer.learning_rat'])


def test_more_is_better_is_turned_round():
  runs = models(np.random.default_rng(0), 30, effects=(0, 0, -0.004))
  turned = Runs(
    'models', {}, {}, -runs.objective, maximize=True, measured=runs.measured
  )
  np.testing.assert_allclose(
    effects_by_kind(turned).per_percent, effects_by_kind(runs).per_percent
  )


@pytest.mark.parametrize(
  'runs, reason',
  [
    (Runs('none', {}, {}, np.zeros(0)), 'not recorded'),
    (Runs('unknown', {}, {}, np.arange(20.0)), 'not recorded'),
    (
      Runs(
        'same',
        {},
        {},
        np.arange(20.0),
        measured={f'parameters_{kind}': np.full(20, 1e6) for kind in KINDS},
      ),
      'less than 2%',
    ),
    (
      Runs(
        'one',
        {},
        {},
        np.arange(20.0),
        measured={'parameters_output': np.arange(1.0, 21)},
      ),
      'less than 2%',
    ),
    (models(np.random.default_rng(0), 8), 'there are 8 models, and 9'),
  ],
)
def test_what_cannot_be_said_is_refused(runs, reason):
  found = effects_by_kind(runs)
  assert (
    reason in found.reason
    and found.significant == ()
    and np.isnan(found.per_percent).all()
  )
  assert len(found.kinds) == len(found.fraction) == len(found.low)
