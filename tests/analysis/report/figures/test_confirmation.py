"""Tests of the figure of the confirmation."""

import dataclasses

from figure_studies import check, confirmed, study
import numpy as np
import pytest

from lmhp.analysis.analysis import analyze
from lmhp.analysis.report.figures.confirmation import confirmation_figure
from lmhp.statistics.intervals import paired_difference


def figure_of(runs):
  analysis = analyze(runs)
  return confirmation_figure(runs, analysis.winner, analysis.confirmation)


@pytest.mark.parametrize('maximize', [False, True])
def test_pairs_and_their_mean_difference_are_drawn(maximize):
  differences = np.array([-0.30, -0.34, -0.29, -0.31])
  runs = confirmed(differences, maximize)
  figure = figure_of(runs)
  check(figure, runs)
  sign = -1 if maximize else 1
  mean, low, high = paired_difference(differences, np.zeros(4), 0.95)
  (dots,) = [
    t for t in figure.data if t.get('xaxis') == 'x2' and t.get('meta') == 'run'
  ]
  np.testing.assert_allclose(dots['x'], sign * differences)
  assert dots['customdata'].tolist() == [2, 3, 4, 5]
  (diamond,) = [t for t in figure.data if 'error_x' in t]
  bar = diamond['error_x']
  ends = [diamond['x'][0] - bar['arrayminus'][0], diamond['x'][0] + bar['array'][0]]
  assert diamond['x'] == pytest.approx([sign * mean])
  np.testing.assert_allclose(ends, sorted([sign * low, sign * high]))
  assert ('0.31' if maximize else '-0.31') in figure.caption


def test_one_pair_has_no_interval():
  (diamond,) = [t for t in figure_of(confirmed([-0.1])).data if 'error_x' in t]
  assert np.isnan(diamond['error_x']['array'][0])


def test_there_is_no_figure_without_a_confirmation():
  assert figure_of(study(5)) is None


def test_the_mean_difference_is_left_out_if_a_seed_diverged():
  runs = confirmed([-0.1, -0.2, -0.3])
  status = runs.status.copy()
  status[2] = 'diverged'
  figure = figure_of(dataclasses.replace(runs, status=status))
  check(figure)
  assert not [t for t in figure.data if 'error_x' in t]
