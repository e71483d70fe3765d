"""The step at which a training loss diverged."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lmhp.statistics.smoothing import exponential_moving_average

FACTOR_OF_SHORT_RUNS = 3.0
"""Multiple of its initial loss above which the losses of a short run show a divergence."""


def diverged_at(
  losses: npt.ArrayLike, first_step: int = 0, half_life: float = 20.0
) -> int | None:
  """Returns the step at which a run diverged, or None.

  If a loss is not finite, the run diverged at the first such step. If all are finite, it
  diverged at the step from which its smoothed loss stays above its initial loss until the end.
  This second rule needs a run of more than two half-lives. A shorter run diverged if its losses
  stay above a multiple of the initial loss (`FACTOR_OF_SHORT_RUNS`) until the end.

  Args:
    losses: (S,) training loss of every step, in nats.
    first_step: Number of the step of `losses[0]`.
    half_life: Half-life of the exponential moving average, in steps.

  >>> diverged_at([4.0, 3.0, float('nan'), 3.0])
  2
  """
  losses = np.asarray(losses, np.float64)
  nonfinite = np.flatnonzero(~np.isfinite(losses))
  if nonfinite.size:
    return first_step + int(nonfinite[0])

  if not len(losses):
    return None
  if len(losses) <= 2 * half_life:
    # The average of few losses says little. The first loss counts as at least 1 nat.
    rise = (FACTOR_OF_SHORT_RUNS - 1) * max(abs(losses[0]), 1.0)
    is_above = losses > losses[0] + rise
  else:
    is_above = exponential_moving_average(losses, half_life) > losses[0]

  # The run diverged right after the last step at which its loss was not above the limit. If
  # that is the last step of all, it did not diverge.
  first_above = int(np.flatnonzero(~is_above).max(initial=-1)) + 1
  return None if first_above == len(losses) else first_step + first_above
