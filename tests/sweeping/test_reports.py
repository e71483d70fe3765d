"""Reports that a sweep writes: at rungs, at the end, and at little cost."""

import html
import json

import jax.numpy as jnp
import pytest

import lmhp
from lmhp import api
from lmhp.sweeping.study_run import REPORT_INTERVAL, Reports

SPACE = {'rate': lmhp.Float(1e-3, 0.4, log=True)}


def make_task():
  """Gradient descent on a quadratic function with its minimum at 1."""

  def init(hypers):
    del hypers
    return jnp.zeros(3)

  def step(w, hypers, i):
    del i
    gradient = 2 * (w - 1)
    return w - hypers['rate'] * gradient, {'loss': jnp.sum((w - 1) ** 2)}

  return lmhp.FunctionTask(init, step, {'rate': 0.1, 'seed': 0}, steps=30)


def run_sweep(workdir, display='none', report=True):
  sweep = lmhp.SweepConfig(
    space=SPACE,
    search='halton',
    trials=9,
    objective=('loss',),
    halving='successive',
    first_rung_fraction=0.2,
    n_calibration_trials=3,
    min_rank_correlation=None,
    execution='loop',
    confirm_points=0,
  )
  return lmhp.sweep(make_task(), sweep, workdir=workdir, display=display, report=report)


def test_the_report_at_the_end_names_the_winner(tmp_path):
  result = run_sweep(tmp_path)
  page = (tmp_path / 'report.html').read_text()
  content = json.loads(lmhp.report(result).text('json'))
  answer = content['answer'][0]

  assert page.startswith('<!doctype html>')
  trial = content['findings'][0]['numbers']['trial']
  assert trial == result.summary.best_trial
  assert answer in html.unescape(page)


def test_no_report_is_written_without_the_flag(tmp_path):
  run_sweep(tmp_path, report=False)
  assert not (tmp_path / 'report.html').exists()


def test_rungs_write_reports_of_the_stored_study(tmp_path, monkeypatch):
  write = api._write_report
  statuses_at_reports = []
  times = set()

  def write_and_record(workdir, storage):
    write(workdir, storage)
    rows = (tmp_path / 'trials.jsonl').read_text().splitlines()
    statuses_at_reports.append({json.loads(row)['status'] for row in rows})
    times.add((tmp_path / 'report.html').stat().st_mtime_ns)

  monkeypatch.setattr(api, '_write_report', write_and_record)
  monkeypatch.setattr('lmhp.sweeping.study_run.REPORT_INTERVAL', 0)
  run_sweep(tmp_path)

  assert len(statuses_at_reports) >= 2
  assert len(times) == len(statuses_at_reports)
  assert 'running' not in statuses_at_reports[-1]
  assert statuses_at_reports[0] != statuses_at_reports[-1]


def test_a_report_that_fails_does_not_stop_the_sweep(tmp_path, monkeypatch, capsys):
  def fail(workdir, storage):
    raise OSError('disk full')

  monkeypatch.setattr(api, '_write_report', fail)
  result = run_sweep(tmp_path, display='plain')
  assert result.complete
  assert (tmp_path / 'result.json').exists()
  assert 'OSError: disk full' in capsys.readouterr().out


@pytest.mark.parametrize(
  'seconds, n_reports', [(0.0, 100), (1.0, 1 + int(100 / (REPORT_INTERVAL + 1)))]
)
def test_reports_take_a_small_fraction_of_the_time(monkeypatch, seconds, n_reports):
  class Study:
    def flush(self):
      pass

  now = 100.0
  n_written = 0

  def write():
    nonlocal now, n_written
    now += seconds
    n_written += 1

  monkeypatch.setattr('lmhp.sweeping.study_run.time.monotonic', lambda: now)
  reports = Reports(write)
  for _ in range(100):
    reports.write(Study(), None)
    now += 1.0
  assert n_written == n_reports

  reports.write(Study(), None, last=True)
  assert n_written == n_reports + 1
