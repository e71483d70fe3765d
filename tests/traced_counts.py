"""Parameters and FLOPs counted in live trees and traced programs: oracles of the closed forms."""

from __future__ import annotations

from collections import Counter
import math

import jax

from lmhp.counting.parameters import Count
from lmhp.params import KINDS, list_params


def count_tree(params):
  """Returns the `Count` of a tree of parameters (arrays or shapes), by the parameter table."""
  counts = Counter()
  for param in list_params(params):
    if param.role != 'state':
      counts[param.kind] += param.size
  return Count({kind: counts[kind] for kind in KINDS})


def traced_flops(function, *args):
  """Returns the FLOPs of all products in the jaxpr of a function.

  The body of a scan counts once for each iteration, unlike in XLA's `cost_analysis`. A branch
  counts as its most expensive case, and a loop of unknown length as one iteration.

  Args:
    function: Traceable function.
    *args: Arrays or `jax.ShapeDtypeStruct`s.
  """
  return _jaxpr_flops(jax.make_jaxpr(function)(*args).jaxpr)


def _jaxpr_flops(jaxpr):
  return sum(_equation_flops(equation) for equation in jaxpr.eqns)


def _equation_flops(equation):
  name = equation.primitive.name
  if name == 'dot_general':
    (contracted, _), _ = equation.params['dimension_numbers']
    left = equation.invars[0].aval
    out = equation.outvars[0].aval
    return 2 * math.prod(out.shape) * math.prod(left.shape[i] for i in contracted)
  if name == 'ragged_dot_general':
    rows = equation.invars[0].aval
    kernel = equation.invars[1].aval
    out = equation.outvars[0].aval
    width = out.shape[-1] if kernel.ndim == 3 else kernel.shape[-1]
    return 2 * math.prod(rows.shape) * width

  flops = [_jaxpr_flops(jaxpr) for jaxpr in _inner_jaxprs(equation.params)]
  if name == 'cond':
    return max(flops)
  if name == 'scan':
    return sum(flops) * equation.params['length']
  return sum(flops)


def _inner_jaxprs(params):
  jaxprs = []
  for value in params.values():
    for item in value if isinstance(value, (tuple, list)) else (value,):
      if hasattr(item, 'eqns'):
        jaxprs.append(item)
      elif hasattr(item, 'jaxpr') and hasattr(item.jaxpr, 'eqns'):
        jaxprs.append(item.jaxpr)
  return jaxprs
