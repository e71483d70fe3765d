"""The role of each column of a table: how a person would read it.

A role comes from a flag, from the format of the file, from the name of the column, or from its
values, in this order. The reason is kept, so that a report can print it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import dataclasses
import functools
import math
import re

import numpy as np

from lmhp.analysis.runs.names import (
  ALWAYS_IDENTITIES,
  HYPERPARAMETER,
  IDENTITIES,
  IDENTITY,
  METADATA,
  METADATA_ROLE,
  OBJECTIVE,
  OUTCOME,
  PATHS,
  PROGRESS,
  ROLES,
  SEED,
  SEEDS,
  SIZE,
  STATUS,
  STATUSES,
  ColumnName,
  column_name,
)
from lmhp.analysis.runs.raw_table import RawTable
from lmhp.errors import ConfigError, suggest

MIN_ROWS = 8
"""Fewer rows show nothing about the role of a column by its values."""
LONG_TEXT = 40
"""Mean number of characters above which a text is a note."""
LARGE_SIZE = 1e5
"""Values above which the single letters N, D and C are sizes."""
SHAPES = frozenset(
  """d_model width hidden hidden_size n_embd embd dim n_layers n_layer layers num_layers depth
  n_heads n_head heads num_heads d_ff n_hidden head_dim emb_dim model_dim""".split()
)
"""Names of the shape of a model. With a column of sizes, they are sizes too."""
BATCHES = frozenset(
  'batch_size bs batch global_batch_size train_batch_size gbs'.split()
)
HYPERPARAMETER_WORDS = frozenset(
  """batch bs every interval frac fraction size lr rate data file dataset path set warmup decay
  cooldown accumulation accum steps iters epochs samples clip clipping""".split()
)
"""Words with which a name that begins with `train` or `eval` is no outcome."""
RAY_METADATA = frozenset(
  """training_iteration iterations_since_restore timesteps_since_restore time_since_restore
  timesteps_total episodes_total experiment_tag hostname node_ip pid warmup_time
  hist_stats should_checkpoint""".split()
)
"""Columns that Ray Tune writes beside the results."""
UNKNOWN = 'it is no other column'
DERIVED_ERROR = 0.02
"""Largest relative error of a number that other columns determine."""
MEASURED_DIGITS = 6
"""Median number of characters from which a number looks measured."""
_DATE = re.compile(
  r'\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}.*)?|\d+ days? .*|\d+:\d{2}:\d{2}.*'
)


@dataclasses.dataclass(frozen=True)
class Column:
  """A column with its role.

  Attributes:
    role: One of `ROLES`.
    reason: Why it has this role, in a few words.
  """

  role: str
  reason: str


class _Values:
  """Facts about the values of a column, computed when they are first read."""

  def __init__(self, values: Sequence[object]):
    self.values = values
    self.present = [value for value in values if value is not None]

  @functools.cached_property
  def n_distinct(self) -> int:
    return len({repr(value) for value in self.present})

  @functools.cached_property
  def is_text(self) -> bool:
    return bool(self.present) and all(isinstance(v, str) for v in self.present)

  @functools.cached_property
  def is_number(self) -> bool:
    return bool(self.present) and all(
      isinstance(v, (int, float)) and not isinstance(v, bool) for v in self.present
    )

  @functools.cached_property
  def is_positive(self) -> bool:
    """True for numbers above 0 in every row."""
    is_full = self.is_number and len(self.present) == len(self.values)
    return is_full and all(isinstance(v, (int, float)) and v > 0 for v in self.present)

  @functools.cached_property
  def is_bool(self) -> bool:
    return bool(self.present) and all(isinstance(v, bool) for v in self.present)

  @functools.cached_property
  def is_whole(self) -> bool:
    return self.is_number and all(float(v).is_integer() for v in self._finite())

  def _finite(self) -> list[float]:
    numbers = [float(v) for v in self.present if isinstance(v, (int, float))]
    return [number for number in numbers if math.isfinite(number)]

  @property
  def is_unique(self) -> bool:
    return self.n_distinct == len(self.present) == len(self.values)

  @property
  def is_consecutive(self) -> bool:
    """True for the numbers 0, 1, 2, ... or 1, 2, 3, ... in any order."""
    if not self.is_whole or not self.is_unique:
      return False
    numbers = sorted(self._finite())
    return numbers[0] in (0, 1) and numbers[-1] - numbers[0] == len(numbers) - 1

  @property
  def is_dates(self) -> bool:
    return self.is_text and all(_DATE.fullmatch(str(v).strip()) for v in self.present)

  @property
  def largest(self) -> float:
    return max(self._finite(), default=0.0)

  @property
  def mean_length(self) -> float:
    return float(np.mean([len(str(value)) for value in self.present]))


def column_roles(
  table: RawTable, objective: str, given: Mapping[str, str] | None = None
) -> dict[str, Column]:
  """Returns the role of each column.

  Args:
    table: The table.
    objective: Name of the column of the objective.
    given: {column: role} as the user states them.

  Raises:
    ConfigError: If a given column or role is unknown.
  """
  given = given or {}
  _check_given(given, table)
  facts = {name: _Values(values) for name, values in table.columns.items()}
  roles: dict[str, Column] = {}
  for name, values in facts.items():
    if name == objective:
      roles[name] = Column(OBJECTIVE, 'it is the objective')
    elif name in given:
      roles[name] = Column(given[name], 'you said so')
    elif name in table.roles:
      roles[name] = Column(table.roles[name], 'the format says so')
    else:
      roles[name] = _by_name(name, values) or _by_values(
        values, column_name(name), table.columns[objective]
      )

  # A column may also be read from its relation to others.
  free = {
    name for name in table.columns if name not in given and name not in table.roles
  }
  _demote_settings_of_log(table, roles, free)
  _find_measurements(table, facts, roles, objective, free)
  _find_replicates(table, facts, roles, free)
  _find_shapes(table, roles, free)
  _find_derived(table, facts, roles, free)
  _promote_names(table, roles, free)
  return roles


def _check_given(given: Mapping[str, str], table: RawTable) -> None:
  for name, role in given.items():
    if name not in table.columns:
      raise ConfigError(
        f'--roles: got {name!r}, expected one of the columns '
        f'{", ".join(table.columns)}{suggest(name, table.columns)}'
      )
    if role not in ROLES:
      raise ConfigError(
        f'--roles: {name}: got {role!r}, expected one of {", ".join(ROLES)}'
        f'{suggest(role, ROLES)}'
      )


# --- one column -------------------------------------------------------------------------


def _by_name(name: str, values: _Values) -> Column | None:
  """Returns the role that the name of a column gives it, or None."""
  words = column_name(name)
  if not values.present:
    return Column(METADATA_ROLE, 'it is empty')
  if values.is_dates:
    return Column(METADATA_ROLE, 'its values are dates or durations')
  if words.group == 'metadata' or name in RAY_METADATA:
    return Column(METADATA_ROLE, 'its name is written by the tool')
  if _is_seed(words, values):
    return Column(SEED, 'its name')
  if _is_size(words, values):
    return Column(SIZE, 'its name')
  if words.group == 'config' and words.text not in ('name', 'seed'):
    return Column(HYPERPARAMETER, 'its prefix is one of settings')
  if words.words and words.words[-1] in STATUSES and _is_flag(values):
    return Column(STATUS, 'its name')
  if words.words and words.words[-1] in PATHS and not values.is_number:
    return Column(METADATA_ROLE, 'its name is a path')
  if values.is_number or values.is_bool:
    outcome = _outcome_by_name(words, values)
    if outcome:
      return Column(OUTCOME, outcome)
  if words.text in PROGRESS | {'global_step', 'current_epoch', 'current_step'}:
    return Column(METADATA_ROLE, 'its name is the last step that was logged')
  if _is_identity(words, values):
    return Column(IDENTITY, 'its name')
  if _is_metadata(words, values):
    return Column(METADATA_ROLE, 'its name')
  return None


def _outcome_by_name(words: ColumnName, values: _Values) -> str:
  """Returns the reason why a name is one of an outcome, or an empty string."""
  if words.is_metric or words.is_spread:
    return 'its name is a metric'
  if words.group == 'metric':
    return 'its prefix is one of results'
  if words.is_cost:
    return 'its name is a time, a speed or a memory'
  if words.begins_with_split and not words.is_hyperparameter:
    if not HYPERPARAMETER_WORDS & set(words.words):
      return f'its name begins as one of the {words.split} data'
  if words.is_other_outcome:
    return 'its name is a measurement'
  # Weak evidence: a word of a metric, or a mean, above numbers that are not whole.
  is_mean = words.words[:1] in (('mean',), ('avg',), ('average',), ('median',))
  if values.is_number and not values.is_whole and (words.has_metric or is_mean):
    return 'its name has a metric in it'
  return ''


def _is_seed(words: ColumnName, values: _Values) -> bool:
  is_named = bool(words.words) and (
    words.words[-1] in SEEDS or words.words[0] in ('seed', 'seeds')
  )
  return is_named and (values.is_whole or values.is_text)


def _is_size(words: ColumnName, values: _Values) -> bool:
  if not values.is_number:
    return False
  if words.is_size:
    return True
  return words.text in ('n', 'd', 'c') and values.largest >= LARGE_SIZE


def _is_flag(values: _Values) -> bool:
  """Returns True for words, and for the numbers 0 and 1."""
  return not values.is_number or (values.is_whole and values.largest <= 1)


def _is_identity(words: ColumnName, values: _Values) -> bool:
  """Returns True for names such as `run_name`, `id` and `trial`, but not `optimizer_name`."""
  if not words.words or words.words[-1] not in IDENTITIES:
    return False
  if words.words[-1] in ALWAYS_IDENTITIES:
    return True
  if all(word in IDENTITIES for word in words.words):
    return values.is_text or values.is_unique or values.n_distinct == 1
  return values.is_text and values.is_unique


def _is_metadata(words: ColumnName, values: _Values) -> bool:
  if words.is_hyperparameter and len(words.words) > 1:
    return False
  if words.text in METADATA:
    return True
  # `host_name` and `git_branch`, but not a number such as `group_lasso`.
  is_label = not values.is_number or values.is_consecutive
  ends = {*words.words[:1], *words.words[-1:]}
  return (
    is_label and bool(METADATA & ends) or words.words[-1:] in (('notes',), ('group',))
  )


def _by_values(
  values: _Values, words: ColumnName, objective: Sequence[object]
) -> Column:
  """Returns the role that the values of a column give it."""
  if values.is_text and values.mean_length > LONG_TEXT and values.n_distinct > 2:
    return Column(METADATA_ROLE, 'its texts are long')
  if words.is_hyperparameter:
    return Column(HYPERPARAMETER, 'its name is one of a setting')
  if values.n_distinct == 1 and len(values.values) > 1:
    return Column(METADATA_ROLE, 'it has one value')
  if len(values.values) >= MIN_ROWS:
    if values.is_text and values.is_unique:
      return Column(IDENTITY, 'its text differs in each row')
    if values.is_consecutive:
      return Column(METADATA_ROLE, 'it counts the rows')
    if _follows(values, objective):
      return Column(OUTCOME, 'it rises or falls with the objective in every row')
  return Column(HYPERPARAMETER, UNKNOWN)


def _follows(values: _Values, objective: Sequence[object]) -> bool:
  """Returns True if a column is a strictly monotone function of the objective.

  A hyperparameter is set before the objective is measured, so it cannot follow all of its
  digits.
  """
  if not values.is_number:
    return False
  pairs = [
    (float(target), float(value))
    for target, value in zip(objective, values.values)
    if isinstance(target, (int, float)) and isinstance(value, (int, float))
  ]
  pairs = [pair for pair in pairs if all(map(math.isfinite, pair))]
  pairs.sort()
  targets = np.array([pair[0] for pair in pairs])
  others = np.array([pair[1] for pair in pairs])
  if len(np.unique(targets)) < max(MIN_ROWS, 0.9 * len(pairs)):
    return False
  if len(np.unique(others)) < 0.9 * len(pairs):
    return False
  steps = np.diff(others)
  return bool(np.all(steps >= 0) or np.all(steps <= 0))


# --- relations between columns ----------------------------------------------------------


def names_with(roles: Mapping[str, Column], role: str) -> list[str]:
  """Returns the names of the columns with a role."""
  return [name for name, column in roles.items() if column.role == role]


def is_determined(column: Sequence[object], by: Sequence[Sequence[object]]) -> bool:
  """Returns True if equal values of other columns mean equal values of a column.

  It is evidence only if values of the other columns repeat, so that at least a quarter of the
  rows has a partner.
  """
  values: dict[str, str] = {}
  n_repeated = 0
  for i, value in enumerate(column):
    key = repr([other[i] for other in by])
    if key in values:
      n_repeated += 1
      if values[key] != repr(value):
        return False
    values[key] = repr(value)
  return n_repeated >= len(column) / 4


def _find_measurements(
  table: RawTable,
  facts: Mapping[str, _Values],
  roles: dict[str, Column],
  objective: str,
  free: set[str],
) -> None:
  """Reads numbers of many digits behind the first metric as outcomes.

  People write settings first, and then what came out. A number that was set has few digits,
  or a name that is known.
  """
  names = list(table.columns)
  first = min(
    names.index(name)
    for name in names
    if name == objective or roles[name].reason == 'its name is a metric'
  )
  known = [
    n
    for n in names
    if roles[n].reason.startswith(('its name is one of a', 'its prefix'))
  ]
  known = [n for n in known if roles[n].role == HYPERPARAMETER]
  last_setting = max((names.index(name) for name in known), default=-1)
  for i, name in enumerate(names):
    if name not in free or roles[name].reason != UNKNOWN:
      continue
    values = facts[name]
    if not values.is_number:
      continue
    is_behind = i > max(first, last_setting)
    if (is_behind and not values.is_whole) or _varies_within_settings(
      name, table, known
    ):
      roles[name] = Column(OUTCOME, 'its numbers look measured')


def _varies_within_settings(name: str, table: RawTable, known: Sequence[str]) -> bool:
  """Returns True if a column differs between most rows whose known settings are equal."""
  if not known or not any(isinstance(v, float) for v in table.columns[name]):
    return False
  groups: dict[str, list[object]] = {}
  for i, value in enumerate(table.columns[name]):
    key = repr([table.columns[other][i] for other in known])
    groups.setdefault(key, []).append(value)
  several = [values for values in groups.values() if len(values) > 1]
  n_rows = sum(map(len, several))
  n_values = sum(len(set(map(repr, values))) for values in several)
  digits = [len(repr(v)) for v in table.columns[name] if isinstance(v, float)]
  is_long = float(np.median(digits)) >= MEASURED_DIGITS
  return n_rows >= len(table) / 2 and n_values >= 0.9 * n_rows and is_long


def _find_derived(
  table: RawTable,
  facts: Mapping[str, _Values],
  roles: dict[str, Column],
  free: set[str],
) -> None:
  """Reads a number that is a product of powers of other columns as determined by them.

  An example is the number of steps beside tokens and batch size.
  """
  logs: dict[str, np.ndarray] = {}
  for name, column in roles.items():
    if column.role in (SIZE, HYPERPARAMETER) and facts[name].is_positive:
      values = np.log(np.array(table.columns[name], np.float64))
      if np.ptp(values) > 0:
        logs[name] = values
  for name in list(logs):
    if name not in free or roles[name].reason != UNKNOWN:
      continue
    others = [other for other in logs if other != name]
    design = np.column_stack([np.ones(len(table)), *(logs[other] for other in others)])
    if len(others) < 2 or len(table) < 3 * design.shape[1]:
      continue
    fit = design @ np.linalg.lstsq(design, logs[name], rcond=None)[0]
    if np.abs(logs[name] - fit).max() < DERIVED_ERROR:
      roles[name] = Column(METADATA_ROLE, 'sizes and hyperparameters determine it')
      del logs[name]


def _promote_names(table: RawTable, roles: dict[str, Column], free: set[str]) -> None:
  """Reads the names of the runs as their setting if the table has no other setting."""
  settings = [*names_with(roles, HYPERPARAMETER), *names_with(roles, SIZE)]
  if any(len(set(map(repr, table.columns[name]))) > 1 for name in settings):
    return
  for name in names_with(roles, IDENTITY):
    words = column_name(name)
    is_name = words.text in ('name', 'run_name', 'run', 'experiment', 'exp', 'label')
    if (
      is_name and name in free and all(isinstance(v, str) for v in table.columns[name])
    ):
      roles[name] = Column(HYPERPARAMETER, 'nothing else tells the runs apart')
      return


def _demote_settings_of_log(
  table: RawTable, roles: dict[str, Column], free: set[str]
) -> None:
  """Reads `lr` as a log value if a column `learning_rate` has the setting."""
  names = {column_name(name).text: name for name in table.columns}
  setting = names.get('learning_rate')
  logged = names.get('lr')
  if setting and logged in free and roles[logged].role == HYPERPARAMETER:
    if table.columns[setting] != table.columns[logged]:
      roles[logged] = Column(OUTCOME, f'{setting} has the setting')


def _find_replicates(
  table: RawTable,
  facts: Mapping[str, _Values],
  roles: dict[str, Column],
  free: set[str],
) -> None:
  """Reads columns such as `run` and `trial` as replicates if they number equal settings."""
  if names_with(roles, SEED):
    return
  for name in free:
    words = column_name(name)
    if words.text not in ('run', 'trial', 'index', 'number', 'id', 'exp', 'experiment'):
      continue
    settings = [
      table.columns[other]
      for other in names_with(roles, HYPERPARAMETER)
      if other != name
    ]
    if not settings:
      continue
    values = facts[name]
    if not values.is_whole or values.n_distinct * 2 > len(values.values):
      continue
    keys = [repr([column[i] for column in settings]) for i in range(len(table))]
    pairs = set(zip(keys, map(repr, values.values)))
    if len(pairs) == len(table) and len(set(keys)) * 2 <= len(table):
      roles[name] = Column(SEED, 'it numbers the runs of each setting')


def _find_shapes(table: RawTable, roles: dict[str, Column], free: set[str]) -> None:
  """Reads columns that the size of the model and of the data determines as sizes.

  These are the shape of the model, its name, and the batch size if each size has one. A setting
  of the optimizer stays a hyperparameter: it was chosen for each size.
  """
  sizes = [
    n for n in names_with(roles, SIZE) if column_name(n).is_model_size or len(n) == 1
  ]
  varied = [name for name in sizes if len(set(map(repr, table.columns[name]))) > 1]
  if not varied:
    return
  by = [table.columns[name] for name in varied]
  for name in names_with(roles, HYPERPARAMETER):
    words = column_name(name)
    is_shape = words.text in SHAPES | BATCHES or roles[name].reason == UNKNOWN
    if name not in free or not is_shape:
      continue
    column = table.columns[name]
    if len(set(map(repr, column))) > 1 and is_determined(column, by):
      roles[name] = Column(SIZE, f'{_listed(varied)} determine it')


def _listed(names: Sequence[str]) -> str:
  return names[0] if len(names) == 1 else f'{", ".join(names[:-1])} and {names[-1]}'
