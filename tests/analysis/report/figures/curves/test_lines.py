"""Tests of training curves as lines."""

from figure_studies import study
import numpy as np
import pytest

from lmhp.analysis.report.figures.curves.lines import (
  MAX_POINTS,
  MAX_POINTS_OF_MANY,
  N_BLOCKS,
  lines_of,
  smooth_curve,
)


def test_smoothing_removes_noise_without_a_lag():
  step = np.linspace(1, 5000, 5000)
  noise = 0.1 * np.random.default_rng(0).standard_normal(5000)
  at, smoothed = smooth_curve(step, 3 + 2 * np.exp(-step / 1500) + noise)
  error = smoothed - (3 + 2 * np.exp(-at / 1500))
  assert len(at) == N_BLOCKS
  assert np.sqrt(np.mean(error**2)) < 0.015
  assert abs(error.mean()) < 0.004


@pytest.mark.parametrize('n, points', [(40, MAX_POINTS), (300, MAX_POINTS_OF_MANY)])
def test_curves_are_thinned(n, points):
  lines = lines_of(study(n, n_steps=500), 'loss_nats', smooth=True)
  assert len(lines) == n
  assert {len(line.y) for line in lines} == {points}
