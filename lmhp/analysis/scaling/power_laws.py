"""Power laws y = c x1^k1 x2^k2 ..., such as the best learning rate against N and D.

They are fitted by least squares in logarithms, with exact Student intervals if the errors of
log y are normal with equal variance. A best learning rate that is read off a grid has the
grid's step as its error. The intervals see this only as scatter, and a law through two or
three sizes has no useful interval.

Dimension key: n values, p variables, K places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
import math

import numpy as np
import numpy.typing as npt

from lmhp.errors import ConfigError

Interval = tuple[float, float]
MAX_CONDITION = 1e8


@dataclasses.dataclass(frozen=True)
class PowerLaw:
  """A fitted law y = coefficient * prod_j x_j^exponents_j.

  Attributes:
    names: (p,) names of the variables.
    coefficient: c, in the unit of y.
    exponents: (p,) exponents.
    intervals: (low, high) of 'coefficient', and of each exponent by its variable's name
      ('exponent' if there is one variable). NaN if no value is left to estimate the scatter.
    confidence: Confidence of all intervals.
    n_values: Number of values that were fitted.
    n_left_out: Number of values that are not finite or not above 0.
    scatter: Standard deviation of log y around the law. NaN if n = p + 1.
    reason: Reason why there are no intervals. Empty if there are.
  """

  names: tuple[str, ...]
  coefficient: float
  exponents: np.ndarray
  intervals: Mapping[str, Interval]
  confidence: float
  n_values: int
  n_left_out: int
  scatter: float
  reason: str
  _fitted: _Fitted = dataclasses.field(repr=False, compare=False)

  @property
  def exponent(self) -> float:
    """The exponent, if there is one variable.

    Raises:
      ConfigError: If there are several.
    """
    if len(self.exponents) != 1:
      raise ConfigError(
        f'exponent: got {len(self.exponents)} variables, expected one; use exponents'
      )
    return float(self.exponents[0])

  def predict(self, x: npt.ArrayLike) -> np.ndarray:
    """Returns the median y at x.

    Args:
      x: Values of one variable in any shape, or (K, p) or (p,) values of p variables.

    >>> float(fit_power_law([1, 10, 100], [2, 20, 200]).predict(1e4).round(6))
    20000.0
    """
    return np.exp(self._fitted.at_middle + self._centred_logs(x) @ self.exponents)

  def interval(self, x: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Returns (low, high) of a new value at x. NaN if there is no interval.

    It holds the uncertainty of the law, and scatter like that of the fitted values.
    """
    logs = self._centred_logs(x)
    # Variance of a new value: scatter^2 (1 + x (X^T X)^-1 x^T).
    design = np.concatenate([np.ones((*logs.shape[:-1], 1)), logs], axis=-1)
    leverage = np.einsum('...i,ij,...j->...', design, self._fitted.covariance, design)
    variance = self.scatter**2 * (1 + leverage)
    centre = self._fitted.at_middle + logs @ self.exponents
    freedom = self.n_values - len(self.names) - 1
    low, high = _student_interval(centre, np.sqrt(variance), self.confidence, freedom)
    return np.exp(low), np.exp(high)

  def _centred_logs(self, x: npt.ArrayLike) -> np.ndarray:
    values = np.asarray(x, np.float64)
    values = values[..., None] if len(self.names) == 1 else values
    if values.shape[-1:] != (len(self.names),) or not np.all(values > 0):
      raise ConfigError(
        f'x: got shape {np.shape(x)}, expected values above 0 of {", ".join(self.names)}'
      )
    return np.log(values) - self._fitted.middle


@dataclasses.dataclass(frozen=True)
class _Fitted:
  """A fit in logarithms: mean of log x, unscaled covariance, and log y at the mean."""

  middle: np.ndarray
  covariance: np.ndarray
  at_middle: float


def fit_power_law(
  sizes: npt.ArrayLike,
  values: npt.ArrayLike,
  *,
  confidence: float = 0.9,
  names: Sequence[str] | None = None,
) -> PowerLaw:
  """Fits y = c x^k, or y = c x1^k1 x2^k2 ... for several variables, in logarithms.

  Args:
    sizes: (n,) or (n, p) sizes above 0: parameters, tokens, FLOPs.
    values: (n,) values above 0, such as the best learning rate.
    confidence: Confidence of all intervals.
    names: (p,) names of the variables. None takes 'exponent', or 'x0', 'x1', ...

  Returns:
    The law. Its intervals are Student's with n - p - 1 degrees of freedom.

  Raises:
    ConfigError: If lengths differ, fewer than p + 1 values can be used, or variables do not
      vary independently.

  Source: Seber and Lee, Linear Regression Analysis (2003), sections 3.5 and 5.3. The form with
  N and D is that of Step Law (arXiv 2503.04715): learning rate = c N^k1 D^k2.

  >>> law = fit_power_law(
  ...   [[1, 1], [10, 1], [1, 10], [10, 10]], [3, 30, 0.3, 3], names=('N', 'D')
  ... )
  >>> law.exponents.round(6).tolist(), round(law.coefficient, 6)
  ([1.0, -1.0], 3.0)
  """
  x = np.asarray(sizes, np.float64)
  y = np.asarray(values, np.float64)
  x = x[:, None] if x.ndim == 1 else x
  if x.ndim != 2 or y.shape != x.shape[:1] or not x.shape[1]:
    raise ConfigError(
      f'sizes, values: got shapes {np.shape(sizes)} and {y.shape}, expected (n,) or (n, p), '
      'and (n,)'
    )
  p = x.shape[1]
  if names is None:
    names = ['exponent'] if p == 1 else [f'x{j}' for j in range(p)]
  if len(names) != p or not 0 < confidence < 1:
    raise ConfigError(
      f'names, confidence: got {names} and {confidence}, expected {p} names and a number '
      'between 0 and 1'
    )

  # Only values above 0 have a logarithm.
  with np.errstate(invalid='ignore'):
    good = np.all(np.isfinite(x) & (x > 0), axis=1) & np.isfinite(y) & (y > 0)
  n_left_out = int(np.sum(~good))
  return _fit(np.log(x[good]), np.log(y[good]), tuple(names), confidence, n_left_out)


def _fit(
  log_x: np.ndarray,
  log_y: np.ndarray,
  names: tuple[str, ...],
  confidence: float,
  n_left_out: int,
) -> PowerLaw:
  n, p = log_x.shape
  if n < p + 1:
    raise ConfigError(
      f'values: got {n} usable values, expected at least {p + 1} for {p} exponents'
    )

  # Centred logarithms, so that the intercept and the exponents are not correlated.
  middle = log_x.mean(axis=0)
  design = np.column_stack([np.ones(n), log_x - middle])
  # Columns of unit length, so that the condition number measures collinearity alone.
  size = np.linalg.norm(design, axis=0)
  scaled = design / np.where(size > 0, size, 1)
  if not size.all() or np.linalg.cond(scaled) > MAX_CONDITION:
    raise ConfigError(
      f'sizes: got {", ".join(names)} that do not vary independently, expected values that do'
    )

  # Least squares.
  covariance = np.linalg.inv(design.T @ design)
  solved = covariance @ design.T @ log_y
  freedom = n - p - 1
  residuals = log_y - design @ solved
  scatter = float(np.sqrt(residuals @ residuals / freedom)) if freedom else math.nan

  # log c is the law at log x = 0.
  origin = np.r_[1.0, -middle]
  log_c = float(origin @ solved)
  # Variance of a linear form v of the coefficients: v (X^T X)^-1 v^T.
  variances = np.r_[origin @ covariance @ origin, np.diag(covariance)[1:]]
  low, high = _student_interval(
    np.r_[log_c, solved[1:]], scatter * np.sqrt(variances), confidence, freedom
  )
  # The first row is log c. The others are exponents as they are.
  low[0] = np.exp(low[0])
  high[0] = np.exp(high[0])
  reason = f'the law fits {n} values exactly, because it has as many parameters'
  return PowerLaw(
    names=names,
    coefficient=float(np.exp(log_c)),
    exponents=solved[1:],
    intervals=dict(zip(('coefficient', *names), zip(low.tolist(), high.tolist()))),
    confidence=confidence,
    n_values=n,
    n_left_out=n_left_out,
    scatter=scatter,
    reason='' if freedom else reason,
    _fitted=_Fitted(middle, covariance, float(solved[0])),
  )


def _student_interval(
  centre: np.ndarray, errors: np.ndarray, confidence: float, freedom: int
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the lower and upper ends of Student's intervals."""
  from scipy import stats

  quantile = stats.t.ppf((1 + confidence) / 2, freedom) if freedom else math.nan
  reach = errors * quantile
  return centre - reach, centre + reach
