"""Tests of the figures of cost and scaling."""

import dataclasses

from figure_studies import check, study
import numpy as np
import pytest

from lmhp.analysis.report.figures.scaling import pareto_figures, scaling_figure
from lmhp.analysis.runs.table import Runs
from lmhp.analysis.scaling.laws import fit_scaling_law
from lmhp.analysis.scaling.robust_laws import HuberSettings


def pareto_figure(runs, cost):
  (figure,) = [each for each in pareto_figures(runs) if each.id == f'pareto-{cost}']
  return figure


@pytest.mark.parametrize('maximize', [False, True])
def test_the_pareto_front_has_the_runs_that_no_other_dominates(maximize):
  runs = study(maximize=maximize)
  figure = pareto_figure(runs, 'parameters')
  check(figure, runs)
  complete = np.flatnonzero(runs.status == 'complete')
  cost = runs.measured['parameters']
  loss = runs.losses

  def dominates(j, i):
    is_no_worse = cost[j] <= cost[i] and loss[j] <= loss[i]
    return is_no_worse and (cost[j] < cost[i] or loss[j] < loss[i])

  front = [i for i in complete if not any(dominates(j, i) for j in complete)]
  (diamonds,) = [
    trace
    for trace in figure.data
    if trace.get('meta') == 'run' and trace['marker']['symbol'] == 'diamond'
  ]
  assert sorted(diamonds['customdata']) == front
  assert (np.diff(diamonds['x']) > 0).all()
  assert (np.diff(loss[diamonds['customdata']]) < 0).all()


def test_a_cost_that_does_not_differ_has_no_figure():
  assert 'pareto-tokens' not in [figure.id for figure in pareto_figures(study())]


def test_seconds_alone_have_no_figure():
  runs = study()
  measured = {'seconds': runs.measured['seconds']}
  assert pareto_figures(dataclasses.replace(runs, measured=measured)) == []


@pytest.fixture(scope='module')
def scaled():
  sizes, tokens = np.meshgrid(np.geomspace(1e6, 1e8, 4), np.geomspace(1e8, 4e9, 4))
  sizes = sizes.ravel()
  tokens = tokens.ravel()
  noise = np.exp(0.003 * np.random.default_rng(0).standard_normal(16))
  losses = (1.7 + 400 / sizes**0.34 + 410 / tokens**0.28) * noise
  measured = {'parameters': sizes, 'tokens': tokens}
  law = fit_scaling_law(sizes, tokens, losses, huber=HuberSettings(draws=50))
  return Runs('s', {}, {}, losses, 'eval_loss_nats', measured=measured), law


def test_the_scaling_figure_draws_runs_by_compute(scaled):
  runs, law = scaled
  figure = scaling_figure(runs, law)
  check(figure, runs)
  (dots,) = [trace for trace in figure.data if trace.get('meta') == 'run']
  flops = 6 * runs.measured['parameters'] * runs.measured['tokens']
  np.testing.assert_allclose(dots['x'], flops)


def test_the_frontier_goes_to_ten_times_the_largest_compute(scaled):
  runs, law = scaled
  frontier = scaling_figure(runs, law).data[-2]
  ends = [frontier['x'][0], frontier['x'][-1]]
  np.testing.assert_allclose(ends, [6e14, 10 * 6 * 1e8 * 4e9])
  best = float(law.compute_optimal(24e18).losses)
  assert frontier['y'][-1] == pytest.approx(best)


def test_there_is_no_figure_without_a_law(scaled):
  assert scaling_figure(scaled[0], None) is None
