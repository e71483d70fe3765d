"""The task of lmhp's own trainer: seeds, lengths, jobs and penalty values of trials."""

import dataclasses
import math

import jax
import numpy as np
import pytest

from lmhp.errors import ConfigError
from lmhp.sweeping.budget import rungs_of
from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.space import Choice, Float, Int, as_space
from lmhp.sweeping.tasks.language_model import LanguageModel

LARGER = {'model.d_model': 24, 'model.d_ff': 40}


@pytest.fixture
def make(small):
  """`make(match_budget=None, **values)`: the task of a small config."""

  def make_task(match_budget=None, **values):
    return LanguageModel(small(**values), match_budget=match_budget)

  return make_task


def same_leaves(first, second):
  first_leaves = jax.tree.leaves(first)
  second_leaves = jax.tree.leaves(second)
  return [np.asarray(x).tobytes() for x in first_leaves] == [
    np.asarray(x).tobytes() for x in second_leaves
  ]


# --- jobs -----------------------------------------------------------------------------


def test_a_job_that_is_copied_equals_one_that_is_built(make):
  values = {'optimizer.learning_rate': 0.3, 'schedule.warmup_fraction': 0.25}
  other = {'optimizer.learning_rate': 0.01, 'schedule.warmup_fraction': 0.5}
  task = make()
  task.job(other)
  copied = task.job(values)
  built = make().job(values)
  assert copied.config == built.config
  assert copied.model == built.model
  assert copied.structure == built.structure
  assert same_leaves(copied.hypers, built.hypers)


def test_traced_numbers_share_a_structure_and_static_ones_do_not(make):
  task = make()
  structure = task.job({}).structure
  assert task.job({'optimizer.learning_rate': 0.3}).structure == structure
  assert task.job({'train.seed': 7}).structure == structure
  assert task.job({'train.batch_size': 2}).structure != structure
  assert task.job(LARGER).structure != structure


def test_a_value_that_no_config_can_have_is_refused(make):
  with pytest.raises(ConfigError, match='^model'):
    make().job({'model.d_model': 13})


# --- seeds ----------------------------------------------------------------------------


def test_each_replicate_has_the_next_seed(make):
  task = make(**{'train.seed': 5, 'data.seed': 8})
  seeded = task.with_seed({}, 2, reseed_data=False)
  assert seeded.overrides == {'train.seed': 7}
  assert seeded.seed == 7
  reseeded = task.with_seed({}, 2, reseed_data=True)
  assert reseeded.overrides == {'train.seed': 7, 'data.seed': 10}


def test_a_seed_among_the_values_of_a_point_is_kept(make):
  assert make().with_seed({'train.seed': 9}, 2, reseed_data=False).seed == 9


# --- matched lengths ------------------------------------------------------------------


@pytest.mark.parametrize('match_budget', [None, 'none'])
def test_without_a_matched_budget_the_length_stays(make, match_budget):
  values = {'train.batch_size': 6}
  assert make(match_budget).with_matched_length(values) == values


@pytest.mark.parametrize(
  'batch_size, seq_len, expected', [(6, 8, 12), (2, 8, 36), (3, 4, 48), (5, 8, 14)]
)
def test_trials_of_equal_tokens_have_steps_for_the_tokens_of_the_base_config(
  make, batch_size, seq_len, expected
):
  # The base config has 24 steps of 3 * 8 tokens.
  values = {'train.batch_size': batch_size, 'train.seq_len': seq_len}
  matched = make('tokens').with_matched_length(values)
  assert matched['train.steps'] == expected


def test_trials_of_equal_flops_have_the_flops_of_the_base_config(make):
  task = make('flops')
  base = task.job({})
  job = task.job(task.with_matched_length(LARGER))
  assert job.steps < base.steps
  difference = job.steps * job.flops_per_step - base.steps * base.flops_per_step
  assert abs(difference) <= 0.5 * job.flops_per_step


def test_trials_of_equal_steps_keep_the_steps_of_the_base_config(make):
  values = {'train.batch_size': 6}
  assert make('steps').with_matched_length(values) == values


def test_a_traced_number_does_not_change_the_length(make):
  task = make('tokens')
  values = {'train.batch_size': 6, 'optimizer.learning_rate': 0.1}
  steps = task.with_matched_length(values)['train.steps']
  other = {**values, 'optimizer.learning_rate': 0.2}
  assert task.with_matched_length(other)['train.steps'] == steps == 12


# --- the space ------------------------------------------------------------------------


def test_the_longest_warmup_is_that_of_the_base_config_or_of_the_space(make):
  task = make(**{'schedule.warmup_fraction': 0.2})
  rates = {'optimizer.learning_rate': Float(1e-3, 1e-1, log=True)}
  assert task.longest_warmup_fraction(rates) == 0.2
  warmups = {'schedule.warmup_fraction': Choice(0.1, 0.4)}
  assert task.longest_warmup_fraction(warmups) == 0.4


def test_a_space_over_the_data_seed_varies_the_data(make):
  task = make()
  assert task.varies_data_per_trial({'data.seed': Choice(1, 2)})
  assert not task.varies_data_per_trial({'train.seed': Choice(1, 2)})


def test_a_seed_is_no_traced_number_of_a_running_trial(make):
  task = make()
  assert task.is_traced('optimizer.learning_rate')
  assert not task.is_traced('train.seed')
  assert not task.is_traced('model.d_model')


@pytest.mark.parametrize(('name', 'expected'), [('cosine', True), ('constant', False)])
def test_a_constant_schedule_does_not_decay(make, name, expected):
  assert make(**{'schedule.name': name}).decays() == expected


# --- penalty values -------------------------------------------------------------------


def test_the_penalty_value_is_twice_the_loss_of_a_uniform_guess(make):
  task = make()
  job = task.job({})
  loss_nats = 2 * math.log(task.base.model.vocab_size)
  expected = {
    'eval_loss_nats': loss_nats,
    'eval_perplexity': math.exp(loss_nats),
    'eval_bits_per_byte': loss_nats / math.log(2),
    'eval_accuracy': 0.0,
    'parameters': job.model.n_parameters,
  }
  for metric, value in expected.items():
    assert task.penalty_value(metric, job, maximized=False) == pytest.approx(value)
  maximized = task.penalty_value('eval_loss_nats', job, maximized=True)
  assert maximized == pytest.approx(-loss_nats)


def test_a_metric_that_is_not_measured_is_refused(make):
  task = make()
  with pytest.raises(ConfigError, match="^sweep.objective: got 'eval_los'"):
    task.measure('eval_los', task.job({}))


@pytest.mark.parametrize(
  'space,longest',
  [
    ({'schedule.warmup_fraction': Float(0.01, 0.4)}, 0.4),
    ({'schedule.warmup_steps': Int(1, 12)}, 0.5),
    ({'schedule.warmup_tokens': Choice(24 * 6, 24 * 9)}, 9 / 24),
    ({'schedule.warmup_epochs': Float(0.001, 0.01)}, None),
    # The fraction depends on the length, too.
    ({'schedule.warmup_steps': Choice(3, 6), 'train.steps': Choice(12, 24)}, 0.5),
  ],
)
def test_no_rung_lies_within_a_warmup_of_any_unit(make, space, longest):
  task = make()
  fraction = task.longest_warmup_fraction(as_space(space))
  if longest is not None:
    assert fraction == pytest.approx(longest)
  assert fraction > 0.05 or longest is None

  sweep = SweepConfig(space=space, trials=27, halving='successive')
  schedule = rungs_of(task, sweep, as_space(space))
  assert schedule.steps[0] >= min(24, fraction * 24)
  # A first rung that is stated is checked.
  early = dataclasses.replace(sweep, first_rung_fraction=fraction / 2)
  with pytest.raises(ConfigError, match='^sweep.first_rung_fraction'):
    rungs_of(task, early, as_space(space))
