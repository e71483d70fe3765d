"""The confirmation after a search: the best points against the base config, on new seeds.

A point is one assignment of values to the parameters of the space. Its trials differ only in
their seed. The replicate of a trial is a number that is different for each trial of its point.
The seed of the trial is made from it. A cohort is a set of trials that the study adds at one
time. The cohorts of the confirmation have the names "confirm-0", "confirm-1" and so on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
import math

import numpy as np

from lmhp.statistics.confirmation import SeedLoss, confirm_on_seeds
from lmhp.statistics.intervals import mean_interval
from lmhp.statistics.seed_noise import pooled_standard_deviation
from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.engine import Engine
from lmhp.sweeping.store.trial import Trial, trials_by_point

FIRST_REPLICATE = 1000
"""First replicate of the confirmation. The search uses the replicates 0, 1, 2 and so on, so the
seeds of the confirmation are new."""

BASE = -1
"""Point number that means the base config."""


@dataclasses.dataclass(frozen=True)
class ConfirmedPoint:
  """A point on new seeds, compared with the base config on the same seeds.

  The intervals are 95% confidence intervals.

  Attributes:
    point: Number of the point, or None for the base config.
    values: Objective on each seed.
    mean: Mean of the values.
    interval: Interval of the mean over seeds.
    difference: Mean over seeds of the value of the point minus that of the base config. NaN if
      a run diverged.
    difference_interval: Interval of the difference.
    diverged: (number of seeds on which the point diverged, number of seeds on which the base
      config diverged).
    verdict: 'better' or 'worse' than the base config, 'no significant difference', or
      'unknown' if there are too few results.
  """

  point: int | None
  values: tuple[float, ...]
  mean: float
  interval: tuple[float, float]
  difference: float
  difference_interval: tuple[float, float]
  diverged: tuple[int, int]
  verdict: str


def confirm(
  engine: Engine, sweep: SweepConfig, planned_steps: float
) -> list[ConfirmedPoint]:
  """Trains the best points and the base config on new seeds.

  The seeds change the initial parameters, dropout and the order of the data.

  Args:
    engine: Engine of the study.
    sweep: Config of the sweep.
    planned_steps: Number of updates that the search was planned for. If it is large, the engine
      measures more of the methods (`vmap`, `map` and `loop`) of training a pack, a group of
      trials that train together.

  Returns:
    The points, the best of the search first, then the base config. Empty if there are no
    points to confirm.
  """
  ranked = ranked_points(list(engine.trials.values()), sweep.signs[0])
  best = ranked[: sweep.confirm_points]
  # A task without seeds would repeat the same trial.
  if not best or not engine.task.seed_paths:
    return []

  # Train the trials that the study does not have yet.
  points = [*best, BASE]
  engine.train_cohorts(
    'confirm',
    _new_trials(engine, sweep, points),
    data_per_trial=True,
    planned_steps=planned_steps,
  )

  # Compare each point with the base config, seed by seed.
  results = {}
  for point in points:
    trials = list(_trials_by_seed(engine, point).values())[: sweep.confirm_seeds]
    results[point] = {trial.seed: _value(trial) for trial in trials}
  return [
    _confirmed_point(point, results[point], results[BASE], sweep.signs[0])
    for point in points
  ]


def ranked_points(trials: Sequence[Trial], sign: float) -> list[int]:
  """Returns the numbers of the complete points, sorted by mean objective over their seeds.

  The best point is the first.

  Args:
    trials: Trials of a study. Those of the confirmation are left out.
    sign: -1 if the objective is maximized, else 1.
  """
  searched = [trial for trial in trials if not trial.cohort.startswith('confirm-')]
  means = {}
  for point, group in trials_by_point(searched).items():
    # A point is not reliable if one of its seeds diverged.
    if all(trial.status == 'complete' for trial in group):
      means[point] = sign * float(np.mean([_value(t).loss for t in group]))
  # Ties go to the point with the lower number.
  return sorted(means, key=lambda point: (means[point], point))


def seed_noise(trials: Sequence[Trial]) -> float:
  """Returns the standard deviation between seeds of one point, pooled over all points."""
  groups: dict[tuple[bool, int], list[float]] = {}
  for trial in trials:
    if trial.status == 'complete':
      # The confirmation has separate groups, because its seeds also change the order of the
      # data. The seeds of a search may share one order.
      key = (trial.cohort.startswith('confirm'), trial.point)
      groups.setdefault(key, []).append(_value(trial).loss)
  return pooled_standard_deviation(list(groups.values())) if groups else math.nan


def _value(trial: Trial) -> SeedLoss:
  """Returns the first objective of a trial that has ended, with a flag for divergence."""
  assert trial.values is not None
  return SeedLoss(trial.values[0], trial.status == 'diverged')


def _trials_by_seed(engine: Engine, point: int) -> dict[int, Trial]:
  """Returns the trials of the confirmation of a point, by seed."""
  return {
    trial.seed: trial
    for trial in engine.trials.values()
    if trial.cohort.startswith('confirm-') and trial.point == point
  }


def _new_trials(
  engine: Engine, sweep: SweepConfig, points: Sequence[int]
) -> list[Trial]:
  """Returns the trials of the confirmation that the study does not have yet."""
  # The values of a point are those of its first trial, without the seed. The base config
  # (`BASE`) has no values.
  searched = [t for t in engine.trials.values() if t.cohort.startswith('search-')]
  trials_of_point = trials_by_point(searched)
  cohort = f'confirm-{len(engine.cohorts("confirm"))}'
  new_trials: list[Trial] = []
  for point in points:
    parameters = {}
    overrides = {}
    if point in trials_of_point:
      parameters = trials_of_point[point][0].parameters
      overrides = dict(trials_of_point[point][0].overrides)
    for path in engine.task.seed_paths:
      overrides.pop(path, None)

    # A study that is extended may need more seeds than it has.
    existing = _trials_by_seed(engine, point)
    for replicate in range(FIRST_REPLICATE, FIRST_REPLICATE + sweep.confirm_seeds):
      seeded = engine.task.with_seed(overrides, replicate, reseed_data=True)
      if seeded.seed in existing:
        continue
      new_trials.append(
        Trial(
          number=len(engine.trials) + len(new_trials),
          point=point,
          seed=seeded.seed,
          overrides=seeded.overrides,
          parameters=parameters,
          cohort=cohort,
        )
      )
  return new_trials


def _confirmed_point(
  point: int, results: Mapping[int, SeedLoss], base: Mapping[int, SeedLoss], sign: float
) -> ConfirmedPoint:
  """Compares a point with the base config.

  Args:
    point: Number of the point, or `BASE`.
    results: {seed: result of the point}.
    base: {seed: result of the base config}.
    sign: -1 if the objective is maximized, else 1.
  """
  values = tuple(result.loss for result in results.values())
  mean, low, high = mean_interval(values)
  # The comparison is made for losses (lower is better). So an objective that is maximized
  # is negated before the comparison, and the results are negated after it. In the names of
  # the comparison's fields, "winner" means the point.
  comparison = confirm_on_seeds(_signed(results, sign), _signed(base, sign))
  assert comparison is not None  # both have the seeds of the confirmation
  ends = sorted((sign * comparison.low, sign * comparison.high))
  return ConfirmedPoint(
    point=None if point == BASE else point,
    values=values,
    mean=mean,
    interval=(low, high),
    difference=sign * comparison.difference,
    difference_interval=(ends[0], ends[1]),
    diverged=(comparison.winner_diverged, comparison.base_diverged),
    verdict=comparison.verdict,
  )


def _signed(results: Mapping[int, SeedLoss], sign: float) -> dict[int, SeedLoss]:
  """Returns results for which lower is better."""
  return {
    seed: dataclasses.replace(result, loss=sign * result.loss)
    for seed, result in results.items()
  }
