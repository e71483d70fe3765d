"""Attempts at running a pack on a Ray worker, each in its own directory.

A pack is a group of trials that one compiled program trains together. Ray runs a pack again if
its worker or node died. The old worker may still run, on a node that was cut off from the
network. Two workers never write to one place, because each attempt has a directory::

  attempts/PACK.ID/...     the files of a pack, as in the directory of a study; ID is random

A new attempt renames the directory of the attempt before it, and so takes over its checkpoints.
If two workers try this at the same time, one succeeds. A worker that has lost its directory
stops before its next chunk (several updates in one call of a program). Only the attempt whose
result Ray returns is moved into the study. No lock is used, because a node could die while it
holds the lock.
"""

from __future__ import annotations

import contextlib
import math
import uuid

from etils import epath

from lmhp.sweeping.execution.packs import RESULT, Pack, directory_of
from lmhp.training.checkpoint import Checkpoints

ATTEMPTS = 'attempts'


def claim(workdir: epath.Path, pack: str) -> epath.Path:
  """Returns the directory of a new attempt.

  If there are earlier attempts, the directory of the one that has trained the longest is
  renamed, and the others are deleted. Otherwise, the returned directory is empty.

  Args:
    workdir: Directory of the study.
    pack: Name of the pack.
  """
  attempts = workdir / ATTEMPTS
  attempts.mkdir(parents=True, exist_ok=True)
  claimed = attempts / f'{pack}.{uuid.uuid4().hex}'
  # The attempt that has trained the longest comes first.
  earlier = [
    path for path in attempts.iterdir() if path.name.rpartition('.')[0] == pack
  ]
  for path in sorted(earlier, key=lambda path: _saved_step(path, pack), reverse=True):
    # Another worker may rename this directory at the same time.
    with contextlib.suppress(OSError):
      if claimed.exists():
        path.rmtree()
      else:
        path.rename(claimed)
  claimed.mkdir(exist_ok=True)
  return claimed


def _saved_step(attempt: epath.Path, pack: str) -> float:
  """Returns the step of an attempt's newest checkpoint, or infinity if it is done."""
  directory = directory_of(attempt, pack)
  if (directory / RESULT).exists():
    return math.inf
  return Checkpoints(directory / 'checkpoints').latest() or 0


def publish(workdir: epath.Path, pack: Pack, attempt: str) -> None:
  """Moves the files of an attempt into the study, the result last.

  Files that were moved before are kept, so a driver that was killed can repeat the call.

  Args:
    workdir: Directory of the study.
    pack: The pack.
    attempt: Name of the attempt's directory.
  """
  source = workdir / ATTEMPTS / attempt
  source_directory = directory_of(source, pack.name)
  directory = directory_of(workdir, pack.name)
  # The states are moved before the result, because a pack with a result counts as complete.
  if pack.keep_states and (source_directory / 'checkpoints').exists():
    (directory / 'checkpoints').rmtree(missing_ok=True)
    (source_directory / 'checkpoints').rename(directory / 'checkpoints')
  if (directory / RESULT).exists():
    return

  (workdir / 'curves').mkdir(parents=True, exist_ok=True)
  curves = f'curves/{pack.name}.parquet'
  if (source / curves).exists():
    (source / curves).replace(workdir / curves)
  (source_directory / RESULT).replace(directory / RESULT)
