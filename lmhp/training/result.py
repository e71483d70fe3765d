"""The result of a run: for the caller, and `result.json` on the disk."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import json
from typing import Any

import numpy as np

from lmhp.errors import ConfigError
from lmhp.files import as_path, from_jsonable
from lmhp.model.transformer import Model
from lmhp.statistics.divergence import diverged_at
from lmhp.typing import JSON, PathLike, PyTree

RESULT_FILE = 'result.json'

DIVERGENCE_HALF_LIFE_STEPS = 20
"""Half-life of the smoothed loss that decides if a run diverged."""


@dataclasses.dataclass(frozen=True)
class RunResult:
  """The result of a run.

  Attributes:
    workdir: Directory of the files of the run.
    params: Last parameters. None if the run was complete before and its state was not kept.
    result: Content of `result.json`. Empty if the run was interrupted.
    history: Training metrics by name, each a vector over the logged steps.
    evaluations: Metrics of the evaluations by name, each a vector over the evaluations.
    model: Network.
    signal: Signal that interrupted the run, such as `signal.SIGTERM`. The same call then
      resumes it. None if the run is complete.
  """

  workdir: str
  params: PyTree
  result: Mapping[str, Any]
  history: dict[str, np.ndarray]
  evaluations: dict[str, np.ndarray]
  model: Model
  signal: int | None = None

  @property
  def complete(self) -> bool:
    """True if the run reached its end."""
    return self.signal is None


def summarize_losses(
  history: Mapping[str, np.ndarray],
  evaluations: Mapping[str, np.ndarray],
  log_every_steps: int,
) -> dict[str, JSON]:
  """Returns the entries of `result.json` that follow from the logged losses.

  Args:
    history: Training metrics by name.
    evaluations: Metrics of the evaluations by name.
    log_every_steps: Number of steps from one row of `history` to the next.
  """
  losses = evaluations['eval_loss_nats']
  finite_losses = np.where(np.isfinite(losses), losses, np.inf)
  best = int(np.argmin(finite_losses))

  half_life = max(DIVERGENCE_HALF_LIFE_STEPS / log_every_steps, 1)
  row = diverged_at(history['loss_nats'], half_life=half_life)
  return {
    'best_eval_loss_nats': float(finite_losses[best]),
    'best_eval_step': int(evaluations['step'][best]),
    'initial_loss_nats': float(history['loss_nats'][0]),
    'diverged_at': None if row is None else int(history['step'][row]),
  }


def read_result(workdir: PathLike) -> dict[str, Any] | None:
  """Returns the content of `result.json`, or None if the run is not complete.

  NaN and infinity, which the file has as words, are numbers.

  Args:
    workdir: Directory of the run.

  Raises:
    ConfigError: If the file is damaged.
  """
  path = as_path(workdir) / RESULT_FILE
  if not path.exists():
    return None
  try:
    result = json.loads(path.read_text())
    if not all(isinstance(result[name], int) for name in ('steps', 'parameters')):
      raise TypeError('steps and parameters must be whole numbers')
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise ConfigError(
      f'{path}: not the result of a run ({type(error).__name__}); remove the file, and the '
      'same command writes it again'
    ) from None
  return from_jsonable(result)
