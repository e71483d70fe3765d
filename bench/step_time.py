"""Training tokens per second on this machine, of lmhp and of nanoGPT's torch model.

Both train the same GPT: 4 layers, 4 heads, d_model 128, context 64, 65 characters, AdamW, clip
norm 1.0, no dropout. Each is measured in float32 and in bfloat16. Four processes take turns,
and the others sleep, so that each has the machine alone. Printed are medians and quartiles
over rounds.

  pip install -e . "torch==2.13.0"
  git clone https://github.com/karpathy/nanoGPT
  python bench/step_time.py --nanogpt=nanoGPT
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time

import numpy as np

BATCHES = (4, 12, 64)
CONTEXT, VOCABULARY, LAYERS, HEADS, WIDTH = 64, 65, 4, 4, 128


# After a sleep, the processors of a virtual machine share one core for some seconds. Idle
# processes of the lowest priority keep them awake. They get 0.3% of the time of a worker.
IDLER = 'import os; os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\nwhile True: pass'


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--nanogpt', required=True, help='a checkout of nanoGPT')
  parser.add_argument('--batches', type=int, nargs='*', default=BATCHES)
  parser.add_argument('--rounds', type=int, default=5)
  parser.add_argument(
    '--seconds',
    type=float,
    default=3.0,
    help='seconds of one turn, after as many that are not counted',
  )
  parser.add_argument('--worker', help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.worker:
    work(*options.worker.split(':'), options.nanogpt)
  else:
    compare(options)


# --- the comparison -----------------------------------------------------------------


def compare(options: argparse.Namespace) -> None:
  """Lets the workers take turns and prints the table."""
  names = ('torch:float32', 'torch:bfloat16', 'lmhp:float32', 'lmhp:bfloat16')
  workers = {name: Worker(name, options.nanogpt) for name in names}
  idlers = [
    subprocess.Popen([sys.executable, '-c', IDLER]) for _ in range(os.cpu_count())
  ]
  print(
    'GEMM peak, GFLOP/s (1024^3): '
    + ', '.join(f'{n} {w.ask("peak"):.0f}' for n, w in workers.items())
  )
  flops = 3 * flops_per_token()
  for batch in options.batches:
    speeds: dict[str, list[float]] = {name: [] for name in names}
    for worker in workers.values():
      worker.ask('warm', batch)
    for _ in range(options.rounds):
      for name, worker in workers.items():
        speeds[name].append(
          batch * CONTEXT / worker.ask('time', batch, options.seconds)
        )
    peer = max(np.median(speeds['torch:float32']), np.median(speeds['torch:bfloat16']))
    print(f'\nbatch {batch}')
    for name, values in speeds.items():
      low, median, high = np.percentile(values, (25, 50, 75))
      print(
        f'  {name:<15} {median:>9,.0f} tokens/s ({low:,.0f} to {high:,.0f})  '
        f'{1e3 * batch * CONTEXT / median:7.2f} ms'
        f"  {median * flops / 1e9:6.1f} GFLOP/s  {median / peer:5.2f} of torch's better",
        flush=True,
      )
  for worker in workers.values():
    worker.close()
  for idler in idlers:
    idler.kill()


def flops_per_token() -> int:
  """Returns the forward FLOPs of matrix products, with full attention."""
  from lmhp.counting.flops import flops_per_token as count
  from lmhp.model.config import ModelConfig

  cfg = ModelConfig(
    vocab_size=VOCABULARY,
    d_model=WIDTH,
    n_layers=LAYERS,
    n_heads=HEADS,
    max_seq_len=CONTEXT,
  )
  return count(cfg, CONTEXT, causal=False).forward


class Worker:
  """A process that trains on request."""

  def __init__(self, name: str, nanogpt: str):
    command = [sys.executable, __file__, f'--worker={name}', f'--nanogpt={nanogpt}']
    self._process = subprocess.Popen(
      command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

  def ask(self, *words) -> float:
    """Sends one request and returns its number."""
    self._process.stdin.write(json.dumps(words) + '\n')
    self._process.stdin.flush()
    return float(self._process.stdout.readline())

  def close(self) -> None:
    self._process.stdin.close()
    self._process.wait()


# --- the workers --------------------------------------------------------------------


def work(library: str, dtype: str, nanogpt: str) -> None:
  """Answers requests on the standard input.

  The requests are `warm` (compile for a batch size), `time` (seconds per step, over some
  seconds) and `peak` (GFLOP/s of matrix products).
  """
  steppers: dict[int, object] = {}
  make = torch_stepper if library == 'torch' else lmhp_stepper
  for line in sys.stdin:
    verb, *words = json.loads(line)
    if verb == 'peak':
      answer = torch_peak(dtype) if library == 'torch' else lmhp_peak(dtype)
    elif verb == 'warm':
      steppers[words[0]] = make(words[0], dtype, nanogpt)
      steppers[words[0]](8)
      answer = 0.0
    else:
      answer = timed(steppers[words[0]], words[1])
    print(answer, flush=True)


def timed(stepper, seconds: float) -> float:
  """Returns the seconds per step over about the given time.

  Steps of as much time before it are not counted.
  """
  stepper(4)
  start, n = time.perf_counter(), 0
  while time.perf_counter() - start < seconds:
    stepper(4)
    n += 4
  start = time.perf_counter()
  stepper(n)
  return (time.perf_counter() - start) / n


def text_tokens() -> np.ndarray:
  """Returns a million random characters. Their values do not affect the time."""
  return np.random.default_rng(0).integers(0, VOCABULARY, 1_000_000).astype(np.uint16)


def torch_stepper(batch: int, dtype: str, nanogpt: str):
  """Returns the training step of nanoGPT's train.py, with its model and optimizer.

  Parts without an effect in this setup are left out.
  """
  import contextlib
  import io

  sys.path.insert(0, nanogpt)
  from model import GPT, GPTConfig
  import torch

  with contextlib.redirect_stdout(io.StringIO()):
    model = GPT(
      GPTConfig(
        block_size=CONTEXT,
        vocab_size=VOCABULARY,
        n_layer=LAYERS,
        n_head=HEADS,
        n_embd=WIDTH,
        dropout=0.0,
        bias=False,
      )
    )
    optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.99), 'cpu')
  tokens = text_tokens()
  half = (
    torch.amp.autocast('cpu', dtype=torch.bfloat16)
    if dtype == 'bfloat16'
    else contextlib.nullcontext()
  )

  def stepper(n: int) -> None:
    for _ in range(n):
      starts = torch.randint(len(tokens) - CONTEXT, (batch,))
      x = torch.stack(
        [torch.from_numpy(tokens[i : i + CONTEXT].astype(np.int64)) for i in starts]
      )
      y = torch.stack(
        [
          torch.from_numpy(tokens[i + 1 : i + 1 + CONTEXT].astype(np.int64))
          for i in starts
        ]
      )
      with half:
        _, loss = model(x, y)
      loss.backward()
      torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
      optimizer.step()
      optimizer.zero_grad(set_to_none=True)

  return stepper


def torch_peak(dtype: str) -> float:
  import torch

  a = torch.ones(1024, 1024, dtype=getattr(torch, dtype))
  return best_gflops(lambda: [a @ a for _ in range(8)])


def lmhp_stepper(batch: int, dtype: str, nanogpt: str):
  """Returns a function that runs the chunk program of `lmhp train`."""
  import jax

  from lmhp import config as config_lib, experiment
  from lmhp.data.stream import TrainStream
  from lmhp.training.chunks import ChunkSteps
  from lmhp.training.programs import Programs

  config = experiment.load(
    os.path.join(os.path.dirname(__file__), '..', 'experiments', 'shakespeare_char.py')
  )[0]
  config_lib.override(
    config,
    {'train.batch_size': batch, 'data.path': 'random', 'data.placement': 'device'},
  )
  cfg = config_lib.complete(
    config_lib.resolve(config),
    vocab_size=VOCABULARY,
    tokens_per_epoch=10**6,
    dtype=dtype,
  )
  stream = TrainStream(random_dataset(), CONTEXT, cfg.data)
  programs = Programs(cfg, stream)
  state, step = programs.init(programs.hypers), 0

  def stepper(n: int) -> None:
    nonlocal state, step
    while n > 0:
      now = min(n, programs.max_chunk_steps)
      state, metrics = programs.chunk(
        state, programs.hypers, stream.arrays, ChunkSteps(now, step)
      )
      step, n = step + now, n - now
    jax.block_until_ready(metrics)

  return stepper


def random_dataset():
  from lmhp.data.dataset import Dataset
  from lmhp.data.shards import TokenStream
  from lmhp.data.tokenizer import IdTokenizer

  tokens = TokenStream(text_tokens(), np.zeros(1, np.int64))
  return Dataset(IdTokenizer(VOCABULARY), (tokens,), (tokens,), (), '')


def lmhp_peak(dtype: str) -> float:
  import jax
  import jax.numpy as jnp

  a = jnp.ones((1024, 1024), dtype)
  product = jax.jit(lambda a: jnp.dot(a, a, preferred_element_type=jnp.float32))
  return best_gflops(lambda: jax.block_until_ready([product(a) for _ in range(8)]))


def best_gflops(eight_products) -> float:
  eight_products()
  seconds = []
  for _ in range(10):
    start = time.perf_counter()
    eight_products()
    seconds.append(time.perf_counter() - start)
  return 8 * 2 * 1024**3 / min(seconds) / 1e9


if __name__ == '__main__':
  main()
