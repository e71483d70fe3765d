"""Which parameters decay, which are frozen, and at what rate each kind learns: three readings of the leaf table.

Each function takes a parameter tree, or any tree of its form (gradients, shapes, one where what is frozen or masked has
been taken out), and returns a tree of the same form.
"""

from __future__ import annotations

from typing import Any, Mapping

import jax

from lmhp.errors import ConfigError, suggest
from lmhp.params import KINDS, Param, map_params, matches


def param_tree(params: Any) -> Any:
  """The `Leaf` of each parameter, in its place.

  >>> param_tree({'final_norm': {'scale': jax.ShapeDtypeStruct((14,), 'float32')}})[
  ...   'final_norm'
  ... ]['scale'].role
  'scale'
  """
  return map_params(lambda leaf, _: leaf, params)


def decay_mask(params: Any, cfg: Any) -> Any:
  """True where a parameter decays: its kind is in `weight_decay_kinds` and its role in `weight_decay_roles`.

  Args:
    params: nested dict of arrays or shapes.
    cfg: an `OptimizerConfig`, or its structure.
  """
  decays = lambda leaf: (
    leaf.kind in cfg.weight_decay_kinds and leaf.role in cfg.weight_decay_roles
  )
  return jax.tree.map(decays, param_tree(params))


def frozen_mask(params: Any, cfg: Any) -> Any:
  """True where the optimizer has no part: the kind, or a pattern the path matches, is in `freeze`, or it is a state.

  The training step takes these out before `init` and `update`, so that they hold no optimizer state.

  Args:
    params: nested dict of arrays or shapes.
    cfg: an `OptimizerConfig`, or its structure.

  Raises:
    ConfigError: where an entry names no parameter, or nothing is left to train.
  """
  table = param_tree(params)
  leaves = jax.tree.leaves(table)
  for entry in cfg.freeze:
    if entry not in KINDS and not any(_matches(entry, leaf) for leaf in leaves):
      near = suggest(entry, [*KINDS, *(leaf.path for leaf in leaves)])
      raise ConfigError(
        f'optimizer.freeze: got {entry!r}, which names no parameter; expected a kind '
        f'({", ".join(KINDS)}) or a path with * and **{near}'
      )
  mask = jax.tree.map(
    lambda leaf: (
      leaf.role == 'state' or any(_matches(entry, leaf) for entry in cfg.freeze)
    ),
    table,
  )
  if cfg.freeze and all(jax.tree.leaves(mask)):
    raise ConfigError(
      f'optimizer.freeze: got {cfg.freeze!r}, which leaves no parameter to train'
    )
  return mask


def _matches(entry: str, leaf: Param) -> bool:
  """Whether a kind or a path pattern names a leaf."""
  return entry == leaf.kind or matches(entry, leaf.path)


def lr_multipliers(params: Any, hypers: Mapping[str, jax.Array]) -> Any:
  """The factor on each parameter's learning rate: its kind's `*_rate`."""
  return jax.tree.map(
    lambda leaf: hypers[f'{leaf.kind}_lr_multiplier'], param_tree(params)
  )
