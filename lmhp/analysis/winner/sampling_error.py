"""The sampling error of a rate, such as an accuracy, that was measured on few test items.

A rate over n items is a multiple of 1/n, so the values themselves show n if it is small. A column
of counts, such as `correct`, or of the number of items shows it at any size. The
standard error of a rate p is sqrt(p (1 - p) / n). It stays the same however many seeds are run.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from lmhp.analysis.runs.columns import number_column
from lmhp.analysis.runs.table import Runs
from lmhp.statistics.column_names import column_name

RATES = frozenset(
  """accuracy acc accs top1 top5 em success passrate winrate hits hr error err wer""".split()
)
"""Metrics that are a number of items divided by the number of all items."""
TOTALS = frozenset(
  """total n_items num_items n_questions num_questions n_test test_size n_test_samples
  num_test_samples""".split()
)
"""Names of a column that holds the number of items."""
TOTAL_ERROR = 0.05
"""Largest distance from whole numbers of the products of a total and rounded rates."""
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
  complete = runs.complete_runs()
  values = complete.objective
  largest = max(np.max(values, initial=0.0), rate)
  if np.min(values, initial=0.0) < 0 or not 0 < largest <= 100:
    return None
  scale = 1.0 if largest <= 1 else 100.0
  n_items = _counted_items(complete, values / scale)
  if n_items is None and RATES & set(column_name(runs.objective_name).words):
    n_items = _common_denominator(values / scale, scale)
  if n_items is None:
    return None
  share = min(max(rate / scale, 1 / n_items), 1 - 1 / n_items)
  error = scale * math.sqrt(share * (1 - share) / n_items)
  return SamplingError(n_items, error, float(np.ptp(values)))


def _counted_items(runs: Runs, rates: np.ndarray) -> int | None:
  """Returns the number of items that another column shows. None if no column does.

  A column such as `correct` is n times the rates (T,), and one such as `total` is n.
  """
  rows = [runs.configs.get(number, {}) for number in runs.number.tolist()]
  best = int(np.argmax(rates))
  for name in rows[best]:
    words = column_name(name)
    counts = number_column([row.get(name) for row in rows])
    if words.is_metric or not np.isfinite(counts).all():
      continue
    is_total = words.text in TOTALS and np.ptp(counts) == 0
    n_items = round(counts[best] if is_total else counts[best] / rates[best])
    products = n_items * rates
    is_counted = np.allclose(products, np.round(products), rtol=0, atol=TOTAL_ERROR)
    if is_total and is_counted:
      return n_items
    if len(np.unique(counts)) > 2 and np.array_equal(np.round(products), counts):
      return n_items
  return None


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
