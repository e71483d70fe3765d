"""Check that kill -9 at any time loses nothing: resumed runs give the same bits.

A small model is trained once without interruption. Then it is trained repeatedly in new
directories. Each of these runs is killed once and resumed. The time of the kill is uniform
over the wall time, which includes start and compilation. Some kills happen during a save, and
some during the deletion of a checkpoint. The final parameters and the logged losses must
equal those of the first run.

  python bench/kills.py [--kills=20] [--in_save=5] [--in_deletion=2]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pathlib
import random
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
  config.train.steps, config.train.batch_size = 1500, 8
  config.evaluate.every_steps, config.evaluate.sequences = 500, 32
  config.checkpoint.every_steps = 20
  config.checkpoint.keep_last = 2
  config.checkpoint.keep_best = 1
  config.log.tensorboard = False
  return config
"""


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--kills', type=int, default=20)
  parser.add_argument(
    '--in_save', type=int, default=5, help='minimum number of kills during a save'
  )
  parser.add_argument(
    '--in_deletion',
    type=int,
    default=2,
    help='minimum number of kills during a deletion',
  )
  parser.add_argument('--seed', type=int, default=0)
  options = parser.parse_args()
  with tempfile.TemporaryDirectory() as directory:
    compare(pathlib.Path(directory), options)


def compare(directory: pathlib.Path, options: argparse.Namespace) -> None:
  """Runs the reference and the killed runs. Exits with 1 if one of them differs."""
  rng = random.Random(options.seed)
  text, experiment = directory / 'text.txt', directory / 'experiment.py'
  text.write_text(
    ''.join(
      rng.choice('the quick brown fox jumps over a lazy dog \n') for _ in range(100_000)
    )
  )
  experiment.write_text(EXPERIMENT % str(text))
  start(experiment, directory / 'warm').wait()  # fills the compile cache
  began = time.perf_counter()
  start(experiment, directory / 'reference').wait()
  seconds = time.perf_counter() - began
  expected = outcome(directory / 'reference')
  print(f'uninterrupted: {seconds:.1f} s, parameters sha256 {expected[0][:16]}')
  watched = ['a save'] * options.in_save + ['a deletion'] * options.in_deletion
  differing = 0
  for i, watch in enumerate(watched + [None] * (options.kills - len(watched))):
    workdir = directory / f'killed_{i}'
    # These kills wait for the first unfinished save or deletion after a random time.
    moment = rng.uniform(0.3 if watch else 0.0, 0.9 if watch else 1.0) * seconds
    killed_at, activity_at_kill = kill(
      start(experiment, workdir), workdir, moment, watch
    )
    resumed = start(experiment, workdir)
    resumed.wait()
    same = resumed.returncode == 0 and outcome(workdir) == expected
    differing += not same
    print(
      f'{i + 1:>3}  killed at {killed_at:5.1f} s, in {activity_at_kill:<12} '
      f'{"same" if same else "DIFFERENT"}',
      flush=True,
    )
  print(f'{options.kills - differing} of {options.kills} the same')
  sys.exit(differing > 0)


def start(experiment: pathlib.Path, workdir: pathlib.Path) -> subprocess.Popen:
  command = [
    sys.executable,
    '-m',
    'lmhp',
    'train',
    f'--config={experiment}',
    f'--workdir={workdir}',
    '--display=none',
  ]
  return subprocess.Popen(
    command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=os.environ
  )


def kill(
  process: subprocess.Popen, workdir: pathlib.Path, moment: float, watch: str | None
) -> tuple[float, str]:
  """Kills a process at a given time, or at the first given activity after it.

  Returns a description of the time and the activity.
  """
  began = time.perf_counter()
  while process.poll() is None:
    now, doing = time.perf_counter() - began, activity(workdir / 'checkpoints')
    if now >= moment and (watch is None or doing == watch):
      process.kill()
      process.wait()
      return now, activity(workdir / 'checkpoints')
    time.sleep(0.0005)
  return time.perf_counter() - began, 'nothing: it was done'


def activity(checkpoints: pathlib.Path) -> str:
  """Returns what the process is doing, as its directory shows it."""
  try:
    names = os.listdir(checkpoints)
    if any(
      name.isdecimal() and not (checkpoints / name / 'commit_success.txt').exists()
      for name in names
    ):
      return 'a deletion'
    return 'a save' if any('tmp' in name for name in names) else 'training'
  except FileNotFoundError:
    return 'start'


def outcome(workdir: pathlib.Path) -> tuple[str, list]:
  """Returns the hash of the parameters, and the logged rows without their times."""
  import jax
  import numpy as np

  import lmhp

  _, params, _ = lmhp.load_run(workdir)
  sha = hashlib.sha256(
    b''.join(np.asarray(x).tobytes() for x in jax.tree.leaves(params))
  ).hexdigest()
  rows = [
    json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()
  ]
  return sha, [{k: v for k, v in row.items() if k != 'seconds'} for row in rows]


if __name__ == '__main__':
  main()
