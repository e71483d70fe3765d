"""Spaces: what `get_sweep()` varies, by dotted path.

  space = {
    'optimizer.learning_rate': Float(1e-4, 1e-1, log=True),
    'optimizer.weight_decay': Float(1e-4, 1.0, log=True, role='nuisance'),
    'model.n_layers': Int(2, 8),
    'schedule.name': Choice('cosine', 'wsd_linear', 'constant'),
    'optimizer.b2': 0.95,
    'schedule.cooldown_fraction': When('schedule.name', 'wsd_linear', Float(0.05, 0.5)),
  }

=========================  ================================================================
Float, Int, Choice, Fixed  what one path takes; a plain value is Fixed
Product(a, b)              every part on its own; a dict is the product of its items
Zip({path: values, ...})   paths that vary together: one parameter
Chain(a, b)                the points of a, then those of b
When(path, values, x)      x only where another path takes one of these values
Subsample(space, n)        n of the points of a grid, spread evenly
=========================  ================================================================

This is the page to import from. What is behind it, from the ground: `domains`, `combinators`, `tree`, `parameters`,
`checking`, `grid`. None of it imports jax, so that a study can be planned and read on a laptop.
"""

from lmhp.sweeping.space.combinators import (
  Chain,
  Product,
  Space,
  Subsample,
  When,
  Zip,
  as_space,
  from_json,
  to_json,
)
from lmhp.sweeping.space.compiled_space import (
  CompiledSpace,
  Parameter,
  Point,
  parameters,
  walk,
)
from lmhp.sweeping.space.domains import (
  ROLES,
  Choice,
  Domain,
  Fixed,
  Float,
  Int,
  from_unit,
  unit,
)
from lmhp.sweeping.space.flattening import Range, values_of, varied_paths
from lmhp.sweeping.space.grid_points import grid
from lmhp.sweeping.space.validation import check

__all__ = [
  'Chain',
  'Choice',
  'Domain',
  'Fixed',
  'Float',
  'Int',
  'Parameter',
  'Plan',
  'Point',
  'Product',
  'ROLES',
  'Range',
  'Space',
  'Subsample',
  'When',
  'Zip',
  'as_space',
  'check',
  'from_json',
  'from_unit',
  'grid',
  'parameters',
  'to_json',
  'unit',
  'values_of',
  'varied_paths',
  'walk',
]
