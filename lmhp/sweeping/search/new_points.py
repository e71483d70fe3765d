"""Choice of the new points of a cohort: valid points that no earlier trial has.

A point is one assignment of values to the parameters of the space. Two points are the same if
their trials would be: their programs, their traced numbers and their lengths are equal. A trial
that is trained twice gives no new result, and would count twice in the report.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
import dataclasses
from typing import NamedTuple

import jax
import numpy as np

from lmhp.errors import ConfigError
from lmhp.sweeping.search import designs
from lmhp.sweeping.search.method import SEARCH_METHODS, SearchState
from lmhp.sweeping.space import Point
from lmhp.sweeping.store.trial import Trial
from lmhp.sweeping.tasks.task import Job, Overrides, Task

MIN_EXTRA_POINTS = 100
"""Smallest number of further points that are drawn if some points are dropped."""

EXTRA_FACTOR = 10
"""Number of further points that are drawn, as a multiple of the points of the cohort."""


class NewPoints(NamedTuple):
  """The points of a cohort.

  Attributes:
    points: The points.
    n_drawn: Number of points that the method proposed up to the last of these, with those that
      were dropped.
    n_repeated: Number of dropped points that are the same as an earlier point.
    n_invalid: Number of dropped points that are no valid config.
    error: Error of the first invalid point. None if there is none.
  """

  points: list[Point]
  n_drawn: int
  n_repeated: int
  n_invalid: int
  error: ConfigError | None

  def describe(self) -> str:
    """Returns the dropped points in words. Empty if there are none."""
    parts = []
    if self.n_repeated:
      parts.append(f'left out: {self.n_repeated} repetitions of other points')
    if self.n_invalid:
      parts.append(
        f'left out: {self.n_invalid} of {self.n_invalid + len(self.points)} different points, '
        f'which are no valid config, such as {self.error}'
      )
    return '; '.join(parts)


def new_points(
  task: Task,
  method: str,
  state: SearchState,
  n_points: int,
  earlier: Set[bytes],
) -> NewPoints:
  """Returns new points of a search.

  If points are dropped, the method proposes more, if it can.

  Args:
    task: Task of the sweep.
    method: Name of the search method.
    state: State of the study before the cohort.
    n_points: Number of points that are wanted. Fewer are returned if the space has no more.
    earlier: Identities of the earlier points.
  """
  search = SEARCH_METHODS[method]
  # An invalid point of a method that depends on results becomes a failed trial, so that it is
  # not proposed again and again.
  keeps_invalid = search.depends_on_results
  proposed = search.propose(state, n_points)
  found = _different(task, proposed, earlier, n_points, keeps_invalid)
  if len(found.points) == n_points or not search.extends:
    return found

  # A longer list begins with the same points.
  n_more = n_points + max(MIN_EXTRA_POINTS, EXTRA_FACTOR * n_points)
  if not search.depends_on_results:
    limit = designs.max_points(state.space)
    if limit is not None:
      n_more = max(n_points, min(n_more, limit - state.n_drawn))
    proposed = search.propose(state, n_more)
    return _different(task, proposed, earlier, n_points, keeps_invalid)

  # A sampler prefers the neighbourhood of good points, all of which may be known in a small space.
  # Points of a design replace the repetitions.
  proposed = [
    *proposed,
    *SEARCH_METHODS['halton'].propose(
      dataclasses.replace(state, n_drawn=0, earlier_spaces=()), n_more
    ),
  ]
  return _different(task, proposed, earlier, n_points, keeps_invalid)


def _different(
  task: Task,
  proposed: Sequence[Point],
  earlier: Set[bytes],
  n_points: int,
  keeps_invalid: bool,
) -> NewPoints:
  """Returns the first different points among those that a method proposes."""
  known = set(earlier)
  points: list[Point] = []
  n_repeated = 0
  n_invalid = 0
  first_error = None
  n_drawn = 0
  for point in proposed:
    if len(points) == n_points:
      break
    n_drawn += 1
    try:
      identity = identity_of_job(task.job(task.with_matched_length(point.overrides)))
    except ConfigError as error:
      identity = _identity_of_parameters(point.parameters)
      if not keeps_invalid:
        # A point that is proposed twice counts once.
        n_invalid += identity not in known
        known.add(identity)
        first_error = first_error or error
        continue
    if identity in known:
      n_repeated += 1
      continue
    known.add(identity)
    points.append(point)
  return NewPoints(points, n_drawn, n_repeated, n_invalid, first_error)


def identity_of_job(job: Job) -> bytes:
  """Returns bytes that are equal for jobs whose trials are the same."""
  leaves, structure = jax.tree.flatten(job.hypers)
  numbers = b''.join(np.asarray(leaf).tobytes() for leaf in leaves)
  return repr((job.structure, job.steps, str(structure))).encode() + numbers


def identity_of_point(task: Task, trial: Trial) -> bytes:
  """Returns bytes that are equal for trials of the same point, or of points that are the same."""
  # The seeds that a sweep adds are no values of the point.
  added = set(task.seed_paths) - set(trial.parameters)
  overrides = {path: v for path, v in trial.overrides.items() if path not in added}
  try:
    return identity_of_job(task.job(overrides))
  except ConfigError:
    return _identity_of_parameters(trial.parameters)


def _identity_of_parameters(parameters: Overrides) -> bytes:
  return repr(sorted(parameters.items())).encode()
