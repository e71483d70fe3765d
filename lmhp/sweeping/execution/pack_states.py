"""Members' states between packs: in memory, else from a pack's checkpoint, else made again by running the pack."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
from typing import Any, Mapping, Sequence

import jax
import numpy as np

from lmhp.files import from_jsonable, to_jsonable, write_json
from lmhp.sweeping.execution.packs import Pack, PackRun
from lmhp.sweeping.tasks.task import Task
from lmhp.training.checkpoint import Checkpoints
from lmhp.training.population import Population

KEPT_BYTES = 2 << 30
"""States up to this size stay in memory."""


class PackStateStore:
  """Where packs find the states that they start from.

  Args:
    task: what is run.
    workdir: the study's directory.
  """

  def __init__(self, task: Task, workdir: Any):
    self.task, self.workdir = task, workdir
    self._kept: collections.OrderedDict[str, tuple[Any, ...]] = (
      collections.OrderedDict()
    )

  def describe(self, pack: Pack, overrides: Sequence[Mapping[str, Any]]) -> Pack:
    """Writes down what a pack is, so that any process can run it, now or again.

    Returns:
      The pack, its name ending in a digest of all that it is: whatever changes makes another pack.
    """
    about = {'pack': dataclasses.asdict(pack), 'overrides': list(overrides)}
    digest = hashlib.sha256(
      json.dumps(to_jsonable(about), sort_keys=True).encode()
    ).hexdigest()[:8]
    pack = dataclasses.replace(pack, name=f'{pack.name}-{digest}')
    path = self.workdir / 'packs' / pack.name / 'pack.json'
    if not path.exists():
      write_json(path, {**about, 'pack': dataclasses.asdict(pack)})
    return pack

  def run(self, name: str, **options: Any) -> PackRun:
    """A pack by its name, ready to run; `options` are those of `PackRun`."""
    found = json.loads((self.workdir / 'packs' / name / 'pack.json').read_text())
    fields = found['pack']
    fields['sources'] = tuple(tuple(s) if s else None for s in fields['sources'])
    pack = Pack(**{**fields, 'trials': tuple(fields['trials'])})
    jobs = [self.task.job(overrides) for overrides in from_jsonable(found['overrides'])]
    return PackRun(
      self.task,
      pack,
      jobs,
      self.workdir,
      lambda population: self.start(pack, population),
      **options,
    )

  def start(self, pack: Pack, population: Population) -> Any:
    """The first state of a pack's members."""
    members = [
      population.member.init(h) if source is None else self.of(source)
      for h, source in zip(population.hypers, pack.sources)
    ]
    return population.join(members + [members[-1]] * (pack.width - len(members)))

  def put(self, name: str, states: tuple[Any, ...] | None) -> None:
    """Keeps the states that a pack left."""
    if states is None:
      return
    self._kept[name] = states
    self._kept.move_to_end(name)
    while len(self._kept) > 1 and sum(map(_bytes, self._kept.values())) > KEPT_BYTES:
      self._kept.popitem(last=False)

  def of(self, source: tuple[str, int]) -> Any:
    """A member's state at the end of a pack: of the pack's name, the member's place."""
    name, place = source
    if name not in self._kept:
      self.put(name, self._saved(name) or self.run(name).run(again=True).states)
    return self._kept[name][place]

  def _saved(self, name: str) -> tuple[Any, ...] | None:
    """The states of a pack from its last checkpoint, None where that was not saved."""
    run = self.run(name)
    with Checkpoints(run.directory / 'checkpoints') as checkpoints:
      if checkpoints.latest() != run.pack.last_step:
        return None
      rows, extra = run.restore(checkpoints, run.pack.last_step)
    if (
      extra['step'] != run.pack.last_step
    ):  # the last is damaged, and the one before it was read
      return None
    return tuple(rows[: len(run.pack.trials)])

  def clear(self) -> None:
    """Forgets all states, on the disk too, once no pack will start from any: they can be made again."""
    self._kept.clear()
    packs = self.workdir / 'packs'
    for pack in packs.iterdir() if packs.exists() else ():
      if (pack / 'result.json').exists():
        (pack / 'checkpoints').rmtree(missing_ok=True)
        for path in pack.glob('curves-*.parquet'):
          path.unlink(missing_ok=True)


def _bytes(states: tuple[Any, ...]) -> int:
  return sum(
    x.nbytes
    for state in states
    for x in jax.tree.leaves(state)
    if isinstance(x, np.ndarray)
  )
