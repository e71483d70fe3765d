"""Signals: a flag while a run holds them, and everything as before after it."""

import os
import pty
import signal
import subprocess
import sys
import threading

import pytest

from lmhp.training.signals import stop_on_signals


@pytest.fixture(autouse=True)
def python_handles_ctrl_c(signals_stay):
  """As in a terminal, even if the tests run in the background and Ctrl-C is ignored."""
  signal.signal(signal.SIGINT, signal.default_int_handler)


def send(number):
  os.kill(os.getpid(), number)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_sets_the_flag(number):
  with stop_on_signals() as stop:
    assert not stop
    assert stop.signal is None
    send(number)
    assert stop
    assert stop.signal == number


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_the_handlers_are_restored(number):
  previous = signal.getsignal(number)
  with stop_on_signals():
    assert signal.getsignal(number) is not previous
  assert signal.getsignal(number) == previous


def test_the_handlers_are_restored_after_an_exception():
  previous = signal.getsignal(signal.SIGTERM)
  with pytest.raises(ZeroDivisionError), stop_on_signals():
    raise ZeroDivisionError
  assert signal.getsignal(signal.SIGTERM) is previous


def test_a_second_ctrl_c_interrupts():
  with pytest.raises(KeyboardInterrupt), stop_on_signals() as stop:
    send(signal.SIGINT)
    assert stop
    send(signal.SIGINT)
  assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_after_sigterm_does_not_interrupt():
  with stop_on_signals() as stop:
    send(signal.SIGTERM)
    send(signal.SIGTERM)
    send(signal.SIGINT)
    assert stop.signal == signal.SIGINT


def test_an_ignored_signal_stays_ignored():
  previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
  try:
    with stop_on_signals() as stop:
      send(signal.SIGINT)
      assert not stop
      send(signal.SIGTERM)
      assert stop
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
  finally:
    signal.signal(signal.SIGINT, previous)


def test_in_another_thread_nothing_is_handled():
  flags = []

  def work():
    with stop_on_signals() as stop:
      flags.append(bool(stop))

  previous = signal.getsignal(signal.SIGTERM)
  thread = threading.Thread(target=work)
  thread.start()
  thread.join()
  assert flags == [False]
  assert signal.getsignal(signal.SIGTERM) is previous


CLOSED_TERMINAL = """
import time
from lmhp.training.signals import stop_on_signals
with stop_on_signals() as stop:
  print('ready', flush=True)
  while not stop:
    time.sleep(0.01)
  # The terminal is gone, so a write to it would raise an error.
  print('x' * 100_000, flush=True)
  with open('saved', 'w') as file:
    file.write(str(stop.signal))
"""


def test_a_closed_terminal_does_not_stop_the_save(tmp_path):
  main, terminal = pty.openpty()
  process = subprocess.Popen(
    [sys.executable, '-c', CLOSED_TERMINAL],
    stdout=terminal,
    stderr=terminal,
    cwd=tmp_path,
  )
  os.close(terminal)
  assert b'ready' in os.read(main, 100)
  os.close(main)
  process.send_signal(signal.SIGHUP)
  assert process.wait() == 0
  assert (tmp_path / 'saved').read_text() == str(int(signal.SIGHUP))
