"""The progress of a run in a terminal, in a pipe, in a notebook; and the summary at its end."""

import io
import logging
import re
import sys
import types
import xml.etree.ElementTree as ElementTree

import pytest

from lmhp.errors import ConfigError
from lmhp.training.progress import display, notebook

LOG = logging.getLogger('lmhp.training.checkpoint')


@pytest.fixture
def clock(monkeypatch):
  """A clock that goes only when told."""
  now = types.SimpleNamespace(seconds=1000.0)
  monkeypatch.setattr(display.time, 'monotonic', lambda: now.seconds)
  return now


def test_plain_lines_every_few_seconds_and_the_last(clock, capsys):
  with display.progress(100, 'train', mode='plain', first_step=20) as show:
    for step in range(30, 100, 10):
      clock.seconds += 2.0
      evaluated = {'eval_loss_nats': 2} if step == 40 else {}
      show.update(
        step, {'loss_nats': step / 100, 'tokens_per_second': 12345.6, **evaluated}
      )
  said = capsys.readouterr().out.splitlines()
  assert all(
    re.match(r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  train  step ', line) for line in said
  )
  assert [int(re.search(r'step (\d+) of 100', line)[1]) for line in said] == [
    30,
    60,
    90,
  ]
  assert said[1].endswith('loss 0.6000  tokens/s 12,346  eval loss 2.0000  0:08 left')
  assert not any(ord(c) < 32 for c in ''.join(said))


def test_plain_says_the_last_step_once(clock, capsys):
  with display.progress(2, 'train', mode='plain') as show:
    show.update(1, {})
    show.update(2, {})
  assert len(capsys.readouterr().out.splitlines()) == 2


def test_log_records_go_through_the_display(capsys, caplog):
  with display.progress(10, 'train', mode='plain') as show:
    show.message('two words')
    LOG.warning('damaged %d', 3)
  LOG.warning('after')
  said = capsys.readouterr().out.splitlines()
  assert [line.split('  ', 1)[1] for line in said] == [
    'two words',
    'warning: damaged 3',
  ]
  assert [r.getMessage() for r in caplog.records] == ['after']


class FakeTerminal(io.StringIO):
  def isatty(self):
    return True


def test_terminal_has_a_bar_and_messages_above_it(monkeypatch):
  monkeypatch.setenv('TERM', 'xterm')
  monkeypatch.setenv('COLUMNS', '120')
  monkeypatch.setattr(sys, 'stdout', FakeTerminal())
  with display.progress(1000, 'train') as show:
    show.update(500, {'loss_nats': 1.25})
    show.message('a [bold]word[/bold]')
    LOG.warning('careful')
  text = re.sub(r'\x1b\[[0-9;?]*[a-zA-Z]', '', sys.stdout.getvalue())
  assert 'a [bold]word[/bold]' in text and 'warning: careful' in text
  assert re.search(r'train ━+.* 500/1,000 loss 1.2500', text)


def test_none_is_silent(capsys):
  with display.progress(10, 'train', mode='none') as show:
    show.update(5, {'loss_nats': 1.0})
    show.message('x')
  assert capsys.readouterr().out == ''


def test_auto_is_plain_in_a_pipe(capsys):
  with display.progress(10, 'train') as show:
    show.update(10, {})
  assert 'step 10 of 10' in capsys.readouterr().out


def test_unknown_mode():
  with pytest.raises(
    ConfigError,
    match="mode: got 'plane', expected one of auto, .*; did you mean 'plain'",
  ):
    display.progress(10, 'x', mode='plane')


# --- notebook -------------------------------------------------------------------------------------------------------


@pytest.fixture
def page(monkeypatch):
  """What a notebook's page shows: the last HTML drawn at each place. IPython itself is no dependency."""
  shown = []

  def show(html, display_id):
    assert display_id is True
    shown.append([html])
    return types.SimpleNamespace(update=lambda html, here=shown[-1]: here.append(html))

  fake = types.ModuleType('IPython')
  fake.get_ipython = lambda: types.SimpleNamespace(config={'IPKernelApp': {}})
  fake.display = types.SimpleNamespace(HTML=str, display=show)
  monkeypatch.setitem(sys.modules, 'IPython', fake)
  return shown


def test_notebook_redraws_one_picture_in_place(page, clock, capsys):
  with display.progress(100, 'a < b') as show:
    for step in range(1, 101):
      clock.seconds += 0.1
      show.update(
        step,
        {'loss_nats': 5 - step / 25}
        | ({'eval_loss_nats': 3.0} if step % 50 == 0 else {}),
      )
    show.update(100, {'loss_nats': float('nan')})
    show.message('done')
  assert capsys.readouterr().out == 'done\n'
  assert len(page) == 1 and 10 <= len(page[0]) <= 16  # a second apart at least
  root = ElementTree.fromstring(page[0][-1].replace('<br>', ''))
  assert root.find('b').text == 'a < b'
  curves = {
    line.get('stroke'): line.get('points').split() for line in root.iter('polyline')
  }
  loss, evaluation = (curves[c] for c in notebook.COLORS)
  assert len(loss) == 100 and len(evaluation) == 2
  y = [float(p.split(',')[1]) for p in loss]
  assert (
    y == sorted(y) and 0 <= y[0] < y[-1] <= notebook.HEIGHT
  )  # a loss that falls, in pixels from the top
  assert (
    float(loss[-1].split(',')[0])
    == float(evaluation[-1].split(',')[0])
    == notebook.WIDTH
  )


def test_a_long_curve_is_thinned_but_keeps_its_end():
  points = [(i, float(i % 7)) for i in range(12345)]
  html = notebook.html('t', 0.5, 'w', {'loss': points, 'eval loss': []}, 12344)
  root = ElementTree.fromstring(html.replace('<br>', ''))
  (line,) = root.iter('polyline')
  drawn = line.get('points').split()
  assert notebook.MAX_POINTS / 2 < len(drawn) <= notebook.MAX_POINTS + 1
  assert drawn[-1].startswith(f'{notebook.WIDTH}.0,')


def test_ipython_in_a_terminal_is_no_notebook(page, monkeypatch):
  assert notebook.running()
  monkeypatch.setattr(
    sys.modules['IPython'], 'get_ipython', lambda: types.SimpleNamespace(config={})
  )
  assert not notebook.running()
  monkeypatch.setattr(sys.modules['IPython'], 'get_ipython', lambda: None)
  assert not notebook.running()


# --- summary --------------------------------------------------------------------------------------------------------

RESULT = {
  'final_eval_loss_nats': 1.89734,
  'final_eval_loss_nats_standard_error': 0.0123,
  'steps': 2000,
  'tokens': 1_536_000,
  'seconds': 3671.3,
  'compile_seconds': 3.2,
  'diverged_at': None,
}
COUNTS = {'embedding': 250, 'attention': 750, 'output': 0}


def test_summary():
  text = display.summary(RESULT, COUNTS, 'runs/x')
  assert '1.8973 ± 0.0123 nats per token' in text and 'diverged' not in text
  assert '2,000 steps, 1,536,000 tokens, in 1:01:11, of which 0:03 to compile' in text
  assert re.search(
    r'parameters +1,000\n  embedding +250 +25.0%\n  attention +750 +75.0%\nresults +runs/x ',
    text,
  )
  assert 'output' not in text
  assert re.search(
    r'diverged +at step 1,234\n',
    display.summary(RESULT | {'diverged_at': 1234}, COUNTS, 'x'),
  )
