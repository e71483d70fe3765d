"""Tests of the figure of parallel coordinates."""

from figure_studies import CHOICES, check, confirmed, study
import numpy as np

from lmhp.analysis.analysis import analyze
from lmhp.analysis.report.figures.parallel_coordinates import MAX_LINES, parallel_figure


def figure_of(runs):
  analysis = analyze(runs)
  return parallel_figure(runs, analysis.comparable_runs, analysis.rung)


def test_each_line_crosses_a_row_at_the_value_of_its_run():
  runs = study(40)
  figure = figure_of(runs)
  check(figure, runs)
  positions = {}
  for trace in figure.data:
    for position, row, number in zip(trace['x'], trace['y'], trace['customdata']):
      if np.isfinite(row):
        positions.setdefault(int(number), []).append(position)
  assert sorted(positions) == list(range(40))
  assert {len(row) for row in positions.values()} == {4}

  log_rate = np.log(runs.values['optimizer.lr'])
  expected = (log_rate - log_rate.min()) / np.ptp(log_rate)
  np.testing.assert_allclose([positions[i][0] for i in range(40)], expected)
  thirds = np.array([CHOICES.index(value) for value in runs.values['schedule']])
  drawn = np.array([positions[i][3] for i in range(40)])
  assert (np.floor(3 * drawn) == thirds).all()


def test_the_best_run_is_in_the_last_group():
  runs = study(40)
  figure = figure_of(runs)
  best = int(np.argmin(runs.losses))
  assert best in figure.data[-1]['customdata']


def test_there_is_no_figure_for_one_axis():
  assert figure_of(confirmed([-0.1])) is None


def test_many_runs_are_thinned_and_the_best_stay():
  runs = study(1000, n_steps=2)
  figure = figure_of(runs)
  drawn = set(np.concatenate([trace['customdata'] for trace in figure.data]).tolist())
  assert len(drawn) == MAX_LINES
  assert set(np.argsort(runs.losses)[:200].tolist()) <= drawn
