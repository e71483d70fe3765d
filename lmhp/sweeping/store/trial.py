"""One trial of a study, and its line in `trials.jsonl`."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any, Mapping

from lmhp.files import from_jsonable, to_jsonable
from lmhp.sweeping.space.domains import to_tuples

HEADER, MIRROR, LOCK = 'study.json', 'trials.jsonl', 'study.lock'


STATUSES = ('waiting', 'running', 'complete', 'pruned', 'diverged', 'failed')


ENDED = STATUSES[2:]


FIRST = (
  'number',
  'point',
  'seed',
  'status',
  'cohort',
  'overrides',
  'parameters',
  'objective',
  'rung',
  'scores',
)


_THEN = ('steps', 'tokens', 'seconds', 'pack')


_FIXED = ('number', 'point', 'seed', 'cohort', 'overrides', 'parameters')


@dataclasses.dataclass(frozen=True)
class Trial:
  """One training run: one point with one seed.

  Attributes:
    number: 0, 1, 2, ...; Optuna's trial number.
    point: trials of one point differ in their seed alone.
    seed: what was drawn anew for it.
    parameters: what the search chose, {parameter name: value}.
    overrides: all that differs from the base config, the seed included, {dotted path: value}.
    cohort: what it was made for.
    status: waiting, running, complete, pruned, diverged or failed.
    scores: objective at each rung, {step: value}.
    values: final objectives; of a diverged one a finite bad value; None until it ends, or where it has none.
    about: anything else, as JSON can hold it: metrics, steps, tokens, flops, seconds, pack, device, ...
  """

  number: int
  point: int
  seed: int
  parameters: Mapping[str, Any]
  overrides: Mapping[str, Any]
  cohort: str = 'search'
  status: str = 'waiting'
  scores: Mapping[int, float] = dataclasses.field(default_factory=dict)
  values: tuple[float, ...] | None = None
  about: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def to_line(trial: Trial) -> dict[str, Any]:
  """A trial as `trials.jsonl` has it: JSON, and nothing that JSON does not hold.

  Raises:
    ValueError: where `about` uses a name that a line has for something else, or the status is none.
  """
  if taken := set(trial.about) & set(FIRST):
    raise ValueError(
      f'trial {trial.number}: about has {sorted(taken)}, which a line has for something else'
    )
  if trial.status not in STATUSES:
    raise ValueError(
      f'trial {trial.number}: status {trial.status!r} is none of {", ".join(STATUSES)}'
    )
  values, scores = (
    trial.values,
    {int(step): float(trial.scores[step]) for step in sorted(trial.scores)},
  )
  objective = (
    None
    if values is None
    else float(values[0])
    if len(values) == 1
    else [float(v) for v in values]
  )
  line = {name: getattr(trial, name, None) for name in FIRST}
  line |= {'objective': objective, 'rung': max(scores, default=None), 'scores': scores}
  line |= {name: trial.about[name] for name in _THEN if name in trial.about}
  line |= trial.about
  try:
    text = json.dumps(line, allow_nan=False)  # most lines, in a tenth of the time
  except (TypeError, ValueError):
    text = json.dumps(to_jsonable(line), allow_nan=False)
  return json.loads(text)


def from_line(line: Mapping[str, Any]) -> Trial:
  """The trial of a line."""
  objective = from_jsonable(line['objective'])
  values = (
    None
    if objective is None
    else tuple(objective)
    if isinstance(objective, list)
    else (objective,)
  )
  return Trial(
    number=line['number'],
    point=line['point'],
    seed=line['seed'],
    cohort=line['cohort'],
    status=line['status'],
    overrides={
      path: to_tuples(from_jsonable(value)) for path, value in line['overrides'].items()
    },
    parameters={
      name: to_tuples(from_jsonable(value))
      for name, value in line['parameters'].items()
    },
    scores={int(step): float(score) for step, score in line['scores'].items()},
    values=values,
    about={
      key: from_jsonable(value) for key, value in line.items() if key not in FIRST
    },
  )


def read_mirror(workdir: pathlib.Path) -> list[str]:
  """The lines of `trials.jsonl`; none where there is no such file."""
  path = workdir / MIRROR
  return path.read_text().split('\n')[:-1] if path.exists() else []
