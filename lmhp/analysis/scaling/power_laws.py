"""Power laws y = c x1^k1 x2^k2 ..., such as the best learning rate against N and D.

They are fitted by least squares in logarithms. The Student intervals are exact if the errors of
log y are normal with variances proportional to 1 / weight. A best learning rate that
is read off a grid has the grid's step as its error. The intervals see this only as scatter, and
a law through two or three sizes has no useful interval.

Dimension key: n values, p variables, K places.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
import dataclasses
import math
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from lmhp.analysis.scaling.estimates import Fit, usable_rows
from lmhp.errors import ConfigError
from lmhp.statistics.intervals import check_confidence, student_quantile
from lmhp.statistics.ranks import as_numbers

MAX_CONDITION = 1e8


@runtime_checkable
class Frame(Protocol):
  """A table with named columns, such as a DataFrame."""

  columns: Iterable[object]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PowerLaw(Fit):
  """A fitted law y = offset + coefficient * prod_j x_j^exponents_j.

  Its `estimates` are 'coefficient', and each exponent by its variable's name ('exponent' if there
  is one variable). There are no intervals if no value is left to estimate the scatter.

  Attributes:
    names: (p,) names of the variables.
    coefficient: c, in the unit of y.
    exponents: (p,) exponents.
    offset: Known limit of y, in its unit. 0 for a plain power law.
    scatter: Standard deviation of log(y - offset) around the law. NaN if n = p + 1.
  """

  FORMULA: ClassVar[str] = 'log(y - offset) = log(coefficient) + sum of exponent log(x)'

  names: tuple[str, ...]
  coefficient: float
  exponents: np.ndarray
  offset: float
  scatter: float
  _solved: _Solved = dataclasses.field(repr=False, compare=False)

  @property
  def estimates(self) -> dict[str, float]:
    """Coefficient and exponents by name."""
    exponents = dict(zip(self.names, self.exponents.tolist()))
    return {'coefficient': self.coefficient, **exponents}

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
    return self.offset + np.exp(self._design(x) @ self._solved.coefficients)

  def interval(self, x: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Returns (low, high) of a new value at x with the mean weight. NaN if there is no interval.

    It holds the uncertainty of the law, and scatter like that of the fitted values.
    """
    design = self._design(x)
    centre = design @ self._solved.coefficients
    # Variance of a new value: scatter^2 (1 + x (X^T X)^-1 x^T).
    leverage = np.einsum('...i,ij,...j->...', design, self._solved.inverse, design)
    reach = (
      self._solved.quantile(self.confidence) * self.scatter * np.sqrt(1 + leverage)
    )
    return self.offset + np.exp(centre - reach), self.offset + np.exp(centre + reach)

  def _design(self, x: npt.ArrayLike) -> np.ndarray:
    """Returns (..., p + 1) a one and the centred logarithms of x."""
    values = np.asarray(x, np.float64)
    values = values[..., None] if len(self.names) == 1 else values
    if values.shape[-1:] != (len(self.names),) or not np.all(values > 0):
      raise ConfigError(
        f'x: got shape {np.shape(x)}, expected values above 0 of {", ".join(self.names)}'
      )
    logs = np.log(values) - self._solved.middle
    return np.concatenate([np.ones((*logs.shape[:-1], 1)), logs], axis=-1)


@dataclasses.dataclass(frozen=True)
class _Solved:
  """Least squares in logarithms: mean of log x, (X^T X)^-1, coefficients, degrees of freedom.

  The first coefficient is log y at the mean, which does not depend on the exponents.
  """

  middle: np.ndarray
  inverse: np.ndarray
  coefficients: np.ndarray
  freedom: int

  def quantile(self, confidence: float) -> float:
    """Returns Student's quantile at the upper end of an interval."""
    has_freedom = self.freedom > 0
    return (
      student_quantile((1 + confidence) / 2, self.freedom) if has_freedom else math.nan
    )


def fit_power_law(
  sizes: npt.ArrayLike,
  values: npt.ArrayLike,
  *,
  offset: float = 0.0,
  weights: npt.ArrayLike | None = None,
  confidence: float = 0.9,
  names: Sequence[str] | None = None,
) -> PowerLaw:
  """Fits y = offset + c x^k, or y = offset + c x1^k1 x2^k2 ..., in logarithms.

  Args:
    sizes: (n,) or (n, p) sizes above 0: parameters, tokens, FLOPs. A DataFrame has one variable
      in each column.
    values: (n,) values above the offset, such as the best learning rate.
    offset: Known limit of the values, such as an irreducible loss. To fit it, use
      `fit_compute_law`.
    weights: (n,) inverse variances of log(y - offset), up to a common factor: the error of a
      value of weight 4 is half of that of a value of weight 1. None stands for equal weights. A
      value of weight 0 is left out.
    confidence: Confidence of all intervals.
    names: (p,) names of the variables. None takes those of a DataFrame's columns, or
      'exponent', or 'x0', 'x1', ...

  Returns:
    The law. Its intervals are Student's with n - p - 1 degrees of freedom.

  Raises:
    ConfigError: If a value is no number, lengths differ, fewer than p + 1 values can be used, or
      variables do not vary independently.

  Source: Seber and Lee, Linear Regression Analysis (2003), sections 3.5, 3.10 and 5.3. The form
  with N and D is that of Step Law (arXiv 2503.04715): learning rate = c N^k1 D^k2.

  >>> law = fit_power_law(
  ...   [[1, 1], [10, 1], [1, 10], [10, 10]], [3, 30, 0.3, 3], names=('N', 'D')
  ... )
  >>> law.exponents.round(6).tolist(), round(law.coefficient, 6)
  ([1.0, -1.0], 3.0)
  >>> law = fit_power_law([1, 10, 100], [5.1, 3.0, 2.4], offset=2)
  >>> round(law.exponent, 3), round(law.se['exponent'], 3)
  (-0.445, 0.027)
  """
  x = as_numbers(sizes, 'sizes')
  y = as_numbers(values, 'values')
  x = x[:, None] if x.ndim == 1 else x
  if x.ndim != 2 or y.shape != x.shape[:1] or not x.shape[1]:
    raise ConfigError(
      f'sizes, values: got shapes {np.shape(sizes)} and {y.shape}, expected (n,) or (n, p), '
      'and (n,)'
    )
  p = x.shape[1]
  if names is None:
    names = ['exponent'] if p == 1 else [f'x{j}' for j in range(p)]
    if isinstance(sizes, Frame):
      names = [str(name) for name in sizes.columns]
  if len(names) != p:
    raise ConfigError(f'names: got {names}, expected {p} names')
  check_confidence(confidence)

  # Only values above the offset have a logarithm.
  columns = {f'x{j}': x[:, j] for j in range(p)}
  columns |= {'values': y - offset, 'weights': weights}
  table, n_left_out = usable_rows(columns, p + 1)
  log_x = np.log(table[:p]).T
  log_y = np.log(table[p])
  root = np.sqrt(table[p + 1] / table[p + 1].mean())
  solved, scatter = _solve(log_x, log_y, root, names)

  # log c is the law at log x = 0. A linear form v of the coefficients has the variance
  # scatter^2 v (X^T X)^-1 v^T.
  forms = np.eye(p + 1)
  forms[0, 1:] = -solved.middle
  logs = forms @ solved.coefficients
  cov = scatter**2 * forms @ solved.inverse @ forms.T
  reach = solved.quantile(confidence) * np.sqrt(np.diag(cov))
  ends = np.stack([logs - reach, logs + reach], axis=1)
  # The first row is log c. The others are exponents as they are.
  ends[0] = np.exp(ends[0])
  coefficient = math.exp(logs[0])
  scale = np.r_[coefficient, np.ones(p)]
  reason = (
    f'the law fits {len(log_y)} values exactly, because it has as many parameters'
  )
  return PowerLaw(
    names=tuple(names),
    coefficient=coefficient,
    exponents=logs[1:],
    offset=offset,
    intervals=dict(zip(('coefficient', *names), map(tuple, ends.tolist()))),
    confidence=confidence,
    n_runs=len(log_y),
    n_left_out=n_left_out,
    scatter=scatter,
    reason='' if solved.freedom else reason,
    _solved=solved,
    # The error of c is c times that of log c.
    _cov=cov * np.outer(scale, scale),
  )


def _solve(
  log_x: np.ndarray, log_y: np.ndarray, root: np.ndarray, names: Sequence[str]
) -> tuple[_Solved, float]:
  """Returns the weighted least squares, and the scatter of a value of mean weight."""
  n, p = log_x.shape
  # Centred logarithms, so that the intercept and the exponents are not correlated.
  middle = np.average(log_x, axis=0, weights=root**2)
  design = np.column_stack([np.ones(n), log_x - middle]) * root[:, None]
  # Columns of unit length, so that the condition number measures collinearity alone.
  size = np.linalg.norm(design, axis=0)
  scaled = design / np.where(size > 0, size, 1)
  if not size.all() or np.linalg.cond(scaled) > MAX_CONDITION:
    raise ConfigError(
      f'sizes: got {", ".join(names)} that do not vary independently, expected values that do'
    )
  inverse = np.linalg.inv(design.T @ design)
  coefficients = inverse @ design.T @ (root * log_y)
  residuals = root * log_y - design @ coefficients
  freedom = n - p - 1
  scatter = math.sqrt(residuals @ residuals / freedom) if freedom else math.nan
  return _Solved(middle, inverse, coefficients, freedom), scatter
