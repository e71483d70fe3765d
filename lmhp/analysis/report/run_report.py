"""The report of one training run, which may still be training."""

from __future__ import annotations

from collections.abc import Sequence
import math

from lmhp.analysis.analysis import Analysis
from lmhp.analysis.curves.extrapolation import extrapolate
from lmhp.analysis.findings import Finding
from lmhp.analysis.phrases import amount, interval_text, listed, setting
from lmhp.analysis.report.document import Column, Report, Section, Table, Text
from lmhp.analysis.report.figures.curves.single_run import single_run_figure
from lmhp.analysis.report.registry import blocks_of
from lmhp.analysis.report.study_report import OF_CURVES, describe_origin
from lmhp.analysis.runs.columns import finite_rows
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
  training = blocks_of([single_run_figure(runs), _extrapolation_note(runs)])
  sections = [
    Section('training', 'Training', training),
    Section('result', 'Result', blocks_of(_result_table(runs))),
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


def _measured(runs: Runs) -> dict[str, float]:
  """Returns the known measurements of the run."""
  return {
    name: float(column[0])
    for name, column in runs.measured.items()
    if math.isfinite(column[0])
  }


def _result_table(runs: Runs) -> Table:
  rows = [
    (name.replace('_', ' '), value)
    for name, value in _measured(runs).items()
    if not name.startswith('final_')
  ]
  return Table(
    'result', 'Result', [Column('quantity', kind='text'), Column('value')], rows
  )


def _config_table(runs: Runs) -> Table:
  config = runs.configs.get(int(runs.number[0]), {})
  columns = [Column('key', kind='text'), Column('value', kind='text')]
  return Table(
    'config', 'Config', columns, [(key, setting(config[key])) for key in sorted(config)]
  )


def _extrapolation_note(runs: Runs) -> Text | None:
  """States the training loss after twice as many steps, or why it is unknown."""
  curve = runs.curves.get(int(runs.number[0]), {})
  step, _ = finite_rows(curve, 'loss_nats')
  if len(step) < 2:
    return None
  # Twice the steps of the last finite loss.
  to_step = 2 * float(step[-1])
  result = extrapolate(
    curve['step'], curve['loss_nats'], to_step, curve.get('learning_rate')
  )
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
  outcome = ''
  luck = 'It has no evaluation yet.'
  if math.isfinite(loss):
    spread = ''
    if 'eval_loss_nats_standard_error' in measured:
      error = amount(measured['eval_loss_nats_standard_error'])
      spread = f' with a standard error of {error} over sequences'
    outcome = f': its {runs.objective_name} is {amount(loss)}{spread}'
    luck = 'It has one seed, so the result of another seed is unknown.'
  warnings = [f.title for f in findings if f.level in ('warning', 'advice')]
  return [
    f'{run} {STATUS_WORDS.get(str(runs.status[0]), "has no result")}{after}{outcome}.',
    luck,
    warnings[0] if warnings else 'Its curves give no reason for a warning.',
  ]
