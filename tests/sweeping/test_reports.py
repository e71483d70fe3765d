"""A sweep writes its own report: at rungs while it runs, at its end, and never at the study's cost."""

import json

import jax.numpy as jnp
import pytest

import lmhp
from lmhp.sweeping.study_run import REPORT_INTERVAL, Reports

SPACE = {'rate': lmhp.Float(1e-3, 0.4, log=True)}


def task():
  step = lambda w, hypers, i: (
    w - hypers['rate'] * 2 * (w - 1),
    {'loss': jnp.sum((w - 1) ** 2)},
  )
  return lmhp.FunctionTask(
    lambda hypers: jnp.zeros(3), step, {'rate': 0.1, 'seed': 0}, steps=30
  )


def sweep(workdir, **options):
  asked = lmhp.SweepConfig(
    space=SPACE,
    search='halton',
    trials=9,
    objective=('loss',),
    halving='successive',
    first_rung_fraction=0.2,
    execution='loop',
    confirm_points=0,
  )
  return lmhp.sweep(task(), asked, workdir=workdir, **{'display': 'none', **options})


def test_the_report_is_there_at_the_end_and_says_the_winner(tmp_path):
  found = sweep(tmp_path)
  page = (tmp_path / 'report.html').read_text()
  assert page.startswith('<!doctype html>')
  again = lmhp.report(found)
  assert f'rial {found.summary.best_trial}' in again.answer[1]
  assert json.loads(again.text('json'))['answer'][1].replace("'", '') in page.replace(
    '&#x27;', ''
  ).replace('&#39;', '')


def test_none_is_written_where_none_is_wanted(tmp_path):
  sweep(tmp_path, report=False)
  assert not (tmp_path / 'report.html').exists()


def test_rungs_write_it_too(tmp_path, monkeypatch):
  """Each report is of a study that was read from the disk while it ran: at the first rung nothing is at its end."""
  from lmhp import api

  seen, write = [], api._write_report

  def written(workdir, storage):
    write(workdir, storage)
    statuses = {
      t['status']
      for t in map(json.loads, (tmp_path / 'trials.jsonl').read_text().splitlines())
    }
    seen.append((statuses, (tmp_path / 'report.html').stat().st_mtime_ns))

  monkeypatch.setattr(api, '_write_report', written)
  monkeypatch.setattr('lmhp.sweeping.study_run.REPORT_INTERVAL', 0)
  sweep(tmp_path)
  assert len(seen) >= 2 and len({time for _, time in seen}) == len(seen)
  assert 'running' not in seen[-1][0] and seen[0][0] != seen[-1][0]


def test_a_report_that_fails_is_said_and_costs_nothing(tmp_path, monkeypatch, capsys):
  def broken(workdir, storage):
    raise OSError('disk full')

  monkeypatch.setattr('lmhp.api._write_report', broken)
  found = sweep(tmp_path, display='plain')
  assert found.complete and (tmp_path / 'result.json').exists()
  assert 'no report was written: OSError: disk full' in capsys.readouterr().out


@pytest.mark.parametrize('seconds', [0.0, 1.0])
def test_reports_take_a_small_share_of_the_time(monkeypatch, seconds):
  class Study:
    def flush(self):
      pass

  clock, written = [100.0], []

  def write():
    clock[0] += seconds
    written.append(clock[0])

  monkeypatch.setattr('lmhp.sweeping.study_run.time.monotonic', lambda: clock[0])
  reports = Reports(write)
  for _ in range(100):
    reports.write(Study(), None)
    clock[0] += 1.0
  assert len(written) == (100 if not seconds else 1 + int(100 / (REPORT_INTERVAL + 1)))
  reports.write(Study(), None, last=True)
  assert len(written) == (101 if not seconds else 2 + int(100 / (REPORT_INTERVAL + 1)))
