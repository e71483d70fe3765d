"""Curves of the members of a pack as a parquet file: one row per member and logged step.

The members of a pack are trials that are trained together. A curve is the training
metrics of a member over its steps. A chunk is several steps in one call of the program.

Dimension key: R members, S steps of a chunk, P rows of a pack.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
import functools
import hashlib
import io
import re

from etils import epath
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from lmhp.errors import ConfigError
from lmhp.files import as_path, read_bytes, write_atomic
from lmhp.typing import PathLike

KEYS = ('trial', 'step', 'tokens')
"""Columns that every row has. The other columns are metrics."""


MAX_BYTES = 1 << 33
"""Size of the largest table that is read, 8 GiB."""

_CHECKSUM = b'lmhp_checksum'
_PACK_NAME = re.compile(r'[\w-]+(\.[\w-]+)*')


class CurveRows:
  """Collects the rows of the curves of a pack.

  Args:
    trials: Numbers of the members.
    tokens_per_step: Tokens of one update.
    every_steps: Steps between two rows.
    forced_steps: Further steps that have a row. Step 1 always has one.
    loss: Name of the training loss. The rows of a member end at the first step at which its
      loss is not finite.
  """

  def __init__(
    self,
    trials: Sequence[int],
    *,
    tokens_per_step: int,
    every_steps: int,
    forced_steps: Sequence[int],
    loss: str,
  ):
    self.trials = trials
    self.tokens_per_step = tokens_per_step
    self.every_steps = every_steps
    self.forced_steps = [1, *forced_steps]
    self.loss = loss
    self._parts: list[pa.Table] = []

  def add(
    self,
    first_step: int,
    columns: Mapping[str, npt.NDArray[np.float32]],
    nonfinite_steps: Sequence[int | None],
  ) -> None:
    """Adds the rows of a chunk.

    Args:
      first_step: Number of updates before the chunk. The steps of the chunk are
        `first_step + 1`, `first_step + 2`, ...
      columns: Training metrics {name: (R, S)}.
      nonfinite_steps: For each member, the first step at which its loss is not finite, or None.
        This step has the last row of the member.
    """
    # All members log the same steps.
    steps_S = first_step + 1 + np.arange(columns[self.loss].shape[1])
    is_regular_S = steps_S % self.every_steps == 0
    is_logged_S = is_regular_S | np.isin(steps_S, self.forced_steps)

    # A member that diverged has one last row, at the step of the divergence.
    for i, trial in enumerate(self.trials):
      end = nonfinite_steps[i] or np.inf
      is_kept_S = (is_logged_S & (steps_S <= end)) | (steps_S == end)
      kept = {name: values[i][is_kept_S] for name, values in columns.items()}
      self._append(trial, steps_S[is_kept_S], kept)

  def add_scores(
    self,
    step: int,
    scores: Sequence[Mapping[str, float]],
    nonfinite_steps: Sequence[int | None],
  ) -> None:
    """Adds an evaluation of each member that has not diverged.

    Args:
      step: Step of the evaluation.
      scores: {metric: value} of each member.
      nonfinite_steps: For each member, the step at which it diverged, or None.
    """
    for trial, metrics, end in zip(self.trials, scores, nonfinite_steps):
      if end is None:
        columns = {name: np.array([value], float) for name, value in metrics.items()}
        self._append(trial, np.array([step]), columns)

  def _append(
    self,
    trial: int,
    steps: npt.NDArray[np.int64],
    columns: Mapping[str, npt.NDArray[np.floating]],
  ) -> None:
    if len(steps):
      keys = (np.full(len(steps), trial), steps, steps * self.tokens_per_step)
      self._parts.append(pa.table({**dict(zip(KEYS, keys)), **columns}))

  def last(self) -> list[dict[str, float]]:
    """Returns {metric: value} of each member, from its last row with a training loss.

    A row whose training loss is NaN does not count. Without a row, the dict is empty.
    """
    table = self.table()
    # Rows of evaluations have no training loss. NumPy has NaN for it.
    rows = np.flatnonzero(~np.isnan(table[self.loss].to_numpy()))
    # The rows of a trial are in the order of their steps, so later rows replace earlier ones.
    trials = np.asarray(table['trial'])[rows]
    last_row_by_trial = dict(zip(trials.tolist(), rows.tolist()))

    return [
      _metrics_of_row(table, last_row_by_trial[trial])
      if trial in last_row_by_trial
      else {}
      for trial in self.trials
    ]

  def table(self) -> pa.Table:
    """Returns all rows. A metric that a row does not have is null there."""
    if not self._parts:
      columns = {name: pa.array([], pa.int64()) for name in KEYS}
      return pa.table({**columns, self.loss: pa.array([], pa.float32())})
    return pa.concat_tables(self._parts, promote_options='default')

  def write(self, path: PathLike) -> None:
    """Writes all rows, atomically."""
    write(path, self.table())

  def read(self, path: PathLike) -> None:
    """Replaces all rows by the rows of a file that `write` wrote."""
    self._parts = [read(path)]


def _metrics_of_row(table: pa.Table, row: int) -> dict[str, float]:
  (values,) = table.slice(row, 1).to_pylist()
  return {
    name: value
    for name, value in values.items()
    if value is not None and name not in KEYS
  }


class LossCurves:
  """Reads the training losses of trials from the files of packs that have ended.

  Args:
    workdir: Directory of the study.
    loss: Name of the training loss.
  """

  def __init__(self, workdir: epath.Path, loss: str):
    self._workdir = workdir
    self._loss = loss
    # A table has the curves of all members of a pack, so several calls need it. The 16 tables
    # that were used most recently are kept in memory.
    self._table_of_pack = functools.lru_cache(maxsize=16)(self._read)

  def of_trial(
    self, number: int, packs: Iterable[str]
  ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Returns the logged steps and the training losses of a trial.

    Args:
      number: Number of the trial.
      packs: Names of the packs that trained the trial, in order.
    """
    steps = []
    losses = []
    for pack in dict.fromkeys(packs):
      table = self._table_of_pack(pack)
      losses_P = table[self._loss].to_numpy(zero_copy_only=False)
      # Rows of evaluations have no training loss. NumPy has NaN for it.
      is_logged_P = (np.asarray(table['trial']) == number) & ~np.isnan(losses_P)
      steps.append(np.asarray(table['step'])[is_logged_P])
      losses.append(losses_P[is_logged_P])
    return np.concatenate(steps), np.concatenate(losses)

  def _read(self, pack: str) -> pa.Table:
    return read(path_of_curves(self._workdir, pack))


def path_of_curves(workdir: PathLike, pack: str) -> epath.Path:
  """Returns the path of the curves of a pack that has ended.

  Raises:
    ConfigError: If the name of the pack would lead to another directory.
  """
  check_pack_name(pack)
  return as_path(workdir) / 'curves' / f'{pack}.parquet'


def check_pack_name(pack: str) -> None:
  """Checks that the name of a pack is the name of a file in its directory.

  Raises:
    ConfigError: If it is not, for instance in the journal of a stranger.
  """
  if not _PACK_NAME.fullmatch(pack):
    raise ConfigError(f'pack: got {pack!r:.60}, expected letters, digits, "-" and "_"')


def write(path: PathLike, table: pa.Table) -> None:
  """Writes a table atomically: a reader gets the complete table, or no file.

  The file holds a checksum of the values, because parquet does not notice changed bits.
  """
  metadata = {**(table.schema.metadata or {}), _CHECKSUM: _checksum(table)}
  buffer = io.BytesIO()
  pq.write_table(table.replace_schema_metadata(metadata), buffer)
  write_atomic(path, buffer.getvalue())


def read(path: PathLike) -> pa.Table:
  """Returns a table that `write` or another program wrote.

  Raises:
    OSError: If the file does not exist.
    ConfigError: If it is no table, or its values do not fit its checksum.
  """
  content = read_bytes(path, MAX_BYTES)
  try:
    table = pq.read_table(io.BytesIO(content))
    stored = (table.schema.metadata or {}).get(_CHECKSUM)
    is_damaged = stored is not None and stored != _checksum(table)
  except (pa.ArrowException, OSError, ValueError) as error:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    raise ConfigError(f'{path}: is damaged ({reason}), expected a table') from None
  if is_damaged:
    raise ConfigError(
      f'{path}: does not fit its checksum, expected the table that lmhp wrote'
    )
  return table


def _checksum(table: pa.Table) -> bytes:
  """Returns a digest of the names, the types and the values of a table of numbers."""
  digest = hashlib.sha256()
  for name, column in zip(table.column_names, table.columns):
    digest.update(f'{name} {column.type} {len(column)}\n'.encode())
    is_null = np.asarray(column.is_null())
    # NumPy has no null. The missing values get one bit pattern, whatever the file holds.
    values = np.asarray(column.fill_null(0))
    digest.update(is_null.tobytes())
    digest.update(np.ascontiguousarray(values).tobytes())
  return digest.hexdigest()[:16].encode()
