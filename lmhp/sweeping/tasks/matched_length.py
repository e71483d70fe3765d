"""The length that gives each trial the budget of the base config."""

from __future__ import annotations

from collections.abc import Callable

from lmhp.sweeping.tasks.model_configs import ModelConfigs
from lmhp.sweeping.tasks.model_jobs import is_traced_key
from lmhp.sweeping.tasks.task import Overrides
from lmhp.training.config import LENGTHS, RunConfig


class MatchedLength:
  """Matches the length of trials to the budget of the base config.

  Args:
    configs: Completes the configs of trials.
    match_budget: "steps", "tokens", "flops" or "seconds". With "none" or None, trials keep
      their own length.
    step_seconds: Returns the time of one update of a config.
  """

  def __init__(
    self,
    configs: ModelConfigs,
    match_budget: str | None,
    step_seconds: Callable[[RunConfig], float],
  ):
    self._configs = configs
    self._match_budget = match_budget
    self._step_seconds = step_seconds
    # The length of the trials that differ only in traced numbers.
    self._steps: dict[tuple[object, ...], int] = {}

  def add_to(self, overrides: Overrides) -> dict[str, object]:
    """Returns the values of a trial, with its length if it differs from the base's."""
    if self._match_budget in (None, 'none'):
      return dict(overrides)
    static = tuple(
      (path, repr(value))
      for path, value in overrides.items()
      if not is_traced_key(path)
    )
    if static not in self._steps:
      self._steps[static] = self._matched_steps(self._configs.complete(overrides))
    steps = self._steps[static]
    if steps == self._configs.base.train.steps:
      return dict(overrides)
    other_lengths = {f'train.{name}': None for name in LENGTHS}
    return {**overrides, **other_lengths, 'train.steps': steps}

  def _matched_steps(self, cfg: RunConfig) -> int:
    """Returns the steps that give a config the budget of the base config."""
    base = self._configs.base
    tokens_per_step = cfg.train.batch_size * cfg.train.seq_len
    base_tokens = base.train.steps * base.train.batch_size * base.train.seq_len
    if self._match_budget == 'steps':
      steps = base.train.steps
    elif self._match_budget == 'tokens':
      steps = base_tokens / tokens_per_step
    elif self._match_budget == 'flops':
      base_flops = base_tokens * self._configs.flops_per_token(base)
      steps = base_flops / (tokens_per_step * self._configs.flops_per_token(cfg))
    else:
      base_seconds = base.train.steps * self._step_seconds(base)
      steps = base_seconds / self._step_seconds(cfg)
    return max(1, round(float(steps)))
