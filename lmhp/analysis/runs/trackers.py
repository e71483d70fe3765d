"""Runs that MLflow and TensorBoard recorded, as raw tables with curves.

Both are read through their own libraries, which are extras of lmhp.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import contextlib
import os
import pathlib
import sqlite3

from etils import epath
import numpy as np

from lmhp.analysis.runs.cells import parse_column
from lmhp.analysis.runs.raw_table import Curve, RawTable, from_records
from lmhp.errors import ConfigError
from lmhp.statistics.column_names import (
  HYPERPARAMETER,
  IDENTITY,
  METADATA_ROLE,
  OUTCOME,
)

EVENTS = 'events.out.tfevents.'
"""Beginning of the name of a TensorBoard file."""
SESSION_START = '_hparams_/session_start_info'
PAGE = 10_000
"""Number of runs that are read from MLflow at a time."""


# --- MLflow -----------------------------------------------------------------------------


def is_mlflow(path: epath.Path) -> bool:
  """Returns True for a directory `mlruns`, and for a database that MLflow wrote."""
  if path.is_dir():
    return any((each / 'meta.yaml').exists() for each in path.iterdir())
  try:
    uri = f'file:{path}?mode=ro'
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
      query = "select name from sqlite_master where name in ('experiments', 'runs')"
      return len(connection.execute(query).fetchall()) == 2
  except sqlite3.Error:
    return False


def read_mlflow(source: str) -> RawTable:
  """Reads all runs of an MLflow store, with the histories of their metrics as curves.

  Args:
    source: A directory `mlruns`, a database file, or the URL of a tracking server.

  Raises:
    ConfigError: If MLflow is not installed, the store cannot be read, or it has no runs.
  """
  try:
    import mlflow
  except ImportError:
    raise ConfigError(f'{source}: needs: pip install "lmhp[mlflow]"') from None

  # MLflow reads its older stores of files only if this is set.
  os.environ.setdefault('MLFLOW_ALLOW_FILE_STORE', 'true')
  uri = source
  if '://' not in source:
    path = epath.Path(source).resolve()
    uri = path.as_uri() if path.is_dir() else f'sqlite:///{path}'
  try:
    client = mlflow.MlflowClient(tracking_uri=uri)
    names = {each.experiment_id: each.name for each in client.search_experiments()}
    page = client.search_runs(list(names), max_results=PAGE)
    runs = list(page)
    while page.token:
      page = client.search_runs(list(names), max_results=PAGE, page_token=page.token)
      runs += page
  except (
    Exception
  ) as error:  # The errors of MLflow and of its databases share no class.
    reason = str(error).splitlines()[0]
    raise ConfigError(f'{source}: MLflow cannot read it: {reason}') from None
  if not runs:
    raise ConfigError(f'{source}: got an MLflow store without runs')

  records = []
  curves: dict[int, Curve] = {}
  for row, run in enumerate(runs):
    record: dict[str, object] = {
      'run_id': run.info.run_id,
      'run_name': run.info.run_name,
      'experiment': names[run.info.experiment_id],
      'status': run.info.status,
    }
    record |= {f'params.{key}': value for key, value in run.data.params.items()}
    record |= {f'metrics.{key}': value for key, value in run.data.metrics.items()}
    records.append(record)
    histories = {}
    for key in run.data.metrics:
      history = client.get_metric_history(run.info.run_id, key)
      histories[key] = {each.step: each.value for each in history}
    curves[row] = _curve(histories)
  columns = dict(from_records(records).columns)
  # Parameters are stored as text.
  for name, column in columns.items():
    if name.startswith('params.'):
      columns[name] = parse_column([str(cell or '') for cell in column])
  return RawTable(columns, curves={row: c for row, c in curves.items() if c})


# --- TensorBoard ------------------------------------------------------------------------


def is_tensorboard(path: epath.Path) -> bool:
  """Returns True for a directory with TensorBoard files in it or below it."""
  return any(_event_directories(path))


def read_tensorboard(path: epath.Path) -> RawTable:
  """Reads the runs below a directory: their hyperparameters, last scalars and curves.

  Each directory with a file of events is a run. PyTorch writes the hyperparameters of a run to
  a directory below it, which counts as a part of the run.

  Raises:
    ConfigError: If TensorBoard is not installed, or there are no scalars.
  """
  try:
    from tensorboard.backend.event_processing import event_accumulator
    from tensorboard.plugins.hparams import plugin_data_pb2
    from tensorboard.util import tensor_util
  except ImportError:
    raise ConfigError(f'{path}: needs: pip install "lmhp[tensorboard]"') from None

  # Generated code, whose names a type checker cannot see.
  hparams_message = getattr(plugin_data_pb2, 'HParamsPluginData')  # noqa: B009
  # {directory: histories} and {directory: hyperparameters}.
  histories: dict[pathlib.Path, dict[str, dict[int, float]]] = {}
  settings: dict[pathlib.Path, dict[str, object]] = {}
  directories = sorted(_event_directories(path))
  for directory in directories:
    events = event_accumulator.EventAccumulator(
      str(directory), size_guidance={'scalars': 0, 'tensors': 0}
    )
    events.Reload()
    tags = events.Tags()
    found = {
      tag: {each.step: each.value for each in events.Scalars(tag)}
      for tag in tags['scalars']
    }
    # Newer writers store a scalar as a tensor with one value.
    for tag in tags['tensors']:
      values = {}
      for event in events.Tensors(tag):
        values[event.step] = tensor_util.make_ndarray(event.tensor_proto)
      if all(v.size == 1 and v.dtype.kind in 'fiu' for v in values.values()):
        found[tag] = {step: float(value.item()) for step, value in values.items()}
    histories[directory] = found
    # The plugin of hyperparameters keeps them in a message of its own.
    try:
      message = events.PluginTagToContent('hparams').get(SESSION_START, b'')
    except KeyError:
      message = b''
    start = hparams_message.FromString(message).session_start_info
    settings[directory] = {
      name: getattr(value, value.WhichOneof('kind'))
      for name, value in start.hparams.items()
    }

  # Hyperparameters in a directory below a run belong to the run.
  for directory in directories:
    parent = directory.parent
    if settings[directory] and parent in histories and not settings[parent]:
      settings[parent] = settings.pop(directory)
      histories[parent] |= histories.pop(directory)

  records = []
  curves: dict[int, Curve] = {}
  names = dict.fromkeys(name for each in settings.values() for name in each)
  for directory, found in histories.items():
    if not found:
      continue
    record: dict[str, object] = {'run': str(directory.relative_to(path))}
    record |= settings[directory]
    curve = _curve(found)
    record |= {tag: values[max(values)] for tag, values in found.items()}
    record['last_step'] = float(curve['step'][-1])
    curves[len(records)] = curve
    records.append(record)
  if not records:
    raise ConfigError(f'{path}: got TensorBoard files without scalars')
  tags = dict.fromkeys(tag for found in histories.values() for tag in found)
  roles = {
    **dict.fromkeys(tags, OUTCOME),
    **dict.fromkeys(names, HYPERPARAMETER),
    'run': IDENTITY,
    'last_step': METADATA_ROLE,
  }
  return RawTable(from_records(records).columns, curves=curves, roles=roles)


def _event_directories(path: epath.Path) -> Iterator[pathlib.Path]:
  for directory, _, files in os.walk(path):
    if any(file.startswith(EVENTS) for file in files):
      yield pathlib.Path(directory)


def _curve(histories: Mapping[str, Mapping[int, float]]) -> dict[str, np.ndarray]:
  """Returns {tag: {step: value}} as columns over all steps, NaN where a tag has no value."""
  steps = sorted({step for history in histories.values() for step in history})
  if not steps:
    return {}
  curve = {'step': np.array(steps, np.float64)}
  for tag, history in histories.items():
    curve[tag] = np.array([history.get(step, np.nan) for step in steps])
  return curve
