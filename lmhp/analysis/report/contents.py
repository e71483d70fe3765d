"""The figures, tables and paragraphs of a study's report, in the order of the page.

A new one is one file with a function, and one line here.
"""

from __future__ import annotations

from lmhp.analysis.phrases import sentence
from lmhp.analysis.report import tables
from lmhp.analysis.report.document import Text
from lmhp.analysis.report.figures import (
  batch_size,
  confirmation,
  contours,
  effects,
  isolations,
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
  if rung is None:
    return None
  return Text(
    'Most trials were stopped early, so trials are compared by their score at step '
    f'{rung:,}, which most of them reached.'
  )


def _doubling_note(doubling_gain: DoublingGain | None) -> Text | None:
  """States the gain to expect from more trials."""
  if doubling_gain is None:
    return None
  return Text(sentence(doubling_gain.reason))


# --- the winner -------------------------------------------------------------------------

register_figure(
  'confirmation',
  section='winner',
  needs=('runs', 'winner', 'confirmation'),
  draw=confirmation.confirmation_figure,
)
register_figure(
  'best_points', section='winner', needs=('runs',), draw=tables.best_table
)
register_figure(
  'history', section='winner', needs=('runs',), draw=trials.history_figure
)

# --- effects ----------------------------------------------------------------------------

register_figure('rung_note', section='effects', needs=('rung',), draw=_rung_note)
register_figure(
  'effects',
  section='effects',
  needs=('runs', 'effects'),
  draw=effects.effects_figure,
)
register_figure(
  'effects_table',
  section='effects',
  needs=('runs', 'effects'),
  draw=tables.effects_table,
)
register_figure(
  'responses',
  section='effects',
  needs=('runs', 'comparable_runs', 'responses', 'winner'),
  draw=responses.response_figures,
)
register_figure(
  'isolations',
  section='effects',
  needs=('runs', 'isolations'),
  draw=isolations.isolation_figures,
)
register_figure(
  'contours',
  section='effects',
  needs=('runs', 'comparable_runs', 'contours'),
  draw=contours.contour_figures,
)
register_figure(
  'importances',
  section='effects',
  needs=('importances',),
  draw=effects.importance_figures,
)

# --- the search -------------------------------------------------------------------------

register_figure(
  'best_of_n',
  section='search',
  needs=('runs', 'best_of_n'),
  draw=trials.best_of_n_figure,
)
register_figure(
  'doubling_note', section='search', needs=('doubling_gain',), draw=_doubling_note
)
register_figure('status', section='search', needs=('runs',), draw=trials.status_figure)
register_figure(
  'divergence',
  section='search',
  needs=('divergence',),
  draw=tables.divergence_table,
)
register_figure(
  'parallel_coordinates',
  section='search',
  needs=('runs', 'comparable_runs', 'rung'),
  draw=parallel_coordinates.parallel_figure,
)

# --- training ---------------------------------------------------------------------------

register_figure(
  'training_curves',
  section='training',
  needs=('runs', 'winner'),
  draw=all_runs.training_curves_figure,
)
register_figure(
  'gap', section='training', needs=('runs', 'winner'), draw=all_runs.gap_figure
)
register_figure(
  'grad_norm',
  section='training',
  needs=('runs', 'winner'),
  draw=all_runs.grad_norm_figure,
)
register_figure(
  'rungs',
  section='training',
  needs=('runs', 'rung_scores'),
  draw=trials.rungs_figure,
)
register_figure(
  'noise_scale',
  section='training',
  needs=('batch_size',),
  draw=batch_size.noise_scale_figure,
)
register_figure(
  'critical_batch_size',
  section='training',
  needs=('batch_size',),
  draw=batch_size.critical_batch_figure,
)
register_figure(
  'thinning_note', section='training', needs=('runs',), draw=all_runs.thinning_note
)

# --- size and cost ----------------------------------------------------------------------

register_figure('pareto', section='sizes', needs=('runs',), draw=scaling.pareto_figures)
register_figure(
  'parameter_kinds',
  section='sizes',
  needs=('runs', 'kind_effects'),
  draw=tables.kinds_table,
)
register_figure(
  'scaling_law',
  section='sizes',
  needs=('runs', 'scaling_law'),
  draw=scaling.scaling_figure,
)
register_figure(
  'scaling_law_table',
  section='sizes',
  needs=('scaling_law',),
  draw=tables.law_table,
)
