"""Figures of cost, scaling and batch size."""

from figure_studies import check, study
import numpy as np
import pytest

from lmhp.analysis.report.figures import scaling as figures_scaling
from lmhp.analysis.scaling.critical_batch_size import critical_batch_size
from lmhp.analysis.scaling.gradient_noise import NoiseScale
from lmhp.analysis.scaling.laws import fit_scaling_law
from lmhp.errors import ConfigError


@pytest.mark.parametrize('maximize', [False, True])
def test_pareto_front_is_what_none_beats(maximize):
  runs = study(maximize=maximize)
  figure = figures_scaling.pareto(runs, 'parameters')
  check(figure, runs)
  done = np.flatnonzero(runs.status == 'complete')
  cost, loss = runs.measured['parameters'], runs.losses
  beats = lambda j, i: (
    cost[j] <= cost[i]
    and loss[j] <= loss[i]
    and (cost[j] < cost[i] or loss[j] < loss[i])
  )
  front = [i for i in done if not any(beats(j, i) for j in done)]
  (diamonds,) = [
    t
    for t in figure.data
    if t.get('meta') == 'run' and t['marker']['symbol'] == 'diamond'
  ]
  assert sorted(diamonds['customdata']) == front
  assert (np.diff(diamonds['x']) > 0).all() and (
    np.diff(runs.losses[diamonds['customdata']]) < 0
  ).all()
  assert figure.caption.startswith(f'{len(front)} of 37 runs are not beaten in both')


def test_pareto_of_one_cost_or_an_unknown_one():
  runs = study()
  best = int(np.argmin(np.where(runs.status == 'complete', runs.losses, np.inf)))
  figure = figures_scaling.pareto(runs, 'tokens')
  check(figure, runs)
  assert figure.caption.startswith(f'Run {best} beats the other 36 in both')
  with pytest.raises(ConfigError, match='parameters'):
    figures_scaling.pareto(runs, 'parametrs')


def test_scaling_draws_runs_and_frontier():
  n, d = (
    v.ravel() for v in np.meshgrid(np.geomspace(1e6, 1e8, 4), np.geomspace(1e8, 4e9, 4))
  )
  loss = (1.7 + 400 / n**0.34 + 410 / d**0.28) * np.exp(
    0.003 * np.random.default_rng(0).standard_normal(16)
  )
  law = fit_scaling_law(n, d, loss, bootstrap=50)
  figure = figures_scaling.scaling(law, n, d, loss)
  check(figure)
  (dots,) = [t for t in figure.data if t.get('meta') == 'run']
  np.testing.assert_allclose(dots['x'], 6 * n * d)
  frontier = figure.data[-2]
  np.testing.assert_allclose(
    [frontier['x'][0], frontier['x'][-1]], [6e14, 10 * 6 * 1e8 * 4e9]
  )
  best = law.compute_optimal(24e18)
  assert frontier['y'][-1] == pytest.approx(float(best.losses))
  assert (
    f'With 10 times the largest compute the law gives {best.losses:.3f} nats'
    in figure.caption
  )


def test_critical_batch_lies_on_the_curve():
  batches = np.array([8, 32, 128, 512, 2048, 64.0])
  steps = 1000 * (1 + 64 / batches) * [1.01, 0.99, 1, 1, 1.02, np.inf]
  found = critical_batch_size(batches, steps)
  figure = figures_scaling.critical_batch(found, batches, steps)
  check(figure)
  (dots,) = [t for t in figure.data if t.get('meta') == 'run']
  np.testing.assert_allclose(dots['y'], (batches * steps)[:5])
  (cross,) = [t for t in figure.data if t.get('marker', {}).get('symbol') == 'x']
  assert cross['x'][0] == pytest.approx(2 * found.steps_min) and cross['y'][
    0
  ] == pytest.approx(2 * found.examples_min)
  assert f'is {found.batch_size:.1f} sequences' in figure.caption


def test_critical_batch_that_cannot_be_said():
  batches = np.array([8.0, 32])
  figure = figures_scaling.critical_batch(
    critical_batch_size(batches, 1e4 / batches), batches, 1e4 / batches
  )
  check(figure)
  assert 'no critical batch size can be said: 2 batch sizes' in figure.caption


def test_noise_scale_over_steps():
  found = [
    NoiseScale(20.0, 10.0, 40.0),
    NoiseScale(np.nan, reason='lost in noise'),
    NoiseScale(80.0, 50.0, np.inf),
  ]
  figure = figures_scaling.noise_scale(found, [100, 200, 300], batch_size=64)
  check(figure)
  assert figure.data[0]['x'].tolist() == [100, 300]
  assert (
    figure.caption
    == 'The noise scale goes from 20 to 80 sequences; the batch of 64 is below the last.'
  )
  nothing = figures_scaling.noise_scale(found[1:2], [200])
  check(nothing)
  assert 'lost in noise' in nothing.caption
