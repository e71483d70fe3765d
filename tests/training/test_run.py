"""The result of a run."""

import json
import math

import numpy as np
import pytest

from lmhp.errors import ConfigError
from lmhp.training.run import read_result, summarize_losses


def test_words_for_nan_and_infinity_come_back_as_numbers(tmp_path):
  assert read_result(tmp_path) is None
  written = {'steps': 3, 'parameters': 5, 'loss': 'nan', 'best': 'inf', 'of': 'a'}
  (tmp_path / 'result.json').write_text(json.dumps(written))
  result = read_result(tmp_path)
  assert math.isnan(result['loss'])
  assert result['best'] == math.inf
  assert result['of'] == 'a'


@pytest.mark.parametrize(
  'content', ['', '{', '[]', '3', '{}', '{"steps": "3", "parameters": 5}']
)
def test_a_file_that_is_no_result_is_refused(tmp_path, content):
  (tmp_path / 'result.json').write_text(content)
  with pytest.raises(ConfigError, match='result.json: not the result of a run'):
    read_result(tmp_path)


def summary(losses, eval_losses, log_every_steps=1):
  steps = np.arange(1, len(losses) + 1) * log_every_steps
  history = {'step': steps, 'loss_nats': np.array(losses, np.float64)}
  evaluations = {
    'step': np.arange(len(eval_losses)) * 10,
    'eval_loss_nats': np.array(eval_losses, np.float64),
  }
  return summarize_losses(history, evaluations, log_every_steps)


def test_the_best_evaluation_is_the_lowest_finite_one():
  result = summary([5.0, 4.0], [4.0, math.nan, 2.5, 3.0])
  assert (result['best_eval_loss_nats'], result['best_eval_step']) == (2.5, 20)
  assert result['initial_loss_nats'] == 5.0
  assert result['diverged_at'] is None


def test_divergence_is_a_step_and_not_a_row():
  result = summary([5.0, 4.0, math.nan], [math.nan], log_every_steps=10)
  assert result['diverged_at'] == 30
  assert result['best_eval_loss_nats'] == math.inf
