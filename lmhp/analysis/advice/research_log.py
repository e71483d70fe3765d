"""The finding on a log of edits that were tried one after another, and kept or discarded.

Each edit is compared with the last one that was kept, with one run each. So the gain of an edit
(a step) means something only if it is larger than the noise of a run. Discarded edits show how
much a run changes without an improvement, which is at least the noise.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import math

import numpy as np

from lmhp.analysis.findings import Finding
from lmhp.analysis.phrases import amount, counted, listed, quantity, shortened
from lmhp.analysis.runs.table import DISCARDED, KEPT, Runs

MAX_LISTED = 4
MAX_LABEL = 60
CLEAR_STEP = 2.0
"""Multiple of the typical change of discarded edits above which a step is clear."""
STUDENT_3 = 3.7
"""A step is clear if it is larger than this many standard deviations of three baseline runs:
Student's 95% quantile with 2 degrees of freedom, one-sided, times sqrt(1 + 1 / 3), rounded up."""


@dataclasses.dataclass(frozen=True)
class _Edit:
  """One edit: its row, and its loss minus that of the last kept edit."""

  row: int
  change: float


def research_log(runs: Runs) -> list[Finding]:
  """Returns the answer for a log of kept and discarded edits. Empty for other tables."""
  kept, discarded = _edits(runs)
  if not kept:
    return []
  first = int(np.flatnonzero(np.array(runs.decisions) == KEPT)[0])
  best = min((first, *(edit.row for edit in kept)), key=lambda row: runs.losses[row])
  total = runs.losses[first] - runs.losses[best]
  # Without a discarded edit, nothing shows how much a run changes by itself.
  changes = np.abs([edit.change for edit in discarded])
  typical = float(np.median(changes)) if len(changes) else math.nan
  clear = [edit for edit in kept if -edit.change > CLEAR_STEP * typical]
  small = [edit for edit in kept if not -edit.change > CLEAR_STEP * typical]
  n_repeated = len(runs) - len({repr(name) for name in runs.labels})
  title = (
    f'{counted(len(kept), "kept edit")} improved {runs.objective_name} by '
    f'{quantity(float(total), runs.unit)}, from {amount(runs.objective[first])} to '
    f'{amount(runs.objective[best])}'
  )
  if clear:
    title += f'; {_named(runs, clear)} stand out'
  if small:
    title += f'; {_named(runs, small)} may be noise'
  evidence = (
    'No edit was run twice, so the noise of a run is not known.'
    if n_repeated <= 0
    else 'The noise of a run follows from the edits that were run twice.'
  )
  if len(changes):
    evidence += (
      f' Discarded edits changed the result by {amount(typical)} (median of '
      f'{len(changes)}), which is at least the noise.'
    )
  return [
    Finding(
      kind='research_log',
      level='answer',
      title=f'{title}.',
      evidence=evidence,
      numbers={
        'kept': len(kept),
        'discarded': len(discarded),
        'improvement': float(total),
        'typical_change': typical,
        'clear_steps': len(clear),
      },
      runs=tuple(int(runs.number[edit.row]) for edit in clear),
      effect_nats=float(total),
    )
  ]


def repeat_baseline(runs: Runs) -> list[Finding]:
  """Proposes to repeat the baseline of a log, whose noise is not known."""
  kept, _ = _edits(runs)
  if not kept:
    return []
  smallest = min(-edit.change for edit in kept)
  return [
    Finding(
      kind='repeat_baseline',
      level='advice',
      title=(
        'Next, run the baseline three times: a step is then clear if it is above '
        f'{STUDENT_3:g} times their standard deviation.'
      ),
      evidence=(
        f'The smallest kept step is {amount(smallest)}, so it is clear if the standard '
        f'deviation is below {amount(smallest / STUDENT_3)}.'
      ),
      numbers={'smallest_step': smallest},
    )
  ]


def _edits(runs: Runs) -> tuple[list[_Edit], list[_Edit]]:
  """Returns kept and discarded edits in order, each against the last kept one."""
  kept: list[_Edit] = []
  discarded: list[_Edit] = []
  best: float | None = None
  for row, decision in enumerate(runs.decisions):
    loss = float(runs.losses[row])
    if runs.status[row] != 'complete' or not np.isfinite(loss):
      continue
    if decision == KEPT:
      if best is not None:
        kept.append(_Edit(row, loss - best))
      best = loss
    elif decision == DISCARDED and best is not None:
      discarded.append(_Edit(row, loss - best))
  return kept, discarded


def _named(runs: Runs, edits: Sequence[_Edit]) -> str:
  """Returns edits in words, the largest first."""
  ordered = sorted(edits, key=lambda edit: edit.change)
  names = [
    f'{shortened(runs.labels[edit.row], MAX_LABEL) if runs.labels else f"row {edit.row + 1}"} '
    f'({amount(-edit.change)})'
    for edit in ordered
  ]
  return listed(names, MAX_LISTED)
