"""Texts of a sweep in cases in which a number is not known."""

import math
import types

from lmhp.sweeping import summary
from lmhp.sweeping.execution.stages import Stage
from lmhp.sweeping.execution.trial_scores import TrialScores
from lmhp.sweeping.store.trial import Trial


def test_a_time_that_was_not_measured_is_not_a_number_of_milliseconds():
  unknown = types.SimpleNamespace(member_step_seconds=math.nan)
  assert 'nan' not in summary._step_time(unknown)
  known = types.SimpleNamespace(member_step_seconds=0.002)
  assert summary._step_time(known).startswith('2.00 ms')


def test_a_rank_correlation_that_was_not_measured_is_no_number():
  assert summary._correlation(math.nan) == 'not measured'
  assert summary._correlation(0.25) == '0.25'


def test_a_diverged_trial_keeps_its_latency_in_seconds():
  objective = ('eval_loss_nats', 'latency_seconds', 'eval_accuracy')
  penalties = {'eval_loss_nats': 12.5, 'eval_accuracy': 0.0, 'latency_seconds': 12.5}
  scores = TrialScores(
    task=types.SimpleNamespace(
      penalty_value=lambda name, job, maximized: penalties[name]
    ),
    sweep=types.SimpleNamespace(objective=objective, maximizes=lambda name: False),
    autotuner=types.SimpleNamespace(measured=lambda name, job: 0.003),
    curves=None,
  )
  job = types.SimpleNamespace(known_metrics={}, tokens_per_step=2, flops_per_step=1.0)
  pack = types.SimpleNamespace(
    name='p', trials=(0,), last_step=9, first_step=0, final=True, cooldown_steps=0
  )
  metrics = {'eval_loss_nats': math.nan, 'eval_accuracy': math.nan}
  result = types.SimpleNamespace(
    metrics=(metrics,), nonfinite_steps=(5,), seconds=1.0, device='cpu'
  )
  trial = Trial(number=0, point=0, seed=0, parameters={}, overrides={})
  stage = Stage(name='search-0', trials=(0,), data_per_trial=False, planned_steps=9)
  after = scores.trial_after(trial, job, stage, pack, result)
  assert after.values == (12.5, 0.003, 0.0)
