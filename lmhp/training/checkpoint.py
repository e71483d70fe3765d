"""Checkpoints: saved states of a run, each complete or absent after any kill.

Each saved step is a directory. Its name is the number of the step, and it holds the marker
`commit_success.txt`. Orbax writes the directory under a temporary name, and renames it when it is
complete. (On an object store, Orbax writes the marker last.) Deletion removes the marker first,
and then the rest. So a step that is half written or half deleted is never read, and a later run
removes it. The metadata of a step holds a checksum of its arrays, because Orbax does not notice
one in four flipped bits on the disk.

Orbax's functions write and read each step. This file decides which steps exist and which are
deleted. Orbax's `Checkpointer` is not used, because it deletes files in the order of the
directory, lists half-deleted steps, and takes twice as long for a small state. No other file
imports orbax, whose v1 interface still changes.
"""

from __future__ import annotations

from collections.abc import Mapping
import contextlib
import dataclasses
import json
import logging
import math
import time
from typing import Any

from etils import epath
import jax
from orbax.checkpoint import v1 as ocp

from lmhp.errors import ConfigError
from lmhp.files import as_path, is_remote, with_checksum, without_checksum
from lmhp.training.config import CheckpointConfig
from lmhp.training.states.leaves import checksum, describe
from lmhp.typing import JSON, PathLike, PyTree

COMMIT_MARKER = 'commit_success.txt'
"""File that Orbax writes into a complete step."""

UNFINISHED = '.orbax-checkpoint-tmp'
"""Suffix of a directory that Orbax has not finished."""

MAX_NAMED_LEAVES = 4
"""Largest number of differing leaves that an error message names."""

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class _StepMetadata:
  """Metadata of a saved step. It is stored beside the arrays.

  Attributes:
    leaves: {path: dtype and shape} of the state, as `describe` returns it.
    crc32: Checksum of the arrays. None if another process holds a part of them.
    extra: JSON that the caller of `save` added.
    metrics: {'eval_loss_nats': loss at the step}, or empty if it was not measured.
  """

  leaves: Mapping[str, str]
  crc32: int | None
  extra: Mapping[str, Any]
  metrics: Mapping[str, float]


class Checkpoints(contextlib.AbstractContextManager['Checkpoints']):
  """The saved states of one run. A save runs in the background.

  Use an object of this class in a `with`, which waits at its end for the save in flight (the one
  that still runs).

  The constructor reads and writes nothing, so another process can inspect a run. The first
  save removes what a killed process left behind.

  Args:
    directory: Directory of the steps. The first save makes it. It may be relative, absolute
      or in an object store.
    cfg: Section `checkpoint` of the config: when to save, and how many states to keep. None is
      the default config.
  """

  def __init__(self, directory: PathLike, cfg: CheckpointConfig | None = None) -> None:
    path = as_path(directory)
    # Orbax does not accept a relative path.
    self.directory = path if is_remote(path) else path.resolve()
    self.cfg = CheckpointConfig() if cfg is None else cfg
    self._saving: ocp.AsyncResponse[None] | None = None
    self._metadata: dict[int, _StepMetadata] = {}
    self._damaged: set[int] = set()  # complete by their marker, but unreadable
    self._is_cleaned = False
    # Step and time of the last save. At first, 0 and the time at which this object is made.
    # `restore` sets the step too.
    self._saved_step = 0
    self._saved_at = time.monotonic()

  def __exit__(self, *exception: object) -> None:
    # Without this call the save in flight is lost, and Python may hang at its exit.
    self.wait()

  # --- steps ------------------------------------------------------------------------

  def steps(self) -> list[int]:
    """Returns the complete steps, oldest first. A save in flight is not among them."""
    if not self.directory.exists():
      return []
    # A step without its marker is not complete.
    names = [path.name for path in self.directory.iterdir()]
    return [
      step
      for step in sorted(int(name) for name in names if name.isdecimal())
      if step not in self._damaged and (self._path(step) / COMMIT_MARKER).exists()
    ]

  def latest(self) -> int | None:
    """Returns the newest complete step, or None."""
    return max(self.steps(), default=None)

  def check_markers(self) -> None:
    """Checks that the checkpoints of a complete run, if it has any, have their markers.

    Raises:
      ConfigError: If a step has lost its marker. It would count as never saved.
    """
    if not self.directory.exists():
      return
    for path in self.directory.iterdir():
      if path.name.isdecimal() and not (path / COMMIT_MARKER).exists():
        raise ConfigError(
          f'{path}: has no {COMMIT_MARKER}, expected a complete checkpoint; restore the file, '
          f'or delete {self.directory} if only the results are needed'
        )

  def due(self, step: int) -> bool:
    """Returns True if a save is due at a step.

    A save is due in two cases:
    - The run has passed a multiple of `every_steps` since the last save.
    - `every_seconds` have passed since the last save, or since this object was made.
    """
    # A step that was saved or restored needs no other save, and at step 0 nothing is trained.
    if not self.cfg.enabled or step == self._saved_step:
      return False
    every_steps = self.cfg.every_steps
    if every_steps and step // every_steps > self._saved_step // every_steps:
      return True
    every_seconds = self.cfg.every_seconds or math.inf
    return time.monotonic() - self._saved_at >= every_seconds

  # --- writing ----------------------------------------------------------------------

  def save(
    self,
    step: int,
    state: PyTree,
    extra: Mapping[str, JSON] | None = None,
    metrics: Mapping[str, float] | None = None,
    wait: bool = False,
  ) -> None:
    """Starts to save a state. Before that, waits for the save in flight.

    When this returns, the buffers of the state may be donated. If the step is saved already,
    nothing is written: a run is a pure function, so the saved state has the same bits.

    Args:
      step: Number of updates made.
      state: Pytree of jax arrays, none of them empty. PRNG keys are allowed.
      extra: JSON that `restore` returns.
      metrics: {'eval_loss_nats': loss at this step}, or None if it was not measured. The
        `cfg.keep_best` states with the lowest loss are kept.
      wait: If True, returns when the step is complete.

    Raises:
      TypeError: If `extra` is not JSON.
      ConfigError: If the save in flight failed, or this one cannot start.
    """
    self.wait()
    self._remove_unfinished()
    self._saved_step = step
    self._saved_at = time.monotonic()
    if step in self.steps():
      return
    # A directory of this step without its marker is a save that was killed.
    self._remove(step)

    metadata = {
      'leaves': describe(state),
      'crc32': checksum(state),
      'extra': dict(extra or {}),
      'metrics': {name: float(value) for name, value in (metrics or {}).items()},
    }
    # Serialize here, so that an error is not raised in Orbax's thread.
    metadata = json.loads(json.dumps(metadata))
    stored: Any = with_checksum(metadata)
    try:
      self._saving = ocp.save_checkpointables_async(
        self._path(step), {'state': state}, custom_metadata=stored
      )
    except Exception as error:
      # For instance, the operating system refuses a new thread or more memory.
      raise self._not_saved(error) from error
    self._metadata[step] = _StepMetadata(**metadata)
    self._damaged.discard(step)
    if wait:
      self.wait()

  def wait(self) -> None:
    """Waits for the save in flight, then deletes the steps that `cfg` does not keep.

    Raises:
      ConfigError: If the save failed, for instance because the disk is full. The earlier
        steps are still there.
    """
    if self._saving is None:
      return
    saving = self._saving
    self._saving = None
    try:
      saving.result()
    except Exception as error:
      # For a full disk alone, tensorstore raises errors of several types.
      raise self._not_saved(error) from error
    for step in set(self.steps()) - self._steps_to_keep():
      self._remove(step)

  def _not_saved(self, error: Exception) -> ConfigError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return ConfigError(
      f'{self.directory}: step {self._saved_step} could not be saved: {reason}'
    )

  def _steps_to_keep(self) -> set[int]:
    """Returns the last steps and the steps with the lowest loss."""
    steps = self.steps()
    losses = {step: self._loss(step) for step in steps}
    measured = [step for step in steps if losses[step] < math.inf]
    # Of equal losses, the newer step comes first.
    best = sorted(measured, key=lambda step: (losses[step], -step))
    return {*steps[-self.cfg.keep_last :], *best[: self.cfg.keep_best]}

  def _loss(self, step: int) -> float:
    """Returns the evaluation loss of a step in nats.

    The loss is infinite if it was not measured, is not finite or cannot be read.
    """
    loss = math.inf
    # For unreadable metadata, Orbax raises errors of many types.
    with contextlib.suppress(Exception):
      loss = self._read_metadata(step).metrics.get('eval_loss_nats', math.inf)
    return loss if math.isfinite(loss) else math.inf

  def _remove(self, step: int) -> None:
    """Deletes a step, its marker first.

    A step without the marker is ignored, even if the process dies before the rest is deleted.
    """
    path = self._path(step)
    if jax.process_index() == 0 and path.exists():
      (path / COMMIT_MARKER).unlink(missing_ok=True)
      path.rmtree(missing_ok=True)

  def _remove_unfinished(self) -> None:
    """Deletes the half-written and half-deleted steps of earlier processes.

    Only the first call does this.
    """
    if self._is_cleaned or jax.process_index() != 0 or not self.directory.exists():
      return
    for path in self.directory.iterdir():
      is_half_deleted = path.name.isdecimal() and not (path / COMMIT_MARKER).exists()
      if is_half_deleted or path.name.endswith(UNFINISHED):
        path.rmtree(missing_ok=True)
    self._is_cleaned = True

  # --- reading ----------------------------------------------------------------------

  def restore(self, step: int, abstract: PyTree) -> tuple[PyTree, dict[str, Any]]:
    """Reads a state.

    If a step cannot be read, a warning names it, and the saved step before it is read instead.
    The damaged step stays on the disk until the run saves it again.

    Args:
      step: Step to read, usually `latest()`.
      abstract: State with a `jax.ShapeDtypeStruct` in place of each array. An array goes to
        the devices of its sharding, or to the first device if it has none.

    Returns:
      `(state, extra)`. `extra['step']` is the step that was read.

    Raises:
      ConfigError: If the step is not complete, if its state differs from `abstract` in paths,
        shapes or dtypes, or if neither it nor an earlier step can be read.
    """
    self.wait()
    steps = self.steps()
    if step not in steps:
      raise ConfigError(
        f'{self._path(step)}: no complete checkpoint; complete steps: {steps or "none"}'
      )
    abstract = jax.tree.map(_with_sharding, abstract)
    reason = ''
    # Try the step first, and then the steps before it.
    for candidate in reversed(steps[: steps.index(step) + 1]):
      try:
        state, extra = self._read(candidate, abstract)
        self._saved_step = candidate
        return state, {**extra, 'step': candidate}
      except ConfigError:
        # The step is readable, but belongs to another config. So do the steps before it.
        raise
      except Exception as error:
        # A damaged file raises errors of many types in orbax, tensorstore and json. The
        # message of Orbax's error does not help, so only its type is shown.
        reason = type(error).__name__
        self._damaged.add(candidate)
        _log.warning(
          '%s: damaged (%s); reading the checkpoint before it',
          self._path(candidate),
          reason,
        )
        _log.debug('%s', error, exc_info=True)
    raise ConfigError(
      f'{self.directory}: no checkpoint up to step {step} can be read ({reason})'
    )

  def _read(self, step: int, abstract: PyTree) -> tuple[PyTree, Mapping[str, Any]]:
    metadata = self._read_metadata(step)
    self._check_leaves(step, metadata.leaves, describe(abstract))
    state = ocp.load_checkpointables(self._path(step), {'state': abstract})['state']
    # A checksum is None if another process holds a part of the arrays. Then the arrays are not
    # checked.
    if metadata.crc32 is not None and checksum(state) not in (metadata.crc32, None):
      raise ValueError('the arrays are not those that were saved')
    return state, metadata.extra

  def _read_metadata(self, step: int) -> _StepMetadata:
    if step not in self._metadata:
      stored: Any = ocp.checkpointables_metadata(self._path(step)).custom_metadata
      if not isinstance(stored, dict):
        raise ValueError('the step has no metadata')
      # Without a checksum, a changed name of a leaf would look like another config.
      try:
        metadata: dict[str, Any] = without_checksum(stored, self._path(step))
      except ConfigError as error:
        raise ValueError(str(error)) from None
      self._metadata[step] = _StepMetadata(**metadata)
    return self._metadata[step]

  def _check_leaves(
    self, step: int, saved: Mapping[str, str], expected: Mapping[str, str]
  ) -> None:
    """Checks that a saved state has the leaves of this config.

    The message names the leaves that differ, which the message of Orbax does not.
    """
    differences = [
      f'{name} is {saved[name]}, expected {expected[name]}'
      for name in saved
      if name in expected and saved[name] != expected[name]
    ]
    differences += [
      f'{name} is only in the checkpoint' for name in saved if name not in expected
    ]
    differences += [
      f'{name} is only in this config' for name in expected if name not in saved
    ]
    if not differences:
      return

    n_more = len(differences) - MAX_NAMED_LEAVES
    more = f'; and {n_more} more' if n_more > 0 else ''
    named = '; '.join(differences[:MAX_NAMED_LEAVES])
    raise ConfigError(
      f'{self._path(step)}: holds another state than this config makes: {named}{more}. '
      'Use the config of that run, or another workdir'
    )

  def _path(self, step: int) -> epath.Path:
    return self.directory / str(step)


def _with_sharding(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
  first_device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  return jax.ShapeDtypeStruct(
    leaf.shape, leaf.dtype, sharding=leaf.sharding or first_device
  )
