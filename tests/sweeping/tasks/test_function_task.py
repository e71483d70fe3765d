"""The task of a user's functions: alone, in populations, in packs, and in a sweep's terms."""

import dataclasses
import json
import math

from etils import epath
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.errors import ConfigError
from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.execution.pack_states import PackStateStore
from lmhp.sweeping.execution.packs import JobTable, Pack, Stopped
from lmhp.sweeping.space import Choice, Float
from lmhp.sweeping.store import curves
from lmhp.sweeping.store.json_records import to_json
from lmhp.sweeping.tasks.function_task import FunctionTask
from lmhp.training import chunks
from lmhp.training.chunks import MAX_CHUNK_STEPS, ChunkSteps
from lmhp.training.population import METHODS, Population

STEPS = 20
OVERRIDES = [
  {'learning_rate': 0.1, 'seed': 0},
  {'learning_rate': 0.3, 'seed': 1},
  {'learning_rate': 0.01, 'seed': 0},
  {'learning_rate': 0.45, 'seed': 7},
]
DIVERGING = {'learning_rate': 1e12, 'seed': 0}


def init(hypers):
  return jax.random.normal(jax.random.key(hypers['seed']), (8,))


def step(w, hypers, i):
  loss, grad = jax.value_and_grad(lambda w: jnp.sum((w - 1) ** 2))(w)
  return w - hypers['learning_rate'] * grad, {'loss': loss}


def make(steps=STEPS, **options):
  base = {'learning_rate': 0.1, 'seed': 0}
  return FunctionTask(init, step, base, steps=steps, **options)


def reference(rate, seed, n_updates):
  """Returns the losses of n updates and the last state, in float64.

  An update multiplies w - 1 by 1 - 2 * rate.
  """
  start = np.asarray(jax.random.normal(jax.random.key(seed), (8,)), np.float64)
  factor = 1 - 2 * np.float64(np.float32(rate))
  powers = factor ** np.arange(n_updates + 1)[:, None]
  distances = (start - 1) * powers
  return (distances[:-1] ** 2).sum(1), distances[-1] + 1


def run(task, overrides, method, lengths=(STEPS,)):
  """Returns the states, the losses (R, S) and the scores after chunks of these lengths."""
  jobs = [task.job(values) for values in overrides]
  population = Population(task.programs(jobs[0]), [job.hypers for job in jobs], method)
  state = population.init()
  first_step = 0
  losses = []
  for n, data in task.feed(jobs[0], population.hypers, False, 0, iter(lengths)):
    state, metrics = population.run(state, data, ChunkSteps(n, first_step))
    losses.append(np.asarray(metrics['loss'])[:, :n])
    first_step += n
  scores = population.score(state, ())
  return population.split(state), np.concatenate(losses, 1), scores


# --- populations ----------------------------------------------------------------------


@pytest.mark.parametrize('method', METHODS)
def test_functions_train_as_the_closed_form_does(method):
  states, losses, scores = run(make(), OVERRIDES, method)
  for i, values in enumerate(OVERRIDES):
    expected, last = reference(values['learning_rate'], values['seed'], STEPS)
    np.testing.assert_allclose(losses[i], expected, rtol=2e-4, atol=1e-11)
    np.testing.assert_allclose(states[i].state, last, rtol=1e-6, atol=1e-6)
    assert states[i].step == STEPS
    score = ((last - 1) ** 2).sum()
    np.testing.assert_allclose(scores['loss'][i], score, rtol=2e-3, atol=1e-11)


@pytest.mark.parametrize(
  'method, lengths',
  [
    ('loop', (1, 19)),
    ('map', (STEPS,)),
    ('map', (7, 13)),
    ('vmap', (STEPS,)),
    ('vmap', (3, 17)),
  ],
)
def test_methods_and_lengths_of_chunks_agree(method, lengths):
  expected_states, expected_losses, _ = run(make(), OVERRIDES, 'loop')
  states, losses, _ = run(make(), OVERRIDES, method, lengths)
  # The update is elementwise, so `vmap` rounds it as the others do.
  for state, expected in zip(states, expected_states, strict=True):
    np.testing.assert_array_equal(state.state, expected.state)
  tolerance = 1e-6 if method == 'vmap' else 0
  np.testing.assert_allclose(losses, expected_losses, rtol=tolerance)


@pytest.mark.parametrize('method', METHODS)
def test_a_member_that_diverges_does_not_change_the_others(method):
  states, losses, _ = run(make(), OVERRIDES[:3], method)
  mixed = run(make(), [*OVERRIDES[:2], DIVERGING], method)
  mixed_states, mixed_losses, _ = mixed
  assert mixed_losses[:2].tobytes() == losses[:2].tobytes()
  for i in range(2):
    assert mixed_states[i].state.tobytes() == states[i].state.tobytes()

  step_of_divergence = int(np.argmax(~np.isfinite(mixed_losses[2])))
  assert 0 < step_of_divergence < STEPS
  if method == 'vmap':
    # The state stays as it was before the first loss that is not finite.
    assert mixed_states[2].step == step_of_divergence
    assert np.isfinite(mixed_states[2].state).all()


@pytest.mark.parametrize('method', METHODS)
def test_vmap_holds_a_member_after_one_loss_that_is_not_finite(method):
  def count(w, hypers, i):
    loss = jnp.where(i == hypers['bad_step'], jnp.nan, jnp.float32(i))
    return w + hypers['seed'], {'loss': loss}

  base = {'seed': 0, 'bad_step': 99}
  task = FunctionTask(lambda hypers: jnp.float32(0), count, base, steps=10)
  overrides = [
    {'seed': 2, 'bad_step': 5},
    {'seed': 3},
    {'seed': 1, 'bad_step': 0},
  ]
  states, losses, _ = run(task, overrides, method, (3, 7))
  is_bad = np.arange(10) == np.array([5, 99, 0])[:, None]
  np.testing.assert_array_equal(losses, np.where(is_bad, np.nan, np.arange(10)))
  # With the other methods, the pack ends the training of a member.
  expected = [10, 30, 0] if method == 'vmap' else [20, 30, 10]
  assert [float(s.state) for s in states] == expected


# --- packs ----------------------------------------------------------------------------


def prepare(task, workdir, method, overrides=OVERRIDES, width=None, **fields):
  n = len(overrides)
  default_fields = {
    'name': 'a',
    'trials': tuple(range(n)),
    'sources': (None,) * n,
    'first_step': 0,
    'last_step': task.steps,
    'final': True,
    'method': method,
    'width': width or n,
    'keep_states': True,
  }
  pack = Pack(**{**default_fields, **fields})
  jobs = JobTable(task, dict(enumerate(overrides)).__getitem__)
  states = PackStateStore(jobs, epath.Path(workdir))
  return states.run(states.write_spec(pack).name)


def rows_of(run, trial):
  path = run.workdir / 'curves' / f'{run.pack.name}.parquet'
  return [row for row in curves.read(path).to_pylist() if row['trial'] == trial]


@pytest.mark.parametrize('method', METHODS)
def test_a_pack_trains_and_scores_functions(tmp_path, method):
  overrides = [*OVERRIDES, {**DIVERGING, 'seed': 3}]
  run = prepare(make(), tmp_path, method, overrides, 5 if method == 'loop' else 8)
  result = run.run()
  for i, values in enumerate(OVERRIDES):
    expected, _ = reference(values['learning_rate'], values['seed'], STEPS + 1)
    rows = rows_of(run, i)
    assert [row['step'] for row in rows] == list(range(1, STEPS + 1))
    losses = [row['loss'] for row in rows]
    np.testing.assert_allclose(losses, expected[:STEPS], rtol=2e-4, atol=1e-11)
    score = result.metrics[i]['loss']
    np.testing.assert_allclose(score, expected[STEPS], rtol=2e-3, atol=1e-11)
  assert result.nonfinite_steps[:4] == (None,) * 4

  nonfinite_step = result.nonfinite_steps[4]
  assert 1 < nonfinite_step < STEPS
  steps = [row['step'] for row in rows_of(run, 4)]
  assert steps == list(range(1, nonfinite_step + 1))
  assert math.isnan(result.metrics[4]['loss'])


@pytest.mark.parametrize('method', METHODS)
def test_a_fork_with_a_loss_that_is_not_finite_has_no_score(tmp_path, method):
  def count(w, hypers, i):
    return w + 1, {'loss': jnp.where(i == hypers['bad_step'], jnp.nan, 1.0)}

  task = FunctionTask(
    lambda hypers: jnp.float32(0),
    count,
    {'bad_step': 0},
    steps=20,
    evaluate=lambda w, hypers: {'w': w},
  )
  # The pack makes updates 0 to 4, and its fork updates 5 to 8.
  overrides = [{'bad_step': 7}, {'bad_step': 9}, {'bad_step': 5}, {'bad_step': 4}]
  run = prepare(
    task, tmp_path, method, overrides, last_step=5, cooldown_steps=4, final=False
  )
  result = run.run()
  assert result.nonfinite_steps == (None, None, None, 5)
  scores = [metrics['w'] for metrics in result.metrics]
  np.testing.assert_array_equal(scores, [math.nan, 9, math.nan, math.nan])
  assert [s.state for s in result.states[:3]] == [5, 5, 5]


@pytest.mark.parametrize('method', ['vmap', 'map'])
def test_members_that_only_fill_the_program_are_not_trained(tmp_path, method):
  run = prepare(make(), tmp_path, method, width=8)
  train = run.population.run
  masks = []

  def run_and_note_mask(*arguments, is_training):
    masks.append(is_training)
    return train(*arguments, is_training=is_training)

  run.population.run = run_and_note_mask
  run.run()
  assert masks
  assert all(mask == [True] * 4 + [False] * 4 for mask in masks)


def test_a_pack_that_is_stopped_continues_with_the_same_bits(tmp_path, monkeypatch):
  monkeypatch.setattr(chunks, 'CHUNK_SECONDS', 1e-9)
  expected = prepare(make(), tmp_path / 'uninterrupted', 'map').run()
  result = None
  n_processes = 0
  while result is None:
    run = prepare(make(), tmp_path / 'stopped', 'map')
    n_processes += 1
    answers = [True] * 9 + [False] * 6
    run.options = dataclasses.replace(run.options, should_stop=answers.pop)
    try:
      result = run.run()
    except Stopped:
      pass
  assert n_processes > 1
  assert result.metrics == expected.metrics
  for state, expected_state in zip(result.states, expected.states, strict=True):
    assert state.state.tobytes() == expected_state.state.tobytes()


def test_a_trial_may_be_longer_than_the_longest_chunk(tmp_path, monkeypatch):
  monkeypatch.setattr(chunks, 'CHUNK_SECONDS', 1e9)
  task = make(steps=MAX_CHUNK_STEPS + 9)
  run = prepare(task, tmp_path, 'map', OVERRIDES[2:3])
  result = run.run()
  expected, last = reference(0.01, 0, task.steps)
  np.testing.assert_allclose(result.states[0].state, last, atol=1e-5)
  assert result.states[0].step == task.steps
  rows = rows_of(run, 0)
  assert [row['step'] for row in rows] == list(range(1, task.steps + 1))
  losses = [row['loss'] for row in rows]
  np.testing.assert_allclose(losses, expected, rtol=1e-3, atol=1e-9)


# --- the protocol of a task -----------------------------------------------------------


@pytest.mark.parametrize('method', METHODS)
def test_evaluate_gives_the_scores(method):
  def evaluate(w, hypers):
    return {'distance': jnp.max(jnp.abs(w - 1)), 'rate': hypers['learning_rate']}

  states, _, scores = run(make(evaluate=evaluate), OVERRIDES, method)
  distances = [np.abs(s.state - 1).max() for s in states]
  np.testing.assert_allclose(scores['distance'], distances, rtol=1e-6)
  rates = [values['learning_rate'] for values in OVERRIDES]
  np.testing.assert_allclose(scores['rate'], rates, rtol=1e-6)


def test_each_replicate_has_another_seed():
  task = make()
  seeded = task.with_seed({'learning_rate': 0.2}, 3, reseed_data=False)
  assert seeded.overrides == {'learning_rate': 0.2, 'seed': 3}
  assert seeded.seed == 3


def test_a_seed_among_the_values_of_a_point_is_kept():
  assert make().with_seed({'seed': 9}, 3, reseed_data=False).seed == 9


def test_a_number_has_the_type_of_its_base_value():
  hypers = make().job({'learning_rate': 1, 'seed': 3}).hypers
  assert hypers['learning_rate'] == np.float32(1)
  assert hypers['learning_rate'].dtype == np.float32
  assert hypers['seed'] == 3
  assert hypers['seed'].dtype == np.uint32


def test_a_number_whose_base_value_is_whole_must_be_whole():
  task = FunctionTask(init, step, {'seed': 0, 'learning_rate': 0}, steps=2)
  hypers = task.job({'learning_rate': np.int64(3)}).hypers
  assert hypers['learning_rate'].dtype == np.uint32
  message = r'^learning_rate: got 0\.5, expected a whole number'
  with pytest.raises(ConfigError, match=message):
    task.job({'learning_rate': 0.5})


def test_whole_and_other_values_of_a_float_share_a_program():
  def scaled(w, hypers, i):
    return w, {'loss': hypers['decay'] * jnp.sum(w)}

  task = FunctionTask(init, scaled, {'seed': 0, 'decay': 0.0}, steps=2)
  overrides = [{'decay': 0}, {'decay': 0.5}, {'decay': np.int64(1)}]
  states, losses, _ = run(task, overrides, 'loop', (2,))
  total = states[0].state.sum()
  np.testing.assert_allclose(losses[:, 0], [0, 0.5 * total, total], rtol=1e-6)


def test_the_penalty_value_is_finite_and_worse_than_the_first_value():
  task = make()
  job = task.job({})
  first_loss = reference(0.1, 0, 1)[0][0]
  assert first_loss < task.penalty_value('loss', job, maximized=False) < math.inf
  assert -math.inf < task.penalty_value('loss', job, maximized=True) < -first_loss


def test_the_penalty_value_is_finite_if_the_first_value_is_not():
  def diverge(w, hypers, i):
    return w, {'loss': jnp.float32(jnp.nan)}

  task = FunctionTask(init, diverge, {'seed': 0}, steps=3)
  assert math.isfinite(task.penalty_value('loss', task.job({}), maximized=False))


def test_a_loss_that_is_no_metric_is_refused():
  with pytest.raises(ConfigError, match="^loss: got 'los', expected .*: loss"):
    make(loss='los')


def test_a_number_named_data_is_refused():
  with pytest.raises(ConfigError, match="'data'"):
    FunctionTask(init, step, {'data': 1.0, 'seed': 0}, steps=3)


def test_a_space_over_an_unknown_number_is_refused():
  def sweep(name):
    space = {name: Float(1e-3, 1.0, log=True)}
    return SweepConfig(space=space, objective='loss', trials=3)

  make().check(sweep('learning_rate'))
  with pytest.raises(ConfigError, match='learning_rat.*learning_rate'):
    make().check(sweep('learning_rat'))


def test_tasks_with_other_functions_numbers_or_lengths_have_other_descriptions():
  def description(task):
    return json.dumps(to_json(task.describe()), sort_keys=True)

  tasks = [
    make(),
    make(steps=9),
    make(evaluate=lambda w, hypers: {'loss': 0.0}),
    FunctionTask(init, step, {'learning_rate': 0.2, 'seed': 0}, steps=STEPS),
  ]
  descriptions = [description(task) for task in tasks]
  assert len(set(descriptions)) == 4
  assert descriptions[0] == description(make())


@pytest.mark.parametrize('value', [None, '0.5', (1.0, 2.0)])
def test_a_swept_value_that_is_no_number_is_refused(value):
  def step(state, h, i):
    return state, {'loss': h['rate']}

  task = FunctionTask(lambda h: h['rate'], step, {'rate': 0.1}, steps=2)
  space = {'rate': Choice(value, 0.1)}
  with pytest.raises(ConfigError, match=r'rate: got .*expected'):
    task.check(SweepConfig(space=space, objective='loss', search='grid'))
