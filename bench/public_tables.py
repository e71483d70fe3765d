"""Reports on tables of public repositories, beside the answers of their sources.

    python bench/public_tables.py DIRECTORY [--only NAME,NAME] [--save DIRECTORY]

DIRECTORY has clones, each as OWNER+NAME/repo (a bare git directory) or OWNER+NAME (a work
tree). Nothing is fetched. Each table is read once plainly, with `objective` and a direction if
its name implies none, and once with `roles` if they help. Each report has its own process and
five minutes of one CPU. The output is a Markdown table. --save keeps the tables and reports.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import importlib.metadata
import json
import os
from pathlib import Path
import platform
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

import pandas as pd
from public_cases import CASES, Case
from public_files import Repository
from public_sources import SOURCES

CPU_LIMIT_SECONDS = 300
WALL_LIMIT_SECONDS = 1800
"""A loaded machine needs more wall time than CPU time."""
PACKAGES = ('numpy', 'scipy', 'pandas', 'pyarrow')
COLUMNS = (
  'table',
  'rows x columns',
  'report',
  'wall s',
  'CPU s',
  'MB',
  'answer',
  'expected',
  'steps',
)

CHILD = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[4]), int(sys.argv[4])))
import lmhp
options = json.loads(sys.argv[2])
page = lmhp.report(sys.argv[1], **options)
page.save(sys.argv[3])
page.save(sys.argv[3].replace('.html', '.md'))
usage = resource.getrusage(resource.RUSAGE_SELF)
cpu = usage.ru_utime + usage.ru_stime
print(json.dumps({'answer': page.answer, 'peak': usage.ru_maxrss / 1024, 'cpu': cpu}))
"""
"""Program of one report. Its last line is a JSON object."""


@dataclasses.dataclass(frozen=True)
class Outcome:
  """Result of one report.

  Attributes:
    answer: Sentences of the answer, or the reason why there is none.
    seconds: Wall time of the process.
    cpu_seconds: CPU time of the process. None if it did not end.
    peak_mb: Largest resident memory of the process. None if it did not end.
  """

  answer: str
  seconds: float
  cpu_seconds: float | None
  peak_mb: float | None


def write_table(table: pd.DataFrame, path: Path) -> Path:
  """Writes a table in the format in which its source keeps it."""
  if path.stem == 'laion':
    path = path.with_suffix('.parquet')
    table.to_parquet(path, index=False)
  elif any(isinstance(value, (list, dict)) for value in table.iloc[0]):
    path = path.with_suffix('.jsonl')
    table.to_json(path, orient='records', lines=True)
  else:
    table.to_csv(path, index=False)
  return path


def report(path: Path, options: dict[str, Any], page: Path) -> Outcome:
  """Runs one report in its own process."""
  arguments = [str(path), json.dumps(options), str(page), str(CPU_LIMIT_SECONDS)]
  start = time.perf_counter()
  try:
    process = subprocess.run(
      [sys.executable, '-c', CHILD, *arguments],
      capture_output=True,
      text=True,
      timeout=WALL_LIMIT_SECONDS,
      check=False,
    )
  except subprocess.TimeoutExpired:
    return Outcome('DID NOT END', WALL_LIMIT_SECONDS, None, None)
  seconds = time.perf_counter() - start
  # The kernel ends a process that has used up its CPU time.
  if process.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
    return Outcome(f'DID NOT END in {CPU_LIMIT_SECONDS} s of CPU', seconds, None, None)
  if process.returncode:
    lines = process.stderr.strip().splitlines() or [f'exit {process.returncode}']
    return Outcome(f'FAILED: {lines[-1]}', seconds, None, None)
  result = json.loads(process.stdout.splitlines()[-1])
  return Outcome(' '.join(result['answer']), seconds, result['cpu'], result['peak'])


def options_of(case: Case) -> list[tuple[str, dict[str, Any]]]:
  """Returns (name, options of `lmhp.report`) of the reports of a case."""
  plain: dict[str, Any] = {'objective': case.objective}
  if case.maximize is not None:
    plain['maximize'] = case.maximize
  reports = [('plain', plain)]
  if case.roles is not None:
    reports.append(('roles', plain | {'roles': dict(case.roles)}))
  return reports


def machine() -> str:
  """Returns one line about the machine, the versions and the date."""
  versions = [f'{name} {importlib.metadata.version(name)}' for name in PACKAGES]
  commit = subprocess.run(
    ['git', 'rev-parse', '--short', 'HEAD'],
    cwd=Path(__file__).parent,
    capture_output=True,
    text=True,
    check=False,
  ).stdout.strip()
  date = datetime.date.today().isoformat()
  cores = f'{platform.machine()}, {os.cpu_count()} cores'
  python = f'Python {platform.python_version()}'
  return ', '.join([date, f'lmhp {commit}', cores, python, *versions])


def rows_of(case: Case, table: pd.DataFrame, folder: Path) -> None:
  """Prints the rows of one case."""
  path = write_table(table, folder / f'{case.table}.csv')
  for name, options in options_of(case):
    outcome = report(path, options, folder / f'{case.table}.{name}.html')
    shape = f'{len(table)} x {len(table.columns)}'
    costs = (outcome.seconds, outcome.cpu_seconds, outcome.peak_mb)
    cells = [case.table, shape, name]
    cells += ['-' if cost is None else f'{cost:.0f}' for cost in costs]
    cells.append(outcome.answer)
    steps = '; '.join(case.steps)
    cells += [case.expected, steps] if name == 'plain' else ['as above', '']
    print(
      '| ' + ' | '.join(cell.replace('|', '/') for cell in cells) + ' |', flush=True
    )


def main() -> None:
  """Prints the Markdown table."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('directory', type=Path, help='directory of the clones')
  parser.add_argument('--only', help='names of tables, separated by commas')
  parser.add_argument('--save', type=Path, help='directory for the tables and reports')
  arguments = parser.parse_args()
  wanted = (
    arguments.only.split(',') if arguments.only else [case.table for case in CASES]
  )
  cases = {case.table: case for case in CASES}

  print(machine(), '', sep='\n')
  print(
    '| ' + ' | '.join(COLUMNS) + ' |', '|---' * len(COLUMNS) + '|', sep='\n', flush=True
  )
  missing = []
  with tempfile.TemporaryDirectory() as temporary:
    folder = arguments.save or Path(temporary)
    folder.mkdir(parents=True, exist_ok=True)
    for name, commit, read_tables in SOURCES:
      try:
        tables = read_tables(Repository(arguments.directory, name, commit))
      except (OSError, subprocess.CalledProcessError) as error:
        missing.append(f'{name}@{commit}: {error}')
        continue
      for table_name, table in tables.items():
        if table_name in wanted:
          rows_of(cases[table_name], table, folder)
  if missing:
    print('\nNot read:\n\n' + '\n'.join(f'- {line}' for line in missing))


if __name__ == '__main__':
  main()
