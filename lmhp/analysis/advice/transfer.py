"""Findings over several sizes: power laws of best values in model size and tokens.

A group is a study, or the runs of one size in a table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
import math

import numpy as np

from lmhp.analysis.findings import Finding
from lmhp.analysis.hyperparameters.optimum import Optimum
from lmhp.analysis.phrases import amount, counted, interval_text, listed
from lmhp.analysis.runs.table import Runs
from lmhp.analysis.scaling.power_laws import fit_power_law
from lmhp.errors import ConfigError

SIZES = ('parameters', 'tokens')
SYMBOLS = {'parameters': 'N', 'tokens': 'D'}
PREDICTED_FACTOR = 10.0
"""A prediction is for this many times the largest size."""
MIN_RANGE = 2.0
"""Ratio of the largest to the smallest size from which an exponent is fitted."""
MIN_GROUPS = 3


@dataclasses.dataclass(frozen=True)
class SizedOptima:
  """Best values of the hyperparameters at one size.

  Attributes:
    sizes: {'parameters' or 'tokens': size}, if all runs have the same one.
    optima: Optimum of each log axis with a significant effect, inside its range.
  """

  sizes: Mapping[str, float]
  optima: Mapping[str, Optimum]


def optima_at_size(runs: Runs, optima: Mapping[str, Optimum]) -> SizedOptima:
  """Returns the best values that a law can use, with the sizes of the runs."""
  sizes = {}
  for name in SIZES:
    values = runs.complete_runs().measured.get(name, np.array([]))
    values = values[np.isfinite(values)]
    if len(values) and np.ptp(values) <= 0.1 * values[0]:
      sizes[name] = float(np.median(values))
  # An optimum at a bound is not known, and a power law needs a log axis.
  usable = {
    name: optimum
    for name, optimum in optima.items()
    if runs.axes[name].log and not optimum.at_bound and optimum.value > 0
  }
  return SizedOptima(sizes, usable)


def power_laws(groups: Sequence[SizedOptima], confidence: float = 0.9) -> list[Finding]:
  """Fits the best value of each hyperparameter as a power law of model size and of tokens.

  Args:
    groups: Best values at each size.
    confidence: Confidence of the intervals, which are Student's t intervals of logarithms.

  Returns:
    A finding for each hyperparameter with an optimum inside the range at three sizes or more.
    Its law has both sizes if they vary independently of each other.
  """
  names = dict.fromkeys(name for group in groups for name in group.optima)
  findings = []
  for name in names:
    with_name = [group for group in groups if name in group.optima]
    sizes = [size for size in SIZES if _is_varied(with_name, size)]
    for candidate in (sizes, sizes[:1]):
      usable = [group for group in with_name if set(candidate) <= set(group.sizes)]
      if not candidate or len(usable) < max(MIN_GROUPS, len(candidate) + 2):
        continue
      try:
        findings.append(_power_law(name, candidate, usable, confidence))
      except ConfigError:
        # The sizes grow in proportion, so one of them stands for both.
        continue
      break
  return findings


def laws_over_sizes(sized_optima: Sequence[SizedOptima]) -> list[Finding]:
  """Reports how the best values of a table move with the sizes of its runs."""
  return power_laws(sized_optima)


def _is_varied(groups: Sequence[SizedOptima], size: str) -> bool:
  """Returns True for a size with enough values that lie far enough apart for an exponent."""
  values = {group.sizes[size] for group in groups if size in group.sizes}
  return len(values) >= MIN_GROUPS and max(values) >= MIN_RANGE * min(values)


def _power_law(
  name: str, sizes: Sequence[str], groups: Sequence[SizedOptima], confidence: float
) -> Finding:
  x = np.zeros((len(groups), len(sizes)))
  for i, group in enumerate(groups):
    x[i] = [group.sizes[size] for size in sizes]
  y = np.array([group.optima[name].value for group in groups])
  symbols = [SYMBOLS[size] for size in sizes]
  law = fit_power_law(x, y, confidence=confidence, names=symbols)
  intervals = [law.intervals[symbol] for symbol in symbols]
  # Predict the best value at sizes beyond the largest ones.
  at = PREDICTED_FACTOR * x.max(0)
  predicted = float(law.predict(at if len(sizes) > 1 else at[0]))
  low, high = (float(v) for v in law.interval(at if len(sizes) > 1 else at[0]))
  factors = ' '.join(f'{s}^{e:.2f}' for s, e in zip(symbols, law.exponents.tolist()))
  place = ' and '.join(f'{amount(v)} {size}' for v, size in zip(at.tolist(), sizes))
  evidence = f'From {counted(len(y), "size")}'
  if math.isfinite(low):
    evidence += f'. The prediction has a {interval_text(low, high, confidence)}'
  exponents = listed(
    [f'{s} {a:.2f} to {b:.2f}' for s, (a, b) in zip(symbols, intervals)]
  )
  evidence += f'. {confidence:.0%} intervals of the exponents: {exponents}.'
  if law.reason:
    evidence += f' {law.reason[:1].upper()}{law.reason[1:]}.'
  evidence += (
    ' The law holds if all else stays equal, and is uncertain beyond the sizes that were '
    'tried.'
  )
  numbers: dict[str, object] = {
    'predicted': predicted,
    'predicted_low': low,
    'predicted_high': high,
  }
  for symbol, exponent, (a, b) in zip(symbols, law.exponents.tolist(), intervals):
    numbers |= {f'{symbol}': exponent, f'{symbol}_low': a, f'{symbol}_high': b}
  return Finding(
    kind='power_law',
    level='note',
    title=f'The best {name} scales as {factors}: expect {amount(predicted)} at {place}.',
    evidence=evidence,
    numbers=numbers,
    axes=(name,),
  )
