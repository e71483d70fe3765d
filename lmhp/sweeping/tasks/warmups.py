"""The longest warmup of the trials of a language model, in whatever unit the warmups are given."""

from __future__ import annotations

from lmhp.errors import ConfigError
from lmhp.sweeping.space import CompiledSpace, Space, is_number, values_of
from lmhp.sweeping.tasks.model_jobs import config_of
from lmhp.sweeping.tasks.task import Overrides, Task

N_POINTS = 64
"""Number of points of the space whose lengths are compared."""

WARMUP = 'schedule.warmup_'
"""Beginning of the keys that give the length of a warmup."""


def longest_warmup_fraction(task: Task, space: Space) -> float:
  """Returns the longest warmup of the base config and of the points of a space.

  Args:
    task: Task that trains language models.
    space: Space of the sweep.

  Returns:
    The length as a fraction of training.
  """
  fractions = [_warmup_fraction(task, {})]
  for point in CompiledSpace(space).random_points(N_POINTS):
    # The fraction of a warmup in steps or tokens depends on the length and the batch size of the
    # point. All warmups of the space are combined with these.
    longest = {
      path: max(filter(is_number, values_of(space, path)), default=value)
      for path, value in point.overrides.items()
      if path.startswith(WARMUP)
    }
    for overrides in (point.overrides, {**point.overrides, **longest}):
      try:
        fractions.append(_warmup_fraction(task, overrides))
      except ConfigError:
        # The combination is not valid. The search leaves out such a point.
        continue
  return max(fractions)


def _warmup_fraction(task: Task, overrides: Overrides) -> float:
  """Returns the warmup of a trial as a fraction of training, whatever its unit is."""
  job = task.job(task.with_matched_length(overrides))
  return config_of(job).schedule.warmup_fraction
