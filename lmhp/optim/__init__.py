"""Optimizers and learning-rate schedules, as Optax chains that are built inside the trace.

A chain is built inside the trace so that each number in it may be an array.

A new optimizer is one file in `optimizers/` and one line in its `__init__.py`, or one entry of
a file there. A new schedule is one function and one entry in `schedules/shapes.py`. Code
outside lmhp calls `register_optimizer` and `register_schedule`.
"""

# The masks read the table of parameters, which this import fills.
from lmhp.model import param_specs as param_specs
from lmhp.optim import optimizers, schedules

# The schedules register when this file is imported.
from lmhp.optim.schedules import shapes as shapes

__all__ = ['optimizers', 'schedules']
