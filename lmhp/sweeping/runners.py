"""Who runs packs: this process, or a Ray cluster."""

from __future__ import annotations

from concurrent import futures
from typing import Any, Callable, Iterator, Sequence

from lmhp.sweeping.choices import devices_for
from lmhp.sweeping.engine import Engine
from lmhp.sweeping.packs import Pack, PackResult, PackRun, Stopped

Runner = Callable[[Engine, Sequence[Pack]], Iterator[tuple[Pack, PackResult]]]


def local(address: str | None = None) -> Runner:
  """Packs one after the other in this process; while one trains, what the next needs is compiled in a thread."""
  del address
  thread = futures.ThreadPoolExecutor(1, 'lmhp-compile')

  def prepared(engine: Engine, pack: Pack) -> PackRun:
    shown = lambda step, metrics: engine.show.step(pack, step, metrics)
    return engine.states.run(pack.name, stop=engine.stop, devices=devices_for(pack.method), show=shown)

  def run(engine: Engine, packs: Sequence[Pack]) -> Iterator[tuple[Pack, PackResult]]:
    following = prepared(engine, packs[0]) if packs else None
    for i, pack in enumerate(packs):
      if engine.stop():
        raise Stopped
      current, following = following, prepared(engine, packs[i + 1]) if i + 1 < len(packs) else None
      if following is not None and following.read() is None:
        thread.submit(following.compile_ahead)
      engine.show.pack(pack)
      yield pack, current.run()

  return run


RUNNERS: dict[str, Callable[[str | None], Any]] = {'local': local}
