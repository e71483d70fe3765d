"""Tests of interactions: the level of the test, an F test, planted directions and sizes."""

import itertools

import numpy as np
import pytest
from scipy import stats

from lmhp.analysis.hyperparameters.effects import effects
from lmhp.analysis.hyperparameters.interactions import interaction, interactions
from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.table import Runs
from lmhp.errors import ConfigError

AXES = {
  'lr': Axis('lr', low=1e-4, high=1e-2, log=True),
  'depth': Axis('depth', low=2.0, high=10.0),
  'act': Axis('act', is_choice=True, choices=('gelu', 'relu')),
  'opt': Axis('opt', is_choice=True, choices=('adam', 'lion', 'sgd')),
}


def study(seed, shift=0.6, n=60, noise=0.02, names=('lr', 'depth'), size=1.0):
  """Returns runs whose best `lr` falls by `shift` of its range along half of the other axis."""
  rng = np.random.default_rng(seed)
  u = {name: rng.random(n) for name in names}
  losses = (
    3
    + size * (u['lr'] - 0.5 + shift * (u['depth'] - 0.5)) ** 2
    + noise * rng.standard_normal(n)
  )
  return Runs(
    'a study',
    {name: AXES[name] for name in names},
    {n: AXES[n].from_unit(u[n]) for n in names},
    losses,
  )


@pytest.mark.parametrize('others', [0.0, 3.0])
def test_the_level_holds_without_interaction(others):
  p = []
  for seed in range(300):
    rng = np.random.default_rng(seed)
    u = rng.random((32, 3))
    losses = (
      3 + others * np.sum((u - (0.2, 0.5, 0.7)) ** 2 / 0.08, 1) + rng.standard_t(3, 32)
    )
    diverged = u[:, 0] > 0.85
    runs = Runs(
      's',
      {n: Axis(n, low=0.0, high=1.0) for n in 'abc'},
      dict(zip('abc', u.T)),
      np.where(diverged, 500.0, losses),
      status=np.where(diverged, 'diverged', 'complete'),
    )
    p.append(interaction(runs, 'a', 'b').p_value)
  p = np.array(p)
  for level in (0.02, 0.05, 0.2):
    assert np.mean(p <= level) <= level + 3 * np.sqrt(level * (1 - level) / 300)
  assert np.mean(p <= 0.5) > 0.1


def test_the_p_value_is_that_of_the_f_test_on_normal_scores():
  for seed in range(5):
    runs = study(seed, shift=0.15, n=80, noise=0.05)
    a, b = (AXES[n].to_unit(runs.values[n]) - 0.5 for n in AXES if n in runs.values)
    scores = stats.norm.ppf(stats.rankdata(runs.objective) / 81)
    rest = np.column_stack([np.ones(80), a, a**2, b, b**2])
    fitted = rest @ np.linalg.lstsq(rest, scores, rcond=None)[0]
    rest = np.column_stack([rest, fitted**2])
    small, large = (
      np.linalg.lstsq(m, scores, rcond=None)[1][0]
      for m in (rest, np.column_stack([rest, a * b]))
    )
    expected = stats.f.sf((small - large) / (large / 73), 1, 73)
    assert interaction(runs, 'lr', 'depth').p_value == pytest.approx(
      expected, abs=0.02 + 0.1 * expected
    )


@pytest.mark.parametrize('seed', range(5))
def test_the_best_learning_rate_falls_as_depth_grows(seed):
  found = interaction(study(seed), 'lr', 'depth')
  assert found.significant(0.01) and found.axes == ('lr', 'depth')
  assert found.description.startswith('the best lr falls by a factor')
  assert found.at_values == pytest.approx((2.0, 10.0), rel=0.3)
  factor = found.best_values[0] / found.best_values[1]  # 0.6 of two decades
  assert 8 < factor < 30 and f'{factor:.2g}' in found.description
  assert found.size == pytest.approx(0.6**2 / 12, rel=0.35)


def test_a_rise_on_a_linear_axis_and_the_order_of_names():
  found = interaction(study(0, shift=-0.6), 'lr', 'depth')
  assert (
    'rises by a factor' in found.description
    and found.best_values[0] < found.best_values[1]
  )
  other = interaction(study(0, shift=-0.6), 'depth', 'lr')
  assert other.axes == ('depth', 'lr') and other.description.startswith(
    'the best depth rises by '
  )
  assert other.p_value == pytest.approx(found.p_value, abs=0.01)


def test_a_bend_of_the_scale_is_no_interaction():
  p = []
  for seed in range(20):
    rng = np.random.default_rng(seed)
    a, b = rng.random((2, 60))
    losses = np.exp(
      2 * a + 2 * b + 0.3 * rng.standard_normal(60)
    )  # additive in its logarithm
    runs = Runs(
      's', {n: Axis(n, low=0.0, high=1.0) for n in 'ab'}, {'a': a, 'b': b}, losses
    )
    p.append(interaction(runs, 'a', 'b').p_value)
  assert np.mean(np.array(p) <= 0.05) <= 0.2


def test_choices():
  rng = np.random.default_rng(1)
  act, opt = (np.array([name] * 1, object)[0] for name in ('act', 'opt'))
  rows = list(itertools.product(AXES[act].choices, AXES[opt].choices)) * 8
  acts, opts = (np.array(column, object) for column in zip(*rows))
  losses = (
    3
    + 0.3 * ((acts == 'gelu') == (opts == 'adam'))
    + 0.03 * rng.standard_normal(len(rows))
  )
  runs = Runs(
    's', {n: AXES[n] for n in ('act', 'opt')}, {'act': acts, 'opt': opts}, losses
  )
  found = interaction(runs, 'act', 'opt')
  assert found.significant(0.01) and dict(zip(found.at_values, found.best_values)) == {
    'adam': 'relu',
    'lion': 'gelu',
    'sgd': 'gelu',
  }
  assert (
    found.description
    == 'the best act is relu at opt=adam, gelu at opt=lion, gelu at opt=sgd'
  )
  assert found.size == pytest.approx(0.1, abs=0.02)


def test_a_number_and_a_choice():
  rng = np.random.default_rng(2)
  share, opts = rng.random(60), np.array(['adam', 'lion'] * 30, object)
  losses = (
    3
    + (share - np.where(opts == 'lion', 0.25, 0.75)) ** 2
    + 0.01 * rng.standard_normal(60)
  )
  runs = Runs(
    's',
    {n: AXES[n] for n in ('lr', 'opt')},
    {'lr': AXES['lr'].from_unit(share), 'opt': opts},
    losses,
  )
  found = interaction(runs, 'lr', 'opt')
  best = dict(zip(found.at_values, found.best_values))
  assert (
    found.significant(0.01)
    and 6 < best['adam'] / best['lion'] < 16
    and found.description.startswith('the best lr is ')
  )


def test_which_matters_more_where_nothing_moves():
  rng = np.random.default_rng(3)
  act, share = np.array(['gelu', 'relu'] * 30, object), rng.random(60)
  losses = (
    3 + share * np.where(act == 'relu', 1.0, 0.2) + 0.02 * rng.standard_normal(60)
  )
  runs = Runs(
    's',
    {'depth': AXES['depth'], 'act': AXES['act']},
    {'depth': AXES['depth'].from_unit(share), 'act': act},
    losses,
  )
  found = interaction(runs, 'depth', 'act')
  assert 'act=relu' in found.description
  assert found.size == 0
  assert len(set(found.best_values)) == 1


def test_too_few_points_have_no_interaction():
  result = interaction(study(0, n=9), 'lr', 'depth')
  assert '9 points' in result.reason
  assert not result.significant(1.0)


def test_an_axis_that_is_not_varied_has_no_interaction():
  rates = study(0)
  axes = {name: AXES[name] for name in ('lr', 'depth')}
  values = {'lr': rates.values['lr'], 'depth': np.full(60, 2.0)}
  assert interaction(Runs('s', axes, values, rates.objective), 'lr', 'depth').reason


def test_axes_that_are_varied_one_at_a_time_have_no_interaction():
  points = [[0.0, 0.0], [0.5, 0.0], [1.0, 0.0], [0.0, 0.5], [0.0, 1.0]]
  values = dict(zip('ab', np.repeat(points, 6, axis=0).T))
  axes = {name: Axis(name, low=0.0, high=1.0) for name in 'ab'}
  losses = np.random.default_rng(0).random(30)
  result = interaction(Runs('s', axes, values, losses), 'a', 'b')
  assert result.reason
  assert np.isnan(result.p_value)


@pytest.mark.parametrize(
  'a, b, message', [('lr', 'lr', 'twice'), ('lr', 'ls', "got 'ls'")]
)
def test_wrong_axes_are_refused(a, b, message):
  with pytest.raises(ConfigError, match=message):
    interaction(study(0, n=9), a, b)


def test_pairs_are_adjusted_and_no_more_than_those_of_six_axes():
  rng = np.random.default_rng(0)
  names = [f'a{i}' for i in range(7)]
  u = rng.random((80, 7))
  losses = (
    3
    + 2 * (u[:, 0] - 0.5 + 0.8 * (u[:, 1] - 0.5)) ** 2
    + 0.02 * rng.standard_normal(80)
  )
  runs = Runs(
    's', {n: Axis(n, low=0.0, high=1.0) for n in names}, dict(zip(names, u.T)), losses
  )
  found = interactions(runs, effects(runs))
  assert (
    len(found) == 15
    and set(found[0].axes) == {'a0', 'a1'}
    and found[0].significant(0.01)
  )
  assert found[0].p_holm == pytest.approx(15 * found[0].p_value)
