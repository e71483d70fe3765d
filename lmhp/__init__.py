"""lmhp: choose language-model hyperparameters, in JAX.

The four main functions are `count`, `train`, `sweep` and `report`. `import lmhp` does not
import jax, because a public name is imported only when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = '0.2.0'

_MODULES = {
  'count': 'lmhp.api',
  'train': 'lmhp.api',
  'sweep': 'lmhp.api',
  'plan_sweep': 'lmhp.api',
  'report': 'lmhp.api',
  'generate': 'lmhp.api',
  'load_run': 'lmhp.api',
  'import_pretrained': 'lmhp.hub.experiment_file',
  'export': 'lmhp.api',
  'load_pretrained': 'lmhp.hub.pretrained',
  'save_pretrained': 'lmhp.hub.pretrained',
  'default_config': 'lmhp.config',
  'RunConfig': 'lmhp.training.config',
  'ModelConfig': 'lmhp.model.config',
  'SweepConfig': 'lmhp.sweeping.config',
  'FunctionTask': 'lmhp.sweeping.tasks.function_task',
  'ConfigError': 'lmhp.errors',
  'Float': 'lmhp.sweeping.space',
  'Int': 'lmhp.sweeping.space',
  'Choice': 'lmhp.sweeping.space',
  'Fixed': 'lmhp.sweeping.space',
  'Product': 'lmhp.sweeping.space',
  'Zip': 'lmhp.sweeping.space',
  'Chain': 'lmhp.sweeping.space',
  'When': 'lmhp.sweeping.space',
  'Subsample': 'lmhp.sweeping.space',
}
"""{public name: module that defines it}."""

# `__getattr__` provides these names. pyright cannot see that.
__all__ = ['__version__', *_MODULES]  # pyright: ignore[reportUnsupportedDunderAll]

if TYPE_CHECKING:
  from lmhp import analysis as analysis
  from lmhp.api import (
    count as count,
    export as export,
    generate as generate,
    load_run as load_run,
    plan_sweep as plan_sweep,
    report as report,
    sweep as sweep,
    train as train,
  )
  from lmhp.config import default_config as default_config
  from lmhp.errors import ConfigError as ConfigError
  from lmhp.hub.experiment_file import import_pretrained as import_pretrained
  from lmhp.hub.pretrained import (
    load_pretrained as load_pretrained,
    save_pretrained as save_pretrained,
  )
  from lmhp.model.config import ModelConfig as ModelConfig
  from lmhp.sweeping.config import SweepConfig as SweepConfig
  from lmhp.sweeping.space import (
    Chain as Chain,
    Choice as Choice,
    Fixed as Fixed,
    Float as Float,
    Int as Int,
    Product as Product,
    Subsample as Subsample,
    When as When,
    Zip as Zip,
  )
  from lmhp.sweeping.tasks.function_task import FunctionTask as FunctionTask
  from lmhp.training.config import RunConfig as RunConfig


def __getattr__(name: str) -> object:
  # `analysis` is a package, which is imported as a whole.
  if name == 'analysis':
    return importlib.import_module('lmhp.analysis')
  if name not in _MODULES:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  value = getattr(importlib.import_module(_MODULES[name]), name)
  # From now on, the name is found without a call of this function.
  globals()[name] = value
  return value


def __dir__() -> list[str]:
  return sorted({*globals(), *_MODULES})
