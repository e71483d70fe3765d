"""One update: what each number does to it, and that how it is cut, packed or split in chunks changes nothing."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.declarations import declared
from lmhp.errors import ConfigError
from lmhp.hypers import split
from lmhp.model.batch import Batch
from lmhp.model.config import ModelConfig
from lmhp.model.rng import named_key
from lmhp.model.transformer import build
from lmhp.optim.config import OptimizerConfig
from lmhp.optim.schedules.config import ScheduleConfig
from lmhp.params import walk_arrays
from lmhp.training.chunks import ChunkSteps
from lmhp.training.config import TrainConfig
from lmhp.training.step import (
  METRICS,
  combine,
  make_chunk,
  make_init,
  make_update,
  partition,
)

B, L, D, V, R = 3, 5, 14, 31, 3
PLAIN = dict(
  name='sgd', learning_rate=1.0, weight_decay=0.0, clip_norm=math.inf
)  # the update is minus the gradient
DROPOUTS = (
  'model.embedding_dropout',
  'model.attention_dropout',
  'model.residual_dropout',
)


def batch_of(seed=0, rows=B, **more):
  rng = np.random.default_rng(seed)
  weights = rng.choice([0.0, 0.5, 1.0], (rows, L)).astype(np.float32)
  return Batch(
    jnp.asarray(rng.integers(0, V, (rows, L))),
    jnp.asarray(rng.integers(0, V, (rows, L))),
    jnp.asarray(weights),
    **more,
  )


class Setup:
  """Structure and numbers of a run, and its two functions."""

  def __init__(self, model, optimizer=None, train=None, schedule=None, present=()):
    sections = [
      split(cfg, present)
      for cfg in (
        model,
        OptimizerConfig(**PLAIN | (optimizer or {})),
        TrainConfig(**{'batch_size': B} | (train or {})),
        ScheduleConfig(**schedule or {}),
      )
    ]
    (model, _), (optimizer, _), (train, _), _ = sections
    names = ('model', 'optimizer', 'train', 'schedule')
    self.hypers = {name: numbers for name, (_, numbers) in zip(names, sections)}
    self.model = build(model)
    self.init, self.update = (
      make_init(self.model, optimizer),
      make_update(self.model, optimizer, train),
    )

  def with_(self, **numbers):
    """The numbers with others in place: `with_(train=dict(z_loss=0.1))`."""
    return {
      name: {
        **self.hypers[name],
        **{
          k: np.asarray(v, np.asarray(self.hypers[name][k]).dtype)
          for k, v in numbers.get(name, {}).items()
        },
      }
      for name in self.hypers
    }

  def state(self, params, jit=jax.jit):
    return dataclasses.replace(jit(self.init)(self.hypers), params=params)


def delta(before, after):
  return jax.tree.map(lambda a, b: np.asarray(b - a, np.float64), before, after)


def softmax(x):
  return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


# --- each number changes the update by its hand-derived amount, in one program ----------------------------------------


def test_label_smoothing_and_z_loss_reach_the_update(jit, tiny, fill):
  """The gradient of the head's bias is the mean of `p - (1-s) onehot - s/V + 2 z p log Z` over the tokens."""
  setup = Setup(tiny(head_bias=True, tie_embeddings=False))
  params, batch, traces = fill(setup.model.shapes, std=0.5), batch_of(), []

  @jit
  def step(state, hypers):
    traces.append(1)
    return setup.update(state, hypers, batch, jnp.float32(1.0))

  state = setup.state(params, jit)
  logits = np.asarray(jit(setup.model.apply)(params, batch.tokens), np.float64).reshape(
    -1, V
  )
  p, log_z = softmax(logits), np.log(np.exp(logits).sum(-1, keepdims=True))
  onehot, weights = np.eye(V)[np.ravel(batch.targets)], np.ravel(batch.weights)[:, None]
  for s, z in ((0.0, 0.0), (0.1, 0.0), (0.0, 0.01), (0.3, 0.2)):
    after, metrics = step(state, setup.with_(train=dict(label_smoothing=s, z_loss=z)))
    gradient = (
      np.sum(weights * (p - (1 - s) * onehot - s / V + 2 * z * p * log_z), axis=0)
      / weights.sum()
    )
    np.testing.assert_allclose(
      delta(params, after.params)['output']['bias'], -gradient, rtol=0, atol=2e-6
    )
    nll = -np.sum(weights * onehot * (logits - log_z)) / weights.sum()
    mean_nll = (
      -np.sum(weights * np.mean(logits - log_z, -1, keepdims=True)) / weights.sum()
    )
    total = (
      (1 - s) * nll + s * mean_nll + z * np.sum(weights * log_z**2) / weights.sum()
    )
    assert float(metrics['loss_nats']) == pytest.approx(nll, rel=1e-5)
    assert float(metrics['objective_nats']) == pytest.approx(total, rel=1e-5)
  assert len(traces) == 1


def test_dropout_rates_reach_the_update(jit, tiny, fill):
  """With parameters that leave one dropout's mark on the features, which parts were kept can be read off them.

  The gradient then follows by hand, through a head without bias; kept numbers count 1 / (1 - rate). All rates and all
  parameters go through one program.
  """
  setup = Setup(
    tiny(
      n_layers=1,
      n_kv_heads=None,
      final_norm=False,
      tie_embeddings=False,
      qkv_bias=True,
      attention_output_bias=True,
    ),
    present=DROPOUTS,
  )
  batch, traces = batch_of(), []
  zero = jax.tree.map(lambda s: np.zeros(s.shape, np.float32), setup.model.shapes)
  filled, layer = fill(setup.model.shapes), zero['decoder']['segment_0']
  head_DV = np.asarray(filled['output']['kernel'], np.float64)
  into = np.zeros(
    (1, 8, 6, D), np.float32
  )  # each head writes its first coordinate to a column of its own
  into[0, np.arange(8), 0, np.arange(8)] = 1

  @jit
  def step(params, hypers, number):
    traces.append(1)
    state = dataclasses.replace(setup.init(hypers), params=params, step=number)
    key = jax.random.fold_in(
      named_key(jax.random.key(hypers['train']['seed']), 'dropout'), number
    )
    return (
      setup.update(state, hypers, batch, jnp.float32(1.0))[0].params,
      setup.model.features(params, hypers['model'], batch, key)[0],
    )

  def run(rates, number=0, seed=0, **parts):
    layers = {
      **layer,
      'attention': {**layer['attention'], **parts.get('attention', {})},
    }
    params = {
      **zero,
      'output': {'kernel': filled['output']['kernel']},
      'decoder': {'segment_0': layers},
    }
    params |= {k: v for k, v in parts.items() if k != 'attention'}
    hypers = setup.with_(
      model={'embedding_dropout': 0, 'attention_dropout': 0, 'residual_dropout': 0}
      | rates,
      train=dict(seed=seed),
    )
    after, x_BLD = step(params, hypers, np.int32(number))
    x_BLD = np.asarray(x_BLD, np.float64)
    p = softmax(x_BLD @ head_DV)
    weights = np.asarray(batch.weights)[..., None]
    dx_BLD = (weights * (p - np.eye(V)[batch.targets])) @ head_DV.T / weights.sum()
    return delta(params, after), x_BLD, dx_BLD

  for rate, number, seed in ((0.25, 0, 0), (0.5, 3, 7)):
    # embedding: a dropped coordinate gives its row no gradient
    table = np.asarray(filled['embedding']['table'])
    change, x, dx = run(
      {'embedding_dropout': rate}, number, seed, embedding={'table': table}
    )
    kept = x / table[batch.tokens]
    assert (
      np.allclose(np.unique(kept.round(5)), [0, round(1 / (1 - rate), 5)])
      and 0.1 < np.mean(kept == 0) < 0.8
    )
    expected = np.zeros((V, D))
    np.add.at(expected, np.asarray(batch.tokens), -kept * dx)
    np.testing.assert_allclose(
      change['embedding']['table'], expected, rtol=0, atol=2e-6
    )

    # residual: what attention adds is its output's bias
    bias = np.linspace(0.5, 1.5, D, dtype=np.float32)
    parts = {
      'output': {'kernel': layer['attention']['output']['kernel'], 'bias': bias[None]}
    }
    change, x, dx = run({'residual_dropout': rate}, number, seed, attention=parts)
    kept = x / bias
    assert np.allclose(np.unique(kept.round(5)), [0, round(1 / (1 - rate), 5)])
    got = change['decoder']['segment_0']['attention']['output']['bias'][0]
    np.testing.assert_allclose(got, -np.sum(kept * dx, axis=(0, 1)), rtol=0, atol=2e-6)

    # attention: all keys weigh alike, all values are one; kept weights still sum to about one
    ones = {
      'kernel': layer['attention']['value']['kernel'],
      'bias': np.ones((1, 8, 6), np.float32),
    }
    parts = {
      'value': ones,
      'output': {'kernel': into, 'bias': np.zeros((1, D), np.float32)},
    }
    change, x, dx = run({'attention_dropout': rate}, number, seed, attention=parts)
    sums_BLH = x[..., :8]
    keys_L = np.arange(1, L + 1)[None, :, None]
    n_kept = sums_BLH * keys_L * (1 - rate)
    np.testing.assert_allclose(n_kept, n_kept.round(), atol=1e-5)
    assert (
      np.max(n_kept.round() - keys_L) <= 0
      and abs(np.mean(n_kept / keys_L) - (1 - rate)) < 0.15
    )
    got = change['decoder']['segment_0']['attention']['value']['bias'][0, :, 0]
    np.testing.assert_allclose(
      got, -np.sum(sums_BLH * dx[..., :8], axis=(0, 1)), rtol=0, atol=2e-6
    )

  # the draw is the seed's and the step's
  masks = [
    run({'embedding_dropout': 0.5}, number, seed, embedding={'table': table})[1] == 0
    for number, seed in ((0, 0), (0, 0), (1, 0), (0, 1))
  ]
  assert np.array_equal(masks[0], masks[1])
  assert all(0.2 < np.mean(masks[0] != other) < 0.8 for other in masks[2:])
  assert not np.any(run({}, embedding={'table': table})[1] == 0)
  assert len(traces) == 1


def test_seed_and_init_scale_reach_the_parameters(jit, tiny):
  """The seed is the key of `Model.init`; the scale multiplies what is drawn."""
  setup, traces = Setup(tiny(norm_bias=True)), []

  @jit
  def init(hypers):
    traces.append(1)
    return setup.init(hypers).params

  base, other, scaled = (
    init(setup.with_(**numbers))
    for numbers in (
      dict(),
      dict(train=dict(seed=2**32 - 1)),
      dict(model=dict(init_scale=3.0)),
    )
  )
  direct = jit(setup.model.init)(jax.random.key(2**32 - 1), {'init_scale': 1.0})
  jax.tree.map(np.testing.assert_array_equal, other, direct)
  for (path, a), (_, b), (_, c) in zip(
    walk_arrays(base), walk_arrays(other), walk_arrays(scaled)
  ):
    drawn = path.endswith(('kernel', 'table'))
    np.testing.assert_allclose(c, 3 * a if drawn else a, rtol=1e-6)
    assert np.mean(a != b) == drawn
  assert len(traces) == 1


def test_every_number_of_the_two_sections_is_covered_above():
  """A number added to `model` or `train` must be shown to do what it says: this list is where to notice."""
  traced = {
    f'{cls.SECTION}.{name}'
    for cls in (ModelConfig, TrainConfig)
    for name, declaration in declared(cls).items()
    if declaration.traced
  }
  of_routing = {
    'model.load_balance_loss',
    'model.router_z_loss',
    'model.router_correction_rate',
  }  # model/experts/test_routing.py
  assert traced == {
    *DROPOUTS,
    *of_routing,
    'model.init_scale',
    'train.seed',
    'train.label_smoothing',
    'train.z_loss',
  }


def test_metrics_are_what_they_are_called(jit, tiny, fill):
  setup = Setup(tiny(), dict(learning_rate=0.25))
  params = fill(setup.model.shapes)
  after, metrics = jit(setup.update)(
    setup.state(params, jit), setup.hypers, batch_of(), jnp.float32(0.5)
  )
  assert set(metrics) == set(METRICS) and after.step == 1
  assert float(metrics['learning_rate']) == 0.125
  change = delta(params, after.params)
  norm = math.sqrt(sum(np.sum(x**2) for x in jax.tree.leaves(change))) / 0.125
  assert float(metrics['grad_norm']) == pytest.approx(norm, rel=1e-5)


def test_tokens_of_weight_zero_do_not_count(jit, tiny, fill):
  setup = Setup(tiny())
  state, step = setup.state(fill(setup.model.shapes), jit), jit(setup.update)
  batch = batch_of()
  other = dataclasses.replace(
    batch, targets=jnp.where(batch.weights == 0, (batch.targets + 1) % V, batch.targets)
  )
  assert np.any(other.targets != batch.targets)
  a, b = (step(state, setup.hypers, x, jnp.float32(1.0)) for x in (batch, other))
  jax.tree.map(np.testing.assert_array_equal, a, b)
  nothing = dataclasses.replace(batch, weights=jnp.zeros_like(batch.weights))
  after, metrics = step(state, setup.hypers, nothing, jnp.float32(1.0))
  jax.tree.map(np.testing.assert_array_equal, after.params, state.params)
  assert metrics['loss_nats'] == 0 and metrics['grad_norm'] == 0


# --- how the work is cut changes nothing ----------------------------------------------------------------------------


@pytest.mark.parametrize('parts', [2, 3])
def test_the_noise_scale_is_measured_beside_the_same_update(jit, tiny, fill, parts):
  """The parts' norm is that of gradients of their own, made here one by one; what is learnt is as without it."""
  train = dict(grad_accumulation_steps=parts if parts > 2 else 1)
  batch = batch_of(rows=6)
  plain, measuring = (
    Setup(tiny(), train={**train, **more, 'batch_size': 6})
    for more in ({}, {'measure_noise_scale': True})
  )
  params = fill(plain.model.shapes)
  step = lambda setup, batch: jit(setup.update)(
    setup.state(params), setup.hypers, batch, jnp.float32(1.0)
  )
  after, metrics = step(measuring, batch)
  expected, _ = step(plain, batch)
  for a, b in zip(
    jax.tree.leaves(after.params), jax.tree.leaves(expected.params), strict=True
  ):
    np.testing.assert_allclose(a, b, rtol=0, atol=3e-6)
  alone, squares = Setup(tiny(), train=dict(batch_size=6 // parts)), []
  for i in range(parts):
    part = jax.tree.map(lambda x: x[i * 6 // parts : (i + 1) * 6 // parts], batch)
    moved = delta(params, step(alone, part)[0].params)  # minus the gradient, by PLAIN
    squares.append(sum(float(np.sum(x**2)) for x in jax.tree.leaves(moved)))
  assert float(metrics['microbatch_grad_norm']) == pytest.approx(
    np.sqrt(np.mean(squares)), rel=1e-4
  )
  assert float(metrics['microbatch_grad_norm']) > float(metrics['grad_norm'])


@pytest.mark.parametrize(
  'train',
  [
    dict(grad_accumulation_steps=3),
    dict(loss_chunks=5),
    dict(grad_accumulation_steps=3, loss_chunks=5),
  ],
  ids=str,
)
def test_accumulation_and_loss_chunks_equal_one_piece(jit, tiny, fill, train):
  """Parts have different total weights: their means may not be averaged. With packed documents, which also are cut."""
  segments = jnp.asarray([[1, 1, 2, 2, 2], [1, 1, 1, 1, 1], [1, 2, 2, 3, 3]])
  batch = batch_of(
    positions=jnp.asarray([[0, 1, 0, 1, 2], [0, 1, 2, 3, 4], [0, 0, 1, 0, 1]]),
    segments=segments,
  )
  numbers = dict(label_smoothing=0.1, z_loss=1e-2)
  whole, cut = Setup(tiny(), train=numbers), Setup(tiny(), train=numbers | train)
  params = fill(whole.model.shapes)
  a, b = (
    jit(s.update)(s.state(params, jit), s.hypers, batch, jnp.float32(1.0))
    for s in (whole, cut)
  )
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6), b, a
  )


def test_parts_of_an_accumulated_batch_draw_dropout_apart(jit, tiny, fill):
  """Three times the same sequence: drawn apart, the parts' gradients differ from three times one part's."""
  setup = Setup(tiny(residual_dropout=0.5), train=dict(grad_accumulation_steps=3))
  params, one = fill(setup.model.shapes), batch_of(rows=1)
  thrice = jax.tree.map(lambda x: jnp.tile(x, (3, 1)), one)
  alone = Setup(tiny(residual_dropout=0.5))
  state = setup.state(params, jit)
  a = jit(setup.update)(state, setup.hypers, thrice, jnp.float32(1.0))[1]['loss_nats']
  key = jax.random.fold_in(named_key(jax.random.key(0), 'dropout'), 0)

  @jit
  def loss(i):
    x = alone.model.features(
      params, alone.hypers['model'], one, jax.random.fold_in(key, i)
    )[0]
    log_p = jax.nn.log_softmax(alone.model.logits(params, {}, x))
    nll = -jnp.take_along_axis(log_p, one.targets[..., None], axis=-1)[..., 0]
    return jnp.sum(nll * one.weights) / jnp.sum(one.weights)

  parts = [float(loss(i)) for i in range(3)]
  assert len(set(parts)) == 3
  assert float(a) == pytest.approx(np.mean(parts), rel=1e-5)


# --- freezing -------------------------------------------------------------------------------------------------------


def test_frozen_leaves_keep_their_bits_and_have_no_state(jit, tiny):
  """A kind and a path are frozen: no gradient reaches the norm that clips, no moments, no decay."""
  free, frozen = (
    Setup(tiny(), dict(name='adamw', weight_decay=0.1, clip_norm=1.0, freeze=freeze))
    for freeze in ((), ('embedding', '**/attention/*/kernel'))
  )
  step = jit(frozen.update)
  before = jit(frozen.init)(frozen.hypers)
  after, metrics = step(before, frozen.hypers, batch_of(), jnp.float32(1.0))
  for (path, a), (_, b) in zip(walk_arrays(before.params), walk_arrays(after.params)):
    stays = path.startswith('embedding') or '/attention/' in path
    assert np.array_equal(a, b) == stays, path
  sizes = lambda state: sum(x.size for x in jax.tree.leaves(state.opt_state))
  of_frozen = sum(
    x.size
    for path, x in walk_arrays(before.params)
    if path.startswith('embedding') or '/attention/' in path
  )
  assert sizes(jax.eval_shape(free.init, free.hypers)) - sizes(before) == 2 * of_frozen
  _, all_metrics = jit(free.update)(
    jit(free.init)(free.hypers), free.hypers, batch_of(), jnp.float32(1.0)
  )
  assert (
    0 < metrics['grad_norm'] < all_metrics['grad_norm']
    and metrics['loss_nats'] == all_metrics['loss_nats']
  )


def test_partition_and_combine_are_inverse():
  params = {'a': {'b': 1, 'c': 2}, 'd': 3}
  mask = {'a': {'b': True, 'c': False}, 'd': False}
  trainable, frozen = partition(params, mask)
  assert trainable == {'a': {'b': None, 'c': 2}, 'd': 3} and frozen == {
    'a': {'b': 1, 'c': None},
    'd': None,
  }
  assert combine(trainable, frozen) == params


# --- chunks and populations -----------------------------------------------------------------------------------------

STEPS = 7
RUN = dict(
  optimizer=dict(name='adamw', learning_rate=0.01, weight_decay=0.1, clip_norm=1.0),
  schedule=dict(name='cosine', warmup_fraction=0.3),
)


def chunk_of(setup, capacity=STEPS):
  """A chunk over batches that stand in an array, and a count of its traces."""
  traces = []

  def take(data, hypers, step, i):
    traces.append(1)
    return jax.tree.map(lambda x: x[step], data)

  chunk = make_chunk(setup.update, take, STEPS, capacity=capacity)
  return lambda state, hypers, data, n: chunk(
    state, hypers, data, ChunkSteps(n, state.step)
  ), traces


@pytest.fixture(scope='module')
def data():
  return jax.tree.map(
    lambda *x: jnp.stack(x), *(batch_of(seed) for seed in range(STEPS))
  )


def test_how_steps_are_cut_into_chunks_changes_no_bit(jit, tiny, data):
  """One program, compiled as for a run, any lengths; and each chunk's metrics are the whole's, in their places."""
  setup = Setup(tiny(residual_dropout=0.1), **RUN)
  chunk, traces = chunk_of(setup)
  chunk, start = jax.jit(chunk), jit(setup.init)(setup.hypers)
  whole, metrics = chunk(start, setup.hypers, data, np.int32(STEPS))
  assert whole.step == STEPS and all(np.all(np.isfinite(m)) for m in metrics.values())
  compiled = len(traces)
  for lengths in ((1,) * 7, (3, 4), (4, 0, 2, 1), (6, 1)):
    state, done = start, 0
    for n in lengths:
      state, part = chunk(state, setup.hypers, data, np.int32(n))
      for name in METRICS:
        np.testing.assert_array_equal(part[name][:n], metrics[name][done : done + n])
        assert not np.any(part[name][n:])
      done += n
    jax.tree.map(np.testing.assert_array_equal, state, whole)
  assert len(traces) == compiled


def test_a_chunk_is_its_single_updates(jit, tiny, data):
  """Update by update in another program, with the schedule at each step: the same to rounding."""
  from lmhp.optim.schedules.evaluation import unit_schedule

  setup = Setup(tiny(), **RUN)
  start = jit(setup.init)(setup.hypers)
  whole, metrics = jit(chunk_of(setup, capacity=9)[0])(
    start, setup.hypers, data, np.int32(STEPS)
  )
  step = jit(
    lambda state, batch: setup.update(
      state,
      setup.hypers,
      batch,
      unit_schedule(setup.hypers['schedule'], state.step, STEPS),
    )
  )
  state, losses, rates = start, [], []
  for i in range(STEPS):
    state, now = step(state, jax.tree.map(lambda x: x[i], data))
    losses.append(now['loss_nats'])
    rates.append(now['learning_rate'])
  np.testing.assert_allclose(metrics['loss_nats'], [*losses, 0, 0], rtol=1e-5)
  np.testing.assert_allclose(metrics['learning_rate'], [*rates, 0, 0], rtol=1e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), state, whole
  )


def test_no_number_recompiles_and_members_of_a_population_are_their_solo_runs(
  jit, tiny, data
):
  """Every traced number at another value, the schedule's family among them: one solo program, one packed program."""
  setup = Setup(tiny(), **RUN, present=DROPOUTS)
  chunk, traces = chunk_of(setup)
  solo = jit(
    lambda hypers, data: chunk(setup.init(hypers), hypers, data, np.int32(STEPS))
  )
  other = lambda x: (
    x + x.dtype.type(1)
    if x.dtype.kind in 'iu'
    else x.dtype.type(0.8) * x + x.dtype.type(0.01)
  )
  members = [
    setup.hypers,
    jax.tree.map(other, setup.hypers),
    setup.with_(
      train=dict(seed=9), optimizer=dict(learning_rate=0.0), schedule=dict(name=2)
    ),
  ]
  alone = [solo(hypers, data) for hypers in members]
  assert len(traces) == 1
  packed = jax.tree.map(lambda *x: np.stack(x), *members)
  together = jit(
    jax.vmap(
      lambda hypers, data: chunk(setup.init(hypers), hypers, data, np.int32(STEPS)),
      (0, None),
    )
  )
  states, metrics = together(packed, data)
  for r, (state, one) in enumerate(alone):
    near = lambda a, b: np.testing.assert_allclose(a[r], b, rtol=2e-4, atol=2e-5)
    jax.tree.map(near, (states, metrics), (state, one))
  assert not np.allclose(metrics['loss_nats'][0], metrics['loss_nats'][1], rtol=1e-2)
  np.testing.assert_array_equal(
    jax.tree.leaves(alone[2][0].params)[0],
    jax.tree.leaves(jit(setup.init)(members[2]).params)[0],
  )  # a learning rate of 0 moves nothing
  before = len(traces)
  together(jax.tree.map(lambda x: x[::-1], packed), data)
  assert len(traces) == before


def test_training_lowers_the_loss(jit, tiny, data):
  """Seven steps on one batch, from the initial parameters."""
  setup = Setup(tiny(), RUN['optimizer'] | dict(learning_rate=0.05, weight_decay=0.0))
  chunk, _ = chunk_of(setup)
  same = jax.tree.map(lambda x: jnp.broadcast_to(x[:1], x.shape), data)
  _, metrics = jit(chunk)(
    jit(setup.init)(setup.hypers), setup.hypers, same, np.int32(STEPS)
  )
  assert float(metrics['loss_nats'][0]) == pytest.approx(math.log(V), rel=0.02)
  assert float(metrics['loss_nats'][-1]) < 0.6 * float(metrics['loss_nats'][0])


def test_what_cannot_be_cut_in_two_is_refused():
  with pytest.raises(
    ConfigError,
    match='train.measure_noise_scale: got True, .* expected an even train.batch_size and not 3',
  ):
    TrainConfig(batch_size=3, measure_noise_scale=True).resolve()
