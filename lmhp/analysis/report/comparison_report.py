"""The report of several studies beside each other."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import math

import numpy as np

from lmhp.analysis.advice.transfer import optima_at_size, power_laws
from lmhp.analysis.analysis import Analysis
from lmhp.analysis.findings import Finding, ranked
from lmhp.analysis.phrases import listed, number, quantity
from lmhp.analysis.report.document import Column, Figure, Report, Section, Table
from lmhp.analysis.report.figures.effects import (
  IntervalRow,
  interval_traces,
  row_names,
  rows_height,
)
from lmhp.analysis.report.figures.style import (
  hidden_axis,
  layout,
  name_with_unit,
  padded_range,
  plain_text,
  plot_axis,
  range_of,
)
from lmhp.analysis.report.registry import blocks_of
from lmhp.analysis.report.study_report import (
  caveats_of_several,
  describe_origin,
  method_paragraphs,
)
from lmhp.analysis.report.tables import trials_table
from lmhp.analysis.runs.table import Runs
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
  findings += power_laws([optima_at_size(each.runs, each.optima) for each in analyses])
  configs = {
    study.numbers[number]: config
    for study in studies
    for number, config in study.analysis.runs.configs.items()
    if number in study.numbers
  }
  blocks = blocks_of([_best_figure(studies), _comparison_table(studies)])
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
  best = None
  expected = low = high = math.nan
  if winner is not None:
    best = study.numbers[runs.first_run(winner.point)]
    expected = runs.to_objective(winner.best_estimate)
    low, high = runs.objective_interval(winner.low, winner.high)
  return (
    study.name,
    runs.n_points,
    best,
    expected,
    low,
    high,
    runs.objective_name,
    study.analysis.budget_sentence,
  )


@dataclasses.dataclass(frozen=True)
class _Best:
  """Winner of a study: name of the study, table of its runs, and the winner."""

  name: str
  runs: Runs
  winner: Winner


def _winners(studies: Sequence[_Study]) -> list[_Best]:
  """Returns the winners of the studies that have one."""
  return [
    _Best(study.name, study.analysis.runs, study.analysis.winner)
    for study in studies
    if study.analysis.winner is not None
  ]


def _best_figure(studies: Sequence[_Study]) -> Figure | None:
  """Draws the expected result of each study's best point. None if they are not comparable."""
  bests = _winners(studies)
  if not bests or len({best.runs.objective_name for best in bests}) > 1:
    return None
  rows = [
    IntervalRow(
      plain_text(best.name, 40),
      best.runs.to_objective(best.winner.best_estimate),
      *best.runs.objective_interval(best.winner.low, best.winner.high),
      filled=best.winner.has_interval,
    )
    for best in bests
  ]
  first = int(np.argmin([best.winner.best_estimate for best in bests]))
  values = np.array([(row.value, row.low, row.high) for row in rows])
  # Space at both ends, also if all values are equal or 0.
  x_axis = plot_axis(
    name_with_unit(bests[0].runs.objective_name),
    range=padded_range(values, 0.08, 0.05 * abs(rows[0].value) or 1.0),
  )
  return Figure(
    'studies',
    'Best of each study on a fresh seed',
    (
      f'{bests[first].name} has the best expected result, {number(rows[first].value)}. Hollow '
      'dots have no interval.'
    ),
    interval_traces(rows, range_of(x_axis)),
    layout(
      x_axis,
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
  columns = dict.fromkeys(column for _, table in tables for column in table.columns[1:])
  rows = []
  for study, table in tables:
    for row, run in zip(table.rows, study.analysis.runs.number.tolist()):
      cells = dict(zip(table.columns, row))
      rows.append((study.numbers[run], study.name, run, *map(cells.get, columns)))
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
  if len({study.analysis.runs.objective_name for study in studies}) > 1:
    listing = listed(
      [f'{study.name} by {study.analysis.runs.objective_name}' for study in studies]
    )
    return [
      f'The {n} studies have different objectives ({listing}), so they cannot be compared.'
    ]
  common = common_budgets([study.analysis.budgets for study in studies])
  compared = f'{n} studies are compared, without a recorded budget in common.'
  if common:
    words = listed([UNITS[name] for name in common])
    compared = f'{n} studies are compared at equal {words}.'
  # The lowest expected loss first.
  bests = sorted(_winners(studies), key=lambda best: best.winner.best_estimate)
  if not bests:
    return [compared, 'No study has a complete trial yet.']
  first = bests[0]
  expected = first.runs.to_objective(first.winner.best_estimate)
  sentences = [
    compared,
    f'The best is {first.name}: expect {quantity(expected, first.runs.unit)} on a fresh seed.',
  ]
  if len(bests) > 1:
    sentences.append(_second_sentence(first, bests[1]))
  return sentences


def _second_sentence(first: _Best, second: _Best) -> str:
  relation = 'without fresh seeds of both, this may be chance'
  if math.isfinite(first.winner.high) and math.isfinite(second.winner.low):
    relation = 'their intervals overlap, so there is no significant difference'
    if first.winner.high < second.winner.low:
      relation = 'their intervals do not overlap'
  difference = second.winner.best_estimate - first.winner.best_estimate
  return f'The next is {second.name}, {quantity(difference, first.runs.unit)} worse; {relation}.'
