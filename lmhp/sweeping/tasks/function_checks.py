"""Checks of the functions and numbers of a `FunctionTask`. The functions are traced, not run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
import contextlib
from typing import cast

import jax
from jax.interpreters import partial_eval
import jax.numpy as jnp
import numpy as np

from lmhp.errors import ConfigError, suggest
from lmhp.sweeping.tasks.function_programs import Functions
from lmhp.training.chunks import Hypers
from lmhp.typing import Number, PyTree


def checked_numbers(hypers: Mapping[str, object]) -> dict[str, Number]:
  """Returns the base values of the numbers as Python numbers.

  Args:
    hypers: {name: number, or array of shape ()}.

  Raises:
    ConfigError: If a value is not a number, or a name is 'data'.
  """
  if not isinstance(hypers, Mapping):
    raise ConfigError(
      f'hypers: got {type(hypers).__name__}, expected a dict from names to numbers'
    )
  numbers: dict[str, Number] = {}
  for name, value in hypers.items():
    # The manifest of a study stores the base values as JSON, so numpy scalars become Python
    # numbers.
    is_scalar = isinstance(value, (np.generic, np.ndarray, jax.Array)) and (
      np.size(value) == 1
    )
    number = value.item() if is_scalar else value  # pyright: ignore[reportAttributeAccessIssue]
    if not isinstance(number, (bool, int, float)):
      raise ConfigError(
        f'hypers.{name}: got {number!r}, expected a number; use a Python closure for a word '
        'or a nested dict'
      )
    numbers[name] = number
  if 'data' in numbers:
    raise ConfigError(
      "hypers: got a number named 'data', expected another name, because lmhp uses this "
      'name for batches'
    )
  return numbers


def step_metrics(functions: Functions, hypers: Hypers) -> tuple[str, ...]:
  """Returns the names of the metrics of `step`.

  Args:
    functions: Functions of the user.
    hypers: Traced numbers of the base values.

  Raises:
    ConfigError: If `init` or `step` fails, or `step` returns something else than a state like
      that of `init` and a dict of scalars.
  """
  state = _traced('init', hypers, lambda h: functions.init(h), hypers)
  made = _traced(
    'step', hypers, lambda s, h, i: functions.step(s, h, i), state, hypers, np.int32(0)
  )
  if not isinstance(made, tuple) or len(made) != 2:
    raise ConfigError(
      f'step: got {_describe(made)}, expected a tuple (state, metrics) to be returned'
    )
  new_state, metrics = made
  _check_metrics('step', metrics)
  before = _shapes(state)
  after = _shapes(new_state)
  if before != after:
    raise ConfigError(
      f'step: got a state of {after}, expected {before}, as init returns'
    )
  return tuple(metrics)


def score_metrics(
  score: Callable[[Hypers], PyTree], hypers: Hypers
) -> Mapping[str, PyTree]:
  """Returns {metric: shape} of the scores of a trial.

  Args:
    score: Function that makes a state and scores it.
    hypers: Traced numbers of the base values.

  Raises:
    ConfigError: If `evaluate` fails, or returns something else than a dict of scalars.
  """
  metrics = _traced('evaluate', hypers, score, hypers)
  _check_metrics('evaluate', metrics)
  return metrics


def numbers_read(functions: Functions, hypers: Hypers) -> set[str]:
  """Returns the names of the numbers that a function of the user reads."""

  def run_all(h: Hypers) -> PyTree:
    state = functions.init(h)
    outputs = [state, functions.step(state, h, jnp.int32(0))]
    if functions.evaluate is not None:
      outputs.append(functions.evaluate(state, h))
    return outputs

  # JAX removes the operations whose results are not used. A number that is then not used has no
  # effect.
  jaxpr = jax.make_jaxpr(run_all)(hypers).jaxpr
  _, used = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
  # A dict is flattened in the order of its sorted names.
  return {name for name, is_used in zip(sorted(hypers), used, strict=True) if is_used}


def _traced(
  name: str, hypers: Hypers, function: Callable[..., PyTree], *arguments: PyTree
) -> PyTree:
  """Returns the shapes and dtypes of what a function returns, without a computation."""
  result = None

  def call(*traced: PyTree) -> PyTree:
    nonlocal result
    result = function(*traced)
    # The result may be no pytree of arrays, such as a word. Its type is checked later.
    leaves = jax.tree.leaves(result)
    return result if all(map(_is_array, leaves)) else None

  with _one_line_errors(name, hypers):
    shapes = jax.eval_shape(call, *arguments)
  return shapes if shapes is not None or result is None else result


def _is_array(leaf: object) -> bool:
  return isinstance(leaf, (jax.Array, np.ndarray, np.generic, bool, int, float))


@contextlib.contextmanager
def _one_line_errors(name: str, hypers: Hypers) -> Iterator[None]:
  """Turns common mistakes in a function of the user into a `ConfigError`."""
  try:
    yield
  except KeyError as error:
    missing = error.args[0] if error.args else None
    if not isinstance(missing, str) or missing in hypers:
      raise
    raise ConfigError(
      f'{name}: reads hypers[{missing!r}], expected one of the numbers '
      f'{", ".join(hypers)}{suggest(missing, hypers)}'
    ) from error
  except jax.errors.TracerArrayConversionError as error:
    raise ConfigError(
      f'{name}: gives a traced array to a NumPy function, expected jax.numpy'
    ) from error
  except jax.errors.ConcretizationTypeError as error:
    raise ConfigError(
      f'{name}: decides by the value of a traced number, expected jax.numpy.where or '
      'jax.lax.cond'
    ) from error


def _check_metrics(name: str, metrics: object) -> None:
  """Checks that metrics are a dict of scalars."""
  if not isinstance(metrics, Mapping) or not all(isinstance(n, str) for n in metrics):
    raise ConfigError(
      f'{name}: got {_describe(metrics)} as metrics, expected a dict from names to scalars'
    )
  for metric, value in cast(Mapping[str, object], metrics).items():
    if getattr(value, 'shape', None) != ():
      raise ConfigError(
        f'{name}: got the metric {metric!r} as {_describe(value)}, expected a scalar'
      )


def _describe(value: object) -> str:
  """Returns a value in few words."""
  if isinstance(value, jax.ShapeDtypeStruct):
    return f'an array of shape {value.shape}'
  return 'None' if value is None else f'a {type(value).__name__}'


def _shapes(tree: PyTree) -> str:
  """Returns the shapes and dtypes of a pytree of arrays as text."""
  leaves = [f'{leaf.dtype}{list(leaf.shape)}' for leaf in jax.tree.leaves(tree)]
  return f'{", ".join(leaves) or "no arrays"}'
