"""Training tokens per second with experts, compared with a dense model of equal active FLOPs.

All programs are measured in turns in one process, for each backend of the experts. A step is
a whole update of a decoder: gradient and AdamW. Each layer is dense, or has k of E experts,
each 1/k as wide as the dense layer. Run it on an idle machine.

  python bench/experts.py
"""

from __future__ import annotations

import argparse
import time

import jax
import numpy as np

from lmhp.counting.flops import flops_per_token
from lmhp.counting.parameters import count
from lmhp.hypers import split
from lmhp.model.batch import Batch
from lmhp.model.config import ModelConfig
from lmhp.model.transformer import build
from lmhp.optim.config import OptimizerConfig
from lmhp.training.config import TrainConfig
from lmhp.training.step import make_init, make_update

SHARED = {'vocab_size': 512, 'gated': True, 'activation': 'silu', 'norm': 'rmsnorm'}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--d_model', type=int, default=256)
  parser.add_argument('--n_layers', type=int, default=4)
  parser.add_argument(
    '--d_ff', type=int, default=1024, help='hidden size of the dense feed-forward part'
  )
  parser.add_argument('--seq_len', type=int, default=256)
  parser.add_argument('--batch_size', type=int, default=8)
  parser.add_argument('--experts', type=int, nargs='*', default=[8, 32])
  parser.add_argument('--per_token', type=int, default=2)
  parser.add_argument('--dtype', default='float32')
  parser.add_argument('--rounds', type=int, default=7)
  parser.add_argument('--backends', nargs='*', default=['blocks', 'ragged', 'dense'])
  options = parser.parse_args()
  sizes = dict(
    SHARED,
    d_model=options.d_model,
    n_layers=options.n_layers,
    n_heads=options.d_model // 64,
    max_seq_len=options.seq_len,
    dtype=options.dtype,
  )
  models = {'dense': ModelConfig(d_ff=options.d_ff, **sizes)}
  for n in options.experts:
    for backend in options.backends:
      models[f'{n} experts, {backend}'] = ModelConfig(
        n_experts=n,
        experts_per_token=options.per_token,
        d_ff=options.d_ff // options.per_token,
        expert_backend=backend,
        **sizes,
      )
  steps = {
    name: stepper(cfg, options.batch_size, options.seq_len)
    for name, cfg in models.items()
  }
  seconds = {name: [] for name in steps}
  for _ in range(options.rounds):
    for name, step in steps.items():
      seconds[name].append(step())
  tokens, dense = options.batch_size * options.seq_len, np.median(seconds['dense'])
  print(f'{jax.devices()[0].device_kind}: {tokens} tokens a step, {options.dtype}')
  for name, cfg in models.items():
    low, median, high = np.percentile(seconds[name], (25, 50, 75))
    flops = flops_per_token(cfg, options.seq_len, causal=False).train
    print(
      f'{name:<20} {tokens / median:9,.0f} tokens/s ({tokens / high:,.0f} to '
      f'{tokens / low:,.0f})  '
      f'{dense / median:5.2f} of dense   {count(cfg).total / 1e6:6.1f}M parameters, '
      f'{count(cfg).active / 1e6:5.1f}M '
      f'active, {flops / 1e6:6.1f} MFLOP a token'
    )


def stepper(cfg: ModelConfig, batch_size: int, seq_len: int):
  """Returns a function that makes a few updates and returns the seconds per update."""
  model = build(cfg)
  sections = {
    'model': cfg,
    'optimizer': OptimizerConfig(),
    'train': TrainConfig(batch_size=batch_size, steps=100),
  }
  halves = {name: split(section) for name, section in sections.items()}
  hypers = {name: half[1] for name, half in halves.items()}
  structures = {name: half[0] for name, half in halves.items()}
  update = make_update(model, structures['optimizer'], structures['train'])
  state = jax.jit(make_init(model, structures['optimizer']))(hypers)
  tokens = np.random.default_rng(0).integers(
    0, cfg.vocab_size, (batch_size, seq_len + 1), dtype=np.int32
  )
  batch = Batch(
    tokens[:, :-1], tokens[:, 1:], np.ones((batch_size, seq_len), np.float32)
  )
  program = jax.jit(
    lambda state: update(state, hypers, batch, np.float32(1.0))[0], donate_argnums=0
  )
  held = [jax.block_until_ready(program(state))]

  def run(n: int = 3) -> float:
    started = time.perf_counter()
    for _ in range(n):
      held[0] = program(held[0])
    jax.block_until_ready(held[0])
    return (time.perf_counter() - started) / n

  return run


if __name__ == '__main__':
  main()
