"""Runs that trained nothing, although their losses are finite."""

from __future__ import annotations

from lmhp.analysis.findings import Finding
from lmhp.analysis.phrases import counted
from lmhp.analysis.runs.table import Runs
from lmhp.statistics.untrained import untrained_reason


def untrained_runs(curve_runs: Runs) -> list[Finding]:
  """Reports runs without targets, and runs whose gradient is infinite throughout."""
  reasons = {}
  for number, curve in curve_runs.curves.items():
    if 'loss_nats' not in curve:
      continue
    # Rows of evaluations have no training loss.
    is_training = curve['loss_nats'] == curve['loss_nats']
    norms = curve['grad_norm'][is_training] if 'grad_norm' in curve else ()
    reason = untrained_reason(curve['loss_nats'][is_training], norms)
    if reason is not None:
      reasons[number] = reason
  if not reasons:
    return []
  first = next(iter(reasons))
  return [
    Finding(
      kind='untrained',
      level='warning',
      title=(
        f'{len(reasons)} of {counted(len(curve_runs.curves), "run")} trained nothing.'
      ),
      evidence=(
        f'In run {first}, {reasons[first]}. Check the objective of the data, and factors of '
        'the loss such as train.z_loss.'
      ),
      numbers={'runs': len(reasons)},
      runs=list(reasons),
    )
  ]
