"""Tests of the figures of isolated hyperparameters."""

from figure_studies import check, study
import numpy as np
import pytest

from lmhp.analysis.hyperparameters.isolations import isolation
from lmhp.analysis.report.figures.isolations import isolation_figures


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
