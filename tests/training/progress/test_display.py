"""The progress of a run in a pipe, in a terminal and in a notebook."""

import io
import logging
import re
import sys
import time
import types

import pytest

from lmhp.training.progress import display, heartbeat
from lmhp.training.progress.display import training_progress

LOG = logging.getLogger('lmhp.training.checkpoint')


@pytest.fixture
def clock(monkeypatch):
  """A clock that only the test moves."""
  now = types.SimpleNamespace(seconds=1000.0)
  monkeypatch.setattr(display.time, 'monotonic', lambda: now.seconds)
  return now


def test_plain_prints_every_few_seconds_and_the_last_step(clock, capsys):
  with training_progress(100, 'train', mode='plain', first_step=20) as progress:
    for step in range(30, 100, 10):
      clock.seconds += 2.0
      metrics = {'loss_nats': step / 100, 'tokens_per_second': 12345.6}
      if step == 40:
        metrics['eval_loss_nats'] = 2
      progress.update(step, metrics)
  lines = capsys.readouterr().out.splitlines()
  pattern = r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  train  step (\d+) of 100'
  assert [int(re.match(pattern, line)[1]) for line in lines] == [30, 60, 90]
  assert lines[1].endswith('loss 0.6000  tokens/s 12,346  eval loss 2.0000  0:08 left')
  assert not any(ord(character) < 32 for character in ''.join(lines))


def test_plain_prints_the_last_step_once(clock, capsys):
  with training_progress(2, 'train', mode='plain') as progress:
    progress.update(1, {})
    # The loss of the last step, and then the final evaluation.
    progress.update(2, {'loss_nats': 3.0})
    progress.update(2, {'eval_loss_nats': 4.0})
  first, last = capsys.readouterr().out.splitlines()
  assert 'step 1 of 2' in first
  assert last.endswith('step 2 of 2  loss 3.0000  eval loss 4.0000')


def test_plain_prints_messages_and_log_records(capsys):
  with training_progress(10, 'train', mode='plain') as progress:
    progress.message('two words')
    LOG.warning('damaged %d', 3)
  lines = capsys.readouterr().out.splitlines()
  texts = [line.split('  ', 1)[1] for line in lines]
  assert texts == ['two words', 'warning: damaged 3']


def test_auto_in_a_pipe_prints_no_control_characters(capsys):
  with training_progress(10, 'train') as progress:
    progress.update(10, {'loss_nats': 1.25})
  output = capsys.readouterr().out
  assert len(output.splitlines()) == 1
  assert not any(ord(character) < 32 for character in output.rstrip('\n'))


def test_none_prints_nothing(capsys):
  with training_progress(10, 'train', mode='none') as progress:
    progress.update(5, {'loss_nats': 1.0})
    progress.message('x')
  assert capsys.readouterr().out == ''


class FakeTerminal(io.StringIO):
  def isatty(self):
    return True


def test_a_terminal_has_a_bar_with_metrics_and_messages_above_it(monkeypatch):
  monkeypatch.setenv('TERM', 'xterm')
  monkeypatch.setenv('COLUMNS', '120')
  monkeypatch.setattr(sys, 'stdout', FakeTerminal())
  with training_progress(1000, '[run]') as progress:
    progress.update(500, {'loss_nats': 1.25})
    progress.message('a [bold]word[/bold]')
    LOG.warning('careful')
  text = re.sub(r'\x1b\[[0-9;?]*[a-zA-Z]', '', sys.stdout.getvalue())
  assert 'a [bold]word[/bold]' in text
  assert 'warning: careful' in text
  assert re.search(r'\[run\] ━+.* 500/1,000 loss 1.2500', text)


def test_a_notebook_has_the_same_bar_in_one_place(monkeypatch, capsys):
  drawn = []

  def show(html, display_id):
    drawn.append(html)
    return types.SimpleNamespace(update=drawn.append)

  fake = types.ModuleType('IPython')
  fake.display = types.SimpleNamespace(HTML=str, display=show)
  monkeypatch.setitem(sys.modules, 'IPython', fake)
  with training_progress(1000, 'train', mode='notebook') as progress:
    progress.update(250, {'loss_nats': 1.25, 'eval_loss_nats': float('nan')})
    progress.message('a message')
  assert capsys.readouterr().out == 'a message\n'
  text = re.sub(r'<[^>]*>', '', drawn[-1])
  assert re.search(r'train ━+.* 250/1,000 loss 1.2500  eval loss nan', text)


def test_the_time_left_does_not_count_the_compilation(clock):
  state = display._RunState(100, 'train', first_step=0)
  # The first state is evaluated before the program of the training is compiled.
  state.update(0, {'eval_loss_nats': 5.0})
  clock.seconds += 50.0
  state.update(10, {})
  assert state.seconds_left() is None
  clock.seconds += 4.0
  state.update(30, {})
  assert state.seconds_left() == pytest.approx(4.0 / 20 * 70)


def test_plain_prints_a_line_while_nothing_happens(monkeypatch, capsys):
  monkeypatch.setattr(heartbeat, 'SILENT_SECONDS', 0.1)
  with training_progress(10, 'train', mode='plain') as progress:
    time.sleep(0.5)
    assert capsys.readouterr().out.count('step 0 of 10') >= 2
    progress.message('done')
  capsys.readouterr()
  time.sleep(0.3)
  assert capsys.readouterr().out == ''


@pytest.mark.parametrize('mode', ['plain', 'terminal', 'none'])
def test_what_comes_before_a_display_is_not_silent(monkeypatch, capsys, mode):
  monkeypatch.setattr(heartbeat, 'SILENT_SECONDS', 0.1)
  with heartbeat.announced('reading the data', mode):
    time.sleep(0.5)
  n_lines = capsys.readouterr().out.count('reading the data')
  assert n_lines == 0 if mode == 'none' else n_lines >= 2
