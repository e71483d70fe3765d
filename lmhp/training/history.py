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
import itertools
import json
import math
import os
from types import ModuleType
from typing import Any

from etils import epath
import numpy as np

from lmhp.errors import ConfigError
from lmhp.files import NONFINITE_WORDS, as_path, is_remote, to_jsonable
from lmhp.typing import PathLike

fcntl: ModuleType | None
try:
  import fcntl
except ImportError:
  # Windows has no `fcntl`. There, two runs in one directory are not noticed.
  fcntl = None

METRICS_FILE = 'metrics.jsonl'

Row = Mapping[str, Any]
"""One row: `step` and metrics, as JSON can hold them or as numpy scalars."""


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
    self._file = None  # stays None for an object store
    self._text = b''
    if is_remote(self.path):
      # An object store cannot append to a file. The text is kept here, and each write
      # replaces the file.
      self._text = self.path.read_bytes() if self.path.exists() else b''
      return
    self.path.parent.mkdir(parents=True, exist_ok=True)
    file = open(self.path, 'ab+')
    self._file = file
    if not _lock(file.fileno()):
      file.close()
      raise ConfigError(
        f'{self.path.parent}: another run is writing there; expected another workdir'
      )
    # A killed run may leave half a line at the end. Cut the file after the last whole line.
    file.seek(0)
    file.truncate(file.read().rfind(b'\n') + 1)

  def __exit__(self, *exception: object) -> None:
    self.close()

  def append(self, rows: Iterable[Row]) -> None:
    """Adds rows, in the order of their steps, with one write."""
    lines = [json.dumps(to_jsonable(row), allow_nan=False) + '\n' for row in rows]
    text = ''.join(lines).encode()
    if self._file is None:
      self._text += text
      self.path.write_bytes(self._text)
    else:
      self._file.write(text)
      self._file.flush()

  def truncate_after(self, step: int) -> None:
    """Removes the rows after a step. A run that resumes at this step writes them again."""
    text = self.path.read_bytes() if self.path.exists() else b''
    # Steps grow along the file, so the rows to keep are its beginning. Each line has a newline.
    size = sum(
      len(line) + 1
      for line, row in zip(text.split(b'\n'), _parse_rows(self.path, text))
      if row['step'] <= step
    )
    if self._file is None:
      self._text = text[:size]
      self.path.write_bytes(self._text)
    else:
      self._file.truncate(size)
      self.sync()

  def sync(self) -> None:
    """Writes the rows to the disk. Call this before a checkpoint is saved.

    A run that resumes from the checkpoint does not write the rows again.
    """
    if self._file is not None:
      os.fsync(self._file.fileno())

  def close(self) -> None:
    """Writes the rows to the disk, and releases the lock of the file."""
    if self._file is not None and not self._file.closed:
      self.sync()
      self._file.close()


def _lock(descriptor: int) -> bool:
  """Locks an open file. Returns False if another process has locked it."""
  if fcntl is None:
    return True
  try:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    return False
  except OSError:
    # The file system has no locks.
    pass
  return True


# --- reading ------------------------------------------------------------------------


def _parse_rows(path: epath.Path, text: bytes) -> list[dict[str, Any]]:
  """Returns the rows of complete lines. A line without its end is left out."""
  rows = []
  # The part after the last newline is empty, or a line that is being written.
  for number, line in enumerate(text.split(b'\n')[:-1], start=1):
    try:
      row = json.loads(line)
    except ValueError:
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
    for row in _parse_rows(path, path.read_bytes())
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
