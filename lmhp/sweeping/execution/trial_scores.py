"""Scores of trials: objectives, divergence and cost of a trial after a pack.

The members of a pack are trials that one compiled program trains together. A stage trains some
trials, in packs, up to the same fraction of their length. A trial diverges in one of these ways:

- Its training loss or an objective is not finite.
- Soft divergence: from some step to the end of training, the smoothed training loss is above
  the initial loss.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import math

from lmhp.statistics.divergence import diverged_at
from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.execution.autotuning import Autotuner
from lmhp.sweeping.execution.packs import Pack, PackResult
from lmhp.sweeping.execution.stages import Stage
from lmhp.sweeping.store.curves import LossCurves
from lmhp.sweeping.store.trial import StageResult, Trial, TrialCost
from lmhp.sweeping.tasks.task import Job, Task

MEASURED_METRICS = ('latency_seconds',)
"""Metrics that are not logged, but measured once for each structure (compiled program)."""

SMOOTHING_STEPS = 20
"""Half-life, in steps, of the average that smooths the loss to detect soft divergence."""


class TrialScores:
  """Computes the objectives of trials, and detects the trials that diverged.

  Args:
    task: Task of the study.
    sweep: Config of the sweep.
    autotuner: Measures the metrics in `MEASURED_METRICS`.
    curves: Training losses of the packs that are done.
  """

  def __init__(
    self, task: Task, sweep: SweepConfig, autotuner: Autotuner, curves: LossCurves
  ):
    self._task = task
    self._sweep = sweep
    self._autotuner = autotuner
    self._curves = curves

  def trial_after(
    self, trial: Trial, job: Job, stage: Stage, pack: Pack, result: PackResult
  ) -> Trial:
    """Returns a trial with the results of a pack.

    Args:
      trial: The trial before the pack.
      job: Job of the trial, its complete config.
      stage: Stage that the pack belongs to.
      pack: The pack. The trial is one of its members.
      result: Result of the pack.
    """
    index = pack.trials.index(trial.number)
    metrics = result.metrics[index]

    # Soft divergence is known only at the end of training.
    divergence_step = result.nonfinite_steps[index]
    if divergence_step is None and pack.final:
      divergence_step = self._step_of_soft_divergence(trial, pack)
    values = self.objectives(metrics, job)
    diverged = divergence_step is not None or not all(map(math.isfinite, values))
    if diverged:
      # The samplers of a search need finite values.
      values = tuple(
        self._task.penalty_value(name, job, self._sweep.maximizes(name))
        for name in self._sweep.objective
      )

    # Steps after a divergence are not counted.
    trained_steps = min(pack.last_step, divergence_step or pack.last_step)
    trial = dataclasses.replace(
      trial,
      status='running',
      scores={**trial.scores, pack.last_step: values[0]},
      stages=(
        *trial.stages,
        StageResult(stage.name, pack.name, values, diverged),
      ),
      cost=_cost_after(trial.cost, job, pack, result, trained_steps),
      metrics=metrics,
    )
    # In population-based training, a member that diverged continues from the state of another.
    if diverged and stage.divergence_ends:
      return dataclasses.replace(
        trial,
        status='diverged',
        values=values,
        diverged_at=divergence_step or trained_steps,
      )
    if pack.final:
      return dataclasses.replace(trial, status='complete', values=values)
    return trial

  def objectives(self, metrics: Mapping[str, float], job: Job) -> tuple[float, ...]:
    """Returns the values of the objectives. A metric that is missing is NaN.

    Args:
      metrics: Metrics of a trial.
      job: Job of the trial.
    """
    all_metrics = {**job.known_metrics, **metrics}
    # The metrics in `MEASURED_METRICS` are measured with one trial alone on the device.
    values = [
      self._autotuner.measured(name, job)
      if name in MEASURED_METRICS
      else all_metrics.get(name, math.nan)
      for name in self._sweep.objective
    ]
    return tuple(map(float, values))

  def _step_of_soft_divergence(self, trial: Trial, pack: Pack) -> int | None:
    """Returns the step from which the smoothed loss stayed above the initial loss, or None."""
    steps, losses = self._curves.of_trial(trial.number, (*trial.packs, pack.name))
    if not len(losses):
      return None
    # The curve has a row only every `log_every_steps` steps.
    half_life_rows = max(SMOOTHING_STEPS / self._task.log_every_steps, 1)
    row = diverged_at(losses, half_life=half_life_rows)
    return None if row is None else int(steps[row])


def _cost_after(
  before: TrialCost, job: Job, pack: Pack, result: PackResult, trained_steps: int
) -> TrialCost:
  """Returns the cost of a trial after a pack. The members share the time of the pack equally.

  Args:
    before: Cost of the trial before the pack.
    job: Job of the trial.
    pack: The pack.
    result: Result of the pack.
    trained_steps: Updates of the trial itself since step 0, without those of forks.
  """
  cooldown_steps = before.cooldown_steps + pack.cooldown_steps
  n_updates = trained_steps + cooldown_steps
  return TrialCost(
    steps=trained_steps,
    cooldown_steps=cooldown_steps,
    tokens=n_updates * job.tokens_per_step,
    flops=n_updates * job.flops_per_step,
    seconds=round(before.seconds + result.seconds / len(pack.trials), 3),
    device=result.device,
  )
