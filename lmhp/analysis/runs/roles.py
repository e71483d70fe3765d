"""The role of each column of a table: how a person would read it.

A role comes from a flag, from the format of the file, from the name of the column, or from its
values, in this order. The reason is kept, so that a report can print it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import math

import numpy as np

from lmhp.analysis.runs.raw_table import UNKNOWN, Column, ColumnValues, RawTable
from lmhp.analysis.runs.role_relations import (
  TIMESTEPS,
  demote_settings_of_log,
  find_batches_of_targets,
  find_derived,
  find_measurements,
  find_parts,
  find_repeated,
  find_replicates,
  find_rollouts,
  find_shapes,
  find_time_budgets,
  promote_names,
)
from lmhp.errors import ConfigError, suggest
from lmhp.statistics.column_names import (
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
  YARDSTICK,
  ColumnName,
  column_name,
)

MIN_ROWS = 8
"""Fewer rows show nothing about the role of a column by its values."""
LONG_TEXT = 40
"""Mean number of characters above which a text is a note."""
LARGE_SIZE = 1e5
"""Values above which the single letters N, D and C are sizes."""
HYPERPARAMETER_WORDS = frozenset(
  """batch bs every interval frac fraction size lr rate data file dataset path set warmup decay
  cooldown accumulation accum steps iters epochs samples clip clipping""".split()
)
"""Words with which a name that begins with `train` or `eval` is no outcome."""
EVERY = frozenset('interval every freq frequency steps'.split())
"""Words of settings of the output, such as `log_interval`."""
RAY_METADATA = frozenset(
  """training_iteration iterations_since_restore timesteps_since_restore time_since_restore
  timesteps_total episodes_total experiment_tag hostname node_ip pid warmup_time
  hist_stats should_checkpoint""".split()
)
"""Columns that Ray Tune writes beside the results."""


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
  facts = {name: ColumnValues(values) for name, values in table.columns.items()}
  roles: dict[str, Column] = {}
  for name, values in facts.items():
    if name == objective:
      roles[name] = Column(OBJECTIVE, 'it is the objective')
    elif name in given:
      roles[name] = Column(given[name], 'you said so')
    elif name in table.roles:
      roles[name] = Column(table.roles[name], 'the format says so')
    else:
      is_yardstick = column_name(name).is_yardstick(column_name(objective))
      if is_yardstick and values.n_distinct > 1 and not values.is_bool:
        roles[name] = Column(YARDSTICK, 'it changes what is measured')
        continue
      roles[name] = _by_name(name, values) or _by_values(
        values, column_name(name), table.columns[objective]
      )

  # A column may also be read from its relation to others.
  free = {
    name for name in table.columns if name not in given and name not in table.roles
  }
  demote_settings_of_log(table, roles, free)
  find_rollouts(roles, free)
  find_time_budgets(table, roles, free)
  find_parts(table, facts, roles, objective, free)
  find_measurements(table, facts, roles, objective, free)
  find_replicates(table, facts, roles, free)
  find_repeated(table, roles, free)
  find_shapes(table, facts, roles, free)
  find_batches_of_targets(roles, objective, free)
  find_derived(table, facts, roles, free)
  promote_names(table, roles, free)
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


def _by_name(name: str, values: ColumnValues) -> Column | None:
  """Returns the role that the name of a column gives it, or None."""
  words = column_name(name)
  if not values.present:
    return Column(METADATA_ROLE, 'it is empty')
  if values.is_dates:
    return Column(METADATA_ROLE, 'its values are dates or durations')
  if values.is_files:
    return Column(METADATA_ROLE, 'its values are files')
  if words.words[:1] in (('unnamed',), ('git',)):
    return Column(METADATA_ROLE, 'its name is that of an index or of git')
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
  if words.text in STATUSES and values.is_whole:
    return Column(OUTCOME, 'it counts the ends of episodes')
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


def _outcome_by_name(words: ColumnName, values: ColumnValues) -> str:
  """Returns the reason why a name is one of an outcome, or an empty string."""
  # A flag such as `weighted_ce` says which loss is used.
  is_choice_of_loss = values.is_bool and words.direction < 0 and len(words.words) > 1
  if (words.is_metric or words.is_spread) and not is_choice_of_loss:
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


def _is_seed(words: ColumnName, values: ColumnValues) -> bool:
  is_named = bool(words.words) and (
    words.words[-1] in SEEDS or words.words[0] in ('seed', 'seeds')
  )
  return is_named and (values.is_whole or values.is_text)


def _is_size(words: ColumnName, values: ColumnValues) -> bool:
  if not values.is_number:
    return words.text in ('model_size', 'model_scale') and values.n_distinct > 1
  if words.is_size:
    return True
  is_named = words.text in TIMESTEPS | {'n', 'd', 'c'}
  return is_named and values.largest >= LARGE_SIZE


def _is_flag(values: ColumnValues) -> bool:
  """Returns True for words, and for the numbers 0 and 1."""
  return not values.is_number or (values.is_whole and values.largest <= 1)


def _is_identity(words: ColumnName, values: ColumnValues) -> bool:
  """Returns True for names such as `run_name`, `id` and `trial`, but not `optimizer_name`."""
  if not words.words or words.words[-1] not in IDENTITIES:
    return False
  if words.words[-1] in ALWAYS_IDENTITIES or words.text in (
    'trial_number',
    'run_number',
  ):
    return True
  if all(word in IDENTITIES for word in words.words):
    return values.is_text or values.is_unique or values.n_distinct == 1
  return values.is_text and values.is_unique


def _is_metadata(words: ColumnName, values: ColumnValues) -> bool:
  if words.words[:1] in (('datetime',), ('timestamp',)):
    return True
  if (
    words.words[:1]
    and words.words[0] in ('log', 'logging', 'save', 'print')
    and EVERY & set(words.words)
  ):
    return True
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
  values: ColumnValues, words: ColumnName, objective: Sequence[object]
) -> Column:
  """Returns the role that the values of a column give it."""
  # A long text that repeats is the name of a setting.
  is_note = values.n_distinct > max(2, len(values.values) / 2)
  if values.is_text and values.mean_length > LONG_TEXT and is_note:
    return Column(METADATA_ROLE, 'its texts are long')
  if words.is_hyperparameter:
    return Column(HYPERPARAMETER, 'its name is one of a setting')
  if values.is_measured_lists:
    return Column(OUTCOME, 'its lists of numbers look measured')
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


def _follows(values: ColumnValues, objective: Sequence[object]) -> bool:
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
