"""Redaction of secrets: passwords and keys in URLs, in command lines and in messages.

All texts that lmhp stores, prints or shows on a page pass through `redact` or
`redact_command`. A secret is replaced by `***`. This file imports only the standard library.
"""

from __future__ import annotations

from collections.abc import Sequence
import re
from urllib import parse

MASK = '***'

_SECRET_NAME = re.compile(
  r'(?:password|passwd|passphrase|passcode|pwd|secret|credentials?'
  r'|(?:api|access|account|auth|private|secret|shared|sas)[_.-]?key'
  r'|(?:^|(?<!per)[_.-])(?:pass|token|apitoken|authorization|signature|sig|odbc_connect))$',
  re.IGNORECASE,
)
"""Matches the name of a variable, a flag or a part of a query that holds a secret.

A name such as `experts_per_token` is a number and not a secret."""

# The password of `scheme://user:password@host`. It may hold any character, so it ends at the
# last @. In a sentence, it ends at a blank. A URL of the web may hold a key without a user.
_PASSWORD_IN_WORD = re.compile(r'(?<=://)([^/@:]*):.*@', re.DOTALL)
_PASSWORD_IN_TEXT = re.compile(r'(?<=://)([^/@:\s]*):\S*@')
_KEY_AS_USER = re.compile(r'(https?://)[^/@:\s]+@')

# A pair of a query, such as `&password=x`.
_PAIR_IN_WORD = re.compile(r'([?&])([^=&]*)=([^&]*)')
_PAIR_IN_TEXT = re.compile(r'([?&])([^=&\s]*)=([^&\s\'"]*)')

# `name=value` outside a URL, and `"name": "value"` of JSON.
_ASSIGNMENT = re.compile(
  r'(?<![\w.?&-])([\w.-]+)(\s?=\s?)("[^"]*"|\'[^\']*\'|[^\s,;)}\]&]+)'
)
_JSON_ENTRY = re.compile(r'(["\'])([\w.-]+)(\1\s*:\s*)("[^"]*"|\'[^\']*\')')
_FLAG = re.compile(r'--?([\w.-]+)')


def redact(text: str) -> str:
  """Returns a text with `***` in place of each password or key.

  >>> redact('cannot open postgresql://me:secret@host/db?sslpassword=x&port=1')
  'cannot open postgresql://me:***@host/db?sslpassword=***&port=1'
  """
  text = _PASSWORD_IN_TEXT.sub(rf'\1:{MASK}@', text)
  return _redact_pairs(text, _PAIR_IN_TEXT)


def redact_url(url: str) -> str:
  """Returns a URL, or another single word, with `***` in place of each password or key.

  Passwords with blanks and quotes are replaced too, which `redact` cannot recognize in a
  sentence.
  """
  url = _PASSWORD_IN_WORD.sub(rf'\1:{MASK}@', url)
  return _redact_pairs(url, _PAIR_IN_WORD)


def redact_command(words: Sequence[str]) -> tuple[str, ...]:
  """Returns the words of a command line with `***` in place of each password or key.

  >>> redact_command(['train.py', '--api-key', 'x', '--storage=mysql://me:y@host/db'])
  ('train.py', '--api-key', '***', '--storage=mysql://me:***@host/db')
  """
  redacted: list[str] = []
  follows_secret_flag = False
  for word in words:
    if follows_secret_flag and not word.startswith('--'):
      redacted.append(MASK)
      follows_secret_flag = False
      continue
    name, equals, _ = word.partition('=')
    if equals and _is_secret(name):
      redacted.append(f'{name}={MASK}')
    else:
      redacted.append(redact_url(word))
    flag = _FLAG.fullmatch(word)
    follows_secret_flag = flag is not None and _is_secret(flag[1])
  return tuple(redacted)


def _redact_pairs(text: str, pair: re.Pattern[str]) -> str:
  """Replaces the keys of web URLs and the values of secret names."""

  def query_value(match: re.Match[str]) -> str:
    # A name may be percent-encoded.
    if _is_secret(parse.unquote(match[2])):
      return f'{match[1]}{match[2]}={MASK}'
    return match[0]

  def assigned_value(match: re.Match[str]) -> str:
    return f'{match[1]}{match[2]}{MASK}' if _is_secret(match[1]) else match[0]

  def json_value(match: re.Match[str]) -> str:
    if not _is_secret(match[2]):
      return match[0]
    quote = match[1]
    return f'{quote}{match[2]}{match[3]}{quote}{MASK}{quote}'

  text = _KEY_AS_USER.sub(rf'\1{MASK}@', text)
  text = pair.sub(query_value, text)
  text = _ASSIGNMENT.sub(assigned_value, text)
  return _JSON_ENTRY.sub(json_value, text)


def _is_secret(name: str) -> bool:
  return _SECRET_NAME.search(name) is not None
