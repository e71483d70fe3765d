"""One update: each number does what it says, and no way to split the work changes it."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.declarations import declared
from lmhp.hypers import split
from lmhp.model.batch import Batch
from lmhp.model.config import ModelConfig
from lmhp.model.rng import named_key
from lmhp.model.transformer import build
from lmhp.optim.config import OptimizerConfig
from lmhp.optim.schedules.config import ScheduleConfig
from lmhp.optim.schedules.shapes import unit_schedule
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

B = 3
L = 5
D = 14
V = 31
ONE = np.float32(1.0)

# With these numbers the update is minus the gradient.
GRADIENT = {
  'name': 'sgd',
  'learning_rate': 1.0,
  'weight_decay': 0.0,
  'clip_norm': math.inf,
}
DROPOUTS = (
  'model.embedding_dropout',
  'model.attention_dropout',
  'model.residual_dropout',
)


def random_batch(seed=0, rows=B, **more):
  rng = np.random.default_rng(seed)
  weights = rng.choice([0.0, 0.5, 1.0], (rows, L)).astype(np.float32)
  tokens = jnp.asarray(rng.integers(0, V, (rows, L)))
  targets = jnp.asarray(rng.integers(0, V, (rows, L)))
  return Batch(tokens, targets, jnp.asarray(weights), **more)


class Setup:
  """Structure and numbers of a run, and its functions `init` and `update`."""

  def __init__(self, model, optimizer=None, train=None, schedule=None, present=()):
    sections = {
      'model': model,
      'optimizer': OptimizerConfig(**GRADIENT | (optimizer or {})),
      'train': TrainConfig(**{'batch_size': B} | (train or {})),
      'schedule': ScheduleConfig(**schedule or {}),
    }
    structure = {}
    self.hypers = {}
    for name, section in sections.items():
      structure[name], self.hypers[name] = split(section, present)
    self.model = build(structure['model'])
    self.init = make_init(self.model, structure['optimizer'])
    self.update = make_update(self.model, structure['optimizer'], structure['train'])

  def with_numbers(self, **sections):
    """The numbers with others in place: `with_numbers(train={'z_loss': 0.1})`."""
    hypers = {name: dict(section) for name, section in self.hypers.items()}
    for section, numbers in sections.items():
      for name, value in numbers.items():
        dtype = np.asarray(hypers[section][name]).dtype
        hypers[section][name] = np.asarray(value, dtype)
    return hypers

  def state(self, params, jit=jax.jit):
    return dataclasses.replace(jit(self.init)(self.hypers), params=params)


def change(before, after):
  """The difference of two trees in float64."""
  return jax.tree.map(lambda a, b: np.asarray(b - a, np.float64), before, after)


def take(tree, index):
  """The arrays of a tree at an index of their first axis."""
  return jax.tree.map(lambda x: x[index], tree)


def softmax(x):
  return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def count_traces(function, traces):
  """The function, which adds an entry to a list each time that it is traced."""

  def traced(*arguments):
    traces.append(1)
    return function(*arguments)

  return traced


# --- loss and optimizer numbers -------------------------------------------------------


def test_label_smoothing_and_z_loss_reach_the_update(jit, tiny, fill):
  """The gradient of the output bias, by hand, for several numbers in one program.

  It is the mean over tokens of `p - (1 - s) onehot - s / V + 2 z p log Z`.
  """
  setup = Setup(tiny(head_bias=True, tie_embeddings=False))
  params = fill(setup.model.shapes, std=0.5)
  batch = random_batch()
  traces = []

  def update(state, hypers):
    return setup.update(state, hypers, batch, ONE)

  step = jit(count_traces(update, traces))
  state = setup.state(params, jit)

  logits = np.asarray(jit(setup.model.apply)(params, batch.tokens), np.float64)
  logits = logits.reshape(-1, V)
  p = softmax(logits)
  log_z = np.log(np.exp(logits).sum(-1, keepdims=True))
  onehot = np.eye(V)[np.ravel(batch.targets)]
  weights = np.asarray(batch.weights, np.float64).reshape(-1, 1)
  weights = weights / weights.sum()
  nll = -np.sum(weights * onehot * (logits - log_z))
  mean_nll = -np.sum(weights * np.mean(logits - log_z, -1, keepdims=True))
  squared_log_z = np.sum(weights * log_z**2)

  for s, z in ((0.0, 0.0), (0.1, 0.0), (0.0, 0.01), (0.3, 0.2)):
    numbers = {'label_smoothing': s, 'z_loss': z}
    after, metrics = step(state, setup.with_numbers(train=numbers))
    per_token = p - (1 - s) * onehot - s / V + 2 * z * p * log_z
    gradient = np.sum(weights * per_token, axis=0)
    bias_change = change(params, after.params)['output']['bias']
    np.testing.assert_allclose(bias_change, -gradient, rtol=0, atol=2e-6)
    objective = (1 - s) * nll + s * mean_nll + z * squared_log_z
    assert float(metrics['loss_nats']) == pytest.approx(nll, rel=1e-5)
    assert float(metrics['objective_nats']) == pytest.approx(objective, rel=1e-5)
  assert len(traces) == 1


def test_seed_and_init_scale_reach_the_parameters(jit, tiny):
  """The seed is the key of `Model.init`. The scale multiplies what is drawn."""
  setup = Setup(tiny(norm_bias=True))
  traces = []
  init = jit(count_traces(setup.init, traces))
  base = init(setup.with_numbers()).params
  other_seed = init(setup.with_numbers(train={'seed': 2**32 - 1})).params
  scaled = init(setup.with_numbers(model={'init_scale': 3.0})).params

  key = jax.random.key(2**32 - 1)
  expected = jit(setup.model.init)(key, {'init_scale': 1.0})
  jax.tree.map(np.testing.assert_array_equal, other_seed, expected)
  leaves = zip(walk_arrays(base), walk_arrays(other_seed), walk_arrays(scaled))
  for (path, a), (_, b), (_, c) in leaves:
    is_drawn = path.endswith(('kernel', 'table'))
    np.testing.assert_allclose(c, 3 * a if is_drawn else a, rtol=1e-6)
    assert np.mean(a != b) == is_drawn
  assert len(traces) == 1


def test_every_traced_number_of_the_two_sections_has_a_test():
  """A new number of `model` or `train` needs a test here, and a line in this list."""
  tested_with_the_routing = {
    'model.load_balance_loss',
    'model.router_z_loss',
    'model.router_correction_rate',
  }
  tested_here = {
    *DROPOUTS,
    'model.init_scale',
    'train.seed',
    'train.label_smoothing',
    'train.z_loss',
  }
  traced = set()
  # The bases of ModelConfig leave out the keys of mixers that other tests register.
  for cls in (*ModelConfig.__bases__, TrainConfig):
    for name, declaration in declared(cls).items():
      if declaration.traced:
        section = 'train' if cls is TrainConfig else 'model'
        traced.add(f'{section}.{name}')
  assert traced == tested_here | tested_with_the_routing


def test_metrics_are_the_scheduled_rate_and_the_norm_of_the_gradient(jit, tiny, fill):
  setup = Setup(tiny(), {'learning_rate': 0.25})
  params = fill(setup.model.shapes)
  state = setup.state(params, jit)
  after, metrics = jit(setup.update)(
    state, setup.hypers, random_batch(), np.float32(0.5)
  )
  assert set(metrics) == set(METRICS)
  assert after.step == 1
  assert float(metrics['learning_rate']) == 0.125
  squares = [np.sum(x**2) for x in jax.tree.leaves(change(params, after.params))]
  norm = math.sqrt(sum(squares)) / 0.125
  assert float(metrics['grad_norm']) == pytest.approx(norm, rel=1e-5)


def test_targets_of_weight_zero_change_nothing(jit, tiny, fill):
  setup = Setup(tiny())
  state = setup.state(fill(setup.model.shapes), jit)
  step = jit(setup.update)
  batch = random_batch()
  other_targets = jnp.where(batch.weights == 0, (batch.targets + 1) % V, batch.targets)
  assert np.any(other_targets != batch.targets)
  other = dataclasses.replace(batch, targets=other_targets)
  expected = step(state, setup.hypers, batch, ONE)
  got = step(state, setup.hypers, other, ONE)
  jax.tree.map(np.testing.assert_array_equal, got, expected)


def test_a_batch_without_any_weight_is_no_update(jit, tiny, fill):
  setup = Setup(tiny())
  state = setup.state(fill(setup.model.shapes), jit)
  batch = random_batch()
  empty = dataclasses.replace(batch, weights=jnp.zeros_like(batch.weights))
  after, metrics = jit(setup.update)(state, setup.hypers, empty, ONE)
  jax.tree.map(np.testing.assert_array_equal, after.params, state.params)
  assert metrics['loss_nats'] == 0
  assert metrics['grad_norm'] == 0


# --- dropout --------------------------------------------------------------------------


class DropoutProbe:
  """A one-layer model whose features show which values dropout has kept.

  All parameters are zero but those that a test sets, and the output kernel. The gradient of
  the features then follows by hand. All rates and parameters go through one program.
  """

  def __init__(self, setup, jit, fill):
    self.setup = setup
    self.batch = random_batch()
    self.traces = []
    self.filled = fill(setup.model.shapes)
    self.zeros = jax.tree.map(
      lambda s: np.zeros(s.shape, np.float32), setup.model.shapes
    )
    self._step = jit(count_traces(self._update_and_features, self.traces))

  def _update_and_features(self, params, hypers, step):
    state = dataclasses.replace(self.setup.init(hypers), params=params, step=step)
    seed_key = jax.random.key(hypers['train']['seed'])
    key = jax.random.fold_in(named_key(seed_key, 'dropout'), step)
    after, _ = self.setup.update(state, hypers, self.batch, ONE)
    x_BLD, _, _ = self.setup.model.features(params, hypers['model'], self.batch, key)
    return after.params, x_BLD

  def run(self, rates, step=0, seed=0, attention=None, **parts):
    """The change of the parameters, the features, and the gradient of the features."""
    layer = self.zeros['decoder']['segment_0']
    layer = {**layer, 'attention': {**layer['attention'], **(attention or {})}}
    params = {
      **self.zeros,
      'output': {'kernel': self.filled['output']['kernel']},
      'decoder': {'segment_0': layer},
      **parts,
    }
    names = ('embedding_dropout', 'attention_dropout', 'residual_dropout')
    hypers = self.setup.with_numbers(
      model=dict.fromkeys(names, 0) | rates, train={'seed': seed}
    )
    after, x_BLD = self._step(params, hypers, np.int32(step))

    x_BLD = np.asarray(x_BLD, np.float64)
    head_DV = np.asarray(self.filled['output']['kernel'], np.float64)
    weights = np.asarray(self.batch.weights)[..., None]
    errors = weights * (softmax(x_BLD @ head_DV) - np.eye(V)[self.batch.targets])
    return change(params, after), x_BLD, errors @ head_DV.T / weights.sum()


@pytest.fixture(scope='module')
def probe(jit, tiny, fill):
  model = tiny(
    n_layers=1,
    n_kv_heads=None,
    final_norm=False,
    tie_embeddings=False,
    qkv_bias=True,
    attention_output_bias=True,
  )
  return DropoutProbe(Setup(model, present=DROPOUTS), jit, fill)


RATES = pytest.mark.parametrize('rate, step, seed', [(0.25, 0, 0), (0.5, 3, 7)])


@RATES
def test_embedding_dropout_reaches_the_update(probe, rate, step, seed):
  """A dropped coordinate gives its row no gradient. A kept one counts 1 / (1 - rate)."""
  table = np.asarray(probe.filled['embedding']['table'])
  rates = {'embedding_dropout': rate}
  changed, x, dx = probe.run(rates, step, seed, embedding={'table': table})
  kept = x / table[probe.batch.tokens]
  assert np.allclose(np.unique(kept.round(5)), [0, round(1 / (1 - rate), 5)])
  assert 0.1 < np.mean(kept == 0) < 0.8
  expected = np.zeros((V, D))
  np.add.at(expected, np.asarray(probe.batch.tokens), -kept * dx)
  np.testing.assert_allclose(changed['embedding']['table'], expected, atol=2e-6)


@RATES
def test_residual_dropout_reaches_the_update(probe, rate, step, seed):
  """Attention adds only the bias of its output."""
  bias = np.linspace(0.5, 1.5, D, dtype=np.float32)
  attention = probe.zeros['decoder']['segment_0']['attention']
  parts = {'output': {'kernel': attention['output']['kernel'], 'bias': bias[None]}}
  changed, x, dx = probe.run({'residual_dropout': rate}, step, seed, attention=parts)
  kept = x / bias
  assert np.allclose(np.unique(kept.round(5)), [0, round(1 / (1 - rate), 5)])
  got = changed['decoder']['segment_0']['attention']['output']['bias'][0]
  np.testing.assert_allclose(got, -np.sum(kept * dx, axis=(0, 1)), atol=2e-6)


@RATES
def test_attention_dropout_reaches_the_update(probe, rate, step, seed):
  """All keys have the same weight, and all values are one.

  Each head writes its first coordinate to a column of its own, so the features count the
  keys that a head has kept.
  """
  kernel = np.zeros((1, 8, 6, D), np.float32)
  kernel[0, np.arange(8), 0, np.arange(8)] = 1
  attention = probe.zeros['decoder']['segment_0']['attention']
  parts = {
    'value': {
      'kernel': attention['value']['kernel'],
      'bias': np.ones((1, 8, 6), np.float32),
    },
    'output': {'kernel': kernel, 'bias': np.zeros((1, D), np.float32)},
  }
  changed, x, dx = probe.run({'attention_dropout': rate}, step, seed, attention=parts)
  sums_BLH = x[..., :8]
  n_keys_L = np.arange(1, L + 1)[None, :, None]
  n_kept = sums_BLH * n_keys_L * (1 - rate)
  np.testing.assert_allclose(n_kept, n_kept.round(), atol=1e-5)
  assert np.max(n_kept.round() - n_keys_L) <= 0
  assert abs(np.mean(n_kept / n_keys_L) - (1 - rate)) < 0.15
  got = changed['decoder']['segment_0']['attention']['value']['bias'][0, :, 0]
  expected = -np.sum(sums_BLH * dx[..., :8], axis=(0, 1))
  np.testing.assert_allclose(got, expected, atol=2e-6)


def test_dropout_is_drawn_from_the_seed_and_the_step(probe):
  table = np.asarray(probe.filled['embedding']['table'])

  def mask(step, seed, rate=0.5):
    rates = {'embedding_dropout': rate}
    return probe.run(rates, step, seed, embedding={'table': table})[1] == 0

  assert np.array_equal(mask(step=0, seed=0), mask(step=0, seed=0))
  for step, seed in ((1, 0), (0, 1)):
    share_that_differs = np.mean(mask(step=0, seed=0) != mask(step, seed))
    assert 0.2 < share_that_differs < 0.8
  assert not np.any(mask(step=0, seed=0, rate=0.0))


def test_all_rates_share_one_program(probe):
  probe.run({'residual_dropout': 0.1})
  probe.run({'embedding_dropout': 0.7}, step=5, seed=6)
  assert len(probe.traces) == 1


# --- splits of a batch ----------------------------------------------------------------


def step_once(setup, params, batch, jit):
  return jit(setup.update)(setup.state(params, jit), setup.hypers, batch, ONE)


@pytest.mark.parametrize('n_parts', [2, 3])
def test_measuring_the_noise_scale_does_not_change_the_update(jit, tiny, fill, n_parts):
  train = {'batch_size': 6, 'grad_accumulation_steps': n_parts if n_parts > 2 else 1}
  without = Setup(tiny(), train=train)
  measuring = Setup(tiny(), train=train | {'measure_noise_scale': True})
  params = fill(without.model.shapes)
  batch = random_batch(rows=6)
  expected, _ = step_once(without, params, batch, jit)
  got, _ = step_once(measuring, params, batch, jit)
  pairs = zip(
    jax.tree.leaves(got.params), jax.tree.leaves(expected.params), strict=True
  )
  for a, b in pairs:
    np.testing.assert_allclose(a, b, rtol=0, atol=3e-6)


@pytest.mark.parametrize('n_parts', [2, 3])
def test_the_microbatch_norm_is_that_of_gradients_made_one_by_one(
  jit, tiny, fill, n_parts
):
  train = {
    'batch_size': 6,
    'grad_accumulation_steps': n_parts if n_parts > 2 else 1,
    'measure_noise_scale': True,
  }
  measuring = Setup(tiny(), train=train)
  params = fill(measuring.model.shapes)
  batch = random_batch(rows=6)
  _, metrics = step_once(measuring, params, batch, jit)

  rows = 6 // n_parts
  alone = Setup(tiny(), train={'batch_size': rows})
  squares = []
  for i in range(n_parts):
    part = take(batch, slice(i * rows, (i + 1) * rows))
    after, _ = step_once(alone, params, part, jit)
    minus_gradient = jax.tree.leaves(change(params, after.params))
    squares.append(sum(float(np.sum(x**2)) for x in minus_gradient))
  norm = float(metrics['microbatch_grad_norm'])
  assert norm == pytest.approx(np.sqrt(np.mean(squares)), rel=1e-4)
  assert norm > float(metrics['grad_norm'])


@pytest.mark.parametrize(
  'train',
  [
    {'grad_accumulation_steps': 3},
    {'loss_chunks': 5},
    {'grad_accumulation_steps': 3, 'loss_chunks': 5},
  ],
  ids=str,
)
def test_accumulation_and_loss_chunks_equal_one_piece(jit, tiny, fill, train):
  """The parts have different total weights, so their means must not be averaged.

  The batch has packed documents, whose positions and segments are split too.
  """
  positions = jnp.asarray([[0, 1, 0, 1, 2], [0, 1, 2, 3, 4], [0, 0, 1, 0, 1]])
  segments = jnp.asarray([[1, 1, 2, 2, 2], [1, 1, 1, 1, 1], [1, 2, 2, 3, 3]])
  batch = random_batch(positions=positions, segments=segments)
  numbers = {'label_smoothing': 0.1, 'z_loss': 1e-2}
  whole = Setup(tiny(), train=numbers)
  split_ = Setup(tiny(), train=numbers | train)
  params = fill(whole.model.shapes)
  expected = step_once(whole, params, batch, jit)
  got = step_once(split_, params, batch, jit)

  def assert_near(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)

  jax.tree.map(assert_near, got, expected)


def test_microbatches_draw_dropout_apart(jit, tiny, fill):
  """Three copies of one sequence: each copy has the loss of a key of its own."""
  dropout = {'residual_dropout': 0.5}
  setup = Setup(tiny(**dropout), train={'grad_accumulation_steps': 3})
  params = fill(setup.model.shapes)
  sequence = random_batch(rows=1)
  copies = jax.tree.map(lambda x: jnp.tile(x, (3, 1)), sequence)
  _, metrics = step_once(setup, params, copies, jit)

  model = setup.model
  key = jax.random.fold_in(named_key(jax.random.key(0), 'dropout'), 0)

  @jit
  def loss(i):
    part_key = jax.random.fold_in(key, i)
    x, _, _ = model.features(params, setup.hypers['model'], sequence, part_key)
    log_p = jax.nn.log_softmax(model.logits(params, {}, x))
    nll = -jnp.take_along_axis(log_p, sequence.targets[..., None], axis=-1)[..., 0]
    return jnp.sum(nll * sequence.weights) / jnp.sum(sequence.weights)

  losses = [float(loss(i)) for i in range(3)]
  assert len(set(losses)) == 3
  assert float(metrics['loss_nats']) == pytest.approx(np.mean(losses), rel=1e-5)


# --- frozen parameters ----------------------------------------------------------------

FROZEN = ('embedding', '**/attention/*/kernel')


def setup_with(tiny, freeze):
  optimizer = {'name': 'adamw', 'weight_decay': 0.1, 'clip_norm': 1.0}
  return Setup(tiny(), optimizer | {'freeze': freeze})


def is_frozen(path):
  return path.startswith('embedding') or '/attention/' in path


def test_frozen_leaves_keep_their_bits(jit, tiny):
  """A kind and a path are frozen. Weight decay does not change them either."""
  setup = setup_with(tiny, FROZEN)
  before = jit(setup.init)(setup.hypers)
  after, _ = jit(setup.update)(before, setup.hypers, random_batch(), ONE)
  pairs = zip(walk_arrays(before.params), walk_arrays(after.params))
  for (path, a), (_, b) in pairs:
    assert np.array_equal(a, b) == is_frozen(path), path


def test_frozen_leaves_have_no_optimizer_state(jit, tiny):
  def size(setup):
    state = jax.eval_shape(setup.init, setup.hypers)
    return sum(x.size for x in jax.tree.leaves(state.opt_state))

  setup = setup_with(tiny, FROZEN)
  arrays = walk_arrays(setup.model.shapes)
  n_frozen = sum(x.size for path, x in arrays if is_frozen(path))
  assert size(setup_with(tiny, ())) - size(setup) == 2 * n_frozen


def test_frozen_leaves_are_not_in_the_norm_that_clips(jit, tiny):
  metrics = {}
  for freeze in ((), FROZEN):
    setup = setup_with(tiny, freeze)
    state = jit(setup.init)(setup.hypers)
    _, metrics[freeze] = jit(setup.update)(state, setup.hypers, random_batch(), ONE)
  assert 0 < metrics[FROZEN]['grad_norm'] < metrics[()]['grad_norm']
  assert metrics[FROZEN]['loss_nats'] == metrics[()]['loss_nats']


def test_combine_is_the_inverse_of_partition():
  params = {'a': {'b': 1, 'c': 2}, 'd': 3}
  mask = {'a': {'b': True, 'c': False}, 'd': False}
  trainable, frozen = partition(params, mask)
  assert trainable == {'a': {'b': None, 'c': 2}, 'd': 3}
  assert frozen == {'a': {'b': 1, 'c': None}, 'd': None}
  assert combine(trainable, frozen) == params


# --- chunks of updates ----------------------------------------------------------------

STEPS = 7
RUN = {
  'optimizer': {
    'name': 'adamw',
    'learning_rate': 0.01,
    'weight_decay': 0.1,
    'clip_norm': 1.0,
  },
  'schedule': {'name': 'cosine', 'warmup_fraction': 0.3},
}


class Chunk:
  """A chunk over batches in an array, and a count of its traces."""

  def __init__(self, setup, max_chunk_steps=STEPS):
    self.traces = []
    self._chunk = make_chunk(
      setup.update, self._take, STEPS, max_chunk_steps=max_chunk_steps
    )

  def _take(self, data, hypers, step, i):
    self.traces.append(1)
    return jax.tree.map(lambda x: x[step], data)

  def __call__(self, state, hypers, data, n_steps):
    return self._chunk(state, hypers, data, ChunkSteps(n_steps, state.step))


@pytest.fixture(scope='module')
def data():
  """One batch for each step."""
  batches = [random_batch(seed) for seed in range(STEPS)]
  return jax.tree.map(lambda *x: jnp.stack(x), *batches)


def test_how_steps_are_split_into_chunks_changes_no_bit(jit, tiny, data):
  """One program, compiled as for a run, takes chunks of any length."""
  setup = Setup(tiny(residual_dropout=0.1), **RUN)
  traced_chunk = Chunk(setup)
  chunk = jax.jit(traced_chunk)
  start = jit(setup.init)(setup.hypers)
  expected, expected_metrics = chunk(start, setup.hypers, data, np.int32(STEPS))
  assert expected.step == STEPS
  assert all(np.all(np.isfinite(x)) for x in expected_metrics.values())

  n_traces = len(traced_chunk.traces)
  for lengths in ((1,) * 7, (3, 4), (4, 0, 2, 1), (6, 1)):
    state = start
    done = 0
    for n in lengths:
      state, metrics = chunk(state, setup.hypers, data, np.int32(n))
      for name in METRICS:
        part = expected_metrics[name][done : done + n]
        np.testing.assert_array_equal(metrics[name][:n], part)
        assert not np.any(metrics[name][n:])
      done += n
    jax.tree.map(np.testing.assert_array_equal, state, expected)
  assert len(traced_chunk.traces) == n_traces


def test_a_chunk_makes_the_same_updates_as_single_steps(jit, tiny, data):
  """Single steps are another program, so they agree to rounding."""
  setup = Setup(tiny(), **RUN)
  start = jit(setup.init)(setup.hypers)
  chunk = jit(Chunk(setup, max_chunk_steps=9))
  expected, metrics = chunk(start, setup.hypers, data, np.int32(STEPS))

  @jit
  def step(state, batch):
    schedule = unit_schedule(setup.hypers['schedule'], state.step, STEPS)
    return setup.update(state, setup.hypers, batch, schedule)

  state = start
  steps = []
  for i in range(STEPS):
    state, values = step(state, take(data, i))
    steps.append(values)
  for name in ('loss_nats', 'learning_rate'):
    values = [step[name] for step in steps]
    np.testing.assert_allclose(metrics[name], [*values, 0, 0], rtol=1e-5)

  def assert_near(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)

  jax.tree.map(assert_near, state, expected)


@dataclasses.dataclass
class Packed:
  """Three members that were trained alone and together.

  Attributes:
    alone: State and metrics of each member.
    states: States of the population, stacked.
    metrics: Metrics of the population, stacked.
    n_traces_alone: Number of traces of the program of a single member.
    n_traces_again: Number of traces that other numbers caused in the packed program.
  """

  alone: list
  states: object
  metrics: dict
  n_traces_alone: int
  n_traces_again: int


@pytest.fixture(scope='module')
def packed(jit, tiny, data):
  """Members that differ in every traced number. The last has a learning rate of 0."""
  setup = Setup(tiny(), **RUN, present=DROPOUTS)
  chunk = Chunk(setup)

  def train(hypers, data):
    return chunk(setup.init(hypers), hypers, data, np.int32(STEPS))

  def other_value(x):
    if x.dtype.kind in 'iu':
      return x + x.dtype.type(1)
    return x.dtype.type(0.8) * x + x.dtype.type(0.01)

  members = [
    setup.hypers,
    jax.tree.map(other_value, setup.hypers),
    setup.with_numbers(
      train={'seed': 9}, optimizer={'learning_rate': 0.0}, schedule={'name': 2}
    ),
  ]
  solo = jit(train)
  alone = [solo(hypers, data) for hypers in members]
  n_traces_alone = len(chunk.traces)

  stacked = jax.tree.map(lambda *x: np.stack(x), *members)
  together = jit(jax.vmap(train, (0, None)))
  states, metrics = together(stacked, data)
  n_traces = len(chunk.traces)
  together(jax.tree.map(lambda x: x[::-1], stacked), data)
  n_traces_again = len(chunk.traces) - n_traces
  return Packed(alone, states, metrics, n_traces_alone, n_traces_again)


def test_no_traced_number_recompiles(packed):
  assert packed.n_traces_alone == 1
  assert packed.n_traces_again == 0


@pytest.mark.parametrize('member', [0, 1, 2])
def test_members_of_a_population_are_single_runs(packed, member):
  def assert_near(stacked, alone):
    np.testing.assert_allclose(stacked[member], alone, rtol=2e-4, atol=2e-5)

  jax.tree.map(assert_near, (packed.states, packed.metrics), packed.alone[member])


def test_the_members_of_the_test_differ(packed):
  losses = packed.metrics['loss_nats']
  assert not np.allclose(losses[0], losses[1], rtol=1e-2)


def test_a_learning_rate_of_zero_changes_no_parameter(jit, tiny, data):
  setup = Setup(tiny(), RUN['optimizer'] | {'learning_rate': 0.0})
  start = jit(setup.init)(setup.hypers)
  state, _ = jit(Chunk(setup))(start, setup.hypers, data, np.int32(STEPS))
  jax.tree.map(np.testing.assert_array_equal, state.params, start.params)


def test_training_lowers_the_loss(jit, tiny, data):
  """Seven steps on one batch, from the initial parameters."""
  setup = Setup(tiny(), RUN['optimizer'] | {'learning_rate': 0.05, 'weight_decay': 0.0})
  one_batch = jax.tree.map(lambda x: jnp.broadcast_to(x[:1], x.shape), data)
  start = jit(setup.init)(setup.hypers)
  _, metrics = jit(Chunk(setup))(start, setup.hypers, one_batch, np.int32(STEPS))
  losses = metrics['loss_nats']
  assert float(losses[0]) == pytest.approx(math.log(V), rel=0.02)
  assert float(losses[-1]) < 0.6 * float(losses[0])
