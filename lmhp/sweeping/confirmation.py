"""After the search: is the winner better than what one had, on seeds that chose neither?"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import math

import numpy as np

from lmhp.statistics.intervals import mean_interval, paired_difference
from lmhp.statistics.seed_noise import pooled_standard_deviation
from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.engine import Engine
from lmhp.sweeping.execution.stages import Stage
from lmhp.sweeping.store.trial import Trial

FIRST_REPLICATE = 1000
"""Seeds of the confirmation: none that a search of fewer seeds a point has used."""

BASE = -1
"""The base config's number among points."""


@dataclasses.dataclass(frozen=True)
class Confirmed:
  """A point on new seeds, beside the base config on the same.

  Attributes:
    point: its number; None is the base config.
    values: objective on each seed.
    mean: of these.
    interval: 95%, of the mean over seeds.
    difference: mean of point minus base, seed by seed.
    difference_interval: 95%.
    diverged: of how many seeds this point or the base config diverged; differences are NaN then.
  """

  point: int | None
  values: tuple[float, ...]
  mean: float
  interval: tuple[float, float]
  difference: float
  difference_interval: tuple[float, float]
  diverged: int = 0


def ranked(trials: Sequence[Trial], direction: str) -> list[int]:
  """Points that were trained to the end, the best first, by the mean of their objective over seeds."""
  by_point: dict[int, list[Trial]] = {}
  for trial in trials:
    if trial.cohort.startswith(('search-', 'seeds-', 'pbt')):
      by_point.setdefault(trial.point, []).append(trial)
  sign = -1.0 if direction == 'maximize' else 1.0
  whole = {
    point: float(np.mean([t.values[0] for t in own]))
    for point, own in by_point.items()
    if all(t.status == 'complete' for t in own)
  }  # a seed that diverged tells of the others, too
  return sorted(whole, key=lambda point: (sign * whole[point], point))


def confirm(
  engine: Engine, sweep: SweepConfig, planned_steps: float
) -> list[Confirmed]:
  """Trains the best points and the base config on new seeds: init, dropout and the order of the data, all redrawn.

  Returns:
    The points, the best of the search first, and last the base config; empty where nothing was asked for or found.
  """
  best = ranked(list(engine.trials.values()), sweep.directions[0])[
    : sweep.confirm_points
  ]
  if (
    not best or not engine.task.seed_paths
  ):  # without a seed it would be the same trial again
    return []
  like = {
    t.point: t
    for t in reversed(engine.trials.values())
    if t.cohort.startswith('search-')
  }
  points = [*best, BASE]
  if new := _new_trials(engine, sweep, points, like):
    engine.add(new)
  for name in engine.cohorts('confirm'):
    trials = engine.trials_of_cohort(name)
    engine.train_to(
      Stage(
        name=name,
        trials=tuple(t.number for t in trials),
        data_per_trial=True,
        planned_steps=planned_steps,
      )
    )
  found = {
    point: list(_confirming(engine, point).values())[: sweep.confirm_seeds]
    for point in points
  }
  return [
    _confirmed(None if point == BASE else point, found[point], found[BASE])
    for point in points
  ]


def _confirming(engine: Engine, point: int) -> dict[int, Trial]:
  """A point's trials of the confirmation by their seed, in its order."""
  return {
    t.seed: t
    for t in engine.trials.values()
    if t.cohort.startswith('confirm-') and t.point == point
  }


def _new_trials(
  engine: Engine, sweep: SweepConfig, points: Sequence[int], like: dict[int, Trial]
) -> list[Trial]:
  """The trials of the confirmation that the study has not yet, as a cohort."""
  number, new = len(engine.trials), []
  cohort = f'confirm-{len(engine.cohorts("confirm"))}'
  for point in points:
    parameters, overrides = (
      (like[point].parameters, like[point].overrides) if point in like else ({}, {})
    )
    plain = {
      path: v for path, v in overrides.items() if path not in engine.task.seed_paths
    }
    known = _confirming(engine, point)
    for replicate in range(FIRST_REPLICATE, FIRST_REPLICATE + sweep.confirm_seeds):
      seeded = engine.task.with_seed(plain, replicate, reseed_data=True)
      if seeded.seed not in known:
        new.append(
          Trial(
            number=number + len(new),
            point=point,
            seed=seeded.seed,
            overrides=seeded.overrides,
            parameters=parameters,
            cohort=cohort,
          )
        )
  return new


def _confirmed(point: int | None, trials: list[Trial], base: list[Trial]) -> Confirmed:
  values = [t.values[0] for t in trials]
  mean, low, high = mean_interval(values)
  diverged = sum('diverged' in (a.status, b.status) for a, b in zip(trials, base))
  difference = (
    (math.nan,) * 3
    if diverged
    else paired_difference(values, [t.values[0] for t in base])
  )
  return Confirmed(
    point, tuple(values), mean, (low, high), difference[0], difference[1:], diverged
  )


def noise(trials: Sequence[Trial]) -> float:
  """Standard deviation of the objective between seeds of one point, pooled over all points that have several."""
  groups: dict[tuple[str, int], list[float]] = {}
  for t in trials:
    if t.status == 'complete':
      groups.setdefault(
        ('confirm' if t.cohort.startswith('confirm') else 'search', t.point), []
      ).append(t.values[0])
  return pooled_standard_deviation(list(groups.values())) if groups else math.nan
