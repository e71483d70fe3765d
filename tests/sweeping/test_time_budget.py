"""`sweep.seconds` ends the search and the confirmation, and the same command adds nothing."""

import jax
import jax.numpy as jnp
import pytest

import lmhp
from lmhp import Float
from lmhp.sweeping import budget, time_budget
from lmhp.sweeping.execution import pack_run
from lmhp.sweeping.store.study import read_manifest


class Clock:
  """A clock that each chunk of training moves by a second."""

  def __init__(self):
    self.seconds = 0.0

  def perf_counter(self):
    return self.seconds


@pytest.fixture
def clock(monkeypatch):
  clock = Clock()
  run_chunk = pack_run.PackRun._run_chunk

  def slow_chunk(self, *arguments):
    clock.seconds += 1.0
    return run_chunk(self, *arguments)

  monkeypatch.setattr(pack_run.PackRun, '_run_chunk', slow_chunk)
  monkeypatch.setattr(time_budget, 'time', clock)
  monkeypatch.setattr(budget, 'SECONDS_PER_TRIAL', 0.2)
  return clock


@pytest.fixture
def run(tmp_path):
  def init(h):
    return jnp.full(3, 2.0) + 0.1 * jax.random.normal(jax.random.key(h['seed']), (3,))

  def step(w, h, i):
    loss, grad = jax.value_and_grad(lambda w: jnp.sum(w**2))(w)
    return w - h['rate'] * grad, {'loss': loss}

  def sweep(**fields):
    fields = {
      'search': 'halton',
      'confirm_points': 0,
      'max_pack_width': 1,
      'execution': 'loop',
      **fields,
    }
    return lmhp.sweep(
      lmhp.FunctionTask(init, step, {'rate': 0.01, 'seed': 0}, steps=9),
      lmhp.SweepConfig(
        space={'rate': Float(1e-3, 0.5, log=True)},
        objective='loss',
        **fields,
      ),
      workdir=tmp_path / 'study',
      display='none',
      report=False,
    )

  return sweep


def n_complete(result):
  return sum(trial.status == 'complete' for trial in result.trials)


@pytest.mark.parametrize('search', ['halton', 'tpe'])
def test_a_search_ends_with_its_seconds(run, clock, search):
  result = run(seconds=6.0, search=search)
  assert clock.seconds <= 6.0 + 1.0
  assert 1 <= n_complete(result) <= 7
  assert result.signal is None and result.summary.best_trial is not None
  assert read_manifest(result.workdir).stopped == {'search': 6.0}


def test_a_search_without_a_result_uses_the_time_of_the_confirmation(run, clock):
  # All trials train side by side, so none is complete after the half of the search.
  result = run(seconds=4.0, confirm_points=1, execution='map', max_pack_width=32)
  assert n_complete(result) >= 8
  assert 2.0 < clock.seconds <= 4.0 + 1.0


def test_the_same_command_adds_nothing_and_more_seconds_continue(run, clock):
  first = run(seconds=6.0)
  spent = clock.seconds
  again = run(seconds=6.0)
  assert clock.seconds == spent
  assert [t.status for t in again.trials] == [t.status for t in first.trials]
  less = run(seconds=3.0)
  assert clock.seconds == spent and n_complete(less) == n_complete(first)
  clock.seconds = 0.0
  more = run(seconds=12.0)
  assert n_complete(more) > n_complete(first)


def test_a_confirmation_ends_with_the_seconds_of_the_sweep(run, clock):
  result = run(seconds=12.0, confirm_points=1, confirm_seeds=8)
  assert clock.seconds <= 12.0 + 1.0
  # The search has half of the time.
  assert n_complete(result) >= 2
  assert set(read_manifest(result.workdir).stopped) <= {'search', 'confirmation'}
  spent = clock.seconds
  run(seconds=12.0, confirm_points=1, confirm_seeds=8)
  assert clock.seconds == spent


def test_a_long_evaluation_is_stopped_and_continued(run, clock, monkeypatch):
  from lmhp.training.population import Population

  score = Population.score

  def slow_score(self, *arguments):
    clock.seconds += 10.0
    return score(self, *arguments)

  monkeypatch.setattr(Population, 'score', slow_score)
  result = run(seconds=6.0)
  assert clock.seconds <= 6.0 + 10.0 + 1.0
  assert n_complete(result) <= 1
