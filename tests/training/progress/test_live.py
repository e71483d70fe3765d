"""Live views: modes, drawing in a terminal and in a notebook, log records."""

import io
import logging
import re
import sys
import types

import pytest
from rich.text import Text

from lmhp.errors import ConfigError
from lmhp.training.progress import live

LOG = logging.getLogger('lmhp.training.checkpoint')


class FakeTerminal(io.StringIO):
  def isatty(self):
    return True


def fake_terminal(monkeypatch):
  """Makes a terminal of 120 columns the standard output. Call it inside the test.

  Pytest replaces the standard output between the fixtures and the test.
  """
  monkeypatch.setenv('TERM', 'xterm')
  monkeypatch.setenv('COLUMNS', '120')
  monkeypatch.setattr(sys, 'stdout', FakeTerminal())
  return sys.stdout


@pytest.fixture
def page(monkeypatch):
  """Output of a notebook: one list of HTML texts for each place. IPython is faked."""
  places = []

  def display(html, display_id):
    assert display_id is True
    place = [html]
    places.append(place)
    return types.SimpleNamespace(update=place.append)

  fake = types.ModuleType('IPython')
  fake.get_ipython = lambda: types.SimpleNamespace(config={'IPKernelApp': {}})
  fake.display = types.SimpleNamespace(HTML=str, display=display)
  monkeypatch.setitem(sys.modules, 'IPython', fake)
  return places


@pytest.fixture
def clock(monkeypatch):
  """A clock that only the test moves."""
  now = types.SimpleNamespace(seconds=1000.0)
  monkeypatch.setattr(live.time, 'monotonic', lambda: now.seconds)
  return now


def text_of(html):
  return re.sub(r'<[^>]*>', '', html)


# --- modes ----------------------------------------------------------------------------


def test_auto_is_plain_in_a_pipe():
  assert live.resolve_mode('auto') == 'plain'


def test_auto_is_terminal_in_a_terminal(monkeypatch):
  fake_terminal(monkeypatch)
  assert live.resolve_mode('auto') == 'terminal'


def test_auto_is_notebook_in_a_kernel(page, monkeypatch):
  fake_terminal(monkeypatch)
  assert live.resolve_mode('auto') == 'notebook'


@pytest.mark.parametrize('shell', [None, types.SimpleNamespace(config={})])
def test_ipython_in_a_terminal_is_no_notebook(page, monkeypatch, shell):
  monkeypatch.setattr(sys.modules['IPython'], 'get_ipython', lambda: shell)
  assert live.resolve_mode('auto') == 'plain'


def test_other_modes_stay(monkeypatch):
  fake_terminal(monkeypatch)
  for mode in ('terminal', 'plain', 'notebook', 'none'):
    assert live.resolve_mode(mode) == mode


def test_an_unknown_mode_is_refused_with_the_nearest():
  with pytest.raises(ConfigError, match="^display: got 'plane'.*'plain'"):
    live.resolve_mode('plane')


# --- views ----------------------------------------------------------------------------


def test_a_terminal_view_draws_and_prints_above(monkeypatch):
  terminal = fake_terminal(monkeypatch)
  view = live.live_view('terminal', lambda: Text('the view'))
  view.open()
  view.print('a [bold]word[/bold]')
  view.close()
  lines = re.sub(r'\x1b\[[0-9;?]*[a-zA-Z]', '', terminal.getvalue()).splitlines()
  assert 'a [bold]word[/bold]' in [line.strip() for line in lines]
  assert lines[-1].strip() == 'the view'


def test_a_notebook_view_is_replaced_in_one_place(page, clock, capsys):
  count = iter(range(100))
  view = live.live_view('notebook', lambda: Text(f'a < b {next(count)}'))
  view.open()
  for _ in range(40):
    clock.seconds += 0.1
    view.refresh()
  view.print('a message')
  view.close()
  assert capsys.readouterr().out == 'a message\n'
  assert len(page) == 1
  assert len(page[0]) == 1 + 4 + 1  # opened, once a second, closed
  assert text_of(page[0][-1]).strip() == 'a &lt; b 5'


# --- log records ----------------------------------------------------------------------


def test_log_records_go_to_the_function_while_it_is_open(caplog):
  messages = []
  with live.log_records_to(messages.append):
    LOG.warning('damaged %d', 3)
  LOG.warning('after')
  assert messages == ['warning: damaged 3']
  assert [record.getMessage() for record in caplog.records] == ['after']


def test_log_records_are_restored_after_an_error(caplog):
  with pytest.raises(ZeroDivisionError), live.log_records_to(print):
    raise ZeroDivisionError
  LOG.warning('after')
  assert [record.getMessage() for record in caplog.records] == ['after']
