"""Findings over several studies: power laws of best values in model size or tokens."""

from __future__ import annotations

from collections.abc import Sequence
import math

import numpy as np

from lmhp.analysis.analysis import Analysis
from lmhp.analysis.findings import Finding
from lmhp.analysis.phrases import amount, counted, interval_text, listed, sentence
from lmhp.analysis.scaling.power_laws import fit_power_law

SIZES = ('parameters', 'tokens')
SYMBOLS = {'parameters': 'N', 'tokens': 'D'}
PREDICTED_FACTOR = 10.0
"""A prediction is for this many times the largest size."""
MIN_STUDIES = 3


def power_laws(studies: Sequence[Analysis], confidence: float = 0.9) -> list[Finding]:
  """Fits the best value of each hyperparameter as a power law of model size or of tokens.

  Args:
    studies: Analyses of studies. Each study has one size: one number of parameters and one of
      tokens.
    confidence: Confidence of the intervals, Student's in logarithms.

  Returns:
    A finding for each hyperparameter with an optimum inside the range of at least three
    studies.
  """
  sizes = [size for size in SIZES if _n_different(studies, size) >= MIN_STUDIES]
  note = ''
  if len(sizes) == 2:
    # Both grow, so a law in one of them holds only if the other grows as in the studies.
    sizes = ['parameters']
    note = (
      ' Tokens differ between these studies too, and the law holds if they grow alike.'
    )
  names = dict.fromkeys(name for study in studies for name in study.optima)
  findings = []
  for name in names:
    for size in sizes:
      optima = _optima(studies, name, size)
      if len({own_size for own_size, _ in optima}) >= MIN_STUDIES:
        findings.append(_power_law(name, size, optima, confidence, note))
  return findings


def _optima(
  studies: Sequence[Analysis], name: str, size: str
) -> list[tuple[float, float]]:
  """Returns (size, best value of a log axis) of each study whose optimum is in the range."""
  optima = []
  for study in studies:
    optimum = study.optima.get(name)
    own_size = _size_of(study, size)
    # An optimum at a bound is not known, and a power law needs a log axis.
    if optimum is None or optimum.at_bound or not study.runs.axes[name].log:
      continue
    if math.isfinite(own_size) and math.isfinite(optimum.value) and optimum.value > 0:
      optima.append((own_size, optimum.value))
  return optima


def _size_of(study: Analysis, size: str) -> float:
  """Returns the one size of a study's runs. NaN if they differ."""
  sizes = study.runs.complete_runs().measured.get(size, np.array([]))
  sizes = sizes[np.isfinite(sizes)]
  if len(sizes) and np.ptp(sizes) <= 1e-9 * sizes[0]:
    return float(sizes[0])
  return math.nan


def _n_different(studies: Sequence[Analysis], size: str) -> int:
  sizes = {_size_of(study, size) for study in studies}
  return sum(map(math.isfinite, sizes))


def _power_law(
  name: str,
  size: str,
  optima: Sequence[tuple[float, float]],
  confidence: float,
  note: str,
) -> Finding:
  x, y = np.array(optima).T
  law = fit_power_law(x, y, confidence=confidence)
  low, high = law.intervals['exponent']
  # Predict the best value at a size beyond the largest one.
  at = PREDICTED_FACTOR * float(x.max())
  predicted = float(law.predict(at))
  predicted_low, predicted_high = (float(end) for end in law.interval(at))
  values = [
    f'{amount(value)} at {amount(own_size)}' for own_size, value in sorted(optima)
  ]
  evidence = f'From {counted(len(x), "study", "studies")} ({listed(values)})'
  if math.isfinite(predicted_low):
    evidence += '. The prediction has a '
    evidence += interval_text(predicted_low, predicted_high, confidence)
  evidence += (
    f'. The {confidence:.0%} interval of the exponent is {low:.2f} to {high:.2f}.'
  )
  if law.reason:
    evidence += f' {sentence(law.reason)}'
  evidence += (
    ' The law holds if all else stays equal, and is uncertain beyond the sizes that were '
    f'tried.{note}'
  )
  return Finding(
    kind='power_law',
    level='note',
    title=(
      f'The best {name} scales as {SYMBOLS[size]}^{law.exponent:.2f}: expect '
      f'{amount(predicted)} at {amount(at)} {size}.'
    ),
    evidence=evidence,
    numbers={
      'exponent': law.exponent,
      'exponent_low': low,
      'exponent_high': high,
      f'at_{size}': at,
      'predicted': predicted,
      'predicted_low': predicted_low,
      'predicted_high': predicted_high,
    },
    axes=(name,),
  )
