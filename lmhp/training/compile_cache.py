"""Compiled programs by name, each compiled once in a process, whichever thread asks for it first."""

from __future__ import annotations

from concurrent import futures
import os
import threading
import time
from typing import Any, Callable, Hashable

import jax

SAME_BITS = {'xla_gpu_deterministic_ops': True}
"""On a GPU, added to a program's options: a scatter, which a table's gradient is, adds in one order every time."""

Program = Callable[..., Any]


class Compiled:
  """The programs of one structure.

  Attributes:
    seconds: spent on compiling, by whichever thread.
  """

  def __init__(self):
    self._programs: dict[Hashable, futures.Future] = {}
    self._lock = threading.Lock()
    self.seconds = 0.0

  def get(self, name: Hashable, compile_it: Callable[[], Program]) -> Program:
    """The program; compiled here where nobody has, waited for where another thread is at it."""
    with self._lock:
      mine = name not in self._programs
      future = self._programs.setdefault(name, futures.Future())
    if mine:
      start = time.perf_counter()
      try:
        future.set_result(compile_it())
      except BaseException as error:
        with self._lock:
          del self._programs[
            name
          ]  # another try may fare better, say at a smaller width
        future.set_exception(error)
      self.seconds += time.perf_counter() - start
    return future.result()

  def __getitem__(self, name: Hashable) -> Program:
    """A program that is there."""
    return self._programs[name].result()

  def __contains__(self, name: Hashable) -> bool:
    """Whether a program is there, or being compiled."""
    return name in self._programs


def executable(lowered: jax.stages.Lowered) -> Program:
  """A traced program compiled so that it gives the same bits whenever it runs on this hardware."""
  return lowered.compile(
    compiler_options=SAME_BITS
    if jax.default_backend() in ('gpu', 'cuda', 'rocm')
    else None
  )


def compile_cache_directory() -> str | None:
  """Returns the directory of the cache of compiled programs, or None if it is off.

  It is what the user gave to JAX, else $LMHP_COMPILE_CACHE, else ~/.cache/lmhp/compiled.
  """
  path = (
    jax.config.jax_compilation_cache_dir
    or os.environ.get('LMHP_COMPILE_CACHE')
    or os.path.expanduser('~/.cache/lmhp/compiled')
  )
  return None if path == 'off' else path


def use_compile_cache() -> None:
  """Keeps compiled programs on disk, unless $LMHP_COMPILE_CACHE is `off`.

  A directory that the user has given to JAX stays.
  """
  path = compile_cache_directory()
  if path is None or jax.config.jax_compilation_cache_dir:
    return
  jax.config.update('jax_compilation_cache_dir', path)
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', 0)
