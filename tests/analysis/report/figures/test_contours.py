"""Tests of the figures of pairs of hyperparameters."""

from figure_studies import check, study
import numpy as np
import pytest

from lmhp.analysis.hyperparameters.contours import contour
from lmhp.analysis.report.figures.contours import contour_figures


@pytest.mark.parametrize('maximize', [False, True])
@pytest.mark.parametrize('second', ['optimizer.wd', 'schedule'])
def test_the_fitted_surface_is_drawn(maximize, second):
  runs = study(maximize=maximize)
  fitted = contour(runs, 'optimizer.lr', second)
  (figure,) = contour_figures(runs, runs.comparable_runs()[0], [fitted])
  check(figure, runs)
  expected = runs.to_objective(fitted.z)
  np.testing.assert_allclose(figure.data[0]['z'], expected, rtol=1e-4)
  assert 'optimizer.lr' in figure.caption
  assert second in figure.caption
