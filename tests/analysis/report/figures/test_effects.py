"""Tests of the figures of effects and importances."""

import dataclasses

from figure_studies import check
import numpy as np

from lmhp.analysis.hyperparameters.effects import Effect
from lmhp.analysis.hyperparameters.importances import Importance
from lmhp.analysis.report.document import Text
from lmhp.analysis.report.figures.effects import effects_figure, importance_figures
from lmhp.analysis.runs.table import Runs

RUNS = Runs('s', {}, {}, np.zeros(0), 'eval_loss_nats')
SMALL = Effect('b', 0.2, 0.4, 1.0, 0.05, 0.0, 0.2)
LARGE = Effect('<b>a', 0.001, 0.003, 1.0, 0.5, 0.4, np.inf)
UNKNOWN = Effect('c', reason='it was not varied')
IMPORTANCE = Importance(
  'ped_anova',
  ('a', 'b'),
  np.array([0.7, 0.3]),
  np.array([0.5, 0.1]),
  np.array([0.9, 0.5]),
  np.array([0.01, 0.6]),
  ('a',),
  40,
)


def test_effects_are_rows_from_the_largest_gain_down():
  figure = effects_figure(RUNS, [SMALL, LARGE, UNKNOWN])
  check(figure)
  dots = [trace for trace in figure.data if trace.get('mode') == 'markers']
  positions = [(trace['x'].tolist(), trace['y'].tolist()) for trace in dots]
  assert positions == [([0.5], [0.0]), ([0.05], [1.0])]


def test_effects_have_their_names_p_values_and_reasons():
  figure = effects_figure(RUNS, [SMALL, LARGE, UNKNOWN])
  texts = [annotation['text'] for annotation in figure.layout['annotations']]
  assert texts == [
    '&lt;b&gt;a, p = 0.003',
    'b, p = 0.4',
    'c',
    'it was not varied',
  ]


def test_effects_that_are_all_unknown_have_a_figure():
  check(effects_figure(RUNS, [UNKNOWN]))


def test_no_effects_have_no_figure():
  assert effects_figure(RUNS, []) is None


def test_importances_are_fractions_with_intervals():
  (figure,) = importance_figures([IMPORTANCE])
  check(figure)
  assert figure.id == 'importance-ped_anova'
  dots = [trace for trace in figure.data if trace.get('mode') == 'markers']
  assert [trace['x'].tolist() for trace in dots] == [[0.7], [0.3]]
  for text in ('70%', '50%', '90%'):
    assert text in figure.caption


def test_an_importance_that_is_not_computed_is_a_paragraph_with_its_reason():
  unknown = np.full(2, np.nan)
  refused = dataclasses.replace(
    IMPORTANCE,
    fraction=unknown,
    low=unknown,
    high=unknown,
    p_value=unknown,
    reason='12 points are too few',
  )
  (paragraph,) = importance_figures([refused])
  assert isinstance(paragraph, Text)
  assert '12 points are too few' in paragraph.text
