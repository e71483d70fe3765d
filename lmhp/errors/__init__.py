"""The error for a mistake of the user, and its one-line message.

A message has the place (a dotted path or a flag), the value, the accepted values, and the
nearest valid name: `model.norm: got 'rmsnrm', expected layernorm or rmsnorm; did you mean
'rmsnorm'?`.
"""

from __future__ import annotations

from collections.abc import Iterable
import difflib
import errno
import re

from lmhp.errors.redaction import redact

MAX_CHARACTERS = 1400
"""Length of a message above which its middle is left out."""


class ConfigError(ValueError):
  """A mistake of the user in a config, a flag or a file, described in one line.

  A message may contain names and values from outside. So passwords and keys in it are replaced by
  `***`, control characters by their escape sequences, and the middle of a very long message by
  `...`.
  """

  def __init__(self, message: str) -> None:
    super().__init__(_one_line(redact(message)))


def _one_line(message: str) -> str:
  """Returns a message as one line of limited length that every terminal can print."""
  if len(message) > MAX_CHARACTERS:
    half = MAX_CHARACTERS // 2
    message = f'{message[:half]} ... {message[-half:]}'
  if message.isprintable():
    return message
  # `repr` escapes all characters that are not printable.
  return ''.join(c if c.isprintable() else repr(c)[1:-1] for c in message)


def suggest(name: object, names: Iterable[object]) -> str:
  """Returns `; did you mean X?` for the nearest of `names`, or an empty string.

  >>> suggest('adamm', ('sgd', 'adamw'))
  "; did you mean 'adamw'?"
  """
  candidates = [str(candidate) for candidate in names]
  near = difflib.get_close_matches(str(name), candidates, n=1, cutoff=0.6)
  return f'; did you mean {near[0]!r}?' if near else ''


def wrong_value(
  path: str, value: object, accepted: str, names: Iterable[object] = ()
) -> ConfigError:
  """Builds the error for a value that is not accepted.

  Args:
    path: Dotted path of the key, or name of the flag.
    value: The value that is not accepted.
    accepted: Description of the accepted values, such as "at least 1".
    names: Valid names. The message suggests the nearest one, if one is similar to `value`.
  """
  try:
    shown = repr(value)
    near = suggest(value, names)
  except Exception:
    # Python refuses to print an int of more than 4300 digits and very deep lists, and the object
    # of a user may raise any error.
    shown = f'a value of type {type(value).__name__} that cannot be printed'
    near = ''
  return ConfigError(f'{path}: got {shown}, expected {accepted}{near}')


_OUT_OF_MEMORY = re.compile(
  r'resource_?\s?exhausted|out of memory|out_of_memory|\boom\b|bad_alloc|ran out of .*memory|'
  r'(failed|unable|cannot|could not|not able) to (allocate|reserve)|'
  r'(cannot|failed to|could not) (allocate|reserve) memory|not enough .*memory|'
  r'insufficient .*memory|memory (is )?exhausted|exceeds? .*(memory|hbm)|'
  r'running low on memory',
  re.IGNORECASE,
)
"""Words of XLA, CUDA, ROCm, libtpu, NumPy, Ray and the C library for a lack of memory."""

_OUT_OF_DISK = re.compile(r'no space left|disk quota|file ?system', re.IGNORECASE)


def is_out_of_memory(error: BaseException) -> bool:
  """Returns True if the reason for an error, or for one behind it, is a lack of memory.

  XLA raises one class of errors for everything, and its backends describe a lack of memory in
  different words. So the text decides.

  >>> is_out_of_memory(RuntimeError('INTERNAL: Failed to allocate 34359738368 bytes'))
  True
  >>> is_out_of_memory(RuntimeError('RESOURCE_EXHAUSTED: No space left on device'))
  False
  """
  seen: set[int] = set()
  current: BaseException | None = error
  while current is not None and id(current) not in seen:
    seen.add(id(current))
    text = str(current)
    is_memory = isinstance(current, MemoryError) or (
      isinstance(current, OSError) and current.errno == errno.ENOMEM
    )
    # A ConfigError describes a mistake, whatever words it has.
    is_described = isinstance(current, (RuntimeError, OSError)) and (
      _OUT_OF_MEMORY.search(text) and not _OUT_OF_DISK.search(text)
    )
    if is_memory or is_described:
      return True
    current = current.__cause__ or current.__context__
  return False
