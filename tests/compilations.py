"""Lists the programs that XLA compiles.

`jax.monitoring` cannot remove one listener before jax 0.8. So one listener is registered for
the whole test process, and it writes to the lists that are open.
"""

import contextlib

import jax

_OPEN: list[list[str]] = []


def _listen(name, seconds, **details):
  del seconds, details
  if name.endswith('backend_compile_duration'):
    for names in _OPEN:
      names.append(name)


jax.monitoring.register_event_duration_secs_listener(_listen)


@contextlib.contextmanager
def compilations():
  """Yields a list with one entry for each program that XLA compiles meanwhile."""
  names: list[str] = []
  _OPEN.append(names)
  try:
    yield names
  finally:
    # Two lists may be equal, so the list is found by its identity.
    _OPEN[:] = [other for other in _OPEN if other is not names]
