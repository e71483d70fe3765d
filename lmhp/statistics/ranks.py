"""Rank correlation and its test against chance, and lists of numbers as arrays."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from lmhp.errors import ConfigError

N_PERMUTATIONS = 9999
"""Number of random permutations of a test, if there are more permutations than this."""


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


def spearman_p_value(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
  """Returns the p-value of a positive rank correlation, by a permutation test.

  The p-value is the probability that Spearman's correlation is at least as large as that of
  `a` and `b`, if each order of `b` is equally likely. It is exact for at most 7 numbers. For
  more numbers, it comes from `N_PERMUTATIONS` random orders, always the same ones. Equal
  numbers need no correction.

  Args:
    a: (n,) float. Infinities are allowed.
    b: (n,) float.

  Returns:
    A number above 0 and at most 1. NaN if `spearman` is NaN.

  Raises:
    ValueError: If the shapes differ.

  >>> spearman_p_value([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]) * 24
  1.0
  """
  from scipy.stats import rankdata

  if np.isnan(spearman(a, b)):
    return float('nan')
  return _p_value_of_ranks(tuple(rankdata(a).tolist()), tuple(rankdata(b).tolist()))


@functools.lru_cache(maxsize=64)
def _p_value_of_ranks(ranks_a: tuple[float, ...], ranks_b: tuple[float, ...]) -> float:
  """Returns the p-value of a positive correlation of ranks.

  The result is cached, because a search tests the same scores after each of its stages.
  """
  from scipy.stats import permutation_test

  # Permutations change neither the means nor the variances of the ranks. So the sum of their
  # products orders the permutations as Spearman's correlation does.
  fixed = np.array(ranks_b)
  result = permutation_test(
    (np.array(ranks_a),),
    lambda ranks, axis: np.sum(ranks * fixed, axis=axis),
    permutation_type='pairings',
    alternative='greater',
    vectorized=True,
    n_resamples=N_PERMUTATIONS,
    rng=0,
  )
  return float(result.pvalue)


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
