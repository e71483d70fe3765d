"""How the compute-optimal N and D grow with C: isoFLOP parabolas, and variable projection beside them.

Parabolas (approach 2 of Hoffmann et al. 2022) assume nothing of the law, and are biased: at fixed C the law is not a
parabola in log N. With u = log(N / N_opt) it is E + k(C) (beta e^(-alpha u) + alpha e^(beta u)), whose third derivative
at 0 is alpha beta (beta^2 - alpha^2) k: so where alpha and beta differ, or the sizes are not centred on the optimum,
the fitted minimum is off, more so the wider the sizes. If all budgets have sizes alike around their optimum the minima
are off by one and the same factor, which spoils the intercept and leaves the exponent; if the centring drifts with C,
the exponent is wrong too, without any noise. Source: arXiv 2603.22339, where variable projection is advised instead;
the third derivative is derived here. `Isoflops.bias_factor` and `bias_of_a` estimate both for the study at hand.

Dimension key: n runs, C budgets.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from lmhp.analysis.scaling import huber_fit as scaling_fit
from lmhp.analysis.scaling.laws import usable
from lmhp.analysis.scaling.power_laws import PowerLaw, fit_power_law
from lmhp.errors import ConfigError

MIN_SIZES = 4
"""Of a budget: one more than a parabola has coefficients."""

_SAME_BUDGET = 0.1
"""Relative difference of C up to which runs are taken for one budget."""

BIAS = (
  'A parabola in log N is not the shape of a scaling law at fixed FLOPs: its minimum is off where sizes are wide '
  'or not centred on the optimum, and then so are the power laws, even without noise (arXiv 2603.22339).'
)


@dataclasses.dataclass(frozen=True)
class Isoflops:
  """Parabolas of loss in log N, one for each budget, and the power laws of their minima.

  Attributes:
    flops: (C,) budgets, those with a minimum that could be used.
    parameters, tokens, losses: (C,) at each minimum: N, D = C / 6N, and nats.
    coefficients: (C, 3) of the parabola in u = log N: c0 + c1 u + c2 u^2.
    a, b: exponents of N_opt and D_opt in C; NaN where there are fewer than two budgets.
    parameters_law, tokens_law: with intervals, which know scatter between budgets but not the bias; None likewise.
    bias_factor: (C,) the factor by which a parabola would miss the minimum of the law that variable projection fits to
      the same runs, were there no noise; NaN where none is fitted.
    bias_of_a: the same of the exponent.
    outside: budgets whose minimum lies beyond their smallest or largest size: left out.
    refused: budgets with too few sizes or no minimum.
    caveat: the known bias, in a sentence.
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
  refused: tuple[float, ...]
  caveat: str = BIAS


def fit_isoflops(
  parameters, tokens, losses, flops=None, *, confidence: float = 0.9
) -> Isoflops:
  """The minimum of a parabola of loss in log N for each FLOP budget, and N_opt ~ C^a, D_opt ~ C^b.

  Args:
    parameters, tokens, losses: (n,) N, D, nats.
    flops: (n,) of each run; 6 N D by default. Runs within 10% of their neighbour are of one budget.
    confidence: of the intervals of the power laws.

  Returns:
    The fit. Source: approach 2 of Hoffmann et al. 2022 (arXiv 2203.15556).

  Raises:
    ConfigError: as of fit_scaling_law; flops of another length; no budget has 4 sizes.

  >>> c, s = np.repeat([1e18, 1e19, 1e20], 5), np.tile([-1, -0.5, 0, 0.5, 1], 3)
  >>> n = 0.1 * c**0.5 * np.exp(s)
  >>> found = fit_isoflops(n, c / 6 / n, 2 + (c / 1e18) ** -0.1 + 0.05 * s**2)
  >>> round(found.a, 6), (found.parameters / 1e8).round(4).tolist()
  (0.5, [1.0, 3.1623, 10.0])
  """
  usable(parameters, tokens, losses)  # refuses what cannot be fitted
  rows = [np.asarray(row, float) for row in (parameters, tokens, losses)]
  if flops is not None and np.shape(flops) != rows[0].shape:
    raise ConfigError(
      f'flops: got shape {np.shape(flops)} beside {rows[0].shape}; accepted is one for each run'
    )
  flops = 6 * rows[0] * rows[1] if flops is None else np.asarray(flops, float)
  with np.errstate(invalid='ignore'):
    good = np.all([np.isfinite(row) & (row > 0) for row in (*rows, flops)], axis=0)
  n, d, loss, flops = (row[good] for row in (*rows, flops))
  kept, outside, refused = [], [], []
  for budget in _budgets(flops):
    c = float(np.exp(np.log(flops[budget]).mean()))
    found = _minimum(np.log(n[budget]), loss[budget])
    if found is None:
      refused.append(c)
    elif not n[budget].min() <= np.exp(found[0]) <= n[budget].max():
      outside.append(c)
    else:
      kept.append((c, *found, budget))
  if len(refused) == len(_budgets(flops)):
    raise ConfigError(
      f'flops: no budget of {len(refused)} has a parabola with a minimum; accepted are {MIN_SIZES} or '
      'more sizes of one budget, with the best inside'
    )
  return _isoflops(kept, n, d, loss, outside, refused, confidence)


def _isoflops(kept, n, d, loss, outside, refused, confidence) -> Isoflops:
  c, at = np.array([row[0] for row in kept]), np.array([row[1] for row in kept])
  least, coefficients = (
    np.array([row[2] for row in kept]),
    np.array([row[3] for row in kept]).reshape(-1, 3),
  )
  size, enough = np.exp(at), len(c) >= 2
  laws = [
    fit_power_law(c, v, confidence=confidence) if enough else None
    for v in (size, c / 6 / size)
  ]
  a = laws[0].exponent if enough else float('nan')
  bias, bias_of_a = (
    _bias(kept, n, d, loss) if enough else (np.full(len(c), np.nan), float('nan'))
  )
  return Isoflops(
    c,
    size,
    c / 6 / size,
    least,
    coefficients,
    a,
    1 - a,
    *laws,
    bias,
    bias_of_a,
    tuple(outside),
    tuple(refused),
  )


def _budgets(flops: np.ndarray) -> list[np.ndarray]:
  """Indices of the runs of each budget, by rising C."""
  order = np.argsort(flops, kind='stable')
  jumps = np.flatnonzero(np.diff(np.log(flops[order])) > np.log1p(_SAME_BUDGET)) + 1
  return np.split(order, jumps)


def _minimum(u: np.ndarray, loss: np.ndarray):
  """log N of the minimum, the loss there, coefficients (c0, c1, c2); None of too few sizes or no minimum."""
  if len(np.unique(u)) < MIN_SIZES:
    return None
  middle = u.mean()  # powers of log N itself are nearly collinear
  c2, c1, c0 = np.polyfit(u - middle, loss, 2)
  if c2 <= 0:
    return None
  at = middle - c1 / (2 * c2)
  return (
    at,
    c0 - c1**2 / (4 * c2),
    (c0 - c1 * middle + c2 * middle**2, c1 - 2 * c2 * middle, c2),
  )


def _bias(kept, n, d, loss) -> tuple[np.ndarray, float]:
  """What the parabolas would find of the projected law without noise, over its true minima."""
  law = variable_projection(n, d, loss)
  nothing = np.full(len(kept), np.nan), float('nan')
  if not (law.A > 0 and law.B > 0):
    return nothing
  found = [
    _minimum(np.log(n[budget]), law.predict(n[budget], d[budget]))
    for *_, budget in kept
  ]
  if any(row is None for row in found):
    return nothing
  c = np.array([row[0] for row in kept])
  offset = np.array([row[0] for row in found]) - np.log(law.optimal_parameters(c))
  return np.exp(offset), float(np.polyfit(np.log(c), offset, 1)[0])


# --- variable projection --------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Projection:
  """A law by variable projection.

  Attributes:
    E, A, B, alpha, beta: as of ScalingLaw.
    a, b: exponents of the compute-optimal N and D.
    error: root mean square relative error.
    reason: why it is not to be believed; '' where nothing speaks against it.
  """

  E: float
  A: float
  B: float
  alpha: float
  beta: float
  a: float
  b: float
  error: float
  reason: str = ''

  def predict(self, parameters, tokens) -> np.ndarray:
    """Losses in nats."""
    n, d = np.asarray(parameters, float), np.asarray(tokens, float)
    return self.E + self.A / n**self.alpha + self.B / d**self.beta

  def optimal_parameters(self, flops) -> np.ndarray:
    """N that gives the least loss at C = 6 N D. Source: Hoffmann et al. 2022, equation 4."""
    scale = (self.alpha * self.A / (self.beta * self.B)) ** (
      1 / (self.alpha + self.beta)
    )
    return scale * (np.asarray(flops, float) / 6) ** self.a


def variable_projection(
  parameters, tokens, losses, *, lowest: float = 0.02, highest: float = 2.5
) -> Projection:
  """L = E + A/N^alpha + B/D^beta by a search of alpha and beta alone.

  For fixed exponents the law is linear in E, A, B, and nonnegative least squares (of relative errors) gives the best at
  once: two dimensions are left, searched on a grid and from its best three by Nelder and Mead. No starts to
  choose. Squares: a run gone wrong pulls it, which the Huber fit of fit_scaling_law withstands.

  Args:
    parameters, tokens, losses: (n,) N, D, nats.
    lowest, highest: of both exponents.

  Raises:
    ConfigError: as of fit_scaling_law.

  Source: Golub and Pereyra 1973; for scaling laws arXiv 2603.22339.

  >>> n, d = (
  ...   v.ravel() for v in np.meshgrid([1e6, 4e6, 1.6e7, 6.4e7], [1e8, 4e8, 1.6e9])
  ... )
  >>> law = variable_projection(n, d, 1.7 + 400 / n**0.34 + 410 / d**0.28)
  >>> round(law.alpha, 5), round(law.beta, 5)
  (0.34, 0.28)
  """
  (n, d, y), _ = usable(parameters, tokens, losses)
  from scipy import optimize

  bounds = np.log([lowest, highest])
  grid = np.linspace(*bounds, 25)
  alpha, beta = (v.ravel() for v in np.meshgrid(grid, grid))
  _, squares = scaling_fit.linear_part(y, n, d, np.exp(alpha), np.exp(beta))
  at = lambda u: scaling_fit.linear_part(y, n, d, *np.exp(np.clip(u, *bounds))[:, None])
  found = [
    optimize.minimize(
      lambda u: at(u)[1][0],
      (alpha[i], beta[i]),
      method='Nelder-Mead',
      options={'xatol': 1e-9, 'fatol': 0.0, 'maxfev': 400},
    )
    for i in np.argsort(squares, kind='stable')[:3]
  ]
  middle = np.clip(min(found, key=lambda f: f.fun).x, *bounds)
  (linear,), (error,) = at(middle)
  alpha, beta = np.exp(middle)
  e, a, b = linear * [
    1,
    np.exp(alpha * np.log(n).mean()),
    np.exp(beta * np.log(d).mean()),
  ]
  reason = 'an exponent is at the end of its range, or a term is zero: these runs do not show all three terms'
  sure = (
    np.all((middle > bounds[0] + 1e-9) & (middle < bounds[1] - 1e-9))
    and min(a, b, e) > 0
  )
  exponent = float(beta / (alpha + beta))
  return Projection(
    float(e),
    float(a),
    float(b),
    float(alpha),
    float(beta),
    exponent,
    1 - exponent,
    float(np.sqrt(error / len(y))),
    '' if sure else reason,
  )
