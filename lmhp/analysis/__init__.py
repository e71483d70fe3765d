"""Analysis of tables of runs and of plain arrays. It needs no jax.

Each function takes plain arrays, or a table of runs (`lmhp.analysis.runs.table.Runs`).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from lmhp.analysis.analysis import analyze
  from lmhp.analysis.curves.extrapolation import extrapolate
  from lmhp.analysis.findings import register_finding
  from lmhp.analysis.hyperparameters.effects import effects
  from lmhp.analysis.hyperparameters.interactions import interactions
  from lmhp.analysis.hyperparameters.optimum import fit_optimum
  from lmhp.analysis.report.registry import register_figure
  from lmhp.analysis.runs.sources import read
  from lmhp.analysis.scaling.critical_batch_size import (
    critical_batch_size,
    steps_to_target,
  )
  from lmhp.analysis.scaling.gradient_noise import noise_scale_from_norms
  from lmhp.analysis.scaling.isoflops import fit_isoflops
  from lmhp.analysis.scaling.laws import (
    fit_compute_law,
    fit_scaling_law,
    variable_projection,
  )
  from lmhp.analysis.scaling.learning_rate_sensitivity import (
    edge_of_stability,
    learning_rate_sensitivity,
  )
  from lmhp.analysis.scaling.power_laws import fit_power_law
  from lmhp.analysis.scaling.robust_laws import HuberSettings
  from lmhp.analysis.winner.best_of_n_curve import best_of_n, expected_best
  from lmhp.analysis.winner.comparisons import compare_in_blocks, compare_samples
  from lmhp.analysis.winner.rung_agreement import rung_agreement
  from lmhp.analysis.winner.winner import expected_loss_of_best
  from lmhp.statistics.pareto import pareto_front

__all__ = [
  'analyze',
  'best_of_n',
  'compare_in_blocks',
  'compare_samples',
  'critical_batch_size',
  'edge_of_stability',
  'effects',
  'expected_best',
  'expected_loss_of_best',
  'extrapolate',
  'fit_compute_law',
  'fit_isoflops',
  'fit_optimum',
  'fit_power_law',
  'fit_scaling_law',
  'HuberSettings',
  'interactions',
  'learning_rate_sensitivity',
  'noise_scale_from_norms',
  'pareto_front',
  'read',
  'register_figure',
  'register_finding',
  'rung_agreement',
  'steps_to_target',
  'variable_projection',
]

_MODULES = {
  'analyze': 'lmhp.analysis.analysis',
  'best_of_n': 'lmhp.analysis.winner.best_of_n_curve',
  'compare_in_blocks': 'lmhp.analysis.winner.comparisons',
  'compare_samples': 'lmhp.analysis.winner.comparisons',
  'critical_batch_size': 'lmhp.analysis.scaling.critical_batch_size',
  'edge_of_stability': 'lmhp.analysis.scaling.learning_rate_sensitivity',
  'effects': 'lmhp.analysis.hyperparameters.effects',
  'expected_best': 'lmhp.analysis.winner.best_of_n_curve',
  'expected_loss_of_best': 'lmhp.analysis.winner.winner',
  'extrapolate': 'lmhp.analysis.curves.extrapolation',
  'fit_compute_law': 'lmhp.analysis.scaling.laws',
  'fit_isoflops': 'lmhp.analysis.scaling.isoflops',
  'fit_optimum': 'lmhp.analysis.hyperparameters.optimum',
  'fit_power_law': 'lmhp.analysis.scaling.power_laws',
  'fit_scaling_law': 'lmhp.analysis.scaling.laws',
  'HuberSettings': 'lmhp.analysis.scaling.robust_laws',
  'interactions': 'lmhp.analysis.hyperparameters.interactions',
  'learning_rate_sensitivity': 'lmhp.analysis.scaling.learning_rate_sensitivity',
  'noise_scale_from_norms': 'lmhp.analysis.scaling.gradient_noise',
  'pareto_front': 'lmhp.statistics.pareto',
  'read': 'lmhp.analysis.runs.sources',
  'register_figure': 'lmhp.analysis.report.registry',
  'register_finding': 'lmhp.analysis.findings',
  'rung_agreement': 'lmhp.analysis.winner.rung_agreement',
  'steps_to_target': 'lmhp.analysis.scaling.critical_batch_size',
  'variable_projection': 'lmhp.analysis.scaling.laws',
}
"""{exported name: module}. A module is imported when its name is first used."""


def __getattr__(name: str) -> object:
  if name not in _MODULES:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
  return [*globals(), *__all__]
