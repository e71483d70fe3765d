"""Rank correlation."""

from __future__ import annotations

import numpy as np


def spearman(a: np.ndarray, b: np.ndarray) -> float:
  """Spearman's rank correlation; ties share the mean of their ranks, infinities are the first and the last.

  Args:
    a: (n,) float.
    b: (n,) float.

  Returns:
    -1 to 1; NaN where one side is all equal, or something is NaN.

  >>> spearman([1.0, 2.0, 3.0], [10.0, 30.0, 20.0])
  0.5
  """
  a, b = paired_arrays(a, b)
  if np.isnan(a).any() or np.isnan(b).any():
    return float('nan')
  a, b = (
    (ranks - ranks.mean() for ranks in (_ranks(a), _ranks(b))) if a.size else (a, b)
  )
  scale = np.sqrt(np.sum(a**2) * np.sum(b**2))
  return float(np.clip(np.sum(a * b) / scale, -1, 1)) if scale else float('nan')


def _ranks(values: np.ndarray) -> np.ndarray:
  """From 1 up; of equal values, the mean of theirs."""
  _, place, count = np.unique(values, return_inverse=True, return_counts=True)
  return (np.cumsum(count) - (count - 1) / 2)[place]


def paired_arrays(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
  if a.shape != b.shape or a.ndim != 1:
    raise ValueError(
      f'expected two lists of one length, got shapes {a.shape} and {b.shape}'
    )
  return a, b
