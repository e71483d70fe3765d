"""Packs: what a trial finds depends neither on its neighbours, nor on stops, nor on where its state was kept."""

import dataclasses
import json
import math

from etils import epath
import jax
import numpy as np
import pytest
from small_runs import QuickJax, bits

import lmhp
from lmhp.sweeping.execution import curves, pack_run
from lmhp.sweeping.execution.job_table import JobTable
from lmhp.sweeping.execution.pack_states import PackStateStore
from lmhp.sweeping.execution.packs import Pack, PackRunOptions, Stopped, read_result
from lmhp.sweeping.execution.stages import StateRef
from lmhp.sweeping.tasks.language_model import LanguageModel
from lmhp.training import chunks, population
from lmhp.training.chunks import ChunkSteps
from lmhp.training.population import METHODS

PRESENT = ('model.residual_dropout',)
OVERRIDES = (
  {'optimizer.learning_rate': 1e-3, 'train.seed': 4},
  {'model.residual_dropout': 0.2},
  {'schedule.name': 'wsd_linear', 'optimizer.weight_decay': 0.3},
  {'optimizer.learning_rate': 1e-2},
)
WILD = {'optimizer.learning_rate': 1e6}


@pytest.fixture
def task(small, monkeypatch, jit):
  """`task(**values)`: lmhp's trainer as a sweep has it; chunks are of four steps and then of one."""
  monkeypatch.setattr(population, 'jax', QuickJax(jit))
  monkeypatch.setattr(chunks, 'CHUNK_SECONDS', 1e-9)
  return lambda **values: LanguageModel(
    small(**{'evaluate.final_sequences': 5} | values), present=PRESENT
  )


@pytest.fixture
def prepare(task, tmp_path):
  """`prepare(study, overrides, **pack)`: a pack of a study, in a directory of its own, ready to run."""

  def make(study='study', overrides=OVERRIDES, values=(), options=(), **fields):
    mine, workdir = task(**dict(values)), epath.Path(tmp_path / study)
    n = len(overrides)
    given = {
      'name': 'a',
      'trials': tuple(range(10, 10 + n)),
      'sources': (None,) * n,
      'first_step': 0,
      'last_step': 9,
      'width': n,
      'keep_states': True,
      'method': 'map',
    }
    pack = Pack(**given | fields)
    by_trial = dict(zip(pack.trials, overrides))
    states = PackStateStore(JobTable(mine, by_trial.__getitem__), workdir)
    return states.run(states.write_spec(pack).name, PackRunOptions(**dict(options)))

  return make


def rows_of(run):
  """The curves that a pack left: {trial: rows}, of each row what is known."""
  rows = curves.read(run.workdir / 'curves' / f'{run.pack.name}.parquet').to_pylist()
  known = lambda row: {n: row[n] for n in sorted(row) if row[n] is not None}
  return {t: [known(row) for row in rows if row['trial'] == t] for t in run.pack.trials}


def found(run, result):
  """All that a pack found but times: its result in memory and on the disk, its curves and its states."""
  known = lambda result: {
    n: getattr(result, n) for n in ('metrics', 'nonfinite_steps', 'device')
  }
  text = json.dumps(known(result), sort_keys=True)  # NaN is like NaN there
  assert json.dumps(known(read_result(run.directory)), sort_keys=True) == text
  return text, json.dumps(rows_of(run)), [bits(state) for state in result.states]


def alone(task, values):
  """The last state of one trial's solo run, its losses and its evaluation."""
  job = task.job(values)
  programs, state, losses = task.member(job), task.member(job).init(job.hypers), []
  for n, data in programs.feed(0, iter([job.steps]), job.hypers):
    state, metrics = programs.chunk(state, job.hypers, data, ChunkSteps(n, 0))
    losses += np.asarray(metrics['loss_nats'])[:n].tolist()
  return state, losses


# --- a member is the solo run -----------------------------------------------------------------------------------------


@pytest.mark.parametrize('method', METHODS)
def test_a_trial_of_a_pack_is_the_run_that_train_makes(
  prepare, small, method, tmp_path
):
  """Losses, last scores and parameters, dropout and all; the pack has a place too many."""
  some = [
    {**values, 'model.residual_dropout': 0.1 + 0.1 * i}
    for i, values in enumerate(OVERRIDES[:3])
  ]
  run = prepare(
    overrides=some,
    width=3 if method == 'loop' else 4,
    last_step=24,
    final=True,
    method=method,
  )
  result = run.run()
  loss, share = (0, 0) if method != 'vmap' else (5e-6, 1e-4)
  for i, values in enumerate(some):
    solo = lmhp.train(
      small(**values, **{'evaluate.final_sequences': 5}),
      workdir=tmp_path / str(i),
      display='none',
    )
    mine = [row['loss_nats'] for row in rows_of(run)[10 + i]]
    np.testing.assert_allclose(
      mine, np.float32(solo.history['loss_nats']), rtol=0, atol=loss
    )
    for name, value in result.metrics[i].items():
      if name.startswith('eval_'):
        np.testing.assert_allclose(
          value, solo.result[f'final_{name}'], rtol=max(loss, 1e-6), err_msg=name
        )
    for mine, other in zip(
      jax.tree.leaves(result.states[i].params),
      jax.tree.leaves(solo.params),
      strict=True,
    ):
      assert np.linalg.norm(mine - other) <= share * np.linalg.norm(other)


@pytest.mark.parametrize('placement', ['device', 'host'])
@pytest.mark.parametrize('method', METHODS)
def test_shared_data_is_the_first_ones_and_own_data_is_each_ones(
  prepare, placement, method
):
  """Members alike but for data.seed: under shared data they are one and the same run, else each is its solo run."""
  seeds = [{'data.seed': seed} for seed in (3, 0)]
  values = {'data.placement': placement, 'train.steps': 9}
  for own in (False, True):
    run = prepare(str(own), seeds, values, method=method, data_per_trial=own)
    result = run.run()
    for i, read in enumerate(seeds if own else [seeds[0]] * 2):
      state, losses = alone(run.task, read)
      np.testing.assert_allclose(
        [row['loss_nats'] for row in rows_of(run)[10 + i]],
        losses,
        rtol=0,
        atol=0 if method != 'vmap' else 2e-6,
      )
      if method != 'vmap':
        assert bits(result.states[i]) == bits(state)
  assert abs(np.subtract(alone(run.task, seeds[0])[1], losses)).max() > 0.01


# --- who else is there ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('method', METHODS)
def test_a_trial_that_diverges_leaves_the_others_their_bits(prepare, method):
  sane, wild = (
    [*OVERRIDES[:3], {'optimizer.learning_rate': 1e-3}],
    [*OVERRIDES[:3], WILD],
  )
  width = 4 if method == 'loop' else 8  # whatever repeats the diverging one
  calm, torn = (
    prepare(s, o, width=width, method=method, cooldown_steps=3)
    for s, o in (('c', sane), ('t', wild))
  )
  want, got = calm.run(), torn.run()
  assert want.nonfinite_steps == (None,) * 4 and got.nonfinite_steps[:3] == (None,) * 3
  assert got.metrics[:3] == want.metrics[:3]
  assert [bits(state) for state in got.states[:3]] == [
    bits(state) for state in want.states[:3]
  ]
  assert {t: rows_of(torn)[t] for t in (10, 11, 12)} == {
    t: rows_of(calm)[t] for t in (10, 11, 12)
  }
  ended = [row['step'] for row in rows_of(torn)[13]]
  losses = [row['loss_nats'] for row in rows_of(torn)[13]]
  assert (
    ended == list(range(1, got.nonfinite_steps[3] + 1))
    and 1 < got.nonfinite_steps[3] < 9
  )
  assert np.isfinite(losses[:-1]).all() and not np.isfinite(losses[-1])
  assert all(
    math.isnan(x) for name, x in got.metrics[3].items() if name.startswith('eval_')
  )
  if method == 'vmap':
    assert got.states[3].step == got.nonfinite_steps[3] - 1
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(got.states[3].params))


@pytest.mark.parametrize('method', METHODS)
def test_a_pack_whose_trials_all_diverge_ends(prepare, method):
  run = prepare(
    overrides=[WILD, {**WILD, 'train.seed': 1}],
    method=method,
    cooldown_steps=3,
    last_step=24,
  )
  trained = []
  run.options = dataclasses.replace(
    run.options, show=lambda step, metrics: trained.append(step)
  )
  result = run.run()
  assert all(1 < at < 9 for at in result.nonfinite_steps) and trained[-1] < 24
  assert all(math.isnan(m['eval_loss_nats']) for m in result.metrics)


@pytest.mark.parametrize('method', METHODS)
def test_a_fork_that_diverges_scores_nothing_and_the_trial_goes_on(prepare, method):
  """Stopped a step before it breaks, the wild one is whole; its cooldown is what breaks."""
  overrides = [OVERRIDES[0], WILD]
  at = prepare('whole', overrides, method=method).run().nonfinite_steps[1]
  result = prepare(
    'fork', overrides, method=method, last_step=at - 1, cooldown_steps=4
  ).run()
  assert result.nonfinite_steps == (None, None)
  assert math.isfinite(result.metrics[0]['eval_loss_nats']) and math.isnan(
    result.metrics[1]['eval_loss_nats']
  )


@pytest.mark.parametrize('method', METHODS)
def test_a_fork_leaves_the_state_that_goes_on_untouched(prepare, method):
  plain, forked = (
    prepare('plain', method=method).run(),
    prepare('forked', method=method, cooldown_steps=5).run(),
  )
  assert [bits(state) for state in plain.states] == [
    bits(state) for state in forked.states
  ]
  assert all(
    a['eval_loss_nats'] != b['eval_loss_nats']
    for a, b in zip(plain.metrics, forked.metrics)
  )
  assert [a['loss_nats'] for a in plain.metrics] == [
    b['loss_nats'] for b in forked.metrics
  ]


@pytest.mark.parametrize('method', METHODS)
def test_64_trials_compile_their_step_once_and_another_64_nothing(prepare, method):
  """Learning rate, weight decay, b2, clip, warmup, schedule family, dropout (0 among them) and seed all vary."""

  def trials(seed):
    rng = np.random.default_rng(seed)
    families = (
      'cosine',
      'linear',
      'constant',
      'wsd_linear',
      'inverse_sqrt',
      'one_cycle',
      'step',
      'rex',
    )
    return [
      {
        'optimizer.learning_rate': 10 ** rng.uniform(-4, -1),
        'optimizer.weight_decay': rng.uniform(0, 1),
        'optimizer.b2': rng.uniform(0.9, 0.999),
        'optimizer.clip_norm': (0.3, math.inf)[i % 2],
        'schedule.warmup_fraction': rng.uniform(0, 0.5),
        'schedule.name': families[i % 8],
        'model.residual_dropout': (0.0, 0.1, 0.3)[i % 3],
        'train.seed': int(rng.integers(2**32)),
      }
      for i in range(64)
    ]

  values = {
    'model.d_ff': 21 + METHODS.index(method),
    'train.steps': 6,
  }  # a structure that nobody has compiled
  first, second = (
    prepare(str(i), trials(i), values, method=method, last_step=6, name=str(i))
    for i in range(2)
  )
  second.task = first.task
  assert len({job.structure for job in first.jobs + second.jobs}) == 1
  traced, compiled = [], []
  programs = first.population.member
  update = programs._update
  programs._update = lambda *a: traced.append(1) or update(*a)
  listen = lambda name, seconds, **about: (
    compiled.append(name) if name.endswith('backend_compile_duration') else None
  )
  stepped = first.population.run
  first.population.run = lambda *a, **k: (
    compiled.clear(),
    stepped(*a, **k),
    calls.append(len(compiled)),
  )[1]
  calls = []
  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    one = first.run()
    assert (
      calls == [1] + [0] * (len(calls) - 1) and len(calls) > 1 and len(traced) <= 2
    )  # a loop's body: twice
    programs_of_second, traced[:], compiled[:] = second.population.member, [], []
    programs_of_second._update = programs._update
    two = second.run()
  finally:
    jax.monitoring.unregister_event_duration_listener(listen)
  assert not compiled and not traced and two.compile_seconds == 0 < one.compile_seconds
  assert len({m['loss_nats'] for m in one.metrics + two.metrics}) == 128


# --- whenever it is stopped -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
  'method, placement', [*((m, 'device') for m in METHODS), ('map', 'host')]
)
def test_stopped_at_every_chunk_it_ends_in_the_same_bits(prepare, method, placement):
  """A trial breaks on the way, another evaluation lies between, a fork is scored at the end."""
  overrides = [*OVERRIDES[:2], WILD]
  values = {'data.placement': placement, 'evaluate.every_steps': 7}
  same = dict(overrides=overrides, values=values, method=method, cooldown_steps=3)
  whole = prepare('whole', **same)
  want, boundaries = found(whole, whole.run()), []
  result = None
  while result is None:  # each process trains one chunk and is stopped
    run = prepare('often', **same, options={'should_stop': [True, False].pop})
    run.options = dataclasses.replace(
      run.options, show=lambda step, metrics: boundaries.append(step)
    )
    try:
      result = run.run()
    except Stopped:
      assert run.read() is None and not (run.workdir / 'curves').exists()
  got = found(run, result)
  alike = (
    3 if method == 'vmap' else 2
  )  # elsewhere a broken one is left wherever its chunk ended
  assert got[:2] == want[:2] and got[2][:alike] == want[2][:alike]
  assert (
    len(boundaries) >= 3
    and boundaries == sorted(set(boundaries))
    and boundaries[-1] == 9
  )


def test_stopped_before_the_first_step(prepare):
  whole = prepare('whole')
  want = found(whole, whole.run())
  with pytest.raises(Stopped):
    prepare('late', options={'should_stop': lambda: True}).run()
  run = prepare('late')
  assert found(run, run.run()) == want


def test_the_result_is_written_last_and_once(prepare, monkeypatch):
  written, write = [], pack_run.write_result

  def watch(directory, result):
    curve = run.workdir / 'curves' / f'{run.pack.name}.parquet'
    written.append(curve.exists())
    write(directory, result)

  monkeypatch.setattr(pack_run, 'write_result', watch)
  run = prepare()
  first = run.run()
  assert written == [True]
  at = (run.directory / 'result.json').stat().mtime
  again = prepare().run()
  assert (
    again == dataclasses.replace(first, states=None) and len(written) == 1
  )  # read, not trained
  remade = prepare().run(again=True)
  assert [bits(s) for s in remade.states] == [
    bits(s) for s in first.states
  ] and remade.metrics == first.metrics
  assert len(written) == 1 and (run.directory / 'result.json').stat().mtime == at


def test_a_pack_that_dies_as_it_writes_its_result_is_not_done(prepare, monkeypatch):
  whole = prepare('whole')
  want = found(whole, whole.run())

  def dies(*arguments):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(pack_run, 'write_result', dies)
    with pytest.raises(KeyboardInterrupt):
      prepare('dead').run()
  run = prepare('dead')
  assert run.read() is None and found(run, run.run()) == want


def test_results_that_are_not_numbers_come_back(prepare):
  run = prepare(overrides=[OVERRIDES[0], WILD])
  result = run.run()
  read = run.read()
  assert (
    math.isnan(read.metrics[1]['eval_loss_nats'])
    and read.nonfinite_steps == result.nonfinite_steps
  )
  assert read.metrics[0] == result.metrics[0] and read.states is None


# --- states between packs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize('method', METHODS)
def test_states_are_the_same_from_memory_from_the_disk_and_made_again(prepare, method):
  """And a pack that starts from them, its members in another order, is the run that was never cut."""
  whole = prepare('whole', method=method, last_step=15).run()
  width = 4 if method == 'loop' else 8
  first = prepare(method=method, width=width, options={'worth_saving_seconds': 0})
  result = first.run()
  assert (first.directory / 'checkpoints' / '9').exists()
  values = {10 + i: values for i, values in enumerate(OVERRIDES)}
  memory, disk, again = (
    PackStateStore(JobTable(first.task, values.__getitem__), first.workdir)
    for _ in range(3)
  )
  name = first.pack.name
  memory.save(name, result.states)
  second = Pack(
    'b',
    (12, 10),
    (StateRef(name, 2), StateRef(name, 0)),
    9,
    15,
    method=method,
    width=2,
    keep_states=True,
  )
  got = []
  for states in (memory, disk, again):
    if states is again:
      disk.clear()
      assert not (first.directory / 'checkpoints').exists()
    got.append([bits(states.load(StateRef(name, i))) for i in range(4)])
    described = states.write_spec(second)
    after = states.run(described.name).run(again=True)
    if method != 'vmap':  # of another width, other bits
      assert [bits(state) for state in after.states] == [
        bits(whole.states[i]) for i in (2, 0)
      ]
    assert [state.step for state in after.states] == [15, 15]
  assert got[0] == got[1] == got[2] == [bits(state) for state in result.states]


def test_the_states_that_were_used_last_are_kept(task, tmp_path, monkeypatch):
  monkeypatch.setattr('lmhp.sweeping.execution.pack_states.KEPT_BYTES', 100)
  states = PackStateStore(JobTable(task(), {}.__getitem__), epath.Path(tmp_path))
  for name in 'abc':
    states.save(name, (np.zeros(10, np.float32),))
  assert list(states._in_memory) == ['b', 'c']
  states.save('b', (np.zeros(11, np.float32),))
  states.save('d', (np.zeros(400, np.float32),))
  states.save('e', None)
  assert list(states._in_memory) == ['d']


def test_compiled_ahead_it_compiles_no_more(prepare):
  run = prepare(values={'model.d_ff': 25}, method='vmap')
  run.compile_ahead()
  before = run.population.compile_seconds
  state = run.start(run.population)
  ((_, data),) = run.task.feed(run.jobs[0], run.population.hypers, False, 0, iter([4]))
  run.population.run(state, data, ChunkSteps(4, 0))
  assert run.population.compile_seconds == before > 0
