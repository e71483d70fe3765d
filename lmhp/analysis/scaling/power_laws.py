"""Power laws y = c x1^k1 x2^k2 ...: of the best learning rate, batch or weight decay against N and D.

Least squares in logs, exact Student intervals where the errors of log y are normal and alike. A best learning rate read
off a grid has the grid's step as its error: the intervals see that only as scatter, and a law through two or three
sizes has none worth the name.

Dimension key: n values, p variables, K places.
"""

from __future__ import annotations

import dataclasses
from typing import Mapping

import numpy as np

from lmhp.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class PowerLaw:
  """y = coefficient * prod_j x_j^exponents_j.

  Attributes:
    names: (p,) of the variables.
    coefficient: c, in the unit of y.
    exponents: (p,).
    intervals: (low, high) of 'coefficient' and of each exponent by its variable's name ('exponent' where there is one
      variable); NaN where no value is left to judge the scatter by.
    confidence: of all intervals.
    n: values that were fitted.
    left_out: those that were not finite or not above 0.
    scatter: standard deviation of log y around the law; NaN where n = p + 1.
    reason: why there are no intervals; ''.
  """

  names: tuple[str, ...]
  coefficient: float
  exponents: np.ndarray
  intervals: Mapping[str, tuple[float, float]]
  confidence: float
  n: int
  left_out: int
  scatter: float
  reason: str
  _middle: np.ndarray = dataclasses.field(default=None, repr=False, compare=False)
  _covariance: np.ndarray = dataclasses.field(default=None, repr=False, compare=False)
  _at_middle: float = dataclasses.field(default=0.0, repr=False, compare=False)

  @property
  def exponent(self) -> float:
    """Of the one variable."""
    if len(self.exponents) != 1:
      raise ConfigError(
        f'exponent: got {len(self.exponents)} variables; accepted is one: see exponents'
      )
    return float(self.exponents[0])

  def predict(self, x) -> np.ndarray:
    """Median y at x.

    Args:
      x: of one variable any shape; of p (K, p) or (p,).

    >>> float(fit_power_law([1, 10, 100], [2, 20, 200]).predict(1e4).round(6))
    20000.0
    """
    logs = self._logs(x)
    return np.exp(self._at_middle + logs @ self.exponents)

  def interval(self, x) -> tuple[np.ndarray, np.ndarray]:
    """(low, high) that hold a new value at x: the law's uncertainty, and scatter as in those fitted; or NaN."""
    from scipy import stats

    logs, freedom = self._logs(x), self.n - len(self.names) - 1
    if freedom < 1:
      nothing = np.full(logs.shape[:-1], np.nan)
      return nothing, nothing
    design = np.concatenate([np.ones((*logs.shape[:-1], 1)), logs], axis=-1)
    variance = self.scatter**2 * (
      1 + np.einsum('...i,ij,...j->...', design, self._covariance, design)
    )
    reach = stats.t.ppf((1 + self.confidence) / 2, freedom) * np.sqrt(variance)
    centre = self._at_middle + logs @ self.exponents
    return np.exp(centre - reach), np.exp(centre + reach)

  def _logs(self, x) -> np.ndarray:
    x = np.asarray(x, np.float64)
    x = x[..., None] if len(self.names) == 1 else x
    if x.shape[-1:] != (len(self.names),) or not np.all(x > 0):
      raise ConfigError(
        f'x: got {np.shape(x)}; accepted are values above 0 of {", ".join(self.names)}'
      )
    return np.log(x) - self._middle


def fit_power_law(sizes, values, *, confidence: float = 0.9, names=None) -> PowerLaw:
  """y = c x^k, or of several variables y = c x1^k1 x2^k2 ..., by least squares in logs.

  Args:
    sizes: (n,) or (n, p), above 0: parameters, tokens, FLOPs.
    values: (n,), above 0: the best learning rate, say.
    confidence: of all intervals.
    names: (p,) of the variables; 'exponent', or 'x0', 'x1', ... by default.

  Returns:
    The law. Student intervals of n - p - 1 degrees of freedom; those of predictions are for one new value.

  Raises:
    ConfigError: different lengths, fewer than p + 1 usable values, or variables that do not vary apart.

  Source: Seber and Lee, Linear Regression Analysis (2003), sections 3.5 and 5.3. The form with N and D is that of
  Step Law (arXiv 2503.04715): learning rate = c N^k1 D^k2.

  >>> law = fit_power_law(
  ...   [[1, 1], [10, 1], [1, 10], [10, 10]], [3, 30, 0.3, 3], names=('N', 'D')
  ... )
  >>> law.exponents.round(6).tolist(), round(law.coefficient, 6)
  ([1.0, -1.0], 3.0)
  """
  x, y = np.asarray(sizes, np.float64), np.asarray(values, np.float64)
  x = x[:, None] if x.ndim == 1 else x
  if x.ndim != 2 or y.shape != x.shape[:1] or not x.shape[1]:
    raise ConfigError(
      f'sizes, values: got shapes {np.shape(sizes)}, {y.shape}; accepted are (n,) or (n, p), and (n,)'
    )
  names = tuple(
    names
    or (('exponent',) if x.shape[1] == 1 else [f'x{j}' for j in range(x.shape[1])])
  )
  if len(names) != x.shape[1] or not 0 < confidence < 1:
    raise ConfigError(
      f'names, confidence: got {names}, {confidence}; accepted are {x.shape[1]}, and a share below 1'
    )
  with np.errstate(invalid='ignore'):
    good = np.all(np.isfinite(x) & (x > 0), axis=1) & np.isfinite(y) & (y > 0)
  return _fitted(
    np.log(x[good]), np.log(y[good]), names, confidence, int(np.sum(~good))
  )


def _fitted(log_x, log_y, names, confidence, left_out) -> PowerLaw:
  n, p = log_x.shape
  if n < p + 1:
    raise ConfigError(
      f'values: got {n} usable ones; accepted are {p + 1} or more, for {p} exponents'
    )
  middle = log_x.mean(axis=0)
  design = np.column_stack([np.ones(n), log_x - middle])
  size = np.linalg.norm(design, axis=0)
  if not size.all() or np.linalg.cond(design / np.where(size > 0, size, 1)) > 1e8:
    raise ConfigError(
      f'sizes: {", ".join(names)} do not vary apart; accepted are values that do'
    )
  covariance = np.linalg.inv(design.T @ design)
  solved = covariance @ design.T @ log_y
  freedom, residuals = n - p - 1, log_y - design @ solved
  scatter = float(np.sqrt(residuals @ residuals / freedom)) if freedom else float('nan')
  origin = np.r_[1.0, -middle]  # log c is the law at log x = 0
  log_c = float(origin @ solved)
  errors = scatter * np.sqrt(
    np.r_[origin @ covariance @ origin, np.diag(covariance)[1:]]
  )
  intervals = _student(np.r_[log_c, solved[1:]], errors, confidence, freedom)
  intervals[0] = np.exp(intervals[0])
  said = dict(zip(('coefficient', *names), map(tuple, intervals.tolist())))
  reason = (
    ''
    if freedom
    else f'{n} values: no more than the law has parameters, so that it fits them exactly'
  )
  return PowerLaw(
    names,
    float(np.exp(log_c)),
    solved[1:],
    said,
    confidence,
    n,
    left_out,
    scatter,
    reason,
    middle,
    covariance,
    float(solved[0]),
  )


def _student(centre, errors, confidence, freedom) -> np.ndarray:
  """(m, 2) of intervals."""
  from scipy import stats

  reach = errors * (stats.t.ppf((1 + confidence) / 2, freedom) if freedom else np.nan)
  return np.stack([centre - reach, centre + reach], axis=1)
