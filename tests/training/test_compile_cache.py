"""Programs are compiled once, and on a GPU so that they give the same bits every time."""

import threading

import jax
import numpy as np

from lmhp.training import compile_cache as compiled
from lmhp.training.compile_cache import ProgramCache, compile_deterministic


def test_one_compile_whoever_asks():
  kept, calls, gate = ProgramCache(), [], threading.Event()

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
  assert len(calls) == 1 and kept.get('a', None) is len
  assert 'a' in kept and kept.compile_seconds > 0


def test_a_gpu_is_asked_for_the_same_bits(monkeypatch):
  """The option is one that XLA knows: with it a program compiles here too, and one that it does not know is refused."""
  lowered = jax.jit(lambda x: x + 1).lower(np.float32(1))
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  assert compile_deterministic(lowered)(np.float32(1)) == 2
  monkeypatch.setattr(
    compiled, 'DETERMINISTIC_SCATTERS', {'xla_gpu_no_such_option': True}
  )
  try:
    compile_deterministic(lowered)
  except jax.errors.JaxRuntimeError as error:
    assert 'no_such_option' in str(error)
  else:
    raise AssertionError('options do not reach the compiler')
