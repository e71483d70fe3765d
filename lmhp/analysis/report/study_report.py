"""The report of one study."""

from __future__ import annotations

import math

import numpy as np

from lmhp.analysis.analysis import Analysis
from lmhp.analysis.findings import next_space
from lmhp.analysis.phrases import counted, interval_text, listed, p_text, quantity
import lmhp.analysis.report.contents  # noqa: F401  registers the figures of lmhp
from lmhp.analysis.report.document import Block, Report, Section
from lmhp.analysis.report.method import caveats, method_paragraphs
from lmhp.analysis.report.registry import FIGURES, SECTIONS, blocks_of
from lmhp.analysis.report.run_tables import trials_table
from lmhp.analysis.runs.table import SEARCH, StudyFacts

MAX_LISTED = 4


def study_report(analysis: Analysis) -> Report:
  """Builds the report of one study: its answer, findings, figures and trials."""
  runs = analysis.runs
  return Report(
    title=runs.name,
    answer=study_answer(analysis),
    findings=analysis.findings,
    sections=_sections(analysis),
    trials=trials_table(runs),
    configs=runs.configs,
    method=method_paragraphs(analysis),
    caveats=caveats(analysis),
    about=describe_origin(runs.facts),
  )


def _sections(analysis: Analysis) -> list[Section]:
  """Draws all registered figures, and leaves out sections without any."""
  blocks: dict[str, list[Block]] = {section: [] for section in SECTIONS}
  for entry in FIGURES.values():
    drawn = entry.draw(**analysis.results(entry.needs))
    blocks[entry.section] += blocks_of(drawn)
  return [
    Section(name, SECTIONS[name], drawn) for name, drawn in blocks.items() if drawn
  ]


def describe_origin(facts: StudyFacts) -> dict[str, object]:
  """Returns the known facts about the origin of the runs."""
  origin = {
    'source': facts.source,
    'type': facts.source_type,
    'command': facts.command,
    'data_sha256': facts.data_sha256,
    'versions': facts.versions,
    'device': facts.device,
    'git': facts.git,
  }
  return {name: value for name, value in origin.items() if value}


# --- answer -----------------------------------------------------------------------------


def study_answer(analysis: Analysis) -> list[str]:
  """Returns three sentences: what was compared, what was found, and the next step."""
  return [
    _comparison_sentence(analysis),
    _result_sentence(analysis),
    _next_step_sentence(analysis),
  ]


def _comparison_sentence(analysis: Analysis) -> str:
  runs = analysis.runs
  n_points = len(np.unique(runs.point[runs.cohort == SEARCH]))
  compared = counted(n_points, 'point')
  axes = list(runs.varied_axes())
  if axes:
    names = axes[:MAX_LISTED]
    if len(axes) > MAX_LISTED:
      names.append(f'{len(axes) - MAX_LISTED} more')
    compared += f' of {listed(names)}'
  return (
    f'{analysis.budget_sentence[:-1]}: {compared}, judged by {runs.objective_name}.'
  )


def _result_sentence(analysis: Analysis) -> str:
  runs = analysis.runs
  winner = analysis.winner
  title = analysis.answer.title
  if winner is None:
    return title
  if not winner.has_interval:
    mean = quantity(runs.to_objective(winner.mean), runs.unit)
    return f'{title[:-1]}; its result is {mean}, and its selection bias is unknown.'
  # An objective that is maximized has the ends the other way round.
  low, high = sorted((runs.to_objective(winner.low), runs.to_objective(winner.high)))
  expected = quantity(runs.to_objective(winner.expected), runs.unit)
  return (
    f'{title[:-1]}; on a fresh seed expect {expected} '
    f'({interval_text(low, high, winner.confidence)}).'
  )


def _next_step_sentence(analysis: Analysis) -> str:
  findings = analysis.findings
  # First a new space, then the first advice, then the lack of effects.
  space = next_space(findings)
  if space:
    reason = next(finding.title for finding in findings if finding.proposal)
    ranges = listed([f'{axis} {domain.describe()}' for axis, domain in space.items()])
    return f'Next, search {ranges}. {reason}'
  advice = [finding for finding in findings if finding.level in ('warning', 'advice')]
  if advice:
    return advice[0].title
  tested = [effect for effect in analysis.effects if math.isfinite(effect.p_holm)]
  if tested and not tested[0].significant():
    return (
      f'No hyperparameter has a significant effect ({p_text(tested[0].p_holm)}): try another '
      'space, or more seeds.'
    )
  return 'There is no advice for another study of this space.'
