"""Check that kill -9 at any time of a sweep loses nothing: resumed studies have equal results.

A small study (quasi-random points, then Bayesian points, rungs with cooldowns, and a
confirmation) is run once without interruption. Then it is run repeatedly in new directories.
Each of these studies is killed once and resumed. The time of the kill is uniform over the
wall time, which includes the start. Further kills wait from such a time on for a save, or for
an append to the journal. After some of these, the last record is cut short, as by a kill
during the write.

Each study must have the trials, curves and result of the first one, except for times and the
device. Optuna must read its journal, and find each trial number once and no running trial.
All studies use the packs of the first one (`autotune.json`).

  python bench/sweep_kills.py [--kills=20] [--in_save=4] [--in_append=3] [--torn=3]
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

EXPERIMENT = """
import lmhp

def get_config():
  config = lmhp.default_config()
  config.data.path = (%r,)
  config.model.max_seq_len, config.model.d_model, config.model.n_layers = 32, 64, 2
  config.model.residual_dropout = 0.1
  config.train.steps, config.train.batch_size = %d, 8
  config.evaluate.every_steps, config.evaluate.sequences = 20, 32
  config.checkpoint.every_seconds = 0.1
  return config

def get_sweep():
  space = {
    'optimizer.learning_rate': lmhp.Float(1e-4, 1.0, log=True),
    'schedule.name': lmhp.Choice('cosine', 'wsd_linear', 'constant'),
  }
  return lmhp.SweepConfig(
    space=space, search='auto', trials=%d, ask_batch_size=3, halving='successive',
    n_calibration_trials=3, confirm_seeds=2,
  )
"""
TIMES = {'seconds', 'compile_seconds', 'device'}
SAVE, APPEND, TORN = 'a save', 'an append', 'a torn append'


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument(
    '--kills', type=int, default=20, help='number of kills at uniform times'
  )
  parser.add_argument(
    '--in_save',
    type=int,
    default=4,
    help='number of further kills at the first save after a uniform time',
  )
  parser.add_argument(
    '--in_append',
    type=int,
    default=3,
    help='number of further kills at an append to the journal',
  )
  parser.add_argument(
    '--torn',
    type=int,
    default=3,
    help='number of further kills at an append whose record is then cut short',
  )
  parser.add_argument('--trials', type=int, default=12)
  parser.add_argument('--steps', type=int, default=540)
  parser.add_argument('--seed', type=int, default=0)
  options = parser.parse_args()
  with tempfile.TemporaryDirectory() as directory:
    # The caches of compiled programs and tokens are in this directory, and survive the kills.
    os.environ |= {
      'LMHP_COMPILE_CACHE': f'{directory}/compiled',
      'LMHP_CACHE': f'{directory}/data',
    }
    compare(pathlib.Path(directory), options)


def compare(directory: pathlib.Path, options: argparse.Namespace) -> None:
  """Runs the reference and the killed studies. Exits with 1 if one of them differs."""
  rng = random.Random(options.seed)
  text, experiment = directory / 'text.txt', directory / 'experiment.py'
  text.write_text(
    ''.join(
      rng.choice('the quick brown fox jumps over a lazy dog \n') for _ in range(100_000)
    )
  )
  experiment.write_text(EXPERIMENT % (str(text), options.steps, options.trials))
  finish(
    experiment, directory / 'warm'
  )  # fills the compile cache, and chooses the packs
  choices = directory / 'warm' / 'autotune.json'
  began = time.perf_counter()
  finish(experiment, begun(directory / 'reference', choices))
  seconds, expected = time.perf_counter() - began, outcome(directory / 'reference')
  print(
    f'uninterrupted: {seconds:.1f} s, {len(expected["trials"])} trials: {summary(expected)}',
    flush=True,
  )
  watched = (
    [None] * options.kills
    + [SAVE] * options.in_save
    + [APPEND] * options.in_append
    + [TORN] * options.torn
  )
  inside, failures = collections.Counter(), 0
  for i, watch in enumerate(watched):
    workdir = begun(directory / f'killed_{i}', choices)
    moment = (
      rng.uniform(0.0, 0.8 if watch else 1.0) * seconds
    )  # what is watched for must still come
    at, doing = kill(start(experiment, workdir), workdir, moment, watch, rng)
    finish(experiment, workdir)
    wrong = differences(expected, outcome(workdir)) + complaints(workdir)
    failures += bool(wrong)
    inside[doing] += 1
    litter = activity(workdir)  # unfinished files that were left behind
    print(
      f'{i + 1:>3}  killed at {at:5.1f} s, in {doing:<15} {"; ".join(wrong) or "same"}'
      + ('' if litter == 'training' else f' (left behind: {litter})'),
      flush=True,
    )
    shutil.rmtree(workdir)
  print(
    f'{len(watched) - failures} of {len(watched)} the same; killed in '
    + ', '.join(f'{what} {n}' for what, n in inside.most_common())
  )
  sys.exit(failures > 0)


def begun(workdir: pathlib.Path, choices: pathlib.Path) -> pathlib.Path:
  """Returns the directory of a new study that contains the choice of packs."""
  workdir.mkdir()
  shutil.copy(choices, workdir)
  return workdir


def start(experiment: pathlib.Path, workdir: pathlib.Path) -> subprocess.Popen:
  command = [
    sys.executable,
    '-m',
    'lmhp',
    'sweep',
    f'--config={experiment}',
    f'--workdir={workdir}',
    '--display=none',
  ]
  return subprocess.Popen(
    command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
  )


def finish(experiment: pathlib.Path, workdir: pathlib.Path) -> None:
  """Runs or resumes a study to its end. Exits if it reports an error."""
  process = start(experiment, workdir)
  errors = process.communicate()[1]
  if process.returncode:
    raise SystemExit(f'{workdir.name} does not go on:\n{errors}')


# --- kills --------------------------------------------------------------------------


def kill(
  process: subprocess.Popen,
  workdir: pathlib.Path,
  moment: float,
  watch: str | None,
  rng: random.Random,
) -> tuple[float, str]:
  """Kills a process at a given time, or at the first given activity after it.

  Returns a description of the time and the activity.
  """
  began, journal = time.perf_counter(), workdir / 'study.journal'
  before = size(journal)
  while process.poll() is None:  # an append takes a few milliseconds, so poll often
    now, grown = time.perf_counter() - began, size(journal)
    appends = (
      grown > before > 0 or watch == APPEND and os.path.lexists(f'{journal}.lock')
    )
    if now >= moment and (
      watch is None or (activity(workdir) == SAVE if watch == SAVE else appends)
    ):
      process.kill()
      process.communicate()
      doing = activity(workdir)
      if watch == TORN:
        os.truncate(journal, rng.randrange(before + 1, size(journal)))
        doing = TORN
      return now, doing
    before = grown
    time.sleep(0.0001)
  process.communicate()
  return time.perf_counter() - began, 'nothing: done'


def size(path: pathlib.Path) -> int:
  return path.stat().st_size if path.exists() else 0


def activity(workdir: pathlib.Path) -> str:
  """Returns what the process is doing, as its directory shows it: the lock of the journal
  and unfinished files.
  """
  names = listed(workdir)
  if 'study.journal.lock' in names:
    return APPEND
  packs = listed(workdir / 'packs')
  for pack in packs:
    folder = workdir / 'packs' / pack / 'checkpoints'
    steps = listed(folder)
    if any('tmp' in step for step in steps):
      return SAVE
    if any(
      step.isdecimal() and not (folder / step / 'commit_success.txt').exists()
      for step in steps
    ):
      return 'a deletion'
  half_made = re.compile(r'\..+\.\d+')  # .NAME.PID: written, and not yet renamed
  if any(
    half_made.fullmatch(name)
    for folder in ('', 'curves', *(f'packs/{p}' for p in packs))
    for name in listed(workdir / folder)
  ):
    return 'a replacement'
  return (
    'training'
    if packs
    else 'the beginning'
    if 'study.journal' in names
    else 'the start'
  )


def listed(folder: pathlib.Path) -> list[str]:
  try:
    return os.listdir(folder)
  except FileNotFoundError:
    return []


# --- the comparison -----------------------------------------------------------------


def outcome(workdir: pathlib.Path) -> dict:
  """Returns all results of a finished study, without times and paths."""
  import pyarrow.parquet as pq

  rows = [
    json.loads(line) for line in (workdir / 'trials.jsonl').read_text().splitlines()
  ]
  return {
    'trials': [
      {name: value for name, value in row.items() if name not in TIMES} for row in rows
    ],
    'curves': {
      path.name: pq.read_table(path)
      for path in sorted((workdir / 'curves').glob('*.parquet'))
    },
    'result': {
      n: x
      for n, x in json.loads((workdir / 'result.json').read_text()).items()
      if n not in TIMES
    },
    'best': (workdir / 'best.py').read_text().replace(workdir.name, 'WORKDIR'),
  }


def summary(found: dict) -> str:
  counts = collections.Counter(row['status'] for row in found['trials'])
  return (
    ', '.join(f'{n} {status}' for status, n in counts.items())
    + f'; best {found["result"]["best_value"]:.4f} nats'
  )


def differences(expected: dict, found: dict) -> list[str]:
  """Returns the differences of a study from the uninterrupted one."""
  wrong = [
    f'trial {a["number"]} differs in {", ".join(k for k in {**a, **b} if a.get(k) != b.get(k))}'
    for a, b in zip(expected['trials'], found['trials'])
    if a != b
  ]
  if len(expected['trials']) != len(found['trials']):
    wrong.append(f'{len(found["trials"])} trials')
  if expected['curves'].keys() != found['curves'].keys():
    wrong.append('other packs')
  wrong += [
    f'curves of {name} differ'
    for name in expected['curves'].keys() & found['curves'].keys()
    if not same_rows(expected['curves'][name], found['curves'][name])
  ]
  return wrong + [
    f'{name} differs' for name in ('result', 'best') if expected[name] != found[name]
  ]


def same_rows(a, b) -> bool:
  """Returns True if two tables have the same rows, bit for bit, in any order."""
  if sorted(a.column_names) != sorted(b.column_names) or a.num_rows != b.num_rows:
    return False

  def key(row):
    return json.dumps(row, sort_keys=True)

  rows = [sorted(map(key, table.to_pylist())) for table in (a, b)]
  return rows[0] == rows[1]


def complaints(workdir: pathlib.Path) -> list[str]:
  """Returns the problems that Optuna's own reader finds in the journal."""
  import optuna
  from optuna.storages.journal import JournalFileBackend

  optuna.logging.set_verbosity(optuna.logging.WARNING)
  storage = optuna.storages.JournalStorage(
    JournalFileBackend(str(workdir / 'study.journal'))
  )
  trials = optuna.load_study(study_name=None, storage=storage).get_trials()
  lines = (workdir / 'trials.jsonl').read_text().splitlines()
  wrong = [
    f'Optuna: trial {t.number} is {t.state.name}'
    for t in trials
    if not t.state.is_finished()
  ]
  if [t.number for t in trials] != list(range(len(lines))):
    wrong.append(f'Optuna: {len(trials)} trials, in trials.jsonl {len(lines)}')
  return wrong


if __name__ == '__main__':
  main()
