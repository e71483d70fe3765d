"""One durable study: what was tried, what came of it. An Optuna storage, with `trials.jsonl` as its mirror.

The storage is `study.journal` in the study's directory, or a database by its URL; optuna-dashboard and every Optuna
plot work on it. Of a trial Optuna holds::

  params                   what the search chose; a value that Optuna cannot hold, as a tuple, is its JSON text there
  intermediate values      the scores by step
  state and values         complete and diverged are COMPLETE, pruned PRUNED, failed FAIL
  user attributes          point, seed, cohort, overrides; `about`: status, scores, objective and all the rest;
                           `diverged`; `parameters`, where params alone would not give them back

`about` is what counts. It is one record, so a trial has its old condition or its new one whatever is killed when; what
else Optuna shows is brought into line with it at open. Trials that are added together are noted in the study's
attribute `adding` first, so that they are all there after a kill, or none.

JSON has no NaN or infinity: they are the words "nan", "inf" and "-inf" in what is stored, and numbers again when read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import logging
import math
import pathlib
import time
from typing import Any, Iterator, Mapping, Sequence
import uuid

from lmhp.hypers import ConfigError
from lmhp.sweeping.domains import plain as tuples
from lmhp.sweeping.space import Parameter, parameters
from lmhp.training.history import is_remote, plain, write_json

try:
  import fcntl
except ImportError:  # Windows: two drivers of one study go unnoticed
  fcntl = None

STATUSES = ('waiting', 'running', 'complete', 'pruned', 'diverged', 'failed')
ENDED = STATUSES[2:]
MIRROR_SHARE = 20
"""The mirror is written again once this many times as long has passed as writing it took."""

_WORDS = ('nan', 'inf', '-inf')
_FIRST = ('number', 'point', 'seed', 'status', 'cohort', 'overrides', 'parameters', 'objective', 'rung', 'scores')
_THEN = ('steps', 'tokens', 'seconds', 'pack')
_FIXED = ('number', 'point', 'seed', 'cohort', 'overrides', 'parameters')
_log = logging.getLogger(__name__)


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


# --- a trial as a line of JSON --------------------------------------------------------------------------------------


def to_line(trial: Trial) -> dict[str, Any]:
  """A trial as `trials.jsonl` has it.

  Raises:
    ValueError: where `about` uses a name that a line has for something else, or the status is none.
  """
  if taken := set(trial.about) & set(_FIRST):
    raise ValueError(f'trial {trial.number}: about has {sorted(taken)}, which a line has for something else')
  if trial.status not in STATUSES:
    raise ValueError(f'trial {trial.number}: status {trial.status!r} is none of {", ".join(STATUSES)}')
  values, scores = trial.values, {int(step): float(trial.scores[step]) for step in sorted(trial.scores)}
  objective = None if values is None else float(values[0]) if len(values) == 1 else [float(v) for v in values]
  line = {name: getattr(trial, name, None) for name in _FIRST}
  line |= {'objective': objective, 'rung': max(scores, default=None), 'scores': scores}
  line |= {name: trial.about[name] for name in _THEN if name in trial.about}
  return plain({**line, **trial.about})


def from_line(line: Mapping[str, Any]) -> Trial:
  """The trial of a line."""
  objective = numbers(line['objective'])
  values = None if objective is None else tuple(objective) if isinstance(objective, list) else (objective,)
  return Trial(
      number=line['number'], point=line['point'], seed=line['seed'], cohort=line['cohort'], status=line['status'],
      overrides={path: tuples(numbers(value)) for path, value in line['overrides'].items()},
      parameters={name: tuples(numbers(value)) for name, value in line['parameters'].items()},
      scores={int(step): float(score) for step, score in line['scores'].items()}, values=values,
      about={key: numbers(value) for key, value in line.items() if key not in _FIRST})


def numbers(value: Any) -> Any:
  """JSON with the words for NaN and infinity as numbers again."""
  if isinstance(value, dict):
    return {key: numbers(v) for key, v in value.items()}
  if isinstance(value, list):
    return [numbers(v) for v in value]
  return float(value) if isinstance(value, str) and value in _WORDS else value


def _text(trial: Trial) -> str:
  return json.dumps(to_line(trial), allow_nan=False)


# --- the study ------------------------------------------------------------------------------------------------------


class Study:
  """The trials of one study. Made by :meth:`open` or :meth:`read`; use it in a `with`.

  Attributes:
    workdir: its directory.
    name: in the storage.
    directions: `minimize` or `maximize`, one for each objective.
    trials: all of them, by number.
  """

  def __init__(self, workdir: pathlib.Path, name: str, directions: tuple[str, ...], records: Records,
               space: Any = None):
    self.workdir, self.name, self.directions = workdir, name, directions
    self._records, self._space = records, {p.name: p for p in parameters(space)} if space is not None else {}
