"""Tests of the figures of the batch size."""

from figure_studies import check
import numpy as np
import pytest

from lmhp.analysis.advice.batch_size import (
  BatchSizeAnalysis,
  CriticalBatchOfRuns,
  NoiseScaleOfRun,
)
from lmhp.analysis.report.figures.batch_size import (
  critical_batch_figure,
  noise_scale_figure,
)
from lmhp.analysis.scaling.critical_batch_size import critical_batch_size
from lmhp.analysis.scaling.gradient_noise import NoiseScale


def critical(batch_sizes, steps):
  fit = critical_batch_size(batch_sizes, steps)
  numbers = np.arange(len(batch_sizes))
  of_runs = CriticalBatchOfRuns(fit, 3.0, batch_sizes, steps, numbers)
  return BatchSizeAnalysis(critical=of_runs)


def test_the_critical_batch_size_is_on_the_fitted_curve():
  batch_sizes = np.array([8, 32, 128, 512, 2048, 64.0])
  steps = 1000 * (1 + 64 / batch_sizes) * [1.01, 0.99, 1, 1, 1.02, np.inf]
  analysis = critical(batch_sizes, steps)
  figure = critical_batch_figure(analysis)
  check(figure)
  (dots,) = [trace for trace in figure.data if trace.get('meta') == 'run']
  np.testing.assert_allclose(dots['y'], (batch_sizes * steps)[:5])
  (cross,) = [t for t in figure.data if t.get('marker', {}).get('symbol') == 'x']
  fit = analysis.critical.fit
  assert cross['x'][0] == pytest.approx(2 * fit.steps_min)
  assert cross['y'][0] == pytest.approx(2 * fit.examples_min)


def test_a_critical_batch_size_that_cannot_be_estimated_has_no_mark():
  batch_sizes = np.array([8.0, 32])
  analysis = critical(batch_sizes, 1e4 / batch_sizes)
  figure = critical_batch_figure(analysis)
  check(figure)
  assert not [t for t in figure.data if t.get('marker', {}).get('symbol') == 'x']
  assert analysis.critical.fit.reason in figure.caption


def noise_scale(scales, steps):
  measured = NoiseScaleOfRun(
    number=0, scales=scales, steps=np.array(steps), batch_tokens=64.0
  )
  return BatchSizeAnalysis(noise_scale=measured)


def test_the_noise_scale_is_drawn_at_the_stretches_that_have_one():
  scales = [
    NoiseScale(20.0, 10.0, 40.0),
    NoiseScale(np.nan, reason='it is lost in noise'),
    NoiseScale(80.0, 50.0, np.inf),
  ]
  figure = noise_scale_figure(noise_scale(scales, [100, 200, 300]))
  check(figure)
  assert figure.data[0]['x'].tolist() == [100, 300]
  assert figure.data[0]['y'].tolist() == [20.0, 80.0]


def test_an_unknown_noise_scale_has_its_reason():
  scales = [NoiseScale(np.nan, reason='it is lost in noise')]
  figure = noise_scale_figure(noise_scale(scales, [200]))
  check(figure)
  assert 'it is lost in noise' in figure.caption


@pytest.mark.parametrize('draw', [critical_batch_figure, noise_scale_figure])
def test_there_is_no_figure_without_measurements(draw):
  assert draw(BatchSizeAnalysis()) is None
