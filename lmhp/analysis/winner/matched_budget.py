"""The budgets that the runs of a study have in common.

A report states them first, since the winner at equal steps may lose at equal tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses

import numpy as np

from lmhp.analysis.phrases import listed
from lmhp.analysis.runs.table import Runs
from lmhp.statistics.number_format import format_number

TOLERANCE = {'steps': 0.0, 'tokens': 0.0, 'flops': 1e-6, 'seconds': 0.1}
"""Relative difference up to which budgets count as equal. Seconds are measured."""
UNITS = {'steps': 'steps', 'tokens': 'tokens', 'flops': 'FLOPs', 'seconds': 'seconds'}
"""{budget: name in a sentence}."""


@dataclasses.dataclass(frozen=True)
class BudgetRange:
  """Smallest and largest budget of the complete runs.

  Attributes:
    name: One of `UNITS`.
    low: Smallest budget.
    high: Largest budget.
  """

  name: str
  low: float
  high: float

  @property
  def is_equal(self) -> bool:
    """True if the smallest and the largest budget count as equal."""
    return self.high - self.low <= TOLERANCE[self.name] * max(abs(self.high), 1e-300)


def budget_ranges(runs: Runs) -> dict[str, BudgetRange]:
  """Returns the range of each budget that is recorded.

  >>> runs = Runs(
  ...   'x', {}, {}, np.array([1.0, 2.0]), measured={'steps': np.array([10.0, 10.0])}
  ... )
  >>> budget_ranges(runs)
  {'steps': BudgetRange(name='steps', low=10.0, high=10.0)}
  """
  complete = runs.complete_runs()
  ranges = {}
  for name in UNITS:
    amounts = complete.measured.get(name, np.array([]))
    amounts = amounts[np.isfinite(amounts)]
    if len(amounts):
      ranges[name] = BudgetRange(name, float(amounts.min()), float(amounts.max()))
  return ranges


def describe_budgets(runs: Runs) -> str:
  """Returns one sentence that states which budgets are equal and which differ.

  >>> runs = Runs(
  ...   'x',
  ...   {},
  ...   {},
  ...   np.array([1.0, 2.0]),
  ...   measured={'steps': np.array([10.0, 10.0]), 'tokens': np.array([80.0, 160.0])},
  ... )
  >>> describe_budgets(runs)
  'Runs are compared at equal steps (10); their tokens differ (80 to 160).'
  """
  ranges = budget_ranges(runs)
  # Seconds vary in any study, so they count only if the study matched them.
  if runs.facts.match_budget != 'seconds':
    ranges.pop('seconds', None)
  equal = [each for each in ranges.values() if each.is_equal]
  other = [each for each in ranges.values() if not each.is_equal]
  if not ranges:
    return 'The budget of the runs (steps, tokens, FLOPs or seconds) is not recorded.'
  different = listed(
    [
      f'{UNITS[e.name]} differ ({format_number(e.low)} to {format_number(e.high)})'
      for e in other
    ]
  )
  if not equal:
    return f'Runs have no recorded budget in common: their {different}.'
  same = listed([f'{UNITS[each.name]} ({format_number(each.low)})' for each in equal])
  tail = f'; their {different}' if other else ''
  return f'Runs are compared at equal {same}{tail}.'


def common_budgets(studies: Sequence[Mapping[str, BudgetRange]]) -> list[str]:
  """Returns the budgets that are equal within and between several studies."""
  common = []
  for name in UNITS:
    ranges = [study[name] for study in studies if name in study]
    if len(ranges) < len(studies) or not all(each.is_equal for each in ranges):
      continue
    # Equal within each study, and then equal between the studies.
    low = min(each.low for each in ranges)
    high = max(each.high for each in ranges)
    if BudgetRange(name, low, high).is_equal:
      common.append(name)
  return common
