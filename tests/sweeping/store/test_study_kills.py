"""Kills: none of them loses, doubles or halves a trial."""

import dataclasses
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time

from optuna.trial import TrialState
import small_studies
from small_studies import (
  finish_study,
  lines_of,
  load_with_optuna,
  make_trial,
  open_study,
)

from lmhp.sweeping.store.trial import StageResult

TESTS = os.path.dirname(small_studies.__file__)


def write_short_study(workdir):
  """Writes a study. Returns the journal's size and the trials after each call."""
  found = []
  with open_study(workdir) as study:

    def note():
      size = (workdir / 'study.journal').stat().st_size
      found.append((size, study.trials))

    note()
    study.add([make_trial(i) for i in range(3)])
    note()
    study.update(
      [
        dataclasses.replace(
          trial,
          status='running',
          scores={10: 1.5},
          stages=(StageResult('a', 'a-0', (1.5,)),),
          metrics={'x': math.nan},
        )
        for trial in study.trials[:2]
      ]
    )
    note()
    first, second, _ = study.trials
    study.update(
      [
        dataclasses.replace(
          first, status='complete', scores={10: 1.5, 20: 1.0}, values=(1.0,)
        ),
        dataclasses.replace(second, status='diverged', values=(9.0,)),
      ]
    )
    note()
    study.add([make_trial(3)])
    note()
  return found


def torn_sizes(text, start, end, is_update):
  """Returns sizes at which a call's records are torn: most bytes of them, or some."""
  boundaries = [i + 1 for i in range(start, end) if text[i : i + 1] == b'\n']
  every_byte = range(boundaries[-2] if is_update else end - 9, end)
  return sorted({*every_byte, *boundaries, *range(start, end, 89)})


def assert_optuna_shows(workdir, trials):
  shown = load_with_optuna(workdir).trials
  states = {'diverged': TrialState.COMPLETE}
  for trial, optuna_trial in zip(trials, shown, strict=True):
    state = states.get(trial.status) or TrialState[trial.status.upper()]
    assert optuna_trial.state == state
    assert optuna_trial.values == (list(trial.values) if trial.values else None)
    assert len(optuna_trial.intermediate_values) == len(trial.scores)
    is_diverged = optuna_trial.user_attrs.get('diverged', False)
    assert is_diverged == (trial.status == 'diverged')


def test_torn_at_every_byte(tmp_path, monkeypatch):
  """Trials are added all or none. Each has its old state or its new one, and continues."""
  found = write_short_study(tmp_path / 'whole')
  monkeypatch.setattr(os, 'fsync', lambda fd: None)
  text = (tmp_path / 'whole/study.journal').read_bytes()
  workdir = tmp_path / 'torn/whole'
  workdir.mkdir(parents=True)
  shutil.copy(tmp_path / 'whole/study.json', workdir)
  for (start, before), (end, after) in zip(found, found[1:]):
    old_lines = lines_of(before)
    new_lines = lines_of(after)
    for size in torn_sizes(text, start, end, len(before) == len(after)):
      (workdir / 'study.journal').write_bytes(text[:size])
      with open_study(workdir) as study:
        lines = lines_of(study.trials)
        assert len(lines) in (len(before), len(after))
        for i, line in enumerate(lines):
          assert line in (*old_lines[i : i + 1], new_lines[i])
        assert size < end or lines == new_lines
        study.update(after[: len(lines)])
        study.add(after[len(lines) :])
        assert lines_of(study.trials) == new_lines
      assert_optuna_shows(workdir, after)
      assert (workdir / 'trials.jsonl').read_text().splitlines() == new_lines


def test_torn_while_it_begins(tmp_path):
  """A study that was killed before its first records were whole begins again."""
  open_study(tmp_path / 'run').close()
  workdir = tmp_path / 'run'
  text = (workdir / 'study.journal').read_bytes()
  (workdir / 'trials.jsonl').unlink()
  for size in range(0, len(text), 7):
    (workdir / 'study.journal').write_bytes(text[:size])
    with open_study(workdir) as study:
      study.add([make_trial(0)])
    (workdir / 'trials.jsonl').unlink()
    with open_study(workdir) as study:
      assert study.trials == [make_trial(0)]
      assert study.manifest == small_studies.MANIFEST
    (workdir / 'trials.jsonl').unlink()


WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
import small_studies
with small_studies.open_study(sys.argv[1]) as study:
  print('open', flush=True)
  small_studies.finish_study(study, len(study.trials) + 12)
  # However fast the machine is, the process is killed.
  sys.stdin.read()
"""


def test_killed_at_any_moment_it_ends_the_same(tmp_path):
  with open_study(tmp_path / 'reference/run') as study:
    finish_study(study, 60)
    reference = lines_of(study.trials)
  rng = random.Random(0)
  workdir = tmp_path / 'killed/run'
  for _ in range(4):
    writer = subprocess.Popen(
      [sys.executable, '-c', WRITER, str(workdir), TESTS],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
    )
    writer.stdout.readline()
    time.sleep(rng.uniform(0.0, 0.2))
    writer.send_signal(signal.SIGKILL)
    assert writer.wait() == -signal.SIGKILL
    writer.stdout.close()
    writer.stdin.close()
  start = time.monotonic()
  with open_study(workdir) as study:
    assert time.monotonic() - start < 2.0
    assert len(study.trials) % 3 == 0
    finish_study(study, 60)
    assert lines_of(study.trials) == reference
  complete = load_with_optuna(workdir).get_trials(states=[TrialState.COMPLETE])
  assert [trial.number for trial in complete] == list(range(60))
  exported = (workdir / 'trials.jsonl').read_text().splitlines()
  assert [json.loads(line)['number'] for line in exported] == list(range(60))
