"""Estimated memory of a program, from the arrays that are alive at each of its operations.

XLA plans the memory of a compiled program exactly, but compiling takes long. The estimate only
needs the traced program (a jaxpr). It follows these rules of XLA:

1. A cheap operation is fused into the operations that read its result. Then the result takes no
   memory, but the inputs of the operation stay alive until the result was read.
2. A cheap operation, a loop and an update of a part of an array write over an input that nothing
   reads later.
3. The stacked outputs of a loop exist from its start. The arrays of one iteration come on top.
4. Random bits are made from two counters, each of their size. The counters of bits that a loop
   makes exist while the loop runs.
5. A CPU has no products in bfloat16. Its products read copies of their inputs in float32. It also
   merges equal operations, so that nothing outside of a loop is computed again.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator
import dataclasses
import math
from typing import Any

from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var
import jax.numpy as jnp

_CHEAP = frozenset(
  'abs add add_any and broadcast_in_dim clamp concatenate convert_element_type copy copy_p cos '
  'div eq erf erf_inv exp exp2 expand_dims expm1 floor ge gt integer_pow iota is_finite le log '
  'log1p logistic lt max min mul ne neg nextafter not or pad pow reduce_precision reshape rev '
  'round rsqrt select_n shift_left shift_right_logical sign sin slice sqrt square squeeze '
  'stop_gradient sub tanh transpose xor'.split()
)
"""Operations that XLA fuses: one number of the result needs few numbers of the inputs."""

_IN_PLACE = ('scatter', 'scatter-add', 'dynamic_update_slice')
"""Operations that change a part of their first input."""

_CONTROL_FLOW = ('scan', 'while', 'cond')
"""Loops and branches."""


class _Array:
  """One array of a program. Two arrays are equal only if they are the same object.

  Attributes:
    n_bytes: Size of the array.
    dtype: Data type of the array. None for a token of effects, which has no size.
  """

  def __init__(self, variable: Var) -> None:
    aval: Any = variable.aval
    self.dtype = getattr(aval, 'dtype', None)
    self.n_bytes = 0
    if self.dtype is not None:
      self.n_bytes = math.prod(aval.shape) * self.dtype.itemsize


@dataclasses.dataclass(frozen=True)
class _Operation:
  """One operation of a program.

  Attributes:
    equation: Equation of the jaxpr.
    inputs: Arrays that it reads. None stands for a literal.
    outputs: Arrays that it makes.
  """

  equation: JaxprEqn
  inputs: list[_Array | None]
  outputs: list[_Array]

  @property
  def name(self) -> str:
    """Name of the operation, such as `dot_general`."""
    return self.equation.primitive.name

  @property
  def fuses(self) -> bool:
    """True if the operation can read results of cheap operations that take no memory."""
    return self.name in _CHEAP or self.name.startswith(('reduce', 'arg'))


def peak_bytes(jaxpr: Jaxpr, on_cpu: bool) -> int:
  """Returns the estimated memory of a program in bytes, without its inputs and outputs.

  The outputs are left out because an update of a training state writes them over its inputs.

  Args:
    jaxpr: The traced program.
    on_cpu: If True, the rules of a CPU are followed too.

  >>> import jax
  >>> def function(x):
  ...   return jnp.sin(jnp.tanh(x @ x) @ x)
  >>> traced = jax.make_jaxpr(function)(jax.ShapeDtypeStruct((10, 10), 'float32'))
  >>> peak_bytes(traced.jaxpr, on_cpu=False)  # the first product and its tanh
  800
  """
  operations, outputs = _without_calls(jaxpr, merges_equal=on_cpu)
  return _peak(operations, outputs, on_cpu, free=set(outputs))


# --- calls --------------------------------------------------------------------------


def _without_calls(
  jaxpr: Jaxpr, merges_equal: bool
) -> tuple[list[_Operation], list[_Array]]:
  """Returns the operations of a program, and its outputs.

  An operation that only calls another program, such as `jit`, is replaced by the operations of
  that program. Loops and branches stay.

  Args:
    jaxpr: The traced program.
    merges_equal: If True, only the first of equal operations is kept.
  """
  operations: list[_Operation] = []
  # {operation, parameters and inputs: outputs}, for operations that may be merged.
  known: dict[tuple[object, ...], list[_Array]] = {}

  def add(jaxpr: Jaxpr, arrays: dict[Var, _Array | None]) -> None:
    for equation in jaxpr.eqns:
      inputs = [_find(atom, arrays) for atom in equation.invars]
      called = _called_program(equation)
      if called is None:
        identity = _identity(equation, inputs) if merges_equal else None
        outputs = known.get(identity) if identity is not None else None
        if outputs is None:
          outputs = [_Array(variable) for variable in equation.outvars]
          operations.append(_Operation(equation, inputs, outputs))
        if identity is not None:
          known[identity] = outputs
      else:
        inner = _named_arrays(called.constvars)
        inner |= dict(zip(called.invars, inputs, strict=True))
        add(called, inner)
        outputs = [_find(atom, inner) for atom in called.outvars]
      arrays |= dict(zip(equation.outvars, outputs, strict=True))

  arrays = _named_arrays([*jaxpr.constvars, *jaxpr.invars])
  add(jaxpr, arrays)
  outputs = [_find(atom, arrays) for atom in jaxpr.outvars]
  return operations, [array for array in outputs if array is not None]


def _named_arrays(variables: Iterable[Var]) -> dict[Var, _Array | None]:
  return {variable: _Array(variable) for variable in variables}


def _find(atom: Var | Literal, arrays: dict[Var, _Array | None]) -> _Array | None:
  return None if isinstance(atom, Literal) else arrays[atom]


def _identity(
  equation: JaxprEqn, inputs: list[_Array | None]
) -> tuple[object, ...] | None:
  """Returns a key that is the same for equal operations. None for loops and branches."""
  if equation.primitive.name in _CONTROL_FLOW:
    return None
  literals = [str(a) for a in equation.invars if isinstance(a, Literal)]
  return (equation.primitive, str(equation.params), *inputs, *literals)


def _called_program(equation: JaxprEqn) -> Jaxpr | None:
  """Returns the program that an operation calls once, or None for any other operation.

  XLA removes a loop of one iteration, so such a loop is a call.
  """
  is_call = equation.params.get('length') == 1
  if equation.primitive.name in _CONTROL_FLOW and not is_call:
    return None
  for name in ('jaxpr', 'call_jaxpr', 'fun_jaxpr'):
    called = equation.params.get(name)
    if called is not None:
      return getattr(called, 'jaxpr', called)
  return None


# --- arrays that are alive ----------------------------------------------------------


def _peak(
  operations: list[_Operation],
  outputs: list[_Array],
  on_cpu: bool,
  free: Iterable[_Array] = (),
) -> int:
  """Returns the largest sum of the sizes of the arrays that are alive at one time.

  Args:
    operations: Operations of the program.
    outputs: Outputs of the program.
    on_cpu: As in `peak_bytes`.
    free: Outputs that take no memory.
  """
  fused = _fused_results(operations, outputs)
  last_reads = _last_reads(operations, outputs, fused)
  ending: dict[int, list[_Array]] = collections.defaultdict(list)
  for array, i in last_reads.items():
    ending[i].append(array)

  without_memory = set(free)
  sizes: dict[_Array, int] = {}
  alive = 0
  peak = 0
  for i, operation in enumerate(operations):
    # Allocate the results. A result that nothing reads is not made, except by a loop.
    made = 0
    for array in operation.outputs:
      is_made = array in last_reads or operation.name == 'scan'
      if is_made and array not in fused:
        sizes[array] = 0 if array in without_memory else array.n_bytes
        made += sizes[array]

    # The memory of inputs that are not read again can hold results.
    ended = [array for array in ending[i] if array in sizes]
    overwritten = _overwritten_bytes(operation, ended, sizes, made)
    temporary = _temporary_bytes(operation, on_cpu)
    peak = max(peak, alive + made - overwritten + temporary)
    alive += made - sum(sizes[array] for array in ended)
  return peak


def _fused_results(
  operations: list[_Operation], outputs: list[_Array]
) -> dict[_Array, set[_Array]]:
  """Returns {result of a fused operation: the arrays in memory from which it is computed}."""
  readers: dict[_Array, list[_Operation]] = collections.defaultdict(list)
  for operation in operations:
    for array in operation.inputs:
      if array is not None:
        readers[array].append(operation)

  kept = set(outputs)
  sources: dict[_Array, set[_Array]] = {}
  for operation in operations:
    for array in operation.outputs:
      is_fused = operation.name in _CHEAP and all(r.fuses for r in readers[array])
      if is_fused and array not in kept:
        sources[array] = set(_in_memory(operation.inputs, sources))
  return sources


def _in_memory(
  arrays: Iterable[_Array | None], fused: dict[_Array, set[_Array]]
) -> Iterator[_Array]:
  """Yields arrays in memory: an array itself, or those from which a fused result is computed."""
  for array in arrays:
    if array is not None:
      yield from fused.get(array, (array,))


def _last_reads(
  operations: list[_Operation],
  outputs: list[_Array],
  fused: dict[_Array, set[_Array]],
) -> dict[_Array, int]:
  """Returns {array in memory: index of the last operation that reads it}.

  An output is read after the last operation.
  """
  last_reads: dict[_Array, int] = {}
  for i, operation in enumerate(operations):
    # A fused operation reads its inputs only when an operation in memory reads its result.
    if any(array not in fused for array in operation.outputs):
      last_reads |= dict.fromkeys(_in_memory(operation.inputs, fused), i)
  return last_reads | dict.fromkeys(outputs, len(operations))


def _overwritten_bytes(
  operation: _Operation, ended: list[_Array], sizes: dict[_Array, int], made: int
) -> int:
  """Returns the bytes of the results that take the memory of inputs.

  Args:
    operation: The operation.
    ended: Inputs that nothing reads later.
    sizes: {array: bytes of memory}.
    made: Bytes of the results.
  """
  params = operation.equation.params
  if operation.name in _CHEAP:
    candidates = ended
  elif operation.name == 'scan':
    first = params['num_consts']
    candidates = operation.inputs[first : first + params['num_carry']]
  elif operation.name == 'while':
    candidates = operation.inputs[params['cond_nconsts'] + params['body_nconsts'] :]
  elif operation.name in _IN_PLACE:
    candidates = operation.inputs[:1]
  else:
    candidates = []
  return min(made, sum(sizes[a] for a in candidates if a is not None and a in ended))


def _temporary_bytes(operation: _Operation, on_cpu: bool) -> int:
  """Returns the bytes that exist only while an operation runs."""
  params = operation.equation.params
  if operation.name == 'scan':
    return _inner_peak(params['jaxpr'].jaxpr, on_cpu)
  if operation.name == 'while':
    return _inner_peak(params['body_jaxpr'].jaxpr, on_cpu)
  if operation.name == 'cond':
    branches = [branch.jaxpr for branch in params['branches']]
    return max(_inner_peak(branch, on_cpu) for branch in branches)
  if operation.name == 'random_bits':
    return 2 * _result_bytes([operation])
  if operation.name == 'dot_general' and on_cpu:
    halves = [a for a in operation.inputs if a is not None and a.dtype == jnp.bfloat16]
    return sum(2 * array.n_bytes for array in halves)
  return 0


def _inner_peak(jaxpr: Jaxpr, on_cpu: bool) -> int:
  """Returns the estimated memory of one iteration of a loop, or of a branch."""
  operations, outputs = _without_calls(jaxpr, merges_equal=on_cpu)
  random = [operation for operation in operations if operation.name == 'random_bits']
  return _peak(operations, outputs, on_cpu) + 2 * _result_bytes(random)


def _result_bytes(operations: Iterable[_Operation]) -> int:
  return sum(array.n_bytes for each in operations for array in each.outputs)
