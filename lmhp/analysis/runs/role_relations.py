"""Roles that a column has by its relation to other columns.

Each function changes roles of free columns, whose role neither a flag nor the format gives. The
arguments are:
- table: The table.
- facts: {column: facts about its values}.
- roles: {column: its role}, which is changed.
- objective: Name of the column of the objective.
- free: Names of the free columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import re

import numpy as np

from lmhp.analysis.phrases import listed
from lmhp.analysis.runs.columns import number_column
from lmhp.analysis.runs.raw_table import (
  UNKNOWN,
  Column,
  ColumnValues,
  RawTable,
  n_distinct,
  names_with,
)
from lmhp.statistics.column_names import (
  HYPERPARAMETER,
  HYPERPARAMETERS,
  IDENTITY,
  METADATA_ROLE,
  OUTCOME,
  RATES,
  SEED,
  SIZE,
  SPLITS,
  STATISTICS,
  UNITS,
  YARDSTICK,
  column_name,
)

SHAPES = frozenset(
  """d_model width hidden hidden_size n_embd embd dim n_layers n_layer layers num_layers depth
  n_heads n_head heads num_heads d_ff n_hidden head_dim emb_dim model_dim""".split()
)
"""Names of the shape of a model. Beside a column of sizes, they may be sizes (`find_shapes`)."""
DATASETS = frozenset(
  """iris wine mushroom diabetes adult autism titanic credit mnist fashionmnist emnist cifar
  cifar10 cifar100 svhn imagenet coco cityscapes cora citeseer pubmed imdb squad glue sst2 mnli
  qqp wikitext wikitext2 wikitext103 c4 pile openwebtext tinystories enwik8 librispeech etth1
  etth2 ettm1 ettm2""".split()
)
"""Names of data sets."""
BATCHES = frozenset(
  'batch_size bs batch global_batch_size train_batch_size gbs'.split()
)
"""Names of the batch size."""
REPLICATES = frozenset('run trial index number id exp experiment iteration'.split())
"""Names of a column that may number the runs of each setting."""
TIMESTEPS = frozenset('timesteps total_timesteps num_timesteps train_timesteps'.split())
"""Names of the number of steps in an environment. Diffusion models have few of them."""
NAMES_OF_RUNS = frozenset(
  'name run_name run experiment exp label file filename file_name'.split()
)
"""Names of a column that may be the only one that tells the runs apart."""
SAME_MEASURE = 'by its name, it has the measure or the data of the objective'
"""Reason for the role of a column with the same measure on other data, or the reverse."""
ONLY_NAME = 'nothing else tells the runs apart'
"""Reason why a column of names is the setting."""
DERIVED_ERROR = 0.02
"""Largest relative error of a number that other columns determine."""
MANY_VALUES = 4
"""Number of values above which a whole number beside results may be a count."""
MEASURED_DIGITS = 6
"""Numbers look measured if they have at least this many characters (median of a column)."""


def is_determined(table: RawTable, name: str, by: Sequence[str]) -> bool:
  """Returns True if equal values of other columns mean equal values of a column.

  The result is False if fewer than a quarter of the rows repeat values of the other columns,
  because they are too few to show it.
  """
  values: dict[str, str] = {}
  n_repeated = 0
  for key, value in zip(table.row_keys(by), map(repr, table.columns[name])):
    if key in values:
      n_repeated += 1
      if values[key] != value:
        return False
    values[key] = value
  return n_repeated >= len(table) / 4


def find_measurements(
  table: RawTable,
  facts: Mapping[str, ColumnValues],
  roles: dict[str, Column],
  objective: str,
  free: set[str],
) -> None:
  """Gives numbers of many digits after the first metric the role of outcomes.

  People write settings first, and results after them. A number that was set has few digits, or
  a known name.
  """
  names = list(table.columns)
  first = min(
    names.index(name)
    for name in names
    if name == objective or roles[name].reason in ('its name is a metric', SAME_MEASURE)
  )
  known = [
    n
    for n in names
    if roles[n].reason.startswith(('its name is one of a', 'its prefix'))
  ]
  known = [n for n in known if roles[n].role == HYPERPARAMETER]
  last_setting = max((names.index(name) for name in known), default=-1)
  outcomes = names_with(roles, OUTCOME)
  last_outcome = max((names.index(name) for name in outcomes), default=-1)
  for i, name in enumerate(names):
    if name not in free or roles[name].reason != UNKNOWN:
      continue
    values = facts[name]
    if not values.is_number:
      continue
    is_after = i > max(first, last_setting)
    # A whole number among results is a count if it has more values than a setting.
    is_count = bool(known) and i < last_outcome and values.n_distinct > MANY_VALUES
    is_count = is_count and 2 * values.n_distinct >= len(table)
    is_measured = is_after and (is_count or not values.is_whole)
    if is_measured or _varies_within_settings(name, table, known):
      roles[name] = Column(OUTCOME, 'its numbers look measured')


def _varies_within_settings(name: str, table: RawTable, known: Sequence[str]) -> bool:
  """Returns True if a column differs between most rows whose known settings are equal."""
  if not known or not any(isinstance(v, float) for v in table.columns[name]):
    return False
  groups: dict[str, list[object]] = {}
  for key, value in zip(table.row_keys(known), table.columns[name]):
    groups.setdefault(key, []).append(value)
  several = [values for values in groups.values() if len(values) > 1]
  n_rows = sum(map(len, several))
  n_values = sum(map(n_distinct, several))
  digits = [len(repr(v)) for v in table.columns[name] if isinstance(v, float)]
  is_long = float(np.median(digits)) >= MEASURED_DIGITS
  return n_rows >= len(table) / 2 and n_values >= 0.9 * n_rows and is_long


def find_parts(
  table: RawTable,
  facts: Mapping[str, ColumnValues],
  roles: dict[str, Column],
  objective: str,
  free: set[str],
) -> None:
  """Gives columns that measure what the objective measures the role of outcomes.

  These are:
  - Parts of the objective, such as `task0` and `task1` if it is their mean.
  - The same measure on other data, such as `cora_corr` beside `pubmed_corr`.
  - All unknown numbers, if each row has another data set.
  """
  numbers = [
    name
    for name in names_with(roles, HYPERPARAMETER)
    if name in free and facts[name].is_number and column_name(name).group != 'config'
  ]
  unknown = [name for name in numbers if roles[name].reason == UNKNOWN]
  yardsticks = names_with(roles, YARDSTICK)
  if any(n_distinct(table.columns[name]) == len(table) for name in yardsticks):
    roles |= dict.fromkeys(unknown, Column(OUTCOME, 'each row has another data set'))

  # The last word is the measure, and the words before it are the data.
  words = column_name(objective).words
  same = [n for n in (*numbers, objective) if column_name(n).words[-1:] == words[-1:]]
  if len(same) > 2:
    data = {column_name(name).words[:-1] for name in same}
    same += [name for name in numbers if column_name(name).words[:-1] in data]
  is_measure = len(words) > 1 and words[-1] not in HYPERPARAMETERS | RATES
  if is_measure and {*SPLITS, *STATISTICS}.isdisjoint(words[:1]):
    for name in set(same) & set(numbers):
      if name in unknown or not facts[name].is_whole:
        roles[name] = Column(OUTCOME, SAME_MEASURE)

  groups: dict[str, list[str]] = {}
  for name in unknown:
    if name[-1:].isdigit():
      groups.setdefault(name.rstrip('0123456789'), []).append(name)
  target = number_column(table.columns[objective])
  for names in groups.values():
    mean = np.mean([number_column(table.columns[name]) for name in names], 0)
    if len(names) > 1 and np.allclose(mean, target, rtol=1e-3, equal_nan=True):
      roles |= dict.fromkeys(names, Column(OUTCOME, f'{objective} is their mean'))


def find_derived(
  table: RawTable,
  facts: Mapping[str, ColumnValues],
  roles: dict[str, Column],
  free: set[str],
) -> None:
  """Gives a number the role of metadata if it is a product of powers of other columns.

  An example is the number of steps beside tokens and batch size, which determine it.
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


def promote_names(table: RawTable, roles: dict[str, Column], free: set[str]) -> None:
  """Gives the names of the runs the role of a setting, if the table has no other setting."""
  settings = names_with(roles, HYPERPARAMETER)
  if any(n_distinct(table.columns[name]) > 1 for name in settings):
    return
  # Runs are compared only if, on average, two or more rows have equal sizes.
  sizes = [*names_with(roles, SIZE), *names_with(roles, YARDSTICK)]
  if 2 * len(set(table.row_keys(sizes))) > len(table):
    return
  names = [*names_with(roles, IDENTITY), *names_with(roles, METADATA_ROLE)]
  # A column of names comes before other texts.
  names.sort(key=lambda name: column_name(name).text not in NAMES_OF_RUNS)
  for name in names:
    is_text = all(isinstance(value, str) for value in table.columns[name])
    is_free = name in free or column_name(name).text == 'run'
    is_written_by_tool = roles[name].reason in (
      'its values are dates or durations',
      'its name is written by the tool',
    )
    is_varied = n_distinct(table.columns[name]) > 1
    if is_text and is_free and is_varied and not is_written_by_tool:
      roles[name] = Column(HYPERPARAMETER, ONLY_NAME)
      if _names_datasets(table.columns[name]):
        roles[name] = Column(YARDSTICK, 'it names data sets')
      return


def _names_datasets(names: Sequence[object]) -> bool:
  """Returns True if most names hold one of at least two known data sets."""
  found = [DATASETS.intersection(re.split(r'[\W_]+', str(n).lower())) for n in names]
  n_found = sum(map(bool, found))
  return 2 * n_found > len(names) and len(frozenset[str]().union(*found)) > 1


def demote_settings_of_log(
  table: RawTable, roles: dict[str, Column], free: set[str]
) -> None:
  """Gives `lr` the role of an outcome if a column `learning_rate` has the setting."""
  names = {column_name(name).text: name for name in table.columns}
  setting = names.get('learning_rate')
  logged = names.get('lr')
  if setting and logged in free and roles[logged].role == HYPERPARAMETER:
    if table.columns[setting] != table.columns[logged]:
      roles[logged] = Column(OUTCOME, f'{setting} has the setting')


def find_rollouts(roles: dict[str, Column], free: set[str]) -> None:
  """Gives `n_steps` the role of a setting if another column has the steps of the whole run."""
  names = {column_name(name).text: name for name in roles}
  rollout = names.get('n_steps', '')
  is_size = any(roles[names[text]].role == SIZE for text in TIMESTEPS if text in names)
  if is_size and rollout in free:
    roles[rollout] = Column(HYPERPARAMETER, 'timesteps are the steps of a run')


def find_time_budgets(
  table: RawTable, roles: dict[str, Column], free: set[str]
) -> None:
  """Gives steps and tokens the role of outcomes if a budget of time decides them."""
  sizes = {name: column_name(name).words for name in names_with(roles, SIZE)}
  times = [n for n, words in sizes.items() if 'budget' in words and words[-1] in UNITS]
  n_budgets = len(set(table.row_keys(times)))
  for name, words in sizes.items():
    is_progress = {'steps', 'tokens', 'samples', 'iterations'} & set(words)
    is_varied = len(set(table.row_keys([*times, name]))) > n_budgets
    if times and name in free and is_progress and is_varied:
      roles[name] = Column(OUTCOME, f'{times[0]} decides it')


def counts_steps_to_target(objective: str) -> bool:
  """Returns True for an objective such as `steps_to_target`."""
  words = set(column_name(objective).words)
  return bool(words & {'steps', 'iterations', 'updates'}) and bool(
    words & {'target', 'to', 'until'}
  )


def find_batches_of_targets(
  roles: dict[str, Column], objective: str, free: set[str]
) -> None:
  """Gives the batch size the role of a size if the objective counts the steps to a target.

  The largest batch needs the fewest steps, so no batch size is simply the best one.
  """
  if not counts_steps_to_target(objective):
    return
  for name in names_with(roles, HYPERPARAMETER):
    if name in free and column_name(name).text in BATCHES:
      roles[name] = Column(SIZE, 'it sets the number of steps to the target')


def find_replicates(
  table: RawTable,
  facts: Mapping[str, ColumnValues],
  roles: dict[str, Column],
  free: set[str],
) -> None:
  """Gives `run`, `trial` and the like the role of seeds if they number runs of one setting."""
  if names_with(roles, SEED):
    return
  for name in table.columns:
    words = column_name(name)
    if name not in free or words.text not in REPLICATES:
      continue
    settings = [n for n in names_with(roles, HYPERPARAMETER) if n != name]
    if not settings:
      continue
    settings += [*names_with(roles, YARDSTICK), *names_with(roles, SIZE)]
    values = facts[name]
    if not values.is_whole or values.n_distinct * 2 > len(values.values):
      continue
    keys = table.row_keys(settings)
    pairs = set(zip(keys, map(repr, values.values)))
    if len(pairs) == len(table) and len(set(keys)) * 2 <= len(table):
      roles[name] = Column(SEED, 'it numbers the runs of each setting')


def find_repeated(table: RawTable, roles: dict[str, Column], free: set[str]) -> None:
  """Gives a column the role of metadata if it repeats another setting.

  Tools write `param_lr`, and the same in an object `params` or as an attribute of the trial.
  """
  first: dict[tuple[str, str], str] = {}
  for name in names_with(roles, HYPERPARAMETER):
    key = (column_name(name).text, repr(list(table.columns[name])))
    if key in first and name in free:
      roles[name] = Column(METADATA_ROLE, f'{first[key]} has the same values')
    first.setdefault(key, name)


def find_shapes(
  table: RawTable,
  facts: Mapping[str, ColumnValues],
  roles: dict[str, Column],
  free: set[str],
) -> None:
  """Gives columns the role of sizes if the sizes of the model and of the data determine them.

  These are the shape of the model, its name, and the batch size if each size has one. A setting
  of the optimizer stays a hyperparameter: it was chosen for each size.
  """
  sizes = [
    n for n in names_with(roles, SIZE) if column_name(n).is_model_size or len(n) == 1
  ]
  varied = [name for name in sizes if n_distinct(table.columns[name]) > 1]
  if not varied:
    return
  for name in names_with(roles, HYPERPARAMETER):
    words = column_name(name)
    is_shape = words.text in SHAPES | BATCHES or roles[name].reason == UNKNOWN
    # A flag is a choice, even if it changes the size.
    if name not in free or not is_shape or facts[name].is_bool:
      continue
    is_varied = n_distinct(table.columns[name]) > 1
    if is_varied and is_determined(table, name, varied):
      roles[name] = Column(SIZE, f'{listed(varied)} determine it')
