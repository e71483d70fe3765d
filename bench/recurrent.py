"""Time of one layer's forward and backward pass by the length of the sequence.

One layer of each token mixer is timed on one sequence, attention included. The time of a
mixer that is linear in L doubles if L doubles. The script prints medians over rounds. Run it
on an idle machine.

  python bench/recurrent.py
"""

from __future__ import annotations

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

from lmhp.model.batch import Batch
from lmhp.model.config import ModelConfig
from lmhp.model.mixers.registry import MIXERS
from lmhp.model.transformer import build


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--mixers', nargs='*', default=list(MIXERS))
  parser.add_argument(
    '--lengths', type=int, nargs='*', default=[512, 1024, 2048, 4096, 8192]
  )
  parser.add_argument('--d_model', type=int, default=128)
  parser.add_argument('--rounds', type=int, default=5)
  options = parser.parse_args()
  print(
    f'{jax.devices()[0].device_kind}: one layer, d_model {options.d_model}, one sequence, '
    'forward and backward'
  )
  print(
    f'{"mixer":<12}'
    + ''.join(f'{n:>10}' for n in options.lengths)
    + '   milliseconds; exponent of L'
  )
  for mixer in options.mixers:
    times = {n: gradient(mixer, n, options.d_model) for n in options.lengths}
    seconds = {n: [] for n in options.lengths}
    for _ in range(options.rounds):
      for n, run in times.items():
        seconds[n].append(run())
    medians = [1e3 * np.median(seconds[n]) for n in options.lengths]
    exponent = np.polyfit(np.log(options.lengths), np.log(medians), 1)[0]
    print(
      f'{mixer:<12}' + ''.join(f'{m:10.1f}' for m in medians) + f'   {exponent:.2f}',
      flush=True,
    )


def gradient(mixer: str, length: int, width: int):
  """Returns a function that returns the seconds of a forward and backward pass."""
  cfg = ModelConfig(
    vocab_size=64,
    max_seq_len=length,
    d_model=width,
    n_layers=1,
    n_heads=width // 32,
    d_ff=width,
    mixer_pattern=(mixer,),
    dtype='float32',
  )
  model = build(cfg)
  params = model.init(jax.random.key(0), {'init_scale': 1.0})
  tokens = jnp.zeros((1, length), jnp.int32)

  def loss(params):
    return jnp.mean(jnp.square(model.features(params, {}, Batch(tokens))[0]))

  program = jax.jit(jax.grad(loss))
  jax.block_until_ready(program(params))

  def run() -> float:
    started = time.perf_counter()
    jax.block_until_ready(program(params))
    return time.perf_counter() - started

  return run


if __name__ == '__main__':
  main()
