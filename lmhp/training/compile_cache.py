"""Caches of compiled programs: one in memory for each structure, and JAX's cache on the disk.

A structure is the part of a config that is compiled into a program.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent import futures
import os
import threading
import time
from typing import Any, TypeVar

import jax

DETERMINISTIC_SCATTERS: dict[str, str | bool] = {'xla_gpu_deterministic_ops': True}
"""Compiler options on a GPU. A scatter, such as the gradient of an embedding table, then
adds its terms in the same order every time."""

Program = TypeVar('Program')


class ProgramCache:
  """Compiled programs of one structure, by key, such as 'chunk'.

  Several threads may use a cache at once.

  Attributes:
    compile_seconds: Time spent on compiling, summed over all threads.
  """

  def __init__(self) -> None:
    # The programs have several types. `get` returns the type that its caller builds.
    self._programs: dict[Hashable, futures.Future[Any]] = {}
    self._lock = threading.Lock()
    self.compile_seconds = 0.0

  def get(self, key: Hashable, build: Callable[[], Program]) -> Program:
    """Returns a program, and builds it if it does not exist.

    If several threads need a program at once, the first builds it and the others wait. If
    `build` fails, the error is raised in all of them. The next call tries again, for instance
    when less memory is in use.

    Args:
      key: Key of the program.
      build: Function that compiles the program.
    """
    # The thread that adds the future builds the program. The others wait for the future.
    with self._lock:
      is_new = key not in self._programs
      future = self._programs.setdefault(key, futures.Future())
    if is_new:
      start = time.perf_counter()
      try:
        future.set_result(build())
      except BaseException as error:
        # Remove the future, so that a later call can build the program.
        with self._lock:
          del self._programs[key]
        future.set_exception(error)
      self.compile_seconds += time.perf_counter() - start
    return future.result()

  def __contains__(self, key: Hashable) -> bool:
    """Returns True if a program exists or is being built."""
    return key in self._programs


def compile_deterministic(lowered: jax.stages.Lowered) -> jax.stages.Compiled:
  """Compiles a traced program that gives the same bits each time on this hardware."""
  is_gpu = jax.default_backend() in ('gpu', 'cuda', 'rocm')
  return lowered.compile(compiler_options=DETERMINISTIC_SCATTERS if is_gpu else None)


def compile_cache_directory() -> str | None:
  """Returns the directory of the cache of compiled programs, or None if the cache is off.

  JAX's option `jax_compilation_cache_dir` gives the directory. If it is not set,
  $LMHP_COMPILE_CACHE does. If neither is set, it is ~/.cache/lmhp/compiled. The value 'off' turns
  the cache off.
  """
  path = (
    _directory_of_jax()
    or os.environ.get('LMHP_COMPILE_CACHE')
    or os.path.expanduser('~/.cache/lmhp/compiled')
  )
  return None if path == 'off' else path


def use_compile_cache() -> None:
  """Keeps compiled programs on the disk, unless $LMHP_COMPILE_CACHE is `off`.

  If `jax_compilation_cache_dir` is set already, nothing changes.
  """
  path = compile_cache_directory()
  if path is None or _directory_of_jax():
    return
  jax.config.update('jax_compilation_cache_dir', path)
  # Keep all programs, also small ones and those that compile fast.
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', 0)


def _directory_of_jax() -> str | None:
  # JAX adds this attribute at run time.
  return jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
