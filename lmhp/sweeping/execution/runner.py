"""The interface of a runner, which runs packs for the engine of a study.

The members of a pack are trials that one compiled program trains together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import dataclasses
from typing import Protocol

from etils import epath

from lmhp.sweeping.execution.autotuning import Autotuner
from lmhp.sweeping.execution.pack_states import PackStateStore
from lmhp.sweeping.execution.packs import Pack, PackResult
from lmhp.sweeping.progress.study_progress import StudyProgress
from lmhp.sweeping.tasks.task import Task


@dataclasses.dataclass(frozen=True)
class RunnerContext:
  """The study for which a runner runs packs.

  Attributes:
    task: Task of the study.
    workdir: Directory of the study.
    states: Final states of the members of packs.
    progress: Display of the study's progress.
    should_stop: Returns True after a signal.
  """

  task: Task
  workdir: epath.Path
  states: PackStateStore
  progress: StudyProgress
  should_stop: Callable[[], bool]


class Runner(Protocol):
  """A context manager that runs packs."""

  def __enter__(self) -> Runner: ...

  def __exit__(self, *exception: object) -> None: ...

  def autotuner(
    self, task: Task, workdir: epath.Path, method: str, max_pack_width: int | None
  ) -> Autotuner:
    """Returns the autotuner of a study, which chooses how packs run.

    The autotuner measures on the devices that run the packs.

    Args:
      task: Task of the study.
      workdir: Directory of the study.
      method: One of `lmhp.training.population.METHODS`, or "auto".
      max_pack_width: Largest requested number of members, or None.
    """
    ...

  def run(
    self, context: RunnerContext, packs: Sequence[Pack]
  ) -> Iterator[tuple[Pack, PackResult]]:
    """Runs packs. Yields each pack with its result when it is done, in any order.

    Raises:
      Stopped: If `context.should_stop` returns True. All states are saved then.
    """
    ...
