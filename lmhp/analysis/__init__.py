"""What a sweep's numbers mean. Each function takes plain arrays, or a table of runs; none needs jax."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
  'analyze': 'analyze',
  'critical_batch_size': 'batch_size',
  'expected_loss_of_best': 'best',
  'best_of_n': 'best_of_n',
  'fit_isoflops': 'compute_optimal',
  'edge_of_stability': 'sensitivity',
  'extrapolate': 'extrapolation',
  'fit_optimum': 'optimum',
  'fit_power_law': 'power_laws',
  'fit_scaling_law': 'scaling_laws',
  'learning_rate_sensitivity': 'sensitivity',
  'noise_scale_from_norms': 'noise_scale',
  'pareto_front': 'pareto',
  'read': 'reading',
  'steps_to_target': 'batch_size',
  'variable_projection': 'compute_optimal',
}
"""Functions for arrays and tables, and the module that each is in, imported when used."""

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
  if name not in _HOMES:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  return getattr(importlib.import_module(f'{__name__}.{_HOMES[name]}'), name)


def __dir__() -> list[str]:
  return [*globals(), *__all__]
