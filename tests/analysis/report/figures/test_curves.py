"""Figures of training curves."""

import dataclasses

from figure_studies import check, confirmed, curve, study
import numpy as np
import pytest

from lmhp.analysis.report.document import plain
from lmhp.analysis.report.figures import curve_lines
from lmhp.analysis.report.figures import curves as figures_curves


def by_name(figure):
  return {t['name']: t for t in figure.data}


def test_training_curves_hold_every_run_and_mark_the_winner():
  runs = study()
  figure = figures_curves.training_curves(runs)
  check(figure, runs)
  traces = by_name(figure)
  assert list(traces) == ['others, train', 'winner, train', 'winner, evaluation']
  best = int(np.argmin(runs.losses))
  assert set(traces['winner, train']['customdata']) == {best}
  assert set(traces['others, train']['customdata']) == set(range(40)) - {best}
  own = runs.curves[best]
  known = np.isfinite(own['eval_loss_nats'])
  np.testing.assert_allclose(
    traces['winner, evaluation']['y'][:-1], own['eval_loss_nats'][known]
  )
  assert np.isnan(traces['winner, evaluation']['y'][-1])
  assert f'the winner ends at {own["eval_loss_nats"][known][-1]:.3f}' in figure.caption


def test_views_are_those_clocks_that_differ():
  assert figures_curves.training_curves(study(sizes=False)).views == ()
  runs = study()
  figure = figures_curves.training_curves(runs)
  assert [v.label for v in figure.views] == [
    'equal steps',
    'equal training FLOPs',
    'equal seconds',
  ]
  trace, change = by_name(figure)['winner, train'], figure.views[2].data[1]
  best = int(np.argmin(runs.losses))
  np.testing.assert_allclose(
    change['x'], trace['x'] * runs.measured['seconds'][best] / 100
  )


def test_base_of_the_confirmation_is_marked():
  runs = confirmed([-0.3, -0.3])
  rng = np.random.default_rng(0)
  runs = dataclasses.replace(
    runs, curves={i: curve(runs.objective[i], 60, rng) for i in range(len(runs))}
  )
  figure = figures_curves.training_curves(runs)
  check(figure, runs)
  traces = by_name(figure)
  assert set(traces['base, train']['customdata']) == {4} and set(
    traces['winner, train']['customdata']
  ) == {1}
  assert {a['text'] for a in figure.layout['annotations']} == {'winner', 'base'}


def test_scores_at_rungs_stand_in_for_evaluations():
  runs = study()
  curves = {
    n: {k: v for k, v in c.items() if k != 'eval_loss_nats'}
    for n, c in runs.curves.items()
  }
  figure = figures_curves.training_curves(dataclasses.replace(runs, curves=curves))
  assert by_name(figure)['winner, evaluation']['x'].tolist()[:2] == [50, 100]


def test_smoothing_has_no_lag_and_takes_the_noise_out():
  step, rng = np.linspace(1, 5000, 5000), np.random.default_rng(0)
  true = 3 + 2 * np.exp(-step / 1500)
  at, found = curve_lines.smoothed(step, true + 0.1 * rng.standard_normal(5000))
  error = found - (3 + 2 * np.exp(-at / 1500))
  assert (
    len(at) == curve_lines.BLOCKS
    and np.sqrt(np.mean(error**2)) < 0.015
    and abs(error.mean()) < 0.004
  )


def test_nothing_is_drawn_of_runs_without_curves():
  runs = dataclasses.replace(study(), curves={}, scores=())
  for made in (
    figures_curves.training_curves,
    figures_curves.gap,
    figures_curves.grad_norm,
    figures_curves.one_run,
  ):
    assert made(runs) is None


def test_gap_is_evaluation_less_train():
  runs = study()
  figure = figures_curves.gap(runs)
  check(figure, runs)
  y = np.concatenate([t['y'] for t in figure.data])
  assert abs(np.nanmedian(y) - 0.1) < 0.02
  assert (
    'the 40 runs have a median gap of 0.1' in figure.caption
    or 'median gap of 0.09' in figure.caption
  )


def test_grad_norm_is_logarithmic():
  runs = study()
  figure = figures_curves.grad_norm(runs)
  check(figure, runs)
  assert (
    figure.layout['yaxis']['type'] == 'log' and 'over the 40 runs' in figure.caption
  )


def test_one_run_has_a_panel_for_each_column():
  rng = np.random.default_rng(0)
  own = curve(3.0, 300, rng) | {'seconds': np.linspace(0, 50, 300)}
  own['eval_loss_nats'][-1] = 9.0
  runs = dataclasses.replace(study(1, n_diverged=0), curves={0: own})
  figure = figures_curves.one_run(runs)
  check(figure, runs)
  titles = [a['text'] for a in figure.layout['annotations']]
  assert titles == ['loss (nats)', 'learning rate', 'gradient norm', 'tokens a second']
  domains = [
    figure.layout[key]['domain'] for key in ('yaxis4', 'yaxis3', 'yaxis2', 'yaxis')
  ]
  flat = [end for domain in domains for end in domain]
  assert flat == sorted(flat) and -1e-9 <= flat[0] and flat[-1] <= 1
  speed = next(t for t in figure.data if t.get('yaxis') == 'y4')
  assert 20 <= len(speed['y']) <= 40
  np.testing.assert_allclose(speed['y'], np.ptp(own['tokens']) / 50)
  known = own['eval_loss_nats'][np.isfinite(own['eval_loss_nats'])]
  assert f'above its lowest of {known.min():.3f}' in figure.caption


def test_one_run_without_evaluations():
  own = {
    k: v
    for k, v in curve(3.0, 50, np.random.default_rng(0)).items()
    if k in ('step', 'loss_nats')
  }
  figure = figures_curves.one_run(
    dataclasses.replace(study(1, n_diverged=0), curves={0: own}, scores=())
  )
  check(figure)
  assert figure.caption.startswith('The smoothed train loss')


@pytest.mark.parametrize(
  'n, most', [(40, curve_lines.MOST_POINTS), (300, curve_lines.FEW_POINTS)]
)
def test_curves_are_thinned(n, most):
  found = curve_lines.curves_of(study(n, n_steps=500), 'loss_nats', smoothly=True)
  assert {len(c.y) for c in found} == {most} and len(found) == n


def test_a_thousand_runs_stay_small():
  runs = study(1000, n_steps=200, sizes=False)
  size = sum(
    len(repr(plain(made(runs), packed=True)))
    for made in (
      figures_curves.training_curves,
      figures_curves.gap,
      figures_curves.grad_norm,
    )
  )
  assert size < 1_700_000


def test_speed_does_not_take_the_rows_of_one_chunk_for_a_burst():
  steps = np.arange(1.0, 201)
  chunk = np.ceil(
    steps / 10
  )  # ten rows are read at once, and stamped within a millisecond
  curve = {
    'step': steps,
    'tokens': 100 * steps,
    'seconds': 2 * chunk + 1e-4 * (steps % 10),
  }
  at, speed = figures_curves._speed(steps, curve)
  assert (
    len(at) >= 15
    and np.median(speed) == pytest.approx(500, rel=0.2)
    and speed.max() < 1100
  )
