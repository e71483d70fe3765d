"""Populations: a member is a single run, with any neighbours and any method."""

import dataclasses
import types

from compilations import compilations
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_runs import QuickJax, bits, rows

import lmhp
from lmhp import config as config_lib
from lmhp.data import dataset as datasets
from lmhp.data.stream import TrainStream
from lmhp.optim.schedules.shapes import unit_schedule
from lmhp.training import chunks, population, programs
from lmhp.training.chunks import ChunkSteps, Cooldown
from lmhp.training.evaluation import ScoreInputs
from lmhp.training.population import METHODS, Population, map_members
from lmhp.training.programs import Programs
from lmhp.training.step import METRICS

N = 12
LOSS_TOLERANCE = 2e-6
"""In nats: ten units in the last place of losses of about 3, after N steps."""
PARAMETER_TOLERANCE = 1e-4
"""Fraction of a leaf's norm. Adam makes a full update of a gradient that is rounding."""

NO_COOLDOWN = Cooldown()
PRESENT = ('model.residual_dropout',)
VARIED = (
  # Everything that a pack can vary. The first has no dropout.
  {'optimizer.learning_rate': 1e-3},
  {'optimizer.learning_rate': 3e-3, 'model.residual_dropout': 0.2, 'train.seed': 1},
  {
    'optimizer.learning_rate': 1e-2,
    'optimizer.weight_decay': 0.5,
    'schedule.name': 'wsd_linear',
    'train.seed': 2,
  },
  {'optimizer.b2': 0.9, 'optimizer.clip_norm': 0.5, 'model.residual_dropout': 0.5},
  {
    'schedule.name': 'one_cycle',
    'schedule.warmup_fraction': 0.5,
    'train.label_smoothing': 0.1,
    'train.seed': 3,
  },
  {'optimizer.learning_rate': 2e-3, 'model.init_scale': 0.5, 'train.z_loss': 1e-3},
  {'schedule.name': 'constant', 'train.seed': 2**31},
  {'optimizer.b1': 0.5, 'schedule.final_lr_ratio': 0.0, 'model.residual_dropout': 0.1},
)


@dataclasses.dataclass
class Trained:
  """Members after some steps.

  Attributes:
    states: State of each member, in numpy.
    metrics: {name: (R, S)}.
    state: State of the population.
  """

  states: list
  metrics: dict
  state: object = None

  def take(self, members, steps=slice(None)):
    """The same of some members and steps."""
    states = [self.states[i] for i in members]
    metrics = {name: x[members][:, steps] for name, x in self.metrics.items()}
    return Trained(states, metrics)


@pytest.fixture
def make(small, monkeypatch, jit):
  """`make(**values)`: the programs of a run, as `lmhp.train` makes them.

  Dropout is always traced.
  """
  monkeypatch.setattr(population, 'jax', QuickJax(jit))

  def make_programs(**values):
    cfg = config_lib.resolve(small(**values))
    dataset = datasets.load(cfg.data)
    cfg = config_lib.complete(
      cfg, vocab_size=dataset.vocab_size, tokens_per_epoch=5000, dtype='float32'
    )
    stream = TrainStream(dataset, cfg.train.seq_len, cfg.data)
    return Programs(cfg, stream, dataset.sha256, PRESENT)

  return make_programs


def population_of(members, method, data_per_member=False, **options):
  is_streamed = data_per_member and not members[0].stream.resident
  return Population(
    members[0],
    [member.hypers for member in members],
    method,
    data_per_member,
    0 if is_streamed else None,
    **options,
  )


def train_alone(members, n_steps=N):
  """Members that are trained as single runs."""
  states = []
  metrics = []
  for member in members:
    ((_, data),) = member.feed(0, iter([n_steps]))
    state, values = member.chunk(
      member.init(member.hypers), member.hypers, data, ChunkSteps(n_steps, 0)
    )
    states.append(jax.device_get(state))
    metrics.append({name: np.asarray(x)[:n_steps] for name, x in values.items()})
  stacked = {name: np.stack([m[name] for m in metrics]) for name in metrics[0]}
  return Trained(states, stacked)


def train_together(
  members,
  method,
  lengths=(N,),
  data_per_member=False,
  state=None,
  step=0,
  cooldown=NO_COOLDOWN,
):
  """Members that are trained as a population, in chunks of these lengths."""
  together = population_of(members, method, data_per_member)
  state = together.init() if state is None else state
  is_stacked = together.data_axis == 0
  readers = members if is_stacked else members[:1]
  feeds = [reader.feed(step, iter(lengths)) for reader in readers]
  parts = []
  for fed in zip(*feeds):
    n_steps = fed[0][0]
    data = [member_data for _, member_data in fed]
    data = jax.tree.map(lambda *x: np.stack(x), *data) if is_stacked else data[0]
    steps = ChunkSteps(n_steps, step, cooldown)
    state, metrics = together.run(state, data, steps)
    parts.append({name: np.asarray(x)[:, :n_steps] for name, x in metrics.items()})
    step += n_steps
  metrics = {name: np.concatenate([c[name] for c in parts], 1) for name in parts[0]}
  return Trained(together.split(state), metrics, state)


def assert_same(trained, expected):
  """States and metrics agree bit for bit."""
  assert len(trained.states) == len(expected.states)
  for i, (state, other) in enumerate(zip(trained.states, expected.states)):
    assert bits(state) == bits(other), f'member {i}'
  assert trained.metrics.keys() == expected.metrics.keys()
  for name in trained.metrics:
    same = trained.metrics[name].tobytes() == expected.metrics[name].tobytes()
    assert same, name


def distance(params, others):
  """The largest distance of two leaves, as a fraction of their norm."""

  def leaf_distance(a, b):
    difference = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    return np.linalg.norm(difference) / np.linalg.norm(np.asarray(b, np.float64))

  return max(jax.tree.leaves(jax.tree.map(leaf_distance, params, others)))


def assert_close(trained, expected):
  """States and losses agree to rounding."""
  for state, other in zip(trained.states, expected.states, strict=True):
    assert distance(state.params, other.params) < PARAMETER_TOLERANCE
    assert state.step == other.step
  for name in ('loss_nats', 'objective_nats', 'learning_rate'):
    np.testing.assert_allclose(
      trained.metrics[name], expected.metrics[name], rtol=0, atol=LOSS_TOLERANCE
    )


# --- members are single runs ----------------------------------------------------------


@pytest.mark.parametrize('placement', ['device', 'host'])
@pytest.mark.parametrize('method', ['map', 'loop'])
def test_a_member_has_the_bits_of_a_single_run(make, method, placement):
  members = [make(**values, **{'data.placement': placement}) for values in VARIED[:5]]
  expected = train_alone(members)
  assert len({x.tobytes() for x in expected.metrics['loss_nats']}) == 5
  assert_same(train_together(members, method), expected)


@pytest.mark.slow
def test_vmap_of_any_width_agrees_with_single_runs(make):
  members = [make(**values) for values in VARIED]
  expected = train_alone(members)
  trained = {}
  for width in (1, 2, 5, 8):
    trained[width] = train_together(members[:width], 'vmap')
    assert_close(trained[width], expected.take(range(width)))
  for width in (1, 2, 5):
    assert_close(trained[width], trained[8].take(range(width)))


@pytest.mark.parametrize('method', METHODS)
def test_members_are_the_runs_of_the_train_command(small, make, method, tmp_path):
  """`lmhp.train` compiles its own dropout rate in, and logs the same losses."""
  ends = {'train.steps': N, 'evaluate.every_steps': N}
  some = [{**values, 'model.residual_dropout': 0.1, **ends} for values in VARIED[:3]]
  trained = train_together([make(**values) for values in some], method)
  is_exact = method != 'vmap'
  for i, values in enumerate(some):
    run = lmhp.train(small(**values), workdir=tmp_path / str(i), display='none')
    logged = [row['loss_nats'] for row in rows(run.workdir) if 'loss_nats' in row]
    np.testing.assert_allclose(
      np.float32(logged),
      trained.metrics['loss_nats'][i],
      rtol=0,
      atol=0 if is_exact else LOSS_TOLERANCE,
    )
    params = jax.device_get(run.params)
    tolerance = 0 if is_exact else PARAMETER_TOLERANCE
    assert distance(params, trained.states[i].params) <= tolerance


@pytest.mark.slow
def test_map_and_loop_have_these_bits_with_all_passes_of_the_compiler(
  make, monkeypatch
):
  """The other tests compile without the passes that could round a batched program."""
  for module in (chunks, population, programs):
    monkeypatch.setattr(module, 'jax', jax)
  members = [make(**values, **{'model.d_ff': 20}) for values in VARIED[:3]]
  expected = train_alone(members)
  for method in ('map', 'loop'):
    assert_same(train_together(members, method), expected)
  assert_close(train_together(members, 'vmap'), expected)


@pytest.mark.slow
@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('placement', ['device', 'host'])
def test_members_with_data_of_their_own_are_single_runs(make, placement, method):
  base = {'data.placement': placement, 'model.residual_dropout': 0.0}
  members = [make(**base, **{'data.seed': seed}) for seed in (0, 5, 6)]
  expected = train_alone(members)
  losses = expected.metrics['loss_nats']
  assert abs(losses[1] - losses[0]).max() > 0.01  # the seed of the data matters
  trained = train_together(members, method, lengths=(5, 7), data_per_member=True)
  if method == 'vmap':
    assert_close(trained, expected)
  else:
    assert_same(trained, expected)


# --- neighbours do not matter ---------------------------------------------------------


@pytest.mark.parametrize('method', METHODS)
def test_padding_and_chunks_change_no_bit(make, method):
  members = [make(**values) for values in VARIED]
  expected = train_together(members, method)
  padded = train_together(members[:5] + [members[4]] * 3, method, lengths=(5, 7))
  assert_same(padded.take(range(5)), expected.take(range(5)))


@pytest.mark.parametrize('method', METHODS)
def test_the_order_of_members_changes_no_bit(make, method):
  members = [make(**values) for values in VARIED]
  expected = train_together(members, method)
  reversed_ = train_together(members[::-1], method, lengths=(1, 1, 10))
  assert_same(reversed_.take(range(7, -1, -1)), expected)


def finite_and_diverging(make):
  """Four members, and the same four of which the second diverges."""
  finite = [make(**{**v, 'optimizer.learning_rate': 1e-3}) for v in VARIED[:4]]
  diverging = make(**{**VARIED[1], 'optimizer.learning_rate': 1e6})
  return finite, [finite[0], diverging, *finite[2:]]


@pytest.mark.parametrize('method', METHODS)
def test_a_member_that_diverges_changes_no_other(make, method):
  finite, with_diverging = finite_and_diverging(make)
  expected = train_together(finite, method, lengths=(5, 7))
  trained = train_together(with_diverging, method, lengths=(5, 7))
  assert_same(trained.take([0, 2, 3]), expected.take([0, 2, 3]))
  bad_steps = np.flatnonzero(~np.isfinite(trained.metrics['loss_nats'][1]))
  assert 0 < bad_steps[0] < N - 1
  assert np.isfinite(expected.metrics['loss_nats']).all()


def test_vmap_holds_a_member_before_its_first_nonfinite_loss(make):
  _, members = finite_and_diverging(make)
  trained = train_together(members, 'vmap', lengths=(5, 7))
  last = int(np.flatnonzero(~np.isfinite(trained.metrics['loss_nats'][1]))[0])
  before = train_together(members, 'vmap', lengths=(last,))
  assert trained.states[1].step == last
  assert bits(trained.states[1]) == bits(before.states[1])
  leaves = jax.tree.leaves(trained.states[1].params)
  assert all(np.isfinite(x).all() for x in leaves)


def test_a_held_member_stays_held_if_its_loss_is_finite_again(make):
  """Its step stays behind, and so it does in every later chunk."""
  members = [make(**values) for values in VARIED[:4]]
  states = train_together(members, 'vmap', lengths=(5,)).states
  states[1] = dataclasses.replace(states[1], step=np.int32(3))
  together = population_of(members, 'vmap')
  trained = train_together(
    members, 'vmap', lengths=(3, 4), state=together.join(states), step=5
  )
  expected = train_together(members, 'vmap', lengths=(12,))
  assert np.isfinite(trained.metrics['loss_nats']).all()
  assert bits(trained.states[1]) == bits(states[1])
  for i in (0, 2, 3):
    assert bits(trained.states[i]) == bits(expected.states[i])


@pytest.mark.parametrize('method', ['map', 'loop'])
def test_masked_members_stay_as_they_are(make, method):
  members = [make(**values) for values in VARIED[:3]]
  together = population_of(members, method)
  first_states = together.split(together.init())
  ((_, data),) = members[0].feed(0, iter([N]))
  state, metrics = together.run(
    together.init(), data, ChunkSteps(N, 0), is_training=[True, False, True]
  )
  states = together.split(state)
  expected = train_together(members, method)
  assert bits(states[1]) == bits(first_states[1])
  assert not np.asarray(metrics['loss_nats'])[1].any()
  assert bits(states[0]) == bits(expected.states[0])
  assert bits(states[2]) == bits(expected.states[2])


# --- forks that cool down -------------------------------------------------------------

FLAT = {'schedule.warmup_fraction': 0.0}
FORK_STEP = 8


def members_to_fork(make):
  """Two members without warmup: a cosine from 1 to 0.1 in 24 steps, and a constant."""
  cosine = make(**FLAT, **{'optimizer.learning_rate': 1e-2})
  constant = {'optimizer.learning_rate': 3e-3, 'schedule.name': 'constant'}
  return [cosine, make(**FLAT, **constant)]


def fork(members, method, state):
  cooldown = Cooldown(first_step=FORK_STEP, n_steps=5)
  copy = population_of(members, method).copy(state)
  return train_together(
    members, method, lengths=(3, 2), state=copy, step=FORK_STEP, cooldown=cooldown
  )


@pytest.mark.parametrize('method', METHODS)
def test_a_fork_cools_down_in_a_line_from_its_scheduled_rate(make, method):
  """The line reaches 0 one step after the end of the cooldown."""
  members = members_to_fork(make)
  state = train_together(members, method, lengths=(FORK_STEP,)).state
  rates = fork(members, method, state).metrics['learning_rate']
  cosine_at_fork = 0.1 + 0.9 * (1 + np.cos(np.pi * FORK_STEP / 24)) / 2
  line = np.array([1, 0.8, 0.6, 0.4, 0.2])
  np.testing.assert_allclose(rates[0], 1e-2 * cosine_at_fork * line, rtol=1e-6)
  np.testing.assert_allclose(rates[1], 3e-3 * line, rtol=1e-6)


@pytest.mark.parametrize('method', METHODS)
def test_a_run_goes_on_after_a_fork_as_if_there_was_none(make, method):
  members = members_to_fork(make)
  state = train_together(members, method, lengths=(FORK_STEP,)).state
  forked = fork(members, method, state)
  resumed = train_together(members, method, lengths=(4,), state=state, step=FORK_STEP)
  expected = train_together(members, method, lengths=(12,))
  assert_same(resumed, expected.take([0, 1], slice(FORK_STEP, None)))
  losses = resumed.metrics['loss_nats'][:, 1:]
  assert np.any(forked.metrics['loss_nats'][:, 1:4] != losses)


def test_without_a_cooldown_the_schedule_is_that_of_the_run(make, jit):
  """A loop without any cooldown, written here, gives the same bits."""
  member = make(**VARIED[1])
  trained = train_alone([member])
  ((_, data),) = member.feed(0, iter([N]))

  def run_without_cooldown(state, hypers, data):
    steps_S = np.arange(member.max_chunk_steps)
    schedule_S = jax.vmap(
      lambda step: unit_schedule(hypers['schedule'], step, member._total_steps)
    )(steps_S)

    def body(i, carry):
      state, metrics = carry
      batch = member._take_batch(data, hypers, i, i)
      state, values = member._update(state, hypers, batch, schedule_S[i])
      return state, {name: metrics[name].at[i].set(values[name]) for name in metrics}

    zeros = {name: np.zeros(member.max_chunk_steps, np.float32) for name in METRICS}
    return jax.lax.fori_loop(0, N, body, (state, zeros))

  first_state = member.init(member.hypers)
  state, metrics = jit(run_without_cooldown)(first_state, member.hypers, data)
  assert bits(trained.states[0]) == bits(state)
  for name, values in trained.metrics.items():
    assert values[0].tobytes() == np.asarray(metrics[name])[:N].tobytes()


# --- compilations and devices ---------------------------------------------------------


@pytest.mark.parametrize('method', ['vmap', 'map'])
def test_a_width_is_compiled_once(make, method):
  members = [make(**values, **{'model.d_ff': 17}) for values in VARIED]
  first = population_of(members[:4], method)
  ((_, data),) = members[0].feed(0, iter([N]))
  state = first.init()
  with compilations() as compiled:
    state, _ = first.run(state, data, ChunkSteps(5, 0))
  assert len(compiled) == 1
  assert first.compile_seconds > 0

  # Other lengths, a cooldown, a mask and other members use the same program.
  second = Population(members[0], [m.hypers for m in members[4:]], method)
  with compilations() as compiled:
    steps = ChunkSteps(3, 5, Cooldown(5, 3))
    first.run(state, data, steps, is_training=[True, False, True, True])
    second.run(second.init(), data, ChunkSteps(7, 0))
  assert not compiled
  assert second.compile_seconds == 0


@pytest.mark.parametrize('method', METHODS)
def test_a_program_that_was_compiled_ahead_runs(make, method):
  d_ff = {'vmap': 18, 'map': 19, 'loop': 21}[method]
  members = [make(**values, **{'model.d_ff': d_ff}) for values in VARIED[:2]]
  ((_, data),) = members[0].feed(0, iter([N]))
  together = population_of(members, method)
  with compilations() as compiled_ahead:
    together.compile_chunk(data)
  state = together.init()
  with compilations() as compiled:
    together.run(state, data, ChunkSteps(N, 0))
  assert len(compiled_ahead) == 1
  assert not compiled


def test_the_members_must_divide_among_the_devices(make):
  members = [make(**values) for values in VARIED[:3]]
  with pytest.raises(ValueError, match='^3 members on 2 devices: '):
    population_of(members, 'map', devices=jax.devices()[:2])


@pytest.mark.slow
@pytest.mark.parametrize('method', METHODS)
def test_scores_are_those_of_single_runs(make, method):
  members = [make(**values) for values in VARIED[:3]]
  trained = train_together(members, method)
  together = population_of(members, method)
  first = members[0]
  batches = first.stream.host_batches(first.hypers['data'], 99, 4, 1)
  batch = jax.tree.map(lambda x: x[0], batches)
  bytes_V = np.arange(first.model.cfg.vocab_size, dtype=np.int32) % 3
  inputs = ScoreInputs(batch, bytes_V)
  scores = together.score(trained.state, inputs)
  for i, member in enumerate(members):
    expected = member.score(trained.states[i], member.hypers, inputs)
    assert scores.keys() == expected.keys()
    for name in expected:
      rtol = 1e-6 if method == 'vmap' else 0
      np.testing.assert_allclose(scores[name][i], expected[name], rtol=rtol)


@pytest.mark.slow
def test_the_memory_of_a_chunk_grows_with_the_width(make):
  members = [make(**values, **{'model.d_ff': 22}) for values in VARIED]
  ((_, data),) = members[0].feed(0, iter([N]))
  one = population_of(members[:1], 'vmap').chunk_bytes(data)
  eight = population_of(members, 'vmap').chunk_bytes(data)
  assert 4 * one < eight < 12 * one


# --- map_members ----------------------------------------------------------------------


def test_map_members_takes_a_tree_of_axes():
  def function(state, hypers, shift):
    return state['x'] * hypers['a'] + hypers['b'] + shift

  state = {'x': jnp.arange(6.0).reshape(3, 2)}
  hypers = {'a': jnp.array([1.0, 2.0, 3.0]), 'b': 10.0}
  axes = (0, {'a': 0, 'b': None}, None)
  got = map_members(function, axes, state, hypers, 100.0)
  expected = jax.vmap(function, in_axes=axes)(state, hypers, 100.0)
  np.testing.assert_array_equal(got, expected)


def test_the_number_of_members_in_flight_depends_on_the_device():
  member = types.SimpleNamespace(
    program_cache=types.SimpleNamespace(compile_seconds=0.0)
  )
  on_cpu = Population(member, [{}], 'loop')
  gpu = types.SimpleNamespace(platform='gpu')
  assert on_cpu.n_in_flight() >= 1
  assert Population(member, [{}], 'loop', devices=[gpu]).n_in_flight() == 1
