"""Small studies that the tests of figures draw, and a check of every figure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import re

import numpy as np

from lmhp.analysis.report.document import Figure, to_strict_json
from lmhp.analysis.report.figures import style
from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.table import BASE_POINT, CONFIRM, SEARCH, Curve, Runs
from lmhp.typing import JSON

CHOICES = ('cosine', 'wsd', '<b>const')


def study(
  n: int = 40,
  seed: int = 0,
  maximize: bool = False,
  n_diverged: int = 3,
  n_steps: int = 120,
  sizes: bool = True,
) -> Runs:
  """Returns a study of four axes with curves, rungs and measurements.

  One of the choices contains markup.

  Args:
    n: Number of runs.
    seed: Seed of the values and of the noise.
    maximize: True if the objective is an accuracy, with the sign of the loss turned.
    n_diverged: Number of runs that diverged, those with the largest learning rates.
    n_steps: Number of rows of a curve.
    sizes: True if the runs differ in the number of parameters.
  """
  rng = np.random.default_rng(seed)
  rate = 10 ** rng.uniform(-4, -1.3, n)
  decay = 10 ** rng.uniform(-3, 0, n)
  layers = rng.integers(2, 9, n).astype(float)
  schedule = np.empty(n, object)
  schedule[:] = [CHOICES[i] for i in rng.integers(0, 3, n)]
  loss = (
    3
    + 0.25 * np.log10(rate / 3e-3) ** 2
    + 0.03 * np.log10(decay / 0.1) ** 2
    + 0.02 * rng.standard_normal(n)
  )
  status = np.full(n, 'complete', dtype='<U9')
  diverged = np.argsort(-rate)[:n_diverged]
  status[diverged] = 'diverged'
  loss[diverged] = 11.0
  axes = {
    'optimizer.lr': Axis(
      'optimizer.lr', low=1e-4, high=5e-2, log=True, base_value=1e-3
    ),
    'optimizer.wd': Axis(
      'optimizer.wd', low=1e-3, high=1, log=True, base_value=0.1, role='nuisance'
    ),
    'model.layers': Axis('model.layers', low=2, high=8, is_integer=True, base_value=4),
    'schedule': Axis('schedule', is_choice=True, choices=CHOICES, base_value='cosine'),
  }
  sign = -1 if maximize else 1
  scores = tuple(
    {50: sign * (loss[i] + 0.5), 100: sign * loss[i]} if status[i] == 'complete' else {}
    for i in range(n)
  )
  relative_size = layers if sizes else np.ones(n)
  return Runs(
    'a study',
    axes,
    dict(zip(axes, (rate, decay, layers, schedule))),
    sign * loss,
    'accuracy' if maximize else 'eval_loss_nats',
    maximize,
    status=status,
    scores=scores,
    measured={
      'steps': np.full(n, 100.0),
      'tokens': np.full(n, 4e5),
      'flops': 2.4e6 * relative_size,
      'seconds': 100 * (1 + layers) if sizes else np.full(n, 100.0),
      'parameters': 1e5 * relative_size,
    },
    curves={i: curve(loss[i], n_steps, rng) for i in range(n)},
  )


def curve(final_loss: float, n_steps: int, rng: np.random.Generator) -> Curve:
  """Returns the columns of a run, with an evaluation at every tenth row and NaN elsewhere."""
  step = np.linspace(1, 100, n_steps)
  train = final_loss + 2 * np.exp(-step / 15) + 0.01 * rng.standard_normal(n_steps)
  evaluated = np.where(np.arange(n_steps) % 10 == 9, train + 0.1, np.nan)
  return {
    'step': step,
    'tokens': step * 4000,
    'loss_nats': train,
    'eval_loss_nats': evaluated,
    'grad_norm': np.exp(0.2 * rng.standard_normal(n_steps)),
    'learning_rate': step / 1e5,
  }


def confirmed(differences: np.ndarray, maximize: bool = False) -> Runs:
  """Returns a study of two points whose winner, point 1, ran beside the base config.

  Args:
    differences: Winner minus base, in nats, one for each fresh seed.
    maximize: True if the objective is to be maximized. The sign of the losses is turned.
  """
  k = len(differences)
  base = 3 + 0.1 * np.arange(k)
  losses = np.r_[[2.9, 2.5], base + np.asarray(differences), base]
  return Runs(
    's',
    {'x': Axis('x', low=0, high=1)},
    {'x': np.r_[0.1, 0.9, np.full(k, 0.9), np.full(k, np.nan)]},
    -losses if maximize else losses,
    'eval_loss_nats',
    maximize,
    point=np.r_[0, 1, np.ones(k, int), np.full(k, BASE_POINT)],
    seed=np.r_[0, 0, np.tile(1000 + np.arange(k), 2)],
    cohort=np.array([SEARCH] * 2 + [CONFIRM] * (2 * k)),
  )


# --- check of a figure --------------------------------------------------------------


def check(figure: Figure, runs: Runs | None = None) -> None:
  """Checks what every figure must satisfy.

  Plotly accepts it, lengths agree, colours are tokens of the theme, and no text has markup
  that comes from names or choices.
  """
  import plotly.graph_objects as go

  for theme in style.PALETTES:
    go.Figure(with_theme(figure, theme))
  assert figure.title
  assert figure.caption.endswith('.')
  assert 'nan' not in figure.caption.lower().split()
  for trace in figure.data:
    check_trace(trace, runs)
  for view in figure.views:
    assert len(view.data) == len(figure.data)
    for trace, change in zip(figure.data, view.data):
      assert len(change.get('x', trace['x'])) == len(trace['y'])
  for path, value in leaves((figure.data, figure.layout)):
    if isinstance(value, str):
      check_text(path, value)


def check_trace(trace: dict, runs: Runs | None) -> None:
  """Checks the lengths of a trace, and the run numbers that it links to."""
  if 'z' in trace:
    assert len(trace['z']) == len(trace['y'])
    assert {len(row) for row in trace['z']} == {len(trace['x'])}
    return
  assert len(trace['x']) == len(trace['y'])
  if trace.get('meta') == 'run':
    numbers = np.asarray(trace['customdata'])
    assert len(numbers) == len(trace['x'])
    assert numbers.dtype.kind == 'i'
    assert runs is None or set(numbers.tolist()) <= set(runs.number.tolist())
  if trace.get('mode') == 'markers':
    assert np.isfinite(np.asarray(trace['x'], float)).all()
    assert np.isfinite(np.asarray(trace['y'], float)).all()
    # Long columns have to be arrays, which are packed in the page.
    assert isinstance(trace['x'], np.ndarray) or len(trace['x']) < 256


def check_text(path: tuple[str, ...], value: str) -> None:
  """Checks a text of a figure: colour tokens exist, and there is no markup."""
  token = re.fullmatch(r'\$(\w+)(/[\d.]+)?', value)
  if value.startswith('$'):
    assert token and token[1] in style.PALETTES['light'], (path, value)
  assert '<b>' not in value, (path, value)
  is_color = 'color' in path[-1] and 'scale' not in path[-1]
  if is_color and value != 'rgba(0,0,0,0)':
    assert token, (path, value)


def leaves(value: object, path=('',)) -> Iterator[tuple[tuple[str, ...], object]]:
  """Yields every value in nested dicts and lists, with the keys that lead to it."""
  if isinstance(value, dict):
    for key, inner in value.items():
      yield from leaves(inner, (*path, key))
  elif isinstance(value, (list, tuple)):
    for inner in value:
      yield from leaves(inner, path)
  else:
    yield path, value


# --- colours ------------------------------------------------------------------------


def with_theme(figure: Figure, theme: str = 'light') -> dict[str, JSON]:
  """Returns a figure as Plotly takes it, with the colours of a theme."""
  margins = figure.layout.get('margin', {})
  titled = {
    **figure.layout,
    'height': figure.height,
    'title': {'text': style.plain_text(figure.title)},
    'margin': {**margins, 't': 60},
  }
  palette = style.PALETTES[theme]
  return {
    'data': _replace_colours(to_strict_json(list(figure.data)), palette),
    'layout': _replace_colours(to_strict_json(titled), palette),
  }


def _replace_colours(value: JSON, palette: Mapping[str, str], key: str = '') -> JSON:
  """Replaces the tokens of colours, such as '$blue/0.5', by the colours of a palette."""
  if isinstance(value, dict):
    return {name: _replace_colours(v, palette, name) for name, v in value.items()}
  if isinstance(value, list):
    return [_replace_colours(item, palette, key) for item in value]
  if not isinstance(value, str) or 'color' not in key:
    return value
  # '$name' or '$name/opacity'. The palette has #rrggbb.
  token = re.fullmatch(r'\$(\w+)(?:/([\d.]+))?', value)
  if token is None:
    return value
  colour = palette[token[1]]
  if not token[2]:
    return colour
  channels = ','.join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))
  return f'rgba({channels},{token[2]})'
