"""The report of one training run, which may still be training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
  'waiting': 'has not started',
  'running': 'is not complete',
  'complete': 'is complete',
  'pruned': 'was stopped early',
  'diverged': 'diverged',
  'failed': 'failed',
  'missing': 'has no result',
}


def run_report(analysis: Analysis) -> Report:
  """Builds the report of a table with one run."""
  runs = analysis.runs
  findings = analysis.findings_of_single_run
  config = runs.configs.get(int(runs.number[0]), {})
  # The known measurements of the run.
  measured = {
    name: float(column[0])
    for name, column in runs.measured.items()
    if math.isfinite(column[0])
  }
  results = Table(
    'result',
    'Result',
    [Column('quantity', kind='text'), Column('value')],
    [
      (name.replace('_', ' '), value)
      for name, value in measured.items()
      if not name.startswith('final_')
    ],
  )
  settings = Table(
    'config',
    'Config',
    [Column('key', kind='text'), Column('value', kind='text')],
    [(key, setting(config[key])) for key in sorted(config)],
  )
  sections = [
    Section(
      'training',
      'Training',
      blocks_of([single_run_figure(runs), _extrapolation_note(runs)]),
    ),
    Section('result', 'Result', blocks_of(results)),
    Section('config', 'Config', [settings]),
  ]
  return Report(
    title=runs.name,
    answer=_answer(runs, measured, findings),
    findings=findings,
    sections=[section for section in sections if section.blocks],
    configs=runs.configs,
    method=[OF_CURVES],
    about=describe_origin(runs.facts),
  )


def _extrapolation_note(runs: Runs) -> Text | None:
  """States the training loss after twice as many steps, or why it is unknown."""
  curve = runs.curves.get(int(runs.number[0]), {})
  step, _ = finite_rows(curve, 'loss_nats')
  if len(step) < 2:
    return None
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
    'offset that may bend.'
  )


def _answer(
  runs: Runs, measured: Mapping[str, float], findings: Sequence[Finding]
) -> list[str]:
  """Returns three sentences: the run, its result, and the first warning."""
  known = {name: amount(value) for name, value in measured.items()}
  size = f' of {known["parameters"]} parameters' if 'parameters' in known else ''
  budgets = listed([f'{known[n]} {n}' for n in ('steps', 'tokens') if n in known])
  outcome = ''
  luck = 'It has no evaluation yet.'
  if math.isfinite(runs.objective[0]):
    error = known.get('eval_loss_nats_standard_error')
    spread = f' with a standard error of {error} over sequences' if error else ''
    outcome = (
      f': its {runs.objective_name} is {amount(float(runs.objective[0]))}{spread}'
    )
    luck = 'It has one seed, so the result of another seed is unknown.'
  warnings = [f.title for f in findings if f.level in ('warning', 'advice')]
  return [
    f'The run{size} {STATUS_WORDS[str(runs.status[0])]}'
    f'{" after " if budgets else ""}{budgets}{outcome}.',
    luck,
    warnings[0] if warnings else 'Its curves give no reason for a warning.',
  ]
