"""Compute-optimal N and D against C, by isoFLOP parabolas.

Parabolas (approach 2 of Hoffmann et al. 2022) assume nothing about the law, and are biased. At
fixed C the law is no parabola in log N. With u = log(N / N_opt) it is

  E + k(C) (beta exp(-alpha u) + alpha exp(beta u)),

whose third derivative at 0 is alpha beta (beta^2 - alpha^2) k. If alpha and beta differ, or
the sizes are not centred on the optimum, the fitted minimum is off. The error grows with the
range of the sizes. So only sizes in a window around the minimum are fitted. If the sizes lie alike
around the optimum of each budget, all minima are off by one factor, which changes the
intercept and not the exponent. If the centring drifts with C, the
exponent is wrong too, even without noise. Source: arXiv 2603.22339, which recommends variable
projection (`lmhp.analysis.scaling.laws`). The third derivative is derived here.
`Isoflops.bias_factor` estimates the factor, and `bias_of_a` the error of the exponent.

Dimension key: n runs, B budgets, m runs of one budget.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import math
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from lmhp.analysis.scaling.estimates import UNKNOWN, Fit, usable_rows
from lmhp.analysis.scaling.laws import MIN_RUNS, variable_projection
from lmhp.analysis.scaling.power_laws import PowerLaw, fit_power_law
from lmhp.errors import ConfigError

MIN_SIZES = 4
"""Sizes per budget, one more than a parabola has coefficients."""
SAME_BUDGET = 0.1
"""Relative difference of C up to which runs count as one budget."""
BIAS = (
  'A parabola in log N is not the shape of a scaling law at fixed FLOPs: its minimum is off if '
  'sizes are wide or not centred on the optimum, and then so are the power laws, even without '
  'noise (arXiv 2603.22339).'
)
WINDOW = 8.0
"""Factor from the minimum within which sizes are fitted."""
MAX_ROUNDS = 10
"""Largest number of moves of the window to the fitted minimum."""
SLACK = 1e-3
"""Difference of exponents that does not count."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Isoflops(Fit):
  """Parabolas of the loss in log N, one per budget, and power laws of their minima.

  Its `estimates` are a and b. Their errors cover the scatter between budgets, and not the bias.

  Attributes:
    flops: (B,) budgets with a usable minimum.
    parameters: (B,) N at each minimum.
    tokens: (B,) D = C / 6N at each minimum.
    losses: (B,) loss at each minimum, in nats.
    coefficients: (B, 3) coefficients of the parabola c0 + c1 u + c2 u^2 in u = log N.
    n_fitted: (B,) number of runs that each parabola was fitted to.
    a: Exponent of N_opt in C. NaN if there are fewer than two budgets.
    b: Exponent of D_opt in C. NaN if there are fewer than two budgets.
    parameters_law: Power law of N_opt. Its intervals cover the scatter between budgets, and
      not the bias. None if there are fewer than two budgets.
    tokens_law: Power law of D_opt, likewise.
    bias_factor: (B,) factor by which a parabola would miss the minimum of the law that
      variable projection fits to the same runs, without noise. NaN if that law does not
      describe the runs: the exponent of parabolas through it is outside the interval of `a`.
    bias_of_a: Bias of the exponent, computed in the same way.
    outside: Budgets that are left out, because their minimum is beyond their smallest or
      largest size.
    without_minimum: Budgets with too few sizes, or without a minimum.
    caveat: The known bias, in a sentence.
  """

  FORMULA: ClassVar[str] = 'N_opt ~ C^a and D_opt ~ C^b, minima of parabolas in log N'
  ESTIMATES: ClassVar[tuple[str, ...]] = ('a', 'b')

  flops: np.ndarray
  parameters: np.ndarray
  tokens: np.ndarray
  losses: np.ndarray
  coefficients: np.ndarray
  n_fitted: np.ndarray
  a: float
  b: float
  parameters_law: PowerLaw | None
  tokens_law: PowerLaw | None
  bias_factor: np.ndarray
  bias_of_a: float
  outside: tuple[float, ...]
  without_minimum: tuple[float, ...]
  caveat: str = BIAS


def fit_isoflops(
  parameters: npt.ArrayLike,
  tokens: npt.ArrayLike,
  losses: npt.ArrayLike,
  flops: npt.ArrayLike | None = None,
  *,
  window: float = WINDOW,
  weights: npt.ArrayLike | None = None,
  confidence: float = 0.9,
) -> Isoflops:
  """Fits a parabola of the loss in log N per budget, and N_opt ~ C^a and D_opt ~ C^b.

  Args:
    parameters: (n,) N.
    tokens: (n,) D.
    losses: (n,) losses in nats.
    flops: (n,) FLOPs of each run. None takes 6 N D. Runs within 10% of their neighbour belong
      to one budget.
    window: Sizes within this factor of the minimum of a budget are fitted, or the 4 nearest ones
      if there are fewer. inf fits all. The default leaves out sizes at which the loss is no
      longer a parabola. With it, the exponents of Porian et al. 2024 (arXiv 2406.19146) on
      RefinedWeb (.835, .706, .602, .571, .497), which they found by interpolation, are in the
      90% intervals.
    weights: (n,) inverse variances of the losses, up to a common factor. None stands for equal
      weights. A run of weight 0 is left out. Budgets have equal weights in the power laws.
    confidence: Confidence of the intervals of the power laws.

  Raises:
    ConfigError: If a value is no number, columns differ in length, fewer than 6 runs can be used,
      or no budget has 4 sizes and a minimum.

  Source: Approach 2 of Hoffmann et al. 2022 (arXiv 2203.15556).

  >>> c, s = np.repeat([1e18, 1e19, 1e20], 5), np.tile([-1, -0.5, 0, 0.5, 1], 3)
  >>> n = 0.1 * c**0.5 * np.exp(s)
  >>> result = fit_isoflops(n, c / 6 / n, 2 + (c / 1e18) ** -0.1 + 0.05 * s**2)
  >>> round(result.a, 6), (result.parameters / 1e8).round(4).tolist()
  (0.5, [1.0, 3.1623, 10.0])
  """
  if not window > 1:
    raise ConfigError(f'window: got {window}, expected a factor above 1')
  columns = {'parameters': parameters, 'tokens': tokens, 'losses': losses}
  columns |= (
    {'weights': weights} if flops is None else {'flops': flops, 'weights': weights}
  )
  table, n_left_out = usable_rows(columns, MIN_RUNS)
  n, d, loss = table[:3]
  c = 6 * n * d if flops is None else table[3]

  # Minimum of each budget.
  minima: list[_Minimum] = []
  outside: list[float] = []
  without_minimum: list[float] = []
  for rows in _budgets(c):
    # The runs of a budget differ a little in compute. Their geometric mean stands for
    # it.
    budget = float(np.exp(np.log(c[rows]).mean()))
    u = np.log(n[rows])
    minimum = _minimum(u, loss[rows], table[-1, rows], math.log(window))
    if minimum is None:
      without_minimum.append(budget)
    # A minimum outside of the tried sizes is an extrapolation, and is not used.
    elif not u.min() <= minimum.place <= u.max():
      outside.append(budget)
    else:
      minima.append(dataclasses.replace(minimum, flops=budget, rows=rows[minimum.rows]))
  if not minima and not outside:
    raise ConfigError(
      f'flops: got {len(without_minimum)} budgets without a minimum, expected a budget with at '
      f'least {MIN_SIZES} sizes and the best one inside'
    )

  # The optimal sizes follow a power law of the compute, and D = C / (6 N).
  budgets = np.array([each.flops for each in minima])
  sizes = np.exp([each.place for each in minima])
  parameters_law = None
  tokens_law = None
  if len(minima) >= 2:
    parameters_law = fit_power_law(budgets, sizes, confidence=confidence)
    tokens_law = fit_power_law(budgets, budgets / 6 / sizes, confidence=confidence)
  a = parameters_law.exponent if parameters_law else math.nan
  variance = parameters_law.cov[1, 1] if parameters_law else math.nan
  intervals = {}
  for name, law in (('a', parameters_law), ('b', tokens_law)):
    intervals[name] = law.intervals['exponent'] if law else UNKNOWN
  bias_factor, bias_of_a = _bias(minima, table, intervals['a'])
  coefficients = [each.coefficients for each in minima]
  return Isoflops(
    flops=budgets,
    parameters=sizes,
    tokens=budgets / 6 / sizes,
    losses=np.array([each.value for each in minima]),
    coefficients=np.array(coefficients).reshape(-1, 3),
    n_fitted=np.array([len(each.rows) for each in minima]),
    a=a,
    b=1 - a,
    parameters_law=parameters_law,
    tokens_law=tokens_law,
    bias_factor=bias_factor,
    bias_of_a=bias_of_a,
    outside=tuple(outside),
    without_minimum=tuple(without_minimum),
    intervals=intervals,
    confidence=confidence,
    n_runs=len(n),
    n_left_out=n_left_out,
    reason=parameters_law.reason if parameters_law else 'an exponent needs two budgets',
    # b is 1 - a.
    _cov=variance * np.array([[1, -1], [-1, 1]]),
  )


@dataclasses.dataclass(frozen=True)
class _Minimum:
  """Minimum of the parabola of one budget.

  Attributes:
    place: log N at the minimum.
    value: Loss at the minimum.
    coefficients: Coefficients of the parabola c0 + c1 u + c2 u^2.
    rows: Rows of the runs that were fitted.
    flops: FLOPs of the budget.
  """

  place: float
  value: float
  coefficients: tuple[float, float, float]
  rows: np.ndarray
  flops: float = math.nan


def _budgets(flops: np.ndarray) -> list[np.ndarray]:
  """Returns the row indices of each budget, by rising C."""
  order = np.argsort(flops, kind='stable')
  jumps = np.flatnonzero(np.diff(np.log(flops[order])) > np.log1p(SAME_BUDGET)) + 1
  return np.split(order, jumps)


def _minimum(
  u: np.ndarray, loss: np.ndarray, weights: np.ndarray, reach: float
) -> _Minimum | None:
  """Fits a parabola in u = log N around its minimum. None without enough sizes or a minimum.

  Args:
    u: (m,) log N of the runs of one budget.
    loss: (m,) their losses.
    weights: (m,) their weights.
    reach: Distance in log N from the minimum within which runs are fitted.
  """
  sizes = np.unique(u)
  if len(sizes) < MIN_SIZES:
    return None
  # Start around the best run, and move the window to the fitted minimum.
  place = u[np.argmin(loss)]
  rows = np.array([], int)
  found = None
  for _ in range(MAX_ROUNDS):
    nearest = np.sort(np.abs(sizes - place))[MIN_SIZES - 1]
    before = rows
    rows = np.flatnonzero(np.abs(u - place) <= max(reach, nearest))
    if np.array_equal(rows, before):
      break
    # Powers of log N itself are nearly collinear.
    middle = u[rows].mean()
    c2, c1, c0 = np.polyfit(u[rows] - middle, loss[rows], 2, w=np.sqrt(weights[rows]))
    if c2 <= 0:
      return None
    # Minimum of c2 v^2 + c1 v + c0 at v = -c1 / (2 c2), with v = u - middle. The
    # coefficients are those in u itself.
    place = middle - c1 / (2 * c2)
    found = _Minimum(
      place=place,
      value=c0 - c1**2 / (4 * c2),
      coefficients=(c0 - c1 * middle + c2 * middle**2, c1 - 2 * c2 * middle, c2),
      rows=rows,
    )
    if not u.min() <= place <= u.max():
      break
  return found


def _bias(
  minima: Sequence[_Minimum], table: np.ndarray, interval: tuple[float, float]
) -> tuple[np.ndarray, float]:
  """Returns the errors of parabolas through the law of variable projection, without noise.

  Args:
    minima: Minima of the budgets.
    table: (>= 3, n) N, D and losses first, and weights last.
    interval: Interval of a.
  """
  unknown = (np.full(len(minima), np.nan), math.nan)
  if len(minima) < 2:
    return unknown
  # The projected law has a known optimum, with which the parabolas can be compared.
  n, d, loss = table[:3]
  law = variable_projection(n, d, loss)

  # Minima of parabolas through the fitted law itself, which show the bias of a parabola.
  places = []
  for each in minima:
    own = each.rows
    of_law = _minimum(
      np.log(n[own]), law.predict(n[own], d[own]), table[-1, own], math.inf
    )
    if of_law is None:
      return unknown
    places.append(of_law.place)
  log_c = np.log([each.flops for each in minima])
  # If the law is true, its parabolas have the exponent of the parabolas of the losses.
  exponent = np.polyfit(log_c, places, 1)[0]
  if exponent < interval[0] - SLACK or exponent > interval[1] + SLACK:
    return unknown
  offset = np.array(places) - np.log(law.compute_optimal(np.exp(log_c)).parameters)
  # Factor on N_opt at each budget. The slope of its log over log C is the bias of a.
  return np.exp(offset), float(np.polyfit(log_c, offset, 1)[0])
