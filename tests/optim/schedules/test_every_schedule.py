"""Every schedule against formulas in float64, Optax and torch, and under tracing."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lmhp.hypers import split
from lmhp.optim.schedules.config import ScheduleConfig
from lmhp.optim.schedules.shapes import unit_schedule
from lmhp.optim.spec import SCHEDULES

T = 200


def numbers(**values):
  return split(ScheduleConfig(**values))[1]


@jax.jit
def _curve(h):
  return jax.vmap(lambda step: unit_schedule(h, step, T))(jnp.arange(T))


def curve(**values):
  return np.asarray(_curve(numbers(**values)))


# --- formulas of the papers, in float64 -----------------------------------------------

WARMUP = 10
CYCLE = 30
COOLDOWN = 40
FINAL = 0.1
FACTOR = 0.7
POWER = 1.5
BETA = 0.4


def to_final(x):
  return FINAL + (1 - FINAL) * x


def half_cosine(x):
  return (1 + math.cos(math.pi * x)) / 2


def triangle(s):
  return 1 - abs((s % CYCLE) / CYCLE * 2 - 1)


def passed_cooldown(s):
  return max(0, (s + WARMUP - (T - COOLDOWN)) / COOLDOWN)


def passed_of_restarted_cycle(s, growth):
  length = CYCLE
  while s >= length:
    s -= length
    length *= growth
  return s / length


# Functions of the steps s after the warmup, their fraction t of all, and the cycle growth.
FORMULAS = {
  'constant': lambda s, t, growth: 1.0,
  'step': lambda s, t, growth: max(FINAL, FACTOR ** (s // CYCLE)),
  'exponential': lambda s, t, growth: max(FINAL, FACTOR ** (s / CYCLE)),
  'triangular': lambda s, t, growth: to_final(triangle(s)),
  'triangular2': lambda s, t, growth: to_final(triangle(s) / 2 ** (s // CYCLE)),
  'exp_range': lambda s, t, growth: to_final(triangle(s) * FACTOR ** (s / CYCLE)),
  'cosine': lambda s, t, growth: to_final(half_cosine(t)),
  'cosine_restarts': lambda s, t, growth: to_final(
    half_cosine(passed_of_restarted_cycle(s, growth))
  ),
  'linear': lambda s, t, growth: to_final(1 - t),
  'polynomial': lambda s, t, growth: to_final((1 - t) ** POWER),
  'inverse_sqrt': lambda s, t, growth: max(FINAL, math.sqrt(CYCLE / (CYCLE + s))),
  'one_cycle': lambda s, t, growth: to_final(half_cosine(t)),
  'wsd_linear': lambda s, t, growth: to_final(1 - passed_cooldown(s)),
  'wsd_sqrt': lambda s, t, growth: to_final(1 - passed_cooldown(s) ** 0.5),
  'wsd_cosine': lambda s, t, growth: to_final(half_cosine(passed_cooldown(s))),
  'rex': lambda s, t, growth: to_final((1 - t) / (BETA + (1 - BETA) * (1 - t))),
}


@pytest.mark.parametrize('name', FORMULAS)
@pytest.mark.parametrize('growth', [1.0, 2.0])
def test_shape_after_the_warmup_follows_the_paper(name, growth):
  got = curve(
    name=name,
    warmup_fraction=WARMUP / T,
    final_lr_ratio=FINAL,
    cycle_fraction=CYCLE / T,
    cooldown_fraction=COOLDOWN / T,
    decay_factor=FACTOR,
    power=POWER,
    cycle_growth=growth,
    rex_beta=BETA,
  )
  n_steps = T - WARMUP
  expected = [FORMULAS[name](s, s / n_steps, growth) for s in range(n_steps)]
  np.testing.assert_allclose(got[WARMUP:], expected, rtol=2e-5, atol=2e-6)

  rise = [(i + 1) / (WARMUP + 1) for i in range(WARMUP)]
  if name == 'one_cycle':
    rise = [math.sin(math.pi / 2 * x) ** 2 for x in rise]
  rise = np.array(rise) * expected[0]
  np.testing.assert_allclose(got[:WARMUP], rise, rtol=1e-5, atol=1e-6)


# --- oracles ------------------------------------------------------------------------


def test_cosine_equals_get_lr_of_nanogpt():
  learning_rate = 1e-3
  min_lr = 1e-4
  warmup_iters = 13
  lr_decay_iters = T

  def get_lr(it):  # as its README's CPU recipe runs it
    if it < warmup_iters:
      return learning_rate * (it + 1) / (warmup_iters + 1)
    ratio = (it - warmup_iters) / (lr_decay_iters - warmup_iters)
    return min_lr + 0.5 * (1.0 + math.cos(math.pi * ratio)) * (learning_rate - min_lr)

  got = 1e-3 * curve(name='cosine', warmup_fraction=13 / T, final_lr_ratio=0.1)
  np.testing.assert_allclose(got, [get_lr(i) for i in range(T)], rtol=1e-5)


def test_first_and_last_step():
  no_warmup = curve(name='linear', warmup_fraction=0.0, final_lr_ratio=0.0)
  assert no_warmup[0] == 1.0
  np.testing.assert_allclose(no_warmup[-1], 1 / T, rtol=1e-4)
  assert float(unit_schedule(numbers(name='linear', final_lr_ratio=0.25), T, T)) == 0.25
  all_warmup = curve(name='cosine', warmup_fraction=1.0)
  np.testing.assert_allclose(all_warmup, np.arange(1, T + 1) / (T + 1), rtol=1e-5)


def test_warmup_rises_from_initial_lr_ratio():
  got = curve(name='constant', warmup_fraction=9 / T, initial_lr_ratio=0.2)
  np.testing.assert_allclose(got[:10], 0.2 + 0.8 * np.arange(1, 11) / 10, rtol=1e-5)


def test_shapes_equal_those_of_optax():
  w = 20
  steps = np.arange(T - w)

  def ours(**values):
    return curve(warmup_fraction=w / T, **values)[w:]

  def compare(got, schedule):
    return np.testing.assert_allclose(
      got, [schedule(i) for i in steps], rtol=2e-5, atol=1e-6
    )

  compare(
    ours(name='cosine', final_lr_ratio=0.1),
    optax.cosine_decay_schedule(1.0, T - w, alpha=0.1),
  )
  compare(
    ours(name='linear', final_lr_ratio=0.1), optax.linear_schedule(1.0, 0.1, T - w)
  )
  compare(
    ours(name='polynomial', power=3.0, final_lr_ratio=0.1),
    optax.polynomial_schedule(1.0, 0.1, 3.0, T - w),
  )
  compare(
    ours(
      name='exponential', cycle_fraction=50 / T, decay_factor=0.3, final_lr_ratio=0.2
    ),
    optax.exponential_decay(1.0, 50, 0.3, end_value=0.2),
  )
  compare(
    ours(name='step', cycle_fraction=50 / T, decay_factor=0.3, final_lr_ratio=0.01),
    optax.exponential_decay(1.0, 50, 0.3, staircase=True),
  )


def torch_curve(scheduler, total, **values):
  import torch

  optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
  schedule = getattr(torch.optim.lr_scheduler, scheduler)(optimizer, **values)
  rates = []
  for _ in range(total):
    rates.append(optimizer.param_groups[0]['lr'])
    optimizer.step()
    schedule.step()
  return np.array(rates)


@pytest.mark.oracle
@pytest.mark.parametrize(
  'ours,scheduler,theirs',
  [
    (
      {'name': 'triangular', 'cycle_fraction': 40 / T, 'final_lr_ratio': 0.1},
      'CyclicLR',
      {
        'base_lr': 0.1,
        'max_lr': 1.0,
        'step_size_up': 20,
        'mode': 'triangular',
        'cycle_momentum': False,
      },
    ),
    (
      {'name': 'triangular2', 'cycle_fraction': 40 / T, 'final_lr_ratio': 0.1},
      'CyclicLR',
      {
        'base_lr': 0.1,
        'max_lr': 1.0,
        'step_size_up': 20,
        'mode': 'triangular2',
        'cycle_momentum': False,
      },
    ),
    (
      {
        'name': 'exp_range',
        'cycle_fraction': 40 / T,
        'final_lr_ratio': 0.1,
        'decay_factor': 0.99**40,
      },
      'CyclicLR',
      {
        'base_lr': 0.1,
        'max_lr': 1.0,
        'step_size_up': 20,
        'mode': 'exp_range',
        'gamma': 0.99,
        'cycle_momentum': False,
      },
    ),
    (
      {'name': 'cosine_restarts', 'cycle_fraction': 25 / T, 'cycle_growth': 2.0},
      'CosineAnnealingWarmRestarts',
      {'T_0': 25, 'T_mult': 2, 'eta_min': 0.1},
    ),
    (
      {'name': 'cosine_restarts', 'cycle_fraction': 25 / T},
      'CosineAnnealingWarmRestarts',
      {'T_0': 25, 'eta_min': 0.1},
    ),
    (
      {
        'name': 'step',
        'cycle_fraction': 30 / T,
        'decay_factor': 0.5,
        'final_lr_ratio': 0.0,
      },
      'StepLR',
      {'step_size': 30, 'gamma': 0.5},
    ),
    (
      {
        'name': 'exponential',
        'cycle_fraction': 1 / T,
        'decay_factor': 0.97,
        'final_lr_ratio': 0.0,
      },
      'ExponentialLR',
      {'gamma': 0.97},
    ),
    (
      {'name': 'cosine', 'final_lr_ratio': 0.1},
      'CosineAnnealingLR',
      {'T_max': T, 'eta_min': 0.1},
    ),
  ],
)
def test_shapes_equal_those_of_torch(ours, scheduler, theirs):
  got = curve(warmup_fraction=0.0, **ours)
  np.testing.assert_allclose(
    got, torch_curve(scheduler, T, **theirs), rtol=1e-4, atol=1e-6
  )


@pytest.mark.oracle
def test_one_cycle_equals_that_of_torch():
  # Torch spends its first step on the initial learning rate and its last on the final one. Here
  # both are one step outside training.
  w = 60
  theirs = torch_curve(
    'OneCycleLR',
    T + 1,
    max_lr=1.0,
    total_steps=T + 2,
    pct_start=(w + 2) / (T + 2),
    div_factor=25,
    final_div_factor=4,
    cycle_momentum=False,
  )
  got = curve(
    name='one_cycle',
    warmup_fraction=w / T,
    initial_lr_ratio=1 / 25,
    final_lr_ratio=1 / 100,
  )
  np.testing.assert_allclose(got, theirs[1:], rtol=1e-4, atol=1e-6)


def test_inverse_sqrt_with_the_warmup_as_timescale_follows_the_transformer_paper():
  w = 20
  got = curve(
    name='inverse_sqrt', warmup_fraction=w / T, cycle_fraction=w / T, final_lr_ratio=0.0
  )
  steps = np.arange(w, T, dtype=np.float64)
  np.testing.assert_allclose(
    got[w:], (steps / w) ** -0.5, rtol=1e-5
  )  # arXiv:1706.03762 eq. 3, over its peak


def test_restarts_begin_at_the_nearest_step_for_every_growth():
  total = 100_000
  first = 1_000
  value = jax.jit(lambda h, step: unit_schedule(h, step, total))
  for growth in (1.0, 1.5, 2.0, 3.0):
    h = numbers(
      name='cosine_restarts',
      warmup_fraction=0.0,
      cycle_fraction=first / total,
      cycle_growth=growth,
      final_lr_ratio=0.0,
    )
    start = 0
    length = first
    while start + length < total:
      start, length = start + length, length * growth
      begin = math.ceil(start - 0.5)  # the nearest step
      assert value(h, begin) > 0.99, (growth, start)
      assert value(h, begin - 1) < 0.01, (growth, start)


def test_all_schedules_share_one_program():
  traces = []

  @jax.jit
  def value(h, step):
    traces.append(1)
    return unit_schedule(h, step, T)

  members = [
    numbers(name=name, warmup_fraction=0.02 * i, final_lr_ratio=0.05 * i, power=1.0 + i)
    for i, name in enumerate(SCHEDULES)
  ]
  alone = [float(value(h, 77)) for h in members]
  assert len(traces) == 1
  stacked = jax.tree.map(lambda *x: np.stack(x), *members)
  np.testing.assert_array_equal(
    jax.vmap(lambda h: unit_schedule(h, 77, T))(stacked).dtype, jnp.float32
  )
  np.testing.assert_allclose(
    jax.vmap(lambda h: unit_schedule(h, 77, T))(stacked), alone, rtol=1e-6
  )


@pytest.mark.parametrize('name', SCHEDULES)
def test_shape_reads_the_declared_numbers(name):
  base = {'name': name, 'warmup_fraction': 0.1, 'final_lr_ratio': 0.01}
  start = numbers(**base)
  baseline = np.asarray(_curve(start))
  changed = {
    field: np.float32(0.9 if field == 'final_lr_ratio' else 1.5 * value + 0.1)
    for field, value in start.items()
    if field != 'name'
  }
  read = {
    field
    for field, value in changed.items()
    if not np.array_equal(baseline, np.asarray(_curve({**start, field: value})))
  }
  assert read == ScheduleConfig(name=name).keys_read() & set(changed)


@pytest.mark.parametrize('name', SCHEDULES)
def test_shape_stays_between_zero_and_the_peak(name):
  for values in (
    {},
    {'warmup_fraction': 0.0, 'final_lr_ratio': 0.0},
    {'cycle_fraction': 1e-6, 'cycle_growth': 1.3},
  ):
    got = curve(name=name, **values)
    assert np.isfinite(got).all() and got.min() >= 0 and got.max() <= 1


def test_names_of_built_in_schedules_keep_their_positions():
  """A name reaches the program as its position, so that new names come last."""
  assert list(SCHEDULES)[:16] == [
    'constant',
    'step',
    'exponential',
    'triangular',
    'triangular2',
    'exp_range',
    'cosine',
    'cosine_restarts',
    'linear',
    'polynomial',
    'inverse_sqrt',
    'one_cycle',
    'wsd_linear',
    'wsd_sqrt',
    'wsd_cosine',
    'rex',
  ]
