"""What a study leaves: the winner as an experiment file, `result.json`, and a few lines in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
import math
from typing import Any

import numpy as np

from lmhp.config_keys import SECTIONS, keys
from lmhp.files import as_path, write_atomic, write_json
from lmhp.statistics.pareto import pareto_front
from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.confirmation import Confirmed, noise, ranked
from lmhp.sweeping.store.trial import Trial


@dataclasses.dataclass(frozen=True)
class StudyResult:
  """What a sweep found.

  Attributes:
    workdir: where its files are.
    trials: all of them, by number.
    best: overrides of the best point; empty where none came to its end.
    result: what `result.json` holds.
    confirmed: the best points and the base config on new seeds; empty where that was not asked for.
    signal: what interrupted the study; the same call goes on from there. None where it is complete.
    base: the base config's values by dotted path.
  """

  workdir: str
  trials: tuple[Trial, ...]
  best: Mapping[str, Any]
  result: Mapping[str, Any]
  confirmed: tuple[Confirmed, ...] = ()
  signal: int | None = None
  base: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  @property
  def complete(self) -> bool:
    """Whether the study came to its end."""
    return self.signal is None


def front(trials: Sequence[Trial], directions: Sequence[str]) -> list[Trial]:
  """Returns the complete trials that no other dominates, in order of the first objective.

  Args:
    trials: Trials of a study.
    directions: 'minimize' or 'maximize', one for each objective. With one objective, the
      front is the best trial, and those that are equal to it.
  """
  done = [trial for trial in trials if trial.status == 'complete']
  signs = np.where(np.asarray(directions) == 'maximize', -1.0, 1.0)
  values = np.array([trial.values for trial in done])
  values = values.reshape(len(done), len(directions)) * signs
  on_front = np.flatnonzero(pareto_front(values[:, 0], values[:, 1:]))
  order = on_front[np.argsort(values[on_front, 0], kind='stable')]
  return [done[i] for i in order]


def result(
  trials: Sequence[Trial],
  sweep: SweepConfig,
  confirmed: Sequence[Confirmed],
  match_budget: str,
  correlations: Mapping[int, float],
  seconds: float,
) -> dict[str, Any]:
  """What `result.json` says."""
  search = [t for t in trials if not t.cohort.startswith('confirm')]
  order = ranked(trials, sweep.directions[0])
  best = [t for t in search if order and t.point == order[0] and t.status == 'complete']
  count = lambda status: sum(t.status == status for t in search)
  return {
    'objective': list(sweep.objective),
    'directions': list(sweep.directions),
    'match_budget': match_budget,
    'best_trial': best[0].number if best else None,
    'best_overrides': _overrides(best[0]) if best else {},
    'best_value': float(np.mean([t.values[0] for t in best])) if best else math.nan,
    'pareto_front': [t.number for t in front(search, sweep.directions)]
    if len(sweep.directions) > 1
    else [],
    'confirmed': [dataclasses.asdict(c) for c in confirmed],
    'noise': noise(trials),
    'trials': {
      status: count(status) for status in ('complete', 'pruned', 'diverged', 'failed')
    },
    'rank_correlations': {str(step): c for step, c in correlations.items()},
    'tokens': sum(t.cost.tokens for t in search),
    'confirm_tokens': sum(t.cost.tokens for t in trials)
    - sum(t.cost.tokens for t in search),
    'seconds': seconds,
  }


def _overrides(trial: Trial) -> dict[str, Any]:
  """A trial's values; of one whose values changed while it trained, the last."""
  if not trial.lineage:
    return dict(trial.overrides)
  last = trial.lineage[-1].values
  return {
    **trial.overrides,
    **{path: value for path, value in last.items() if path in trial.overrides},
  }


def best_file(workdir: Any, config: Mapping[str, Any], words: str) -> None:
  """Writes `best.py`: an experiment file of its own, every key that differs from its default set.

  Args:
    workdir: the study's directory.
    config: of the best trial, as {section: {key: value}}.
    words: what its docstring shall say.
  """
  values = {
    f'{section}.{key}': value
    for section, keys in config.items()
    for key, value in keys.items()
  }
  defaults = {
    f'{n}.{f.name}': f.default
    for n, cls in SECTIONS.items()
    for f in dataclasses.fields(cls)
  }
  values = {
    path: v for path, v in values.items() if path in keys() and v != defaults[path]
  }
  lines = [f'  config.{path} = {_literal(value)}' for path, value in values.items()]
  text = (
    f'"""{words}\n\n  lmhp train --config={as_path(workdir) / "best.py"}\n"""\n\nimport lmhp\n\n\n'
    'def get_config():\n  config = lmhp.default_config()\n\n'
    + '\n'.join(lines)
    + '\n  return config\n'
  )
  write_atomic(as_path(workdir) / 'best.py', text.encode())


def _literal(value: Any) -> str:
  value = (
    value.item() if hasattr(value, 'dtype') and not getattr(value, 'ndim', 0) else value
  )
  if isinstance(value, float) and not math.isfinite(value):
    return f"float('{value}')"
  return repr(tuple(value) if isinstance(value, list) else value)


def save(workdir: Any, found: Mapping[str, Any]) -> None:
  """Writes `result.json`."""
  write_json(as_path(workdir) / 'result.json', found)
