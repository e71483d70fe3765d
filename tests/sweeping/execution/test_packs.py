"""A trial's results depend neither on its pack, nor on stops, nor on stored states."""

import dataclasses
import json
import math

from compilations import compilations
from etils import epath
import jax
import numpy as np
import pytest
from small_runs import QuickJax, bits

import lmhp
from lmhp.sweeping.execution import pack_run
from lmhp.sweeping.execution.pack_states import PackStateStore
from lmhp.sweeping.execution.packs import (
  JobTable,
  Pack,
  PackRunOptions,
  Stopped,
  read_result,
)
from lmhp.sweeping.execution.stages import StateRef
from lmhp.sweeping.store import curves
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
DIVERGING = {'optimizer.learning_rate': 1e6}
SCHEDULES = (
  'cosine',
  'linear',
  'constant',
  'wsd_linear',
  'inverse_sqrt',
  'one_cycle',
  'step',
  'rex',
)


@pytest.fixture
def task(small, monkeypatch, jit):
  """`task(**values)`: a language model whose chunks have four steps and then one."""
  monkeypatch.setattr(population, 'jax', QuickJax(jit))
  monkeypatch.setattr(chunks, 'CHUNK_SECONDS', 1e-9)

  def make(**values):
    config = small(**{'evaluate.final_sequences': 5, **values})
    return LanguageModel(config, present=PRESENT)

  return make


@pytest.fixture
def prepare(task, tmp_path):
  """`prepare(study, overrides, **pack)`: a pack of a study in its directory, not run."""

  def make(study='study', overrides=OVERRIDES, values=(), options=(), **fields):
    n = len(overrides)
    default_fields = {
      'name': 'a',
      'trials': tuple(range(10, 10 + n)),
      'sources': (None,) * n,
      'first_step': 0,
      'last_step': 9,
      'width': n,
      'keep_states': True,
      'method': 'map',
    }
    pack = Pack(**{**default_fields, **fields})
    overrides_of = dict(zip(pack.trials, overrides)).__getitem__
    jobs = JobTable(task(**dict(values)), overrides_of)
    states = PackStateStore(jobs, epath.Path(tmp_path / study))
    return states.run(states.write_spec(pack).name, PackRunOptions(**dict(options)))

  return make


def rows_of(run):
  """Returns the rows of the curves that a pack has written, by trial."""
  rows = curves.read(run.workdir / 'curves' / f'{run.pack.name}.parquet').to_pylist()
  rows_by_trial = {trial: [] for trial in run.pack.trials}
  for row in rows:
    present = {name: row[name] for name in sorted(row) if row[name] is not None}
    rows_by_trial[row['trial']].append(present)
  return rows_by_trial


def losses_of(run, trial):
  return [row['loss_nats'] for row in rows_of(run)[trial]]


def all_results(run, result):
  """Returns all results of a pack but the times: result, curves and states.

  Checks that the result on the disk is the one in memory.
  """

  def as_text(result):
    names = ('metrics', 'nonfinite_steps', 'device')
    # NaN equals NaN in text.
    return json.dumps({name: getattr(result, name) for name in names}, sort_keys=True)

  text = as_text(result)
  assert as_text(read_result(run.directory)) == text
  return text, json.dumps(rows_of(run)), [bits(state) for state in result.states]


def train_alone(task, values):
  """Returns the last state and the losses of one trial that is trained alone."""
  job = task.job(values)
  programs = task.programs(job)
  state = programs.init(job.hypers)
  losses = []
  for n_steps, data in programs.feed(0, iter([job.steps]), job.hypers):
    state, metrics = programs.chunk(state, job.hypers, data, ChunkSteps(n_steps, 0))
    losses += np.asarray(metrics['loss_nats'])[:n_steps].tolist()
  return state, losses


# --- a member of a pack is the run alone ----------------------------------------------


@pytest.mark.parametrize('method', METHODS)
def test_a_trial_of_a_pack_equals_the_run_of_train(prepare, small, method, tmp_path):
  overrides = [
    {**values, 'model.residual_dropout': 0.1 + 0.1 * i}
    for i, values in enumerate(OVERRIDES[:3])
  ]
  # The pack has one member that only fills the program.
  width = 3 if method == 'loop' else 4
  run = prepare(
    overrides=overrides, width=width, last_step=24, final=True, method=method
  )
  result = run.run()
  loss_tolerance = 5e-6 if method == 'vmap' else 0
  params_tolerance = 1e-4 if method == 'vmap' else 0

  for i, values in enumerate(overrides):
    alone = lmhp.train(
      small(**values, **{'evaluate.final_sequences': 5}),
      workdir=tmp_path / str(i),
      display='none',
    )
    losses = losses_of(run, 10 + i)
    expected_losses = np.float32(alone.history['loss_nats'])
    np.testing.assert_allclose(losses, expected_losses, rtol=0, atol=loss_tolerance)
    for name, value in result.metrics[i].items():
      if name.startswith('eval_'):
        expected = alone.result[f'final_{name}']
        np.testing.assert_allclose(
          value, expected, rtol=max(loss_tolerance, 1e-6), err_msg=name
        )
    leaves = jax.tree.leaves(result.states[i].params)
    expected_leaves = jax.tree.leaves(alone.params)
    for leaf, expected in zip(leaves, expected_leaves, strict=True):
      difference = np.linalg.norm(leaf - expected)
      assert difference <= params_tolerance * np.linalg.norm(expected)


@pytest.mark.slow
@pytest.mark.parametrize('placement', ['device', 'host'])
@pytest.mark.parametrize('method', METHODS)
def test_members_share_the_data_of_the_first_unless_each_has_its_data(
  prepare, placement, method
):
  seeds = [{'data.seed': seed} for seed in (3, 0)]
  values = {'data.placement': placement, 'train.steps': 9}
  losses = []
  for data_per_trial in (False, True):
    run = prepare(
      str(data_per_trial), seeds, values, method=method, data_per_trial=data_per_trial
    )
    result = run.run()
    seeds_that_are_read = seeds if data_per_trial else [seeds[0]] * 2
    for i, seed in enumerate(seeds_that_are_read):
      state, losses = train_alone(run.task, seed)
      tolerance = 2e-6 if method == 'vmap' else 0
      np.testing.assert_allclose(losses_of(run, 10 + i), losses, rtol=0, atol=tolerance)
      if method != 'vmap':
        assert bits(result.states[i]) == bits(state)
  # The two seeds give different batches.
  _, first_losses = train_alone(run.task, seeds[0])
  assert abs(np.subtract(first_losses, losses)).max() > 0.01


# --- the other members ----------------------------------------------------------------


@pytest.mark.parametrize('method', METHODS)
def test_a_member_that_diverges_does_not_change_the_others(prepare, method):
  overrides = [*OVERRIDES[:3], {'optimizer.learning_rate': 1e-3}]
  # With a wider program, its further members repeat the diverging one.
  options = {
    'width': 4 if method == 'loop' else 8,
    'method': method,
    'cooldown_steps': 3,
  }
  finite_run = prepare('finite', overrides, **options)
  finite = finite_run.run()
  diverging_run = prepare('diverging', [*OVERRIDES[:3], DIVERGING], **options)
  diverging = diverging_run.run()

  assert finite.nonfinite_steps == (None,) * 4
  assert diverging.nonfinite_steps[:3] == (None,) * 3
  assert diverging.metrics[:3] == finite.metrics[:3]
  for i in range(3):
    assert bits(diverging.states[i]) == bits(finite.states[i])
    assert rows_of(diverging_run)[10 + i] == rows_of(finite_run)[10 + i]


@pytest.mark.parametrize('method', METHODS)
def test_the_curve_of_a_diverging_member_ends_at_the_first_loss_that_is_not_finite(
  prepare, method
):
  width = 4 if method == 'loop' else 8
  run = prepare(
    overrides=[*OVERRIDES[:3], DIVERGING], width=width, method=method, cooldown_steps=3
  )
  result = run.run()
  step = result.nonfinite_steps[3]
  assert 1 < step < 9
  assert [row['step'] for row in rows_of(run)[13]] == list(range(1, step + 1))
  losses = losses_of(run, 13)
  assert np.isfinite(losses[:-1]).all()
  assert not np.isfinite(losses[-1])
  scores = [x for name, x in result.metrics[3].items() if name.startswith('eval_')]
  assert scores and all(map(math.isnan, scores))
  if method == 'vmap':
    # The state stays as it was before the divergence.
    assert result.states[3].step == step - 1
    leaves = jax.tree.leaves(result.states[3].params)
    assert all(np.isfinite(leaf).all() for leaf in leaves)


@pytest.mark.parametrize('method', METHODS)
def test_a_pack_ends_when_all_members_have_diverged(prepare, method):
  run = prepare(
    overrides=[DIVERGING, {**DIVERGING, 'train.seed': 1}],
    method=method,
    cooldown_steps=3,
    last_step=24,
  )
  steps = []

  def show(step, metrics):
    del metrics
    steps.append(step)

  run.options = dataclasses.replace(run.options, show=show)
  result = run.run()
  assert all(1 < step < 9 for step in result.nonfinite_steps)
  assert steps[-1] < 24
  assert all(math.isnan(metrics['eval_loss_nats']) for metrics in result.metrics)


@pytest.mark.parametrize('method', METHODS)
def test_a_fork_that_diverges_has_no_score_and_its_trial_continues(prepare, method):
  overrides = [OVERRIDES[0], DIVERGING]
  step = prepare('long', overrides, method=method).run().nonfinite_steps[1]
  # The pack ends one step before the divergence, so only the cooldown diverges.
  run = prepare('fork', overrides, method=method, last_step=step - 1, cooldown_steps=4)
  result = run.run()
  assert result.nonfinite_steps == (None, None)
  assert math.isfinite(result.metrics[0]['eval_loss_nats'])
  assert math.isnan(result.metrics[1]['eval_loss_nats'])


@pytest.mark.parametrize('method', METHODS)
def test_a_fork_changes_the_scores_and_not_the_states(prepare, method):
  without = prepare('without', method=method).run()
  forked = prepare('forked', method=method, cooldown_steps=5).run()
  for i in range(len(OVERRIDES)):
    assert bits(without.states[i]) == bits(forked.states[i])
    assert without.metrics[i]['loss_nats'] == forked.metrics[i]['loss_nats']
    assert without.metrics[i]['eval_loss_nats'] != forked.metrics[i]['eval_loss_nats']


def varied_trials(seed):
  """Returns 64 trials that vary the numbers that a pack may vary."""
  rng = np.random.default_rng(seed)
  return [
    {
      'optimizer.learning_rate': 10 ** rng.uniform(-4, -1),
      'optimizer.weight_decay': rng.uniform(0, 1),
      'optimizer.b2': rng.uniform(0.9, 0.999),
      'optimizer.clip_norm': (0.3, math.inf)[i % 2],
      'schedule.warmup_fraction': rng.uniform(0, 0.5),
      'schedule.name': SCHEDULES[i % 8],
      'model.residual_dropout': (0.0, 0.1, 0.3)[i % 3],
      'train.seed': int(rng.integers(2**32)),
    }
    for i in range(64)
  ]


@pytest.mark.slow
@pytest.mark.parametrize('method', METHODS)
def test_64_trials_compile_their_step_once_and_another_64_compile_nothing(
  prepare, method
):
  # No other test compiles these structures.
  values = {'model.d_ff': 21 + METHODS.index(method), 'train.steps': 6}
  first, second = (
    prepare(str(i), varied_trials(i), values, method=method, last_step=6, name=str(i))
    for i in range(2)
  )
  second.task = first.task
  assert len({job.structure for job in first.jobs + second.jobs}) == 1

  traces = []
  update = first.population.programs._update

  def traced_update(*arguments):
    traces.append(1)
    return update(*arguments)

  compilations_of_chunks = []
  run_chunk = first.population.run

  def counted_run(*arguments, **options):
    n_before = len(compiled)
    results = run_chunk(*arguments, **options)
    compilations_of_chunks.append(len(compiled) - n_before)
    return results

  first.population.programs._update = traced_update
  first.population.run = counted_run
  with compilations() as compiled:
    first_result = first.run()
  n_chunks = len(compilations_of_chunks)
  assert n_chunks > 1
  assert compilations_of_chunks == [1] + [0] * (n_chunks - 1)
  # The body of a loop is traced twice.
  assert len(traces) <= 2

  second.population.programs._update = traced_update
  traces.clear()
  with compilations() as compiled:
    second_result = second.run()
  assert not compiled
  assert not traces
  assert second_result.compile_seconds == 0 < first_result.compile_seconds
  metrics = first_result.metrics + second_result.metrics
  assert len({m['loss_nats'] for m in metrics}) == 128


# --- stops ----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
  'method, placement', [*((m, 'device') for m in METHODS), ('map', 'host')]
)
def test_a_pack_that_is_stopped_at_every_chunk_has_the_same_bits(
  prepare, method, placement
):
  options = {
    # One trial diverges, and a fork is scored at the end.
    'overrides': [*OVERRIDES[:2], DIVERGING],
    'values': {'data.placement': placement, 'evaluate.every_steps': 7},
    'method': method,
    'cooldown_steps': 3,
  }
  uninterrupted = prepare('uninterrupted', **options)
  expected = all_results(uninterrupted, uninterrupted.run())

  boundaries = []

  def show(step, metrics):
    del metrics
    boundaries.append(step)

  result = None
  while result is None:
    # Each process trains one chunk and is stopped.
    run = prepare('stopped', **options, options={'should_stop': [True, False].pop})
    run.options = dataclasses.replace(run.options, show=show)
    try:
      result = run.run()
    except Stopped:
      assert run.read() is None
      assert not (run.workdir / 'curves').exists()

  # With `map` and `loop`, the state of a diverged member depends on the chunks.
  n_equal = 3 if method == 'vmap' else 2
  results = all_results(run, result)
  assert results[:2] == expected[:2]
  assert results[2][:n_equal] == expected[2][:n_equal]
  assert len(boundaries) >= 3
  assert boundaries == sorted(set(boundaries))
  assert boundaries[-1] == 9


def test_a_pack_that_is_stopped_before_its_first_step_continues(prepare):
  uninterrupted = prepare('uninterrupted')
  expected = all_results(uninterrupted, uninterrupted.run())
  with pytest.raises(Stopped):
    prepare('stopped', options={'should_stop': lambda: True}).run()
  run = prepare('stopped')
  assert all_results(run, run.run()) == expected


def test_the_result_is_written_once_and_after_the_curves(prepare, monkeypatch):
  had_curves = []
  write_result = pack_run.write_result

  def watched(directory, result):
    curve = run.workdir / 'curves' / f'{run.pack.name}.parquet'
    had_curves.append(curve.exists())
    write_result(directory, result)

  monkeypatch.setattr(pack_run, 'write_result', watched)
  run = prepare()
  first = run.run()
  assert had_curves == [True]
  mtime = (run.directory / 'result.json').stat().mtime

  # The result is read, and nothing is trained.
  assert prepare().run() == dataclasses.replace(first, states=None)
  again = prepare().run(again=True)
  assert again.metrics == first.metrics
  assert [bits(s) for s in again.states] == [bits(s) for s in first.states]
  assert had_curves == [True]
  assert (run.directory / 'result.json').stat().mtime == mtime


def test_a_pack_that_is_killed_before_it_writes_its_result_is_not_done(
  prepare, monkeypatch
):
  uninterrupted = prepare('uninterrupted')
  expected = all_results(uninterrupted, uninterrupted.run())

  def die(*arguments):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(pack_run, 'write_result', die)
    with pytest.raises(KeyboardInterrupt):
      prepare('killed').run()
  run = prepare('killed')
  assert run.read() is None
  assert all_results(run, run.run()) == expected


def test_metrics_that_are_nan_are_read_back(prepare):
  run = prepare(overrides=[OVERRIDES[0], DIVERGING])
  result = run.run()
  stored = run.read()
  assert stored.metrics[0] == result.metrics[0]
  assert math.isnan(stored.metrics[1]['eval_loss_nats'])
  assert stored.nonfinite_steps == result.nonfinite_steps
  assert stored.states is None


# --- states between packs -------------------------------------------------------------


@pytest.mark.parametrize('method', METHODS)
def test_states_are_equal_from_memory_from_the_disk_and_computed_again(prepare, method):
  width = 4 if method == 'loop' else 8
  first = prepare(method=method, width=width, options={'worth_saving_seconds': 0})
  result = first.run()
  assert (first.directory / 'checkpoints' / '9').exists()
  expected = [bits(state) for state in result.states]
  name = first.pack.name

  def load_all(states):
    return [bits(states.load(StateRef(name, i))) for i in range(4)]

  overrides_of = {10 + i: values for i, values in enumerate(OVERRIDES)}.__getitem__
  in_memory, on_disk, computed = (
    PackStateStore(JobTable(first.task, overrides_of), first.workdir) for _ in range(3)
  )
  in_memory.save(name, result.states)
  assert load_all(in_memory) == expected
  assert load_all(on_disk) == expected
  on_disk.clear()
  assert not (first.directory / 'checkpoints').exists()
  assert load_all(computed) == expected


@pytest.mark.parametrize('method', METHODS)
def test_a_pack_that_continues_states_equals_the_uninterrupted_run(prepare, method):
  uninterrupted = prepare('uninterrupted', method=method, last_step=15).run()
  first = prepare(method=method, width=4 if method == 'loop' else 8)
  first.run()
  name = first.pack.name
  # The members continue in another order.
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
  overrides_of = {10 + i: values for i, values in enumerate(OVERRIDES)}.__getitem__
  states = PackStateStore(JobTable(first.task, overrides_of), first.workdir)
  result = states.run(states.write_spec(second).name).run()
  assert [state.step for state in result.states] == [15, 15]
  if method != 'vmap':
    # The bits of `vmap` depend on the width.
    expected = [bits(uninterrupted.states[i]) for i in (2, 0)]
    assert [bits(state) for state in result.states] == expected


def test_the_states_that_were_used_last_stay_in_memory(task, tmp_path, monkeypatch):
  monkeypatch.setattr('lmhp.sweeping.execution.pack_states.KEPT_BYTES', 100)
  states = PackStateStore(JobTable(task(), {}.__getitem__), epath.Path(tmp_path))
  for name in 'abc':
    states.save(name, (np.zeros(10, np.float32),))
  assert list(states._in_memory) == ['b', 'c']
  states.save('b', (np.zeros(11, np.float32),))
  states.save('d', (np.zeros(400, np.float32),))
  states.save('e', None)
  assert list(states._in_memory) == ['d']


def test_a_pack_that_was_compiled_ahead_compiles_no_more(prepare):
  run = prepare(values={'model.d_ff': 25}, method='vmap')
  run.compile_ahead()
  compile_seconds = run.population.compile_seconds
  state = run.start(run.population)
  ((_, data),) = run.task.feed(run.jobs[0], run.population.hypers, False, 0, iter([4]))
  run.population.run(state, data, ChunkSteps(4, 0))
  assert run.population.compile_seconds == compile_seconds > 0


@pytest.mark.parametrize('damage', [b'', b'{}', None])
def test_final_states_that_cannot_be_read_are_computed_again(prepare, caplog, damage):
  options = {'worth_saving_seconds': 0.0}
  first = prepare(options=options)
  expected = [bits(state) for state in first.run().states]
  (path,) = first.directory.glob('checkpoints/9/*CHECKPOINT_METADATA')
  if damage is None:
    path.unlink()
  else:
    path.write_bytes(damage)
  overrides_of = {10 + i: values for i, values in enumerate(OVERRIDES)}.__getitem__
  states = PackStateStore(JobTable(first.task, overrides_of), first.workdir)
  loaded = [bits(states.load(StateRef(first.pack.name, i))) for i in range(4)]
  assert loaded == expected
  assert str(first.directory) in caplog.text
