"""Signals: a flag while a run holds them, and everything as before when it lets go."""

import os
import signal
import threading

import pytest

from lmhp.training.signals import stop_on_signals


@pytest.fixture(autouse=True)
def python_has_ctrl_c(signals_stay):
  """As in a terminal, also where the tests run in the background and Ctrl-C is ignored."""
  signal.signal(signal.SIGINT, signal.default_int_handler)


def send(number):
  os.kill(os.getpid(), number)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_flag(number):
  before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
  with stop_on_signals() as stop:
    assert not stop and stop.signal is None
    send(number)
    assert stop and stop.signal == number
  assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_second_interrupt_interrupts():
  with pytest.raises(KeyboardInterrupt):
    with stop_on_signals() as stop:
      send(signal.SIGINT)
      assert stop
      send(signal.SIGINT)
  assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_terminating_twice_is_terminating_once():
  with stop_on_signals() as stop:
    send(signal.SIGTERM)
    send(signal.SIGTERM)
    send(signal.SIGINT)
    assert stop.signal == signal.SIGINT


def test_what_is_ignored_stays_ignored():
  before = signal.signal(signal.SIGINT, signal.SIG_IGN)
  try:
    with stop_on_signals() as stop:
      send(signal.SIGINT)
      assert not stop
      send(signal.SIGTERM)
      assert stop
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
  finally:
    signal.signal(signal.SIGINT, before)


def test_an_exception_gives_the_handlers_back():
  before = signal.getsignal(signal.SIGTERM)
  with pytest.raises(ZeroDivisionError):
    with stop_on_signals():
      1 / 0
  assert signal.getsignal(signal.SIGTERM) is before


def test_in_another_thread_the_flag_stays_down():
  seen = []

  def work():
    with stop_on_signals() as stop:
      seen.append(bool(stop))

  before = signal.getsignal(signal.SIGTERM)
  thread = threading.Thread(target=work)
  thread.start()
  thread.join()
  assert seen == [False] and signal.getsignal(signal.SIGTERM) is before
