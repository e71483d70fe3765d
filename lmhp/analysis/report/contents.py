"""The figures, tables and paragraphs of a study's report, in the order of the page.

A new one is one file with a function, and one line here.
"""

from __future__ import annotations

import inspect

from lmhp.analysis.phrases import sentence
from lmhp.analysis.report import tables
from lmhp.analysis.report.document import Text
from lmhp.analysis.report.figures import (
  batch_size,
  confirmation,
  contours,
  effects,
  parallel_coordinates,
  responses,
  scaling,
  trials,
)
from lmhp.analysis.report.figures.curves import all_runs
from lmhp.analysis.report.registry import register_figure
from lmhp.analysis.winner.doubling_gain import DoublingGain


def _rung_note(rung: int | None) -> Text | None:
  """States the rung at which runs are compared."""
  return (
    None
    if rung is None
    else Text(
      'Most trials were stopped early, so trials are compared by their score at step '
      f'{rung:,}, which most of them reached.'
    )
  )


def _doubling_note(doubling_gain: DoublingGain | None) -> Text | None:
  """States the gain to expect from more trials."""
  return None if doubling_gain is None else Text(sentence(doubling_gain.reason))


CONTENTS = {
  'winner': {
    'confirmation': confirmation.confirmation_figure,
    'best_points': tables.best_table,
    'history': trials.history_figure,
  },
  'effects': {
    'rung_note': _rung_note,
    'effects': effects.effects_figure,
    'effects_table': tables.effects_table,
    'responses': responses.response_figures,
    'isolations': responses.isolation_figures,
    'contours': contours.contour_figures,
    'importances': effects.importance_figures,
  },
  'search': {
    'best_of_n': trials.best_of_n_figure,
    'doubling_note': _doubling_note,
    'status': trials.status_figure,
    'divergence': tables.divergence_table,
    'parallel_coordinates': parallel_coordinates.parallel_figure,
  },
  'training': {
    'training_curves': all_runs.training_curves_figure,
    'gap': all_runs.gap_figure,
    'grad_norm': all_runs.grad_norm_figure,
    'rungs': trials.rungs_figure,
    'noise_scale': batch_size.noise_scale_figure,
    'critical_batch_size': batch_size.critical_batch_figure,
    'thinning_note': all_runs.thinning_note,
  },
  'sizes': {
    'pareto': scaling.pareto_figures,
    'parameter_kinds': tables.kinds_table,
    'scaling_law': scaling.scaling_figure,
    'scaling_law_table': tables.law_table,
  },
}
"""{section: {name: function that draws the entry}}, in the order of the page. The parameters of
a function name the results that it needs."""

for section, entries in CONTENTS.items():
  for name, draw in entries.items():
    needs = tuple(inspect.signature(draw).parameters)
    register_figure(name, section=section, needs=needs, draw=draw)
