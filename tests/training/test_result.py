"""`result.json`: words for NaN and infinity come back as numbers, and what is no result is refused."""

import json

import numpy as np
import pytest

from lmhp.errors import ConfigError
from lmhp.training.result import read_result


def test_results_are_read_as_they_were_written(tmp_path):
  assert read_result(tmp_path) is None
  written = {'steps': 3, 'parameters': 5, 'loss': 'nan', 'best': 'inf', 'of': 'a'}
  (tmp_path / 'result.json').write_text(json.dumps(written))
  result = read_result(tmp_path)
  assert (
    np.isnan(result['loss']) and result['best'] == float('inf') and result['of'] == 'a'
  )
  for rubbish in ('', '{', '[]', '3', '{}', '{"steps": "3", "parameters": 5}'):
    (tmp_path / 'result.json').write_text(rubbish)
    with pytest.raises(ConfigError, match='result.json: not the result of a run'):
      read_result(tmp_path)
