"""Conversion of a schedule's intervals to fractions of training."""

from __future__ import annotations

import dataclasses

from lmhp.declarations import declared
from lmhp.optim.schedules.config import INTERVALS, ScheduleConfig
from lmhp.sections import wrong


def in_fractions(
  cfg: ScheduleConfig,
  total_steps: int,
  tokens_per_step: float,
  steps_per_epoch: float,
  n_parameters: int,
) -> ScheduleConfig:
  """Returns the same schedule with every interval as a fraction of training.

  Args:
    cfg: Schedule as the user gave it.
    total_steps: Length of training, in updates.
    tokens_per_step: Number of tokens in one batch.
    steps_per_epoch: Number of updates in one pass over the data.
    n_parameters: Number of parameters, for the unit tokens per parameter.

  Returns:
    A copy whose `*_fraction` keys hold the intervals, and whose other interval keys are
    None.

  Raises:
    ConfigError: If an interval is longer than training.

  >>> cfg = ScheduleConfig(warmup_tokens=5_000)
  >>> cfg = in_fractions(
  ...   cfg,
  ...   total_steps=200,
  ...   tokens_per_step=100,
  ...   steps_per_epoch=50,
  ...   n_parameters=10_000,
  ... )
  >>> cfg.warmup_fraction
  0.25
  """
  # Number of updates in one unit.
  steps_per_unit = {
    'steps': 1.0,
    'tokens': 1 / tokens_per_step,
    'epochs': steps_per_epoch,
    'tokens_per_parameter': n_parameters / tokens_per_step,
  }
  values = {}
  for interval in INTERVALS:
    for key in cfg.interval_keys(interval):
      unit = key.removeprefix(f'{interval}_')
      fraction = getattr(cfg, key) * steps_per_unit[unit] / total_steps
      # The fraction of a whole training may be above 1 by rounding.
      if fraction > 1 + 1e-9:
        most = f'{total_steps / steps_per_unit[unit]:g} {declared(cfg)[key].unit}'
        accepted = f'at most {most}, the length of training ({total_steps} steps)'
        raise wrong(cfg, key, accepted)
      values[f'{interval}_fraction'] = min(fraction, 1.0)
      values[key] = None
  return dataclasses.replace(cfg, **values)
