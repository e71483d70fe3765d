"""The section `schedule` of the config. Each schedule adds its own keys to it."""

from __future__ import annotations

import dataclasses

from lmhp.declarations import declared, static, traced
from lmhp.optim.spec import SCHEDULES
from lmhp.sections import Section, path_of, require, section, wrong

INTERVALS = ('warmup', 'cooldown', 'cycle')
"""Intervals of training. A key such as `warmup_fraction` gives the length as a fraction."""

INTERVAL_UNITS = ('steps', 'tokens', 'epochs', 'tokens_per_parameter')
"""Other units of an interval, in keys such as `warmup_tokens`."""

_SCHEDULE_ALIASES = {
  'constant_with_warmup': "'constant'",
  'constantlr': "'constant'",
  'cosine_with_min_lr': "'cosine' with schedule.final_lr_ratio",
  'cosine_with_restarts': "'cosine_restarts'",
  'cosineannealinglr': "'cosine'",
  'cosineannealingwarmrestarts': "'cosine_restarts'",
  'cycliclr': "'triangular', 'triangular2' or 'exp_range'",
  'exponentiallr': "'exponential'",
  'linearlr': "'linear'",
  'onecyclelr': "'one_cycle'",
  'polynomiallr': "'polynomial'",
  'sgdr': "'cosine_restarts'",
  'steplr': "'step'",
  'warmup_stable_decay': "'wsd_linear', 'wsd_sqrt' or 'wsd_cosine'",
  'wsd': "'wsd_linear', 'wsd_sqrt' or 'wsd_cosine'",
}
"""{name of a schedule in other libraries: the name in lmhp, as text for messages}."""


@section('schedule')
class ScheduleConfig(Section):
  """Learning rate over training, as a ratio to its peak.

  An interval (warmup, cooldown or cycle) is given as a fraction of training, or as a number of
  steps, tokens, epochs, or tokens per parameter. When the length of training is known,
  `in_fractions` converts it to a fraction.
  """

  name: str = traced(
    'cosine',
    'shape of the schedule after the warmup',
    choices=SCHEDULES,
    aliases=('lr_scheduler_type', 'lr_scheduler'),
    value_aliases=_SCHEDULE_ALIASES,
  )
  warmup_fraction: float = traced(
    0.05,
    'length of the warmup',
    unit='fraction of training',
    low=0.0,
    high=1.0,
    aliases=('warmup_ratio', 'pct_start'),
    source='google-research/tuning_playbook: at most 10% of training',
  )
  initial_lr_ratio: float = traced(
    0.0,
    'learning rate at the start of the warmup',
    unit='ratio to the peak',
    low=0.0,
    high=1.0,
    aliases=('start_factor',),
    converted_aliases={
      'div_factor': '1 / div_factor',
      'init_value': 'init_value / optimizer.learning_rate',
    },
    source='arXiv:1708.07120: 1/25 for one_cycle is usual',
  )
  final_lr_ratio: float = traced(
    0.1,
    'learning rate at the end of a decay',
    unit='ratio to the peak',
    low=0.0,
    high=1.0,
    aliases=('end_factor', 'min_lr_rate', 'min_lr_ratio'),
    converted_aliases={
      'min_lr': 'min_lr / optimizer.learning_rate',
      'eta_min': 'eta_min / optimizer.learning_rate',
      'base_lr': 'base_lr / optimizer.learning_rate',
      'end_value': 'end_value / optimizer.learning_rate',
      'lr_end': 'lr_end / optimizer.learning_rate',
      'final_div_factor': '1 / (div_factor * final_div_factor)',
    },
    source='arXiv:2203.15556 (Chinchilla)',
  )
  # Keys that several schedules share.
  cooldown_fraction: float = traced(
    0.2,
    'length of the cooldown of wsd_*',
    unit='fraction of training',
    low=0.0,
    high=1.0,
    aliases=('cooldown', 'warmdown_ratio'),
    source='arXiv:2405.18392',
  )
  cycle_fraction: float = traced(
    0.25,
    'length of one cycle: of a triangle (triangular*, exp_range), until the first restart '
    '(cosine_restarts), between two drops (step), for one factor of decay_factor '
    '(exponential), timescale (inverse_sqrt)',
    unit='fraction of training',
    low=0.0,
    open_low=True,
    high=1.0,
    converted_aliases={
      'num_cycles': '(1 - schedule.warmup_fraction) / num_cycles',
      'step_size_up': '2 * step_size_up / train.steps',
    },
    source='arXiv:1506.01186',
  )
  decay_factor: float = traced(
    0.5,
    'factor on the learning rate for each cycle that has passed (step, exponential, '
    'exp_range)',
    low=0.0,
    open_low=True,
    high=1.0,
    neutral=1.0,
    aliases=('gamma',),
  )

  # The intervals in other units.
  warmup_steps: float | None = static(
    None,
    'length of the warmup, instead of warmup_fraction',
    unit='steps',
    low=0,
    aliases=('num_warmup_steps', 'warmup_iters'),
  )
  warmup_tokens: float | None = static(
    None, 'length of the warmup, instead of warmup_fraction', unit='tokens', low=0
  )
  warmup_epochs: float | None = static(
    None, 'length of the warmup, instead of warmup_fraction', unit='epochs', low=0
  )
  warmup_tokens_per_parameter: float | None = static(
    None,
    'length of the warmup, instead of warmup_fraction',
    unit='tokens per parameter',
    low=0,
  )
  cooldown_steps: float | None = static(
    None,
    'length of the cooldown, instead of cooldown_fraction',
    unit='steps',
    low=0,
    aliases=('num_decay_steps',),
  )
  cooldown_tokens: float | None = static(
    None, 'length of the cooldown, instead of cooldown_fraction', unit='tokens', low=0
  )
  cooldown_epochs: float | None = static(
    None, 'length of the cooldown, instead of cooldown_fraction', unit='epochs', low=0
  )
  cooldown_tokens_per_parameter: float | None = static(
    None,
    'length of the cooldown, instead of cooldown_fraction',
    unit='tokens per parameter',
    low=0,
  )
  cycle_steps: float | None = static(
    None,
    'length of a cycle, instead of cycle_fraction',
    unit='steps',
    low=0,
    open_low=True,
    aliases=('step_size', 'T_0', 'timescale', 'transition_steps'),
  )
  cycle_tokens: float | None = static(
    None,
    'length of a cycle, instead of cycle_fraction',
    unit='tokens',
    low=0,
    open_low=True,
  )
  cycle_epochs: float | None = static(
    None,
    'length of a cycle, instead of cycle_fraction',
    unit='epochs',
    low=0,
    open_low=True,
  )
  cycle_tokens_per_parameter: float | None = static(
    None,
    'length of a cycle, instead of cycle_fraction',
    unit='tokens per parameter',
    low=0,
    open_low=True,
  )

  def resolve(self) -> None:
    """Checks that each interval is given once, and that warmup and cooldown do not overlap."""
    for interval in INTERVALS:
      self._check_given_once(interval)
    # If warmup or cooldown is given in steps, tokens or epochs, its fraction is not known yet.
    # `in_fractions` makes a new section with fractions alone, which is checked here again.
    other_keys = self.interval_keys('warmup') + self.interval_keys('cooldown')
    if not other_keys and 'cooldown_fraction' in SCHEDULES[self.name].keys_read:
      require(
        self,
        self.warmup_fraction + self.cooldown_fraction <= 1,
        'cooldown_fraction',
        f'at most 1 - schedule.warmup_fraction = {1 - self.warmup_fraction:g}',
      )

  def _check_given_once(self, interval: str) -> None:
    # A fraction counts as given if it is not the default.
    given = self.interval_keys(interval)
    fraction = f'{interval}_fraction'
    default = type(self).__dataclass_fields__[fraction].default
    if len(given) == 1 and getattr(self, fraction) != default:
      given.append(fraction)
    if len(given) > 1:
      other = path_of(self, given[1])
      raise wrong(self, given[0], f'None, since {other} gives the same interval')

  def interval_keys(self, interval: str) -> list[str]:
    """Returns the keys that are set and give an interval in another unit than a fraction.

    Args:
      interval: One of `INTERVALS`.
    """
    names = [f'{interval}_{unit}' for unit in INTERVAL_UNITS]
    return [name for name in names if getattr(self, name) is not None]

  def keys_read(self) -> frozenset[str]:
    """Returns the names of the keys that have an effect with this schedule."""
    # A key that is in the `keys_read` of no schedule, such as warmup_fraction, is used by all.
    read_by_some = frozenset().union(*(spec.keys_read for spec in SCHEDULES.values()))
    unread = read_by_some - SCHEDULES[self.name].keys_read
    for interval in INTERVALS:
      if f'{interval}_fraction' in unread:
        unread |= {f'{interval}_{unit}' for unit in INTERVAL_UNITS}
    return frozenset(declared(type(self))) - unread


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
      # For an interval as long as training, the fraction may exceed 1 by a rounding error.
      if fraction > 1 + 1e-9:
        longest = f'{total_steps / steps_per_unit[unit]:g} {declared(cfg)[key].unit}'
        accepted = f'at most {longest}, the length of training ({total_steps} steps)'
        raise wrong(cfg, key, accepted)
      values[f'{interval}_fraction'] = min(fraction, 1.0)
      values[key] = None
  return dataclasses.replace(cfg, **values)
