"""The report of several studies beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
import itertools
import math

import numpy as np

from lmhp.analysis.advice.transfer import optima_at_size, power_laws
from lmhp.analysis.analysis import Analysis
from lmhp.analysis.findings import Finding, ranked
from lmhp.analysis.phrases import listed, number, quantity
from lmhp.analysis.report.document import Column, Figure, Report, Section, Table
from lmhp.analysis.report.figures.effects import IntervalRow, interval_figure
from lmhp.analysis.report.figures.style import (
  name_with_unit,
  padded_range,
  plain_text,
  plot_axis,
)
from lmhp.analysis.report.registry import blocks_of
from lmhp.analysis.report.study_report import (
  caveats,
  describe_origin,
  method_paragraphs,
)
from lmhp.analysis.report.tables import trials_table
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

  def best(self) -> tuple[int | None, float, float, float]:
    """Returns the number of the best run, and its expected objective with an interval."""
    runs = self.analysis.runs
    winner = self.analysis.winner
    if winner is None:
      return None, math.nan, math.nan, math.nan
    return (
      self.numbers[runs.first_run(winner.point)],
      runs.to_objective(winner.best_estimate),
      *runs.objective_interval(winner.low, winner.high),
    )


def comparison_report(analyses: Sequence[Analysis]) -> Report:
  """Builds the report of several studies."""
  studies = _numbered(analyses)
  names = [study.name for study in studies]
  findings: list[Finding] = []
  configs: dict[int, Mapping[str, object]] = {}
  for study in studies:
    # Findings and configs have the name of their study, and the report's run numbers.
    numbers = study.numbers
    findings += [
      dataclasses.replace(
        finding,
        title=f'{study.name}: {finding.title}',
        runs=tuple(numbers[run] for run in finding.runs if run in numbers),
      )
      for finding in study.analysis.findings
    ]
    of_study = study.analysis.runs.configs
    configs |= {numbers[run]: of_study[run] for run in of_study if run in numbers}
  findings += power_laws([optima_at_size(each.runs, each.optima) for each in analyses])
  return Report(
    title=' and '.join(names) if len(names) < 4 else f'{len(names)} studies',
    answer=_answer(studies),
    findings=ranked(findings),
    sections=[
      Section(
        'compared',
        'Comparison',
        blocks_of([_best_figure(studies), _comparison_table(studies)]),
      )
    ],
    trials=_trials_of_all(studies),
    configs=configs,
    method=method_paragraphs(analyses[0]),
    # Each caveat once.
    caveats=list(dict.fromkeys(each for one in analyses for each in caveats(one))),
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
    numbers = dict(zip(analysis.runs.number.tolist(), itertools.count(start)))
    studies.append(_Study(name, analysis, numbers))
    start += len(analysis.runs)
  return studies


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
    [
      (
        study.name,
        study.analysis.runs.n_points,
        *study.best(),
        study.analysis.runs.objective_name,
        study.analysis.budget_sentence,
      )
      for study in studies
    ],
    'Best point of each study, its expected result on a fresh seed, and the budget of its runs.',
  )


def _winners(studies: Sequence[_Study]) -> list[tuple[_Study, Winner]]:
  """Returns the studies that have a winner, with it."""
  return [
    (study, study.analysis.winner)
    for study in studies
    if study.analysis.winner is not None
  ]


def _best_figure(studies: Sequence[_Study]) -> Figure | None:
  """Draws the expected result of each study's best point. None if they are not comparable."""
  winners = _winners(studies)
  objectives = {study.analysis.runs.objective_name for study, _ in winners}
  if len(objectives) != 1:
    return None
  rows = [
    IntervalRow(plain_text(study.name, 40), *study.best()[1:], winner.has_interval)
    for study, winner in winners
  ]
  best = int(np.argmin([winner.best_estimate for _, winner in winners]))
  # Space at both ends, also if all values are equal or 0.
  x_axis = plot_axis(
    name_with_unit(objectives.pop()),
    range=padded_range(
      np.array([(row.value, row.low, row.high) for row in rows]),
      0.08,
      0.05 * abs(rows[0].value) or 1.0,
    ),
  )
  return interval_figure(
    'studies',
    'Best of each study on a fresh seed',
    f'{winners[best][0].name} has the best expected result, {number(rows[best].value)}. Hollow '
    'dots have no interval.',
    rows,
    x_axis,
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
  if len({study.analysis.runs.objective_name for study in studies}) > 1:
    listing = listed(
      [f'{study.name} by {study.analysis.runs.objective_name}' for study in studies]
    )
    return [
      f'The {n} studies have different objectives ({listing}), so they cannot be compared.'
    ]
  budgets = common_budgets([study.analysis.budgets for study in studies])
  words = listed([UNITS[name] for name in budgets])
  shared = f' at equal {words}' if words else ', without a recorded budget in common'
  compared = f'{n} studies are compared{shared}.'
  # The lowest expected loss first.
  winners = sorted(_winners(studies), key=lambda pair: pair[1].best_estimate)
  if not winners:
    return [compared, 'No study has a complete trial yet.']
  study, best = winners[0]
  unit = study.analysis.runs.unit
  answer = [
    compared,
    f'The best is {study.name}: expect {quantity(study.best()[1], unit)} on a fresh seed.',
  ]
  if len(winners) > 1:
    other, second = winners[1]
    relation = 'without fresh seeds of both, this may be chance'
    if math.isfinite(best.high) and math.isfinite(second.low):
      overlap = 'overlap, so there is no significant difference'
      relation = (
        f'their intervals {"do not overlap" if best.high < second.low else overlap}'
      )
    difference = quantity(second.best_estimate - best.best_estimate, unit)
    answer.append(f'The next is {other.name}, {difference} worse; {relation}.')
  return answer
