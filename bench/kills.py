"""kill -9 at any moment loses nothing: each resumed run ends with the uninterrupted run's parameters, bit for bit.

A small model is trained once to the end. Then it is trained again and again in fresh directories, each time killed at
one moment (uniform over the wall time, start and compile included; some when a save is seen half written, some when a
checkpoint is seen half deleted) and started again. Its last parameters and its logged losses must be the first run's.

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
  config.checkpoint.every_steps, config.checkpoint.keep_last, config.checkpoint.keep_best = 20, 2, 1
  config.log.tensorboard = False
  return config
"""


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--kills', type=int, default=20)
  parser.add_argument(
    '--in_save', type=int, default=5, help='of these, at least so many inside a save'
  )
  parser.add_argument(
    '--in_deletion', type=int, default=2, help='and so many inside a deletion'
  )
  parser.add_argument('--seed', type=int, default=0)
  options = parser.parse_args()
  with tempfile.TemporaryDirectory() as directory:
    compare(pathlib.Path(directory), options)


def compare(directory: pathlib.Path, options: argparse.Namespace) -> None:
  """Runs the reference and the killed runs; exits with 1 where one of them differs."""
  rng = random.Random(options.seed)
  text, experiment = directory / 'text.txt', directory / 'experiment.py'
  text.write_text(
    ''.join(
      rng.choice('the quick brown fox jumps over a lazy dog \n') for _ in range(100_000)
    )
  )
  experiment.write_text(EXPERIMENT % str(text))
  start(
    experiment, directory / 'warm'
  ).wait()  # fills the compile cache, as any second run finds it
  began = time.perf_counter()
  start(experiment, directory / 'reference').wait()
  seconds = time.perf_counter() - began
  expected = outcome(directory / 'reference')
  print(f'uninterrupted: {seconds:.1f} s, parameters sha256 {expected[0][:16]}')
  watched = ['a save'] * options.in_save + ['a deletion'] * options.in_deletion
  differing = 0
  for i, watch in enumerate(watched + [None] * (options.kills - len(watched))):
    workdir = directory / f'killed_{i}'
    # A watched kill takes the first half-done save or deletion after a moment of its own.
    moment = rng.uniform(0.3 if watch else 0.0, 0.9 if watch else 1.0) * seconds
    seen = kill(start(experiment, workdir), workdir, moment, watch)
    resumed = start(experiment, workdir)
    resumed.wait()
    same = resumed.returncode == 0 and outcome(workdir) == expected
    differing += not same
    print(
      f'{i + 1:>3}  killed at {seen[0]:5.1f} s, in {seen[1]:<12} {"same" if same else "DIFFERENT"}',
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
  """Kills at a moment, or from then on at the first sight of what is watched for; says when, and in what."""
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
  """What a look at the directory says the process is at."""
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
  """The parameters' hash, and the logged rows without their times."""
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
