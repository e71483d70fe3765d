"""The answer of runs whose objective is the number of steps to a target, over batch sizes.

The largest batch needs the fewest steps, so no batch size is simply the best one. The answer is
the critical batch size, at each combination of the other sizes (such as parameters).
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import math

import numpy as np

from lmhp.analysis.findings import Finding
from lmhp.analysis.phrases import Estimate, amount, counted, listed
from lmhp.analysis.runs.role_relations import BATCHES, counts_steps_to_target
from lmhp.analysis.runs.table import Runs
from lmhp.analysis.scaling.critical_batch_size import CriticalBatch, critical_batch_size
from lmhp.analysis.scaling.power_laws import fit_power_law

MAX_NAMED = 6
"""Number of critical batch sizes that the answer names."""
MIN_SIZES = 3
"""Smallest number of sizes at which the answer has an exponent."""


def critical_batch_sizes(runs: Runs, blank: Finding) -> Finding | None:
  """Returns the critical batch size at each combination of the other sizes, as the answer.

  Args:
    runs: Table of runs.
    blank: Finding whose runs and axes the answer has.

  Returns:
    The answer. None if the objective counts no steps, or the batch size was not varied.
  """
  batch = next((name for name in runs.sizes if name in BATCHES), None)
  if batch is None or not counts_steps_to_target(runs.objective_name):
    return None
  complete = runs.complete_runs()
  others = [name for name in runs.sizes if name != batch]
  fits = _fits(complete, batch, others)
  if not fits:
    return None
  named = []
  for sizes, fit in fits.items():
    value = Estimate(
      fit.batch_size, fit.batch_size_low, fit.batch_size_high, fit.confidence
    )
    place = listed([f'{amount(v)} {name}' for name, v in zip(others, sizes)])
    named.append(f'{value} at {place}' if place else str(value))
  title = (
    f'{runs.objective_name} follows S (1 + B / {batch}), so the largest batch always needs the '
    f'fewest steps. The critical batch size B is {listed(named, MAX_NAMED)}'
  )
  growth = _growth(fits, others)
  return dataclasses.replace(
    blank,
    kind='critical_batch_sizes',
    title=f'{title}, and grows as {growth}.' if growth else f'{title}.',
    evidence=(
      f'From {counted(len(complete), "run")}. S is the fewest steps, with very large batches. '
      'At the critical batch size, a run needs twice the fewest steps and twice the fewest '
      'examples.'
    ),
    numbers={'critical_batch_sizes': [fit.batch_size for fit in fits.values()]},
  )


def _fits(
  runs: Runs, batch: str, others: list[str]
) -> Mapping[tuple[float, ...], CriticalBatch]:
  """Returns the fit at each combination of the other sizes, if it has a finite result."""
  rows: dict[tuple[float, ...], list[int]] = {}
  for row in range(len(runs)):
    sizes = tuple(float(runs.measured[name][row]) for name in others)
    rows.setdefault(sizes, []).append(row)
  fits = {}
  for sizes, group in sorted(rows.items()):
    fit = critical_batch_size(runs.measured[batch][group], runs.losses[group])
    if math.isfinite(fit.batch_size):
      fits[sizes] = fit
  return fits


def _growth(fits: Mapping[tuple[float, ...], CriticalBatch], others: list[str]) -> str:
  """Returns the power law of the critical batch size in the other size.

  It is empty if there is no other size, or more than one, or fewer than `MIN_SIZES` values.
  """
  if len(others) != 1 or len(fits) < MIN_SIZES:
    return ''
  x = np.array([sizes[0] for sizes in fits])
  law = fit_power_law(x, [fit.batch_size for fit in fits.values()])
  low, high = law.intervals['exponent']
  return f'{others[0]}^{Estimate(law.exponent, low, high, law.confidence)}'
