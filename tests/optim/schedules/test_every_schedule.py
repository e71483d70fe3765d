"""Every schedule against formulas in float64, Optax and torch, and under tracing."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lmhp.hypers import split
from lmhp.optim.schedules.config import ScheduleConfig
from lmhp.optim.schedules.evaluation import unit_schedule
from lmhp.optim.schedules.spec import SCHEDULES

T = 200


def numbers(**values):
  return split(ScheduleConfig(**values))[1]


@jax.jit
def _curve(h):
  return jax.vmap(lambda step: unit_schedule(h, step, T))(jnp.arange(T))


def curve(**values):
  return np.asarray(_curve(numbers(**values)))


# The formulas of the papers in float64: peak 1, final ratio f, s steps after a warmup of w of T.


def paper(name, s, w, f, cycle, cooldown, factor, power, growth, beta):
  rest = T - w
  t = s / rest
  triangle = 1 - abs((s % cycle) / cycle * 2 - 1)
  if name.startswith('wsd'):
    v = max(0, (s + w - (T - cooldown)) / cooldown)
    return (
      f
      + (1 - f)
      * {
        'linear': 1 - v,
        'sqrt': 1 - v**0.5,
        'cosine': (1 + math.cos(math.pi * v)) / 2,
      }[name[4:]]
    )
  if name == 'cosine_restarts':
    length = cycle
    left = s
    while left >= length:
      left -= length
      length *= growth
    return f + (1 - f) * (1 + math.cos(math.pi * left / length)) / 2
  return {
    'constant': 1.0,
    'step': max(f, factor ** (s // cycle)),
    'exponential': max(f, factor ** (s / cycle)),
    'triangular': f + (1 - f) * triangle,
    'triangular2': f + (1 - f) * triangle / 2 ** (s // cycle),
    'exp_range': f + (1 - f) * triangle * factor ** (s / cycle),
    'cosine': f + (1 - f) * (1 + math.cos(math.pi * t)) / 2,
    'one_cycle': f + (1 - f) * (1 + math.cos(math.pi * t)) / 2,
    'linear': f + (1 - f) * (1 - t),
    'polynomial': f + (1 - f) * (1 - t) ** power,
    'inverse_sqrt': max(f, math.sqrt(cycle / (cycle + s))),
    'rex': f + (1 - f) * (1 - t) / (beta + (1 - beta) * (1 - t)),
  }[name]


@pytest.mark.parametrize('name', SCHEDULES)
@pytest.mark.parametrize('growth', [1.0, 2.0])
def test_shape_after_the_warmup_follows_the_paper(name, growth):
  w = 10
  f = 0.1
  cycle = 30
  cooldown = 40
  factor = 0.7
  power = 1.5
  beta = 0.4
  got = curve(
    name=name,
    warmup_steps=None,
    warmup_fraction=w / T,
    final_lr_ratio=f,
    cycle_fraction=cycle / T,
    cooldown_fraction=cooldown / T,
    decay_factor=factor,
    power=power,
    cycle_growth=growth,
    rex_beta=beta,
  )
  expected = [
    paper(name, s, w, f, cycle, cooldown, factor, power, growth, beta)
    for s in range(T - w)
  ]
  np.testing.assert_allclose(got[w:], expected, rtol=2e-5, atol=2e-6)
  start = expected[0]
  rise = [(i + 1) / (w + 1) for i in range(w)]
  if name == 'one_cycle':
    rise = [math.sin(math.pi / 2 * x) ** 2 for x in rise]
  np.testing.assert_allclose(got[:w], np.array(rise) * start, rtol=1e-5, atol=1e-6)


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
  assert list(SCHEDULES) == [
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
