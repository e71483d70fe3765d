"""What a run measured: `metrics.jsonl`, the source of truth.

One line is one JSON object with its `step` and, under keys that end in their unit, what was measured there:

    {"step": 10, "tokens": 7680, "loss_nats": 3.3154, "grad_norm": 0.81, "learning_rate": 0.0003, "seconds": 1.2}
    {"step": 10, "eval_loss_nats": 3.3301, "eval_loss_nats_standard_error": 0.0071, "eval_bits_per_byte": 4.80}

JSON has no word for NaN or infinity, so they are the strings "nan", "inf" and "-inf": a strict parser reads the line,
and `float` the value. Lines are in the order of their steps. Appended rows are with the operating system when `append`
returns, so the death of the process loses none; `sync` puts them on the disk, for the death of the machine. This file
imports no jax.
"""

from __future__ import annotations

import json
import math
import os
from typing import Any, Iterable, Mapping

from etils import epath
import numpy as np

from lmhp.declarations import static
from lmhp.errors import ConfigError
from lmhp.files import NONFINITE_WORDS, as_path, is_remote, to_jsonable
from lmhp.sections import Section, section

try:
  import fcntl
except ImportError:  # Windows: two runs in one directory go unnoticed
  fcntl = None

FILE = 'metrics.jsonl'
Row = Mapping[str, Any]


@section('log')
class LogConfig(Section):
  """What is written while a run goes on (by `writers.py`); `metrics.jsonl` always is."""

  every_steps: int = static(
    10,
    'steps from one row of metrics.jsonl to the next',
    low=1,
    unit='steps',
    aliases=('log_interval', 'logging_steps'),
  )
  tensorboard: bool = static(True, 'write TensorBoard events too')
  wandb_project: str | None = static(
    None, 'log to this Weights & Biases project too (needs the extra wandb)'
  )


class History:
  """The rows of one run's `metrics.jsonl`, open for writing by one process at a time.

  A last line torn by a kill is dropped at open. Use it in a `with`.

  Args:
    directory: the run's directory; made if absent.

  Raises:
    ConfigError: if another process is writing there.
  """

  def __init__(self, directory: Any):
    self.path = as_path(directory) / FILE
    self._text, self._file = (
      b'',
      None,
    )  # an object store cannot append: there the whole text is kept, and written anew
    if is_remote(self.path):
      self._text = self.path.read_bytes() if self.path.exists() else b''
      return
    self.path.parent.mkdir(parents=True, exist_ok=True)
    self._file = open(self.path, 'ab+')
    self._lock()
    self._file.seek(0)
    self._file.truncate(self._file.read().rfind(b'\n') + 1)

  def __enter__(self) -> History:
    return self

  def __exit__(self, *exception) -> None:
    self.close()

  def _lock(self) -> None:
    try:
      fcntl and fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      self._file.close()
      raise ConfigError(
        f'{self.path.parent}: another run is writing there; use another workdir'
      ) from None
    except OSError:  # a file system without locks
      pass

  def append(self, rows: Iterable[Row]) -> None:
    """Adds rows, in the order of their steps, with one write."""
    text = ''.join(
      json.dumps(to_jsonable(row), allow_nan=False) + '\n' for row in rows
    ).encode()
    if self._file is None:
      self._text += text
      self.path.write_bytes(self._text)
    else:
      self._file.write(text)
      self._file.flush()

  def truncate_after(self, step: int) -> None:
    """Drops the rows beyond a step, all at once, so that a run resumed from there writes them anew."""
    text = self.path.read_bytes() if self.path.exists() else b''
    lines = zip(text.split(b'\n'), _rows(self.path, text))
    size = sum(len(line) + 1 for line, row in lines if row['step'] <= step)
    if self._file is None:
      self._text = text[:size]
      self.path.write_bytes(self._text)
    else:
      self._file.truncate(size)
      self.sync()

  def sync(self) -> None:
    """Puts what was appended on the disk; due before a checkpoint promises the rows up to its step."""
    if self._file is not None:
      os.fsync(self._file.fileno())

  def close(self) -> None:
    """Syncs, and lets another process write."""
    if self._file is not None and not self._file.closed:
      self.sync()
      self._file.close()


# --- reading --------------------------------------------------------------------------------------------------------


def _rows(path: epath.Path, text: bytes) -> list[dict[str, Any]]:
  rows = []
  for number, line in enumerate(text.split(b'\n')[:-1], start=1):
    try:
      row = json.loads(line)
      row['step'] + 0
    except (ValueError, TypeError, KeyError):
      raise ConfigError(
        f'{path}: line {number} is not a JSON object with a step: {line[:60]!r}'
      ) from None
    rows.append(row)
  return rows


def read(path: Any, having: str | None = None) -> dict[str, np.ndarray]:
  """The rows of a `metrics.jsonl` as columns, as it stands; a last line still being written is left out.

  Args:
    path: the file, or the directory of the run.
    having: only rows with this key, say `loss_nats` for training or `eval_loss_nats` for evaluation.

  Returns:
    A dict from key to a vector with one entry for each row: int64 where all are whole, else float64, NaN where a row
    lacks the key; of objects where some value is a word.

  Raises:
    ConfigError: if the file is missing, or damaged at the line that is named.
  """
  path = as_path(path)
  path = path / FILE if path.is_dir() else path
  if not path.exists():
    raise ConfigError(f'{path}: no such file')
  rows = [
    row for row in _rows(path, path.read_bytes()) if having is None or having in row
  ]
  keys = dict.fromkeys(key for row in rows for key in row)
  return {key: _column([row.get(key, 'nan') for row in rows]) for key in keys}


def _column(values: list) -> np.ndarray:
  values = [
    float(v) if v in NONFINITE_WORDS else math.nan if v is None else v for v in values
  ]
  return np.array(
    values, object if any(isinstance(v, (str, list)) for v in values) else None
  )
