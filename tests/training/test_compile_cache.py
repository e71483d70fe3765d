"""Compiled programs: each is compiled once, and deterministically on a GPU."""

import threading

import jax
import numpy as np
import pytest

from lmhp.training import compile_cache
from lmhp.training.compile_cache import ProgramCache, compile_deterministic


def test_threads_that_need_a_program_at_once_compile_it_once():
  cache = ProgramCache()
  gate = threading.Event()
  builds = []

  def build():
    gate.wait(5)
    builds.append(1)
    return len

  threads = [threading.Thread(target=lambda: cache.get('a', build)) for _ in range(3)]
  for thread in threads:
    thread.start()
  gate.set()
  for thread in threads:
    thread.join()
  assert len(builds) == 1
  assert cache.get('a', build) is len
  assert 'a' in cache
  assert cache.compile_seconds > 0


def test_a_build_that_fails_is_tried_again():
  cache = ProgramCache()

  def fail():
    raise MemoryError

  with pytest.raises(MemoryError):
    cache.get('a', fail)
  assert 'a' not in cache
  assert cache.get('a', lambda: len) is len


def test_a_gpu_gets_the_option_for_deterministic_scatters(monkeypatch):
  """XLA knows the option: it compiles with it here too, and refuses an unknown one."""
  lowered = jax.jit(lambda x: x + 1).lower(np.float32(1))
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  assert compile_deterministic(lowered)(np.float32(1)) == 2
  unknown = {'xla_gpu_no_such_option': True}
  monkeypatch.setattr(compile_cache, 'DETERMINISTIC_SCATTERS', unknown)
  with pytest.raises(jax.errors.JaxRuntimeError, match='no_such_option'):
    compile_deterministic(lowered)


@pytest.mark.parametrize('name, expected', [('off', None), ('/tmp/x', '/tmp/x')])
def test_the_environment_names_the_directory_of_the_cache(monkeypatch, name, expected):
  monkeypatch.setenv('LMHP_COMPILE_CACHE', name)
  assert compile_cache.compile_cache_directory() == expected
