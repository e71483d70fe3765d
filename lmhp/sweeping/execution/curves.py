"""Curves of a pack's members, as parquet: one row for each member and logged step."""

from __future__ import annotations

import io
from typing import Any, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lmhp.files import as_path, write_atomic


class Rows:
  """The rows of a pack so far.

  Args:
    trials: numbers of the members.
    tokens_per_step: in an update.
    every: steps from one row to the next; the first step and those of `forced` have one always.
    forced: steps.
    loss: the metric whose first value that is not finite ends a member's rows.
  """

  def __init__(
    self,
    trials: Sequence[int],
    tokens_per_step: int,
    every: int,
    forced: Sequence[int],
    loss: str = 'loss_nats',
  ):
    self.trials, self.tokens_per_step, self.every, self.loss = (
      trials,
      tokens_per_step,
      every,
      loss,
    )
    self.forced = [1, *forced]
    self._parts: list[pa.Table] = []

  def add(
    self, first: int, columns: Mapping[str, np.ndarray], broken: Sequence[int | None]
  ) -> None:
    """Adds a chunk.

    Args:
      first: updates made before it.
      columns: {name: (R, S) float32}.
      broken: the step at which each member's rows end, None for those that go on.
    """
    n = columns[self.loss].shape[1]
    steps_S = np.arange(first + 1, first + n + 1)
    logged_S = (steps_S % self.every == 0) | np.isin(steps_S, self.forced)
    for i, trial in enumerate(self.trials):
      end = broken[i] or np.inf
      keep_S = (logged_S & (steps_S <= end)) | (steps_S == end)
      self._append(
        trial,
        steps_S[keep_S],
        {name: values[i][keep_S] for name, values in columns.items()},
      )

  def add_scores(
    self, step: int, scores: Sequence[Mapping[str, float]], broken: Sequence[int | None]
  ) -> None:
    """Adds an evaluation of every member whose rows go on."""
    for trial, metrics, end in zip(self.trials, scores, broken):
      if end is None:
        self._append(
          trial,
          np.array([step]),
          {name: np.array([float(x)]) for name, x in metrics.items()},
        )

  def _append(
    self, trial: int, steps: np.ndarray, columns: Mapping[str, np.ndarray]
  ) -> None:
    if len(steps):
      self._parts.append(
        pa.table(
          {
            'trial': np.full(len(steps), trial),
            'step': steps,
            'tokens': steps * self.tokens_per_step,
            **columns,
          }
        )
      )

  def last(self) -> list[dict[str, float]]:
    """Each member's training metrics at its last row; {} where it has none."""
    table = self.table()
    steps, losses = np.asarray(table['step']), table[self.loss].to_numpy()
    logged = np.flatnonzero(~np.isnan(losses))
    logged = logged[np.argsort(steps[logged], kind='stable')]
    newest = dict(zip(np.asarray(table['trial'])[logged].tolist(), logged.tolist()))
    row = lambda i: {
      n: x for n, x in table.slice(i, 1).to_pylist()[0].items() if x is not None
    }
    own = ('trial', 'step', 'tokens')
    return [
      {n: x for n, x in row(newest[t]).items() if n not in own} if t in newest else {}
      for t in self.trials
    ]

  def table(self) -> pa.Table:
    """All rows; what a row does not have is null."""
    if not self._parts:
      return pa.table(
        {
          'trial': pa.array([], pa.int64()),
          'step': pa.array([], pa.int64()),
          'tokens': pa.array([], pa.int64()),
          self.loss: pa.array([], pa.float32()),
        }
      )
    return pa.concat_tables(self._parts, promote_options='default')

  def write(self, path: Any) -> None:
    """Writes them, whole or not at all."""
    write(path, self.table())

  def read(self, path: Any) -> None:
    """Takes the rows of a file in place of what there is."""
    self._parts = [read(path)]


def write(path: Any, table: pa.Table) -> None:
  """Writes a table so that a reader finds it whole or not at all."""
  buffer = io.BytesIO()
  pq.write_table(table, buffer)
  write_atomic(path, buffer.getvalue())


def read(path: Any) -> pa.Table:
  """A table that `write` wrote."""
  return pq.read_table(io.BytesIO(as_path(path).read_bytes()))
