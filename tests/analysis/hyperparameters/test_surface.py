"""Tests of the Gaussian process over all axes."""

import numpy as np
import pytest
from scipy import optimize

from lmhp.analysis.hyperparameters import surface as module
from lmhp.analysis.hyperparameters.design import (
  average_seeds,
  bounded_axis,
  design_columns,
  unit_values,
)
from lmhp.analysis.hyperparameters.surface import fit_surface
from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.table import Runs
from lmhp.errors import ConfigError

OPT = Axis('opt', is_choice=True, choices=('adam', 'lion'))


def bowl(seed=0, n=40, noise=0.01, **columns):
  rng = np.random.default_rng(seed)
  x, y = rng.random((2, n))
  losses = 3 + (x - 0.3) ** 2 + 0.5 * (y - 0.6) ** 2 + noise * rng.standard_normal(n)
  return Runs(
    's',
    {n: Axis(n, low=0.0, high=1.0) for n in 'xy'},
    {'x': x, 'y': y},
    losses,
    **columns,
  )


def matern(r):
  return (1 + 5**0.5 * r + 5 * r**2 / 3) * np.exp(-(5**0.5) * r)


def test_predictions_are_those_of_a_process_written_apart():
  runs = bowl()
  found = fit_surface(runs)
  height = runs.objective - runs.objective.min()
  scale = np.median(height)
  t = scale * np.log1p(height / scale)
  places = np.column_stack([runs.values['x'], runs.values['y']])
  lengths = np.array([found.lengths['x'], found.lengths['y']])

  def gap(a, b):
    return np.sqrt((((a[:, None] - b[None]) / lengths) ** 2).sum(-1))

  own = found.signal_sd**2 * matern(
    gap(places, places)
  ) + found.residual_sd**2 * np.eye(40)
  own += 1e-8 * found.signal_sd**2 * np.eye(40)
  inverse, ones = np.linalg.inv(own), np.ones(40)
  mean = ones @ inverse @ t / (ones @ inverse @ ones)
  asked = np.random.default_rng(1).random((7, 2))
  cross = found.signal_sd**2 * matern(gap(asked, places))
  flat = mean + cross @ inverse @ (t - mean)
  sd = np.sqrt(found.signal_sd**2 - np.einsum('ij,jk,ik->i', cross, inverse, cross))
  median, error = found.predict(asked)
  assert median == pytest.approx(
    runs.objective.min() + scale * np.expm1(flat / scale), abs=1e-5
  )
  assert error == pytest.approx(sd * np.exp(flat / scale), rel=1e-3)


def test_the_gradient_is_that_of_differences():
  rng = np.random.default_rng(0)
  square, target = (
    rng.random((2, 12, 1)) - rng.random((2, 1, 12)),
    rng.standard_normal(12),
  )
  square = (square - np.swapaxes(square, 1, 2)) ** 2
  theta = np.array([-0.2, 0.4, 0.1, -1.5])
  found = module._negative_log_posterior(theta, square, target)[1]
  expected = optimize.approx_fprime(
    theta, lambda t: module._negative_log_posterior(t, square, target)[0], 1e-6
  )
  assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize('seed', range(3))
def test_a_planted_bowl(seed):
  found = fit_surface(bowl(seed))
  assert (
    found.best() == pytest.approx([0.3, 0.6], abs=0.12)
    and 0.004 < found.residual_sd < 0.025
  )
  places = np.random.default_rng(9).random((200, 2))
  median, sd = found.predict(places)
  truth = 3 + (places[:, 0] - 0.3) ** 2 + 0.5 * (places[:, 1] - 0.6) ** 2
  assert np.sqrt(np.mean((median - truth) ** 2)) < 0.02
  assert 0.7 < np.mean(np.abs(median - truth) < 1.645 * sd) <= 1


def test_a_wall_does_not_rule():
  runs = bowl(1)
  wall = np.where(runs.values['x'] > 0.85, 1e4, runs.objective)
  found = fit_surface(Runs('s', runs.axes, runs.values, wall))
  assert found.best() == pytest.approx([0.3, 0.6], abs=0.15)


def test_seeds_of_one_point_are_one():
  runs = bowl(0, n=20)
  rows = np.repeat(np.arange(20), 2)
  losses = runs.objective[rows] + np.tile([0.01, -0.01], 20)
  twin = Runs(
    's', runs.axes, {n: c[rows] for n, c in runs.values.items()}, losses, point=rows
  )
  assert fit_surface(twin).n_points == 20
  once, twice = (fit_surface(of).predict([[0.5, 0.5]])[0] for of in (runs, twin))
  assert twice == pytest.approx(once, rel=1e-6)
  assert average_seeds(twin)[1] == pytest.approx(runs.objective)


def test_a_choice_and_a_value_that_is_lacking():
  runs = bowl(2, n=60)
  opt = np.array(['adam', 'lion'] * 30, object)
  x = np.where(opt == 'lion', np.nan, runs.values['x'])
  both = Runs(
    's',
    {'x': runs.axes['x'], 'opt': OPT},
    {'x': x, 'opt': opt},
    runs.objective + 0.3 * (opt == 'lion'),
  )
  found = fit_surface(both)
  assert found.best()[1] == 0 and np.isfinite(found.predict([[np.nan, 1.0]])[0]).all()
  adam, lion = found.predict([[0.5, 0.0], [0.5, 1.0]])[0]
  assert lion - adam == pytest.approx(0.3, abs=0.15)


def test_no_more_points_than_most():
  assert (
    fit_surface(bowl(n=60), max_points=30).n_points == 30
    and fit_surface(bowl(n=25), max_points=30).n_points == 25
  )


def test_refused():
  for runs in (bowl(n=4), bowl(n=0)):
    with pytest.raises(ConfigError, match='expected at least 5 points'):
      fit_surface(runs)
  runs = bowl()
  with pytest.raises(ConfigError, match='losses that differ'):
    fit_surface(Runs('s', runs.axes, runs.values, np.full(40, 3.0)))
  with pytest.raises(ConfigError, match='0 varied axes'):
    fit_surface(
      Runs('s', runs.axes, {'x': np.ones(40), 'y': np.ones(40)}, runs.objective)
    )


def test_axes_take_bounds_from_what_was_seen():
  runs = Runs(
    's',
    {'x': Axis('x', log=True), 'opt': Axis('opt', is_choice=True)},
    {'x': np.array([1.0, 100.0, np.nan]), 'opt': np.array(['a', 'b', None], object)},
    np.arange(3.0),
  )
  assert (bounded_axis(runs, 'x').low, bounded_axis(runs, 'x').high) == (1.0, 100.0)
  assert bounded_axis(runs, 'opt').choices == ('a', 'b')
  assert unit_values(runs, 'x')[:2].tolist() == [0, 1] and np.isnan(
    unit_values(runs, 'opt')[2]
  )
  with pytest.raises(ConfigError, match="got 'z'"):
    bounded_axis(runs, 'z')


def test_columns_of_numbers_choices_and_what_lacks():
  x = np.array([0.0, 0.25, 1.0, np.nan])
  opt = np.array(['adam', 'lion', 'sgd', 'adam'], object)
  runs = Runs(
    's',
    {'x': Axis('x', low=0.0, high=1.0), 'opt': OPT},
    {'x': x, 'opt': opt},
    np.arange(4.0),
  )
  assert design_columns(runs, 'x').T.tolist() == [
    [-0.5, -0.25, 0.5, 0],
    [0.25, 0.0625, 0.25, 0],
    [0, 0, 0, 1],
  ]
  assert design_columns(runs, 'x', square=False).shape == (4, 2)
  assert design_columns(runs, 'opt').T.tolist() == [[0, 1, 0, 0], [0, 0, 1, 0]]
  assert design_columns(runs.select([0, 0]), 'x').shape == (2, 0)
