"""Search spaces: the hyperparameters that a sweep varies, by dotted path.

A space is a set of points. A point has a value for each hyperparameter that exists there.

  space = {
    'optimizer.learning_rate': Float(1e-4, 1e-1, log=True),
    'optimizer.weight_decay': Float(1e-4, 1.0, log=True, role='nuisance'),
    'model.n_layers': Int(2, 8),
    'schedule.name': Choice('cosine', 'wsd_linear', 'constant'),
    'optimizer.b2': 0.95,
    'schedule.cooldown_fraction': When('schedule.name', 'wsd_linear', Float(0.05, 0.5)),
  }

=========================  ==========================================================
Float, Int, Choice, Fixed  the values of one path; a plain value means Fixed
Product(a, b)              all combinations of a and b; a dict is the product of its items
Zip({path: values, ...})   paths that vary together: row i has value i of each path
Chain(a, b)                the points of a, then the points of b
When(path, values, x)      x, which exists only if the path has one of these values
Subsample(space, n)        n points of the grid of the space, spread evenly
=========================  ==========================================================

The role of a hyperparameter is 'scientific' (the subject of the study), 'nuisance' (tuned for a
fair comparison) or 'fixed'. See `domains`.

Import from this package. Its modules build on each other in this order: `domains`,
`intervals`, `entries`, `combinators`, `conditions`, `compiled_space`, `validation`. None of
them imports jax, so that a study can be planned and read on a laptop.
"""

from lmhp.sweeping.space.combinators import (
  Chain,
  Product,
  Space,
  SpaceLike,
  Subsample,
  When,
  Zip,
  as_space,
)
from lmhp.sweeping.space.compiled_space import (
  CompiledSpace,
  Point,
  condition_holds,
  draw_point,
  parameters,
)
from lmhp.sweeping.space.conditions import Condition, Parameter
from lmhp.sweeping.space.domains import (
  ROLES,
  Choice,
  Domain,
  Fixed,
  Range,
  Value,
  is_number,
)
from lmhp.sweeping.space.intervals import Float, Int
from lmhp.sweeping.space.paths import paths_of, values_of
from lmhp.sweeping.space.space_json import from_json, to_json
from lmhp.sweeping.space.validation import check_space

__all__ = [
  'Chain',
  'Choice',
  'CompiledSpace',
  'Condition',
  'Domain',
  'Fixed',
  'Float',
  'Int',
  'Parameter',
  'Point',
  'Product',
  'ROLES',
  'Range',
  'Space',
  'SpaceLike',
  'Subsample',
  'Value',
  'When',
  'Zip',
  'as_space',
  'check_space',
  'condition_holds',
  'draw_point',
  'from_json',
  'is_number',
  'parameters',
  'paths_of',
  'to_json',
  'values_of',
]
