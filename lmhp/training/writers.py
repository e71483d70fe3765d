"""Writers of metrics: `metrics.jsonl`, TensorBoard events and Weights & Biases."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
import contextlib
import sys
from types import ModuleType
from typing import Any
import uuid

from etils import epath

from lmhp.errors import ConfigError
from lmhp.files import as_path, to_jsonable
from lmhp.training.config import LogConfig
from lmhp.training.history import History, HistoryMark, Row
from lmhp.typing import PathLike


class Writers(contextlib.AbstractContextManager['Writers']):
  """The writer of `metrics.jsonl`, and the other writers that a `LogConfig` selects.

  Use an object of this class in a `with`.

  Args:
    directory: Directory of the run.
    cfg: Section `log` of the config.
    resumed: Mark of the checkpoint that the run resumes from. Later rows are removed from
      `metrics.jsonl` and hidden in TensorBoard. None is a new run, for which all rows
      are removed.
    config: Completed config by dotted path, for Weights & Biases.

  Raises:
    ConfigError: If another process is writing there, if rows of `metrics.jsonl` are missing or
      were changed, or if Weights & Biases is not installed or refuses the run.
  """

  def __init__(
    self,
    directory: PathLike,
    cfg: LogConfig,
    resumed: HistoryMark | None = None,
    config: Mapping[str, Any] | None = None,
  ) -> None:
    directory = as_path(directory)
    last_step = -1 if resumed is None else resumed.step
    with contextlib.ExitStack() as stack:
      self.history = stack.enter_context(History(directory))
      self.history.restart(resumed)
      self._others: list[_TensorBoard | _WeightsAndBiases] = []
      if cfg.tensorboard:
        tensorboard = _TensorBoard(directory, last_step + 1)
        self._others.append(stack.enter_context(contextlib.closing(tensorboard)))
      if cfg.wandb_project is not None:
        wandb = _WeightsAndBiases(
          directory, cfg.wandb_project, resumed is not None, config or {}
        )
        self._others.append(stack.enter_context(contextlib.closing(wandb)))
      # All writers are open. If one cannot be opened, the `with` closes the others.
      self._stack = stack.pop_all()

  def __exit__(self, *exception: object) -> None:
    self.close()

  def append(self, rows: Iterable[Row]) -> None:
    """Adds rows, in the order of their steps.

    Each call writes to the files, so call it once for each chunk and not for each step.
    """
    rows = [to_jsonable(row) for row in rows]
    self.history.append(rows)
    for writer in self._others:
      for row in rows:
        writer.write(row['step'], _finite_numbers(row))

  def close(self) -> None:
    """Closes all writers."""
    self._stack.close()


def _finite_numbers(row: Row) -> dict[str, float]:
  """Returns the metrics of a row that are finite numbers.

  NaN and infinity are strings in a row. They are left out, and a curve has a gap there.
  """
  return {
    name: value
    for name, value in row.items()
    if name != 'step' and isinstance(value, (int, float))
  }


class _TensorBoard:
  """TensorBoard events in the directory of the run.

  TensorBoard then shows the run under the name of its directory. `purge_step` hides the
  rows that a resumed run writes again.
  """

  def __init__(self, directory: epath.Path, first_step: int) -> None:
    with _hidden_module('torch'):
      import tensorboardX

    # tensorboardX names a file by the time, in whole seconds. The suffix adds the first step.
    # Without it, a run that is resumed within a second would overwrite its first file.
    self._writer = tensorboardX.SummaryWriter(
      str(directory),
      purge_step=first_step,
      flush_secs=10,
      filename_suffix=f'.{first_step:09d}',
    )

  def write(self, step: int, numbers: Mapping[str, float]) -> None:
    """Writes the metrics of a step."""
    for name, number in numbers.items():
      self._writer.add_scalar(name, number, step)

  def close(self) -> None:
    """Writes what is buffered, and closes."""
    self._writer.close()


class _WeightsAndBiases:
  """A run of Weights & Biases. A resumed run reads its id from `wandb_id.txt`."""

  def __init__(
    self,
    directory: epath.Path,
    project: str,
    is_resumed: bool,
    config: Mapping[str, Any],
  ) -> None:
    try:
      import wandb  # pyright: ignore[reportMissingImports]  (an extra)
    except ImportError:
      raise ConfigError(
        f'log.wandb_project: got {project!r}, which needs: pip install "lmhp[wandb]"'
      ) from None
    id_file = directory / 'wandb_id.txt'
    if not (is_resumed and id_file.exists()):
      id_file.write_text(uuid.uuid4().hex[:8])
    try:
      self._run = wandb.init(
        project=project,
        resume='allow',
        id=id_file.read_text(),
        name=directory.name,
        dir=str(directory),
        config=dict(config),
      )
    except wandb.Error as error:
      reason = str(error).splitlines()[0]
      raise ConfigError(
        f'log.wandb_project: {reason} (WANDB_MODE=offline needs no account)'
      ) from None

  def write(self, step: int, numbers: Mapping[str, float]) -> None:
    self._run.log(dict(numbers), step=step)

  def close(self) -> None:
    self._run.finish()


@contextlib.contextmanager
def _hidden_module(name: str) -> Iterator[None]:
  """Makes the import of a module fail, unless it is loaded already.

  tensorboardX imports torch if it is installed. That import takes 1.5 seconds and is not needed.
  """
  # An entry of None makes an import fail.
  modules: dict[str, ModuleType | None] = sys.modules  # pyright: ignore[reportAssignmentType]
  is_loaded = name in modules
  if not is_loaded:
    modules[name] = None
  try:
    yield
  finally:
    if not is_loaded:
      del modules[name]
