"""What a run leaves: in memory for the caller, and `result.json` on the disk."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np

from lmhp.errors import ConfigError
from lmhp.files import as_path, from_jsonable
from lmhp.model.transformer import Model


@dataclasses.dataclass(frozen=True)
class RunResult:
  """What a run leaves.

  Attributes:
    workdir: where its files are.
    params: the last parameters; None of a run that was complete before and has no state on the disk.
    result: what `result.json` holds; empty where the run was interrupted.
    history: training metrics by name, vectors over the logged steps.
    evaluations: evaluation metrics by name, vectors over the evaluations.
    model: the network.
    signal: what interrupted the run, say `signal.SIGTERM`; the same call goes on from there. None where it is complete.
  """

  workdir: str
  params: Any
  result: dict
  history: dict[str, np.ndarray]
  evaluations: dict[str, np.ndarray]
  model: Model
  signal: int | None = None

  @property
  def complete(self) -> bool:
    """Whether the run went to its end."""
    return self.signal is None


def read_result(workdir: Any) -> dict[str, Any] | None:
  """The `result.json` of a complete run, words for NaN and infinity as numbers; None where there is none.

  Raises:
    ConfigError: where it is damaged.
  """
  path = as_path(workdir) / 'result.json'
  if not path.exists():
    return None
  try:
    result = json.loads(path.read_text())
    result['steps'] + result['parameters']
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise ConfigError(
      f'{path}: not the result of a run ({type(error).__name__}); take the file away, and the same '
      'command writes it anew'
    ) from None
  return from_jsonable(result)
