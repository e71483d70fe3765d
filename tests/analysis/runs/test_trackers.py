"""Stores of MLflow and directories of TensorBoard files as tables."""

import sys

import numpy as np
import pytest
import tensorboardX

from lmhp.analysis.runs.sources import read
from lmhp.analysis.runs.trackers import is_mlflow
from lmhp.errors import ConfigError

RATES = (1e-4, 3e-4, 1e-3)


def final_loss(rate):
  return 3 + abs(np.log10(rate / 3e-4))


# --- MLflow -----------------------------------------------------------------------------


@pytest.fixture
def mlflow(monkeypatch):
  monkeypatch.setenv('MLFLOW_ALLOW_FILE_STORE', 'true')
  return pytest.importorskip('mlflow', reason='needs the extra mlflow')


@pytest.mark.extra
# MLflow uses a part of SQLAlchemy that is deprecated.
@pytest.mark.filterwarnings('ignore::DeprecationWarning')
@pytest.mark.parametrize('store', ['mlruns', 'mlflow.db'])
def test_runs_of_mlflow_have_their_parameters_status_and_curves(
  mlflow, tmp_path, store
):
  path = tmp_path / store
  uri = f'sqlite:///{path}' if store.endswith('.db') else path.as_uri()
  client = mlflow.MlflowClient(tracking_uri=uri)
  experiment = client.create_experiment('a sweep')
  for rate in RATES:
    for seed in (0, 1):
      run = client.create_run(experiment, run_name=f'lr {rate}')
      client.log_param(run.info.run_id, 'lr', rate)
      client.log_param(run.info.run_id, 'seed', seed)
      for step in range(4):
        value = final_loss(rate) + 0.01 * seed + (3 - step)
        client.log_metric(run.info.run_id, 'val_loss', value, step=step)
      client.set_terminated(run.info.run_id, 'FINISHED')
  crashed = client.create_run(experiment)
  client.log_param(crashed.info.run_id, 'lr', 1.0)
  client.set_terminated(crashed.info.run_id, 'FAILED')

  assert is_mlflow(path)
  runs = read(path)
  assert list(runs.axes) == ['params.lr']
  assert runs.objective_name == 'metrics.val_loss'
  assert sorted(runs.status.tolist()) == ['complete'] * 6 + ['failed']
  best = int(np.nanargmin(runs.objective))
  assert runs.values['params.lr'][best] == 3e-4
  assert runs.objective[best] == pytest.approx(3.0)
  curve = runs.curves[int(runs.number[best])]
  assert curve['step'].tolist() == [0, 1, 2, 3]
  assert curve['val_loss'][0] == pytest.approx(6.0)


@pytest.mark.extra
@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_an_mlflow_store_without_runs_is_one_line(mlflow, tmp_path):
  path = tmp_path / 'mlflow.db'
  mlflow.MlflowClient(tracking_uri=f'sqlite:///{path}').create_experiment('empty')
  with pytest.raises(ConfigError, match='without runs'):
    read(path)


def test_without_mlflow_the_error_names_the_extra(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'mlflow', None)
  experiment = tmp_path / 'mlruns' / '0'
  experiment.mkdir(parents=True)
  (experiment / 'meta.yaml').write_text('name: Default\n')
  with pytest.raises(ConfigError, match=r'lmhp\[mlflow\]'):
    read(tmp_path / 'mlruns')


def test_a_database_of_optuna_is_none_of_mlflow(tmp_path):
  optuna = pytest.importorskip('optuna')
  path = tmp_path / 'study.db'
  optuna.create_study(storage=f'sqlite:///{path}')
  assert not is_mlflow(path)


# --- TensorBoard ------------------------------------------------------------------------


def write_events(tmp_path):
  for rate in RATES:
    with tensorboardX.SummaryWriter(str(tmp_path / f'run_{rate}')) as writer:
      for step in range(5):
        writer.add_scalar('val/loss', final_loss(rate) + (4 - step), step)
      # PyTorch and tensorboardX write hyperparameters to a directory below the run.
      writer.add_hparams({'lr': rate, 'optimizer': 'adam'}, {'final': final_loss(rate)})


@pytest.mark.extra
def test_runs_of_tensorboard_have_their_hyperparameters_and_curves(tmp_path):
  pytest.importorskip('tensorboard', reason='needs the extra tensorboard')
  write_events(tmp_path)
  runs = read(tmp_path, objective='val/loss')
  assert len(runs) == len(RATES)
  assert list(runs.varied_axes()) == ['lr']
  best = int(np.argmin(runs.objective))
  assert runs.values['lr'][best] == pytest.approx(3e-4)
  assert runs.objective[best] == pytest.approx(3.0)
  assert runs.curves[best]['val/loss'][0] == pytest.approx(7.0)
  assert runs.columns['final'].role == 'outcome'


def test_without_tensorboard_the_error_names_the_extra(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'tensorboard.util', None)
  (tmp_path / 'events.out.tfevents.1.host').write_bytes(b'')
  with pytest.raises(ConfigError, match=r'lmhp\[tensorboard\]'):
    read(tmp_path)
