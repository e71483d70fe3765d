"""The confirmation after a search: the best points against the base config, on new seeds.

A pair is one run of a point and one of the base config with the same seed. The pairs are looked
at several times, and the confirmation stops as soon as they decide (see
`lmhp.statistics.sequential_pairs`).

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

from lmhp.statistics.confirmation import Confirmation, SeedLoss, confirm_on_seeds
from lmhp.statistics.intervals import mean_interval
from lmhp.statistics.seed_noise import pooled_standard_deviation
from lmhp.statistics.sequential_pairs import looks, power
from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.engine import Engine
from lmhp.sweeping.search.new_points import identity_of_job, identity_of_point
from lmhp.sweeping.store.trial import Trial, trials_by_point

FIRST_REPLICATE = 1000
"""First replicate of the confirmation. The search uses the replicates 0, 1, 2 and so on, so the
seeds of the confirmation are new."""

MIN_SEEDS = 2
MAX_SEEDS = 8
"""Bounds of the number of seeds, if `sweep.confirm_seeds` is not set."""
SHOWN_DIFFERENCE = 2.0
"""Difference, in standard deviations between seeds, whose probability to be found is printed."""

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
    difference_interval: Interval of the difference. It allows for the looks at fewer seeds.
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
  """Trains the best points and the base config on new seeds, until the comparison is decided.

  The seeds change the initial parameters, dropout and the order of the data.

  Args:
    engine: Engine of the study.
    sweep: Config of the sweep.
    planned_steps: Number of updates that the search was planned for. If it is large, the engine
      measures more of the methods (`vmap`, `map` and `loop`) to train a pack. A pack is a group
      of trials that train together.

  Returns:
    The points, the best of the search first, then the base config. Empty if there are no
    points to confirm, or if the best point is the base config itself.
  """
  ranked = ranked_points(list(engine.trials.values()), sweep.signs[0])
  best = ranked[: sweep.confirm_points]
  # A task without seeds would repeat the same trial.
  if not best or not engine.task.seed_paths:
    return []

  # A point that is the same as the base config would be trained twice.
  same = _same_as_base(engine, best)
  if best[0] in same:
    engine.progress.message(
      'no confirmation: the search found nothing better than the base config'
    )
    return []
  best = [point for point in best if point not in same]

  max_pairs = _max_pairs(engine, sweep, best)
  sign = sweep.signs[0]
  undecided = best
  compared = {}
  for n_pairs in looks(max_pairs):
    # Train the trials that the study does not have yet.
    engine.train_cohorts(
      'confirm',
      _new_trials(engine, [*undecided, BASE], n_pairs),
      data_per_trial=True,
      planned_steps=planned_steps,
    )
    # Compare the points that are not decided with the base config, seed by seed.
    base = _results(engine, BASE, n_pairs)
    for point in undecided:
      results = _results(engine, point, n_pairs)
      compared[point] = _Compared(results, _comparison(results, base, sign, max_pairs))
    undecided = [p for p in undecided if not compared[p].comparison.is_decided]
    if not undecided:
      break

  base = _results(engine, BASE, max_pairs)
  compared[BASE] = _Compared(base, _comparison(base, base, sign, max_pairs))
  return [_confirmed_point(point, compared[point], sign) for point in [*best, BASE]]


def _same_as_base(engine: Engine, points: Sequence[int]) -> set[int]:
  """Returns the points whose trials would be the same as those of the base config."""
  base = identity_of_job(engine.task.job({}))
  searched = [t for t in engine.trials.values() if t.cohort.startswith('search-')]
  trials_of_point = trials_by_point(searched)
  return {
    point
    for point in points
    if identity_of_point(engine.task, trials_of_point[point][0]) == base
  }


def max_seeds(sweep: SweepConfig, search_cost: float, pair_cost: float) -> int:
  """Returns the largest number of seeds of the confirmation.

  Args:
    sweep: Config of the sweep.
    search_cost: Cost of the search, in any unit.
    pair_cost: Cost of one run of each point and of the base config, in the same unit.
  """
  if sweep.confirm_seeds is not None:
    return sweep.confirm_seeds
  affordable = math.ceil(search_cost / max(pair_cost, 1)) - 1
  return min(max(affordable, MIN_SEEDS), MAX_SEEDS)


def _max_pairs(engine: Engine, sweep: SweepConfig, best: Sequence[int]) -> int:
  """Returns the largest number of seeds of the confirmation, and stores it in the study."""
  manifest = engine.study.manifest
  trials = engine.trials.values()
  searched = [trial for trial in trials if not trial.cohort.startswith('confirm-')]
  first_trials = [trials_by_point(searched)[point][0].number for point in best]
  jobs = [*(engine.jobs[number] for number in first_trials), engine.task.job({})]
  # The cost is in FLOPs, or in updates if the FLOPs are not known.
  search_cost = sum(trial.cost.flops for trial in searched)
  pair_cost = sum(job.steps * job.flops_per_step for job in jobs)
  if not search_cost or not pair_cost:
    search_cost = sum(t.cost.steps + t.cost.cooldown_steps for t in searched)
    pair_cost = sum(job.steps for job in jobs)
  max_pairs = max_seeds(sweep, search_cost, pair_cost)
  if sweep.confirm_seeds is None:
    # A study that is extended keeps the seeds that it has.
    max_pairs = max(max_pairs, manifest.confirmation_pairs or 0)
  if manifest.confirmation_pairs != max_pairs:
    engine.study.set_manifest(
      dataclasses.replace(manifest, confirmation_pairs=max_pairs)
    )
    engine.progress.message(
      f'confirmation: at most {max_pairs} new seeds of the winner and of the base config, with '
      f'a look after {", ".join(map(str, looks(max_pairs)))}. A difference of '
      f'{SHOWN_DIFFERENCE:g} standard deviations between seeds is shown with a probability of '
      f'{power(max_pairs, SHOWN_DIFFERENCE):.0%}'
    )
  return max_pairs


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


def _results(engine: Engine, point: int, n_seeds: int) -> dict[int, SeedLoss]:
  """Returns {seed: result} of the first seeds of a point in the confirmation."""
  trials = list(_trials_by_seed(engine, point).values())[:n_seeds]
  return {trial.seed: _value(trial) for trial in trials}


def _new_trials(engine: Engine, points: Sequence[int], n_seeds: int) -> list[Trial]:
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
    for replicate in range(FIRST_REPLICATE, FIRST_REPLICATE + n_seeds):
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


def _comparison(
  results: Mapping[int, SeedLoss],
  base: Mapping[int, SeedLoss],
  sign: float,
  max_pairs: int,
) -> Confirmation:
  """Compares a point with the base config.

  Args:
    results: {seed: result of the point}.
    base: {seed: result of the base config}.
    sign: -1 if the objective is maximized, else 1.
    max_pairs: Largest number of pairs.
  """
  # The comparison is made for losses (lower is better), so an objective that is maximized is
  # negated. In the names of the comparison's fields, "winner" means the point.
  comparison = confirm_on_seeds(_signed(results, sign), _signed(base, sign), max_pairs)
  assert comparison is not None  # both have the seeds of the confirmation
  return comparison


@dataclasses.dataclass(frozen=True)
class _Compared:
  """Results of a point by seed, and their comparison with the base config."""

  results: Mapping[int, SeedLoss]
  comparison: Confirmation


def _confirmed_point(point: int, compared: _Compared, sign: float) -> ConfirmedPoint:
  """Returns the results of a point (or `BASE`) in the unit of the objective."""
  values = tuple(result.loss for result in compared.results.values())
  mean, low, high = mean_interval(values)
  # A comparison of negated results is negated again.
  comparison = compared.comparison
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
