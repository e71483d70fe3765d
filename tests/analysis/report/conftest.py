"""Reports that the tests of this folder render: a small one, one whose every string is an attack, one of many runs."""

import numpy as np
import pytest

from lmhp.analysis.findings import Finding
from lmhp.analysis.report.document import Figure, Report, Section, Table, Text, View
from lmhp.analysis.report.figures import style as drawing

# '</script x' ends a script without '>', and '<!--<script' hides the end of the one it stands in.
ATTACK = (
  '<!--<script </script x><script>window.hacked = true</script><img src=x onerror="window.hacked = true"> '
  '"\'|`*\u2028'
)


def made(n_runs=6, n_points=60, word='', **fields):
  """A report of a study of `n_runs`, with `word` in each of its strings."""
  rng, say = np.random.default_rng(0), lambda text: f'{text}{word}'
  rates, runs = 10 ** rng.uniform(-4, -1, n_runs), np.arange(n_runs)
  losses = 3 + 0.4 * (np.log10(rates) + 2.5) ** 2 + 0.05 * rng.standard_normal(n_runs)
  steps = np.linspace(0, 600, n_points)
  curves = (
    losses[:, None]
    + 4 * np.exp(-steps / 120)
    + 0.03 * rng.standard_normal((n_runs, n_points))
  )
  joined = lambda rows: np.c_[rows, np.full(n_runs, np.nan)].ravel()
  of_curves = {
    'type': 'scatter',
    'mode': 'lines',
    'name': say('runs'),
    'meta': 'run',
    'x': joined(np.broadcast_to(steps, curves.shape)),
    'y': joined(curves),
    'customdata': np.repeat(runs, n_points + 1),
    'line': {'width': 1, 'color': '$muted/0.3'},
    'hovertemplate': 'run %{customdata}<extra></extra>',
  }
  of_runs = {
    'type': 'scatter',
    'mode': 'markers',
    'name': say('trials'),
    'meta': 'run',
    'x': rates,
    'y': losses,
    'customdata': runs,
    'marker': {'color': '$blue', 'symbol': 'circle', 'size': 9},
  }
  views = (
    View(say('by rate'), [{}]),
    View(say('by run'), [{'x': runs}], {'xaxis': {'type': 'linear'}}),
  )
  label = drawing.label(say('loss'))
  sections = (
    Section(
      'rate',
      say('Learning rate'),
      (
        Text(say('What the rate does.')),
        Figure(
          'response',
          say('Loss against learning rate'),
          say('Each point is a run.'),
          [of_runs],
          drawing.layout(
            drawing.axis(say('learning rate'), True, rates), drawing.axis(label)
          ),
          320,
          views,
        ),
        Table(
          'rates',
          say('Rates'),
          [('trial', '', 'run'), ('loss', 'nats'), (say('name'), '', 'text')],
          [(2, 3.5, say('b')), (0, None, say('a')), (1, 12.25, say('c'))],
          say('Three of them.'),
        ),
      ),
    ),
    Section(
      'curves',
      say('Training'),
      (
        Figure(
          'curves',
          say('Training curves'),
          say('Loss by step.'),
          [of_curves],
          drawing.layout(drawing.axis('step'), drawing.axis('loss')),
        ),
      ),
    ),
  )
  findings = (
    Finding('seen', 'note', say('A note.')),
    Finding(
      'best',
      'answer',
      say('The best rate is 0.003.'),
      say('Of 6 runs.'),
      {say('loss_nats'): 3.1, 'n': 6},
      (say('optimizer.learning_rate'),),
      (0, 1),
      {say('optimizer.learning_rate'): {'low': 1e-3, 'high': 1e-1, 'log': True}},
    ),
  )
  trials = Table(
    'trials',
    say('Trials'),
    [
      ('trial', '', 'run'),
      ('learning_rate', ''),
      ('loss', 'nats'),
      ('status', '', 'text'),
    ],
    [
      (int(i), rates[i], losses[i] if i != 1 else np.nan, say('complete')) for i in runs
    ],
  )
  configs = {
    int(i): {
      'optimizer': {'learning_rate': float(rates[i]), 'name': 'adamw'},
      'data.path': say('text.txt'),
      'optimizer.clip_norm': float('inf'),
    }
    | {f'model.field_{k}': k for k in range(100)}
    for i in runs
  }
  parts = dict(
    title=say('A study'),
    answer=[say('The best is 3.1 nats.'), say('It holds.'), say('Try more.')],
    findings=findings,
    sections=sections,
    trials=trials,
    configs=configs,
    method=[say('Halton points.')],
    caveats=[say('One seed.')],
    about={say('command'): say('lmhp sweep'), 'versions': {'lmhp': say('0.1')}},
  )
  return Report(**parts | fields)


@pytest.fixture(scope='session')
def report_of():
  """`report_of(n_runs, n_points, word, **fields)`: a report."""
  return made


@pytest.fixture(scope='session')
def attack():
  """A string that becomes a script, an image or a cell wherever it is not escaped."""
  return ATTACK
