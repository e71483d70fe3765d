"""The step at which a loss curve diverged."""

from __future__ import annotations

import numpy as np

from lmhp.statistics.smoothing import smooth


def diverged_at(
  losses: np.ndarray, first_step: int = 0, half_life: float = 20.0
) -> int | None:
  """The step at which a run diverged, or None.

  A run diverged at the first step whose loss is not finite, or at the step from which its smoothed loss stays above
  its initial value until the end. The first `half_life` steps are the run's start and decide nothing.

  Args:
    losses: (S,) training loss of every step, nats.
    first_step: number of the first of them.
    half_life: of the smoothing, steps.

  >>> diverged_at(np.array([4.0, 3.0, np.nan, 3.0]))
  2
  """
  losses = np.asarray(losses, np.float64)
  bad = np.flatnonzero(~np.isfinite(losses))
  if bad.size:
    return first_step + int(bad[0])
  if len(losses) <= 2 * half_life:
    return None
  above = smooth(losses, half_life) > losses[0]
  if not above[-1]:
    return None
  below = np.flatnonzero(~above)
  return first_step + (int(below[-1]) + 1 if below.size else 0)
