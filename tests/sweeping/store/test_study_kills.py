"""A study and kills: none of them loses, doubles or halves a trial."""

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

from optuna.trial import TrialState

from lmhp.sweeping.store.trial import from_line

HERE = os.path.dirname(__file__)
sys.path.insert(0, HERE)
from test_study import NAN, by_optuna, go_on, lines, opened, trial  # noqa: E402


def conditions(workdir):
  """A short study, and its journal's size and its trials after each call."""
  found = []
  with opened(workdir) as study:
    note = lambda: found.append(
      ((workdir / 'study.journal').stat().st_size, lines(study.trials))
    )
    note()
    study.add([trial(i) for i in range(3)])
    note()
    study.update(
      [
        dataclasses.replace(
          t, status='running', scores={10: 1.5}, about={'stages': ['a'], 'x': NAN}
        )
        for t in study.trials[:2]
      ]
    )
    note()
    study.update(
      [
        dataclasses.replace(
          study.trials[0], status='complete', scores={10: 1.5, 20: 1.0}, values=(1.0,)
        ),
        dataclasses.replace(study.trials[1], status='diverged', values=(9.0,)),
      ]
    )
    note()
    study.add([trial(3)])
    note()
  return found


def test_torn_at_every_byte(tmp_path, monkeypatch):
  """Trials are added all or none; each has its old condition or its new one; Optuna agrees, and goes on."""
  found = conditions(tmp_path / 'whole')
  monkeypatch.setattr(os, 'fsync', lambda fd: None)
  text = (tmp_path / 'whole/study.journal').read_bytes()
  workdir = tmp_path / 'torn/whole'
  workdir.mkdir(parents=True)
  shutil.copy(tmp_path / 'whole/study.json', workdir)
  for (start, before), (end, after) in zip(found, found[1:]):
    boundaries = [i + 1 for i in range(start, end) if text[i : i + 1] == b'\n']
    every_byte = range(boundaries[-2] if len(before) == len(after) else end - 9, end)
    for size in sorted({*every_byte, *boundaries, *range(start, end, 89)}):
      (workdir / 'study.journal').write_bytes(text[:size])
      (workdir / 'trials.jsonl').write_text(''.join(line + '\n' for line in before))
      with opened(workdir) as study:
        now = lines(study.trials)
        assert len(now) in (len(before), len(after))
        assert all(line in (*before[i : i + 1], after[i]) for i, line in enumerate(now))
        assert size < end or now == after
        study.update([from_line(json.loads(line)) for line in after[: len(now)]])
        study.add([from_line(json.loads(line)) for line in after[len(now) :]])
        assert lines(study.trials) == after
      seen = by_optuna(workdir).trials
      statuses = [json.loads(line)['status'].upper() for line in after]
      states = [TrialState[{'DIVERGED': 'COMPLETE'}.get(s, s)] for s in statuses]
      assert [t.state for t in seen] == states
      assert [t.values for t in seen] == [
        [v] if (v := json.loads(line)['objective']) else None for line in after
      ]
      assert [len(t.intermediate_values) for t in seen] == [
        len(json.loads(line)['scores']) for line in after
      ]
      assert [t.user_attrs.get('diverged', False) for t in seen] == [
        '"diverged"' in line for line in after
      ]
      assert (workdir / 'trials.jsonl').read_text().splitlines() == after


WRITER = """
import dataclasses, sys
sys.path.insert(0, sys.argv[2])
import test_study
with test_study.opened(sys.argv[1]) as study:
  print('open', flush=True)
  test_study.go_on(study, len(study.trials) + 12)
  sys.stdin.read()  # whatever is left of the machine's time, there is a kill
"""


def test_killed_at_any_moment_it_ends_the_same(tmp_path):
  with opened(tmp_path / 'reference/run') as study:
    go_on(study, 60)
    reference = lines(study.trials)
  rng, kills = random.Random(0), 0
  workdir = tmp_path / 'killed/run'
  for _ in range(4):
    writer = subprocess.Popen(
      [sys.executable, '-c', WRITER, str(workdir), HERE],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
    )
    writer.stdout.readline()
    time.sleep(rng.uniform(0.0, 0.2))
    writer.send_signal(signal.SIGKILL)
    kills += writer.wait() == -9
    writer.stdout.close()
    writer.stdin.close()
  assert kills == 4
  began = time.monotonic()
  with opened(workdir) as study:
    assert time.monotonic() - began < 2.0
    assert len(study.trials) % 3 == 0
    go_on(study, 60)
    assert lines(study.trials) == reference
  assert [
    t.number for t in by_optuna(workdir).get_trials(states=[TrialState.COMPLETE])
  ] == list(range(60))
