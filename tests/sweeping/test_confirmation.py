"""The confirmation of the winner: how many seeds it trains, and when it stops."""

import jax
import jax.numpy as jnp
import pytest

import lmhp
from lmhp import Choice, analysis
from lmhp.sweeping.store.study import read_manifest
from lmhp.sweeping.summary import format_result


def noisy_task(noise, base_rate=0.01):
  """Returns a task whose loss is the rate and a normal error of each seed and rate."""

  def init(h):
    rate = jnp.round(1000 * h['rate']).astype(int)
    return jax.random.normal(jax.random.fold_in(jax.random.key(h['seed']), rate), ())

  def step(error, h, i):
    return error, {'loss': 5 + h['rate'] + noise * error}

  return lmhp.FunctionTask(init, step, {'rate': base_rate, 'seed': 0}, steps=4)


@pytest.fixture
def run(tmp_path):
  def sweep(task, rates=(0.5, 0.02, 0.3), **fields):
    config = lmhp.SweepConfig(
      space={'rate': Choice(*rates)},
      search='grid',
      objective='loss',
      execution='loop',
      confirm_points=1,
      **fields,
    )
    return lmhp.sweep(
      task, config, workdir=tmp_path / 'study', display='none', report=False
    )

  return sweep


def n_confirming(result):
  return sum(trial.cohort.startswith('confirm-') for trial in result.trials)


def test_a_clear_difference_stops_at_the_first_look(run):
  # The winner is 0.98 better than the base config, and the noise between seeds is 0.01.
  result = run(noisy_task(0.01, base_rate=1.0), confirm_seeds=8)
  winner, _ = result.confirmed
  assert len(winner.values) == 4
  assert n_confirming(result) == 8
  assert winner.verdict == 'better'
  assert winner.difference_interval[1] < 0


def test_no_difference_stops_when_it_is_futile(run):
  # A rate of 0.02 instead of 0.01 is far below the noise between seeds.
  result = run(noisy_task(1.0), confirm_seeds=16)
  winner, _ = result.confirmed
  assert winner.verdict == 'no significant difference'
  assert len(winner.values) < 16


def test_the_same_command_adds_nothing(run):
  first = run(noisy_task(0.01, base_rate=1.0), confirm_seeds=8)
  again = run(noisy_task(0.01, base_rate=1.0), confirm_seeds=8)
  assert [t.values for t in again.trials] == [t.values for t in first.trials]
  assert again.confirmed == first.confirmed


def test_without_a_number_the_confirmation_costs_less_than_the_search(run):
  rates = tuple(0.1 * i for i in range(1, 10))
  # Nine trials of the search pay for four pairs, and fewer than nine are left.
  result = run(noisy_task(0.05), rates)
  manifest = read_manifest(result.workdir)
  assert manifest.confirmation_pairs == 4
  assert n_confirming(result) <= 8 < 9


def test_the_report_has_the_interval_of_the_sweep(run):
  result = run(noisy_task(0.05, base_rate=1.0), confirm_seeds=8)
  confirmation = analysis.analyze(analysis.read(result.workdir)).confirmation
  winner, _ = result.confirmed
  assert (confirmation.low, confirmation.high) == pytest.approx(
    winner.difference_interval
  )
  assert confirmation.max_pairs == 8


def test_a_study_with_more_seeds_keeps_those_that_it_has(run):
  first = run(noisy_task(1.0), confirm_seeds=3)
  more = run(noisy_task(1.0), confirm_seeds=12)
  n_first = len(first.trials)
  assert [t.values for t in more.trials[:n_first]] == [t.values for t in first.trials]
  assert len(more.confirmed[0].values) >= 6
  assert jnp.isfinite(jnp.array(more.confirmed[0].difference_interval)).all()


def test_a_winner_that_is_the_base_config_is_not_trained_again(run):
  # The rate of the base config is the best of the space.
  result = run(noisy_task(0.0, base_rate=0.02), confirm_seeds=4)
  assert result.confirmed == ()
  assert n_confirming(result) == 0
  assert 'nothing better than the base config' in format_result(result)
