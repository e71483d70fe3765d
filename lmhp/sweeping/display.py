"""How a sweep shows itself while it goes on."""

from __future__ import annotations

import datetime
from typing import Any, Iterable, Mapping


def progress(sweep: Any, name: str, mode: str = 'auto') -> Progress:
  """Shows a sweep's progress; use it in a `with`."""
  return Progress() if mode == 'none' else Plain()


class Progress:
  """The interface, and what shows nothing."""

  def __enter__(self) -> Progress:
    return self

  def __exit__(self, *exception) -> None:
    pass

  def plan(self, plan: Any, trials: Iterable[Any]) -> None:
    """What the search will be."""

  def pack(self, pack: Any) -> None:
    """A pack begins."""

  def step(self, pack: Any, step: int, metrics: Mapping[str, Any]) -> None:
    """A pack has come to a step."""

  def trials(self, trials: Iterable[Any]) -> None:
    """The study has new results."""

  def message(self, text: str) -> None:
    """Says something in words."""


class Plain(Progress):
  """Lines with the time."""

  def message(self, text: str) -> None:
    print(f'{datetime.datetime.now():%H:%M:%S} {text}', flush=True)

  def pack(self, pack: Any) -> None:
    self.message(f'{pack.name}: {len(pack.trials)} trials to step {pack.last_step:,}, {pack.method}')
