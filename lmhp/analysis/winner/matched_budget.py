"""What the runs of a study had the same amount of: said first, since what wins at equal steps may lose at equal tokens."""

from __future__ import annotations

import numpy as np

from lmhp.analysis.phrases import listed
from lmhp.analysis.runs.table import Runs
from lmhp.statistics.number_format import format_number

AMOUNTS = ('steps', 'tokens', 'flops', 'seconds')
TOLERANCE = {'steps': 0.0, 'tokens': 0.0, 'flops': 1e-6, 'seconds': 0.1}
"""How far amounts may be apart and still count as equal, as a share: seconds are measured."""

_UNITS = {'steps': 'steps', 'tokens': 'tokens', 'flops': 'FLOPs', 'seconds': 'seconds'}


def describe_matched_budget(runs: Runs) -> dict[str, tuple[float, float]]:
  """Of each amount that is known, its smallest and its largest over the runs that came to their end.

  >>> runs = Runs(
  ...   'x', {}, {}, np.array([1.0, 2.0]), measured={'steps': np.array([10.0, 10.0])}
  ... )
  >>> describe_matched_budget(runs)
  {'steps': (10.0, 10.0)}
  """
  done, found = runs.complete(), {}
  for name in AMOUNTS:
    amounts = done.measured.get(name, np.array([]))
    amounts = amounts[np.isfinite(amounts)]
    if len(amounts):
      found[name] = (float(amounts.min()), float(amounts.max()))
  return found


def equal(span: tuple[float, float], name: str) -> bool:
  """Whether a smallest and a largest amount count as equal."""
  low, high = span
  return high - low <= TOLERANCE[name] * max(abs(high), 1e-300)


def in_words(runs: Runs) -> str:
  """One sentence; it says so where nothing is known.

  >>> runs = Runs(
  ...   'x',
  ...   {},
  ...   {},
  ...   np.array([1.0, 2.0]),
  ...   measured={'steps': np.array([10.0, 10.0]), 'tokens': np.array([80.0, 160.0])},
  ... )
  >>> in_words(runs)
  'Runs are compared at equal steps (10); their tokens differ (80 to 160).'
  """
  spans, declared = describe_matched_budget(runs), runs.about.get('match_budget')
  spans = {
    name: span
    for name, span in spans.items()
    if name != 'seconds' or declared == 'seconds'
  }
  same = [
    f'{_UNITS[n]} ({format_number(s[0])})' for n, s in spans.items() if equal(s, n)
  ]
  other = [
    f'{_UNITS[n]} differ ({format_number(s[0])} to {format_number(s[1])})'
    for n, s in spans.items()
    if not equal(s, n)
  ]
  if not spans:
    return 'What the runs had the same amount of (steps, tokens, FLOPs, time) is not recorded.'
  if not same:
    return f'Runs had no equal amount of anything recorded: their {listed(other)}.'
  tail = f'; their {listed(other)}' if other else ''
  return f'Runs are compared at equal {listed(same)}{tail}.'
