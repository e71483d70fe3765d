"""The report of several studies beside each other."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import math

import numpy as np

from lmhp.analysis.advice.transfer import power_laws
from lmhp.analysis.analysis import Analysis
from lmhp.analysis.findings import Finding, ranked
from lmhp.analysis.phrases import listed, quantity
from lmhp.analysis.report.document import Block, Column, Figure, Report, Section, Table
from lmhp.analysis.report.figures.interval_rows import (
  IntervalRow,
  interval_traces,
  row_names,
  rows_height,
)
from lmhp.analysis.report.figures.style import (
  hidden_axis,
  layout,
  name_with_unit,
  plain_text,
  plot_axis,
)
from lmhp.analysis.report.method import caveats_of_several, method_paragraphs
from lmhp.analysis.report.numbers import number
from lmhp.analysis.report.run_tables import trials_table
from lmhp.analysis.report.study_report import describe_origin
from lmhp.analysis.runs.table import SEARCH
from lmhp.analysis.winner.matched_budget import UNITS, common_budgets
from lmhp.analysis.winner.winner import Winner


@dataclasses.dataclass(frozen=True)
class _Study:
  """One of the studies.

  Attributes:
    name: Unique name.
    analysis: Its analysis.
    numbers: {run number: number in the report}. Runs of all studies are numbered through.
  """

  name: str
  analysis: Analysis
  numbers: dict[int, int]


def comparison_report(analyses: Sequence[Analysis]) -> Report:
  """Builds the report of several studies."""
  studies = _numbered(analyses)
  findings = [finding for study in studies for finding in _findings_of(study)]
  findings += power_laws(analyses)
  configs = {
    study.numbers[number]: config
    for study in studies
    for number, config in study.analysis.runs.configs.items()
    if number in study.numbers
  }
  blocks: list[Block] = [_comparison_table(studies)]
  figure = _best_figure(studies)
  if figure is not None:
    blocks.insert(0, figure)
  names = [study.name for study in studies]
  return Report(
    title=' and '.join(names) if len(names) < 4 else f'{len(names)} studies',
    answer=_answer(studies),
    findings=ranked(findings),
    sections=[Section('compared', 'Comparison', blocks)],
    trials=_trials_of_all(studies),
    configs=configs,
    method=method_paragraphs(analyses[0]),
    caveats=caveats_of_several(analyses),
    about={study.name: describe_origin(study.analysis.runs.facts) for study in studies},
  )


def _numbered(analyses: Sequence[Analysis]) -> list[_Study]:
  """Gives each study a unique name, and each run a number in the report."""
  names = [analysis.runs.name for analysis in analyses]
  studies = []
  start = 0
  for i, analysis in enumerate(analyses):
    # Studies of one name are told apart by their place. Runs are numbered through all
    # studies, so that a link finds one run.
    name = names[i] if names.count(names[i]) == 1 else f'{names[i]} ({i + 1})'
    numbers = {int(n): start + row for row, n in enumerate(analysis.runs.number)}
    studies.append(_Study(name, analysis, numbers))
    start += len(analysis.runs)
  return studies


def _findings_of(study: _Study) -> list[Finding]:
  """Returns the findings of a study with its name and the report's run numbers."""
  return [
    dataclasses.replace(
      finding,
      title=f'{study.name}: {finding.title}',
      runs=tuple(study.numbers[run] for run in finding.runs if run in study.numbers),
    )
    for finding in study.analysis.findings
  ]


# --- table and figure -------------------------------------------------------------------


def _comparison_table(studies: Sequence[_Study]) -> Table:
  return Table(
    'compared',
    'The studies',
    [
      Column('study', kind='text'),
      Column('points'),
      Column('best', kind='run'),
      Column('expected'),
      Column('low', '90%'),
      Column('high', '90%'),
      Column('objective', kind='text'),
      Column('budget', kind='text'),
    ],
    [_comparison_row(study) for study in studies],
    'Best point of each study, its expected result on a fresh seed, and the budget of its runs.',
  )


def _comparison_row(study: _Study) -> tuple[object, ...]:
  runs = study.analysis.runs
  winner = study.analysis.winner
  n_points = len(np.unique(runs.point[runs.cohort == SEARCH]))
  best = None
  expected = low = high = math.nan
  if winner is not None:
    best = study.numbers[runs.first_run(winner.point)]
    expected = runs.to_objective(winner.best_estimate)
    # An objective that is maximized has the ends the other way round.
    ends = (runs.to_objective(winner.low), runs.to_objective(winner.high))
    low, high = sorted(ends)
  return (
    study.name,
    n_points,
    best,
    expected,
    low,
    high,
    runs.objective_name,
    study.analysis.budget_sentence,
  )


@dataclasses.dataclass(frozen=True)
class _Best:
  """A study and its winner."""

  study: _Study
  winner: Winner

  @property
  def loss(self) -> float:
    """Expected loss of the winner, less is better."""
    return self.winner.best_estimate

  def to_objective(self, loss: float) -> float:
    """Converts a loss to a value of the study's objective."""
    return float(self.study.analysis.runs.to_objective(loss))


def _with_winner(studies: Sequence[_Study]) -> list[_Best]:
  """Returns the studies that have a winner."""
  best = []
  for study in studies:
    winner = study.analysis.winner
    if winner is not None:
      best.append(_Best(study, winner))
  return best


def _objectives(studies: Sequence[_Study]) -> set[str]:
  return {study.analysis.runs.objective_name for study in studies}


def _best_figure(studies: Sequence[_Study]) -> Figure | None:
  """Draws the expected result of each study's best point. None if they are not comparable."""
  bests = _with_winner(studies)
  if not bests or len(_objectives([best.study for best in bests])) > 1:
    return None
  rows = []
  for best in bests:
    low = best.to_objective(best.winner.low)
    high = best.to_objective(best.winner.high)
    low, high = sorted((low, high))
    name = plain_text(best.study.name, 40)
    value = best.to_objective(best.loss)
    rows.append(IntervalRow(name, value, low, high, math.isfinite(low)))
  values = np.array([(row.value, row.low, row.high) for row in rows])
  finite = values[np.isfinite(values)]
  # Space at both ends, also if all values are equal or 0.
  pad = 0.08 * float(np.ptp(finite)) or 0.05 * abs(float(finite[0])) or 1.0
  span = (float(finite.min()) - pad, float(finite.max()) + pad)
  first = min(bests, key=lambda best: best.loss)
  objective = first.study.analysis.runs.objective_name
  return Figure(
    'studies',
    'Best of each study on a fresh seed',
    (
      f'{first.study.name} has the best expected result, '
      f'{number(first.to_objective(first.loss))}. Hollow dots have no interval.'
    ),
    interval_traces(rows, span),
    layout(
      plot_axis(name_with_unit(objective), range=list(span)),
      hidden_axis(len(rows) - 0.6, -0.8),
      annotations=row_names(rows),
      margin={'l': 16, 'r': 16, 't': 8, 'b': 48},
    ),
    height=rows_height(rows),
  )


def _trials_of_all(studies: Sequence[_Study]) -> Table:
  """Returns all runs of all studies, with the number of the report and that of the study."""
  tables = [(study, trials_table(study.analysis.runs)) for study in studies]
  # The columns of all studies. A run has empty cells in those of others.
  every_column = [column for _, table in tables for column in table.columns[1:]]
  columns = list(dict.fromkeys(every_column))
  rows = []
  for study, table in tables:
    for row, run in zip(table.rows, study.analysis.runs.number.tolist()):
      cells = dict(zip(table.columns, row))
      values = [cells.get(column) for column in columns]
      rows.append((study.numbers[run], study.name, run, *values))
  return Table(
    'trials',
    'All runs',
    [
      Column('run', kind='run'),
      Column('study', kind='text'),
      Column('number in study'),
      *columns,
    ],
    rows,
    f'{len(rows)} runs of {len(studies)} studies.',
  )


# --- answer -----------------------------------------------------------------------------


def _answer(studies: Sequence[_Study]) -> list[str]:
  """Returns up to three sentences about the best study."""
  n = len(studies)
  # Different objectives cannot be compared.
  if len(_objectives(studies)) > 1:
    listing = listed(
      [f'{study.name} by {study.analysis.runs.objective_name}' for study in studies]
    )
    return [
      f'The {n} studies have different objectives ({listing}), so they cannot be compared.'
    ]
  common = common_budgets([study.analysis.budgets for study in studies])
  compared = f'{n} studies are compared, without a recorded budget in common.'
  if common:
    words = [UNITS[name] for name in common]
    compared = f'{n} studies are compared at equal {listed(words)}.'
  # The lowest expected loss first.
  bests = sorted(_with_winner(studies), key=lambda best: best.loss)
  if not bests:
    return [compared, 'No study has a complete trial yet.']
  first = bests[0]
  unit = first.study.analysis.runs.unit
  expected = quantity(first.to_objective(first.loss), unit)
  sentences = [
    compared,
    f'The best is {first.study.name}: expect {expected} on a fresh seed.',
  ]
  if len(bests) > 1:
    sentences.append(_second_sentence(first, bests[1], unit))
  return sentences


def _second_sentence(first: _Best, second: _Best, unit: str) -> str:
  relation = 'without fresh seeds of both, this may be chance'
  if math.isfinite(first.winner.high) and math.isfinite(second.winner.low):
    relation = 'their intervals overlap, so there is no significant difference'
    if first.winner.high < second.winner.low:
      relation = 'their intervals do not overlap'
  difference = quantity(second.loss - first.loss, unit)
  return f'The next is {second.study.name}, {difference} worse; {relation}.'
