"""The table of the best trials of a study that runs.

The members of a pack are trials that one compiled program trains together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
import dataclasses

from lmhp.sweeping.progress.study_state import RunningPack, StudyState, confirms
from lmhp.sweeping.store.trial import Trial
from lmhp.training.progress.formats import format_of


@dataclasses.dataclass(frozen=True)
class TrialRow:
  """A row of the table.

  Attributes:
    cells: Texts, one for each column.
    is_running: True if the trial is a member of a running pack.
    is_best: True if the trial is the best of the study.
  """

  cells: tuple[str, ...]
  is_running: bool
  is_best: bool


@dataclasses.dataclass(frozen=True)
class TrialTable:
  """Trials as text.

  Attributes:
    columns: Names of the columns: trial, parameters, status, step, training loss, score.
    rows: Rows, the best trial first.
    n_hidden: Number of trials that have no row.
  """

  columns: tuple[str, ...]
  rows: tuple[TrialRow, ...]
  n_hidden: int


def trial_table(state: StudyState, n_rows: int) -> TrialTable:
  """Returns the table of the best trials and of running trials.

  Args:
    state: State of the study.
    n_rows: Largest number of rows. Up to half of them are running trials.
  """
  # The pack of each running trial, and its index there.
  pack_of = {}
  for running in state.packs.values():
    for member, number in enumerate(running.pack.trials):
      pack_of[number] = (running, member)

  # The best running trials, then the best of the others.
  ranked = state.totals().ranked
  running_trials = [number for number in ranked if number in pack_of]
  chosen = set(running_trials[: n_rows // 2])
  others = [number for number in ranked if number not in chosen]
  chosen.update(others[: n_rows - len(chosen)])

  # The rows, in the order of the ranks.
  names = dict.fromkeys(name for t in state.trials.values() for name in t.parameters)
  columns = column_names(names)
  rows = [
    _row(state, state.trials[number], columns, *pack_of.get(number, (None, 0)))
    for number in ranked
    if number in chosen
  ]
  objectives = ', '.join(format_of(name).label for name in state.sweep.objective)
  return TrialTable(
    columns=('trial', *columns, 'status', 'step', 'training', objectives),
    rows=tuple(rows),
    n_hidden=len(ranked) - len(rows),
  )


def _row(
  state: StudyState,
  trial: Trial,
  columns: Mapping[str, list[str]],
  running: RunningPack | None,
  member: int,
) -> TrialRow:
  """Returns the row of a trial.

  Args:
    state: State of the study.
    trial: The trial.
    columns: {name of a column: names of its parameters}, as in `column_names`.
    running: Running pack of the trial, or None.
    member: Index of the trial in that pack.
  """
  # The parameters of a column have different conditions, so a trial has at most one of them.
  values = []
  for names in columns.values():
    name = next((name for name in names if name in trial.parameters), None)
    values.append('' if name is None else _value_text(trial, name))

  step = trial.cost.steps if running is None else running.step
  loss = ''
  if running is not None and running.losses is not None:
    loss = f'{running.losses[member]:.4f}'
  # The status of a trial that has not ended depends on its pack.
  status = trial.status
  if not trial.ended:
    status = 'waiting' if running is None else 'running'
  if confirms(trial):
    status += ', confirming'
  return TrialRow(
    cells=(
      str(trial.number),
      *values,
      status,
      f'{step:,}',
      loss,
      state.score_text(trial),
    ),
    is_running=running is not None,
    is_best=trial.number == state.totals().best,
  )


def column_names(parameters: Iterable[str]) -> dict[str, list[str]]:
  """Returns {short name: names of the parameters of this column}.

  Parameters that set the same path under different conditions share a column. The short name
  is the key without its section, such as `lr` for `a.lr`. A path that ends in `.name` has the
  short name of its section. If two paths would have the same short name, the full paths are
  used.

  Args:
    parameters: Names of parameters.

  >>> column_names(['train.seed', 'a.lr[a.name=b]', 'a.lr[a.name=c]'])
  {'seed': ['train.seed'], 'lr': ['a.lr[a.name=b]', 'a.lr[a.name=c]']}
  """
  # The condition of a parameter stands in brackets after its path.
  parameters_of: dict[str, list[str]] = {}
  for name in parameters:
    parameters_of.setdefault(name.partition('[')[0], []).append(name)
  short_names = [_short_name(path) for path in parameters_of]
  columns = {}
  for (path, names), short in zip(parameters_of.items(), short_names, strict=True):
    columns[short if short_names.count(short) == 1 else path] = names
  return columns


def _short_name(path: str) -> str:
  """Returns a path without its section: `lr` for `a.lr`, `lr+seed` for the Zip `a.lr+b.seed`."""
  paths = [part.removesuffix('.name') for part in path.split('+')]
  return '+'.join(part.rpartition('.')[2] for part in paths)


def _value_text(trial: Trial, name: str) -> str:
  """Returns the value of a parameter as text.

  The text of a Zip, a parameter that sets several paths together, has the value of each path.
  """
  paths = name.partition('[')[0].split('+')
  values = [trial.parameters[name]]
  if len(paths) > 1:
    values = [trial.overrides.get(path) for path in paths]
  return ' '.join(f'{v:.3g}' if isinstance(v, float) else str(v) for v in values)
