"""Trials that do not fit in memory are infeasible, and do not end a study."""

import errno
import os
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import pytest

import lmhp
from lmhp import Choice, ConfigError, Float
from lmhp.api import plan_sweep
from lmhp.errors import is_out_of_memory
from lmhp.files import as_path
from lmhp.sweeping.execution import autotuning, pack_run, pack_starts
from lmhp.sweeping.execution.pack_starts import PackStarts
from lmhp.training import loop
from lmhp.training.population import Population
from lmhp.training.programs import Programs

MESSAGES = (
  'RESOURCE_EXHAUSTED: Out of memory while trying to allocate 34359738368 bytes.',
  'INTERNAL: Failed to allocate 34359738368 bytes for buffer',
  'UNKNOWN: CUDA_ERROR_OUT_OF_MEMORY: out of memory',
  'INTERNAL: std::bad_alloc',
  'Attempting to reserve 20G at the bottom of memory: exceeds available HBM memory',
  'Ran out of memory in memory space hbm. Used 20.3G of 15.7G hbm.',
  'hipErrorOutOfMemory: Cannot allocate memory',
)


def error_of(text):
  return jax.errors.JaxRuntimeError(text)


@pytest.mark.parametrize('text', MESSAGES)
def test_each_wording_is_a_lack_of_memory(text):
  assert is_out_of_memory(error_of(text))
  try:
    raise RuntimeError('a worker failed') from error_of(text)
  except RuntimeError as error:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
  'error,expected',
  [
    (MemoryError(), True),
    (OSError(errno.ENOMEM, 'x'), True),
    (OSError(errno.ENOSPC, 'No space left on device'), False),
    (error_of('RESOURCE_EXHAUSTED: No space left on device'), False),
    (error_of('INVALID_ARGUMENT: shapes differ'), False),
    (ConfigError('data.path: out of memory.txt is no file'), False),
  ],
)
def test_only_a_lack_of_memory_is_one(error, expected):
  assert is_out_of_memory(error) == expected


# --- studies ----------------------------------------------------------------------------


def bowl():
  def init(h):
    return jnp.full(3, 2.0) + 0.1 * jax.random.normal(jax.random.key(h['seed']), (3,))

  def step(w, h, i):
    loss, grad = jax.value_and_grad(lambda w: jnp.sum(w**2))(w)
    return w - h['rate'] * grad, {'loss': loss}

  return lmhp.FunctionTask(init, step, {'rate': 0.01, 'seed': 0}, steps=9)


@pytest.fixture
def run(tmp_path, capsys):
  """`run(workdir=..., **sweep)`: a study of functions, and the lines that it prints."""

  def sweep(workdir='study', **fields):
    fields = {
      'space': {'rate': Float(1e-3, 0.5, log=True)},
      'search': 'random',
      'trials': 5,
      'confirm_points': 0,
      'execution': 'vmap',
      'objective': 'loss',
      **fields,
    }
    result = lmhp.sweep(
      bowl(),
      lmhp.SweepConfig(**fields),
      workdir=tmp_path / workdir,
      display='plain',
      report=False,
    )
    return result, capsys.readouterr().out

  return sweep


def limit_width(monkeypatch, limit, text=MESSAGES[1]):
  """Packs with more trials than `limit` run out of memory. Returns the numbers of trials."""
  run_pack = pack_run.PackRun.run
  widths = []

  def limited(self, again=False):
    widths.append(len(self.jobs))
    if len(self.jobs) > limit:
      raise error_of(text)
    return run_pack(self, again)

  monkeypatch.setattr(pack_run.PackRun, 'run', limited)
  return widths


def values_of(result):
  return [trial.values for trial in result.trials]


@pytest.mark.parametrize('halving', ['none', 'successive'])
@pytest.mark.parametrize('execution', ['vmap', 'loop', 'map'])
def test_a_pack_that_does_not_fit_runs_with_fewer_members(
  run, monkeypatch, execution, halving
):
  fields = {'execution': execution, 'halving': halving, 'min_rank_correlation': None}
  expected, _ = run('whole', **fields)
  with monkeypatch.context() as patch:
    widths = limit_width(patch, 2)
    result, text = run(**fields)
  assert max(widths) == 5 and 'narrower' in text
  assert [t.status for t in result.trials] == [t.status for t in expected.trials]
  for found, wanted in zip(values_of(result), values_of(expected)):
    assert found == pytest.approx(wanted, rel=1e-5)
  # The same command finds the results of the narrower packs, and tries no wider one.
  with monkeypatch.context() as patch:
    widths = limit_width(patch, 2)
    again, _ = run(**fields)
  assert widths == [] and values_of(again) == values_of(result)


@pytest.mark.parametrize('text', [MESSAGES[0], MESSAGES[3]])
def test_a_trial_that_does_not_fit_alone_is_infeasible(run, monkeypatch, text):
  with monkeypatch.context() as patch:
    limit_width(patch, 0, text)
    result, shown = run()
  assert {trial.status for trial in result.trials} == {'failed'}
  assert all('infeasible' in trial.error for trial in result.trials)
  assert 'max_pack_width' not in shown
  # A later command trains the trials of a larger budget.
  result, _ = run(trials=6)
  assert [t.status for t in result.trials] == ['failed'] * 5 + ['complete']


def test_another_error_still_ends_a_study(run, monkeypatch):
  limit_width(monkeypatch, 0, 'INVALID_ARGUMENT: shapes differ')
  with pytest.raises(jax.errors.JaxRuntimeError):
    run()


def test_a_confirmation_without_memory_decides_nothing(run, monkeypatch):
  run_pack = pack_run.PackRun.run

  def limited(self, again=False):
    if self.pack.name.startswith('confirm'):
      raise MemoryError
    return run_pack(self, again)

  monkeypatch.setattr(pack_run.PackRun, 'run', limited)
  result, _ = run(confirm_points=1)
  assert {t.status for t in result.trials if t.cohort == 'confirm-0'} == {'diverged'}


def test_a_program_that_cannot_be_measured_is_measured_narrower(run, monkeypatch):
  run_chunk = Population.run

  def limited(self, *arguments, **options):
    # One member for each device fits.
    if self.width > len(self.devices):
      raise error_of(MESSAGES[5])
    return run_chunk(self, *arguments, **options)

  monkeypatch.setattr(Population, 'run', limited)
  result, text = run()
  assert {trial.status for trial in result.trials} == {'complete'}
  assert 'narrower' not in text


@pytest.fixture
def sizes(small, tmp_path, monkeypatch):
  """A study over three sizes, of which the largest does not fit."""
  init = Programs.init
  compile_chunk = Population.compile_chunk

  def limited(self, data):
    if self.programs.model.cfg.d_model > 20:
      raise error_of(MESSAGES[1])
    return compile_chunk(self, data)

  monkeypatch.setattr(Population, 'compile_chunk', limited)

  def limited_init(self, hypers):
    if self.model.cfg.d_model > 20:
      raise error_of(MESSAGES[1])
    return init(self, hypers)

  monkeypatch.setattr(Programs, 'init', limited_init)
  sweep = lmhp.SweepConfig(
    space={'model.d_model': Choice(12, 16, 24)},
    search='grid',
    match_budget='steps',
    confirm_points=0,
  )
  return small(), sweep


def test_one_size_of_three_that_does_not_fit(sizes, tmp_path, capsys):
  config, sweep = sizes
  options = {'workdir': tmp_path / 'study', 'display': 'plain', 'report': False}
  for _ in range(2):
    result = lmhp.sweep(config, sweep, **options)
    statuses = [trial.status for trial in result.trials]
    assert statuses == ['complete', 'complete', 'failed']
  out = capsys.readouterr().out
  assert 'does not fit in memory' in out and 'infeasible' in out


def test_an_estimate_says_what_does_not_fit(sizes, caplog):
  config, sweep = sizes
  estimate = plan_sweep(config, sweep)
  assert estimate.search.trials == 3
  assert any('does not fit in memory' in r.message for r in caplog.records)


# --- kills ------------------------------------------------------------------------------


@pytest.fixture
def kernel(tmp_path, monkeypatch):
  """A function that sets what the kernel counts. None: the system has no counter."""

  def set_counter(boot, memory_kills):
    line = '' if memory_kills is None else f'oom_kill {memory_kills}\n'
    (tmp_path / 'vmstat').write_text(f'pgfault 5\n{line}')
    (tmp_path / 'boot_id').write_text(f'{boot}\n')

  monkeypatch.setattr(pack_starts, 'VMSTAT', tmp_path / 'vmstat')
  monkeypatch.setattr(pack_starts, 'BOOT_ID', tmp_path / 'boot_id')
  return set_counter


def starts_of(tmp_path, *events):
  starts = PackStarts(as_path(tmp_path), 'pack')
  for event in events:
    starts.note(event)
  return starts


@pytest.mark.parametrize(
  'events,fails',
  [
    ('', False),
    ('start', False),
    ('start end', False),
    ('start start', True),
    ('start end start end start', False),  # signals and errors end a start
    ('start step start', False),
    ('start step start start', True),
    ('start start step', False),
    ('start end start out_of_memory', True),
    ('start stuck', True),
    ('start stuck end', False),
    ('start stuck step end', False),
  ],
)
def test_the_starts_of_a_pack_decide(tmp_path, kernel, events, fails):
  kernel('boot', None)
  events = [event.replace('_', ' ') for event in events.split()]
  starts = starts_of(tmp_path, *events)
  assert (starts.failure() is not None) == fails
  # A line that was cut off by a kill is ignored.
  with open(starts.path, 'a') as file:
    file.write('{"event": "sta')
  assert (starts.failure() is not None) == fails


@pytest.mark.parametrize(
  'counters,fails',
  [
    # (start of the machine, its counter) at the first start, the second start and now
    ([('a', 4), ('a', 4), ('a', 4)], False),
    ([('a', 4), ('a', 5), ('a', 5)], False),  # one of two deaths may be for memory
    ([('a', 4), ('a', 5), ('a', 6)], True),
    ([('a', 4), ('b', 4), ('c', 4)], True),  # counters of two machines have no relation
    ([('a', 4), ('a', 4), ('b', 4)], False),
    ([('a', None), ('a', None), ('a', None)], True),
    ([('a', None), ('a', 4), ('a', 4)], False),
  ],
)
def test_a_death_counts_unless_the_kernel_killed_no_process(
  tmp_path, kernel, counters, fails
):
  starts = PackStarts(as_path(tmp_path), 'pack')
  for counter in counters[:-1]:
    kernel(*counter)
    starts.note('start')
  kernel(*counters[-1])
  assert (starts.failure() is not None) == fails


def test_a_program_that_crashes_without_end_is_run_narrower(tmp_path, kernel):
  kernel('a', 4)
  starts = starts_of(tmp_path, *['start'] * (pack_starts.MAX_DEATHS - 1))
  assert starts.failure() is None
  starts.note('start')
  assert starts.failure() is not None


def test_a_line_that_was_cut_off_does_not_damage_the_next(tmp_path, kernel):
  kernel('a', None)
  starts = starts_of(tmp_path, 'start')
  with open(starts.path, 'ab') as file:
    file.write(b'{"event": "st\xff')
  starts.note('start')
  assert starts.failure() is not None
  starts.note('step')
  assert starts.failure() is None


KILLED = """
import os, pathlib, signal, sys
sys.path.insert(0, {tests!r})
import lmhp
from lmhp.sweeping.execution import pack_run, pack_starts
from test_memory import bowl

run = pack_run.PackRun.run
counter = pathlib.Path({counter!r})
pack_starts.VMSTAT = counter

def killed(self, again=False):
  if len(self.jobs) > {limit}:
    memory_kills = int(counter.read_text().split()[1])
    counter.write_text(f'oom_kill {{memory_kills + {counted}}}')
    os.kill(os.getpid(), signal.SIGKILL)
  return run(self, again)

pack_run.PackRun.run = killed
sweep = lmhp.SweepConfig(
  space={{'rate': lmhp.Choice(0.1, 0.2, 0.3)}}, search='grid', objective='loss',
  confirm_points=0, execution='vmap',
)
result = lmhp.sweep(bowl(), sweep, workdir={workdir!r}, display='plain', report=False)
print('STATUSES', [trial.status for trial in result.trials])
"""


def run_until_it_ends(tmp_path, limit, counted, max_runs):
  """Returns the exit statuses of the runs of one study, and the output of the last one."""
  counter = tmp_path / 'vmstat'
  counter.write_text('oom_kill 3')
  code = KILLED.format(
    tests=os.path.dirname(__file__),
    limit=limit,
    counted=counted,
    counter=str(counter),
    workdir=str(tmp_path / 'study'),
  )
  codes = []
  output = ''
  while len(codes) < max_runs and codes[-1:] != [0]:
    process = subprocess.run(
      [sys.executable, '-c', code], capture_output=True, text=True, check=False
    )
    codes.append(process.returncode)
    output = process.stdout + process.stderr
  return codes, output


@pytest.mark.parametrize(
  'limit,n_kills,status', [(1, 4, 'complete'), (0, 10, 'failed')]
)
def test_a_pack_that_kills_its_process_twice_runs_narrower(
  tmp_path, limit, n_kills, status
):
  codes, output = run_until_it_ends(tmp_path, limit, counted=1, max_runs=n_kills + 1)
  # Three trials, then two and one, then one and one.
  assert codes == [-signal.SIGKILL] * n_kills + [0], output
  assert f'STATUSES {[status] * 3}' in output


def test_kills_by_a_person_leave_a_study_as_it_is(tmp_path):
  codes, output = run_until_it_ends(tmp_path, limit=0, counted=0, max_runs=3)
  assert codes == [-signal.SIGKILL] * 3
  # Nobody kills the next process.
  codes, output = run_until_it_ends(tmp_path, limit=3, counted=0, max_runs=1)
  assert codes == [0], output
  assert 'narrower' not in output
  assert f'STATUSES {["complete"] * 3}' in output


def test_a_pack_without_a_step_is_stuck(run, monkeypatch, tmp_path):
  monkeypatch.setattr(pack_starts, 'STUCK_SECONDS', 0.05)
  starts = PackStarts(as_path(tmp_path), 'pack')
  with starts.running():
    time.sleep(0.3)
    assert starts.failure() is not None
  assert starts.failure() is None


# --- one run ----------------------------------------------------------------------------


def test_a_run_that_does_not_fit_is_one_line_and_frees_its_directory(
  small, tmp_path, monkeypatch
):
  train = loop.TrainingLoop.train

  def limited(self, state, step):
    if self.setup.cfg.train.batch_size > 4:
      raise error_of(MESSAGES[1])
    return train(self, state, step)

  monkeypatch.setattr(loop.TrainingLoop, 'train', limited)
  workdir = tmp_path / 'run'
  with pytest.raises(ConfigError, match='^train.batch_size: got 6, .*memory'):
    lmhp.train(small(**{'train.batch_size': 6}), workdir=workdir, display='none')
  result = lmhp.train(small(), workdir=workdir, display='none')
  assert result.complete


def test_the_first_method_is_the_fallback():
  assert autotuning.unmeasured_method('auto', 'x').max_pack_width == 1
