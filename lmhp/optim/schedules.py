"""Learning-rate schedules: shapes with peak 1, traced to the last number, scaled elsewhere by the peak.

Of `T` steps, numbered 0 to T - 1, the first `w` warm up. Each interval is a fraction of T, rounded to whole steps::

  unit(step) = ramp(step) * shape(max(step - w, 0))
  ramp(step) = i + (1 - i) min(1, (step + 1) / (w + 1)),    i = initial_lr_ratio

Step 0 gets 1 / (w + 1) of the way, never nothing; step w is the first at the peak; without warmup that is step 0.
Decays reach their floor *at* T, one step after the last, so that every update counts: step T - 1 gets the shape at
(T - 1 - w) / (T - w). This is nanoGPT's `get_lr` to the digit, with lr_decay_iters = T. (Optax and transformers
divide by w, and spend step 0 on a rate of 0.) What follows the warmup, with t the share of the steps after it that
have passed, c the number of cycles that have passed, v the share of the cooldown that has passed, and `[x]` for
f + (1 - f) x, where f = final_lr_ratio:

=================  ==============================================================
`schedule.name`    shape
=================  ==============================================================
constant           1
step               max(f, decay_factor ** floor(c))
exponential        max(f, decay_factor ** c)
triangular         [triangle], triangle = 1 - abs(2 (c mod 1) - 1)
triangular2        [triangle / 2 ** floor(c)]
exp_range          [triangle * decay_factor ** c]
cosine             [(1 + cos pi t) / 2]
cosine_restarts    [(1 + cos pi x) / 2], x within a cycle; cycles may grow
linear             [1 - t]
polynomial         [(1 - t) ** power]
inverse_sqrt       max(f, (1 + c) ** -1/2)
one_cycle          cosine, and its ramp is a cosine too
wsd_linear         1, then [1 - v] over the last cooldown_fraction of training
wsd_sqrt           1, then [1 - sqrt v]
wsd_cosine         1, then [(1 + cos pi v) / 2]
rex                [(1 - t) / (1 - (1 - rex_beta) t)]
=================  ==============================================================

A triangle starts and ends a cycle at the floor, so a warmup before it rises to the floor.
"""

from __future__ import annotations

import dataclasses
from typing import Callable, Mapping, NamedTuple

import jax
import jax.numpy as jnp

from lmhp.declarations import declared, static, traced
from lmhp.sections import Section, path_of, section, wrong


class ScheduleProgress(NamedTuple):
  """Where a step stands, as a shape reads it; float32 scalars.

  Attributes:
    t: share of the steps after the warmup that have passed, 0 to 1.
    c: cycles passed since the warmup, 0 and up; whole at the first step of each.
    half: half a step, in cycles.
    v: share of the cooldown that has passed, 0 to 1.
  """

  t: jax.Array
  c: jax.Array
  half: jax.Array
  v: jax.Array


Numbers = Mapping[str, jax.Array]
Shape = Callable[[ScheduleProgress, Numbers], jax.Array]


def _lift(h: Numbers, x: jax.Array) -> jax.Array:
  """`[x]`: from 0..1 to floor..1."""
  return h['final_lr_ratio'] + (1 - h['final_lr_ratio']) * x


def _half_cosine(x: jax.Array) -> jax.Array:
  return 0.5 * (1 + jnp.cos(jnp.pi * x))


def _triangle(at: ScheduleProgress) -> jax.Array:
  return 1 - jnp.abs(2 * (at.c - jnp.floor(at.c)) - 1)


def _within_restarted_cycle(at: ScheduleProgress, growth: jax.Array) -> jax.Array:
  """Share of the running cycle that has passed, where each cycle is `growth` times the one before.

  Cycle n starts after (g^n - 1) / (g - 1) first cycles and is g^n of them long; at g = 1 that is its limit, n.
  """
  even = growth == 1
  g = jnp.where(even, 2.0, growth)
  # Half a step ahead, so that rounding cannot put a cycle's first step into the cycle before it.
  ahead = at.c + at.half
  n = jnp.floor(jnp.where(even, ahead, jnp.log1p(ahead * (g - 1)) / jnp.log(g)))
  start = jnp.where(even, n, (g**n - 1) / (g - 1))
  return jnp.clip((at.c - start) / growth**n, 0, 1)


# Each shape and the numbers that it reads beside the warmup's. Append only: a name travels as its position.
SHAPES: dict[str, tuple[Shape, tuple[str, ...]]] = {
  'constant': (lambda at, h: jnp.ones_like(at.t), ()),
  'step': (
    lambda at, h: jnp.maximum(
      h['final_lr_ratio'], h['decay_factor'] ** jnp.floor(at.c)
    ),
    ('cycle_fraction', 'decay_factor', 'final_lr_ratio'),
  ),
  'exponential': (
    lambda at, h: jnp.maximum(h['final_lr_ratio'], h['decay_factor'] ** at.c),
    ('cycle_fraction', 'decay_factor', 'final_lr_ratio'),
  ),
  'triangular': (
    lambda at, h: _lift(h, _triangle(at)),
    ('cycle_fraction', 'final_lr_ratio'),
  ),
  'triangular2': (
    lambda at, h: _lift(h, _triangle(at) * 0.5 ** jnp.floor(at.c)),
    ('cycle_fraction', 'final_lr_ratio'),
  ),
  'exp_range': (
    lambda at, h: _lift(h, _triangle(at) * h['decay_factor'] ** at.c),
    ('cycle_fraction', 'decay_factor', 'final_lr_ratio'),
  ),
  'cosine': (lambda at, h: _lift(h, _half_cosine(at.t)), ('final_lr_ratio',)),
  'cosine_restarts': (
    lambda at, h: _lift(
      h, _half_cosine(_within_restarted_cycle(at, h['cycle_growth']))
    ),
    ('cycle_fraction', 'cycle_growth', 'final_lr_ratio'),
  ),
  'linear': (lambda at, h: _lift(h, 1 - at.t), ('final_lr_ratio',)),
  'polynomial': (
    lambda at, h: _lift(h, (1 - at.t) ** h['power']),
    ('power', 'final_lr_ratio'),
  ),
  'inverse_sqrt': (
    lambda at, h: jnp.maximum(h['final_lr_ratio'], jax.lax.rsqrt(1 + at.c)),
    ('cycle_fraction', 'final_lr_ratio'),
  ),
  'one_cycle': (lambda at, h: _lift(h, _half_cosine(at.t)), ('final_lr_ratio',)),
  'wsd_linear': (
    lambda at, h: _lift(h, 1 - at.v),
    ('cooldown_fraction', 'final_lr_ratio'),
  ),
  'wsd_sqrt': (
    lambda at, h: _lift(h, 1 - jnp.sqrt(at.v)),
    ('cooldown_fraction', 'final_lr_ratio'),
  ),
  'wsd_cosine': (
    lambda at, h: _lift(h, _half_cosine(at.v)),
    ('cooldown_fraction', 'final_lr_ratio'),
  ),
  'rex': (
    lambda at, h: _lift(h, (1 - at.t) / (1 - (1 - h['rex_beta']) * at.t)),
    ('rex_beta', 'final_lr_ratio'),
  ),
}
ONE_CYCLE = list(SHAPES).index('one_cycle')
INTERVALS = ('warmup', 'cooldown', 'cycle')
UNITS = ('steps', 'tokens', 'epochs', 'tokens_per_parameter')


@section('schedule')
class ScheduleConfig(Section):
  """The learning rate over training, as a share of its peak.

  An interval is a fraction of training; or, instead, a number of steps, tokens, epochs or tokens per parameter, which
  :func:`in_fractions` turns into the fraction once the length of training is known.
  """

  name: str = traced(
    'cosine',
    'the shape after the warmup',
    choices=tuple(SHAPES),
    aliases=('lr_scheduler_type',),
  )
  warmup_fraction: float = traced(
    0.05,
    'length of the warmup',
    unit='share of training',
    low=0.0,
    high=1.0,
    aliases=('warmup_ratio', 'pct_start'),
    source='google-research/tuning_playbook: at most 10% of training',
  )
  initial_lr_ratio: float = traced(
    0.0,
    'where the warmup starts from',
    unit='share of the peak',
    low=0.0,
    high=1.0,
    aliases=('1 / div_factor',),
    source='arXiv:1708.07120: 1/25 for one_cycle is usual',
  )
  final_lr_ratio: float = traced(
    0.1,
    'the floor: where decays end',
    unit='share of the peak',
    low=0.0,
    high=1.0,
    converted_aliases={
      'min_lr': 'min_lr / optimizer.learning_rate',
      'eta_min': 'eta_min / optimizer.learning_rate',
      'base_lr': 'base_lr / optimizer.learning_rate',
    },
    source='arXiv:2203.15556 (Chinchilla)',
  )
  cooldown_fraction: float = traced(
    0.2,
    'length of the cooldown of wsd_*',
    unit='share of training',
    low=0.0,
    high=1.0,
    aliases=('cooldown', 'warmdown_ratio'),
    source='arXiv:2405.18392',
  )
  cycle_fraction: float = traced(
    0.25,
    'length of one cycle (cyclical shapes, up and down), of one interval (step), of '
    'one decay by decay_factor (exponential), or the timescale (inverse_sqrt)',
    unit='share of training',
    low=0.0,
    open_low=True,
    high=1.0,
    aliases=('step_size', 'T_0', 'timescale'),
    source='arXiv:1506.01186',
  )
  cycle_growth: float = traced(
    1.0,
    'each restarted cycle is this many times the one before',
    low=1.0,
    neutral=1.0,
    aliases=('T_mult', 't_mult'),
    source='arXiv:1608.03983',
  )
  decay_factor: float = traced(
    0.5,
    'factor on the rate for every cycle passed (step, exponential, exp_range)',
    low=0.0,
    open_low=True,
    high=1.0,
    neutral=1.0,
    aliases=('gamma',),
  )
  power: float = traced(2.0, 'exponent of the polynomial decay', low=0.0, open_low=True)
  rex_beta: float = traced(
    0.5,
    'how long rex stays high: 1 is linear, towards 0 is constant',
    low=0.0,
    open_low=True,
    high=1.0,
    source='arXiv:2107.04197, 1/2',
  )

  warmup_steps: float | None = static(
    None, 'instead of warmup_fraction', unit='steps', low=0
  )
  warmup_tokens: float | None = static(
    None, 'instead of warmup_fraction', unit='tokens', low=0
  )
  warmup_epochs: float | None = static(
    None, 'instead of warmup_fraction', unit='epochs', low=0
  )
  warmup_tokens_per_parameter: float | None = static(
    None, 'instead of warmup_fraction', unit='tokens per parameter', low=0
  )
  cooldown_steps: float | None = static(
    None, 'instead of cooldown_fraction', unit='steps', low=0
  )
  cooldown_tokens: float | None = static(
    None, 'instead of cooldown_fraction', unit='tokens', low=0
  )
  cooldown_epochs: float | None = static(
    None, 'instead of cooldown_fraction', unit='epochs', low=0
  )
  cooldown_tokens_per_parameter: float | None = static(
    None, 'instead of cooldown_fraction', unit='tokens per parameter', low=0
  )
  cycle_steps: float | None = static(
    None, 'instead of cycle_fraction', unit='steps', low=0, open_low=True
  )
  cycle_tokens: float | None = static(
    None, 'instead of cycle_fraction', unit='tokens', low=0, open_low=True
  )
  cycle_epochs: float | None = static(
    None, 'instead of cycle_fraction', unit='epochs', low=0, open_low=True
  )
  cycle_tokens_per_parameter: float | None = static(
    None, 'instead of cycle_fraction', unit='tokens per parameter', low=0, open_low=True
  )

  def resolve(self) -> None:
    """Checks that each interval is given once."""
    for interval in INTERVALS:
      given = _given(self, interval)
      fraction = f'{interval}_fraction'
      if len(given) == 1 and getattr(self, fraction) != _default(fraction):
        given.append(fraction)
      if len(given) > 1:
        raise wrong(
          self,
          given[0],
          f'None, since {path_of(self, given[1])} gives the same interval',
        )
    if (
      self.name.startswith('wsd') and self.warmup_fraction + self.cooldown_fraction > 1
    ):
      if not (_given(self, 'warmup') or _given(self, 'cooldown')):
        raise wrong(
          self,
          'cooldown_fraction',
          f'at most 1 - schedule.warmup_fraction = {1 - self.warmup_fraction:g}',
        )


def _default(field: str) -> float:
  return ScheduleConfig.__dataclass_fields__[field].default


def _given(cfg: ScheduleConfig, interval: str) -> list[str]:
  """The fields that give an interval otherwise than as a fraction."""
  return [
    f'{interval}_{unit}'
    for unit in UNITS
    if getattr(cfg, f'{interval}_{unit}') is not None
  ]


def in_fractions(
  cfg: ScheduleConfig,
  total_steps: int,
  tokens_per_step: float,
  steps_per_epoch: float,
  parameters: int,
) -> ScheduleConfig:
  """The same schedule with every interval as a fraction of training.

  Args:
    cfg: the schedule as the user gave it.
    total_steps: length of training, in updates.
    tokens_per_step: tokens in one batch.
    steps_per_epoch: updates in one pass over the data.
    parameters: what a token per parameter is counted by.

  Returns:
    A copy whose `*_fraction` fields hold the intervals and whose other interval fields are None.

  Raises:
    ConfigError: where an interval is longer than training.

  >>> in_fractions(
  ...   ScheduleConfig(warmup_tokens=5_000), 200, 100, 50, 10_000
  ... ).warmup_fraction
  0.25
  """
  steps_in = {
    'steps': 1.0,
    'tokens': 1 / tokens_per_step,
    'epochs': steps_per_epoch,
    'tokens_per_parameter': parameters / tokens_per_step,
  }
  values = {}
  for interval in INTERVALS:
    for field in _given(cfg, interval):
      unit = field.removeprefix(f'{interval}_')
      fraction = getattr(cfg, field) * steps_in[unit] / total_steps
      if fraction > 1 + 1e-9:
        most = f'{total_steps / steps_in[unit]:g} {declared(cfg)[field].unit}'
        raise wrong(
          cfg, field, f'at most {most}, the length of training ({total_steps} steps)'
        )
      values |= {f'{interval}_fraction': min(fraction, 1.0), field: None}
  return dataclasses.replace(cfg, **values)


def numbers_read_by_schedule(name: str) -> tuple[str, ...]:
  """The numbers of `ScheduleConfig` that a shape reads; the others have no effect on it.

  >>> numbers_read_by_schedule('polynomial')
  ('warmup_fraction', 'initial_lr_ratio', 'power', 'final_lr_ratio')
  """
  return ('warmup_fraction', 'initial_lr_ratio', *SHAPES[name][1])


def unit_schedule(
  hypers_schedule: Numbers, step: jax.typing.ArrayLike, total_steps: int
) -> jax.Array:
  """The learning rate at a step as a share of its peak; see the table at the top of this file.

  Pure `jax.numpy`: the numbers, the step and the shape itself may all be traced, so that schedules vmap.

  Args:
    hypers_schedule: the traced numbers of `ScheduleConfig`; `name` is the shape's position in `SHAPES`.
    step: update number, 0 to `total_steps - 1`.
    total_steps: updates in the whole of training.

  Returns:
    A float32 scalar between 0 and 1.

  >>> from lmhp.hypers import split
  >>> _, numbers = split(
  ...   ScheduleConfig(name='linear', warmup_fraction=0.04, final_lr_ratio=0.5)
  ... )
  >>> [round(float(unit_schedule(numbers, step, 100)), 3) for step in (0, 3, 4, 52, 99)]
  [0.2, 0.8, 1.0, 0.75, 0.505]
  """
  h = hypers_schedule
  step, total = jnp.asarray(step, jnp.float32), jnp.asarray(total_steps, jnp.float32)
  # Whole steps: given as a number of steps, an interval comes back exact from float32.
  warmup, decay, cycle = (
    jnp.round(h[f'{interval}_fraction'] * total) for interval in INTERVALS
  )
  since, cycle = jnp.maximum(step - warmup, 0), jnp.maximum(cycle, 1)
  clock = ScheduleProgress(
    t=jnp.minimum(since / jnp.maximum(total - warmup, 1), 1),
    c=since / cycle,
    half=0.5 / cycle,
    v=jnp.clip((step - (total - decay)) / jnp.maximum(decay, 1), 0, 1),
  )
  shapes = [shape(clock, h) for shape, _ in SHAPES.values()]
  rise = jnp.minimum((step + 1) / (warmup + 1), 1)
  rise = jnp.where(h['name'] == ONE_CYCLE, 1 - _half_cosine(rise), rise)
  ramp = h['initial_lr_ratio'] + (1 - h['initial_lr_ratio']) * rise
  return ramp * jax.lax.select_n(jnp.asarray(h['name']), *shapes)
