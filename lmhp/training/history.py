"""The history of a run: `metrics.jsonl`, the file that holds all of its metrics.

One line is one JSON object with its `step` and the metrics of that step, under keys that end
in their unit:

    {"step": 10, "tokens": 7680, "loss_nats": 3.3154, "grad_norm": 0.81, "seconds": 1.2}
    {"step": 10, "eval_loss_nats": 3.3301, "eval_bits_per_byte": 4.80, "final": 0}

`final` is 1 for the evaluation at the end of the run. JSON has no NaN and no infinity, so they are
the strings "nan", "inf" and "-inf": a strict parser reads the line, and `float` reads the value.
Lines are in the order of their steps.

When `append` returns, the operating system has the rows, so a killed process loses none.
`sync` writes them to the disk, so that a crash of the machine loses none. This file imports
no jax.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
import contextlib
import dataclasses
import itertools
import json
import math
import os
from typing import Any
import zlib

from etils import epath
import numpy as np

from lmhp.errors import ConfigError
from lmhp.files import (
  NONFINITE_WORDS,
  as_path,
  is_remote,
  named_errors,
  read_bytes,
  to_jsonable,
)
from lmhp.locks import FileLock
from lmhp.typing import PathLike

METRICS_FILE = 'metrics.jsonl'
MAX_BYTES = 1 << 32
"""Size of the largest `metrics.jsonl` that is read, 4 GiB."""

Row = Mapping[str, Any]
"""One row: `step` and metrics, as JSON can hold them or as numpy scalars."""


@dataclasses.dataclass(frozen=True)
class HistoryMark:
  """The rows of `metrics.jsonl` up to a step, by their number and their checksum.

  Each checkpoint and each result hold a mark, so that lost or changed rows are found.

  Attributes:
    step: Step up to which the rows were written.
    n_rows: Number of rows.
    crc32: Checksum of the rows without their `seconds`, which differ between equal runs.
  """

  step: int
  n_rows: int
  crc32: int

  def check(self, path: epath.Path, text: bytes) -> bytes:
    """Checks that a text begins with the rows.

    Args:
      path: Path of the file, for the message.
      text: Content of the file.

    Returns:
      The part of the text that holds the rows.

    Raises:
      ConfigError: If the rows are missing, or were changed.
    """
    lines = text.split(b'\n')[: self.n_rows + 1]
    kept = b''.join(line + b'\n' for line in lines[:-1])
    problem = 'are missing'
    if len(lines) > self.n_rows:
      problem = 'were changed'
      with contextlib.suppress(ConfigError):
        if _checksum(_parse_rows(path, kept)) == self.crc32:
          return kept
    raise ConfigError(
      f'{path}: rows up to step {self.step:,} {problem}, expected those that the run wrote; '
      'restore the file, or train again in another workdir'
    )


def _checksum(rows: Iterable[Row], crc32: int = 0) -> int:
  """Returns the checksum of rows that follow rows with the checksum `crc32`."""
  for row in rows:
    content = {name: value for name, value in row.items() if name != 'seconds'}
    crc32 = zlib.crc32(json.dumps(content).encode(), crc32)
  return crc32


class History(contextlib.AbstractContextManager['History']):
  """The rows of one `metrics.jsonl`, open for writing by one process at a time.

  Use an object of this class in a `with`. If a killed process left the last line incomplete, the
  constructor removes this line.

  Args:
    directory: Directory of the run. It is made if it does not exist.

  Raises:
    ConfigError: If another process is writing the file.
  """

  def __init__(self, directory: PathLike) -> None:
    self.path = as_path(directory) / METRICS_FILE
    self._lock: FileLock | None = None  # stays None for an object store
    self._text = b''
    # Number and checksum of the rows since the last `restart`, with those before its mark.
    self._n_rows = 0
    self._crc32 = 0
    if is_remote(self.path):
      # An object store cannot append to a file. The text is kept here, and each write
      # replaces the file.
      self._text = self.path.read_bytes() if self.path.exists() else b''
      return
    self.path.parent.mkdir(parents=True, exist_ok=True)
    message = (
      f'{self.path.parent}: another run is writing there; expected another workdir'
    )
    self._lock = FileLock(self.path, message)
    # A killed run may leave half a line at the end. Cut the file after the last whole line.
    text = read_bytes(self.path, MAX_BYTES)
    text = text[: text.rfind(b'\n') + 1]
    self._lock.file.truncate(len(text))

  def __exit__(self, *exception: object) -> None:
    self.close()

  def append(self, rows: Iterable[Row]) -> None:
    """Adds rows, in the order of their steps, with one write."""
    rows = [to_jsonable(row) for row in rows]
    lines = [json.dumps(row, allow_nan=False) + '\n' for row in rows]
    text = ''.join(lines).encode()
    if self._lock is None:
      self._text += text
      self.path.write_bytes(self._text)
    else:
      with named_errors(self.path):
        self._lock.file.write(text)
        self._lock.file.flush()
    self._n_rows += len(rows)
    self._crc32 = _checksum(rows, self._crc32)

  def mark(self, step: int) -> HistoryMark:
    """Returns the mark of all rows so far. Their last step is `step`."""
    return HistoryMark(step, self._n_rows, self._crc32)

  def restart(self, mark: HistoryMark | None) -> None:
    """Removes all rows after a mark. A run that resumes writes them again.

    Args:
      mark: Mark of the checkpoint from which the run resumes. None removes all rows.

    Raises:
      ConfigError: If the rows before the mark are missing, or were changed.
    """
    text = b''
    if mark is not None:
      text = read_bytes(self.path, MAX_BYTES) if self._lock else self._text
      text = mark.check(self.path, text)
    self._n_rows = 0 if mark is None else mark.n_rows
    self._crc32 = 0 if mark is None else mark.crc32
    if self._lock is None:
      self._text = text
      self.path.write_bytes(text)
    else:
      self._lock.file.truncate(len(text))
      self.sync()

  def sync(self) -> None:
    """Writes the rows to the disk. Call this before a checkpoint is saved.

    A run that resumes from the checkpoint does not write the rows again.

    Raises:
      ConfigError: If the directory of the run was renamed or deleted. A checkpoint would then be
        saved in another directory than the rows.
    """
    if self._lock is not None:
      self._lock.check_in_place()
      with named_errors(self.path):
        os.fsync(self._lock.file.fileno())

  def close(self) -> None:
    """Writes the rows to the disk, and releases the lock of the file."""
    if self._lock is not None and not self._lock.file.closed:
      with contextlib.closing(self._lock), named_errors(self.path):
        os.fsync(self._lock.file.fileno())


def check_rows(directory: PathLike, result: Mapping[str, Any]) -> None:
  """Checks that `metrics.jsonl` of a complete run has the rows that the run wrote.

  Args:
    directory: Directory of the run.
    result: Content of `result.json`. A result of an older version is not checked.

  Raises:
    ConfigError: If rows are missing, or were changed.
  """
  mark = result.get('history')
  if isinstance(mark, Mapping):
    path = as_path(directory) / METRICS_FILE
    text = read_bytes(path, MAX_BYTES) if path.exists() else b''
    try:
      HistoryMark(**mark).check(path, text)
    except TypeError:
      raise ConfigError(
        f'{as_path(directory)}: its result is of another version'
      ) from None


# --- reading ------------------------------------------------------------------------


def _parse_rows(path: epath.Path, text: bytes) -> list[dict[str, Any]]:
  """Returns the rows of complete lines. A line without its end is left out."""
  rows = []
  # The part after the last newline is empty, or a line that is being written.
  for number, line in enumerate(text.split(b'\n')[:-1], start=1):
    try:
      row = json.loads(line)
    except (ValueError, RecursionError):
      row = None
    if not isinstance(row, dict) or not isinstance(row.get('step'), (int, float)):
      raise ConfigError(
        f'{path}: line {number} is not a JSON object with a step: {line[:60]!r}'
      )
    rows.append(row)
  return rows


def read_history(path: PathLike, having: str | None = None) -> dict[str, np.ndarray]:
  """Returns the rows of a `metrics.jsonl` as columns. A run may be writing the file.

  Args:
    path: Path of the file, or directory of the run.
    having: Key that the returned rows have: `loss_nats` for training, `eval_loss_nats` for
      evaluations. None returns all rows.

  Returns:
    {key: vector with one entry for each row}. The entry of a row without the key is NaN. The
    dtype of a vector is

    - object if a value is a list, or a string other than "nan", "inf" and "-inf",
    - int64 if all values are whole numbers,
    - float64 otherwise.

  Raises:
    ConfigError: If the file does not exist, or if a line is damaged.
  """
  path = as_path(path)
  path = path / METRICS_FILE if path.is_dir() else path
  if not path.exists():
    raise ConfigError(f'{path}: no such file')
  rows = [
    row
    for row in _parse_rows(path, read_bytes(path, MAX_BYTES))
    if having is None or having in row
  ]
  keys = dict.fromkeys(itertools.chain.from_iterable(rows))
  return {key: _column(rows, key) for key in keys}


def _column(rows: list[dict[str, Any]], key: str) -> np.ndarray:
  numbers = []
  for row in rows:
    value = row.get(key, math.nan)
    if value in NONFINITE_WORDS:
      value = float(value)
    numbers.append(math.nan if value is None else value)
  has_objects = any(isinstance(value, (str, list)) for value in numbers)
  return np.array(numbers, dtype=object if has_objects else None)
