"""Signs in the logged rows of a run that nothing was trained, although no loss is infinite."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MAX_FRACTION = 0.5
"""Fraction of the rows above which a sign counts."""


def untrained_reason(
  losses: npt.ArrayLike, gradient_norms: npt.ArrayLike = ()
) -> str | None:
  """Returns a sentence on the reason for which a run trained nothing, or None.

  Args:
    losses: (S,) training losses in nats.
    gradient_norms: (S,) norms of the gradient at the same steps, or empty if they are unknown.

  >>> untrained_reason([0.0, 0.0, 0.0])
  'the training loss is exactly 0 in 3 of 3 logged rows, so no token was a target'
  """
  losses = np.asarray(losses, np.float64)
  n_rows = len(losses)
  if not n_rows:
    return None

  # A loss can fall to 0 only after the start. At the first step, it is 0 without targets.
  n_zero = int((losses == 0).sum())
  if losses[0] == 0 and n_zero > MAX_FRACTION * n_rows:
    return (
      f'the training loss is exactly 0 in {n_zero} of {n_rows} logged rows, so no token was a '
      'target'
    )

  # A loss that is not finite is a divergence, which is reported as one.
  norms = np.asarray(gradient_norms, np.float64)
  if len(norms) != n_rows:
    return None
  n_infinite = int((~np.isfinite(norms) & np.isfinite(losses)).sum())
  if n_infinite > MAX_FRACTION * n_rows:
    return (
      f'the norm of the gradient is not finite in {n_infinite} of {n_rows} logged rows, so '
      'these steps trained nothing'
    )
  return None
