"""The manifest of a run and its provenance."""

import dataclasses
import datetime
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from lmhp.errors import ConfigError
from lmhp.training.manifest import (
  DeviceDescription,
  GitState,
  Provenance,
  RunManifest,
  check_is_free,
  collect_provenance,
  git_state,
  read_manifest,
)

PROVENANCE = Provenance(
  versions={'python': '3.11', 'lmhp': None},
  git=GitState('abc', dirty=True),
  device=DeviceDescription('cpu', 'cpu', 4, 'a processor', 2),
  command=('lmhp', 'train'),
  started_utc='2026-01-02T03:04:05+00:00',
)
MANIFEST = RunManifest(
  config={'model': {'n_layers': 2, 'norm': 'layernorm'}, 'train': {'steps': 7}},
  overrides={'train.steps': 7},
  data_sha256='d' * 64,
  provenance=PROVENANCE,
)


def git(directory, *words):
  identity = ('-c', 'user.name=x', '-c', 'user.email=x@x')
  command = ['git', '-C', str(directory), *identity, *words]
  return subprocess.run(command, check=True, capture_output=True, text=True).stdout


# --- provenance -----------------------------------------------------------------------


def test_provenance_has_versions_device_and_command():
  provenance = collect_provenance()
  assert provenance.versions['jax'] == jax.__version__
  assert provenance.versions['numpy'] == np.__version__
  assert provenance.versions['python'] == sys.version.split()[0]
  assert provenance.device.platform == 'cpu'
  assert provenance.device.count == 4
  assert provenance.device.processor
  assert provenance.command == tuple(sys.argv)


def test_provenance_has_the_time_in_utc():
  started = datetime.datetime.fromisoformat(collect_provenance().started_utc)
  assert started.utcoffset() == datetime.timedelta(0)
  assert abs(started.timestamp() - time.time()) < 10


def test_provenance_has_the_commit_and_its_changes(tmp_path):
  assert collect_provenance(tmp_path).git is None
  git(tmp_path, 'init', '-q')
  assert collect_provenance(tmp_path).git == GitState(None, dirty=False)
  (tmp_path / 'a').write_text('1')
  git(tmp_path, 'add', 'a')
  git(tmp_path, 'commit', '-qm', 'a')
  commit = git(tmp_path, 'rev-parse', 'HEAD').strip()
  (tmp_path / 'untracked').write_text('2')
  assert collect_provenance(tmp_path).git == GitState(commit, dirty=False)
  (tmp_path / 'a').write_text('3')
  assert collect_provenance(tmp_path).git == GitState(commit, dirty=True)


def test_without_git_there_is_no_commit(monkeypatch):
  monkeypatch.setenv('PATH', '')
  assert collect_provenance().git is None


def test_collecting_is_quick():
  # The best of five, because the machine has other work.
  best = math.inf
  for _ in range(5):
    start = time.perf_counter()
    collect_provenance('/')
    best = min(best, time.perf_counter() - start)
  assert best < 0.05


# --- manifests ------------------------------------------------------------------------


@pytest.mark.parametrize(
  'manifest',
  [
    MANIFEST,
    dataclasses.replace(MANIFEST, pretrained_config={'model_type': 'gpt2'}),
    dataclasses.replace(MANIFEST, provenance=dataclasses.replace(PROVENANCE, git=None)),
  ],
  ids=['plain', 'pretrained', 'no git'],
)
def test_a_manifest_survives_its_file(tmp_path, manifest):
  assert read_manifest(tmp_path) is None
  (tmp_path / 'config.json').write_text(json.dumps(manifest.to_json()))
  assert read_manifest(tmp_path) == manifest


def test_the_file_has_the_provenance_at_its_top_level():
  keys = set(MANIFEST.to_json())
  provenance_keys = {'versions', 'git', 'device', 'command', 'started_utc'}
  assert keys == {'config', 'overrides', 'data_sha256'} | provenance_keys


@pytest.mark.parametrize('name', sorted(MANIFEST.to_json()))
def test_a_manifest_without_one_of_its_keys_is_damaged(tmp_path, name):
  values = MANIFEST.to_json()
  del values[name]
  (tmp_path / 'config.json').write_text(json.dumps(values))
  with pytest.raises(ConfigError, match='config.json: .*KeyError'):
    read_manifest(tmp_path)


@pytest.mark.parametrize('content', [b'', b'{"config"', b'[]', b'3', b'\xff\xfe'])
def test_a_file_that_is_no_manifest_is_refused(tmp_path, content):
  (tmp_path / 'config.json').write_bytes(content)
  with pytest.raises(
    ConfigError, match='config.json: this file is not the config of an lmhp run'
  ):
    read_manifest(tmp_path)


# --- free directories -----------------------------------------------------------------


def test_a_directory_that_does_not_exist_is_free(tmp_path):
  check_is_free(tmp_path / 'deep' / 'run')
  assert not (tmp_path / 'deep').exists()


@pytest.mark.parametrize('name', ['notes.txt', 'events.out.tfevents.1'])
def test_a_directory_with_other_files_is_free(tmp_path, name):
  (tmp_path / name).write_text('x')
  check_is_free(tmp_path)


@pytest.mark.parametrize('name', ['checkpoints', 'result.json', 'metrics.jsonl'])
def test_a_directory_with_a_file_of_a_run_is_not_free(tmp_path, name):
  (tmp_path / name).write_text('x')
  with pytest.raises(ConfigError, match=f'^workdir: .*{name}'):
    check_is_free(tmp_path)


def test_a_run_that_was_killed_at_its_start_leaves_a_free_directory(tmp_path):
  (tmp_path / 'metrics.jsonl').touch()
  check_is_free(tmp_path)


def test_a_file_is_not_free(tmp_path):
  (tmp_path / 'file').write_text('x')
  with pytest.raises(ConfigError, match='^workdir: got .*is a file'):
    check_is_free(tmp_path / 'file' / 'run')


def test_a_directory_that_cannot_be_written_is_not_free(tmp_path, monkeypatch):
  monkeypatch.setattr(os, 'access', lambda path, mode: not mode & os.W_OK)
  with pytest.raises(ConfigError, match='^workdir: got '):
    check_is_free(tmp_path / 'run')


# --- git ------------------------------------------------------------------------------


def run_git(directory, *arguments):
  identity = ['-c', 'user.name=n', '-c', 'user.email=e@example.org']
  subprocess.run(
    ['git', '-C', str(directory), *identity, *arguments],
    check=True,
    capture_output=True,
  )


@pytest.fixture
def planted(tmp_path):
  """A checkout that configures a program wherever git may start one. Each leaves a file."""
  if shutil.which('git') is None:
    pytest.skip('needs git')
  checkout = tmp_path / 'checkout'
  inner = tmp_path / 'inner'
  executed = tmp_path / 'executed'
  executed.mkdir()
  for repository in (inner, checkout):
    repository.mkdir()
    run_git(repository, 'init', '-q')
    (repository / 'file.txt').write_text('text')
    (repository / '.gitattributes').write_text('* filter=planted diff=planted\n')
    run_git(repository, 'add', '.')
    run_git(repository, 'commit', '-qm', 'first')
  run_git(
    checkout,
    '-c',
    'protocol.file.allow=always',
    'submodule',
    'add',
    '-q',
    str(inner),
    'inner',
  )
  run_git(checkout, 'commit', '-qm', 'second')
  for repository in (checkout, checkout / 'inner'):
    for name in (
      'core.fsmonitor',
      'filter.planted.clean',
      'filter.planted.smudge',
      'filter.planted.process',
      'filter.a=b.clean',
      'diff.planted.textconv',
      'diff.planted.command',
      'diff.external',
      'core.pager',
      'core.editor',
      'core.sshCommand',
    ):
      # Git runs the value in a shell.
      name_of_file = re.sub(r'\W', '_', name)
      run_git(
        repository, 'config', name, f'touch {executed}/{name_of_file}; cat; false'
      )
    run_git(repository, 'config', 'filter.planted.required', 'true')
    hooks = tmp_path / f'hooks of {repository.name}'
    hooks.mkdir()
    for name in ('post-index-change', 'pre-commit', 'post-checkout', 'fsmonitor'):
      (hooks / name).write_text(f'#!/bin/sh\ntouch {executed}/{name}\n')
      (hooks / name).chmod(0o755)
    run_git(repository, 'config', 'core.hooksPath', str(hooks))
  # The content must be compared, because the times of the files are new.
  for path in (checkout / 'file.txt', checkout / 'inner/file.txt'):
    os.utime(path, (2e9, 2e9))
  return checkout, executed


def test_the_plant_grows_without_protection(planted):
  """Shows that the test below can fail."""
  checkout, executed = planted
  subprocess.run(['git', '-C', str(checkout), 'status'], capture_output=True)
  assert {'core_fsmonitor', 'post-index-change'} & set(os.listdir(executed))
  assert any('filter' in name for name in os.listdir(executed))


def test_reading_the_commit_executes_nothing_of_the_repository(planted):
  checkout, executed = planted
  head = subprocess.run(
    ['git', '-C', str(checkout), 'rev-parse', 'HEAD'], capture_output=True, text=True
  )
  assert git_state(checkout) == GitState(head.stdout.strip(), dirty=False)
  (checkout / 'file.txt').write_text('another text')
  assert git_state(checkout) == GitState(head.stdout.strip(), dirty=True)
  assert git_state(checkout / 'inner').commit is not None
  assert os.listdir(executed) == []


def test_there_is_no_commit_outside_a_checkout(tmp_path, monkeypatch):
  monkeypatch.setenv('GIT_CEILING_DIRECTORIES', str(tmp_path.parent))
  assert git_state(tmp_path) is None
  assert git_state(tmp_path / 'missing') is None
