"""What carries over to a bigger model: how best values move with size and tokens from study to study."""

from __future__ import annotations

import math
from typing import Sequence

import numpy as np

from lmhp.analysis.analysis import Analysis
from lmhp.analysis.findings import Finding
from lmhp.analysis.phrases import amount, listed
from lmhp.analysis.scaling.power_laws import fit_power_law

SIZES = {'parameters': 'N', 'tokens': 'D'}
AHEAD = 10.0
"""How many times the largest size is predicted at."""
FEWEST = 3


def power_laws(found: Sequence[Analysis], confidence: float = 0.9) -> list[Finding]:
  """The best value of each hyperparameter as a power law of model size or of tokens, over studies that differ in one.

  Args:
    found: of studies, each of one size: those whose runs have one number of parameters and of tokens.
    confidence: of the intervals, Student's in logarithms.

  Returns:
    A finding for each hyperparameter of which three studies or more have an optimum inside what they tried.
  """
  out = []
  names = dict.fromkeys(one.axis.name for study in found for one in study.responses)
  sizes = {
    size: letter
    for size, letter in SIZES.items()
    if len(_distinct(found, size)) >= FEWEST
  }
  along = ''
  if len(sizes) == 2:  # both grow: a law of the one is along the path that both took
    sizes, along = (
      {'parameters': 'N'},
      ' Tokens differ between these studies too, and the law is along their path.',
    )
  for name in names:
    for size, letter in sizes.items():
      points = [
        (_amount(study, size), response.optimum.value)
        for study in found
        for response in study.responses
        if response.axis.name == name
        and response.axis.log
        and math.isfinite(response.optimum.value)
        and not response.optimum.at_bound
      ]
      points = [(x, y) for x, y in points if math.isfinite(x) and y > 0]
      if len({x for x, _ in points}) >= FEWEST:
        out.append(_finding(name, size, letter, *np.array(points).T, confidence, along))
  return out


def _amount(study: Analysis, size: str) -> float:
  """The one amount of a study's runs; NaN where they differ."""
  amounts = study.runs.complete().measured.get(size, np.array([]))
  amounts = amounts[np.isfinite(amounts)]
  return (
    float(amounts[0])
    if len(amounts) and np.ptp(amounts) <= 1e-9 * amounts[0]
    else math.nan
  )


def _distinct(found: Sequence[Analysis], size: str) -> set[float]:
  return {
    amount
    for amount in (_amount(study, size) for study in found)
    if math.isfinite(amount)
  }


def _finding(
  name: str,
  size: str,
  letter: str,
  x: np.ndarray,
  y: np.ndarray,
  confidence: float,
  along: str,
) -> Finding:
  law = fit_power_law(x, y, confidence=confidence)
  low, high = law.intervals['exponent']
  ahead = AHEAD * x.max()
  predicted, (at_low, at_high) = (
    float(law.predict(ahead)),
    (float(v) for v in law.interval(ahead)),
  )
  span = (
    f'; {confidence:.0%} interval {amount(at_low)} to {amount(at_high)}'
    if math.isfinite(at_low)
    else ''
  )
  return Finding(
    'power_law',
    'note',
    f'The best {name} goes as {letter} to the power {law.exponent:.2f}: expect {amount(predicted)} at '
    f'{amount(ahead)} {size}.',
    f'Of {len(x)} studies ({listed([f"{amount(b)} at {amount(a)}" for a, b in sorted(zip(x.tolist(), y.tolist()))])})'
    f'{span}; exponent {low:.2f} to {high:.2f}. '
    + (f'{law.reason}. ' if law.reason else '')
    + f'It holds where all else stays equal, and is a guess beyond what was tried.{along}',
    {
      'exponent': law.exponent,
      'exponent_low': low,
      'exponent_high': high,
      f'at_{size}': ahead,
      'predicted': predicted,
      'predicted_low': at_low,
      'predicted_high': at_high,
    },
    (name,),
  )
