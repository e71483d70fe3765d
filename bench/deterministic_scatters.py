"""Cost of `xla_gpu_deterministic_ops` in training: tokens per second with and without it.

Programs of lmhp set this option. The two programs are measured in turns in one process, for
one member and for a pack of 64. On a CPU the option has no effect, so both are the same.

  python bench/deterministic_scatters.py [--models 1M 10M] [--widths 1 64]
"""

import argparse

import numpy as np
import pack_gain

from lmhp.training import compile_cache as compiled

OPTION, ROUNDS = 'xla_gpu_deterministic_ops', 5


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument(
    '--models', nargs='*', default=['1M', '10M'], choices=pack_gain.MODELS
  )
  parser.add_argument('--widths', nargs='*', type=int, default=[1, 64])
  parser.add_argument(
    '--seconds', type=float, default=0.7, help='seconds of one measurement'
  )
  options = parser.parse_args()
  for name in options.models:
    for width in options.widths:
      members = {}
      for asked in (True, False):
        compiled.DETERMINISTIC_SCATTERS[OPTION] = asked
        members[asked] = pack_gain.Members(
          pack_gain.programs_of(name), width, 'vmap' if width > 1 else 'loop'
        )
      speeds = np.array(
        [
          [members[asked].tokens_per_second(options.seconds) for asked in (True, False)]
          for _ in range(ROUNDS)
        ]
      )
      ratios = np.sort(speeds[:, 0] / speeds[:, 1])
      print(
        f'{name:<5}{width:>4} {np.median(speeds[:, 0]):>12,.0f} with '
        f'{np.median(speeds[:, 1]):>12,.0f} without  '
        f'ratio {ratios[ROUNDS // 2]:.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})',
        flush=True,
      )
      del members  # frees their memory


if __name__ == '__main__':
  main()
