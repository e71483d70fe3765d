"""Tests of the figure of a single run."""

import dataclasses

from figure_studies import check, curve, study
import numpy as np
import pytest

from lmhp.analysis.phrases import number
from lmhp.analysis.report.figures.curves.single_run import single_run_figure


def run_with(columns):
  return dataclasses.replace(study(1, n_diverged=0), curves={0: columns}, scores=())


@pytest.fixture
def columns():
  rng = np.random.default_rng(0)
  columns = curve(3.0, 300, rng) | {'seconds': np.linspace(0, 50, 300)}
  columns['eval_loss_nats'][-1] = 9.0
  return columns


def test_each_column_has_a_panel(columns):
  figure = single_run_figure(run_with(columns))
  check(figure)
  titles = [annotation['text'] for annotation in figure.layout['annotations']]
  assert titles == [
    'loss (nats)',
    'learning rate',
    'gradient norm',
    'tokens per second',
  ]


def test_panels_do_not_overlap(columns):
  axes = single_run_figure(run_with(columns)).layout
  ends = []
  for name in ('yaxis4', 'yaxis3', 'yaxis2', 'yaxis'):
    ends += axes[name]['domain']
  assert ends == sorted(ends)
  assert ends[0] >= -1e-9
  assert ends[-1] <= 1


def test_the_speed_is_tokens_per_second(columns):
  figure = single_run_figure(run_with(columns))
  speed = next(trace for trace in figure.data if trace.get('yaxis') == 'y4')
  assert 20 <= len(speed['y']) <= 40
  np.testing.assert_allclose(speed['y'], np.ptp(columns['tokens']) / 50)


def test_the_caption_has_the_minimum_if_the_last_evaluation_is_higher(columns):
  figure = single_run_figure(run_with(columns))
  evaluated = columns['eval_loss_nats']
  assert number(float(np.nanmin(evaluated))) in figure.caption
  assert number(9.0) in figure.caption


def test_a_run_without_evaluations_has_its_training_loss(columns):
  training = {name: columns[name] for name in ('step', 'loss_nats')}
  figure = single_run_figure(run_with(training))
  check(figure)
  assert not [trace for trace in figure.data if trace.get('meta') == 'run']


def test_a_run_without_a_curve_has_no_figure():
  runs = dataclasses.replace(study(1, n_diverged=0), curves={}, scores=())
  assert single_run_figure(runs) is None


def test_rows_of_one_chunk_do_not_count_as_a_burst_of_speed():
  steps = np.arange(1.0, 201)
  # Ten rows are read at once, and are written within a millisecond.
  seconds = 2 * np.ceil(steps / 10) + 1e-4 * (steps % 10)
  columns = {
    'step': steps,
    'loss_nats': 3 + 1 / steps,
    'tokens': 100 * steps,
    'seconds': seconds,
  }
  speed = single_run_figure(run_with(columns)).data[-1]['y']
  assert len(speed) >= 15
  assert np.median(speed) == pytest.approx(500, rel=0.2)
  assert speed.max() < 1100
