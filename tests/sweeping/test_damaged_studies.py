"""Damaged files of a study: the same result as before, or one line. Never silent, no traceback."""

import json
import logging
import os
import re
import shutil

import jax
import jax.numpy as jnp
import pyarrow.parquet as pq
import pytest

import lmhp
from lmhp import ConfigError, Float
from lmhp.analysis.runs.sources import read
from lmhp.sweeping.engine import Engine
from lmhp.sweeping.execution import autotuning
from lmhp.sweeping.store import curves
from lmhp.sweeping.store.study import Study

TIMES = ('seconds', 'device')


class Killed(BaseException):
  """Stands for a killed process."""


def sweep(workdir):
  """Runs or continues a study of six points with two rungs and a confirmation."""

  def init(hypers):
    return jnp.full(3, 2.0) + 0.1 * jax.random.normal(
      jax.random.key(hypers['seed']), (3,)
    )

  def step(w, hypers, i):
    loss, grad = jax.value_and_grad(lambda w: jnp.sum(w**2))(w)
    return w - hypers['rate'] * grad, {'loss': loss}

  config = lmhp.SweepConfig(
    space={'rate': Float(1e-3, 0.5, log=True)},
    search='random',
    trials=6,
    objective='loss',
    halving='successive',
    first_rung_fraction=1 / 3,
    n_calibration_trials=3,
    min_rank_correlation=None,
    confirm_points=1,
    confirm_seeds=2,
    max_pack_width=2,
  )
  task = lmhp.FunctionTask(init, step, {'rate': 0.01, 'seed': 0}, steps=9)
  return lmhp.sweep(task, config, workdir=workdir, display='none', report=False)


@pytest.fixture(scope='module')
def snapshots(tmp_path_factory):
  """A finished study, and the same study after the kill of its fifth pack."""
  directory = tmp_path_factory.mktemp('studies')
  with pytest.MonkeyPatch.context() as patch:
    # All runs of this module take the same method, so that equal trials have equal bits.
    patch.setattr(autotuning, '_candidate_methods', lambda: ('loop',))
    sweep(directory / 'done' / 's')
    shutil.copytree(directory / 'done', directory / 'half')
    shutil.rmtree(directory / 'half' / 's')
    store = Engine._store
    stored = []

    def die(self, *arguments):
      stored.append(store(self, *arguments))
      if len(stored) == 5:
        raise Killed
      return stored[-1]

    patch.setattr(Engine, '_store', die)
    with pytest.raises(Killed):
      sweep(directory / 'half' / 's')
  return directory


@pytest.fixture
def study(snapshots, tmp_path, monkeypatch):
  """`study('half')`: a fresh copy of a snapshot."""
  monkeypatch.setattr(autotuning, '_candidate_methods', lambda: ('loop',))

  def copy(name):
    shutil.rmtree(tmp_path / name, ignore_errors=True)
    shutil.copytree(snapshots / name, tmp_path / name)
    return tmp_path / name / 's'

  return copy


def outcome(workdir):
  """Returns the trials, the curves and the result of a study, without times."""
  lines = (workdir / 'trials.jsonl').read_text().splitlines()
  trials = [json.loads(line) for line in lines]
  tables = {
    path.name: sorted(map(str, pq.read_table(path).to_pylist()))
    for path in (workdir / 'curves').iterdir()
  }
  result = json.loads((workdir / 'result.json').read_text())
  return [
    [{k: v for k, v in trial.items() if k not in TIMES} for trial in trials],
    tables,
    {k: v for k, v in result.items() if k not in TIMES},
  ]


def digit(text, skip):
  numbers = list(re.finditer(rb'(?<=[:\[, ])-?\d+(?:\.(\d))?', text))
  if not numbers:
    return None
  match = numbers[skip % len(numbers)]
  position = match.start(1) if match[1] else match.end() - 1
  new = b'%d' % ((int(text[position : position + 1]) + 3) % 9 + 1)
  return text[:position] + new[:1] + text[position + 1 :]


def flip(text, position):
  position %= max(len(text), 1)
  return text[:position] + bytes([text[position] ^ 4]) + text[position + 1 :]


DAMAGES = {
  'delete': lambda text: None,
  'empty': lambda text: b'',
  'half': lambda text: text[: len(text) // 2],
  'garbage': lambda text: bytes(range(7, 256)) * 3,
  'zeros': lambda text: bytes(len(text)),
  'flip in the first half': lambda text: flip(text, len(text) // 3),
  'flip in the second half': lambda text: flip(text, len(text) * 3 // 5),
  'digit': lambda text: digit(text, 3),
  'another digit': lambda text: digit(text, 11),
  'list': lambda text: b'[]\n',
  'null': lambda text: b'null\n',
  'twice': lambda text: text + text,
}

FILES = (
  'autotune.json',
  'study.json',
  'study.journal',
  'trials.jsonl',
  'packs/search-0-rung0*/pack.json',
  'packs/search-0-rung0*/result.json',
  'curves/search-0-rung0*.parquet',
)


QUICK = ('delete', 'half', 'flip in the second half', 'digit', 'list')


@pytest.mark.parametrize('pattern', FILES)
def test_damage_of_half_a_study_is_healed_or_named(study, snapshots, pattern):
  check_damages(study, snapshots, 'half', pattern, QUICK)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['half', 'done'])
@pytest.mark.parametrize('pattern', FILES)
def test_all_damages_are_healed_or_named(study, snapshots, name, pattern):
  check_damages(study, snapshots, name, pattern, DAMAGES)


def check_damages(study, snapshots, name, pattern, damages):
  """Damages a file in each way, and runs the report and the sweep again."""
  expected = outcome(snapshots / 'done' / 's')
  for damage in damages:
    workdir = study(name)
    path = sorted(workdir.glob(pattern))[0]
    before = path.read_bytes()
    after = DAMAGES[damage](before)
    if after == before:
      continue
    path.unlink()
    if after is not None:
      path.write_bytes(after)
    place = f'{pattern} of a {name} study, {damage}'

    # A report never changes a study, and is a page or one line.
    try:
      lmhp.report(workdir).text('html')
    except ConfigError as error:
      assert '\n' not in str(error), place
    try:
      sweep(workdir)
    except ConfigError as error:
      assert '\n' not in str(error), place
      assert path.name in str(error) or 'study' in str(error), place
      continue
    assert outcome(workdir) == expected, place


def test_the_copy_of_the_trials_is_never_believed(study, snapshots):
  """Also with more lines than trials, and when the process ends before another change."""
  whole = (snapshots / 'done' / 's' / 'trials.jsonl').read_bytes()
  last = whole.splitlines(keepends=True)[-1]
  number = json.loads(last)['number']
  following = last.replace(b'"number": %d' % number, b'"number": %d' % (number + 1))
  assert following != last
  for text in (whole + b'\n', whole + last, whole + following, b'\xff' + whole, b''):
    workdir = study('done')
    (workdir / 'trials.jsonl').write_bytes(text)
    sweep(workdir)
    assert (workdir / 'trials.jsonl').read_bytes() == whole


def test_measurements_are_read_from_the_storage_of_the_study(study, monkeypatch):
  """The choice of a method is not measured again, so the packs stay the same."""
  workdir = study('half')
  (workdir / 'autotune.json').unlink()
  measured = []
  measurement = autotuning.MethodMeasurement

  def measure(*arguments, **options):
    measured.append(options['data_per_trial'])
    return measurement(*arguments, **options)

  monkeypatch.setattr(autotuning, 'MethodMeasurement', measure)
  before = {path.name for path in (workdir / 'packs').iterdir()}
  sweep(workdir)
  # The confirmation, which had not begun, has other data.
  assert measured == [True]
  assert before <= {path.name for path in (workdir / 'packs').iterdir()}
  assert json.loads((workdir / 'autotune.json').read_text())['methods']


def test_a_new_study_takes_over_the_measurements_of_another(
  study, tmp_path, monkeypatch
):
  (tmp_path / 'new').mkdir()
  shutil.copy(study('done') / 'autotune.json', tmp_path / 'new')
  monkeypatch.setattr(autotuning, 'MethodMeasurement', None)
  sweep(tmp_path / 'new')


def test_curves_that_cannot_be_read_are_left_out_of_a_report(study, caplog):
  workdir = study('done')
  paths = sorted((workdir / 'curves').iterdir())
  table = pq.read_table(paths[0])
  # The values change, and the checksum stays.
  values = table['loss'].to_numpy() + 1
  changed = table.set_column(table.column_names.index('loss'), 'loss', [values])
  pq.write_table(changed, paths[0])
  paths[1].write_bytes(b'PAR1')
  with caplog.at_level(logging.WARNING):
    runs = read(workdir)
  assert runs.curves
  for path in paths[:2]:
    assert str(path) in caplog.text
    with pytest.raises(ConfigError, match=path.name):
      curves.read(path)


def test_a_pack_that_names_another_directory_is_refused(study, tmp_path):
  workdir = study('done')
  with Study.read(workdir) as stored:
    pack = stored.trials[0].packs[0]
  shutil.copy(workdir / f'curves/{pack}.parquet', tmp_path / 'outside.parquet')
  for name in ('../../outside', '/etc/passwd', '..', 'a/b', 'a\\b', '', '.x'):
    with pytest.raises(ConfigError, match='^pack: '):
      curves.path_of_curves(workdir, name)


def test_a_renamed_study_stops_at_once_and_continues_under_its_new_name(
  study, snapshots, tmp_path, monkeypatch
):
  workdir = study('half')
  store = Engine._store

  def rename(self, *arguments):
    if workdir.exists():
      os.rename(workdir, tmp_path / 'moved')
    return store(self, *arguments)

  with monkeypatch.context() as patch:
    patch.setattr(Engine, '_store', rename)
    with pytest.raises(ConfigError, match='renamed or deleted') as error:
      sweep(workdir)
  assert '\n' not in str(error.value)
  assert not workdir.exists()
  sweep(tmp_path / 'moved')
  assert outcome(tmp_path / 'moved')[:2] == outcome(snapshots / 'done' / 's')[:2]


def test_a_study_deleted_under_a_sweep_is_one_line(study, monkeypatch):
  workdir = study('half')
  store = Engine._store

  def delete(self, *arguments):
    shutil.rmtree(workdir, ignore_errors=True)
    return store(self, *arguments)

  monkeypatch.setattr(Engine, '_store', delete)
  with pytest.raises(ConfigError, match='renamed or deleted'):
    sweep(workdir)
  assert not workdir.exists()
