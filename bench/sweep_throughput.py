"""Trials per minute of a learning-rate sweep: lmhp.sweep, one process per trial, and nanoGPT.

The model is that of `experiments/shakespeare_char.py` (4 layers, d_model 128, batch size 12,
context 64). All methods use the same learning rates and validation windows: `lmhp.sweep`, one
`lmhp train` for each trial, nanoGPT, and Optuna with nanoGPT. The wall time of whole processes
is measured, with start and compilation, and without cached programs. The methods take turns.

  pip install -e . "torch==2.13.0"
  git clone https://github.com/karpathy/nanoGPT
  python bench/sweep_throughput.py --nanogpt=nanoGPT --text=tinyshakespeare.txt

With --gain, and the options of `bench/pack_gain.py`, the gain of packing is measured instead:
tokens per second of a pack of K members and of one member.

  python bench/sweep_throughput.py --gain
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import pack_gain
from shakespeare import ROOT, prepare_peer
from step_time import IDLER

EXPERIMENT = f'{ROOT}/experiments/shakespeare_char.py'
CONTEXT, BATCH, WARMUP, EVALUATED_AT_ONCE = 64, 12, 100, 32


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--nanogpt', help='a checkout of nanoGPT')
  parser.add_argument('--text', help='file of tiny Shakespeare')
  parser.add_argument('--rounds', type=int, default=1)
  parser.add_argument('--trials', type=int, default=16)
  parser.add_argument('--steps', type=int, default=200)
  parser.add_argument(
    '--windows',
    type=int,
    default=240,
    help="that score a trial (nanoGPT's 20 batches of 12)",
  )
  parser.add_argument(
    '--processes',
    type=int,
    default=4,
    help='number of trials that run as one process each; the time is scaled',
  )
  parser.add_argument(
    '--gain', action='store_true', help='measure the gain of packing instead'
  )
  parser.add_argument('--worker', help=argparse.SUPPRESS)
  options, others = parser.parse_known_args()
  if options.gain:
    return pack_gain.main(others)
  if others:
    parser.error(f'unrecognized arguments: {" ".join(others)}')
  if options.worker:
    verb, *words = json.loads(options.worker)
    print(json.dumps(WORKERS[verb](*words)), flush=True)
  elif not (options.nanogpt and options.text):
    parser.error('expected --nanogpt and --text, or --gain')
  else:
    compare(options)


# --- trials per minute --------------------------------------------------------------


def compare(options: argparse.Namespace) -> None:
  """Lets the four methods take turns and prints the table."""
  rates = [float(f'{x:.3g}') for x in np.geomspace(1e-4, 3e-2, options.trials)]
  one_each = rates[:: max(1, len(rates) // options.processes)][: options.processes]
  idlers = [
    subprocess.Popen([sys.executable, '-c', IDLER]) for _ in range(os.cpu_count())
  ]
  try:
    with tempfile.TemporaryDirectory() as directory:
      peer = prepare_peer(pathlib.Path(directory), options)
      dtype = ask('quicker', str(peer))[1]
      torch = (str(peer), dtype, rates, options.steps, options.windows)
      ways = {
        'lmhp.sweep': (
          rates,
          lambda: ask('sweep', directory, options.text, *torch[2:]),
        ),
        'lmhp, a process a trial': (
          one_each,
          lambda: train_each(directory, one_each, options),
        ),
        'nanoGPT': (rates, lambda: ask('torch', *torch)),
        'nanoGPT by Optuna': (rates, lambda: ask('optuna', *torch)),
      }
      found = {name: [] for name in ways}
      for _ in range(options.rounds):
        for name, (_, way) in ways.items():
          found[name].append(way())
          print(f'{name}: {found[name][-1][0]:.1f} s', flush=True)
  finally:
    for idler in idlers:
      idler.kill()
  print(
    f'{len(rates)} trials of {options.steps} steps, each scored on {options.windows} '
    f'windows; torch in {dtype}'
  )
  print(
    f'the compile cache is off; of a process a trial {len(one_each)} were run, and '
    'their time scaled'
  )
  show({name: (ways[name][0], found[name]) for name in ways}, len(rates))


def show(
  found: dict[str, tuple[list[float], list[tuple[float, dict]]]], n_trials: int
) -> None:
  """Prints one line for each method: medians over rounds."""
  seconds = {
    name: [s / len(rates) * n_trials for s, _ in rounds]
    for name, (rates, rounds) in found.items()
  }
  ours = np.median(seconds['lmhp.sweep'])
  print(
    f'\n{"":<24}{"seconds":>18}{"trials/minute":>15}{"lmhp.sweep is":>15}  best loss, nats'
  )
  for name, (rates, rounds) in found.items():
    median, first_result = np.median(seconds[name]), rounds[0][1]
    best = int(
      np.nanargmin([math.nan if x is None else x for x in first_result['losses']])
    )  # None: diverged
    spread = f'{median:.1f} ({min(seconds[name]):.0f} to {max(seconds[name]):.0f})'
    print(
      f'{name:<24}{spread:>18}{60 * n_trials / median:>15.1f}{median / ours:>13.2f} x  '
      f'{first_result["losses"][best]:.3f} at {rates[best]:g}  {first_result["how"]}',
      flush=True,
    )
  sweep, each = (
    dict(zip(found[name][0], found[name][1][0][1]['losses']))
    for name in list(found)[:2]
  )
  apart = max(
    abs(sweep[rate] - loss) for rate, loss in each.items() if loss is not None
  )
  print(f"the losses of a process a trial are the sweep's to within {apart:.1g} nats")


def ask(*words) -> tuple[float, dict]:
  """Returns the wall seconds of a process of this file, and its result."""
  start = time.perf_counter()
  done = subprocess.run(
    [sys.executable, __file__, f'--worker={json.dumps(words)}'],
    check=True,
    text=True,
    stdout=subprocess.PIPE,
    env=environment(),
  )
  return time.perf_counter() - start, json.loads(done.stdout.splitlines()[-1])


def environment() -> dict[str, str]:
  """Returns environment variables that turn off the caches of compiled programs."""
  kept = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith('JAX_COMPILATION_CACHE')
  }
  return kept | {'LMHP_COMPILE_CACHE': 'off'}


def train_each(
  directory: str, rates: list[float], options: argparse.Namespace
) -> tuple[float, dict]:
  """Runs one `lmhp train` process for each trial.

  Outputs that a trial of a sweep does not write are turned off.
  """
  config = {
    'data.path': options.text,
    'train.steps': options.steps,
    'evaluate.final_sequences': options.windows,
    'checkpoint.enabled': False,
    'log.tensorboard': False,
  }
  start, losses = time.perf_counter(), []
  for rate in rates:
    workdir = tempfile.mkdtemp(dir=directory)
    words = [
      f'--config.{path}={value}'
      for path, value in {**config, 'optimizer.learning_rate': rate}.items()
    ]
    subprocess.run(
      [
        sys.executable,
        '-m',
        'lmhp',
        'train',
        f'--config={EXPERIMENT}',
        f'--workdir={workdir}',
        '--display=none',
        *words,
      ],
      check=True,
      env=environment() | {'LMHP_CACHE': workdir},
    )
    losses.append(
      json.loads(pathlib.Path(workdir, 'result.json').read_text())[
        'final_eval_loss_nats'
      ]
    )
  return time.perf_counter() - start, {
    'losses': [x if isinstance(x, float) else None for x in losses],
    'how': '',
  }


def sweep(
  directory: str, text: str, rates: list[float], steps: int, windows: int
) -> dict:
  """Runs the sweep as a user does, with an empty data cache.

  Returns the loss of each learning rate, and the execution of its packs.
  """
  workdir = tempfile.mkdtemp(dir=directory)
  os.environ['LMHP_CACHE'] = workdir
  import lmhp

  cfg = lmhp.SweepConfig(
    space={'optimizer.learning_rate': lmhp.Choice(*rates)},
    search='grid',
    confirm_points=0,
  )
  overrides = {
    'data.path': text,
    'train.steps': steps,
    'evaluate.final_sequences': windows,
  }
  found = lmhp.sweep(
    EXPERIMENT, cfg, workdir=f'{workdir}/study', overrides=overrides, display='none'
  )
  losses = {t.overrides['optimizer.learning_rate']: t.values[0] for t in found.trials}
  measured = json.loads(pathlib.Path(workdir, 'study', 'autotune.json').read_text())
  methods = ', '.join(choice['method'] for choice in measured['methods'].values())
  return {'losses': [losses[rate] for rate in rates], 'how': f'pack: {methods}'}


# --- nanoGPT ------------------------------------------------------------------------


class Peer:
  """nanoGPT's model, and the loop of its train.py without parts that have no effect here."""

  def __init__(self, checkout: str, dtype: str):
    sys.path.insert(0, checkout)
    import torch

    self.torch, folder = torch, pathlib.Path(checkout, 'data', 'shakespeare_char')
    self.train, self.validation = (
      np.fromfile(folder / f'{split}.bin', np.uint16) for split in ('train', 'val')
    )
    self.device = 'cuda' if torch.cuda.is_available() else 'cpu'
    half = dtype == 'bfloat16'
    self.precision = lambda: (
      torch.amp.autocast(self.device, torch.bfloat16)
      if half
      else contextlib.nullcontext()
    )

  def trial(self, rate: float, steps: int, windows: int) -> float:
    """Trains a model and returns its validation loss in nats per token."""
    from model import GPT, GPTConfig

    self.torch.manual_seed(0)
    with contextlib.redirect_stdout(io.StringIO()):
      model = GPT(
        GPTConfig(
          block_size=CONTEXT,
          vocab_size=65,
          n_layer=4,
          n_head=4,
          n_embd=128,
          dropout=0.0,
          bias=False,
        )
      )
      model.to(self.device)
      optimizer = model.configure_optimizers(0.1, rate, (0.9, 0.99), self.device)
    for step in range(steps):
      for group in optimizer.param_groups:
        group['lr'] = rate * scheduled(step, steps)
      starts = self.torch.randint(len(self.train) - CONTEXT, (BATCH,)).tolist()
      with self.precision():
        _, loss = model(*self.batch(self.train, starts))
      loss.backward()
      self.torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
      optimizer.step()
      optimizer.zero_grad(set_to_none=True)
    return self.score(model, windows)

  def batch(self, ids: np.ndarray, starts: list[int]) -> tuple:
    """Returns the tokens and targets of windows that begin at given positions."""
    rows = self.torch.from_numpy(
      np.stack([ids[i : i + CONTEXT + 1] for i in starts]).astype(np.int64)
    ).to(self.device)
    return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()

  def score(self, model, windows: int) -> float:
    """Returns the mean loss over the evenly spaced windows that lmhp scores."""
    every = range(0, len(self.validation) - 1, CONTEXT)
    starts = [
      every[i * len(every) // windows] for i in range(min(windows, len(every) - 1))
    ]
    model.eval()
    with self.torch.no_grad(), self.precision():
      parts = [
        starts[i : i + EVALUATED_AT_ONCE]
        for i in range(0, len(starts), EVALUATED_AT_ONCE)
      ]
      losses = [
        float(model(*self.batch(self.validation, part))[1]) * len(part)
        for part in parts
      ]
    return sum(losses) / len(starts)


def scheduled(step: int, steps: int) -> float:
  """Returns the ratio of the learning rate to its peak: a warmup, then a cosine to 0.1."""
  if step < WARMUP:
    return (step + 1) / (WARMUP + 1)
  return 0.1 + 0.9 * 0.5 * (
    1 + math.cos(math.pi * (step - WARMUP) / max(steps - WARMUP, 1))
  )


def torch_quicker(checkout: str) -> str:
  """Returns the precision in which nanoGPT trains faster on this machine.

  Each precision trains for one short trial after a warmup.
  """
  seconds = {}
  for dtype in ('float32', 'bfloat16') * 2:
    start = time.perf_counter()
    Peer(checkout, dtype).trial(1e-3, 20, EVALUATED_AT_ONCE)
    seconds[dtype] = time.perf_counter() - start
  return min(seconds, key=seconds.get)


def torch_trials(
  checkout: str, dtype: str, rates: list[float], steps: int, windows: int
) -> dict:
  peer = Peer(checkout, dtype)
  return {
    'losses': [peer.trial(rate, steps, windows) for rate in rates],
    'how': f'on {peer.device}',
  }


def optuna_trials(
  checkout: str, dtype: str, rates: list[float], steps: int, windows: int
) -> dict:
  import optuna

  optuna.logging.set_verbosity(optuna.logging.WARNING)
  peer = Peer(checkout, dtype)
  study = optuna.create_study(
    sampler=optuna.samplers.GridSampler({'rate': rates}, seed=0)
  )

  def rate_of(trial):
    return trial.suggest_float('rate', rates[0], rates[-1])

  study.optimize(
    lambda trial: peer.trial(rate_of(trial), steps, windows), n_trials=len(rates)
  )
  losses = {trial.params['rate']: trial.value for trial in study.trials}
  return {'losses': [losses[rate] for rate in rates], 'how': f'on {peer.device}'}


WORKERS = {
  'sweep': sweep,
  'quicker': torch_quicker,
  'torch': torch_trials,
  'optuna': optuna_trials,
}


if __name__ == '__main__':
  main()
