"""The sampling error of a rate, such as an accuracy, that was measured on few test items.

A rate over n items is a multiple of 1/n, so the values themselves show n if it is small. The
standard error of a rate p is sqrt(p (1 - p) / n). It stays the same however many seeds are run.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from lmhp.analysis.runs.table import Runs
from lmhp.statistics.column_names import column_name

RATES = frozenset(
  """accuracy acc accs top1 top5 em success passrate winrate hits hr error err wer""".split()
)
"""Metrics that are a number of items divided by the number of all items."""
MAX_ITEMS = 2000
CHANCE = 1e-3
"""Largest probability that arbitrary values look like multiples of 1/n for some n."""


@dataclasses.dataclass(frozen=True)
class SamplingError:
  """Sampling error of a rate.

  Attributes:
    n_items: Number of test items.
    standard_error: Standard error of the winner's rate, in the unit of the objective.
    spread: Largest difference between two results.
  """

  n_items: int
  standard_error: float
  spread: float


def sampling_error(runs: Runs, rate: float) -> SamplingError | None:
  """Returns the sampling error of the objective if it is a rate over few items.

  Args:
    runs: Table of runs.
    rate: Objective of the winner.

  >>> accuracies = np.array([0.7, 0.7025, 0.705, 0.7075, 0.71, 0.7175])
  >>> runs = Runs('s', {}, {}, accuracies, 'eval_acc', True)
  >>> error = sampling_error(runs, 0.7175)
  >>> error.n_items, round(error.standard_error, 4)
  (400, 0.0225)
  """
  if not RATES & set(column_name(runs.objective_name).words):
    return None
  values = runs.complete_runs().objective
  largest = max(np.max(values, initial=0.0), rate)
  if np.min(values, initial=0.0) < 0 or largest > 100:
    return None
  scale = 1.0 if largest <= 1 else 100.0
  n_items = _common_denominator(values / scale, scale)
  if n_items is None:
    return None
  share = min(max(rate / scale, 1 / n_items), 1 - 1 / n_items)
  error = scale * math.sqrt(share * (1 - share) / n_items)
  return SamplingError(n_items, error, float(np.ptp(values)))


def _common_denominator(rates: np.ndarray, scale: float) -> int | None:
  """Returns the smallest n for which all rates are multiples of 1/n, up to their rounding."""
  distinct = np.unique(rates)
  n_decimals = max(
    (len(repr(float(each * scale)).partition('.')[2]) for each in distinct), default=0
  )
  tolerance = 0.5 * 10.0**-n_decimals / scale + 1e-12
  for n in range(2, MAX_ITEMS + 1):
    # Probability that an arbitrary value is within the rounding of a multiple of 1/n.
    chance = min(1.0, 2 * n * tolerance)
    if n * chance ** (len(distinct) - 1) > CHANCE:
      return None
    if np.all(np.abs(distinct * n - np.round(distinct * n)) <= n * tolerance):
      return n
  return None
