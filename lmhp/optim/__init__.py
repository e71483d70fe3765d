"""Optimizers and learning-rate schedules.

The step function of training builds an Optax chain while JAX traces it. So each number in the
chain, such as the learning rate, may be a traced array.

A new optimizer is one file in `optimizers/` and one line in its `__init__.py`, or one entry in
an existing file of that folder. A new schedule is one function and one entry in
`schedules/shapes.py`. Code outside lmhp calls `register_optimizer` and `register_schedule`.
"""

# The masks read the table of parameters, which this import fills.
from lmhp.model import param_specs as param_specs
from lmhp.optim import optimizers, schedules

# The schedules register when this file is imported.
from lmhp.optim.schedules import shapes as shapes

__all__ = ['optimizers', 'schedules']
