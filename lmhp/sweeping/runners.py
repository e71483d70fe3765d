"""Who runs packs: this process, or a Ray cluster."""

from __future__ import annotations

from typing import Any, Callable, Iterator, Sequence

from lmhp.sweeping.choices import devices_for
from lmhp.sweeping.engine import Engine
from lmhp.sweeping.packs import Pack, PackResult, Stopped

Runner = Callable[[Engine, Sequence[Pack]], Iterator[tuple[Pack, PackResult]]]


def local(address: str | None = None) -> Runner:
  """Packs one after the other in this process."""
  del address

  def run(engine: Engine, packs: Sequence[Pack]) -> Iterator[tuple[Pack, PackResult]]:
    for pack in packs:
      engine.show.pack(pack)
      if engine.stop():
        raise Stopped
      shown = lambda step, metrics, pack=pack: engine.show.step(pack, step, metrics)
      yield pack, engine.states.run(pack.name, stop=engine.stop, devices=devices_for(pack.method), show=shown).run()

  return run


RUNNERS: dict[str, Callable[[str | None], Any]] = {'local': local}
