"""Formats of text files. Each reader yields the documents of a file.

Rows and lines are counted from 1 in all messages. The header of a table is not a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import csv
import io
import json

from etils import epath

from lmhp.data.formats.source_files import open_binary
from lmhp.errors import ConfigError, suggest

BYTE_ORDER_MARK = b'\xef\xbb\xbf'
"""Bytes that some editors write before UTF-8 text. They are not part of the text."""

OTHER_MARKS = {
  b'\xff\xfe\x00\x00': 'UTF-32',
  b'\x00\x00\xfe\xff': 'UTF-32',
  b'\xff\xfe': 'UTF-16',
  b'\xfe\xff': 'UTF-16',
}
"""{first bytes of a text: its encoding}. The longer marks stand first."""

MAX_NUL_FRACTION = 0.2
"""Fraction of NUL bytes above which a text is taken as UTF-16 without a mark."""

MAX_FIELDS = 12
"""Largest number of fields that an error message names."""

_LARGEST_CSV_FIELD = 2**31 - 1


# --- text and lines -------------------------------------------------------------------


def _read_txt(file: epath.Path, text_field: str) -> Iterator[str]:
  """Yields the whole file as one document."""
  del text_field  # Only other formats have fields.
  with open_binary(file) as content:
    data = content.read().removeprefix(BYTE_ORDER_MARK)
  # ASCII text in UTF-16 is also valid UTF-8, with a NUL after or before each character.
  beginning = data[:4096]
  has_mark = beginning.startswith(tuple(OTHER_MARKS))
  if not has_mark and beginning.count(0) > MAX_NUL_FRACTION * len(beginning):
    raise _other_encoding(str(file), 'UTF-16LE' if beginning[0] else 'UTF-16BE')
  try:
    yield data.decode()
  except UnicodeDecodeError as error:
    line = data.count(b'\n', 0, error.start) + 1
    raise _not_utf8(
      f'{file}:{line}', f'byte 0x{data[error.start]:02x}', data
    ) from error


def _read_jsonl(file: epath.Path, text_field: str) -> Iterator[str]:
  """Yields one document for each line that is not blank."""
  with open_binary(file) as content:
    yield from _documents_of_lines(content, text_field, file)


def _documents_of_lines(
  lines: Iterable[bytes], text_field: str, file: epath.Path
) -> Iterator[str]:
  for number, line in enumerate(lines, 1):
    if number == 1:
      line = line.removeprefix(BYTE_ORDER_MARK)
    if line.strip():
      place = f'{file}:{number}'
      try:
        row = json.loads(line)
      except UnicodeDecodeError as error:
        raise _not_utf8(place, f'byte 0x{line[error.start]:02x}', line) from error
      except (ValueError, RecursionError) as error:
        raise ConfigError(f'data.path: {place}: not JSON: {error}') from error
      yield text_of_row(row, text_field, place)


def _read_json(file: epath.Path, text_field: str) -> Iterator[str]:
  """Yields one document for each object of a list, or for the only object.

  Some files with the suffix .json have one object in each line. They are read as .jsonl.
  """
  with open_binary(file) as content:
    data = content.read().removeprefix(BYTE_ORDER_MARK)
  try:
    value = json.loads(data)
  except UnicodeDecodeError as error:
    raise _not_utf8(str(file), f'byte 0x{data[error.start]:02x}', data) from error
  except json.JSONDecodeError as error:
    if error.msg == 'Extra data':
      yield from _documents_of_lines(io.BytesIO(data), text_field, file)
      return
    raise ConfigError(
      f'data.path: {file}:{error.lineno}: not JSON: {error.msg}'
    ) from error
  except RecursionError as error:
    raise ConfigError(f'data.path: {file}: not JSON: {error}') from error
  rows = value if isinstance(value, list) else [value]
  for number, row in enumerate(rows, 1):
    yield text_of_row(row, text_field, f'{file} row {number}')


# --- tables ---------------------------------------------------------------------------


def _read_csv(file: epath.Path, text_field: str) -> Iterator[str]:
  """Yields one document for each row of a table with commas and a header."""
  return _read_separated(file, text_field, ',')


def _read_tsv(file: epath.Path, text_field: str) -> Iterator[str]:
  """Yields one document for each row of a table with tabs and a header."""
  return _read_separated(file, text_field, '\t')


def _read_separated(file: epath.Path, text_field: str, delimiter: str) -> Iterator[str]:
  # The default limit is 131,072 characters. The setting is of the process.
  csv.field_size_limit(_LARGEST_CSV_FIELD)
  number = 0
  try:
    with open_binary(file) as content:
      # `utf-8-sig` leaves out a byte order mark.
      text = io.TextIOWrapper(content, encoding='utf-8-sig', newline='')
      for number, row in enumerate(csv.DictReader(text, delimiter=delimiter), 1):
        place = f'{file} row {number}'
        document = text_of_row(row, text_field, place)
        # `DictReader` puts surplus fields under None, and None into missing ones.
        if None in row or None in row.values():
          raise ConfigError(
            f'data.path: {place}: expected as many fields as the header has'
          )
        yield document
  except UnicodeDecodeError as error:
    problem = f'byte 0x{error.object[error.start]:02x}'
    raise _not_utf8(f'{file} after row {number}', problem, error.object) from error
  except csv.Error as error:
    raise ConfigError(f'data.path: {file} row {number + 1}: {error}') from error


def _read_parquet(file: epath.Path, text_field: str) -> Iterator[str]:
  """Yields one document for each row."""
  import pyarrow as pa  # Loaded only for this format: it takes 40 ms.
  import pyarrow.parquet as pq

  try:
    with file.open('rb') as content, pq.ParquetFile(content) as table:
      column = column_of_field(f'{file}', text_field, table.schema_arrow.names)
      # Read in batches, so that a large file does not have to fit into memory.
      number = 0
      for batch in table.iter_batches(columns=[column], batch_size=1024):
        for row in batch.to_pylist():
          number += 1
          yield text_of_row(row, text_field, f'{file} row {number}')
  except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
    reason = ' '.join(str(error).split())
    raise ConfigError(
      f'data.path: cannot read the parquet file {file}: {reason}'
    ) from error


FORMATS: Mapping[str, Callable[[epath.Path, str], Iterator[str]]] = {
  '.txt': _read_txt,
  '.jsonl': _read_jsonl,
  '.parquet': _read_parquet,
  '.csv': _read_csv,
  '.tsv': _read_tsv,
  '.json': _read_json,
  '.md': _read_txt,
}
"""Readers by file suffix. Each yields the documents of a file, given the text field."""

WITHOUT_FIELDS = ('.txt', '.md')
"""Formats whose files are one document each."""


# --- rows -----------------------------------------------------------------------------


def text_of_row(row: object, text_field: str, place: str) -> str:
  """Returns the text of a row. None becomes an empty document.

  Args:
    row: Row of a table, or parsed JSON.
    text_field: Name of a field, or the path of a nested one, such as `data.text`.
    place: File and number of the row, for error messages.

  Raises:
    ConfigError: If the row has no such field, or the field holds no text.
  """
  if not isinstance(row, Mapping):
    raise ConfigError(
      f'data.path: {place}: got a {type(row).__name__}, expected an object with the field '
      f'{text_field!r} (data.text_field)'
    )
  if text_field in row:
    return _checked_text(row[text_field], place)
  value: object = row
  for name in text_field.split('.'):
    if not isinstance(value, Mapping) or name not in value:
      raise _missing_field(place, text_field, _field_paths(row))
    value = value[name]
  return _checked_text(value, place)


def _field_paths(row: Mapping[str, object]) -> list[str]:
  """Returns the names of the fields of a row, with the paths of those one level below."""
  paths = []
  for name, value in row.items():
    if isinstance(value, Mapping) and value:
      paths += [f'{name}.{inner}' for inner in value]
    else:
      paths.append(name)
  return paths


def column_of_field(place: str, text_field: str, names: Sequence[str]) -> str:
  """Returns the column of the text field, or else the column that has the nested field.

  Args:
    place: Name of the table, for the message.
    text_field: Name of the field.
    names: Names of the columns.

  Raises:
    ConfigError: If there is no such column.
  """
  column = text_field if text_field in names else text_field.partition('.')[0]
  if column not in names:
    raise _missing_field(place, text_field, names, 'column')
  return column


def _missing_field(
  place: str, text_field: str, names: Iterable[str], kind: str = 'field'
) -> ConfigError:
  """Builds the error for a row or a table without the text field.

  Args:
    place: File, or file and number of the row.
    text_field: Field that is missing.
    names: Fields that are there.
    kind: 'field' or 'column'.
  """
  names = list(names)
  n_more = len(names) - MAX_FIELDS
  more = f' and {n_more} more' if n_more > 0 else ''
  listed = ', '.join(repr(name) for name in names[:MAX_FIELDS]) or 'no field'
  return ConfigError(
    f'data.text_field: {place} has no {kind} {text_field!r}, only {listed}{more}'
    f'{suggest(text_field, names)}'
  )


def _checked_text(value: object, place: str) -> str:
  """Returns the text of a document, after checks. None becomes an empty document."""
  if value is None:
    return ''
  if not isinstance(value, str):
    raise ConfigError(
      f'data.text_field: {place}: got {type(value).__name__}, expected text'
    )
  try:
    # JSON can contain a lone surrogate, which UTF-8 cannot encode.
    value.encode()
  except UnicodeEncodeError as error:
    raise _not_utf8(place, f'lone surrogate {value[error.start]!r}') from error
  return value


def _not_utf8(place: str, problem: str, data: bytes = b'') -> ConfigError:
  """Builds the error for a text in another encoding, and names an encoding that has a mark."""
  for mark, encoding in OTHER_MARKS.items():
    if data.startswith(mark):
      return _other_encoding(place, encoding)
  return ConfigError(f'data.path: {place}: not UTF-8 text ({problem})')


def _other_encoding(place: str, encoding: str) -> ConfigError:
  return ConfigError(
    f'data.path: {place}: got text in {encoding}, expected UTF-8; convert it with '
    f'`iconv -f {encoding} -t UTF-8 FILE > NEW_FILE`'
  )
