"""Figures of a study as a whole."""

import dataclasses

from figure_studies import check, confirmed, study
from lmhp.analysis.winner.trial_count import best_of_n
import numpy as np
import pytest

from lmhp.analysis.report.figures import study as figures_study
from lmhp.statistics.intervals import paired_difference
from lmhp.statistics.ranks import spearman


@pytest.mark.parametrize('maximize', [False, True])
def test_confirmation_shows_pairs_and_their_difference(maximize):
  differences = np.array([-0.30, -0.34, -0.29, -0.31])
  runs = confirmed(differences, maximize)
  figure = figures_study.confirmation(runs)
  check(figure, runs)
  sign = -1 if maximize else 1
  mean, low, high = paired_difference(differences, np.zeros(4), 0.99)
  dots = [t for t in figure.data if t.get('xaxis') == 'x2' and t.get('meta') == 'run']
  np.testing.assert_allclose(dots[0]['x'], sign * differences)
  assert dots[0]['customdata'].tolist() == [2, 3, 4, 5]
  (diamond,) = [t for t in figure.data if 'error_x' in t]
  ends = diamond['x'][0] + np.array(
    [-diamond['error_x']['arrayminus'][0], diamond['error_x']['array'][0]]
  )
  assert diamond['x'] == pytest.approx([sign * mean])
  np.testing.assert_allclose(ends, sorted([sign * low, sign * high]))
  assert 'On 4 fresh seeds the winner is better than the base' in figure.caption
  assert ('0.31' if maximize else '-0.31') in figure.caption


def test_confirmation_without_a_difference_one_pair_or_none():
  assert (
    'not shown to differ'
    in figures_study.confirmation(confirmed([0.1, -0.1, 0.02])).caption
  )
  assert (
    'one pair has no interval' in figures_study.confirmation(confirmed([-0.1])).caption
  )
  assert figures_study.confirmation(study(5)) is None


def test_confirmation_with_a_diverged_seed_says_so():
  runs = confirmed([-0.1, -0.2, -0.3])
  status = runs.status.copy()
  status[2] = 'diverged'
  figure = figures_study.confirmation(dataclasses.replace(runs, status=status))
  check(figure, runs)
  assert (
    figure.caption == 'Of 3 fresh seeds 1 of the winner and 0 of the base diverged.'
  )


@pytest.mark.parametrize('maximize', [False, True])
def test_history_is_the_running_best(maximize):
  runs = study(maximize=maximize)
  figure = figures_study.history(runs)
  check(figure, runs)
  (line,) = [t for t in figure.data if t.get('name') == 'best so far']
  good = [(i, v) for i, v in enumerate(runs.objective) if runs.status[i] == 'complete']
  pick = max if maximize else min
  for x, y in zip(line['x'], line['y']):
    assert y == pick(v for i, v in good if i <= x)
  best = pick(good, key=lambda pair: pair[1])[0]
  assert (
    f'is trial {best}' in figure.caption
    and f'{len(runs) - 1 - best} trials after it' in figure.caption
  )


def test_history_of_a_study_still_improving_and_of_none():
  runs = study(n_diverged=0)
  order = np.argsort(-runs.losses)
  falling = dataclasses.replace(
    runs.select(order), number=np.arange(len(runs)), point=np.arange(len(runs))
  )
  assert (
    'is the last trial, 39: the search was still improving'
    in figures_study.history(falling).caption
  )
  nothing = dataclasses.replace(
    runs,
    objective=np.full(len(runs), np.nan),
    scores=({},) * len(runs),
    status=np.full(len(runs), 'failed'),
  )
  check(figures_study.history(nothing))
  assert figures_study.history(nothing).caption == 'No trial came to its end.'


@pytest.mark.parametrize('n', [2, 40])
def test_best_of_n_draws_the_median_and_its_band(n):
  runs = study(n, n_diverged=0)
  curve = best_of_n(runs.losses)
  figure = figures_study.best_of_n(runs, curve)
  check(figure, runs)
  median = figure.data[2]
  np.testing.assert_array_equal(median['y'], curve.median)
  assert f'of {n} trials find {runs.objective.min():.4g}'[:20] in figure.caption
  assert 'is open where it meets the edge' in figure.caption
  low, high = figure.layout['yaxis']['range']
  assert low < runs.objective.min() and np.isfinite(figure.data[0]['y']).all()
  assert high > curve.median.max()


def test_status_counts_add_up():
  runs = study(40, n_diverged=3)
  figure = figures_study.status(runs)
  check(figure)
  assert sum(t['x'][0] for t in figure.data) == 40
  assert [t['base'][0] for t in figure.data] == [0, 37]
  assert figure.caption == 'Of 40 runs of the search: 37 complete, 3 diverged.'


def test_parallel_lines_cross_each_row_at_the_value():
  runs = study(40)
  figure = figures_study.parallel(runs)
  check(figure, runs)
  seen = {}
  for trace in figure.data:
    for place, row, number in zip(trace['x'], trace['y'], trace['customdata']):
      if np.isfinite(row):
        seen.setdefault(int(number), []).append(place)
  assert sorted(seen) == list(range(40)) and {len(v) for v in seen.values()} == {4}
  log_lr = np.log(runs.values['optimizer.lr'])
  expected = (log_lr - log_lr.min()) / np.ptp(log_lr)
  np.testing.assert_allclose([seen[i][0] for i in range(40)], expected)
  thirds = np.array(
    [['cosine', 'wsd', '<b>const'].index(v) for v in runs.values['schedule']]
  )
  assert (np.floor(3 * np.array([seen[i][3] for i in range(40)])) == thirds).all()
  best = int(np.argmin(runs.losses))
  assert f'The best run, {best}, has' in figure.caption
  assert (
    best in figure.data[-1]['customdata'] and figure.data[-1]['name'] == 'best tenth'
  )


def test_parallel_wants_two_axes_and_thins_many_runs():
  assert figures_study.parallel(confirmed([-0.1])) is None
  runs = study(1000, n_steps=2)
  drawn = set(
    np.concatenate(
      [t['customdata'] for t in figures_study.parallel(runs).data]
    ).tolist()
  )
  assert (
    len(drawn) == figures_study.MOST_LINES
    and set(np.argsort(runs.losses)[:200].tolist()) <= drawn
  )


def test_rungs_have_rank_correlation():
  runs = study(40, n_diverged=3)
  noisy = np.random.default_rng(1).standard_normal(40)
  scores = tuple(
    {25: runs.losses[i] + noisy[i], **s} if s else s for i, s in enumerate(runs.scores)
  )
  runs = dataclasses.replace(runs, scores=scores)
  figure = figures_study.rungs(runs)
  check(figure, runs)
  done = runs.status == 'complete'
  expected = spearman((runs.losses + noisy)[done], runs.losses[done])
  assert (
    f'Scores at step 25 rank the 37 runs that went on with a correlation of {expected:.2f}'
    in figure.caption
  )
  assert 'at step 50 with 1.00' in figure.caption and len(figure.data) == 2
  assert figures_study.rungs(confirmed([-0.1])) is None
