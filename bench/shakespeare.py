"""nanoGPT's whole CPU recipe in lmhp and in nanoGPT: wall time and final loss.

lmhp trains once for each seed (of initial parameters and order of the data), in a process of
its own, and scores the whole validation split. nanoGPT trains as its README describes. They
take turns. Start and compilation are included.

  pip install -e . "torch==2.13.0"
  git clone https://github.com/karpathy/nanoGPT
  python bench/shakespeare.py --nanogpt=nanoGPT --text=tinyshakespeare.txt
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
RECIPE = (
  '--device=cpu --compile=False --eval_iters=20 --log_interval=100 --block_size=64 '
  '--batch_size=12 --n_layer=4 '
  '--n_head=4 --n_embd=128 --max_iters=2000 --lr_decay_iters=2000 --dropout=0.0'
).split()


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--nanogpt', required=True, help='a checkout of nanoGPT')
  parser.add_argument('--text', required=True)
  parser.add_argument('--seeds', type=int, default=5)
  parser.add_argument('--peer_runs', type=int, default=2)
  options = parser.parse_args()
  with tempfile.TemporaryDirectory() as directory:
    peer = prepare_peer(pathlib.Path(directory), options)
    losses, ours, theirs = [], [], []
    for seed in range(options.seeds):
      seconds, loss = run_lmhp(pathlib.Path(directory), options.text, seed)
      ours.append(seconds)
      losses.append(loss)
      print(
        f'lmhp seed {seed}: {loss:.4f} nats over the whole validation split, {seconds:.1f} s',
        flush=True,
      )
      if seed < options.peer_runs:
        seconds, reported = run_peer(peer)
        theirs.append(seconds)
        print(
          f'nanoGPT: {reported} nats on its 20 random batches, {seconds:.1f} s',
          flush=True,
        )
    print(
      f'lmhp: mean {np.mean(losses):.4f} nats (standard deviation '
      f'{np.std(losses, ddof=1):.4f}), median '
      f'{np.median(ours):.1f} s ({min(ours):.1f} to {max(ours):.1f}); nanoGPT: median '
      f'{np.median(theirs):.1f} s'
    )


def run_lmhp(directory: pathlib.Path, text: str, seed: int) -> tuple[float, float]:
  """Returns the wall seconds of the process, and the final loss. The compile cache is off."""
  workdir = directory / f'lmhp_{seed}'
  environment = os.environ | {
    'LMHP_CACHE': str(directory / 'cache'),
    'LMHP_COMPILE_CACHE': 'off',
  }
  start = time.perf_counter()
  subprocess.run(
    [
      sys.executable,
      '-m',
      'lmhp',
      'train',
      f'--config={ROOT}/experiments/shakespeare_char.py',
      f'--config.data.path={text}',
      f'--config.train.seed={seed}',
      f'--config.data.seed={seed}',
      f'--workdir={workdir}',
      '--display=none',
    ],
    check=True,
    env=environment,
  )
  seconds = time.perf_counter() - start
  return seconds, json.loads((workdir / 'result.json').read_text())[
    'final_eval_loss_nats'
  ]


def prepare_peer(directory: pathlib.Path, options: argparse.Namespace) -> pathlib.Path:
  """Returns a copy of nanoGPT with the text as its character dataset."""
  peer = directory / 'nanogpt'
  shutil.copytree(options.nanogpt, peer)
  text = pathlib.Path(options.text).read_text()
  characters = sorted(set(text))
  number = {c: i for i, c in enumerate(characters)}
  ids = np.fromiter((number[c] for c in text), np.uint16, len(text))
  data = peer / 'data' / 'shakespeare_char'
  cut = int(len(ids) * 0.9)
  ids[:cut].tofile(data / 'train.bin')
  ids[cut:].tofile(data / 'val.bin')
  meta = {
    'vocab_size': len(characters),
    'stoi': number,
    'itos': dict(enumerate(characters)),
  }
  (data / 'meta.pkl').write_bytes(pickle.dumps(meta))
  return peer


def run_peer(peer: pathlib.Path) -> tuple[float, str]:
  """Returns the wall seconds of nanoGPT's train.py, and the last validation loss it prints."""
  start = time.perf_counter()
  done = subprocess.run(
    [sys.executable, 'train.py', 'config/train_shakespeare_char.py', *RECIPE],
    cwd=peer,
    check=True,
    capture_output=True,
    text=True,
  )
  return time.perf_counter() - start, re.findall(r'val loss ([\d.]+)', done.stdout)[-1]


if __name__ == '__main__':
  main()
