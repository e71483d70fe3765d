"""Masks over the parameters, for weight decay and freezing.

Each function takes a nested dict of the parameters, of their gradients or of their shapes. Leaves
may be missing or masked, such as those of frozen parameters. The function looks up the path of
each leaf in the table of `lmhp.params`, and returns a nested dict with the same paths.
"""

from __future__ import annotations

import jax

from lmhp.errors import ConfigError, suggest
from lmhp.optim.config import OptimizerConfig
from lmhp.params import KINDS, Param, map_params, matches
from lmhp.typing import PyTree


def param_tree(params: PyTree) -> PyTree:
  """Returns the `Param` (path, shape, kind, role) of each parameter, as a nested dict.

  Args:
    params: Nested dict of arrays or shapes.

  >>> shapes = {'final_norm': {'scale': jax.ShapeDtypeStruct((14,), 'float32')}}
  >>> param_tree(shapes)['final_norm']['scale'].role
  'scale'
  """
  return map_params(lambda param, _: param, params)


def decay_mask(params: PyTree, cfg: OptimizerConfig) -> PyTree:
  """Returns True for each parameter that decays.

  A parameter decays if its kind is in `weight_decay_kinds` and its role is in
  `weight_decay_roles`.

  Args:
    params: Nested dict of arrays or shapes.
    cfg: The section `optimizer`. Only its static keys are read.

  >>> shapes = {'final_norm': {'scale': jax.ShapeDtypeStruct((14,), 'float32')}}
  >>> decay_mask(shapes, OptimizerConfig())
  {'final_norm': {'scale': False}}
  """

  def decays(param: Param) -> bool:
    return param.kind in cfg.weight_decay_kinds and param.role in cfg.weight_decay_roles

  return jax.tree.map(decays, param_tree(params))


def frozen_mask(params: PyTree, cfg: OptimizerConfig) -> PyTree:
  """Returns True for each parameter that the optimizer leaves unchanged.

  A parameter is frozen if

  - its kind is in `freeze`,
  - its path matches a pattern in `freeze`, or
  - its role is 'state'. The training step sets states, such as the correction of a router, by
    a rule and not by gradients.

  The training step removes frozen parameters from the trees that it gives to the `init` and
  `update` of the optimizer. So they have no optimizer state.

  Args:
    params: Nested dict of arrays or shapes.
    cfg: The section `optimizer`. Only its static keys are read.

  Raises:
    ConfigError: If an entry of `freeze` matches no parameter, or all parameters are frozen.

  >>> shapes = {'final_norm': {'scale': jax.ShapeDtypeStruct((14,), 'float32')}}
  >>> frozen_mask(shapes, OptimizerConfig())
  {'final_norm': {'scale': False}}
  """
  # An entry that matches no parameter is an error, because it is probably misspelled.
  tree = param_tree(params)
  _check_freeze(cfg, jax.tree.leaves(tree))

  def is_frozen(param: Param) -> bool:
    is_selected = any(_is_selected(param, entry) for entry in cfg.freeze)
    return param.role == 'state' or is_selected

  mask = jax.tree.map(is_frozen, tree)
  if cfg.freeze and all(jax.tree.leaves(mask)):
    raise ConfigError(
      f'optimizer.freeze: got {cfg.freeze!r}, which freezes all parameters; expected at '
      'least one that is trained'
    )
  return mask


def _check_freeze(cfg: OptimizerConfig, params: list[Param]) -> None:
  """Checks that each entry of `freeze` is a kind or matches a path."""
  for entry in cfg.freeze:
    if entry in KINDS or any(_is_selected(param, entry) for param in params):
      continue
    near = suggest(entry, [*KINDS, *(param.path for param in params)])
    raise ConfigError(
      f'optimizer.freeze: got {entry!r}, which matches no parameter; expected a kind '
      f'({", ".join(KINDS)}) or a path, in which * is any name and ** any number of '
      f'names{near}'
    )


def _is_selected(param: Param, entry: str) -> bool:
  return entry == param.kind or matches(entry, param.path)
