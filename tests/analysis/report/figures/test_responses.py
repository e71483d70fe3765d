"""Tests of the figures of responses and isolations."""

import dataclasses

from figure_studies import check, confirmed, study
import numpy as np
import pytest

from lmhp.analysis.analysis import analyze
from lmhp.analysis.hyperparameters.isolations import isolation
from lmhp.analysis.report.document import to_strict_json
from lmhp.analysis.report.figures.responses import isolation_figures, response_figures
from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.table import Runs


def figures_of(analysis):
  """Returns the figures in the order of the axes of the table."""
  figures = response_figures(
    analysis.runs, analysis.comparable_runs, analysis.responses, analysis.winner
  )
  by_axis = dict(zip((r.axis.name for r in analysis.responses), figures))
  return [by_axis[name] for name in analysis.runs.axes]


@pytest.fixture(scope='module', params=[False, True], ids=['minimize', 'maximize'])
def analysis(request):
  return analyze(study(maximize=request.param))


@pytest.fixture(scope='module')
def figures(analysis):
  return figures_of(analysis)


def traces_of_runs(figure):
  return [trace for trace in figure.data if trace.get('meta') == 'run']


def test_each_axis_has_a_valid_figure(analysis, figures):
  ids = sorted(figure.id for figure in figures)
  assert ids == [f'response-{i}' for i in range(4)]
  for figure in figures:
    check(figure, analysis.runs)


def test_diverged_runs_are_crosses_at_the_worse_edge(analysis, figures):
  runs = analysis.runs
  diverged = np.flatnonzero(runs.status == 'diverged').tolist()
  for figure in figures:
    (crosses,) = [t for t in traces_of_runs(figure) if t['marker']['symbol'] == 'x']
    edge = figure.layout['yaxis']['range'][0 if runs.maximize else 1]
    assert sorted(crosses['customdata']) == diverged
    np.testing.assert_allclose(crosses['y'], edge)


def test_each_run_is_drawn_once(analysis, figures):
  for figure in figures:
    numbers = np.concatenate([t['customdata'] for t in traces_of_runs(figure)])
    assert sorted(numbers) == list(range(len(analysis.runs)))


def test_a_ring_marks_the_winner(analysis, figures):
  runs = analysis.runs
  best = int(np.argmin(np.where(runs.status == 'complete', runs.losses, np.inf)))
  (ring,) = [t for t in figures[0].data if t.get('marker', {}).get('size') == 15]
  assert ring['x'] == [runs.values['optimizer.lr'][best]]
  assert ring['y'] == [runs.objective[best]]


def test_optimum_and_basin_are_marked(analysis, figures):
  (response,) = [r for r in analysis.responses if r.axis.name == 'optimizer.lr']
  shapes = figures[0].layout['shapes']
  lines = [shape['x0'] for shape in shapes if shape['type'] == 'line']
  assert any(x == pytest.approx(response.optimum.value) for x in lines)
  assert any(x == pytest.approx(1e-3) for x in lines)
  (basin,) = [shape for shape in shapes if shape['type'] == 'rect']
  assert (basin['x0'], basin['x1']) == pytest.approx(response.optimum.basin)


def pruned(n_pruned, scores=None):
  runs = study(30, n_diverged=0)
  status = runs.status.copy()
  objective = runs.objective.copy()
  status[:n_pruned] = 'pruned'
  objective[:n_pruned] = np.nan
  return dataclasses.replace(
    runs, status=status, objective=objective, scores=scores or runs.scores
  )


def test_pruned_runs_are_hollow_at_their_last_score():
  runs = pruned(5)
  figure = figures_of(analyze(runs))[0]
  check(figure, runs)
  hollow = [t for t in traces_of_runs(figure) if t['marker']['symbol'].endswith('open')]
  numbers = np.concatenate([trace['customdata'] for trace in hollow])
  values = np.concatenate([trace['y'] for trace in hollow])
  assert sorted(numbers) == [0, 1, 2, 3, 4]
  expected = [runs.scores[number][100] for number in numbers]
  high = figure.layout['yaxis']['range'][1]
  np.testing.assert_allclose(values, np.minimum(expected, high))


def test_runs_are_compared_at_a_rung_if_most_were_pruned():
  scores = study(30, n_diverged=0).scores
  first_rung = tuple({50: s[50]} if i < 20 else s for i, s in enumerate(scores))
  analysis = analyze(pruned(20, first_rung))
  figure = figures_of(analysis)[0]
  assert analysis.rung == 50
  numbers = {}
  for trace in traces_of_runs(figure):
    numbers[trace['marker']['symbol']] = sorted(trace['customdata'])
  assert numbers == {'circle-open': list(range(20)), 'circle': list(range(20, 30))}


def test_choices_are_escaped_ticks(figures):
  assert figures[3].layout['xaxis']['ticktext'] == ['cosine', 'wsd', '&lt;b&gt;const']


def test_too_few_runs_have_no_optimum():
  axes = {'x': Axis('x', low=0, high=1)}
  runs = Runs('s', axes, {'x': np.array([0.1, 0.9])}, np.array([3.0, 2.5]))
  (figure,) = figures_of(analyze(runs))
  check(figure, runs)
  assert figure.layout['shapes'] == []


@pytest.mark.slow
def test_a_figure_of_a_thousand_runs_is_small():
  runs = study(1000, n_steps=2)
  analysis = analyze(runs)
  figure = figures_of(analysis)[0]
  assert len(repr(to_strict_json(figure, packed=True))) < 60_000


def test_runs_of_the_confirmation_are_left_out():
  (figure,) = figures_of(analyze(confirmed([-0.5, -0.4])))
  numbers = np.concatenate([t['customdata'] for t in traces_of_runs(figure)])
  assert sorted(numbers) == [0, 1]


@pytest.mark.parametrize('maximize', [False, True])
def test_the_best_of_each_value_is_drawn_with_its_interval(maximize):
  runs = study(maximize=maximize)
  isolations = [isolation(runs, name) for name in runs.axes]
  for isolated, figure in zip(isolations, isolation_figures(runs, isolations)):
    check(figure, runs)
    (dots,) = [
      trace
      for trace in figure.data
      if trace.get('meta') == 'run' and trace['marker']['symbol'] == 'circle'
    ]
    best = isolated.best[np.isfinite(isolated.best)]
    np.testing.assert_allclose(dots['y'], runs.to_objective(best))
    bars = figure.data[0]
    np.testing.assert_allclose(bars['y'][0::3], runs.to_objective(isolated.low))
    np.testing.assert_allclose(bars['y'][1::3], runs.to_objective(isolated.high))
    assert np.isnan(bars['y'][2::3]).all()
