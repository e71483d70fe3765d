"""Populations: a member is the solo run, whoever its neighbours and whatever the method; forks, freezing, compiles."""

import contextlib
import dataclasses

import jax
import numpy as np
import pytest
from small_runs import QuickJax, bits, rows

import lmhp
from lmhp import config as config_lib
from lmhp.data import dataset as datasets
from lmhp.data.stream import TrainStream
from lmhp.optim.schedules.evaluation import unit_schedule
from lmhp.training import population, programs
from lmhp.training.chunks import ChunkSteps, Cooldown
from lmhp.training.evaluation import ScoreInputs
from lmhp.training.population import METHODS, Population
from lmhp.training.programs import Programs
from lmhp.training.step import METRICS

N = 12
LOSS = 2e-6  # nats: ten units in the last place of losses of about 3, after N steps
PARAMETERS = 1e-4  # of a leaf's norm: Adam makes a whole update of a gradient that is nothing but rounding
PRESENT = ('model.residual_dropout',)
VARIED = (  # everything that a pack may vary; the first has no dropout
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


@pytest.fixture
def solo(small, monkeypatch, jit):
  """`solo(**values)`: the programs of one run, as `lmhp.train` makes them, but with dropout always traced."""
  monkeypatch.setattr(population, 'jax', QuickJax(jit))

  def make(**values):
    cfg = config_lib.resolve(small(**values))
    dataset = datasets.load(cfg.data)
    cfg = config_lib.complete(
      cfg, vocab_size=dataset.vocab_size, tokens_per_epoch=5000, dtype='float32'
    )
    return Programs(
      cfg, TrainStream(dataset, cfg.train.seq_len, cfg.data), dataset.sha256, PRESENT
    )

  return make


def train(programs, n=N, state=None, step=0):
  """The state after n steps, and their metrics {name: (n,)}."""
  state = programs.init(programs.hypers) if state is None else state
  ((_, data),) = programs.feed(step, iter([n]))
  state, metrics = programs.chunk(state, programs.hypers, data, ChunkSteps(n, step))
  return state, {name: np.asarray(x)[:n] for name, x in metrics.items()}


def together(
  members,
  method,
  lengths=(N,),
  own=False,
  state=None,
  step=0,
  cooldown=Cooldown(),
  **options,
):
  """The members' states after chunks of these lengths, their metrics {name: (R, S)}, and the population's state."""
  first, hypers = members[0], [m.hypers for m in members]
  streamed = own and not first.stream.resident
  population = Population(
    first, hypers, method, own, 0 if streamed else None, **options
  )
  state = population.init() if state is None else state
  feeds = [m.feed(step, iter(lengths)) for m in (members if streamed else members[:1])]
  chunks = []
  for fed in zip(*feeds):
    n, data = fed[0][0], [d for _, d in fed]
    data = jax.tree.map(lambda *x: np.stack(x), *data) if streamed else data[0]
    state, metrics = population.run(state, data, ChunkSteps(n, step, cooldown))
    chunks.append({name: np.asarray(x)[:, :n] for name, x in metrics.items()})
    step += n
  return (
    population.split(state),
    {n: np.concatenate([c[n] for c in chunks], 1) for n in chunks[0]},
    state,
  )


def assert_same(got, want):
  """States and metrics of members, bit for bit."""
  assert len(got[0]) == len(want[0])
  for i, (mine, other) in enumerate(zip(got[0], want[0])):
    assert bits(mine) == bits(other), f'member {i}'
  assert got[1].keys() == want[1].keys()
  for name in got[1]:
    assert got[1][name].tobytes() == want[1][name].tobytes(), name


def far(params, others):
  """The largest distance of two leaves, as a share of their norm."""
  norm = lambda x: np.linalg.norm(np.asarray(x, np.float64))
  return max(
    jax.tree.leaves(jax.tree.map(lambda a, b: norm(a - b) / norm(b), params, others))
  )


def assert_close(got, want):
  for mine, other in zip(got[0], want[0], strict=True):
    assert far(mine.params, other.params) < PARAMETERS
    assert mine.step == other.step
  for name in ('loss_nats', 'objective_nats', 'learning_rate'):
    np.testing.assert_allclose(got[1][name], want[1][name], rtol=0, atol=LOSS)


def alone(members, n=N):
  """What `together` gives of members, each run alone."""
  runs = [train(m, n) for m in members]
  return [jax.device_get(state) for state, _ in runs], {
    k: np.stack([m[k] for _, m in runs]) for k in runs[0][1]
  }


@contextlib.contextmanager
def compiles():
  """What XLA compiles meanwhile, one entry each."""
  seen = []
  listen = lambda name, seconds, **about: (
    seen.append(name) if name.endswith('backend_compile_duration') else None
  )
  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    yield seen
  finally:
    jax.monitoring.unregister_event_duration_listener(listen)


# --- members are solo runs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize('placement', ['device', 'host'])
@pytest.mark.parametrize('method', ['map', 'loop'])
def test_a_member_has_the_solo_runs_bits(solo, method, placement):
  members = [solo(**values, **{'data.placement': placement}) for values in VARIED[:5]]
  want = alone(members)
  assert len({x.tobytes() for x in want[1]['loss_nats']}) == 5
  assert_same(together(members, method), want)


def test_vmap_agrees_with_the_solo_runs_whatever_its_width(solo):
  members = [solo(**values) for values in VARIED]
  want, at = alone(members), {}
  for width in (1, 2, 5, 8):
    at[width] = together(members[:width], 'vmap')
    assert_close(
      at[width], (want[0][:width], {n: x[:width] for n, x in want[1].items()})
    )
  for width in (1, 2, 5):
    assert_close(
      at[width], (at[8][0][:width], {n: x[:width] for n, x in at[8][1].items()})
    )


@pytest.mark.parametrize('method', METHODS)
def test_members_are_what_train_makes(small, solo, method, tmp_path):
  """The verb itself: its rows and its last parameters, dropout compiled in by the run's own rate."""
  some = [
    {**v, 'model.residual_dropout': 0.1, 'train.steps': N, 'evaluate.every_steps': N}
    for v in VARIED[:3]
  ]
  states, metrics, _ = together([solo(**values) for values in some], method)
  for i, values in enumerate(some):
    run = lmhp.train(small(**values), workdir=tmp_path / str(i), display='none')
    logged = [row for row in rows(run.workdir) if 'loss_nats' in row]
    exact = method != 'vmap'
    losses = np.float32([row['loss_nats'] for row in logged])
    np.testing.assert_allclose(
      losses, metrics['loss_nats'][i], rtol=0, atol=0 if exact else LOSS
    )
    assert far(jax.device_get(run.params), states[i].params) <= (
      0 if exact else PARAMETERS
    )


@pytest.mark.slow
def test_map_and_loop_have_the_solo_runs_bits_with_the_compiler_at_full_strength(
  solo, monkeypatch
):
  """The other tests compile quickly, without the passes that could round a program and its batched form otherwise."""
  for module in (population, programs):
    monkeypatch.setattr(module, 'jax', jax)
  members = [solo(**values, **{'model.d_ff': 20}) for values in VARIED[:3]]
  want = alone(members)
  for method in ('map', 'loop'):
    assert_same(together(members, method), want)
  assert_close(together(members, 'vmap'), want)


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('placement', ['device', 'host'])
def test_data_of_its_own_is_the_solo_runs(solo, placement, method):
  base = {'data.placement': placement, 'model.residual_dropout': 0.0}
  members = [solo(**base, **{'data.seed': seed}) for seed in (0, 5, 6)]
  want = alone(members)
  assert (
    abs(want[1]['loss_nats'][1] - want[1]['loss_nats'][0]).max() > 0.01
  )  # the seed matters
  (assert_close if method == 'vmap' else assert_same)(
    together(members, method, lengths=(5, 7), own=True), want
  )


# --- nobody else matters ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize('method', METHODS)
def test_neighbours_places_and_chunks_change_no_bit(solo, method):
  members = [solo(**values) for values in VARIED]
  states, metrics, _ = together(members, method)
  padded = together(members[:5] + [members[4]] * 3, method, lengths=(5, 7))
  assert_same(
    (padded[0][:5], {n: x[:5] for n, x in padded[1].items()}),
    (states[:5], {n: x[:5] for n, x in metrics.items()}),
  )
  turned = together(members[::-1], method, lengths=(1, 1, 10))
  assert_same(
    (turned[0][::-1], {n: x[::-1] for n, x in turned[1].items()}), (states, metrics)
  )


@pytest.mark.parametrize('method', METHODS)
def test_a_member_that_breaks_hurts_nobody(solo, method):
  sane = [solo(**{**values, 'optimizer.learning_rate': 1e-3}) for values in VARIED[:4]]
  wild = [*sane[:1], solo(**{**VARIED[1], 'optimizer.learning_rate': 1e6}), *sane[2:]]
  (quiet, calm, _), (loud, torn, _) = (
    together(sane, method, lengths=(5, 7)),
    together(wild, method, lengths=(5, 7)),
  )
  others = [0, 2, 3]
  assert_same(
    ([loud[i] for i in others], {n: x[others] for n, x in torn.items()}),
    ([quiet[i] for i in others], {n: x[others] for n, x in calm.items()}),
  )
  bad = np.flatnonzero(~np.isfinite(torn['loss_nats'][1]))
  assert 0 < bad[0] < N - 1 and np.isfinite(calm['loss_nats']).all()
  if method == 'vmap':  # left as it was before the step that broke it
    before, _, _ = together(wild, method, lengths=(bad[0],))
    assert loud[1].step == bad[0] and bits(loud[1]) == bits(before[1])
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(loud[1].params))


def test_a_frozen_member_stays_so_though_its_loss_is_finite_again(solo):
  """As after a batch that alone was too much for it: its step is behind, and so it is in every later chunk."""
  members = [solo(**values) for values in VARIED[:4]]
  states, _, _ = together(members, 'vmap', lengths=(5,))
  frozen = [states[0], dataclasses.replace(states[1], step=np.int32(3)), *states[2:]]
  population = Population(members[0], [m.hypers for m in members], 'vmap')
  after, metrics, _ = together(
    members, 'vmap', lengths=(3, 4), state=population.join(frozen), step=5
  )
  want, _, _ = together(members, 'vmap', lengths=(12,))
  assert np.isfinite(metrics['loss_nats']).all() and bits(after[1]) == bits(frozen[1])
  assert [bits(after[i]) for i in (0, 2, 3)] == [bits(want[i]) for i in (0, 2, 3)]


@pytest.mark.parametrize('method', ['map', 'loop'])
def test_members_that_are_out_are_left_as_they_are(solo, method):
  members = [solo(**values) for values in VARIED[:3]]
  population = Population(members[0], [m.hypers for m in members], method)
  start = population.split(population.init())
  ((_, data),) = members[0].feed(0, iter([N]))
  state, metrics = population.run(
    population.init(), data, ChunkSteps(N, 0), is_training=[True, False, True]
  )
  after, want = population.split(state), together(members, method)[0]
  assert (
    bits(after[1]) == bits(start[1]) and not np.asarray(metrics['loss_nats'])[1].any()
  )
  assert bits(after[0]) == bits(want[0]) and bits(after[2]) == bits(want[2])


# --- forks that cool down ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize('method', METHODS)
def test_a_fork_cools_down_in_a_line_from_where_the_schedule_stood(solo, method):
  """The rates by hand: a cosine from 1 at step 0 to 0.1 at step 24, left for a line to 0 one step after its end."""
  flat = {'schedule.warmup_fraction': 0.0, 'optimizer.learning_rate': 3e-3}
  members = [
    solo(**{**flat, 'optimizer.learning_rate': 1e-2}),
    solo(**flat, **{'schedule.name': 'constant'}),
  ]
  population = Population(members[0], [m.hypers for m in members], method)
  _, _, state = together(members, method, lengths=(8,))
  fork = population.copy(state)
  _, cooled, _ = together(
    members, method, lengths=(3, 2), state=fork, step=8, cooldown=Cooldown(8, 5)
  )
  at_8 = 0.1 + 0.9 * (1 + np.cos(np.pi * 8 / 24)) / 2
  line = np.array([1, 0.8, 0.6, 0.4, 0.2])
  np.testing.assert_allclose(cooled['learning_rate'][0], 1e-2 * at_8 * line, rtol=1e-6)
  np.testing.assert_allclose(cooled['learning_rate'][1], 3e-3 * line, rtol=1e-6)
  after, metrics, _ = together(
    members, method, lengths=(4,), state=state, step=8
  )  # the run that was forked goes on
  whole, uncut, _ = together(members, method, lengths=(12,))
  assert_same((after, metrics), (whole, {n: x[:, 8:] for n, x in uncut.items()}))
  assert np.any(cooled['loss_nats'][:, 1:4] != metrics['loss_nats'][:, 1:])


def test_without_a_cooldown_the_schedule_is_the_plain_one(solo, jit):
  """The same bits as updates whose schedule knows of no cooldown, in a loop written here."""
  programs = solo(**VARIED[1])
  state, metrics = train(programs)
  ((_, data),) = programs.feed(0, iter([N]))

  def plain(state, hypers, data):
    schedule_S = jax.vmap(
      lambda step: unit_schedule(hypers['schedule'], step, programs._total_steps)
    )(np.arange(programs.capacity))

    def body(i, carry):
      state, metrics = carry
      state, now = programs._update(
        state, hypers, programs._take_batch(data, hypers, i, i), schedule_S[i]
      )
      return state, {name: metrics[name].at[i].set(now[name]) for name in metrics}

    zeros = {name: np.zeros(programs.capacity, np.float32) for name in METRICS}
    return jax.lax.fori_loop(0, N, body, (state, zeros))

  bare, expected = jit(plain)(programs.init(programs.hypers), programs.hypers, data)
  assert bits(state) == bits(bare)
  for name, values in metrics.items():
    assert values.tobytes() == np.asarray(expected[name])[:N].tobytes()


# --- compiles and places ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize('method', ['vmap', 'map'])
def test_one_compile_for_a_width(solo, method):
  members = [solo(**values, **{'model.d_ff': 17}) for values in VARIED]
  population = Population(members[0], [m.hypers for m in members[:4]], method)
  ((_, data),) = members[0].feed(0, iter([N]))
  state = population.init()
  with compiles() as seen:
    state, metrics = population.run(state, data, ChunkSteps(5, 0))
  assert len(seen) == 1 and population.compile_seconds > 0
  other = Population(members[0], [m.hypers for m in members[4:]], method)
  with compiles() as seen:
    state, _ = population.run(
      state,
      data,
      ChunkSteps(3, 5, Cooldown(5, 3)),
      is_training=[True, False, True, True],
    )
    other.run(other.init(), data, ChunkSteps(7, 0))
  assert not seen and other.compile_seconds == 0


def test_what_was_compiled_ahead_is_what_runs(solo):
  members = [solo(**values, **{'model.d_ff': 18}) for values in VARIED[:2]]
  ((_, data),) = members[0].feed(0, iter([N]))
  for method in METHODS:
    population = Population(members[0], [m.hypers for m in members], method)
    with compiles() as ahead:
      population.compile_chunk(data)
    state = population.init()
    with compiles() as seen:
      population.run(state, data, ChunkSteps(N, 0))
    assert len(ahead) == 1 and not seen, method


def test_a_population_that_the_devices_cannot_share(solo):
  members = [solo(**values) for values in VARIED[:3]]
  with pytest.raises(ValueError, match='3 members on 2 devices'):
    Population(
      members[0], [m.hypers for m in members], 'map', devices=jax.devices()[:2]
    )


@pytest.mark.parametrize('method', METHODS)
def test_scores_are_the_solo_runs(solo, method):
  members = [solo(**values) for values in VARIED[:3]]
  states, _, state = together(members, method)
  population = Population(members[0], [m.hypers for m in members], method)
  stream = members[0].stream
  batch = jax.tree.map(
    lambda x: x[0], stream.host_batches(members[0].hypers['data'], 99, 4, 1)
  )
  bytes_V = np.arange(members[0].model.cfg.vocab_size, dtype=np.int32) % 3
  inputs = ScoreInputs(batch, bytes_V)
  got = population.score(state, inputs)
  for i, member in enumerate(members):
    for name, sums in member.score(states[i], member.hypers, inputs).items():
      np.testing.assert_allclose(
        got[name][i], sums, rtol=0 if method != 'vmap' else 1e-6
      )
