"""Compute-optimal N and D against C, by isoFLOP parabolas and by variable projection.

Parabolas (approach 2 of Hoffmann et al. 2022) assume nothing about the law, and are biased. At
fixed C the law is no parabola in log N. With u = log(N / N_opt) it is

  E + k(C) (beta exp(-alpha u) + alpha exp(beta u)),

whose third derivative at 0 is alpha beta (beta^2 - alpha^2) k. If alpha and beta differ, or
the sizes are not centred on the optimum, the fitted minimum is off, the more the wider the
sizes are. If the sizes lie alike around the optimum of each budget, all minima are off by one
factor, which changes the intercept and not the exponent. If the centring drifts with C, the
exponent is wrong too, even without noise. Source: arXiv 2603.22339, which recommends variable
projection. The third derivative is derived here. `Isoflops.bias_factor` and `bias_of_a`
estimate both for the given runs.

Dimension key: n runs, C budgets, R pairs of exponents.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import math

import numpy as np
import numpy.typing as npt

from lmhp.analysis.scaling.huber_fit import linear_part
from lmhp.analysis.scaling.laws import Law, usable_runs
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
EXPONENT_RANGE = (0.02, 2.5)
"""Range in which variable projection searches both exponents."""


@dataclasses.dataclass(frozen=True)
class Isoflops:
  """Parabolas of the loss in log N, one per budget, and power laws of their minima.

  Attributes:
    flops: (C,) budgets with a usable minimum.
    parameters: (C,) N at each minimum.
    tokens: (C,) D = C / 6N at each minimum.
    losses: (C,) loss at each minimum, in nats.
    coefficients: (C, 3) coefficients of the parabola c0 + c1 u + c2 u^2 in u = log N.
    a: Exponent of N_opt in C. NaN if there are fewer than two budgets.
    b: Exponent of D_opt in C. NaN if there are fewer than two budgets.
    parameters_law: Power law of N_opt. Its intervals cover the scatter between budgets, and
      not the bias. None if there are fewer than two budgets.
    tokens_law: Power law of D_opt, likewise.
    bias_factor: (C,) factor by which a parabola would miss the minimum of the law that
      variable projection fits to the same runs, without noise. NaN if none is fitted.
    bias_of_a: Bias of the exponent, computed in the same way.
    outside: Budgets that are left out, because their minimum is beyond their smallest or
      largest size.
    without_minimum: Budgets with too few sizes, or without a minimum.
    caveat: The known bias, in a sentence.
  """

  flops: np.ndarray
  parameters: np.ndarray
  tokens: np.ndarray
  losses: np.ndarray
  coefficients: np.ndarray
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
  confidence: float = 0.9,
) -> Isoflops:
  """Fits a parabola of the loss in log N per budget, and N_opt ~ C^a and D_opt ~ C^b.

  Args:
    parameters: (n,) N.
    tokens: (n,) D.
    losses: (n,) losses in nats.
    flops: (n,) FLOPs of each run. None takes 6 N D. Runs within 10% of their neighbour belong
      to one budget.
    confidence: Confidence of the intervals of the power laws.

  Raises:
    ConfigError: As in `fit_scaling_law`, or if `flops` has another length, or no budget has 4
      sizes and a minimum.

  Source: Approach 2 of Hoffmann et al. 2022 (arXiv 2203.15556).

  >>> c, s = np.repeat([1e18, 1e19, 1e20], 5), np.tile([-1, -0.5, 0, 0.5, 1], 3)
  >>> n = 0.1 * c**0.5 * np.exp(s)
  >>> result = fit_isoflops(n, c / 6 / n, 2 + (c / 1e18) ** -0.1 + 0.05 * s**2)
  >>> round(result.a, 6), (result.parameters / 1e8).round(4).tolist()
  (0.5, [1.0, 3.1623, 10.0])
  """
  # Refuses what cannot be fitted.
  usable_runs(parameters, tokens, losses)

  # Usable runs and their compute, 6 N D unless it is given.
  n = np.asarray(parameters, float)
  c = 6 * n * np.asarray(tokens, float) if flops is None else np.asarray(flops, float)
  if c.shape != n.shape:
    raise ConfigError(f'flops: got shape {c.shape}, expected that of losses, {n.shape}')
  table = np.array([n, tokens, losses, c], float)
  # Comparisons with NaN are False, so such runs are left out.
  with np.errstate(invalid='ignore'):
    good = np.all(np.isfinite(table) & (table > 0), axis=0)
  n, d, loss, c = table[:, good]

  minima, outside, without_minimum = _minima(n, loss, c)
  if not minima and not outside:
    raise ConfigError(
      f'flops: got {len(without_minimum)} budgets without a minimum, expected a budget with at '
      f'least {MIN_SIZES} sizes and the best one inside'
    )

  # The optimal sizes follow a power law of the compute, and D = C / (6 N).
  budgets = np.array([each.flops for each in minima])
  sizes = np.exp(np.array([each.parabola.place for each in minima]))
  parameters_law = None
  tokens_law = None
  if len(minima) >= 2:
    parameters_law = fit_power_law(budgets, sizes, confidence=confidence)
    tokens_law = fit_power_law(budgets, budgets / 6 / sizes, confidence=confidence)
  a = parameters_law.exponent if parameters_law else math.nan
  bias_factor, bias_of_a = _bias(minima, n, d, loss)
  coefficients = [each.parabola.coefficients for each in minima]
  return Isoflops(
    flops=budgets,
    parameters=sizes,
    tokens=budgets / 6 / sizes,
    losses=np.array([each.parabola.value for each in minima]),
    coefficients=np.array(coefficients).reshape(-1, 3),
    a=a,
    b=1 - a,
    parameters_law=parameters_law,
    tokens_law=tokens_law,
    bias_factor=bias_factor,
    bias_of_a=bias_of_a,
    outside=tuple(outside),
    without_minimum=tuple(without_minimum),
  )


@dataclasses.dataclass(frozen=True)
class _Parabola:
  """Place (log N) and value of a parabola's minimum, and its coefficients (c0, c1, c2)."""

  place: float
  value: float
  coefficients: tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class _Minimum:
  """Minimum of one budget: its FLOPs, its parabola, and the rows of its runs."""

  flops: float
  parabola: _Parabola
  rows: np.ndarray


def _minima(
  n: np.ndarray, loss: np.ndarray, c: np.ndarray
) -> tuple[list[_Minimum], list[float], list[float]]:
  """Fits a parabola of the loss in log N at each budget.

  Returns:
    The usable minima, the budgets whose minimum is outside of the sizes, and the budgets
    without a minimum.
  """
  minima: list[_Minimum] = []
  outside: list[float] = []
  without_minimum: list[float] = []
  for rows in _budgets(c):
    # The runs of a budget differ a little in compute. Their geometric mean stands for
    # it.
    flops_of_budget = float(np.exp(np.log(c[rows]).mean()))
    parabola = _fit_parabola(np.log(n[rows]), loss[rows])
    if parabola is None:
      without_minimum.append(flops_of_budget)
    # A minimum outside of the tried sizes is an extrapolation, and is not used.
    elif not n[rows].min() <= np.exp(parabola.place) <= n[rows].max():
      outside.append(flops_of_budget)
    else:
      minima.append(_Minimum(flops_of_budget, parabola, rows))
  return minima, outside, without_minimum


def _budgets(flops: np.ndarray) -> list[np.ndarray]:
  """Returns the row indices of each budget, by rising C."""
  order = np.argsort(flops, kind='stable')
  jumps = np.flatnonzero(np.diff(np.log(flops[order])) > np.log1p(SAME_BUDGET)) + 1
  return np.split(order, jumps)


def _fit_parabola(u: np.ndarray, loss: np.ndarray) -> _Parabola | None:
  """Fits a parabola in u = log N. Returns None without enough sizes or a minimum."""
  if len(np.unique(u)) < MIN_SIZES:
    return None
  # Powers of log N itself are nearly collinear.
  middle = u.mean()
  c2, c1, c0 = np.polyfit(u - middle, loss, 2)
  if c2 <= 0:
    return None
  # Minimum of c2 v^2 + c1 v + c0 at v = -c1 / (2 c2), with v = u - middle. The
  # coefficients are those in u itself.
  return _Parabola(
    place=middle - c1 / (2 * c2),
    value=c0 - c1**2 / (4 * c2),
    coefficients=(c0 - c1 * middle + c2 * middle**2, c1 - 2 * c2 * middle, c2),
  )


def _bias(
  minima: Sequence[_Minimum], n: np.ndarray, d: np.ndarray, loss: np.ndarray
) -> tuple[np.ndarray, float]:
  """Returns the error of parabolas on the projected law without noise."""
  unknown = (np.full(len(minima), np.nan), math.nan)
  if len(minima) < 2:
    return unknown
  # The projected law has a known optimum, with which the parabolas can be compared.
  law = variable_projection(n, d, loss)
  if not (law.A > 0 and law.B > 0):
    return unknown

  # Minima of parabolas through the fitted law itself, which show the bias of a parabola.
  places = []
  for each in minima:
    own_n = n[each.rows]
    parabola = _fit_parabola(np.log(own_n), law.predict(own_n, d[each.rows]))
    if parabola is None:
      return unknown
    places.append(parabola.place)
  c = np.array([each.flops for each in minima])
  offset = np.array(places) - np.log(law.optimal_parameters(c))
  # Factor on N_opt at each budget. The slope of its log over log C is the bias of a.
  return np.exp(offset), float(np.polyfit(np.log(c), offset, 1)[0])


# --- variable projection ----------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Projection(Law):
  """A scaling law fitted by variable projection.

  Attributes:
    a: Exponent of the compute-optimal N.
    b: Exponent of the compute-optimal D.
    error: Root mean square relative error.
    reason: Reason to doubt the fit. Empty if there is none.
  """

  a: float
  b: float
  error: float
  reason: str = ''

  def optimal_parameters(self, flops: npt.ArrayLike) -> np.ndarray:
    """Returns the N with the lowest loss at C = 6 N D.

    Source: Hoffmann et al. 2022, equation 4.
    """
    ratio = self.alpha * self.A / (self.beta * self.B)
    scale = ratio ** (1 / (self.alpha + self.beta))
    return scale * (np.asarray(flops, float) / 6) ** self.a


def variable_projection(
  parameters: npt.ArrayLike,
  tokens: npt.ArrayLike,
  losses: npt.ArrayLike,
  *,
  exponent_range: tuple[float, float] = EXPONENT_RANGE,
) -> Projection:
  """Fits L = E + A/N^alpha + B/D^beta by a search over alpha and beta alone.

  For fixed exponents the law is linear in E, A and B, and nonnegative least squares of the
  relative errors gives the best ones. Two dimensions are left, which are searched on a grid,
  and from its best three by Nelder and Mead. Least squares is sensitive to an outlier, which
  the Huber fit of `fit_scaling_law` withstands.

  Args:
    parameters: (n,) N.
    tokens: (n,) D.
    losses: (n,) losses in nats.
    exponent_range: Smallest and largest exponent.

  Raises:
    ConfigError: As in `fit_scaling_law`.

  Source: Golub and Pereyra 1973. For scaling laws arXiv 2603.22339.

  >>> n, d = (
  ...   v.ravel() for v in np.meshgrid([1e6, 4e6, 1.6e7, 6.4e7], [1e8, 4e8, 1.6e9])
  ... )
  >>> law = variable_projection(n, d, 1.7 + 400 / n**0.34 + 410 / d**0.28)
  >>> round(law.alpha, 5), round(law.beta, 5)
  (0.34, 0.28)
  """
  from scipy import optimize

  (n, d, y), _ = usable_runs(parameters, tokens, losses)
  bounds = np.log(exponent_range)

  def project(log_exponents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the linear part and the sum of squares at clipped log exponents."""
    alpha, beta = np.exp(np.clip(log_exponents, *bounds))[:, None]
    return linear_part(y, n, d, alpha, beta)

  # Grid search, and refinement of its three best cells.
  grid = np.linspace(bounds[0], bounds[1], 25)
  alphas, betas = (v.ravel() for v in np.meshgrid(grid, grid))
  _, squares = linear_part(y, n, d, np.exp(alphas), np.exp(betas))
  results = [
    optimize.minimize(
      lambda u: project(u)[1][0],
      (alphas[i], betas[i]),
      method='Nelder-Mead',
      options={'xatol': 1e-9, 'fatol': 0.0, 'maxfev': 400},
    )
    for i in np.argsort(squares, kind='stable')[:3]
  ]

  # Undo the centring of the terms A N^-alpha and B D^-beta.
  best = np.clip(min(results, key=lambda result: result.fun).x, *bounds)
  ((e, a, b),), (error,) = project(best)
  alpha, beta = np.exp(best)
  a = a * np.exp(alpha * np.log(n).mean())
  b = b * np.exp(beta * np.log(d).mean())

  reason = ''
  # All three terms must show: exponents inside their range, and E, A, B above 0.
  is_inside = np.all((best > bounds[0] + 1e-9) & (best < bounds[1] - 1e-9))
  if not is_inside or min(a, b, e) <= 0:
    reason = (
      'an exponent is at the end of its range, or a term is zero, so the runs do not show all '
      'three terms of the law'
    )
  # N_opt ~ C^a with a = beta / (alpha + beta), for C = 6 N D.
  exponent = float(beta / (alpha + beta))
  return Projection(
    E=float(e),
    A=float(a),
    B=float(b),
    alpha=float(alpha),
    beta=float(beta),
    a=exponent,
    b=1 - exponent,
    error=float(np.sqrt(error / len(y))),
    reason=reason,
  )
