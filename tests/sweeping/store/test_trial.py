"""Trials as JSON, and as lines of `trials.jsonl`."""

import dataclasses
import json
import math

import pytest
from small_studies import make_trial

from lmhp.errors import ConfigError
from lmhp.sweeping.store.json_records import from_json, to_json
from lmhp.sweeping.store.trial import (
  LineageStep,
  StageResult,
  Trial,
  TrialCost,
  line_of,
)

TRIAL = make_trial(
  3,
  status='complete',
  scores={20: 0.5, 10: 1.5},
  values=(0.5,),
  cost=TrialCost(20, 4, 192, 1e6, 0.25, 'cpu'),
  stages=(
    StageResult('a', 'a-0', (1.5,)),
    StageResult('b', 'b-0', (9.0,), diverged=True),
  ),
  metrics={'loss': math.inf, 'eval_tokens': 40},
  lineage=(LineageStep(20, 2, {'x': (1, 2)}),),
)


def test_a_trial_is_read_back_from_json():
  text = json.dumps(to_json(TRIAL), allow_nan=False)
  assert from_json(Trial, json.loads(text), 'trial') == TRIAL


def test_a_field_of_a_newer_version_is_refused():
  obj = to_json(TRIAL)
  obj['cost'] = {**obj['cost'], 'energy': 1}
  with pytest.raises(ConfigError) as error:
    from_json(Trial, obj, 'trial')
  assert str(error.value).startswith('trial.cost.energy: ')


def test_a_line_has_flat_columns_and_is_strict_json():
  line = json.loads(line_of(TRIAL))
  assert list(line)[:10] == [
    'number',
    'point',
    'seed',
    'status',
    'cohort',
    'overrides',
    'parameters',
    'objective',
    'rung',
    'scores',
  ]
  assert (line['objective'], line['rung'], line['pack']) == (0.5, 20, 'b-0')
  assert (line['steps'], line['tokens'], line['n_parameters']) == (20, 192, 120)
  assert line['metrics'] == {'loss': 'inf', 'eval_tokens': 40}
  assert list(line['scores']) == ['10', '20']


def test_several_objectives_are_a_list_in_a_line():
  line = json.loads(line_of(dataclasses.replace(TRIAL, values=(1.0, 2.0))))
  assert line['objective'] == [1, 2]


def test_a_trial_finds_the_result_of_a_stage():
  assert TRIAL.result_of('b') == TRIAL.stages[1]
  assert TRIAL.result_of('c') is None
  assert TRIAL.packs == ('a-0', 'b-0')
