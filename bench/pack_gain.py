"""Gain of packing: tokens per second of K members in one vmapped program, and of one member.

Models have 1M, 10M and 50M parameters, batch size 12 and sequence length 64. One member and
the pack are measured in turns in the same process. On a GPU, eight processes that share it,
each with one member, are measured as well.

  python bench/pack_gain.py                      (or bench/sweep_throughput.py --gain)
  python bench/pack_gain.py --models 1M --largest 4
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time

import numpy as np
from step_time import random_dataset

EXPERIMENT = os.path.join(
  os.path.dirname(__file__), '..', 'experiments', 'shakespeare_char.py'
)
MODELS = {
  '1M': (5, 128, 4),
  '10M': (6, 384, 6),
  '50M': (10, 640, 10),
}  # layers, width, heads
WIDTHS = (1, 2, 4, 8, 16, 32, 64, 128)
CONTEXT, BATCH, ROUNDS = 64, 12, 3


def main(arguments: list[str] | None = None) -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--models', nargs='*', default=list(MODELS), choices=MODELS)
  parser.add_argument(
    '--largest', type=int, help='largest pack; default 128 on a GPU, 8 on a CPU'
  )
  parser.add_argument(
    '--sharing',
    type=int,
    help='processes that share one device; default 8 on a GPU, 0 on a CPU',
  )
  parser.add_argument(
    '--seconds', type=float, default=3.0, help='seconds of one measurement'
  )
  parser.add_argument('--worker', help=argparse.SUPPRESS)
  options = parser.parse_args(arguments)
  if options.worker:
    verb, *words = json.loads(options.worker)
    print(
      json.dumps({'gain': gain, 'alone': alone}[verb](*words)), flush=True
    )  # of `gain`, its last line
  else:
    show(options)


# --- the table ----------------------------------------------------------------------


def show(options: argparse.Namespace) -> None:
  """Prints the tokens per second of each model at each width.

  Each model has a process of its own, so that its memory is released.
  """
  print(f'{"model":<7}{"K":>5}{"tokens/s":>14}{"of one alone":>14}', flush=True)
  for name in options.models:
    worker = start('gain', name, options.largest, options.seconds)
    # Rows are printed at once, because the device may be released before the last one.
    for line in worker.stdout:
      row = json.loads(line)
      if 'width' in row:
        numbers = (
          f'{"does not fit":>14}'
          if row['tokens_per_second'] is None
          else f'{row["tokens_per_second"]:>14,.0f}{row["of_alone"]:>14.2f}'
        )
        print(f'{name:<7}{row["width"]:>5}{numbers}', flush=True)
    print(
      f'{name:<7}{"alone":>5}{row["alone"]:>14,.0f}{1:>14.2f}  '
      f'{row["parameters"]:,} parameters, '
      f'{row["dtype"]}, {row["device"]}',
      flush=True,
    )
    sharing = options.sharing
    if sharing is None:
      sharing = 0 if row['platform'] == 'cpu' else 8
    if sharing:
      speed = shared(name, sharing, options.seconds)
      print(
        f'{"":<5}{sharing:>5} x1{speed:>13,.0f}{speed / row["alone"]:>14.2f}  '
        f'{sharing} processes of one member',
        flush=True,
      )


def start(*words, share: float = 0.9) -> subprocess.Popen:
  """Starts a process of this file with a limit on its fraction of device memory."""
  environment = os.environ | {
    'XLA_PYTHON_CLIENT_MEM_FRACTION': f'{share:.3f}',
    'LMHP_COMPILE_CACHE': 'off',
  }
  return subprocess.Popen(
    [sys.executable, __file__, f'--worker={json.dumps(words)}'],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
    env=environment,
  )


def shared(name: str, n: int, seconds: float) -> float:
  """Returns the tokens per second of n processes in total, with one member each.

  The measurement starts after all of them have compiled.
  """
  workers = [start('alone', name, seconds, share=0.9 / n) for _ in range(n)]
  for worker in workers:
    if worker.stdout.readline() != 'ready\n':
      raise SystemExit(f'{name}: a process that shares the device died')
  for worker in workers:
    worker.stdin.write('go\n')
    worker.stdin.flush()
  return sum(float(worker.communicate()[0]) for worker in workers)


# --- the workers --------------------------------------------------------------------


class Members:
  """A population of a model of `MODELS` on random text, as in a sweep of learning rates."""

  def __init__(self, programs, width: int, method: str):
    from lmhp.training.population import Population

    hypers, self.step = programs.hypers, 0
    rates = np.geomspace(1e-4, 1e-3, width).astype(np.float32)
    self.population = Population(
      programs,
      [
        {**hypers, 'optimizer': {**hypers['optimizer'], 'learning_rate': rate}}
        for rate in rates
      ],
      method,
    )
    self.data, self.max_chunk_steps = programs.stream.arrays, programs.max_chunk_steps
    self.state = self.population.init()
    self.run(1)  # compiles

  def run(self, n: int) -> None:
    import jax

    from lmhp.training.chunks import ChunkSteps

    self.state, metrics = self.population.run(
      self.state, self.data, ChunkSteps(n, self.step)
    )
    jax.block_until_ready((self.state, metrics))
    self.step += n

  def tokens_per_second(self, seconds: float) -> float:
    """Returns the tokens per second over about the given time.

    A few steps before it are not counted.
    """
    start = time.perf_counter()
    self.run(2)
    n = max(
      1, min(self.max_chunk_steps, int(seconds / 4 * 2 / (time.perf_counter() - start)))
    )
    start, first = time.perf_counter(), self.step
    while time.perf_counter() - start < seconds:
      self.run(n)
    return (
      self.population.width
      * (self.step - first)
      * BATCH
      * CONTEXT
      / (time.perf_counter() - start)
    )


def gain(name: str, largest: int | None, seconds: float) -> dict:
  """Returns the tokens per second of one member, and prints those of the packs.

  Both are measured again at each width, in turns.
  """
  import jax

  programs, device = programs_of(name), jax.devices()[0]
  one, alone = Members(programs, 1, 'loop'), []

  def tell(width, speed, ratio):
    return print(
      json.dumps({'width': width, 'tokens_per_second': speed, 'of_alone': ratio}),
      flush=True,
    )

  for width in [
    w for w in WIDTHS if w <= (largest or (8 if device.platform == 'cpu' else 128))
  ]:
    try:
      pack = Members(programs, width, 'vmap')
      measured = [
        (one.tokens_per_second(seconds), pack.tokens_per_second(seconds))
        for _ in range(ROUNDS)
      ]
    except jax.errors.JaxRuntimeError as error:
      if 'RESOURCE_EXHAUSTED' not in str(error):
        raise
      tell(width, None, None)
      break
    alone += [single for single, _ in measured]
    tell(
      width,
      float(np.median([p for _, p in measured])),
      float(np.median([p / s for s, p in measured])),
    )
    del pack  # frees its memory
  return {
    'alone': float(np.median(alone)),
    'platform': device.platform,
    'device': device.device_kind,
    'parameters': sum(x.size for x in jax.tree.leaves(one.state[0].params)),
    'dtype': programs.model.cfg.dtype,
  }


def alone(name: str, seconds: float) -> float:
  """Returns the tokens per second of one member, measured on request of the parent."""
  member = Members(programs_of(name), 1, 'loop')
  member.tokens_per_second(seconds / 4)
  print('ready', flush=True)
  sys.stdin.readline()
  return member.tokens_per_second(seconds)


def programs_of(name: str):
  """Returns lmhp's programs of a model, for random characters."""
  from lmhp import config as config_lib, experiment
  from lmhp.counting.precision import fastest_dtype
  from lmhp.data.stream import TrainStream
  from lmhp.training.programs import Programs

  config = experiment.load(EXPERIMENT)[0]
  sizes = dict(zip(('model.n_layers', 'model.d_model', 'model.n_heads'), MODELS[name]))
  config_lib.override(
    config,
    {
      'train.steps': 1_000_000,
      'data.path': 'random',
      'data.placement': 'device',
      **sizes,
    },
  )
  cfg = config_lib.complete(
    config_lib.resolve(config),
    vocab_size=65,
    tokens_per_epoch=10**6,
    dtype=fastest_dtype(),
  )
  # The name keeps compiled programs between populations.
  return Programs(
    cfg, TrainStream(random_dataset(), CONTEXT, cfg.data), data_sha256='random'
  )


if __name__ == '__main__':
  main()
