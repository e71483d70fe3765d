"""Trials of a study: one training run each, with its scores and its cost.

A trial belongs to a cohort, a group of trials that a study added at one time. It is trained in
stages, each up to a rung (a step at which trials are scored). In each stage it is a member of a
pack, a group of trials that one compiled program trains together.

The storage holds `Trial`. `TrialsFile` writes `trials.jsonl`, which has one line for each
trial, for people and other tools.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import json
import math
import pathlib
import time

from lmhp.files import to_jsonable, write_atomic
from lmhp.sweeping.store.json_records import to_json

TRIALS = 'trials.jsonl'
EXPORT_INTERVAL = 20
"""Pause between two writes of `trials.jsonl`, as a multiple of the time that a write took."""

STATUSES = ('waiting', 'running', 'complete', 'pruned', 'diverged', 'failed')
ENDED = STATUSES[2:]
"""Statuses of trials that do not change any more."""

FIXED = (
  'number',
  'point',
  'seed',
  'cohort',
  'overrides',
  'parameters',
  'model',
)
"""Fields of a trial that do not change after the trial was added."""

OPTIONAL_COLUMNS = ('stages', 'diverged_at', 'lineage', 'error')
"""Fields of a trial that a line of `trials.jsonl` has only if they have a value."""


@dataclasses.dataclass(frozen=True)
class ModelSummary:
  """Facts about the model of a trial that are known before it is trained.

  Attributes:
    structure: Name of the static part of the config, such as a digest. Trials with the same
      structure share their compiled programs.
    config_sha256: Digest of the complete config, or None for a task without one.
    n_parameters: Number of trained parameters, or None if it is not known.
    parameters_by_kind: {kind such as "embedding": number of parameters}.
  """

  structure: str = ''
  config_sha256: str | None = None
  n_parameters: int | None = None
  parameters_by_kind: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class TrialCost:
  """Cost of a trial so far.

  Attributes:
    steps: Updates of the trial itself.
    cooldown_steps: Updates of the forks that were scored at rungs. A fork is a copy of the
      training whose learning rate decays to zero.
    tokens: Training tokens, including those of the forks.
    flops: Training FLOPs, including those of the forks.
    seconds: Share of the trial in the wall time of its packs: for each pack, the time divided
      by the number of trials in the pack.
    device: Kind of the device that the newest pack ran on.
  """

  steps: int = 0
  cooldown_steps: int = 0
  tokens: int = 0
  flops: float = 0.0
  seconds: float = 0.0
  device: str = ''


@dataclasses.dataclass(frozen=True)
class StageResult:
  """Result of one stage of a trial: training up to a rung, and scoring there.

  Attributes:
    stage: Name of the stage.
    pack: Name of the pack that the trial was a member of.
    values: Objectives at the end of the stage. A diverged trial has penalty values instead,
      which are finite.
    diverged: True if the trial diverged in this stage.
  """

  stage: str
  pack: str
  values: tuple[float, ...]
  diverged: bool = False


@dataclasses.dataclass(frozen=True)
class LineageStep:
  """A part of the training of a trial in population-based training.

  A part lies between two exchanges, at which bad trials copy the states of good ones.

  Attributes:
    until_step: Step at which the part ends.
    parent: Number of the trial from whose state the part starts.
    values: Values of the parameters in this part.
  """

  until_step: int
  parent: int
  values: Mapping[str, object]


@dataclasses.dataclass(frozen=True)
class Trial:
  """One training run: a point of the space, trained with one seed.

  Attributes:
    number: Number of the trial in its study: 0, 1, 2, ...
    point: Number of the point. Trials of one point differ only in their seed.
    seed: Training seed.
    parameters: {parameter name: value that the search chose}.
    overrides: {dotted path: value} of all keys whose value replaces that of the base config,
      including the seed.
    cohort: Name of the cohort that the trial belongs to, such as "search-0".
    model: Facts about the model.
    status: One of `STATUSES`.
    scores: {step of a rung: first objective there}.
    values: Objectives at the end of training, or at the last rung of a pruned trial. None if
      there are none. A diverged trial has penalty values instead, which are finite.
    cost: Steps, tokens, FLOPs and seconds so far.
    stages: Results of the stages, in order.
    metrics: {name: value} of all metrics at the end of the newest stage.
    diverged_at: Step of the divergence, or None if the trial has not diverged.
    lineage: Parts of the training, in population-based training.
    error: Reason for which the trial failed, or None if it did not fail.
  """

  number: int
  point: int
  seed: int
  parameters: Mapping[str, object]
  overrides: Mapping[str, object]
  cohort: str = 'search'
  model: ModelSummary = ModelSummary()
  status: str = 'waiting'
  scores: Mapping[int, float] = dataclasses.field(default_factory=dict)
  values: tuple[float, ...] | None = None
  cost: TrialCost = TrialCost()
  stages: tuple[StageResult, ...] = ()
  metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
  diverged_at: int | None = None
  lineage: tuple[LineageStep, ...] = ()
  error: str | None = None

  @property
  def ended(self) -> bool:
    """True if the trial does not change any more."""
    return self.status in ENDED

  @property
  def packs(self) -> tuple[str, ...]:
    """Names of the packs that the trial was a member of, in order."""
    return tuple(stage.pack for stage in self.stages)

  def result_of(self, stage: str) -> StageResult | None:
    """Returns the result of a stage, or None if the trial has none."""
    return next((result for result in self.stages if result.stage == stage), None)


def trials_by_point(trials: Iterable[Trial]) -> dict[int, list[Trial]]:
  """Returns {number of a point: its trials}. Points and trials are sorted by number."""
  groups: dict[int, list[Trial]] = {}
  for trial in sorted(trials, key=lambda trial: (trial.point, trial.number)):
    groups.setdefault(trial.point, []).append(trial)
  return groups


def line_of(trial: Trial) -> str:
  """Returns a trial as a line of `trials.jsonl`, a JSON object.

  The fields of the cost and of the model are fields of the object, so that a table has a column
  for each. `objective` is a number, or a list if there are several objectives. `rung` is the last
  step with a score, and `pack` is the newest pack.
  """
  objective = trial.values
  if objective is not None and len(objective) == 1:
    objective = objective[0]
  scores = {step: trial.scores[step] for step in sorted(trial.scores)}
  stored = to_json(trial)
  line = {
    'number': trial.number,
    'point': trial.point,
    'seed': trial.seed,
    'status': trial.status,
    'cohort': trial.cohort,
    'overrides': trial.overrides,
    'parameters': trial.parameters,
    'objective': objective,
    'rung': max(scores, default=None),
    'scores': scores,
    **dataclasses.asdict(trial.cost),
    **dataclasses.asdict(trial.model),
    'metrics': trial.metrics,
    # These fields are left out of a line if they have no value.
    **{name: stored[name] for name in OPTIONAL_COLUMNS if name in stored},
  }
  if trial.stages:
    line['pack'] = trial.stages[-1].pack
  return json.dumps(to_jsonable(line), allow_nan=False)


class TrialsFile:
  """Writes `trials.jsonl`, which is only for people and other tools.

  Args:
    workdir: Directory of the study.
  """

  def __init__(self, workdir: pathlib.Path):
    self.path = workdir / TRIALS
    self._is_stale = True
    self._due = -math.inf  # time of `time.monotonic` at which the pause ends

  def write(self, lines: Sequence[str]) -> None:
    """Writes the file if a trial has changed.

    Args:
      lines: Lines of all trials, without newlines.
    """
    if not self._is_stale:
      return
    start = time.monotonic()
    write_atomic(self.path, ''.join(line + '\n' for line in lines).encode())
    self._is_stale = False

    # A write takes longer in a larger study, so the next one is due later.
    end = time.monotonic()
    self._due = end + EXPORT_INTERVAL * (end - start)

  def note_change(self, lines: Sequence[str]) -> None:
    """Writes the file after a change, if the pause since the last write is long enough.

    Otherwise, a later call writes it.
    """
    self._is_stale = True
    if time.monotonic() >= self._due:
      self.write(lines)
