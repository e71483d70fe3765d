"""Tests of responses, isolations and contours."""

import numpy as np
import pytest
from scipy import spatial

from lmhp.analysis.hyperparameters.contours import contour
from lmhp.analysis.hyperparameters.isolations import MAX_BINS, isolation
from lmhp.analysis.hyperparameters.responses import lower_hull, response
from lmhp.analysis.hyperparameters.surface import fit_surface
from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.table import CONFIRM, Runs
from lmhp.analysis.winner.winner import expected_loss_of_best
from lmhp.errors import ConfigError

LR = Axis('lr', low=1e-4, high=1e-2, log=True)
DEPTH = Axis('depth', low=2.0, high=10.0)
OPT = Axis('opt', is_choice=True, choices=('adam', 'lion', 'sgd'))


def study(seed=0, n=48, noise=0.01, **columns):
  """Best at lr 1e-3, depth 4.4 and adam, where the loss is 3."""
  rng = np.random.default_rng(seed)
  share, deep = rng.random((2, n))
  opt = rng.choice(np.array(OPT.choices, object), n)
  losses = (
    3
    + (share - 0.5) ** 2
    + 0.5 * (deep - 0.3) ** 2
    + 0.1 * (opt != 'adam')
    + noise * rng.standard_normal(n)
  )
  return Runs(
    'a study',
    {'lr': LR, 'depth': DEPTH, 'opt': OPT},
    {'lr': LR.from_unit(share), 'depth': DEPTH.from_unit(deep), 'opt': opt},
    losses,
    **columns,
  )


# --- one axis -----------------------------------------------------------------------


def test_the_envelope_is_scipys_lower_hull():
  for seed in range(10):
    x, y = np.random.default_rng(seed).random((2, 30))
    hull = spatial.ConvexHull(np.column_stack([x, y]))
    lower = np.unique(hull.simplices[hull.equations[:, 1] < 0])
    values, losses = lower_hull(x, y)
    assert values == pytest.approx(np.sort(x[lower])) and losses == pytest.approx(
      y[lower][np.argsort(x[lower])]
    )
    on_line = np.interp(x, values, losses)
    assert (y >= on_line - 1e-12).all()


def test_the_envelope_of_ties_one_run_and_what_is_not_finite():
  values, losses = lower_hull(
    [1.0, 1.0, 10.0, 100.0, 5.0], [2.0, 1.0, 0.5, 1.0, np.nan], log=True
  )
  assert values.tolist() == [1.0, 10.0, 100.0] and losses.tolist() == [1.0, 0.5, 1.0]
  assert [c.tolist() for c in lower_hull([2.0], [3.0])] == [[2.0], [3.0]]
  assert [c.tolist() for c in lower_hull([], [])] == [[], []]


@pytest.mark.parametrize('seed', [0, 1])
def test_a_response_shows_the_planted_valley(seed):
  runs = study(seed)
  found = response(runs, 'lr')
  assert (
    found.optimum.low < 1e-3 * 1.3
    and found.optimum.high > 1e-3 / 1.3
    and found.optimum.reason == ''
  )
  assert found.curve.values[np.argmin(found.curve.median)] == pytest.approx(
    1e-3, rel=0.5
  )
  truth = (
    3 + LR.to_unit(found.curve.values) ** 2 - LR.to_unit(found.curve.values) + 0.25
  )
  assert np.mean((found.curve.low <= truth) & (truth <= found.curve.high)) > 0.7
  assert (
    np.max(np.abs(found.curve.median - truth)) < 0.06
    and (found.curve.low < found.curve.high).all()
  )
  low, high = (
    10 ** (-3 + s * 2 * np.sqrt(0.03)) for s in (-1, 1)
  )  # a rise of 0.03, 1% of 3
  assert found.optimum.basin == (
    pytest.approx(low, rel=0.35),
    pytest.approx(high, rel=0.35),
  )
  assert found.values is not None and len(found.values) == 48 and found.rung is None


def test_the_basin_ends_with_the_axis():
  runs = study(0)
  flat = Runs('s', runs.axes, runs.values, 3 + 0.02 * (runs.objective - 3))
  basin = response(flat, 'lr').optimum.basin
  # It ends with the values that were tried.
  assert basin == pytest.approx((1e-4, 1e-2), rel=0.05)


def test_a_response_to_a_choice():
  found = response(study(), 'opt')
  best = dict(zip(found.envelope_values, found.envelope))
  runs = study()
  assert best == {
    name: runs.objective[runs.values['opt'] == name].min() for name in OPT.choices
  }
  assert (
    found.curve.values.tolist() == list(OPT.choices)
    and np.argmin(found.curve.median) == 0
  )
  assert found.curve.median[1] - found.curve.median[0] == pytest.approx(0.1, abs=0.03)
  assert 'choice' in found.optimum.reason and np.isnan(found.optimum.basin[0])


def test_a_response_knows_a_surface_already_fitted_and_repeats():
  runs = study()
  one, other = response(runs, 'lr', surface=fit_surface(runs)), response(runs, 'lr')
  assert (
    np.array_equal(one.curve.median, other.curve.median)
    and one.optimum == other.optimum
  )


def test_a_response_leaves_out_what_is_not_of_the_search_and_diverged_runs_from_the_fit():
  runs = study(2)
  status = np.where(runs.values['depth'] > 9, 'diverged', 'complete')
  cohort = np.where(np.arange(48) < 3, CONFIRM, 'search')
  losses = np.where(status == 'diverged', 11.0, runs.objective)
  found = response(
    Runs('s', runs.axes, runs.values, losses, status=status, cohort=cohort), 'lr'
  )
  assert (
    len(found.losses) == 45 and found.number.min() == 3 and 'diverged' in found.status
  )
  assert found.optimum.n_runs == np.sum(cohort == 'search')


@pytest.mark.parametrize('n', [0, 1, 3])
def test_few_runs_have_reasons(n):
  found = response(study(n=n), 'lr')
  assert (
    'expected at least' in found.reason and found.optimum.reason and found.curve is None
  )
  assert (
    len(found.envelope) <= n
    and bool(len(found.envelope)) == bool(n)
    and np.isnan(found.optimum.basin[1])
  )


def test_only_the_runs_of_a_conditional_axis():
  runs = study()
  momentum = np.where(runs.values['opt'] == 'sgd', np.linspace(0, 1, 48), np.nan)
  runs = Runs(
    's',
    {**runs.axes, 'momentum': Axis('momentum', low=0.0, high=1.0)},
    {**runs.values, 'momentum': momentum},
    runs.objective,
  )
  found = response(runs, 'momentum')
  assert (
    len(found.values) == np.sum(runs.values['opt'] == 'sgd')
    and np.isfinite(found.values).all()
  )


def test_one_that_was_not_varied_or_is_not_there():
  runs = study()
  fixed = Runs(
    's', runs.axes, {**runs.values, 'depth': np.full(48, 4.0)}, runs.objective
  )
  assert 'not varied' in response(fixed, 'depth').reason
  with pytest.raises(ConfigError, match="did you mean 'lr'"):
    response(runs, 'lrr')


# --- the best over the rest ---------------------------------------------------------


def test_isolation_is_the_best_of_each_value_with_the_winners_interval():
  rows = np.repeat(np.arange(24), 3)
  first = study(4, n=24)
  rng = np.random.default_rng(5)
  losses = first.objective[rows] + 0.02 * rng.standard_normal(72)
  runs = Runs(
    's',
    first.axes,
    {name: column[rows] for name, column in first.values.items()},
    losses,
    point=rows,
  )
  found = isolation(runs, 'opt')
  assert found.noise_source == 'seeds'
  assert found.noise == pytest.approx(
    np.sqrt(losses.reshape(24, 3).var(1, ddof=1).mean())
  )
  for i, name in enumerate(found.values):
    own = runs.values['opt'] == name
    means = losses.reshape(24, 3).mean(1)[first.values['opt'] == name]
    assert found.best[i] == pytest.approx(means.min()) and found.n_points[i] == len(
      means
    )
    won = expected_loss_of_best(losses[own], rows[own], found.noise, noise_freedom=48)
    assert (found.low[i], found.high[i]) == (won.low, won.high) and runs.values['opt'][
      found.number[i]
    ] == name
  assert (found.low < found.expected).all() and (found.expected < found.high).all()


def test_isolation_knows_that_points_share_their_seeds():
  rng = np.random.default_rng(5)
  rows, seeds = np.repeat(np.arange(24), 4), np.tile(np.arange(4), 24)
  first, of_seed = study(4, n=24), 0.02 * rng.standard_normal(4)
  losses = first.objective[rows] + of_seed[seeds] + 0.002 * rng.standard_normal(96)
  runs = Runs(
    's',
    first.axes,
    {name: column[rows] for name, column in first.values.items()},
    losses,
    point=rows,
    seed=seeds,
  )
  found = isolation(runs, 'opt')
  for i, name in enumerate(found.values):
    own = runs.values['opt'] == name
    won = expected_loss_of_best(losses[own], rows[own], seeds=seeds[own])
    assert (found.low[i], found.high[i]) == (
      won.low,
      won.high,
    ) and won.correlation > 0.8


def test_isolation_of_a_range_is_in_bins_of_as_many_points():
  found = isolation(study(n=60), 'lr')
  assert (
    len(found.values) == MAX_BINS
    and found.n_points.sum() == 60
    and np.ptp(found.n_points) <= 1
  )
  assert (found.edges[:, 0] <= found.values).all() and (
    found.values <= found.edges[:, 1]
  ).all()
  assert (found.edges[1:, 0] > found.edges[:-1, 1]).all()
  assert found.noise_source == 'surface' and 0.003 < found.noise < 0.03
  assert found.best.min() == study(n=60).objective.min()


def test_isolation_of_few_values_of_whole_divergence_and_without_noise():
  values = {'d': np.array([1.0, 1.0, 2.0, 2.0, 4.0])}
  status = np.array(['complete'] * 4 + ['diverged'])
  found = isolation(
    Runs(
      's', {'d': Axis('d')}, values, np.array([3.0, 3.2, 2.9, 3.5, 50.0]), status=status
    ),
    'd',
  )
  assert (
    found.values.tolist() == [1.0, 2.0, 4.0]
    and found.best[:2].tolist() == [3.0, 2.9]
    and np.isnan(found.best[2])
  )
  assert found.n_points.tolist() == [2, 2, 1] and found.number.tolist() == [0, 2, -1]
  few = isolation(
    Runs('s', {'d': Axis('d')}, {'d': np.array([1.0, 2.0])}, np.array([3.0, 3.1])), 'd'
  )
  assert few.noise_source == '' and np.isnan(few.noise) and np.isnan(few.low).all()
  assert not len(
    isolation(Runs('s', {'d': Axis('d')}, {'d': np.zeros(0)}, np.zeros(0)), 'd').values
  )


# --- two axes -----------------------------------------------------------------------


def test_a_contour_is_the_planted_bowl():
  runs = study(1, n=80)
  found = contour(runs, 'lr', 'depth')
  assert found.z.shape == found.z_sd.shape == (41, 41) and found.others == {
    'opt': 'adam'
  }
  x, y = np.meshgrid(LR.to_unit(found.x), DEPTH.to_unit(found.y))
  truth = 3 + (x - 0.5) ** 2 + 0.5 * (y - 0.3) ** 2
  assert (
    np.max(np.abs(found.z - truth)) < 0.08 and np.mean(np.abs(found.z - truth)) < 0.02
  )
  assert found.best[0] == pytest.approx(1e-3, rel=0.4) and found.best[
    1
  ] == pytest.approx(4.4, abs=0.8)
  assert np.array_equal(found.x_points, runs.values['lr']) and np.array_equal(
    found.losses, runs.losses
  )


def test_a_contour_over_a_choice_and_its_turn():
  runs = study(1)
  found, turned = contour(runs, 'opt', 'lr'), contour(runs, 'lr', 'opt')
  assert (
    found.z.shape == (41, 3)
    and found.x.tolist() == list(OPT.choices)
    and found.best[0] == 'adam'
  )
  assert found.z == pytest.approx(turned.z.T)
  assert (found.z[:, 0] < found.z[:, 1]).mean() > 0.9


def test_a_contour_refused():
  with pytest.raises(ConfigError, match='twice'):
    contour(study(), 'lr', 'lr')
  with pytest.raises(ConfigError, match='expected at least'):
    contour(study(n=3), 'lr', 'depth')
  runs = study()
  fixed = Runs(
    's', runs.axes, {**runs.values, 'depth': np.full(48, 4.0)}, runs.objective
  )
  with pytest.raises(ConfigError, match='not varied'):
    contour(fixed, 'lr', 'depth')
