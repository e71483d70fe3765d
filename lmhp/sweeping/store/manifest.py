"""The manifest of a study: the facts that all of its trials share.

A point is one assignment of values to the parameters of a space. A cohort is a set of points
that a search chose at one time. A rung is a step at which trials are scored and may be stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses

from lmhp.sweeping.store.json_records import from_json, raw_json, to_json
from lmhp.typing import JSON


@dataclasses.dataclass(frozen=True)
class TaskDescription:
  """The facts that distinguish one task from another.

  A study that is run again must have an equal description.

  Attributes:
    kind: Kind of the task, such as "language_model".
    base_values: Values of the base config, by dotted path.
    identity: Further facts, such as a digest of the functions that are trained.
    data_sha256: Digest of the training data, or None for a task without data.
  """

  kind: str
  base_values: Mapping[str, object]
  identity: Mapping[str, object] = dataclasses.field(default_factory=dict)
  data_sha256: str | None = None


@dataclasses.dataclass(frozen=True)
class RungSchedule:
  """The rungs of a study.

  Attributes:
    steps: Steps of the base config at which trials are scored and may be stopped.
      The last step is the end.
    cooldown: True if a rung scores a fork: a copy of the training whose learning rate decays
      to zero.
  """

  steps: tuple[int, ...]
  cooldown: bool = False


@dataclasses.dataclass(frozen=True)
class Cohort:
  """Points that a search chose at one time, such as a batch of a Bayesian search.

  Attributes:
    name: Name, such as "search-0".
    first_point: Number of the first point.
    n_points: Number of points.
    method: Name of the search method that chose the points.
    seeds_per_point: Number of trials of each point.
    data_per_trial: True if each trial reads different batches.
    space: Space of the points, as JSON.
    settings: {key of the search method: value} when the cohort was chosen.
  """

  name: str
  first_point: int
  n_points: int
  method: str
  seeds_per_point: int
  data_per_trial: bool
  space: Mapping[str, object] = raw_json()
  settings: Mapping[str, object] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Origin:
  """The code, machine and command that a study was run with last.

  Attributes:
    versions: Version of each package, or None if it is not installed as a package.
    git: Commit of the checkout, and True under "dirty" if tracked files differ from it.
    device: Kind and number of the devices.
    command: Words of the command.
  """

  versions: Mapping[str, object] = dataclasses.field(default_factory=dict)
  git: Mapping[str, object] | None = None
  device: Mapping[str, object] = dataclasses.field(default_factory=dict)
  command: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class StudyManifest:
  """The facts that all trials of a study share, and the progress of its search.

  Attributes:
    task: Description of the task.
    sweep: {key of the sweep: value}, without the space.
    space: Space of the newest cohort, as JSON.
    origin: Code, machine and command of the newest process.
    plugins: Import names of the modules outside lmhp that registered an entry.
    changes: Changes of the code, the machine or the space since the study began.
    rungs: Rungs of the study, or None before the search is planned.
    cohorts: Cohorts of the search, in order.
    seconds: Wall time of all processes.
  """

  task: TaskDescription
  sweep: Mapping[str, object] = raw_json()
  space: Mapping[str, object] = raw_json()
  origin: Origin = Origin()
  plugins: tuple[str, ...] = ()
  changes: tuple[str, ...] = ()
  rungs: RungSchedule | None = None
  cohorts: tuple[Cohort, ...] = ()
  seconds: float = 0.0

  def to_json(self) -> dict[str, JSON]:
    """Returns the manifest as a JSON object."""
    return to_json(self)

  @classmethod
  def from_json(cls, value: JSON) -> StudyManifest:
    """Returns the manifest that `to_json` has converted to a JSON object."""
    return from_json(cls, value, 'manifest')
