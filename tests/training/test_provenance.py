"""Where a result comes from."""

import datetime
import json
import math
import subprocess
import sys
import time

import jax
import numpy as np

from lmhp.training import provenance


def git(directory, *words):
  subprocess.run(
    ['git', '-C', str(directory), '-c', 'user.name=x', '-c', 'user.email=x@x', *words],
    check=True,
    capture_output=True,
  )


def test_names_versions_device_command_and_time():
  about = provenance.describe()
  json.dumps(about, allow_nan=False)
  assert (
    about['versions']['jax'] == jax.__version__
    and about['versions']['numpy'] == np.__version__
  )
  assert about['versions']['python'] == sys.version.split()[0]
  assert (
    about['device']['platform'] == 'cpu'
    and about['device']['count'] == 4
    and about['device']['processor']
  )
  assert about['command'] == sys.argv
  started = datetime.datetime.fromisoformat(about['started_utc'])
  assert (
    started.utcoffset() == datetime.timedelta(0)
    and abs(started.timestamp() - time.time()) < 10
  )


def test_git_commit_and_whether_it_is_dirty(tmp_path):
  assert provenance.describe(tmp_path)['git'] is None
  git(tmp_path, 'init', '-q')
  (tmp_path / 'a').write_text('1')
  git(tmp_path, 'add', 'a')
  git(tmp_path, 'commit', '-qm', 'a')
  commit = (
    (tmp_path / '.git' / (tmp_path / '.git' / 'HEAD').read_text().split()[1])
    .read_text()
    .strip()
  )
  (tmp_path / 'untracked').write_text('2')
  assert provenance.describe(tmp_path)['git'] == {'commit': commit, 'dirty': False}
  (tmp_path / 'a').write_text('3')
  assert provenance.describe(tmp_path)['git'] == {'commit': commit, 'dirty': True}


def test_no_git_is_no_trouble(monkeypatch):
  monkeypatch.setenv('PATH', '')
  assert provenance.describe()['git'] is None


def test_is_quick():
  best = math.inf
  for _ in range(5):  # the best of five: the machine has other work
    start = time.perf_counter()
    provenance.describe('/')
    best = min(best, time.perf_counter() - start)
  assert best < 0.05
