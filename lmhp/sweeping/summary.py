"""What a sweep found, and what one would take, in words."""

from __future__ import annotations

from collections.abc import Mapping
import math
from typing import Any

from lmhp.files import as_path
from lmhp.statistics.number_format import format_long_duration, format_value


def format_result(result: Any) -> str:
  """What a `StudyResult` says at the end: the winner, how sure it is, and the files to open."""
  found, workdir = result.result, as_path(result.workdir)
  lines = ['', *format_study(found, result.base, found['objective'][0])]
  ended = ', '.join(f'{n} {status}' for status, n in found['trials'].items() if n)
  lines.append(
    f'trials: {ended}; {found["tokens"]:,} tokens and {found["confirm_tokens"]:,} to confirm; '
    f'{found["seconds"]:,.0f} s'
  )
  if found['rank_correlations']:
    measured = ', '.join(
      f'step {step}: {format_value(c)}'
      for step, c in found['rank_correlations'].items()
    )
    lines.append(f'rank correlation of rungs with the end: {measured}')
  lines.append('')
  if (workdir / 'report.html').exists():
    lines.append(f'  {workdir / "report.html"}   what it means: open it')
  if (workdir / 'best.py').exists():
    lines.append(f'  lmhp train --config={workdir / "best.py"}')
  lines += [
    f'  {workdir / "trials.jsonl"}   every trial',
    f'  {workdir / "curves"}   their curves, parquet',
    f'  lmhp dashboard {workdir}',
  ]
  return '\n'.join(lines)


def format_plan(plan: Mapping[str, Any]) -> str:
  """What `lmhp sweep --dry_run` prints."""
  rungs = ', '.join(map(str, plan['rungs']))
  lines = [
    f'{plan["trials"]:,} trials, rungs at steps {rungs}; {plan["compiles"]} programs to compile'
  ]
  for one in plan['structures']:
    lines.append(
      f'  {one["trials"]:,} trials of {one["parameters"]:,} parameters: {one["method"]} ({one["reason"]}), '
      f'packs of {", ".join(map(str, one["widths"]))}, {one["bytes"] / 2**20:,.0f} MiB, '
      f"{1e3 * one['member_step_seconds']:.2f} ms a member's step"
    )
  pruned = ' if every rung may stop trials' if plan['stopped_early'] else ''
  for name, part in (('search', plan), ('confirmation', plan['confirm'])):
    lines.append(
      f'{name}: {part["tokens"]:,.0f} tokens, {part["flops"]:.3g} FLOPs, about {_duration(part["hours"])}'
      f'{pruned if name == "search" else ""}'
    )
  return '\n'.join(lines)


def _duration(hours: float) -> str:
  if math.isnan(hours):
    return 'an unknown time: no method was measured, since sweep.execution says which'
  return format_long_duration(3600 * hours)


def format_study(
  found: Mapping[str, Any], base: Mapping[str, Any], name: str
) -> list[str]:
  """What was found, in a few lines.

  Args:
    found: what `result` gave.
    base: the base config's values by dotted path.
    name: of the objective.
  """
  lines = []
  if found['best_trial'] is None:
    return ['no trial came to its end']
  changed = {
    p: v for p, v in found['best_overrides'].items() if not p.endswith('.seed')
  }
  width = max(map(len, changed), default=0)
  lines.append(
    f'best of {sum(found["trials"].values())} trials: {name} {found["best_value"]:.4f} '
    f'(trial {found["best_trial"]}); {found["match_budget"]}'
  )
  lines += [
    f'  {path:{width}}  {format_value(value)}   (base {format_value(base[path])})'
    for path, value in changed.items()
  ]
  for one in found['confirmed'][:-1]:
    low, high = one['difference_interval']
    if one['diverged']:
      lines.append(
        f'on {len(one["values"])} new seeds: {one["mean"]:.4f}; of {one["diverged"]} seeds it or the base '
        'config diverged, so that there is no difference to tell'
      )
      continue
    low, high = (-high, -low) if found['directions'][0] == 'maximize' else (low, high)
    verdict = 'better' if high < 0 else 'worse' if low > 0 else 'not told apart'
    low, high = one['difference_interval']
    base_mean = found['confirmed'][-1]['mean']
    lines.append(
      f'on {len(one["values"])} new seeds: {one["mean"]:.4f} against {base_mean:.4f} of the base config: '
      f'{one["difference"]:+.4f} [{low:+.4f}, {high:+.4f}] at 95%, {verdict}'
    )
  if not math.isnan(found['noise']):
    lines.append(f'noise between seeds of one config: {found["noise"]:.4f}')
  return lines
