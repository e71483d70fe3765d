"""Confirmation: the winner and the base config on fresh seeds, pair by pair."""

from __future__ import annotations

from lmhp.analysis.runs.table import BASE_POINT, Runs
from lmhp.statistics.confirmation import Confirmation, SeedLoss, confirm_on_seeds


def confirm(runs: Runs, point: int) -> Confirmation | None:
  """Compares a point with the base config on the seeds that both ran with.

  Args:
    runs: Table of runs, with the runs of the confirmation.
    point: Point of the winner.

  Returns:
    The comparison. None if the base config did not run with a seed of the winner.
  """
  return confirm_on_seeds(
    _by_seed(runs.confirmation_runs(point)),
    _by_seed(runs.confirmation_runs(BASE_POINT)),
  )


def _by_seed(runs: Runs) -> dict[int, SeedLoss]:
  """Returns the result of each seed."""
  return {
    int(seed): SeedLoss(float(loss), bool(status == 'diverged'))
    for seed, loss, status in zip(runs.seed, runs.losses, runs.status, strict=True)
  }
