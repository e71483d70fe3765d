"""Saved states of a run: each complete or absent, whatever kills the process, and whenever.

A step is a directory named by its number that holds `commit_success.txt`. Orbax writes it under a temporary name and
renames it when complete (on object stores it writes the mark last). Deleting goes the other way round: first the mark,
then the rest. So a step half written or half deleted is never taken for a whole one, and a later run sweeps it up. A
checksum of the arrays' bits travels with them, since of bits that flip on the disk Orbax notices three in four.

Orbax's functions write and read each step; which steps there are is kept here, because its `Checkpointer` deletes in
directory order, lists half-deleted steps, and takes twice as long over a small state. This is the only file that
imports orbax: its v1 interface still moves.
"""

from __future__ import annotations

import json
import logging
import math
import time
from typing import Any, Mapping
import zlib

from etils import epath
import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from lmhp.errors import ConfigError
from lmhp.files import as_path, is_remote
from lmhp.training.config import CheckpointConfig

MARK = (
  'commit_success.txt'  # orbax's own; the suffix of what it has not finished follows
)
UNFINISHED = '.orbax-checkpoint-tmp'

_log = logging.getLogger(__name__)


class Checkpoints:
  """The saved states of one run, newest last. Use it in a `with`: leaving it waits for the save in flight.

  Opening reads nothing and writes nothing, so that a finished or a running run can be looked into; what a killed
  process left behind is swept up by the first save.

  Args:
    directory: where the steps lie; made by the first save. Relative, absolute or `gs://`.
    cfg: when to save and what to keep.
  """

  def __init__(self, directory: Any, cfg: CheckpointConfig = CheckpointConfig()):
    path = as_path(directory)
    self.directory = (
      path if is_remote(path) else path.resolve()
    )  # orbax refuses relative paths
    self.cfg = cfg
    self._saving = None  # orbax's answer to the save in flight
    self._about: dict[int, dict] = {}  # what each step says of itself, once read
    self._damaged: set[int] = set()  # complete by their mark, yet unreadable
    self._swept = False
    self._saved_step, self._saved_at = 0, time.monotonic()

  def __enter__(self) -> Checkpoints:
    return self

  def __exit__(self, *exception) -> None:
    self.close()

  def close(self) -> None:
    """Waits for the save in flight. Without it that save is lost, and Python may hang as it exits."""
    self.wait()

  # --- which steps there are ------------------------------------------------------------------------------------

  def steps(self) -> list[int]:
    """The complete steps, oldest first; a save in flight is not among them."""
    if not self.directory.exists():
      return []
    names = [p.name for p in self.directory.iterdir()]
    steps = sorted(int(name) for name in names if name.isdecimal())
    return [
      s for s in steps if s not in self._damaged and (self._path(s) / MARK).exists()
    ]

  def latest(self) -> int | None:
    """The newest complete step, None where there is none."""
    return max(self.steps(), default=None)

  def due(self, step: int) -> bool:
    """Whether `cfg` asks for a save at `step`: enough steps or enough time since the last one (or since opening)."""
    if not self.cfg.enabled or step == self._saved_step:
      return False
    by_steps = (
      self.cfg.every_steps
      and step // self.cfg.every_steps > self._saved_step // self.cfg.every_steps
    )
    by_time = (
      self.cfg.every_seconds
      and time.monotonic() - self._saved_at >= self.cfg.every_seconds
    )
    return bool(by_steps or by_time)

  # --- writing --------------------------------------------------------------------------------------------------

  def save(
    self,
    step: int,
    state: Any,
    extra: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
    wait: bool = False,
  ) -> None:
    """Starts to save a state, once the save before it is complete; its buffers may be donated as soon as this returns.

    A step that is already there is left as it is: a run is a pure function, so it holds the same bits.

    Args:
      step: updates done so far.
      state: pytree of jax arrays (typed PRNG keys too), none of them empty.
      extra: what else must come back, as JSON.
      metrics: `eval_loss_nats` at this step, where it was measured; decides which states are best.
      wait: return only when the step is complete.
    """
    self.wait()
    self._sweep()
    self._saved_step, self._saved_at = step, time.monotonic()
    if step in self.steps():
      return
    self._remove(step)
    metrics = {name: float(value) for name, value in (metrics or {}).items()}
    about = {
      'leaves': describe(state),
      'crc32': checksum(state),
      'extra': extra or {},
      'metrics': metrics,
    }
    about = json.loads(
      json.dumps(about)
    )  # raises here and now, not in orbax's thread, at what JSON cannot hold
    self._saving = ocp.save_checkpointables_async(
      self._path(step), {'state': state}, custom_metadata=about
    )
    self._about[step] = about
    self._damaged.discard(step)
    if wait:
      self.wait()

  def wait(self) -> None:
    """Waits until the save in flight is complete, then deletes the steps that need not be kept.

    Raises:
      ConfigError: if it could not be written; the steps before it are still there.
    """
    if self._saving is None:
      return
    saving, self._saving = self._saving, None
    try:
      saving.result()
    except (
      Exception
    ) as error:  # a full disk, most often, by whatever name tensorstore gives it
      reason = str(error).splitlines()[0]
      raise ConfigError(
        f'{self.directory}: step {self._saved_step} could not be saved: {reason}'
      ) from error
    for step in set(self.steps()) - self._kept():
      self._remove(step)

  def _kept(self) -> set[int]:
    steps = self.steps()
    by_loss = sorted((self._loss(s), -s) for s in steps)
    best = [-negated for loss, negated in by_loss if loss < math.inf][
      : self.cfg.keep_best
    ]
    return {*steps[-self.cfg.keep_last :], *best}

  def _loss(self, step: int) -> float:
    try:
      loss = self._read_about(step)['metrics'].get('eval_loss_nats', math.inf)
    except Exception:  # a damaged step is not the best one; orbax raises many kinds
      loss = math.inf
    return loss if math.isfinite(loss) else math.inf

  def _remove(self, step: int) -> None:
    """Deletes a step, its mark first: from then on it does not count, even if the process dies before the rest."""
    if jax.process_index() == 0 and self._path(step).exists():
      (self._path(step) / MARK).unlink(missing_ok=True)
      self._path(step).rmtree(missing_ok=True)

  def _sweep(self) -> None:
    """Deletes, once, what earlier processes left half written or half deleted."""
    if self._swept or jax.process_index() != 0 or not self.directory.exists():
      return
    for path in self.directory.iterdir():
      half_deleted = path.name.isdecimal() and not (path / MARK).exists()
      if half_deleted or path.name.endswith(UNFINISHED):
        path.rmtree(missing_ok=True)
    self._swept = True

  # --- reading --------------------------------------------------------------------------------------------------

  def restore(self, step: int, abstract: Any) -> tuple[Any, dict[str, Any]]:
    """Reads a state back, on whatever devices `abstract` says.

    Where a step cannot be read, it says so in a warning and takes the one before; what was damaged stays on the disk
    until the run saves that step again.

    Args:
      step: the step to read, most often `latest()`.
      abstract: the state's pytree with a `jax.ShapeDtypeStruct` in place of each array; one without a sharding goes to
        the first device.

    Returns:
      `(state, extra)`, where `extra['step']` is the step that was read.

    Raises:
      ConfigError: if the step holds another state than `abstract`, or no step can be read.
    """
    self.wait()
    candidates = [s for s in reversed(self.steps()) if s <= step]
    if step not in candidates:
      raise ConfigError(
        f'{self._path(step)}: no complete checkpoint; complete steps: {self.steps() or "none"}'
      )
    abstract = jax.tree.map(_placed, abstract)
    reason = ''
    for candidate in candidates:
      try:
        state, extra = self._read(candidate, abstract)
        self._saved_step = candidate
        return state, {**extra, 'step': candidate}
      except ConfigError:
        raise
      except Exception as error:  # what a damaged file raises in orbax, tensorstore and json is no one type
        self._damaged.add(candidate)
        reason = type(error).__name__  # not its message: orbax's blames a handler
        _log.warning(
          '%s: damaged (%s); the checkpoint before it is taken',
          self._path(candidate),
          reason,
        )
        _log.debug('%s', error, exc_info=True)
    raise ConfigError(
      f'{self.directory}: no checkpoint up to step {step} can be read ({reason})'
    )

  def _read(self, step: int, abstract: Any) -> tuple[Any, dict[str, Any]]:
    about = self._read_about(step)
    self._check_leaves(step, about['leaves'], describe(abstract))
    state = ocp.load_checkpointables(self._path(step), {'state': abstract})['state']
    if about['crc32'] is not None and checksum(state) not in (about['crc32'], None):
      raise ValueError('the arrays are not those that were saved')
    return state, about['extra']

  def _read_about(self, step: int) -> dict:
    if step not in self._about:
      self._about[step] = ocp.checkpointables_metadata(self._path(step)).custom_metadata
    return self._about[step]

  def _check_leaves(
    self, step: int, saved: Mapping[str, str], wanted: Mapping[str, str]
  ) -> None:
    """Names what differs between two states; orbax's own message says 'incompatible handler' to all of it."""
    here = f'{self._path(step)}: holds another state than this config makes'
    differ = [
      f'{n} is {saved[n]} there and {wanted[n]} here'
      for n in saved
      if n in wanted and saved[n] != wanted[n]
    ]
    differ += [f'{n} is only there' for n in saved if n not in wanted]
    differ += [f'{n} is only here' for n in wanted if n not in saved]
    if differ:
      more = f'; and {len(differ) - 4} more' if len(differ) > 4 else ''
      raise ConfigError(
        f'{here}: {"; ".join(differ[:4])}{more}. Use the config of that run, or another workdir'
      )

  def _path(self, step: int) -> epath.Path:
    return self.directory / str(step)


def describe(state: Any) -> dict[str, str]:
  """Type and shape of each leaf by path: `{'params/output/kernel': 'float32[14,31]'}`."""
  leaves = {
    jax.tree_util.keystr(path, simple=True, separator='/'): x
    for path, x in jax.tree.leaves_with_path(state)
  }
  return {
    path: f'{x.dtype}[{",".join(map(str, x.shape))}]' for path, x in leaves.items()
  }


def checksum(state: Any) -> int | None:
  """CRC-32 of the bits of all leaves in order; None where other processes hold part of them. About 4 GB a second."""
  crc = 0
  for x in jax.tree.leaves(state):
    if not x.is_fully_addressable:
      return None
    x = (
      jax.random.key_data(x)
      if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
      else x
    )
    crc = zlib.crc32(np.ascontiguousarray(x).reshape(-1).view(np.uint8), crc)
  return crc


def _placed(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
  sharding = leaf.sharding or jax.sharding.SingleDeviceSharding(jax.devices()[0])
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
