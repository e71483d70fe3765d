"""The result and the cost of a sweep, as text.

A rung is a step at which trials are scored. A structure is the part of a config that is
compiled into a program. A pack is a group of trials that one program trains together. Its width
is the number of these trials. The confirmation trains the best points of the search and the base
config again, on new seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
import math

from lmhp.files import as_path
from lmhp.statistics.number_format import format_long_duration
from lmhp.sweeping.confirmation import ConfirmedPoint
from lmhp.sweeping.dry_run import Cost, StructureCost, SweepEstimate
from lmhp.sweeping.result import StudyResult, StudySummary


def format_result(result: StudyResult) -> str:
  """Returns the text at the end of a sweep: the winner, its confirmation and the files.

  Args:
    result: Result of a complete study.
  """
  summary = result.summary
  assert summary is not None
  workdir = as_path(result.workdir)
  lines = ['', *format_study(summary, result.base)]

  statuses = ', '.join(f'{n} {s}' for s, n in summary.trials_by_status.items() if n)
  lines.append(
    f'trials: {statuses or "none"}. Tokens: {summary.tokens:,} for the search, '
    f'{summary.confirmation_tokens:,} for the confirmation. Time: {summary.seconds:,.0f} s'
  )
  if summary.unaffordable_calibration is not None:
    lines.append(
      f'no trial was stopped early. {summary.unaffordable_calibration.describe()}'
    )
  if summary.rank_correlations:
    rungs = [
      f'step {step}: {_correlation(correlation)}'
      for step, correlation in summary.rank_correlations.items()
    ]
    lines.append(
      f'rank correlation of scores at rungs and at the end: {", ".join(rungs)}'
    )

  lines.append('')
  if (workdir / 'report.html').exists():
    lines.append(f'  {workdir / "report.html"}   the report')
  if (workdir / 'best.py').exists():
    lines.append(f'  lmhp train --config={workdir / "best.py"}   trains the winner')
  lines += [
    f'  {workdir / "trials.jsonl"}   all trials',
    f'  {workdir / "curves"}   their learning curves, as Parquet files',
    f'  lmhp dashboard {workdir}   shows the study in a browser',
  ]
  return '\n'.join(lines)


def format_study(summary: StudySummary, base: Mapping[str, object]) -> list[str]:
  """Returns the winner of a study and its confirmation, as lines of text.

  Args:
    summary: Summary of the study.
    base: Values of the base config, by path.
  """
  if summary.best_trial is None:
    return ['no trial is complete']
  n_trials = sum(summary.trials_by_status.values())
  # `matched_budget` is a phrase, such as "tokens equal: 1,000,000". The best trial is the best
  # in the first objective.
  lines = [
    f'best of {n_trials} trials: {summary.objective[0]} {summary.best_value:.4f} '
    f'(trial {summary.best_trial}); {summary.matched_budget}'
  ]
  # One line for each value that the search chose, beside the value of the base config. Seeds
  # are left out, because the search did not choose them.
  changed = {p: v for p, v in summary.best_overrides.items() if not p.endswith('.seed')}
  width = max(map(len, changed), default=0)
  for path, value in changed.items():
    lines.append(f'  {path:{width}}  {_short(value)}   (base {_short(base[path])})')
  if changed and all(base[path] == value for path, value in changed.items()):
    lines.append('the search found nothing better than the base config')
  # The last entry of `confirmed` is the base config. The others are compared with it.
  points = summary.confirmed
  lines += [_format_confirmed(point, points[-1]) for point in points[:-1]]
  if not math.isnan(summary.seed_noise):
    lines.append(f'standard deviation between seeds: {summary.seed_noise:.4f}')
  return lines


def _format_confirmed(point: ConfirmedPoint, base: ConfirmedPoint) -> str:
  line = f'on {len(point.values)} new seeds: {point.mean:.4f}'
  if any(point.diverged):
    n_diverged, n_base_diverged = point.diverged
    line += f', diverged on {n_diverged}, the base config on {n_base_diverged}'
  else:
    low, high = point.difference_interval
    # A point that was decided early has fewer seeds than the base config.
    of_base = sum(base.values[: len(point.values)]) / len(point.values)
    line += (
      f', the base config {of_base:.4f}, difference {point.difference:+.4f} '
      f'[{low:+.4f}, {high:+.4f}] at 95%'
    )
  return f'{line}: {point.verdict}'


def format_estimate(estimate: SweepEstimate) -> str:
  """Returns the estimated cost of a sweep as text, as `lmhp sweep --dry_run` prints it.

  Args:
    estimate: Estimated cost of the sweep.
  """
  rungs = ', '.join(map(str, estimate.rungs))
  lines = [
    f'{estimate.search.trials:,} trials, scored at steps {rungs}; '
    f'{estimate.n_programs} programs to compile'
  ]
  # One line for each structure, with the method that trains its packs: vmap, map or loop.
  for structure in estimate.structures:
    widths = ' or '.join(map(str, structure.pack_widths))
    trials = 'trial' if structure.pack_widths == [1] else 'trials'
    lines.append(
      f'  {structure.cost.trials:,} trials of {structure.parameters:,} parameters: '
      f'{structure.method} ({structure.reason}), packs of {widths} {trials}, '
      f'{structure.bytes / 2**20:,.0f} MiB for the widest pack, {_step_time(structure)}'
    )
  search = _format_cost('search', estimate.search)
  if estimate.stopped_early:
    search += ', if each rung stops trials'
  lines += [search, _format_cost('confirmation', estimate.confirmation)]
  if estimate.unaffordable_calibration is not None:
    lines.append(
      f'no trial will be stopped early. {estimate.unaffordable_calibration.describe()}'
    )
  return '\n'.join(lines)


def _format_cost(name: str, cost: Cost) -> str:
  time = 'an unknown time, since no speed was measured'
  if not math.isnan(cost.hours):
    time = f'about {format_long_duration(3600 * cost.hours)}'
  return f'{name}: {cost.tokens:,.0f} tokens, {cost.flops:.3g} FLOPs, {time}'


def _correlation(value: float) -> str:
  """Returns a rank correlation. It is NaN if all points had equal scores."""
  return 'not measured' if math.isnan(value) else _short(value)


def _step_time(structure: StructureCost) -> str:
  """Returns the measured time of a step, which is NaN if nothing was measured."""
  milliseconds = 1e3 * structure.member_step_seconds
  if math.isnan(milliseconds):
    return 'the time of a step is not known'
  return f'{milliseconds:.2f} ms for a step of one trial'


def _short(value: object) -> str:
  return f'{value:.4g}' if isinstance(value, float) else str(value)
