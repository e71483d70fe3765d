"""Figures of responses: what is drawn where, and what captions say."""

import dataclasses

from figure_studies import check, confirmed, study
import numpy as np
import pytest

from lmhp.analysis.hyperparameters.contours import contour
from lmhp.analysis.hyperparameters.effects import Effect
from lmhp.analysis.hyperparameters.importances import Importance
from lmhp.analysis.hyperparameters.isolations import isolation
from lmhp.analysis.hyperparameters.responses import response
from lmhp.analysis.report.figures import effects as figures_effects
from lmhp.analysis.report.figures import marks
from lmhp.analysis.report.figures import responses as figures_response
from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.table import Runs


@pytest.fixture(scope='module', params=[False, True], ids=['minimize', 'maximize'])
def runs(request):
  return study(maximize=request.param)


@pytest.fixture(scope='module')
def responses(runs):
  return figures_response.responses(runs)


def drawn(figure, symbol):
  return [
    t for t in figure.data if t.get('meta') == 'run' and t['marker']['symbol'] == symbol
  ]


def test_responses_are_one_for_each_axis_and_valid(runs, responses):
  assert [f.id for f in responses] == [f'response-{i}' for i in range(4)]
  for figure in responses:
    check(figure, runs)


def test_diverged_runs_are_crosses_at_the_bad_edge(runs, responses):
  for figure in responses:
    (crosses,) = drawn(figure, 'x')
    edge = figure.layout['yaxis']['range'][0 if runs.maximize else 1]
    assert (
      sorted(crosses['customdata'])
      == np.flatnonzero(runs.status == 'diverged').tolist()
    )
    np.testing.assert_allclose(crosses['y'], edge)
    assert any('3 diverged' in a['text'] for a in figure.layout['annotations'])


def test_every_run_is_drawn_once(runs, responses):
  for figure in responses:
    numbers = np.concatenate(
      [t['customdata'] for t in figure.data if t.get('meta') == 'run']
    )
    assert sorted(numbers) == list(range(len(runs)))


def test_winner_base_and_optimum_are_marked(runs, responses):
  figure = responses[0]
  best = int(np.argmin(np.where(runs.status == 'complete', runs.losses, np.inf)))
  (ring,) = [t for t in figure.data if t.get('marker', {}).get('size') == 15]
  assert ring['x'] == [runs.values['optimizer.lr'][best]]
  assert ring['y'] == [runs.objective[best]]
  texts = [a['text'] for a in figure.layout['annotations']]
  assert (
    f'winner: run {best}' in texts and 'base 0.001' in texts and 'within 1%' in texts
  )
  found = response(runs, 'optimizer.lr')
  assert any(
    s['x0'] == pytest.approx(found.optimum.value) and s['type'] == 'line'
    for s in figure.layout['shapes']
  )
  (basin,) = [s for s in figure.layout['shapes'] if s['type'] == 'rect']
  assert (basin['x0'], basin['x1']) == pytest.approx(found.basin)
  assert f'{found.optimum.confidence:.0%} interval' in figure.caption


def test_pruned_runs_are_hollow_at_their_last_score():
  runs = study(30, n_diverged=0)
  status, objective = runs.status.copy(), runs.objective.copy()
  status[:5], objective[:5] = 'pruned', np.nan
  runs = dataclasses.replace(runs, status=status, objective=objective)
  figure = figures_response.responses(runs)[0]
  hollow = [
    t
    for t in figure.data
    if t.get('meta') == 'run' and t['marker']['symbol'].endswith('open')
  ]
  assert sorted(np.concatenate([t['customdata'] for t in hollow])) == [0, 1, 2, 3, 4]
  assert '5 pruned runs (hollow)' in figure.caption
  check(figure, runs)


def test_most_pruned_are_compared_at_a_rung():
  runs = study(30, n_diverged=0)
  status, objective = runs.status.copy(), runs.objective.copy()
  status[:20], objective[:20] = 'pruned', np.nan
  scores = tuple({50: s[50]} if i < 20 else s for i, s in enumerate(runs.scores))
  runs = dataclasses.replace(runs, status=status, objective=objective, scores=scores)
  figure = figures_response.responses(runs)[0]
  assert (
    'at step 50' in figure.caption
    and 'at step 50' in figure.layout['yaxis']['title']['text']
  )
  numbers = {
    t['marker']['symbol']: sorted(t['customdata'])
    for t in figure.data
    if t.get('meta') == 'run'
  }
  assert numbers['circle-open'] == list(range(20)) and numbers['circle'] == list(
    range(20, 30)
  )


def test_choice_has_no_optimum_and_escaped_ticks(responses):
  figure = responses[3]
  assert figure.layout['xaxis']['ticktext'] == ['cosine', 'wsd', '&lt;b&gt;const']
  assert figure.caption.startswith('The best run has schedule = ')


def test_too_few_runs_say_so():
  runs = Runs(
    's',
    {'x': Axis('x', low=0, high=1)},
    {'x': np.array([0.1, 0.9])},
    np.array([3.0, 2.5]),
  )
  (figure,) = figures_response.responses(runs)
  check(figure, runs)
  assert figure.caption.startswith('No optimum of x can be said')


def test_thousand_runs_are_packed(runs):
  from lmhp.analysis.report.document import plain

  figure = figures_response.responses(study(1000, n_steps=2))[0]
  assert len(repr(plain(figure, packed=True))) < 60_000


def test_labels_over_lines_do_not_overlap_and_stay_inside():
  rng = np.random.default_rng(0)
  labels = [
    (f'label {"m" * rng.integers(1, 12)}', v, '$ink') for v in rng.uniform(0, 1, 12)
  ]
  notes, top = marks.over_lines(labels, {'range': [0, 1]})
  boxes = []
  for text, one in zip((t for t, _, _ in labels), notes):
    wide = marks.LETTER * len(text)
    left = (
      one['x'] * marks.NARROW
      - {'center': wide / 2, 'left': 0, 'right': wide}[one['xanchor']]
    )
    assert -1e-9 <= left and left + wide <= marks.NARROW + 1e-9
    boxes.append((one['yshift'], left, left + wide))
  for i, (row, left, right) in enumerate(boxes):
    assert all(row != other or right <= a or left >= b for other, a, b in boxes[:i])
  assert top >= max(row for row, _, _ in boxes) + marks.ROW - 8


def test_isolation_draws_best_and_its_interval(runs):
  for name in runs.axes:
    found = isolation(runs, name)
    figure = figures_response.isolation(runs, found)
    check(figure, runs)
    (dots,) = drawn(figure, 'circle')
    np.testing.assert_allclose(
      dots['y'], runs.shown(found.best)[np.isfinite(found.best)]
    )
    bars = figure.data[0]
    np.testing.assert_allclose(bars['y'][0::3], runs.shown(found.low))
    np.testing.assert_allclose(bars['y'][1::3], runs.shown(found.high))
    assert np.isnan(bars['y'][2::3]).all()


def test_contour_takes_two_numbers_or_a_choice(runs):
  for names in (('optimizer.lr', 'optimizer.wd'), ('optimizer.lr', 'schedule')):
    found = contour(runs, *names)
    figure = figures_response.contour(runs, found)
    check(figure, runs)
    np.testing.assert_allclose(figure.data[0]['z'], runs.shown(found.z), rtol=1e-4)
    assert names[0] in figure.caption and '3 that diverged' in figure.caption


def test_effects_say_the_largest_and_draw_their_intervals():
  found = [
    Effect('b', 0.2, 0.4, 1.0, 0.05, 0.0, 0.2),
    Effect('<b>a', 0.001, 0.003, 1.0, 0.5, 0.4, np.inf),
    Effect('c', reason='it was not varied'),
  ]
  figure = figures_effects.effects(found, 'nats')
  check(figure)
  assert figure.caption == (
    '<b>a is worth the most, 0.5 nats (90% interval 0.4 to no bound); 1 of 3 is shown to '
    'matter (filled).'
  )
  assert [a['text'] for a in figure.layout['annotations']] == [
    '&lt;b&gt;a, p = 0.003',
    'b, p = 0.4',
    'c: it was not varied',
  ]
  dots = [t for t in figure.data if t.get('mode') == 'markers']
  assert [(t['x'].tolist(), t['y'].tolist()) for t in dots] == [
    ([0.5], [0.0]),
    ([0.05], [1.0]),
  ]
  check(figures_effects.effects([]))
  check(figures_effects.effects([found[2]]))


def test_importance_says_the_first():
  found = Importance(
    'ped_anova',
    ('a', 'b'),
    np.array([0.7, 0.3]),
    np.array([0.5, 0.1]),
    np.array([0.9, 0.5]),
    np.array([0.01, 0.6]),
    ('a',),
    40,
  )
  figure = figures_effects.importance(found)
  check(figure)
  assert (
    'a has 70% of the importance (90% interval 50% to 90%) by ped_anova of 40 points; 1 of 2'
    in figure.caption
  )
  nan = np.full(2, np.nan)
  refused = figures_effects.importance(
    dataclasses.replace(
      found, share=nan, low=nan, high=nan, p_value=nan, refused='12 points are too few'
    )
  )
  check(refused)
  assert refused.caption == 'Nothing is said: 12 points are too few.'


def test_confirmed_study_has_responses_of_its_search_alone():
  runs = confirmed([-0.5, -0.4])
  (figure,) = figures_response.responses(runs)
  numbers = np.concatenate(
    [t['customdata'] for t in figure.data if t.get('meta') == 'run']
  )
  assert sorted(numbers) == [0, 1]
