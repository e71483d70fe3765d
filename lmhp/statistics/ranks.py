"""Rank correlation, and lists of numbers as arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lmhp.errors import ConfigError


def spearman(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
  """Returns Spearman's rank correlation of two lists of numbers.

  Equal numbers all have the mean of their ranks. Infinities have the first and last ranks.

  Args:
    a: (n,) float.
    b: (n,) float.

  Returns:
    A number from -1 to 1. NaN if the lists are empty, if all numbers of one list are equal, or
    if a number is NaN.

  Raises:
    ValueError: If the shapes differ.

  >>> spearman([1.0, 2.0, 3.0], [10.0, 30.0, 20.0])
  0.5
  """
  # The import takes long, and only a few callers need it.
  from scipy.stats import rankdata

  a, b = check_paired(a, b)
  if not a.size or np.isnan(a).any() or np.isnan(b).any():
    return float('nan')
  ranks_a = rankdata(a)
  ranks_b = rankdata(b)

  # Pearson's correlation of the ranks. Ranks and their mean are multiples of 1/2, so their sums
  # have no rounding errors.
  centered_a = ranks_a - ranks_a.mean()
  centered_b = ranks_b - ranks_b.mean()
  scale = np.sqrt(np.sum(centered_a**2) * np.sum(centered_b**2))
  if not scale:
    return float('nan')
  return float(np.clip(np.sum(centered_a * centered_b) / scale, -1, 1))


def check_paired(
  a: npt.ArrayLike, b: npt.ArrayLike, names: str = 'a, b'
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
  """Returns two lists of numbers as arrays, and checks that they have the same length.

  Args:
    a: (n,) float.
    b: (n,) float.
    names: Names of both lists, for the error message.

  Raises:
    ConfigError: If the shapes differ, or if they are not (n,).

  >>> check_paired([1, 2], [3, 4])[1].tolist()
  [3.0, 4.0]
  """
  a = as_numbers(a, names)
  b = as_numbers(b, names)
  if a.shape != b.shape or a.ndim != 1:
    raise ConfigError(
      f'{names}: got shapes {a.shape} and {b.shape}, expected two lists of one length'
    )
  return a, b


def as_numbers(values: npt.ArrayLike, name: str) -> npt.NDArray[np.float64]:
  """Returns numbers as an array. A column (n, 1) becomes a list (n,).

  Args:
    values: Numbers, such as a list, an array, or a column of a DataFrame.
    name: Name of the argument, for the error message.

  Raises:
    ConfigError: If a value is no number.

  >>> as_numbers([[1], [2]], 'losses').tolist()
  [1.0, 2.0]
  """
  try:
    numbers = np.asarray(values, np.float64)
  except (TypeError, ValueError) as error:
    raise ConfigError(f'{name}: expected numbers, and {error}') from None
  return numbers[:, 0] if numbers.ndim == 2 and numbers.shape[1] == 1 else numbers
