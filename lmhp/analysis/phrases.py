"""Numbers and lists in a sentence."""

from __future__ import annotations

from typing import Any, Sequence

from lmhp.statistics.number_format import format_number


def amount(value: float | None) -> str:
  """Returns a number as text for a sentence.

  >>> amount(0.00031234), amount(1228800.0), amount(None), amount(float('inf'))
  ('0.000312', '1,228,800', 'unknown', 'no bound')
  """
  return format_number(value, missing='unknown', infinite='no bound')


def nats(value: float, unit: str = 'nats') -> str:
  """An amount with its unit.

  >>> nats(0.5142), nats(0.2, '')
  ('0.514 nats', '0.2')
  """
  return f'{amount(value)} {unit}'.strip()


def listed(words: Sequence[str]) -> str:
  """'a, b and c'.

  >>> listed(['a']), listed(['a', 'b', 'c'])
  ('a', 'a, b and c')
  """
  words = list(words)
  return ' and '.join([', '.join(words[:-1]), words[-1]] if len(words) > 1 else words)


def p_words(p_value: float) -> str:
  """A p-value, as such are written.

  >>> p_words(0.0002), p_words(0.0314)
  ('p < 0.001', 'p = 0.031')
  """
  return 'p < 0.001' if p_value < 0.001 else f'p = {p_value:.2g}'


def setting(value: Any) -> str:
  """A hyperparameter's value in a sentence.

  >>> setting(0.0003), setting('cosine'), setting((1, 2))
  ('0.0003', 'cosine', '(1, 2)')
  """
  return (
    amount(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool)
    else str(value)
  )


def at_rung(rung: int | None) -> str:
  """A sentence where responses are not read at the end."""
  return (
    ''
    if rung is None
    else f' Read at step {rung:,}, since most trials were stopped early; later it may differ.'
  )
