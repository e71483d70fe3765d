"""The shapes of the schedules, and the value of a schedule at a step.

A shape is a function that returns the learning rate after the warmup, as a ratio to its peak.

To add a schedule, append an entry to `_SCHEDULES`, or call `register_schedule`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lmhp.declarations import traced
from lmhp.optim.registry import register_schedule
from lmhp.optim.schedules.config import INTERVALS
from lmhp.optim.spec import (
  SCHEDULES,
  Numbers,
  ScheduleProgress,
  ScheduleSpec,
  from_final_ratio,
  half_cosine,
)
from lmhp.sections import keys

# --- keys that a schedule adds to the section `schedule` ----------------------------


@keys
class CosineRestartsKeys:
  """Keys that cosine_restarts adds to the section `schedule`."""

  cycle_growth: float = traced(
    1.0,
    'length of each restarted cycle, as a ratio to the length of the cycle before',
    low=1.0,
    neutral=1.0,
    aliases=('T_mult', 't_mult'),
    source='arXiv:1608.03983',
  )


@keys
class PolynomialKeys:
  """Keys that polynomial adds to the section `schedule`."""

  power: float = traced(2.0, 'exponent of the polynomial decay', low=0.0, open_low=True)


@keys
class RexKeys:
  """Keys that rex adds to the section `schedule`."""

  rex_beta: float = traced(
    0.5,
    'curvature of rex: with 1, the learning rate falls linearly; near 0, it stays high and '
    'falls only at the end',
    low=0.0,
    open_low=True,
    high=1.0,
    source='arXiv:2107.04197: 1/2',
  )


# --- a constant, and shapes that change with each cycle ------------------------------
# The triangles are cyclical learning rates (arXiv:1506.01186).


def _constant(progress: ScheduleProgress, numbers: Numbers) -> jax.Array:
  return jnp.ones_like(progress.decay)


def _step(progress: ScheduleProgress, numbers: Numbers) -> jax.Array:
  decay = numbers['decay_factor'] ** jnp.floor(progress.cycles)
  return jnp.maximum(numbers['final_lr_ratio'], decay)


def _exponential(progress: ScheduleProgress, numbers: Numbers) -> jax.Array:
  decay = numbers['decay_factor'] ** progress.cycles
  return jnp.maximum(numbers['final_lr_ratio'], decay)


def _triangle(progress: ScheduleProgress) -> jax.Array:
  """Returns a number that rises from 0 to 1 in half a cycle, and falls to 0 in the other half."""
  return 1 - jnp.abs(2 * (progress.cycles - jnp.floor(progress.cycles)) - 1)


def _triangular(progress: ScheduleProgress, numbers: Numbers) -> jax.Array:
  return from_final_ratio(numbers, _triangle(progress))


def _triangular2(progress: ScheduleProgress, numbers: Numbers) -> jax.Array:
  triangle = _triangle(progress)
  height = 0.5 ** jnp.floor(progress.cycles)
  return from_final_ratio(numbers, triangle * height)


def _exp_range(progress: ScheduleProgress, numbers: Numbers) -> jax.Array:
  triangle = _triangle(progress)
  height = numbers['decay_factor'] ** progress.cycles
  return from_final_ratio(numbers, triangle * height)


# --- half a cosine, once or with restarts (arXiv:1608.03983) -------------------------


def cosine(progress: ScheduleProgress, numbers: Numbers) -> jax.Array:
  """Returns half a cosine, from 1 to `final_lr_ratio`.

  Args:
    progress: Progress of training.
    numbers: Traced numbers of the section `schedule`.

  >>> progress = ScheduleProgress(decay=0.5, cycles=0.0, half_step=0.0, cooldown=0.0)
  >>> round(float(cosine(progress, {'final_lr_ratio': 0.5})), 3)
  0.75
  """
  return from_final_ratio(numbers, half_cosine(progress.decay))


def _cosine_restarts(progress: ScheduleProgress, numbers: Numbers) -> jax.Array:
  x = _fraction_of_restarted_cycle(progress, numbers['cycle_growth'])
  return from_final_ratio(numbers, half_cosine(x))


def _fraction_of_restarted_cycle(
  progress: ScheduleProgress, growth: jax.Array
) -> jax.Array:
  """Returns the fraction of the current cycle that has passed.

  Times are in units of the first cycle. With growth g, cycle n (counted from 0) has the length
  g^n, and starts at 1 + g + ... + g^(n - 1) = (g^n - 1) / (g - 1). For g = 1, it starts at n.
  """
  # For g = 1, the formulas divide by 0. They get 2.0 instead, and their results are not used.
  has_equal_cycles = growth == 1
  g = jnp.where(has_equal_cycles, 2.0, growth)

  # Number n of the current cycle, from the formula of its start. It is computed for a time half
  # a step later, so that rounding cannot put the first step of a cycle into the cycle before.
  ahead = progress.cycles + progress.half_step
  grown_n = jnp.log1p(ahead * (g - 1)) / jnp.log(g)
  n = jnp.floor(jnp.where(has_equal_cycles, ahead, grown_n))

  start = jnp.where(has_equal_cycles, n, (g**n - 1) / (g - 1))
  return jnp.clip((progress.cycles - start) / growth**n, 0, 1)


# --- decays by a power: of the remaining fraction, or of the passed steps ------------


def _linear(progress: ScheduleProgress, numbers: Numbers) -> jax.Array:
  return from_final_ratio(numbers, 1 - progress.decay)


def _polynomial(progress: ScheduleProgress, numbers: Numbers) -> jax.Array:
  return from_final_ratio(numbers, (1 - progress.decay) ** numbers['power'])


def _inverse_sqrt(progress: ScheduleProgress, numbers: Numbers) -> jax.Array:
  # As in arXiv:1706.03762. The timescale is one cycle.
  return jnp.maximum(numbers['final_lr_ratio'], jax.lax.rsqrt(1 + progress.cycles))


# --- warmup-stable-decay: constant until a cooldown at the end (arXiv:2405.18392) ----


def _wsd_linear(progress: ScheduleProgress, numbers: Numbers) -> jax.Array:
  return from_final_ratio(numbers, 1 - progress.cooldown)


def _wsd_sqrt(progress: ScheduleProgress, numbers: Numbers) -> jax.Array:
  return from_final_ratio(numbers, 1 - jnp.sqrt(progress.cooldown))


def _wsd_cosine(progress: ScheduleProgress, numbers: Numbers) -> jax.Array:
  return from_final_ratio(numbers, half_cosine(progress.cooldown))


# --- REX: a decay that stays high for long and falls at the end (arXiv:2107.04197) ---


def _rex(progress: ScheduleProgress, numbers: Numbers) -> jax.Array:
  remaining = 1 - progress.decay
  return from_final_ratio(
    numbers, remaining / (1 - (1 - numbers['rex_beta']) * progress.decay)
  )


# --- the entries --------------------------------------------------------------------

# Names of the traced numbers that a shape reads (`ScheduleSpec.numbers`).
_FINAL = ('final_lr_ratio',)
# A shape reads `cycle_fraction` through `progress.cycles`, and `cooldown_fraction` through
# `progress.cooldown`.
_CYCLE = ('cycle_fraction', *_FINAL)
_DECAY_PER_CYCLE = ('decay_factor', *_CYCLE)
_COOLDOWN = ('cooldown_fraction', *_FINAL)

# New entries come last, because a program identifies a schedule by its position in the registry.
_SCHEDULES = {
  'constant': ScheduleSpec(_constant),
  'step': ScheduleSpec(_step, _DECAY_PER_CYCLE),
  'exponential': ScheduleSpec(_exponential, _DECAY_PER_CYCLE),
  'triangular': ScheduleSpec(_triangular, _CYCLE),
  'triangular2': ScheduleSpec(_triangular2, _CYCLE),
  'exp_range': ScheduleSpec(_exp_range, _DECAY_PER_CYCLE),
  'cosine': ScheduleSpec(cosine, _FINAL),
  'cosine_restarts': ScheduleSpec(_cosine_restarts, _CYCLE, CosineRestartsKeys),
  'linear': ScheduleSpec(_linear, _FINAL),
  'polynomial': ScheduleSpec(_polynomial, _FINAL, PolynomialKeys),
  'inverse_sqrt': ScheduleSpec(_inverse_sqrt, _CYCLE),
  # A warmup along a cosine, and a decay along a cosine (arXiv:1708.07120).
  'one_cycle': ScheduleSpec(cosine, _FINAL, cosine_warmup=True),
  'wsd_linear': ScheduleSpec(_wsd_linear, _COOLDOWN),
  'wsd_sqrt': ScheduleSpec(_wsd_sqrt, _COOLDOWN),
  'wsd_cosine': ScheduleSpec(_wsd_cosine, _COOLDOWN),
  'rex': ScheduleSpec(_rex, _FINAL, RexKeys),
}

for _name, _spec in _SCHEDULES.items():
  register_schedule(_name, _spec)


# --- the value of a schedule --------------------------------------------------------


def unit_schedule(
  numbers: Numbers, step: jax.typing.ArrayLike, total_steps: jax.typing.ArrayLike
) -> jax.Array:
  """Returns the learning rate at a step, as a ratio to its peak.

  `lmhp.optim.schedules` has the table of all schedules.

  All arguments may be traced, also the name of the schedule. So `jax.vmap` can map over
  members of a population that have different schedules.

  Args:
    numbers: Traced numbers of the section `schedule`. `name` is the position of the schedule
      in `SCHEDULES`.
    step: Number of the update, 0 to `total_steps - 1`.
    total_steps: Number of updates of training.

  Returns:
    A float32 scalar, 0 to 1.

  >>> from lmhp.hypers import split
  >>> from lmhp.optim.schedules.config import ScheduleConfig
  >>> cfg = ScheduleConfig(name='linear', warmup_fraction=0.04, final_lr_ratio=0.5)
  >>> _, numbers = split(cfg)
  >>> [round(float(unit_schedule(numbers, step, 100)), 3) for step in (0, 3, 4, 52, 99)]
  [0.2, 0.8, 1.0, 0.75, 0.505]
  """
  step = jnp.asarray(step, jnp.float32)
  total = jnp.asarray(total_steps, jnp.float32)

  # Intervals in whole steps. An interval that was given in steps arrives as a float32
  # fraction, and rounding makes it exact again.
  warmup, cooldown, cycle = (
    jnp.round(numbers[f'{interval}_fraction'] * total) for interval in INTERVALS
  )

  # Progress after the warmup.
  steps_after_warmup = jnp.maximum(step - warmup, 0)
  cycle = jnp.maximum(cycle, 1)
  progress = ScheduleProgress(
    decay=jnp.minimum(steps_after_warmup / jnp.maximum(total - warmup, 1), 1),
    cycles=steps_after_warmup / cycle,
    half_step=0.5 / cycle,
    cooldown=jnp.clip((step - (total - cooldown)) / jnp.maximum(cooldown, 1), 0, 1),
  )

  # All shapes are computed, which is cheap. The traced name selects one in the last line.
  specs = list(SCHEDULES.values())
  shapes = [spec.shape(progress, numbers) for spec in specs]

  # The warmup rises from initial_lr_ratio to 1.
  linear_rise = jnp.minimum((step + 1) / (warmup + 1), 1)
  rise = linear_rise
  for position, spec in enumerate(specs):
    if spec.cosine_warmup:
      is_selected = numbers['name'] == position
      rise = jnp.where(is_selected, 1 - half_cosine(linear_rise), rise)
  ramp = numbers['initial_lr_ratio'] + (1 - numbers['initial_lr_ratio']) * rise

  return ramp * jax.lax.select_n(jnp.asarray(numbers['name']), *shapes)
