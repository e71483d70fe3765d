"""lmhp: a laboratory for language-model hyperparameters, in JAX.

Four verbs carry everything: count, train, sweep, report. Importing this package imports no jax; each name is fetched
when it is first used.
"""

from __future__ import annotations

import importlib

__version__ = '0.1.0'

_HOMES = {
  'count': 'lmhp.api',
  'train': 'lmhp.api',
  'sweep': 'lmhp.api',
  'plan_sweep': 'lmhp.api',
  'report': 'lmhp.api',
  'generate': 'lmhp.api',
  'load_run': 'lmhp.api',
  'import_pretrained': 'lmhp.api',
  'export': 'lmhp.api',
  'load_pretrained': 'lmhp.hub.pretrained',
  'save_pretrained': 'lmhp.hub.pretrained',
  'default_config': 'lmhp.config',
  'RunConfig': 'lmhp.training.config',
  'ModelConfig': 'lmhp.model.config',
  'SweepConfig': 'lmhp.sweeping.config',
  'FunctionTask': 'lmhp.sweeping.tasks.function_task',
  **dict.fromkeys(
    ('Float', 'Int', 'Choice', 'Fixed', 'Product', 'Zip', 'Chain', 'When', 'Subsample'),
    'lmhp.sweeping.space',
  ),
  'ConfigError': 'lmhp.errors',
}

__all__ = ['__version__', *_HOMES]


def __getattr__(name: str):
  if name == 'analysis':
    return importlib.import_module('lmhp.analysis')
  if name not in _HOMES:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  value = getattr(importlib.import_module(_HOMES[name]), name)
  globals()[name] = value
  return value


def __dir__() -> list[str]:
  return sorted({*globals(), *_HOMES})
