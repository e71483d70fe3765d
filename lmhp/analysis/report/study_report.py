"""The report of one study, and its paragraphs about methods and limits."""

from __future__ import annotations

import dataclasses

import numpy as np

from lmhp.analysis.advice.cost import describe_cost
from lmhp.analysis.advice.next_step import next_step
from lmhp.analysis.advice.yardsticks import describe_yardsticks
from lmhp.analysis.analysis import Analysis
from lmhp.analysis.hyperparameters.effects import LEVEL as EFFECT_LEVEL
from lmhp.analysis.hyperparameters.interactions import LEVEL as INTERACTION_LEVEL
from lmhp.analysis.phrases import (
  Estimate,
  amount,
  counted,
  listed,
  quantity,
)
import lmhp.analysis.report.contents  # noqa: F401  registers the figures of lmhp
from lmhp.analysis.report.document import Block, Report, Section
from lmhp.analysis.report.registry import FIGURES, SECTIONS, blocks_of
from lmhp.analysis.report.tables import trials_table
from lmhp.analysis.runs.table import StudyFacts
from lmhp.statistics.confirmation import CONFIDENCE

MAX_LISTED = 4
MAX_COLUMNS = 8
NONADAPTIVE_SEARCHES = ('grid', 'random', 'halton', 'sobol')
"""Searches that do not choose points by earlier results."""

OF_CURVES = (
  'Training curves: curves are smoothed before they are judged. The variance between steps is '
  'that of successive differences, so that the trend does not count. The gap is the evaluation '
  'loss minus the training loss at the same step.'
)


def study_report(analysis: Analysis) -> Report:
  """Builds the report of one study: its answer, findings, figures and trials."""
  runs = analysis.runs
  cost = describe_cost(runs)
  return Report(
    title=runs.name,
    answer=[
      analysis.answer.title,
      _expectation_sentence(analysis),
      next_step(
        runs,
        analysis.findings,
        analysis.winner,
        analysis.differences,
        analysis.scaling_law,
        analysis.sampling_error,
      ),
      *([cost] if cost else []),
    ],
    basis=_basis(analysis),
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
    blocks[entry.section] += blocks_of(entry.draw(**analysis.results(entry.needs)))
  return [
    Section(name, SECTIONS[name], blocks[name]) for name in SECTIONS if blocks[name]
  ]


def describe_origin(facts: StudyFacts) -> dict[str, object]:
  """Returns the known facts about the origin of the runs."""
  names = (
    'source',
    'source_type',
    'command',
    'data_sha256',
    'versions',
    'device',
    'git',
  )
  origin = dataclasses.asdict(facts)
  return {name.removeprefix('source_'): origin[name] for name in names if origin[name]}


# --- answer -----------------------------------------------------------------------------


def _basis(analysis: Analysis) -> list[str]:
  """States what was compared, how the columns were read, and in which direction."""
  runs = analysis.runs
  compared = counted(runs.n_points, 'point')
  axes = list(runs.varied_axes())
  if axes:
    compared += f' of {listed(axes, MAX_LISTED)}'
  sentences = [
    f'{analysis.budget_sentence[:-1]}: {compared}, judged by {runs.objective_name} '
    f'({"more" if runs.maximize else "less"} is better).',
    *(
      f'{name} always moves with {other}, so their effects cannot be told apart.'
      for name, other in runs.axes_together.items()
    ),
    *describe_yardsticks(runs),
  ]
  names: dict[str, list[str]] = {}
  for name, column in runs.columns.items():
    names.setdefault(column.role, []).append(name)
  if names:
    roles = '; '.join(f'{role}: {listed(names[role], MAX_COLUMNS)}' for role in names)
    sentences.append(
      f'Columns were read as {roles}. Change a role with --roles COLUMN=ROLE.'
    )
  return [*sentences, *runs.notes]


def _expectation_sentence(analysis: Analysis) -> str:
  """States what to expect of the winner on a fresh seed."""
  runs = analysis.runs
  winner = analysis.winner
  if winner is None:
    return 'There is no result to expect.'
  error = analysis.sampling_error
  items = ''
  if error is not None:
    items = (
      f' {runs.objective_name} is a rate over {error.n_items:,} items, so its sampling error '
      f'alone is {amount(error.standard_error)}; all results differ by {amount(error.spread)} at '
      'most.'
    )
  if not winner.has_interval:
    mean = quantity(runs.to_objective(winner.mean), runs.unit)
    return (
      f'The best {runs.objective_name} is {mean}; {winner.reason.partition(",")[0]}, so how '
      f'much of it is luck is not known.{items}'
    )
  estimate = Estimate(
    runs.to_objective(winner.expected),
    *runs.objective_interval(winner.low, winner.high),
    winner.confidence,
    runs.unit,
  )
  return f'On a fresh seed expect {runs.objective_name} to be {estimate}.{items}'


# --- methods and limits -----------------------------------------------------------------


def method_paragraphs(analysis: Analysis) -> list[str]:
  """Returns paragraphs that explain how the numbers of a report were computed."""
  reason = analysis.winner.reason if analysis.winner else ''
  # Each paragraph with its condition.
  conditional = (
    (
      True,
      'Confidence: estimates have 90% intervals. One config is called better than another if '
      f'the {CONFIDENCE:.0%} interval of their difference does not contain 0. A '
      f'hyperparameter has a significant effect if p ≤ {EFFECT_LEVEL} with Holm correction '
      f'over all hyperparameters, and two interact if p ≤ {INTERACTION_LEVEL} with Holm '
      'correction over all pairs.',
    ),
    (
      analysis.winner,
      'Winner: the point with the best mean over its seeds. Its expected result on a fresh '
      f'seed: {reason}. Fresh seeds are independent of the choice. Without them, the interval '
      'allows for the luck of the best of its contenders.',
    ),
    (
      True,
      'Effects: F tests of a line and a parabola in the hyperparameter (or a level for each '
      'choice), beside parabolas in the others that explain the objective, with outliers cut. '
      'The gain is the fitted difference between a typical value and the best one. Curves and '
      'contours are slices of a Gaussian process over all hyperparameters, with the others at '
      'their best.',
    ),
    (
      analysis.best_of_n,
      'Best of n: order statistics with a simultaneous band (Lourie, Cho, He 2023), for '
      'trials that are drawn independently. The mean is the unbiased expected validation '
      'performance (Tang et al. 2020).',
    ),
    (
      analysis.importances,
      "Importance: Optuna's PED-ANOVA (Watanabe et al. 2023), and fANOVA (Hutter et al. 2014) "
      'if scikit-learn is installed. Objectives are clipped so that bad trials do not '
      'dominate. The p-values come from permutations.',
    ),
    (analysis.runs.curves, OF_CURVES),
  )
  return [text for is_shown, text in conditional if is_shown]


def caveats(analysis: Analysis) -> list[str]:
  """Returns sentences about the limits of a study's results."""
  trials = analysis.runs.search_runs()
  search = trials.facts.search
  n_pruned = np.sum(trials.status == 'pruned')
  rung = analysis.rung
  # Each sentence with its condition.
  conditional = (
    (
      search and search not in NONADAPTIVE_SEARCHES,
      f'The search ({search}) chose points by earlier results, so p-values of effects are too '
      'small, and there is no best-of-n curve.',
    ),
    (
      n_pruned,
      f'{n_pruned} of {counted(len(trials), "trial")} were stopped early. Their final '
      'objective is unknown.',
    ),
    (
      rung is not None,
      f'Trials are compared at step {rung or 0:,}. The best learning rate, warmup or '
      'schedule of a short run is not that of a long one.',
    ),
    (
      len(np.unique(trials.seed)) == 1,
      'Each point of the search ran with one seed.',
    ),
    (
      True,
      'The results hold for this model size, this amount of data and this search space.',
    ),
  )
  return [text for is_true, text in conditional if is_true]
