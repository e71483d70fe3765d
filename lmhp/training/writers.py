"""Where a run's rows go: `metrics.jsonl` first, and beside it TensorBoard events and Weights & Biases."""

from __future__ import annotations

import contextlib
import sys
from typing import Any, Iterable, Mapping
import uuid

from etils import epath

from lmhp.errors import ConfigError
from lmhp.files import as_path, to_jsonable
from lmhp.training.history import History, LogConfig, Row


class Writers:
  """`metrics.jsonl` and, after it, whatever else `LogConfig` asks for. Use it in a `with`.

  Args:
    directory: the run's directory.
    cfg: what to write.
    step: the step the run resumes from: later rows are dropped, everywhere. None is a new run, which drops all.
    config: the resolved config by dotted path, for Weights & Biases.

  Raises:
    ConfigError: if another run is writing there, or Weights & Biases is asked for and not installed.
  """

  def __init__(
    self,
    directory: Any,
    cfg: LogConfig,
    step: int | None = None,
    config: Row | None = None,
  ):
    directory = as_path(directory)
    with contextlib.ExitStack() as opened:
      self.history = opened.enter_context(History(directory))
      self.history.truncate_after(-1 if step is None else step)
      self._beside = []
      if cfg.tensorboard:
        self._beside.append(_TensorBoard(directory, 0 if step is None else step + 1))
        opened.callback(self._beside[-1].close)
      if cfg.wandb_project is not None:
        self._beside.append(
          _WeightsAndBiases(
            directory, cfg.wandb_project, step is not None, config or {}
          )
        )
        opened.callback(self._beside[-1].close)
      self._opened = opened.pop_all()

  def __enter__(self) -> Writers:
    return self

  def __exit__(self, *exception) -> None:
    self.close()

  def append(self, rows: Iterable[Row]) -> None:
    """Adds rows, in the order of their steps: once a chunk, not once a step."""
    rows = [to_jsonable(row) for row in rows]
    self.history.append(rows)
    for writer in self._beside:
      for row in rows:
        # NaN and infinity are words by now: their curves have a gap
        writer.write(
          row['step'],
          {k: v for k, v in row.items() if k != 'step' and isinstance(v, (int, float))},
        )

  def sync(self) -> None:
    """Puts `metrics.jsonl` on the disk; due before a checkpoint promises the rows up to its step."""
    self.history.sync()

  def close(self) -> None:
    """Closes all."""
    self._opened.close()


class _TensorBoard:
  """Events in the run's own directory, so that TensorBoard calls the run by its name and hides what is redone."""

  def __init__(self, directory: epath.Path, first_step: int):
    with _absent('torch'):
      import tensorboardX
    # Named by the first step besides the second of the clock, or a run resumed at once would overwrite its own file.
    suffix = f'.{first_step:09d}'
    self._writer = tensorboardX.SummaryWriter(
      str(directory), purge_step=first_step, flush_secs=10, filename_suffix=suffix
    )

  def write(self, step: int, numbers: Mapping[str, float]) -> None:
    for key, number in numbers.items():
      self._writer.add_scalar(key, number, step)

  def close(self) -> None:
    self._writer.close()


class _WeightsAndBiases:
  """A run of Weights & Biases that keeps its identity through resumes, in `wandb_id.txt`."""

  def __init__(self, directory: epath.Path, project: str, resumed: bool, config: Row):
    try:
      import wandb
    except ImportError:
      raise ConfigError(
        f'log.wandb_project: got {project!r}, which needs: pip install "lmhp[wandb]"'
      ) from None
    known = directory / 'wandb_id.txt'
    if not (resumed and known.exists()):
      known.write_text(uuid.uuid4().hex[:8])
    about = {
      'id': known.read_text(),
      'name': directory.name,
      'dir': str(directory),
      'config': {**config},
    }
    try:
      self._run = wandb.init(project=project, resume='allow', **about)
    except wandb.errors.Error as error:
      reason = str(error).splitlines()[0]
      raise ConfigError(
        f'log.wandb_project: {reason} (WANDB_MODE=offline needs no account)'
      ) from None

  def write(self, step: int, numbers: Mapping[str, float]) -> None:
    self._run.log({**numbers}, step=step)

  def close(self) -> None:
    self._run.finish()


@contextlib.contextmanager
def _absent(module: str):
  """Hides a module from what is imported meanwhile: tensorboardX imports torch where it finds it, 1.5 s for nothing."""
  hide = module not in sys.modules
  if hide:
    sys.modules[module] = None
  try:
    yield
  finally:
    if hide:
      del sys.modules[module]
