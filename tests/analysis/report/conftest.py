"""Reports that the tests of this folder render."""

import numpy as np
import pytest

from lmhp.analysis.findings import Finding, ProposedRange
from lmhp.analysis.report.document import (
  Column,
  Figure,
  Report,
  Section,
  Table,
  Text,
  View,
)
from lmhp.analysis.report.figures.style import layout, name_with_unit, plot_axis

# '</script x' ends a script without '>', and '<!--<script' hides the end of its script.
ATTACK = (
  '<!--<script </script x><script>window.hacked = true</script>'
  '<img src=x onerror="window.hacked = true"> "\'|`*\u2028'
)


def example_report(n_runs=6, n_points=60, word='', **fields):
  """Returns a report of a study.

  Args:
    n_runs: Number of runs.
    n_points: Points of each curve.
    word: Text that is appended to each string.
    **fields: Fields of the report that replace those of the example.
  """
  rng = np.random.default_rng(0)

  def text(words):
    return f'{words}{word}'

  rates = 10 ** rng.uniform(-4, -1, n_runs)
  runs = np.arange(n_runs)
  losses = 3 + 0.4 * (np.log10(rates) + 2.5) ** 2 + 0.05 * rng.standard_normal(n_runs)
  response = Figure(
    'response',
    text('Loss against learning rate'),
    text('Each point is a run.'),
    [markers(rates, losses, text('trials'))],
    layout(
      plot_axis(text('learning rate'), True, rates),
      plot_axis(name_with_unit(text('loss'))),
    ),
    320,
    (
      View(text('by rate'), [{}]),
      View(text('by run'), [{'x': runs}], {'xaxis': {'type': 'linear'}}),
    ),
  )
  rate_table = Table(
    'rates',
    text('Rates'),
    [
      Column('trial', kind='run'),
      Column('loss', 'nats'),
      Column(text('name'), kind='text'),
    ],
    [(2, 3.5, text('b')), (0, None, text('a')), (1, 12.25, text('c'))],
    text('Three of them.'),
  )
  curves = Figure(
    'curves',
    text('Training curves'),
    text('Loss by step.'),
    [curve_lines(losses, n_points, text('runs'), rng)],
    layout(plot_axis('step'), plot_axis('loss')),
  )
  sections = (
    Section(
      'rate',
      text('Learning rate'),
      (Text(text('The effect of the rate.')), response, rate_table),
    ),
    Section('curves', text('Training'), (curves,)),
  )
  findings = (
    Finding('note', 'note', text('A note.')),
    Finding(
      'best',
      'answer',
      text('The best rate is 0.003.'),
      text('Of 6 runs.'),
      {text('loss_nats'): 3.1, 'n': 6},
      (text('optimizer.learning_rate'),),
      (0, 1),
      {text('optimizer.learning_rate'): ProposedRange(1e-3, 1e-1, log=True)},
    ),
  )
  rows = []
  for i in runs.tolist():
    loss = losses[i] if i != 1 else np.nan
    rows.append((i, rates[i], loss, text('complete')))
  columns = [
    Column('trial', kind='run'),
    Column('learning_rate'),
    Column('loss', 'nats'),
    Column('status', kind='text'),
  ]
  parts = {
    'title': text('A study'),
    'answer': [text('The best is 3.1 nats.'), text('It holds.'), text('Try more.')],
    'findings': findings,
    'sections': sections,
    'trials': Table('trials', text('Trials'), columns, rows),
    'configs': {i: config(float(rates[i]), text('text.txt')) for i in runs.tolist()},
    'method': [text('Halton points.')],
    'caveats': [text('One seed.')],
    'about': {
      text('command'): text('lmhp sweep'),
      'versions': {'lmhp': text('0.1')},
    },
  }
  return Report(**parts | fields)


def markers(rates, losses, name):
  return {
    'type': 'scatter',
    'mode': 'markers',
    'name': name,
    'meta': 'run',
    'x': rates,
    'y': losses,
    'customdata': np.arange(len(rates)),
    'marker': {'color': '$blue', 'symbol': 'circle', 'size': 9},
  }


def curve_lines(losses, n_points, name, rng):
  n_runs = len(losses)
  steps = np.linspace(0, 600, n_points)
  noise = 0.03 * rng.standard_normal((n_runs, n_points))
  curves = losses[:, None] + 4 * np.exp(-steps / 120) + noise

  def joined(rows):
    return np.c_[rows, np.full(n_runs, np.nan)].ravel()

  return {
    'type': 'scatter',
    'mode': 'lines',
    'name': name,
    'meta': 'run',
    'x': joined(np.broadcast_to(steps, curves.shape)),
    'y': joined(curves),
    'customdata': np.repeat(np.arange(n_runs), n_points + 1),
    'line': {'width': 1, 'color': '$muted/0.3'},
    'hovertemplate': 'run %{customdata}<extra></extra>',
  }


def config(rate, path):
  keys = {f'model.field_{k}': k for k in range(100)}
  return {
    'optimizer.learning_rate': rate,
    'optimizer.name': 'adamw',
    'data.path': path,
    'optimizer.clip_norm': float('inf'),
    **keys,
  }


@pytest.fixture(scope='session')
def report_of():
  """Returns `example_report`."""
  return example_report


@pytest.fixture(scope='session')
def attack():
  """Returns a string that becomes a script, an image or a cell unless it is escaped."""
  return ATTACK
