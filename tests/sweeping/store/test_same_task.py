"""A study continues with the same numbers, wherever its data lie and whatever it logs."""

import dataclasses

import pytest

from lmhp.errors import ConfigError
from lmhp.sweeping.result import write_best_file
from lmhp.sweeping.store.json_records import as_stored
from lmhp.sweeping.store.manifest import (
  StudyManifest,
  TaskDescription,
  extended_manifest,
)

OPTIONS = {'jax_default_prng_impl': 'threefry2x32'}
VALUES = {'data.path': ('a.txt',), 'log.every_steps': 10, 'model.d_model': 64}
TASK = TaskDescription('language_model', VALUES, {'jax_options': OPTIONS}, 'sha')


def extend(task, stored=TASK):
  old, new = (StudyManifest(task=one, sweep={}, space={}) for one in (stored, task))
  return extended_manifest(as_stored(old, 'manifest'), new, 'DIR')


@pytest.mark.parametrize(
  'values', [{'data.path': ('elsewhere/a.txt',)}, {'log.every_steps': 1}]
)
def test_place_of_the_data_and_logs_may_change(values):
  task = dataclasses.replace(TASK, base_values=VALUES | values)
  assert extend(task).task.base_values['model.d_model'] == 64


def test_other_text_is_refused():
  with pytest.raises(ConfigError, match='data.path: the text changed'):
    extend(dataclasses.replace(TASK, data_sha256='other'))


def test_other_values_are_refused():
  task = dataclasses.replace(TASK, base_values=VALUES | {'model.d_model': 32})
  with pytest.raises(ConfigError, match='model.d_model: got 32, expected 64'):
    extend(task)


def test_options_of_jax_are_compared_if_the_study_stored_them():
  task = dataclasses.replace(
    TASK, identity={'jax_options': {'jax_default_prng_impl': 'rbg'}}
  )
  with pytest.raises(ConfigError, match="jax_default_prng_impl: got 'rbg'"):
    extend(task)
  extend(task, stored=dataclasses.replace(TASK, identity={}))


def test_options_that_an_older_study_lacks_are_not_compared():
  options = {**OPTIONS, 'XLA_FLAGS': '--xla_cpu_enable_fast_math=true'}
  task = dataclasses.replace(TASK, identity={'jax_options': options})
  extend(task)
  with pytest.raises(ConfigError, match='XLA_FLAGS'):
    extend(
      dataclasses.replace(TASK, identity={'jax_options': OPTIONS | {'XLA_FLAGS': ''}}),
      task,
    )


def test_best_file_has_absolute_paths(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'a.txt').write_text('x')
  paths = ('a.txt', 'docstrings', 'hf:owner/name', '*.jsonl')
  config = {'data': {'path': paths, 'tokenizer': 'char'}}
  write_best_file(tmp_path / 'study', config, 'The winner.')
  text = (tmp_path / 'study' / 'best.py').read_text()
  for path in (tmp_path / 'a.txt', 'docstrings', 'hf:owner/name', tmp_path / '*.jsonl'):
    assert repr(str(path)) in text
  assert "tokenizer = 'char'" in text
