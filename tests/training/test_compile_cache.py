"""Programs are compiled once, and on a GPU so that they give the same bits every time."""

import threading

import jax
import numpy as np

from lmhp.training import compile_cache as compiled
from lmhp.training.compile_cache import Compiled, executable


def test_one_compile_whoever_asks():
  kept, calls, gate = Compiled(), [], threading.Event()

  def compile_it():
    gate.wait(5)
    calls.append(1)
    return len

  threads = [
    threading.Thread(target=lambda: kept.get('a', compile_it)) for _ in range(3)
  ]
  for thread in threads:
    thread.start()
  gate.set()
  for thread in threads:
    thread.join()
  assert len(calls) == 1 and kept['a'] is len and 'a' in kept and kept.seconds > 0


def test_a_gpu_is_asked_for_the_same_bits(monkeypatch):
  """The option is one that XLA knows: with it a program compiles here too, and one that it does not know is refused."""
  lowered = jax.jit(lambda x: x + 1).lower(np.float32(1))
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  assert executable(lowered)(np.float32(1)) == 2
  monkeypatch.setattr(compiled, 'SAME_BITS', {'xla_gpu_no_such_option': True})
  try:
    executable(lowered)
  except jax.errors.JaxRuntimeError as error:
    assert 'no_such_option' in str(error)
  else:
    raise AssertionError('options do not reach the compiler')
