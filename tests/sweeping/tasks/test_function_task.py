"""A researcher's own model: the ten lines of `functions`, alone, in populations and in packs."""

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
from lmhp.sweeping.execution import curves, pack_run
from lmhp.sweeping.execution.job_table import JobTable
from lmhp.sweeping.execution.pack_states import PackStateStore
from lmhp.sweeping.execution.packs import Pack, Stopped
from lmhp.sweeping.space import Float
from lmhp.sweeping.store.json_records import to_json
from lmhp.sweeping.tasks.function_task import FunctionTask
from lmhp.training import chunks
from lmhp.training.chunks import CAPACITY, ChunkSteps
from lmhp.training.population import METHODS, Population

STEPS = 20


def init(hypers):
  return jax.random.normal(jax.random.key(hypers['seed']), (8,))


def step(w, hypers, i):
  loss, grad = jax.value_and_grad(lambda w: jnp.sum((w - 1) ** 2))(w)
  return w - hypers['learning_rate'] * grad, {'loss': loss}


def make(steps=STEPS, **options):
  return FunctionTask(
    init, step, {'learning_rate': 0.1, 'seed': 0}, steps=steps, **options
  )


def by_hand(rate, seed, n):
  """w - 1 shrinks by 1 - 2 rate an update: the losses of n updates and the last w, in float64."""
  start = np.asarray(jax.random.normal(jax.random.key(seed), (8,)), np.float64)
  away = (start - 1) * (1 - 2 * np.float64(np.float32(rate))) ** np.arange(n + 1)[
    :, None
  ]
  return (away[:-1] ** 2).sum(1), away[-1] + 1


def run(task, overrides, method, lengths=(STEPS,)):
  """The members' states and losses (R, S) after chunks of these lengths."""
  jobs = [task.job(values) for values in overrides]
  population, step, losses = (
    Population(task.member(jobs[0]), [j.hypers for j in jobs], method),
    0,
    [],
  )
  state = population.init()
  for n, data in task.feed(jobs[0], population.hypers, False, 0, iter(lengths)):
    state, metrics = population.run(state, data, ChunkSteps(n, step))
    losses.append(np.asarray(metrics['loss'])[:, :n])
    step += n
  return (
    population.split(state),
    np.concatenate(losses, 1),
    population.score(state, ()),
  )


OVERRIDES = [
  {'learning_rate': rate, 'seed': seed}
  for rate, seed in ((0.1, 0), (0.3, 1), (0.01, 0), (0.45, 7))
]


@pytest.mark.parametrize('method', METHODS)
def test_ten_lines_train_as_by_hand(method):
  states, losses, scores = run(make(), OVERRIDES, method)
  for i, values in enumerate(OVERRIDES):
    expected, last = by_hand(values['learning_rate'], values['seed'], STEPS)
    np.testing.assert_allclose(losses[i], expected, rtol=2e-4, atol=1e-11)
    np.testing.assert_allclose(states[i].state, last, rtol=1e-6, atol=1e-6)
    assert states[i].step == STEPS
    np.testing.assert_allclose(
      scores['loss'][i], ((last - 1) ** 2).sum(), rtol=2e-3, atol=1e-11
    )


def test_the_methods_agree_whatever_the_chunks():
  want, losses, _ = run(make(), OVERRIDES, 'loop')
  whole = (STEPS,)
  for method, lengths in (
    ('loop', (1, 19)),
    ('map', whole),
    ('map', (7, 13)),
    ('vmap', whole),
    ('vmap', (3, 17)),
  ):
    states, again, _ = run(make(), OVERRIDES, method, lengths)
    for mine, other in zip(states, want):
      np.testing.assert_array_equal(
        mine.state, other.state, err_msg=method
      )  # elementwise: vmap rounds alike
    np.testing.assert_allclose(again, losses, rtol=1e-6 if method == 'vmap' else 0)


@pytest.mark.parametrize('method', METHODS)
def test_one_that_diverges_hurts_nobody(method):
  sane, wild = OVERRIDES[:3], [*OVERRIDES[:2], {'learning_rate': 1e12, 'seed': 0}]
  (calm, quiet, _), (torn, loud, _) = (
    run(make(), sane, method),
    run(make(), wild, method),
  )
  assert loud[:2].tobytes() == quiet[:2].tobytes()
  assert all(a.state.tobytes() == b.state.tobytes() for a, b in zip(calm[:2], torn[:2]))
  at = int(np.argmax(~np.isfinite(loud[2])))
  assert 0 < at < STEPS
  if method == 'vmap':  # left as it was before the first loss that is not finite
    assert torn[2].step == at and np.isfinite(torn[2].state).all()


def test_updates_are_numbered_and_one_that_broke_stays_as_it_was():
  """Its loss is finite again at once, yet it is not the run that it was; the others leave stopping to the pack."""

  def count(w, hypers, i):
    loss = jnp.where(i == hypers['bad'], jnp.nan, jnp.float32(i))
    return w + hypers['seed'], {'loss': loss}

  task = FunctionTask(
    lambda hypers: jnp.float32(0), count, {'seed': 0, 'bad': 99}, steps=10
  )
  overrides = [{'seed': 2, 'bad': 5}, {'seed': 3}, {'seed': 1, 'bad': 0}]
  for method in METHODS:
    states, losses, _ = run(task, overrides, method, (3, 7))
    bad = np.array([5, 99, 0])[:, None]
    np.testing.assert_array_equal(
      losses, np.where(np.arange(10) == bad, np.nan, np.arange(10))
    )
    expected = [10, 30, 0] if method == 'vmap' else [20, 30, 10]
    assert [float(s.state) for s in states] == expected


# --- in packs ---------------------------------------------------------------------------------------------------------


def prepare(task, workdir, method, overrides=OVERRIDES, width=None, **fields):
  n = len(overrides)
  given = dict(
    name='a',
    trials=tuple(range(n)),
    sources=(None,) * n,
    first_step=0,
    last_step=task.steps,
    final=True,
    method=method,
    width=width or n,
    keep_states=True,
  )
  pack = Pack(**given | fields)
  jobs = JobTable(task, dict(enumerate(overrides)).__getitem__)
  states = PackStateStore(jobs, epath.Path(workdir))
  return states.run(states.write_spec(pack).name)


@pytest.mark.parametrize('method', METHODS)
def test_a_pack_of_them(tmp_path, method):
  task = make()
  wild = [*OVERRIDES, {'learning_rate': 1e12, 'seed': 3}]
  run = prepare(task, tmp_path, method, wild, 5 if method == 'loop' else 8)
  result = run.run()
  rows = curves.read(tmp_path / 'curves' / f'{run.pack.name}.parquet').to_pylist()
  for i, values in enumerate(OVERRIDES):
    expected, _ = by_hand(values['learning_rate'], values['seed'], STEPS + 1)
    mine = [row for row in rows if row['trial'] == i]
    assert [row['step'] for row in mine] == list(range(1, STEPS + 1))
    np.testing.assert_allclose(
      [row['loss'] for row in mine], expected[:STEPS], rtol=2e-4, atol=1e-11
    )
    np.testing.assert_allclose(
      result.metrics[i]['loss'], expected[STEPS], rtol=2e-3, atol=1e-11
    )
  assert (
    result.nonfinite_steps[:4] == (None,) * 4 and 1 < result.nonfinite_steps[4] < STEPS
  )
  assert [row['step'] for row in rows if row['trial'] == 4] == list(
    range(1, result.nonfinite_steps[4] + 1)
  )
  assert math.isnan(result.metrics[4]['loss'])


@pytest.mark.parametrize('method', METHODS)
def test_one_that_breaks_in_a_fork_alone_scores_nothing_there(tmp_path, method):
  """Though its weights are finite all the time, as they are of a member that is frozen before it breaks."""

  def count(w, hypers, i):
    return w + 1, {'loss': jnp.where(i == hypers['bad'], jnp.nan, 1.0)}

  task = FunctionTask(
    lambda hypers: jnp.float32(0),
    count,
    {'bad': 0},
    steps=20,
    evaluate=lambda w, h: {'w': w},
  )
  overrides = [
    {'bad': 7},
    {'bad': 9},
    {'bad': 5},
    {'bad': 4},
  ]  # of updates 0 to 4, and the fork's 5 to 8
  result = prepare(
    task, tmp_path, method, overrides, last_step=5, cooldown_steps=4, final=False
  ).run()
  assert result.nonfinite_steps == (None, None, None, 5)
  np.testing.assert_array_equal(
    [m['w'] for m in result.metrics], [math.nan, 9, math.nan, math.nan]
  )
  assert [s.state for s in result.states[:3]] == [5, 5, 5]


@pytest.mark.parametrize('method', ['vmap', 'map'])
def test_places_without_a_trial_are_not_trained(tmp_path, method):
  run = prepare(make(), tmp_path, method, width=8)
  train = run.population.run
  masks = []

  def run_and_note_mask(*arguments, is_training):
    masks.append(is_training)
    return train(*arguments, is_training=is_training)

  run.population.run = run_and_note_mask
  run.run()
  assert masks and all(mask == [True] * 4 + [False] * 4 for mask in masks)


def test_one_that_is_stopped_goes_on(tmp_path, monkeypatch):
  monkeypatch.setattr(chunks, 'CHUNK_SECONDS', 1e-9)
  whole = prepare(make(), tmp_path / 'whole', 'map').run()
  result, processes = None, 0
  while result is None:
    run, processes = prepare(make(), tmp_path / 'cut', 'map'), processes + 1
    answers = [True] * 9 + [False] * 6
    run.options = dataclasses.replace(run.options, should_stop=answers.pop)
    try:
      result = run.run()
    except Stopped:
      pass
  assert processes > 1 and result.metrics == whole.metrics
  assert [s.state.tobytes() for s in result.states] == [
    s.state.tobytes() for s in whole.states
  ]


def test_trials_longer_than_a_chunk_may_be(tmp_path, monkeypatch):
  monkeypatch.setattr(chunks, 'CHUNK_SECONDS', 1e9)
  task = make(steps=CAPACITY + 9)
  run = prepare(task, tmp_path, 'map', OVERRIDES[2:3])
  result = run.run()
  expected, last = by_hand(0.01, 0, task.steps)
  np.testing.assert_allclose(result.states[0].state, last, atol=1e-5)
  assert result.states[0].step == task.steps
  rows = curves.read(tmp_path / 'curves' / f'{run.pack.name}.parquet').to_pylist()
  assert [row['step'] for row in rows] == list(range(1, task.steps + 1))
  np.testing.assert_allclose(
    [row['loss'] for row in rows], expected, rtol=1e-3, atol=1e-9
  )


# --- what the engine asks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize('method', METHODS)
def test_scores_of_its_own(method):
  task = make(
    evaluate=lambda w, hypers: {
      'far': jnp.max(jnp.abs(w - 1)),
      'rate': hypers['learning_rate'],
    }
  )
  states, _, scores = run(task, OVERRIDES, method)
  np.testing.assert_allclose(
    scores['far'], [np.abs(s.state - 1).max() for s in states], rtol=1e-6
  )
  np.testing.assert_allclose(
    scores['rate'], [o['learning_rate'] for o in OVERRIDES], rtol=1e-6
  )


def test_numbers_of_a_trial_and_its_seeds():
  task = make()
  seeded = task.with_seed({'learning_rate': 0.2}, 3, reseed_data=False)
  values = seeded.overrides
  assert (values, seeded.seed) == ({'learning_rate': 0.2, 'seed': 3}, 3)
  hypers = task.job(values).hypers
  assert (
    hypers['seed'] == 3
    and hypers['seed'].dtype == np.uint32
    and hypers['learning_rate'] == np.float32(0.2)
  )
  assert (
    task.job({'learning_rate': 1}).hypers['learning_rate'].dtype == np.float32
  )  # the base's is a float
  assert task.with_seed({'seed': 9}, 3, reseed_data=False).seed == 9


def test_numbers_keep_the_type_of_their_base():
  """Else 0 and 0.1 would be two programs, or one that refuses half of its members."""
  task = FunctionTask(
    init,
    lambda w, h, i: (w, {'loss': h['decay'] * jnp.sum(w)}),
    {'seed': 0, 'decay': 0.0},
    steps=2,
  )
  states, losses, _ = run(
    task, [{'decay': 0}, {'decay': 0.5}, {'decay': np.int64(1)}], 'loop', (2,)
  )
  np.testing.assert_allclose(
    losses[:, 0], [0, 0.5 * states[0].state.sum(), states[0].state.sum()], rtol=1e-6
  )
  whole = FunctionTask(init, step, {'seed': 0, 'learning_rate': 0}, steps=2)
  assert (
    whole.job({'learning_rate': np.int64(3)}).hypers['learning_rate'].dtype == np.uint32
  )
  with pytest.raises(
    ConfigError,
    match=r'^learning_rate: got 0\.5, expected a whole number',
  ):
    whole.job({'learning_rate': 0.5})


def test_a_diverged_trial_is_told_something_finite_and_bad():
  task = make()
  job = task.job({})
  first = by_hand(0.1, 0, 1)[0][0]
  assert first < task.penalty_value('loss', job, maximized=False) < math.inf
  assert -math.inf < task.penalty_value('loss', job, maximized=True) < -first
  lost = FunctionTask(
    init, lambda w, h, i: (w, {'loss': jnp.float32(jnp.nan)}), {'seed': 0}, steps=3
  )
  assert math.isfinite(lost.penalty_value('loss', lost.job({}), maximized=False))


def test_what_it_refuses():
  with pytest.raises(
    ConfigError, match="loss: got 'los', expected one of the metrics of step: loss"
  ):
    make(loss='los')
  with pytest.raises(ConfigError, match="'data'"):
    FunctionTask(init, step, {'data': 1.0, 'seed': 0}, steps=3)
  sweep = lambda space: SweepConfig(space=space, objective='loss', trials=3)
  make().check(sweep({'learning_rate': Float(1e-3, 1.0, log=True)}))
  with pytest.raises(ConfigError, match='learning_rat.*learning_rate'):
    make().check(sweep({'learning_rat': Float(1e-3, 1.0)}))


def test_its_card_tells_other_functions_numbers_and_lengths_apart():
  cards = [
    make(),
    make(steps=9),
    make(evaluate=lambda w, h: {'loss': 0.0}),
    FunctionTask(init, step, {'learning_rate': 0.2, 'seed': 0}, steps=STEPS),
  ]
  texts = [json.dumps(to_json(task.describe()), sort_keys=True) for task in cards]
  assert len(set(texts)) == 4 and texts[0] == json.dumps(
    to_json(make().describe()), sort_keys=True
  )
