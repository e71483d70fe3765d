"""Smoothing of series."""

from __future__ import annotations

import numpy as np


def smooth(values: np.ndarray, half_life: float) -> np.ndarray:
  """Exponential moving average along the first axis, without the bias of its start.

  Args:
    values: (S,) float.
    half_life: after how many values a value's weight has halved.

  Returns:
    (S,) float64; where a value is not finite, so is all that follows.

  >>> smooth(np.array([1.0, 3.0]), half_life=1.0).round(3).tolist()
  [1.0, 2.333]
  """
  decay = 0.5 ** (1 / half_life)
  mean, weight, out = 0.0, 0.0, np.empty(len(values))
  for i, value in enumerate(np.asarray(values, np.float64)):
    mean, weight = decay * mean + (1 - decay) * value, decay * weight + (1 - decay)
    out[i] = mean / weight
  return out
