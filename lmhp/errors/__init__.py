"""The error for a mistake of the user, and its one-line message.

A message has the place (a dotted path or a flag), the value, the accepted values, and the
nearest valid name: `model.norm: got 'rmsnrm', expected layernorm or rmsnorm; did you mean
'rmsnorm'?`.
"""

from __future__ import annotations

from collections.abc import Iterable
import difflib

from lmhp.errors.redaction import redact


class ConfigError(ValueError):
  """A mistake of the user in a config, a flag or a file, described in one line.

  Passwords and keys in the message are replaced by `***`.
  """

  def __init__(self, message: str) -> None:
    super().__init__(redact(message))


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
  except ValueError:
    # Python refuses to print an int of more than 4300 digits.
    shown = 'a number too long to print'
    near = ''
  return ConfigError(f'{path}: got {shown}, expected {accepted}{near}')
