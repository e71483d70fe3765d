"""What a sweep's numbers mean. Each function takes plain arrays, or a table of runs; none needs jax."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
  'analyze': 'analysis',
  'critical_batch_size': 'scaling.critical_batch_size',
  'expected_loss_of_best': 'winner.winner',
  'best_of_n': 'winner.trial_count',
  'fit_isoflops': 'scaling.isoflops',
  'edge_of_stability': 'scaling.learning_rate_sensitivity',
  'extrapolate': 'curves.extrapolation',
  'fit_optimum': 'hyperparameters.optimum',
  'fit_power_law': 'scaling.power_laws',
  'fit_scaling_law': 'scaling.laws',
  'learning_rate_sensitivity': 'scaling.learning_rate_sensitivity',
  'noise_scale_from_norms': 'scaling.gradient_noise',
  'pareto_front': 'lmhp.statistics.pareto',
  'read': 'runs.sources',
  'steps_to_target': 'scaling.critical_batch_size',
  'variable_projection': 'scaling.isoflops',
}
"""Functions for arrays and tables, and the module that each is in, imported when used."""

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
  if name not in _HOMES:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  home = _HOMES[name]
  module = home if home.startswith('lmhp.') else f'{__name__}.{home}'
  return getattr(importlib.import_module(module), name)


def __dir__() -> list[str]:
  return [*globals(), *__all__]
