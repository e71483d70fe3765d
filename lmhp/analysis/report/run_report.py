"""The report of one training run, which may still be training."""

from __future__ import annotations

from collections.abc import Sequence
import math

import numpy as np

from lmhp.analysis.analysis import Analysis
from lmhp.analysis.curves.extrapolation import extrapolate
from lmhp.analysis.findings import Finding
from lmhp.analysis.phrases import amount, interval_text, listed, setting
from lmhp.analysis.report.document import Block, Column, Report, Section, Table, Text
from lmhp.analysis.report.figures.curves.single_run import single_run_figure
from lmhp.analysis.report.method import OF_CURVES
from lmhp.analysis.report.study_report import describe_origin
from lmhp.analysis.runs.table import Runs

STATUS_WORDS = {
  'complete': 'is complete',
  'running': 'is not complete',
  'diverged': 'diverged',
}


def run_report(analysis: Analysis) -> Report:
  """Builds the report of a table with one run."""
  runs = analysis.runs
  findings = analysis.findings_of_single_run
  sections = [
    Section('training', 'Training', _training_blocks(runs)),
    Section('result', 'Result', _result_blocks(runs)),
    Section('config', 'Config', [_config_table(runs)]),
  ]
  return Report(
    title=runs.name,
    answer=_answer(runs, findings),
    findings=findings,
    sections=[section for section in sections if section.blocks],
    configs=runs.configs,
    method=[OF_CURVES],
    about=describe_origin(runs.facts),
  )


def _training_blocks(runs: Runs) -> list[Block]:
  drawn = [single_run_figure(runs), _extrapolation_note(runs)]
  return [block for block in drawn if block is not None]


def _measured(runs: Runs) -> dict[str, float]:
  """Returns the known measurements of the run."""
  first = {name: float(column[0]) for name, column in runs.measured.items()}
  return {name: value for name, value in first.items() if math.isfinite(value)}


def _result_blocks(runs: Runs) -> list[Block]:
  rows = [
    (name.replace('_', ' '), value)
    for name, value in _measured(runs).items()
    if not name.startswith('final_')
  ]
  if not rows:
    return []
  columns = [Column('quantity', kind='text'), Column('value')]
  return [Table('result', 'Result', columns, rows)]


def _config_table(runs: Runs) -> Table:
  config = runs.configs.get(int(runs.number[0]), {})
  columns = [Column('key', kind='text'), Column('value', kind='text')]
  rows = [(key, setting(value)) for key, value in sorted(config.items())]
  return Table('config', 'Config', columns, rows)


def _extrapolation_note(runs: Runs) -> Text | None:
  """States the training loss after twice as many steps, or why it is unknown."""
  curve = runs.curves.get(int(runs.number[0]), {})
  losses = curve.get('loss_nats', np.array([]))
  finite = np.isfinite(losses)
  if finite.sum() < 2:
    return None
  # Twice the steps of the last finite loss.
  to_step = 2 * float(curve['step'][finite][-1])
  result = extrapolate(curve['step'], losses, to_step, curve.get('learning_rate'))
  if result.reason:
    return Text(
      f'The loss after twice as many steps cannot be predicted: {result.reason}.'
    )
  return Text(
    f'At the same learning rate, the training loss at step {to_step:,.0f} would be '
    f'{amount(result.loss)} nats '
    f'({interval_text(result.low, result.high, result.confidence)}), by a power law with an '
    'offset.'
  )


def _answer(runs: Runs, findings: Sequence[Finding]) -> list[str]:
  """Returns three sentences: the run, its result, and the first warning."""
  measured = _measured(runs)
  run = 'The run'
  if 'parameters' in measured:
    run += f' of {amount(measured["parameters"])} parameters'
  budgets = [
    f'{amount(measured[name])} {name}'
    for name in ('steps', 'tokens')
    if name in measured
  ]
  after = f' after {listed(budgets)}' if budgets else ''
  loss = float(runs.objective[0])
  result = 'It has no evaluation yet.'
  if math.isfinite(loss):
    error = measured.get('eval_loss_nats_standard_error', math.nan)
    spread = ''
    if math.isfinite(error):
      spread = f' with a standard error of {amount(error)} over sequences'
    result = (
      f'Its {runs.objective_name} is {amount(loss)}{spread}. It has one seed, so the result of '
      'another seed is unknown.'
    )
  warnings = [f.title for f in findings if f.level in ('warning', 'advice')]
  return [
    f'{run} {STATUS_WORDS[str(runs.status[0])]}{after}.',
    result,
    warnings[0] if warnings else 'Its curves give no reason for a warning.',
  ]
