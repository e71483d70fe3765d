"""A study from its first trial to its result, or from where an earlier process left it."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import Any, Callable, Mapping

from lmhp.errors import ConfigError
from lmhp.files import as_path, to_jsonable
from lmhp.sweeping import budget as plans
from lmhp.sweeping import result as outcome
from lmhp.sweeping import space as spaces
from lmhp.sweeping import summary as words
from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.confirmation import confirm
from lmhp.sweeping.engine import Engine
from lmhp.sweeping.execution.autotuning import Autotuner
from lmhp.sweeping.execution.packs import Stopped
from lmhp.sweeping.execution.runners import RUNNERS
from lmhp.sweeping.progress import display
from lmhp.sweeping.search import population_training as pbt_search
from lmhp.sweeping.search.search import Search
from lmhp.sweeping.store.study import Study
from lmhp.training.signals import stop_on_signals

# What may change when a study is run again; the rest would make its trials incomparable.
EXTENDS = (
  'space',
  'grid_levels',
  'trials',
  'tokens',
  'flops',
  'seconds',
  'seeds_per_point',
  'ask_batch_size',
  'confirm_points',
  'confirm_seeds',
  'execution',
  'max_pack_width',
)

REPORT_SHARE = 20
"""A report is written again once this many times as long has passed as writing it took."""


class StudyRun:
  """A sweep in its directory.

  Args:
    task: what is run.
    sweep: what is asked for.
    workdir: the study's directory.
    card: what the study shall know of where it comes from: `task`, `data_sha256`, `git`, `versions`, ...
    engine: 'local' or 'ray'.
    storage: Optuna storage as a URL; None is a journal in the directory.
    mode: how progress is shown.
    address: of the Ray cluster; None starts or finds one here.
    report: writes a report of the study as it stands; called when a stage is done, seldom enough to cost little, and at
      the end. None writes none.
  """

  def __init__(
    self,
    task: Any,
    sweep: SweepConfig,
    workdir: Any,
    card: Mapping[str, Any],
    engine: str = 'local',
    storage: str | None = None,
    mode: str = 'auto',
    address: str | None = None,
    report: Callable[[], None] | None = None,
  ):
    if engine not in RUNNERS:
      raise ConfigError(
        f'--engine: got {engine!r}, expected one of {", ".join(RUNNERS)}'
      )
    self.task, self.sweep, self.workdir, self.storage, self.mode = (
      task,
      sweep,
      as_path(workdir),
      storage,
      mode,
    )
    self.space = spaces.as_space(sweep.space)
    self.card = to_jsonable(
      {**card, 'sweep': sweep_json(sweep), 'space': spaces.to_json(self.space)}
    )
    self.runner, self.address = RUNNERS[engine], address
    self.reports = Reports(report)

  def run(self) -> outcome.StudyResult:
    """Runs the study to its end, or until a signal."""
    began = time.perf_counter()
    with (
      Study.open(
        self.workdir,
        storage=self.storage,
        space=self.space,
        directions=self.sweep.directions,
        card=self.card,
      ) as study,
      stop_on_signals() as stop,
      display.progress(self.sweep, self.workdir.name, self.mode) as show,
      self.runner(self.address) as runner,
    ):
      changes = self._extend(study)
      for change in changes:
        show.message(change)
      choices = runner.choices(
        self.workdir, self.task, self.sweep.execution, self.sweep.max_pack_width
      )
      plan = self._plan(study, choices)
      at_rung = lambda: self.reports.write(study, show)
      engine = Engine(
        self.task,
        self.sweep,
        study,
        self.workdir,
        choices,
        runner,
        lambda: bool(stop),
        show,
        at_rung,
      )
      show.plan(plan, engine.trials.values())
      confirmed, correlations = [], {}
      try:
        correlations = self._search(engine, plan)
        confirmed = (
          confirm(engine, self.sweep, plan.steps) if self.sweep.search != 'pbt' else []
        )
      except Stopped:
        study.set_card(
          {
            **study.card,
            'seconds': study.card.get('seconds', 0.0) + time.perf_counter() - began,
          }
        )
        study.flush()
        show.message('stopped; the same command goes on from there')
        return self._outcome(study, {}, [], stop.signal)
      engine.states.clear()
      seconds = study.card.get('seconds', 0.0) + time.perf_counter() - began
      found = outcome.result(
        study.trials,
        self.sweep,
        confirmed,
        held_equal_words(self.sweep, self.task),
        correlations,
        round(seconds, 1),
      )
      study.set_card({**study.card, 'seconds': seconds})
      self._write(found)
      self.reports.write(study, show, last=True)
    return self._outcome(study, found, confirmed)

  def _plan(self, study: Study, choices: Autotuner) -> plans.SearchPlan:
    """The size of the search; its rungs stay those that the study was begun with."""
    plan = plans.plan_search(
      self.task,
      self.sweep,
      self.space,
      self._step_seconds(choices),
      study.card.get('ladder'),
    )
    if 'ladder' not in study.card:
      study.set_card(
        {**study.card, 'ladder': {'rungs': list(plan.rungs), 'cooldown': plan.cooldown}}
      )
    return plan

  def _search(self, engine: Engine, plan: plans.SearchPlan) -> dict[int, float]:
    """Every trial of the search; the rank correlations of its rungs with the end."""
    if self.sweep.search == 'pbt':
      pbt_search.PopulationBasedTraining(engine, self.sweep, self.space).run()
      return {}
    search = Search(engine, self.sweep, self.space, plan)
    search.run()
    return search.correlations

  def _step_seconds(self, choices: Autotuner) -> float | None:
    """Seconds of a member's update, measured and written down, where the budget is wall time."""
    if self.sweep.seconds is None:
      return None
    job = self.task.job({})
    choice = choices.of(
      [job] * (self.sweep.max_pack_width or 8),
      self.sweep.data_order == 'per_trial',
      float('inf'),
    )
    return min(choice.member_step_seconds.values())

  def _extend(self, study: Study) -> list[str]:
    """Compares with what the study was begun with; takes over what may change, and says what did.

    Raises:
      ConfigError: where trials would not compare with those that are there.
    """
    then, now, changed = study.card, self.card, []
    for key, value in now['sweep'].items():
      first_said = (
        key == 'match_budget' and then['sweep'].get(key) is None
      )  # nothing differed before
      if then['sweep'].get(key) != value and key not in EXTENDS and not first_said:
        raise ConfigError(
          f'sweep.{key}: got {value!r}, but the study in {self.workdir} has '
          f'{then["sweep"].get(key)!r}; use its sweep, or another workdir'
        )
    if then.get('task') != now.get('task'):
      raise ConfigError(
        f'{_first_difference(then.get("task"), now.get("task"))}, but the study in {self.workdir} has '
        'another base config; use that, or another workdir'
      )
    if then.get('data_sha256') != now.get('data_sha256'):
      raise ConfigError(
        f'data.path: its text changed since the study in {self.workdir} began; use another workdir'
      )
    for key in ('git', 'versions', 'device'):
      if then.get(key) != now.get(key):
        changed.append(
          f'{key} changed since this study began: {_first_difference(then.get(key), now.get(key))}'
        )
    if then['sweep'] != now['sweep'] or then['space'] != now['space']:
      changed.append('this study is extended: its old trials stay as they are')
    changes = [*then.get('changes', []), *changed]
    study.set_card({**then, **now, 'changes': changes})
    return changed

  def _write(self, found: Mapping[str, Any]) -> None:
    outcome.save(self.workdir, found)
    if (
      found['best_trial'] is not None
      and hasattr(self.task, 'config_tree')
      and self.sweep.search != 'pbt'
    ):
      text = '\n'.join(
        words.format_study(found, self.task.base_values(), self.sweep.objective[0])
      )
      outcome.best_file(
        self.workdir,
        self.task.config_tree(found['best_overrides']),
        f'The winner of the study in {self.workdir}.\n\n{text}',
      )

  def _outcome(
    self,
    study: Study,
    found: Mapping[str, Any],
    confirmed: Any,
    signal: int | None = None,
  ) -> Any:
    best = found.get('best_overrides', {})
    return outcome.StudyResult(
      str(self.workdir),
      tuple(study.trials),
      best,
      found,
      tuple(confirmed),
      signal,
      self.task.base_values(),
    )


class Reports:
  """Writes reports while a study runs: a share of its time at most, and never at its cost.

  Args:
    write: writes one; None writes none.
  """

  def __init__(self, write: Callable[[], None] | None):
    self._write, self._due = write, 0.0

  def write(self, study: Study, show: Any, last: bool = False) -> None:
    """Writes one of the study as it stands, where one is due."""
    began = time.monotonic()
    if self._write is None or (began < self._due and not last):
      return
    study.flush()
    try:
      self._write()
    except (
      Exception
    ) as error:  # what was measured is safe, and `lmhp report` says again what is wrong
      show.message(f'no report was written: {type(error).__name__}: {error}')
    ended = time.monotonic()
    self._due = ended + REPORT_SHARE * (ended - began)


def sweep_json(sweep: SweepConfig) -> dict[str, Any]:
  """The sweep's keys, the space apart, as JSON has them."""
  fields = {
    f.name: getattr(sweep, f.name)
    for f in dataclasses.fields(sweep)
    if f.name != 'space'
  }
  return json.loads(json.dumps(fields))


def held_equal_words(sweep: SweepConfig, task: Any) -> str:
  """What all trials had the same amount of, in words."""
  if sweep.match_budget == 'none':
    return 'trials differ in length'
  job = task.job({})
  tokens = job.steps * job.tokens_per_step
  if sweep.match_budget is None:
    return f'steps, tokens and FLOPs equal: {job.steps:,} steps of {job.tokens_per_step:,} tokens each'
  amount = {
    'steps': f'{job.steps:,}',
    'tokens': f'{tokens:,}',
    'flops': f'{job.flops_per_step * job.steps:.3g}',
    'seconds': 'as the base config takes',
  }[sweep.match_budget]
  return f'{sweep.match_budget} equal: {amount}'


def _first_difference(then: Any, now: Any, path: str = '') -> str:
  """Where two nested dicts differ first, in words."""
  if isinstance(then, dict) and isinstance(now, dict):
    for key in {**then, **now}:
      if then.get(key) != now.get(key):
        return _first_difference(
          then.get(key), now.get(key), f'{path}.{key}' if path else key
        )
  return f'{path or "value"}: {now!r} now, {then!r} then'
