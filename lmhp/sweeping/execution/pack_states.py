"""Final states of the members of packs, from which later packs continue.

The members of a pack are trials that one compiled program trains together.

The newest states are in memory. Older states are read from the checkpoint of their pack. If a
pack has no checkpoint, it is run again.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import hashlib
import json
import logging

from etils import epath
import jax
import numpy as np

from lmhp.errors import ConfigError
from lmhp.files import to_jsonable
from lmhp.sweeping.execution.pack_run import PackRun
from lmhp.sweeping.execution.packs import (
  DEFAULT_OPTIONS,
  RESULT,
  SPEC,
  JobTable,
  Pack,
  PackRunOptions,
  directory_of,
)
from lmhp.sweeping.execution.stages import StateRef
from lmhp.sweeping.store.json_records import read_record, to_json, write_record
from lmhp.training.checkpoint import Checkpoints
from lmhp.training.population import Population
from lmhp.typing import PyTree

_log = logging.getLogger(__name__)

KEPT_BYTES = 2 << 30
"""States up to this size in total, 2 GiB, stay in memory."""


class PackStateStore:
  """Stores the final states of packs.

  Args:
    jobs: Jobs of the study's trials.
    workdir: Directory of the study.
  """

  def __init__(self, jobs: JobTable, workdir: epath.Path):
    self.jobs = jobs
    self.workdir = workdir
    self._packs: dict[str, Pack] = {}
    self._in_memory: collections.OrderedDict[str, tuple[PyTree, ...]] = (
      collections.OrderedDict()
    )

  # --- packs --------------------------------------------------------------------------

  def write_spec(self, pack: Pack) -> Pack:
    """Writes the description of a pack, so that any process can run it.

    Returns:
      The pack with a longer name. A digest of all values that determine the result is appended,
      so that packs with different results have different directories.
    """
    # The result also depends on the overrides of the trials, which `pack.json` does not
    # contain.
    overrides = [self.jobs.overrides_in(pack, number) for number in pack.trials]
    content = {'pack': to_json(pack), 'overrides': overrides}
    text = json.dumps(to_jsonable(content), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    pack = dataclasses.replace(pack, name=f'{pack.name}-{digest}')
    path = directory_of(self.workdir, pack.name) / SPEC
    if not path.exists() or not _holds(path, pack):
      write_record(path, pack)
    self._packs[pack.name] = pack
    return pack

  def pack(self, name: str) -> Pack:
    """Returns a pack by its name.

    Raises:
      ConfigError: If the description of a pack of an earlier process is damaged.
    """
    if name not in self._packs:
      self._packs[name] = read_record(Pack, directory_of(self.workdir, name) / SPEC)
    return self._packs[name]

  def run(self, name: str, options: PackRunOptions = DEFAULT_OPTIONS) -> PackRun:
    """Returns the run of a pack, ready to start."""
    return self.run_of(self.pack(name), self.workdir, options)

  def run_of(self, pack: Pack, workdir: epath.Path, options: PackRunOptions) -> PackRun:
    """Returns the run of a pack, ready to start.

    Args:
      pack: The pack.
      workdir: Directory below which the run writes its files. With Ray, it is not the
        directory of the study.
      options: Options that do not change the result.
    """
    return PackRun(
      self.jobs.task,
      pack,
      self.jobs.of_pack(pack),
      workdir,
      functools.partial(self._first_states, pack),
      options,
    )

  def trials_needed_by(self, pack: Pack) -> set[int]:
    """Returns the numbers of all trials whose jobs are needed to run a pack.

    These are the trials of the pack, and the trials of all earlier packs that it continues,
    directly or through other packs. An earlier pack is run again if its states are missing.
    """
    needed = set(pack.trials)
    for name in {source.pack for source in pack.sources if source is not None}:
      needed |= self.trials_needed_by(self.pack(name))
    return needed

  # --- states -------------------------------------------------------------------------

  def _first_states(self, pack: Pack, population: Population) -> PyTree:
    """Returns the state of the population at the start of a pack."""
    init = population.programs.init
    states = [
      init(hypers) if source is None else self.load(source)
      for hypers, source in zip(population.hypers, pack.sources)
    ]
    # Padding repeats the last member.
    return population.join(states + [states[-1]] * (pack.width - len(states)))

  def save(self, name: str, states: tuple[PyTree, ...] | None) -> None:
    """Stores the final states of a pack in memory.

    If the states exceed `KEPT_BYTES` in total, those that were stored first are removed.

    Args:
      name: Name of the pack.
      states: States of the members of the pack, in numpy. None stores nothing.
    """
    if states is None:
      return

    # The oldest entries come first, and are removed first. The newest entry always stays.
    self._in_memory[name] = states
    self._in_memory.move_to_end(name)
    while len(self._in_memory) > 1 and self._n_bytes() > KEPT_BYTES:
      self._in_memory.popitem(last=False)

  def _n_bytes(self) -> int:
    """Returns the size of the numpy arrays of all states in memory."""
    leaves = jax.tree.leaves(self._in_memory)
    return sum(leaf.nbytes for leaf in leaves if isinstance(leaf, np.ndarray))

  def load(self, source: StateRef) -> PyTree:
    """Returns the final state of a member of a pack."""
    # Reading a checkpoint is faster than training again.
    name = source.pack
    if name not in self._in_memory:
      states = self._from_checkpoint(name)
      if states is None:
        states = self.run(name).run(again=True).states
      self.save(name, states)
    return self._in_memory[name][source.index]

  def _from_checkpoint(self, name: str) -> tuple[PyTree, ...] | None:
    """Returns the final states of a pack from the disk, or None if it has none."""
    run = self.run(name)
    last_step = run.pack.last_step
    with Checkpoints(run.directory / 'checkpoints') as checkpoints:
      if checkpoints.latest() != last_step:
        return None
      try:
        members, extra = run.restore(checkpoints, last_step)
      except ConfigError as error:
        _log.warning('%s; this pack is run again', error)
        return None
    if extra['step'] != last_step:
      # The newest checkpoint is damaged, and the one before it was read.
      return None
    return tuple(members[: len(run.pack.trials)])

  def is_on_disk(self, name: str) -> bool:
    """Returns True if the final states of a pack are on the disk."""
    checkpoints = Checkpoints(directory_of(self.workdir, name) / 'checkpoints')
    return checkpoints.latest() == self.pack(name).last_step

  def clear(self) -> None:
    """Deletes the states in memory, and the checkpoints of all packs that have a result.

    The file of curve rows that belongs to a checkpoint is deleted with it. All deleted data can
    be computed again.
    """
    self._in_memory.clear()
    packs = self.workdir / 'packs'
    if not packs.exists():
      return
    # A pack without a result is resumed from its checkpoints, so it keeps them.
    for directory in packs.iterdir():
      if (directory / RESULT).exists():
        (directory / 'checkpoints').rmtree(missing_ok=True)
        for path in directory.glob('curves-*.parquet'):
          path.unlink(missing_ok=True)


def _holds(path: epath.Path, pack: Pack) -> bool:
  """Returns True if a file holds the description of a pack, and is not damaged."""
  try:
    return to_json(read_record(Pack, path)) == to_json(pack)
  except ConfigError:
    return False
