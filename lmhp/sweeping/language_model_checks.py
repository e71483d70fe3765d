"""Checks of a sweep over lmhp's own trainer, before anything is compiled or trained."""

from __future__ import annotations

from lmhp import config as config_lib, config_keys
from lmhp.errors import ConfigError
from lmhp.hypers import flatten
from lmhp.sections import wrong
from lmhp.sweeping.comparability import check_evaluations
from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.key_effects import check_keys_have_effects
from lmhp.sweeping.space import Space, as_space, check_space, paths_of, values_of
from lmhp.sweeping.tasks.language_model import LanguageModel
from lmhp.training.config import LENGTHS

STRUCTURE_SECTIONS = ('model.', 'train.', 'data.')
"""Path prefixes of the sections whose static keys can change the cost of a trial."""


def checked_language_model(
  config: object, sweep: SweepConfig, dtype: str | None = None
) -> LanguageModel:
  """Returns the task of a sweep of lmhp's trainer, after all checks.

  Args:
    config: Base config of the sweep.
    sweep: Config of the sweep.
    dtype: Precision that 'auto' stands for. None: the fastest on this machine.

  Raises:
    ConfigError: In one of these cases:
      - The space does not fit the config, or a key has no effect at some point.
      - The tokens or FLOPs of trials differ, and `sweep.match_budget` is not set.
      - The space varies the length of training, and `sweep.match_budget` is not 'none'.
      - The space varies `train.seed`, and `sweep.seeds_per_point` is above 1.
      - Trials would be scored on different tokens or text.
  """
  space = as_space(sweep.space)
  # Cheap checks first. `LanguageModel` loads the data.
  base = config_lib.resolve(config_lib.to_config_dict(config))
  check_space(space, config_keys.keys(), flatten(base), config_keys.suggest_key)
  check_keys_have_effects(base, space)
  paths = paths_of(space)
  _check_seeds_and_length(sweep, paths)
  task = LanguageModel(
    config,
    present=_present_keys(space),
    match_budget=sweep.match_budget,
    dtype=dtype,
  )
  if not any(path.startswith('model.') for path in paths):
    config_lib.check_multipliers_are_read(task.base, paths)
  _check_matched_budget(task, sweep, space)
  check_evaluations(task, sweep, space)
  task.check(sweep)
  return task


def _present_keys(space: Space) -> list[str]:
  """Returns the paths of the keys that switch a part of the program on in some trial.

  The neutral value of such a key switches the part off, for example a dropout rate of 0. If the
  value is neutral in all trials, the program is compiled without the part.
  """
  present = []
  for path, declaration in config_keys.keys().items():
    values = values_of(space, path) if declaration.static_when_neutral else ()
    if any(value != declaration.neutral for value in values):
      present.append(path)
  return present


def _check_seeds_and_length(sweep: SweepConfig, paths: set[str]) -> None:
  """Checks the keys of a sweep that varies the seed or the length of training."""
  varied = [f'train.{name}' for name in LENGTHS if f'train.{name}' in paths]
  if varied and sweep.match_budget != 'none':
    raise wrong(
      sweep,
      'match_budget',
      f"'none', since the space varies the length of training ({varied[0]})",
    )
  if 'train.seed' in paths and sweep.seeds_per_point > 1:
    raise wrong(sweep, 'seeds_per_point', '1, since the space varies train.seed')


def _check_matched_budget(
  task: LanguageModel, sweep: SweepConfig, space: Space
) -> None:
  """Checks that `sweep.match_budget` is set if trials differ in tokens or FLOPs."""
  if sweep.match_budget is not None:
    return
  # Set each value of a static key alone. Compare the cost of this trial with the base config.
  base = task.job({}).known_metrics
  declarations = config_keys.keys()
  for path in sorted(paths_of(space)):
    if declarations[path].traced or not path.startswith(STRUCTURE_SECTIONS):
      continue
    for value in values_of(space, path):
      try:
        costs = task.job({path: value}).known_metrics
      except ConfigError:
        # The value alone gives no valid config. It may need other values of the space.
        continue
      for name in ('tokens', 'flops'):
        if costs[name] != base[name]:
          raise ConfigError(
            "sweep.match_budget: got None, expected 'steps', 'tokens', 'flops', 'seconds' or "
            f"'none', since a trial with {path}={value!r} has {costs[name]:.3g} {name}, and "
            f'the base config has {base[name]:.3g}'
          )
