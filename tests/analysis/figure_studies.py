"""Studies by hand that the tests of figures draw, and what every figure must keep."""

import re

import numpy as np

from lmhp.analysis.report.document import Figure
from lmhp.analysis.report.figures import style as drawing
from lmhp.analysis.runs.table import Axis, Runs

CHOICES = ('cosine', 'wsd', '<b>const')


def study(n=40, seed=0, maximize=False, n_diverged=3, n_steps=120, sizes=True):
  """Four axes, one of them a choice whose name is markup; curves, rungs, and what was measured."""
  rng = np.random.default_rng(seed)
  lr, wd = 10 ** rng.uniform(-4, -1.3, n), 10 ** rng.uniform(-3, 0, n)
  layers, kind = rng.integers(2, 9, n).astype(float), np.empty(n, object)
  kind[:] = [CHOICES[i] for i in rng.integers(0, 3, n)]
  loss = (
    3
    + 0.25 * np.log10(lr / 3e-3) ** 2
    + 0.03 * np.log10(wd / 0.1) ** 2
    + 0.02 * rng.standard_normal(n)
  )
  status = np.full(n, 'complete', dtype='<U9')
  bad = np.argsort(-lr)[:n_diverged]
  status[bad], loss[bad] = 'diverged', 11.0
  axes = {
    'optimizer.lr': Axis('optimizer.lr', low=1e-4, high=5e-2, log=True, base=1e-3),
    'optimizer.wd': Axis(
      'optimizer.wd', low=1e-3, high=1, log=True, base=0.1, role='nuisance'
    ),
    'model.layers': Axis('model.layers', low=2, high=8, whole=True, base=4),
    'schedule': Axis('schedule', kind='choice', choices=CHOICES, base='cosine'),
  }
  sign = -1 if maximize else 1
  scores = tuple(
    {50: sign * (loss[i] + 0.5), 100: sign * loss[i]} if status[i] == 'complete' else {}
    for i in range(n)
  )
  seconds = 100 * (1 + layers) if sizes else np.full(n, 100.0)
  measured = {
    'steps': np.full(n, 100.0),
    'tokens': np.full(n, 4e5),
    'flops': 2.4e6 * (layers if sizes else 1 + 0 * layers),
    'seconds': seconds,
    'parameters': layers * 1e5 if sizes else np.full(n, 1e5),
  }
  return Runs(
    'a study',
    axes,
    dict(zip(axes, (lr, wd, layers, kind))),
    sign * loss,
    'accuracy' if maximize else 'eval_loss_nats',
    maximize,
    status=status,
    scores=scores,
    measured=measured,
    curves={i: curve(loss[i], n_steps, rng) for i in range(n)},
  )


def curve(end, n_steps, rng):
  """A run's columns, with an evaluation at every tenth row and NaN between."""
  step = np.linspace(1, 100, n_steps)
  train = end + 2 * np.exp(-step / 15) + 0.01 * rng.standard_normal(n_steps)
  evaluated = np.where(np.arange(n_steps) % 10 == 9, train + 0.1, np.nan)
  return {
    'step': step,
    'tokens': step * 4000,
    'loss_nats': train,
    'eval_loss_nats': evaluated,
    'grad_norm': np.exp(0.2 * rng.standard_normal(n_steps)),
    'learning_rate': step / 1e5,
  }


def confirmed(differences, maximize=False):
  """A study of two points whose winner (point 1) was run beside the base config, on as many seeds as differences."""
  k = len(differences)
  base = 3 + 0.1 * np.arange(k)
  own = np.r_[[2.9, 2.5], base + np.asarray(differences), base]
  return Runs(
    's',
    {'x': Axis('x', low=0, high=1)},
    {'x': np.r_[0.1, 0.9, np.full(k, 0.9), np.full(k, np.nan)]},
    -own if maximize else own,
    'eval_loss_nats',
    maximize,
    point=np.r_[0, 1, np.ones(k, int), np.full(k, -1)],
    seed=np.r_[0, 0, np.tile(1000 + np.arange(k), 2)],
    cohort=np.array(['search'] * 2 + ['confirm'] * (2 * k)),
  )


def check(figure: Figure, runs: Runs | None = None) -> None:
  """What every figure must keep: Plotly takes it, lengths agree, colours are tokens, text has no markup of others."""
  import plotly.graph_objects as go

  for theme in drawing.PALETTES:
    go.Figure(drawing.resolved(figure, theme))
  assert (
    figure.title
    and figure.caption.endswith('.')
    and 'nan' not in figure.caption.lower().split()
  )
  for trace in figure.data:
    if 'z' in trace:
      assert len(trace['z']) == len(trace['y']) and {
        len(row) for row in trace['z']
      } == {len(trace['x'])}
      continue
    assert len(trace['x']) == len(trace['y'])
    if trace.get('meta') == 'run':
      assert (
        len(trace['customdata']) == len(trace['x'])
        and np.asarray(trace['customdata']).dtype.kind == 'i'
      )
      assert runs is None or set(np.asarray(trace['customdata']).tolist()) <= set(
        runs.number.tolist()
      )
    if trace.get('mode') == 'markers':
      assert (
        np.isfinite(np.asarray(trace['x'], float)).all()
        and np.isfinite(np.asarray(trace['y'], float)).all()
      )
      assert isinstance(trace['x'], np.ndarray) or len(trace['x']) < 256
  for view in figure.views:
    assert len(view.data) == len(figure.data)
    for trace, change in zip(figure.data, view.data):
      assert len(change.get('x', trace['x'])) == len(trace['y'])
  for path, value in leaves((figure.data, figure.layout)):
    if isinstance(value, str):
      token = re.fullmatch(r'\$(\w+)(/[\d.]+)?', value)
      assert (
        not value.startswith('$') or token and token[1] in drawing.PALETTES['light']
      ), (path, value)
      assert '<b>' not in value, (path, value)
      if 'color' in path[-1] and 'scale' not in path[-1] and value != 'rgba(0,0,0,0)':
        assert token, (path, value)


def leaves(value, path=('',)):
  """Every value in nested dicts and lists, with the keys that lead to it."""
  if isinstance(value, dict):
    for key, inner in value.items():
      yield from leaves(inner, (*path, key))
  elif isinstance(value, (list, tuple)):
    for inner in value:
      yield from leaves(inner, path)
  else:
    yield path, value
