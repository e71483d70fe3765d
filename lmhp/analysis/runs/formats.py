"""Files and data frames as raw tables: CSV and its dialects, JSON, JSON lines, parquet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
import csv
import io
import json
import lzma
import math
from typing import TYPE_CHECKING, TypeGuard
import zlib

from etils import epath
import numpy as np

from lmhp.analysis.runs.cells import (
  DELIMITERS,
  joined_headers,
  joined_rows,
  one_header,
  parse_column,
  rows_that_fit,
  split_spread,
  without_comments,
)
from lmhp.analysis.runs.columns import number_columns
from lmhp.analysis.runs.raw_table import Curve, RawTable, from_records
from lmhp.errors import ConfigError
from lmhp.files import DECOMPRESSORS, decompress, read_bytes
from lmhp.statistics.column_names import OUTCOME, column_name

if TYPE_CHECKING:
  import pandas as pd

DELIMITED = ('.csv', '.tsv', '.txt')
JSON_SUFFIXES = ('.json', '.jsonl', '.ndjson')
MAX_BYTES = 1 << 31
"""Size of the largest table that is read, 2 GiB, after its decompression."""
MAX_COLUMNS = 5000
"""Largest number of columns of a table."""
MAX_CELL = 1 << 30
"""Number of characters of the largest cell that is read."""
STEP_NAMES = ('step', 'steps', 'iter', 'iteration', '_step', 'global_step', 'epoch')
"""Names of the column that orders the rows of a log."""

PARTS = frozenset('per by class classes'.split())
"""Words in the name of an object with the parts of one run's results, such as `per_class`."""

Record = dict[str, object]


def is_table_file(path: epath.Path) -> bool:
  """Returns True for the path of a file that `read_file` can read."""
  return _suffix(path) in (*DELIMITED, *JSON_SUFFIXES, '.parquet')


def read_file(path: epath.Path) -> RawTable:
  """Reads a file of runs.

  Args:
    path: A `.csv`, `.tsv`, `.txt`, `.json`, `.jsonl` or `.parquet` file. All but parquet may
      end in `.gz`, `.bz2` or `.xz`.

  Raises:
    ConfigError: If the file cannot be read in the format of its suffix, or has no rows.
  """
  suffix = _suffix(path)
  try:
    if suffix == '.parquet':
      from lmhp.sweeping.store import curves

      table = from_records([_flatten(row) for row in curves.read(path).to_pylist()])
    elif suffix in JSON_SUFFIXES:
      table = _read_json(_read_text(path))
    else:
      table = _read_delimited(_read_text(path), '\t' if suffix == '.tsv' else '')
  except (
    ValueError,
    csv.Error,
    EOFError,
    OSError,
    OverflowError,
    RecursionError,
    zlib.error,
    lzma.LZMAError,
  ) as error:
    # A UnicodeDecodeError and the errors of pyarrow are ValueErrors.
    detail = (str(error).splitlines() or [type(error).__name__])[0]
    raise ConfigError(f'{path}: cannot be read as {suffix[1:]} ({detail})') from None
  table = RawTable(
    {name: list(map(_bounded, column)) for name, column in table.columns.items()},
    curves=table.curves,
    notes=table.notes,
  )
  if len(table.columns) > MAX_COLUMNS:
    raise ConfigError(
      f'{path}: got {len(table.columns):,} columns, expected at most {MAX_COLUMNS:,}'
    )
  if not len(table):
    raise ConfigError(f'{path}: got no rows, expected one row per run')
  return table


def _bounded(value: object) -> object:
  """Returns a cell, with infinity for a whole number that is no float."""
  if isinstance(value, int) and abs(value) >= 1 << 1023:
    return math.inf if value > 0 else -math.inf
  return value


def from_frame(frame: pd.DataFrame) -> RawTable:
  """Returns the raw table of a pandas DataFrame. A named index becomes columns."""
  if any(frame.index.names):
    frame = frame.reset_index()
  columns: dict[str, list[object]] = {}
  for name in frame.columns:
    label = '.'.join(map(str, name)) if isinstance(name, tuple) else str(name)
    columns[_unused(label, columns)] = [_plain(value) for value in frame[name].tolist()]
  return from_records(_expand_objects(RawTable(columns).rows()))


def _suffix(path: epath.Path) -> str:
  """Returns the suffix of a file, such as '.csv' for `runs.csv.gz`."""
  suffixes = [suffix.lower() for suffix in path.suffixes]
  if suffixes and suffixes[-1] in DECOMPRESSORS:
    suffixes.pop()
  return suffixes[-1] if suffixes else ''


def _read_text(path: epath.Path) -> str:
  data = read_bytes(path, MAX_BYTES)
  suffix = path.suffix.lower()
  if suffix in DECOMPRESSORS:
    # A small file may decompress to a very large one.
    data = decompress(data, suffix, MAX_BYTES)
  if data[:2] in (b'\xff\xfe', b'\xfe\xff'):
    return data.decode('utf-16')
  # A byte order mark is no part of the first column's name.
  return data.decode('utf-8-sig')


def _plain(value: object) -> object:
  """Returns a cell of a data frame as a Python value. A missing value (or NaN) is None."""
  if value is None or type(value).__name__ in ('NAType', 'NaTType'):
    return None
  if isinstance(value, np.generic):
    value = value.item()
  if isinstance(value, float) and math.isnan(value):
    return None
  return tuple(value) if isinstance(value, list) else value


# --- delimited text ---------------------------------------------------------------------


def _read_delimited(text: str, delimiter: str) -> RawTable:
  """Reads comma-, tab-, semicolon- or bar-separated text with a header."""
  lines = without_comments(text.splitlines())
  if not lines:
    return RawTable({})
  if not delimiter:
    delimiter = max(DELIMITERS, key=lines[0].count)
  if delimiter not in lines[0] and len(lines[0].split()) > 1:
    # Columns that blanks separate.
    lines = [','.join(line.split()) for line in lines]
    delimiter = ','
  csv.field_size_limit(MAX_CELL)
  rows = list(csv.reader(io.StringIO('\n'.join(lines)), delimiter=delimiter))
  rows = [
    [cell.strip() for cell in row] for row in rows if any(cell.strip() for cell in row)
  ]
  # Join rows that a line break has cut, and tables that were appended to each other.
  header, cells = one_header(joined_headers(joined_rows(rows)))
  cells, notes = rows_that_fit(header, cells)

  decimal_comma = delimiter == ';'
  columns: dict[str, list[object]] = {}
  texts: dict[str, list[str]] = {}
  roles: dict[str, str] = {}
  for i, name in enumerate(header):
    column = [row[i] if i < len(row) else '' for row in cells]
    # A second column of the same name is kept only if it differs.
    if name in texts and texts[name] == column:
      continue
    name = _unused(name, columns)
    texts[name] = column
    spread = split_spread(column)
    if spread is None:
      columns[name] = parse_column(column, decimal_comma)
      continue
    columns[name] = parse_column(spread[0], decimal_comma)
    name_of_spread = _unused(f'{name}_std', columns)
    columns[name_of_spread] = parse_column(spread[1], decimal_comma)
    # A column with a spread was measured.
    roles |= dict.fromkeys((name, name_of_spread), OUTCOME)
  table = RawTable(columns)
  if any(isinstance(cell, dict) for column in columns.values() for cell in column):
    table = from_records(_expand_objects(table.rows()))
  return RawTable(table.columns, roles=roles, notes=tuple(notes))


def _unused(name: str, columns: Mapping[str, object]) -> str:
  """Returns a name that no column has. A column without a name is called 'index'."""
  name = name or 'index'
  unused = name
  number = 1
  while unused in columns:
    number += 1
    unused = f'{name}.{number}'
  return unused


def _expand_objects(records: Sequence[Mapping[str, object]]) -> list[Record]:
  """Replaces cells that hold an object by a column for each of its keys.

  The name of a new column has the old one as its prefix, such as `config.lr`.
  """
  expanded = []
  for record in records:
    row: Record = {}
    for name, value in record.items():
      if isinstance(value, Mapping):
        row |= _flatten(value, f'{name}.')
      else:
        row[name] = value
    expanded.append(row)
  return expanded


# --- JSON -------------------------------------------------------------------------------


def _read_json(text: str) -> RawTable:
  """Reads JSON: lines, a list of runs, an object of runs, or an object of columns."""
  try:
    value = json.loads(text)
  except ValueError:
    value = [json.loads(line) for line in text.splitlines() if line.strip()]
  records = _records(value)
  # If a record holds a list of rows with a step, the list is the curve of the run.
  rows = []
  curves: dict[int, Curve] = {}
  for record in records:
    curve = _take_curve(record)
    if curve is not None:
      curves[len(rows)] = curve
    rows.append(_flatten(record))
  table = from_records(rows)
  return RawTable(table.columns, curves=curves)


def _records(value: object) -> list[Record]:
  """Returns the runs in a JSON value.

  Raises:
    ValueError: If it holds no runs.
  """
  if isinstance(value, list):
    if value and all(isinstance(row, list) for row in value):
      # Rows of a matrix have numbered columns.
      return [dict(zip(map(str, range(len(row))), row)) for row in value]
    records = [dict(record) for record in value if isinstance(record, Mapping)]
    if len(records) < len(value):
      raise ValueError('expected a list of objects, one per run')
    return records
  if not isinstance(value, Mapping) or not value:
    raise ValueError('expected a list of objects, or an object of runs')

  # {name: run}, or {name: [run of each seed]}.
  values = list(value.values())
  groups = {name: each for name, each in value.items() if isinstance(each, Mapping)}
  if len(groups) == len(value):
    if _is_column_oriented(values):
      return _from_columns({name: list(each.values()) for name, each in groups.items()})
    # Sections that share no key, such as a config and its results, are one run.
    return _named_runs(groups) or [dict(value)]
  if all(_is_list_of_records(each) for each in values) and len(values) > 1:
    return [
      {'name': name, **record} for name, records in value.items() for record in records
    ]

  # {name: objective of the run}.
  if len(values) > 2 and all(isinstance(each, (int, float)) for each in values):
    return [{'name': name, 'value': each} for name, each in value.items()]

  # {column: list}.
  lengths = {len(each) for each in values if isinstance(each, list)}
  if len(lengths) == 1 and all(isinstance(each, list) for each in values):
    if not _is_list_of_records(values[0]):
      return _from_columns(value)

  # {"date": ..., "results": [...]}: take the longest list of runs.
  lists = [each for each in values if _is_list_of_records(each)]
  if lists and not _has_step(max(lists, key=len)):
    return [dict(record) for record in max(lists, key=len)]
  nested = []
  for name, each in groups.items():
    if _holds_runs(each) and not PARTS & set(column_name(name).words):
      nested.append(each)
  if nested:
    return _records(max(nested, key=len))
  return [dict(value)]


def _named_runs(runs: Mapping[str, Mapping[str, object]]) -> list[Record]:
  """Returns the runs of {name: run}, or of nested groups such as {name: {name: run}}.

  An entry that shares no key with any other is left out. It may be a description of the study.
  """
  n_with_key = Counter(key for run in runs.values() for key in run)
  records = []
  for name, run in runs.items():
    if len(runs) > 1 and all(n_with_key[key] == 1 for key in run):
      continue
    inner = {key: each for key, each in run.items() if isinstance(each, Mapping)}
    if len(inner) == len(run) and _holds_runs(run):
      records += [
        {'name': name, 'name.2': each.pop('name'), **each}
        for each in _named_runs(inner)
      ]
    else:
      records.append({'name': name, **run})
  return records


def _is_list_of_records(value: object) -> TypeGuard[list[Mapping[str, object]]]:
  return (
    isinstance(value, list)
    and bool(value)
    and all(isinstance(each, Mapping) for each in value)
  )


def _holds_runs(value: Mapping[str, object]) -> bool:
  """Returns True for an object of at least two objects that share a key."""
  records = [set(each) for each in value.values() if isinstance(each, Mapping)]
  return len(records) == len(value) >= 2 and bool(set.intersection(*records))


def _is_column_oriented(values: Sequence[Mapping[str, object]]) -> bool:
  """Returns True for {column: {row number: value}}, as pandas writes it."""
  keys = list(values[0])
  return bool(keys) and all(
    list(each) == keys and all(key.isdigit() for key in each) for each in values
  )


def _from_columns(columns: Mapping[str, list[object]]) -> list[Record]:
  return [dict(zip(columns, row)) for row in zip(*columns.values())]


def _has_step(records: Sequence[Mapping[str, object]]) -> bool:
  return any(name in records[0] for name in STEP_NAMES)


def _take_curve(record: Record) -> Curve | None:
  """Removes the logs of a run from its record, and returns them as a curve."""
  curve: dict[str, np.ndarray] = {}
  for name, value in list(record.items()):
    if _is_list_of_records(value) and _has_step(value):
      del record[name]
      numbers = number_columns(value)
      curve |= {key: c for key, c in numbers.items() if np.isfinite(c).any()}
    elif isinstance(value, Mapping) and _is_history(value):
      del record[name]
      curve |= {key: np.asarray(column, np.float64) for key, column in value.items()}
  if not curve:
    return None
  step = next((name for name in STEP_NAMES if name in curve), '')
  length = len(next(iter(curve.values())))
  curve['step'] = curve.pop(step) if step else np.arange(length, dtype=np.float64)
  return curve


def _is_history(value: Mapping[str, object]) -> bool:
  """Returns True for {metric: list of numbers} with lists of one length above 1."""
  lengths = set()
  for column in value.values():
    if not isinstance(column, list) or len(column) < 2:
      return False
    if not all(isinstance(each, (int, float)) for each in column):
      return False
    lengths.add(len(column))
  return len(lengths) == 1


def _flatten(record: Mapping[str, object], prefix: str = '') -> Record:
  """Returns nested objects by dotted path, with lists as tuples."""
  flat: Record = {}
  for key, value in record.items():
    if isinstance(value, Mapping):
      flat |= _flatten(value, f'{prefix}{key}.')
    else:
      flat[f'{prefix}{key}'] = tuple(value) if isinstance(value, list) else value
  return flat
