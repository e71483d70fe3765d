"""Tests of the figures of the training curves of all runs."""

import dataclasses

from figure_studies import check, confirmed, curve, study
import numpy as np

from lmhp.analysis.phrases import number
from lmhp.analysis.report.document import to_strict_json
from lmhp.analysis.report.figures.curves.all_runs import (
  gap_figure,
  grad_norm_figure,
  training_curves_figure,
)
from lmhp.analysis.winner.winner import find_winner

FIGURES = (training_curves_figure, gap_figure, grad_norm_figure)


def by_name(figure):
  return {trace['name']: trace for trace in figure.data}


def test_training_curves_hold_every_run_and_highlight_the_winner():
  runs = study()
  figure = training_curves_figure(runs, find_winner(runs))
  check(figure, runs)
  traces = by_name(figure)
  assert list(traces) == ['others, train', 'winner, train', 'winner, evaluation']
  best = int(np.argmin(runs.losses))
  assert set(traces['winner, train']['customdata']) == {best}
  assert set(traces['others, train']['customdata']) == set(range(40)) - {best}


def test_evaluations_of_the_winner_are_drawn_as_they_are():
  runs = study()
  figure = training_curves_figure(runs, find_winner(runs))
  evaluated = by_name(figure)['winner, evaluation']['y']
  expected = runs.curves[int(np.argmin(runs.losses))]['eval_loss_nats']
  expected = expected[np.isfinite(expected)]
  np.testing.assert_allclose(evaluated[:-1], expected)
  assert np.isnan(evaluated[-1])
  assert number(float(expected[-1])) in figure.caption


def test_there_is_no_view_if_all_budgets_rise_with_the_steps():
  runs = study(sizes=False)
  assert training_curves_figure(runs, find_winner(runs)).views == ()


def test_views_are_the_budgets_that_differ():
  runs = study()
  figure = training_curves_figure(runs, find_winner(runs))
  labels = [view.label for view in figure.views]
  assert labels == ['equal steps', 'equal training FLOPs', 'equal seconds']
  trace = by_name(figure)['winner, train']
  change = figure.views[2].data[1]
  seconds = runs.measured['seconds'][int(np.argmin(runs.losses))]
  np.testing.assert_allclose(change['x'], trace['x'] * seconds / 100)


def test_the_base_config_of_the_confirmation_is_highlighted():
  runs = confirmed([-0.3, -0.3])
  rng = np.random.default_rng(0)
  curves = {i: curve(runs.objective[i], 60, rng) for i in range(len(runs))}
  runs = dataclasses.replace(runs, curves=curves)
  figure = training_curves_figure(runs, find_winner(runs))
  check(figure, runs)
  traces = by_name(figure)
  assert set(traces['base, train']['customdata']) == {4}
  assert set(traces['winner, train']['customdata']) == {1}
  texts = {annotation['text'] for annotation in figure.layout['annotations']}
  assert texts == {'winner', 'base'}


def test_scores_at_rungs_replace_evaluations_that_are_missing():
  runs = study()
  curves = {}
  for run, columns in runs.curves.items():
    curves[run] = {k: v for k, v in columns.items() if k != 'eval_loss_nats'}
  runs = dataclasses.replace(runs, curves=curves)
  figure = training_curves_figure(runs, find_winner(runs))
  assert by_name(figure)['winner, evaluation']['x'].tolist()[:2] == [50, 100]


def test_runs_without_curves_have_no_figure():
  runs = dataclasses.replace(study(), curves={}, scores=())
  winner = find_winner(runs)
  assert [draw(runs, winner) for draw in FIGURES] == [None] * 3


def test_the_gap_is_evaluation_minus_training_loss():
  runs = study()
  figure = gap_figure(runs, find_winner(runs))
  check(figure, runs)
  gaps = np.concatenate([trace['y'] for trace in figure.data])
  assert abs(np.nanmedian(gaps) - 0.1) < 0.02


def test_the_axis_of_gradient_norms_is_logarithmic():
  runs = study()
  figure = grad_norm_figure(runs, find_winner(runs))
  check(figure, runs)
  assert figure.layout['yaxis']['type'] == 'log'


def test_a_thousand_runs_stay_small():
  runs = study(1000, n_steps=200, sizes=False)
  winner = find_winner(runs)
  packed = [to_strict_json(draw(runs, winner), packed=True) for draw in FIGURES]
  assert sum(len(repr(figure)) for figure in packed) < 1_700_000
