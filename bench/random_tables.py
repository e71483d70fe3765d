"""Reports of random tables: no crash, none takes a minute, and planted effects are shown.

  python bench/random_tables.py [--tables=1000] [--first=0]

Tables with an even number have columns of any kind (`tests/analysis/test_any_table.py`). Those
with an odd number have a planted valley of the learning rate beside such columns, and the answer
must name it. Printed: tables that crashed, planted effects that were not shown, and the time.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback

os.environ.setdefault('OMP_NUM_THREADS', '1')
sys.path.insert(0, os.path.join(os.path.dirname(__file__), '..', 'tests', 'analysis'))

from test_any_table import planted_table, table_of

from lmhp.analysis.report.page import page_of
from lmhp.analysis.runs.tables import TableOptions, runs_of_table
from lmhp.errors import ConfigError

LIMIT_SECONDS = 60


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--tables', type=int, default=1000)
  parser.add_argument('--first', type=int, default=0, help='first seed')
  args = parser.parse_args()
  crashed = []
  missed = []
  refused = 0
  slowest = 0.0
  for seed in range(args.first, args.first + args.tables):
    is_planted = seed % 2 == 1
    table = planted_table(seed) if is_planted else table_of(seed)
    start = time.perf_counter()
    try:
      runs = runs_of_table(table, 'a table', 'runs.csv', TableOptions())
      page = page_of([runs])
      page.text('html')
      if is_planted and 'lr' not in page.answer[0]:
        missed.append(seed)
    except ConfigError as error:
      # A table without a result is refused in one line.
      refused += 1
      if is_planted:
        print(f'{seed}: {error}', flush=True)
    except Exception:
      crashed.append(seed)
      traceback.print_exc()
    slowest = max(slowest, time.perf_counter() - start)
  n_planted = args.tables // 2
  print(
    f'{args.tables} tables: {len(crashed)} crashed {crashed}, {refused} refused in one line, '
    f'{n_planted - len(missed)} of {n_planted} planted effects named (missed: {missed}), the '
    f'slowest took {slowest:.1f} s (limit {LIMIT_SECONDS})'
  )
  sys.exit(bool(crashed) or slowest > LIMIT_SECONDS)


if __name__ == '__main__':
  main()
