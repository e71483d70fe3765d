"""TensorBoard and Weights & Biases: the same numbers as `metrics.jsonl`, no step twice."""

import struct
import sys
import types

import pytest

from lmhp.errors import ConfigError
from lmhp.training.config import LogConfig
from lmhp.training.history import HistoryMark, read_history
from lmhp.training.writers import Writers, _hidden_module


def events_of(directory):
  """The points that TensorBoard shows: {(tag, step): value}.

  It reads files in the order of their names. A session that starts at a step hides earlier
  points at that step or after it.
  """
  from tensorboardX.proto.event_pb2 import Event

  points = {}
  for path in sorted(directory.glob('events.out.tfevents.*')):
    content = path.read_bytes()
    position = 0
    while position < len(content):
      (size,) = struct.unpack_from('<Q', content, position)
      event = Event.FromString(content[position + 12 : position + 12 + size])
      position += size + 16
      if event.session_log.status == event.session_log.START:
        points = {k: v for k, v in points.items() if k[1] < event.step}
      for value in event.summary.value:
        assert (value.tag, event.step) not in points
        points[value.tag, event.step] = value.simple_value
  return points


def row(step, factor=1.0):
  words = {'word': 'x', 'none': None, 'list': [1]}
  return {'step': step, 'loss_nats': factor * step, **words}


# --- TensorBoard ----------------------------------------------------------------------


def test_tensorboard_has_each_number_once_after_a_resume(tmp_path):
  with Writers(tmp_path, LogConfig()) as writers:
    evaluation = {'step': 10, 'eval_loss_nats': 2.5}
    writers.append([row(0), row(10), evaluation])
    mark = writers.history.mark(10)
    writers.append([row(20), row(30)])
    writers.history.sync()
  with Writers(tmp_path, LogConfig(), resumed=mark) as writers:
    writers.append([row(20, 2.0), {'step': 25, 'loss_nats': float('nan')}])
  assert events_of(tmp_path) == {
    ('loss_nats', 0): 0.0,
    ('loss_nats', 10): 10.0,
    ('eval_loss_nats', 10): 2.5,
    ('loss_nats', 20): 40.0,
  }
  assert read_history(tmp_path)['step'].tolist() == [0, 10, 10, 20, 25]


def test_a_new_run_in_an_old_directory_starts_empty(tmp_path):
  with Writers(tmp_path, LogConfig()) as writers:
    writers.append([row(0), row(10)])
  with Writers(tmp_path, LogConfig()) as writers:
    writers.append([row(0)])
  assert events_of(tmp_path) == {('loss_nats', 0): 0.0}
  assert read_history(tmp_path)['step'].tolist() == [0]


def test_without_tensorboard_there_is_one_file(tmp_path):
  with Writers(tmp_path, LogConfig(tensorboard=False)) as writers:
    writers.append([row(1)])
  assert [path.name for path in tmp_path.iterdir()] == ['metrics.jsonl']


def test_a_hidden_module_cannot_be_imported_for_a_while(tmp_path, monkeypatch):
  (tmp_path / 'heavy_module.py').write_text('x = 1')
  monkeypatch.syspath_prepend(tmp_path)
  with _hidden_module('heavy_module'), pytest.raises(ImportError):
    import heavy_module
  import heavy_module

  # A module that is loaded already stays.
  with _hidden_module('heavy_module'):
    assert sys.modules['heavy_module'] is heavy_module


# --- Weights & Biases -----------------------------------------------------------------


class FakeRun:
  def __init__(self, **options):
    self.options = options
    self.logged = []
    self.is_finished = False

  def log(self, numbers, step):
    self.logged.append((step, numbers))

  def finish(self):
    self.is_finished = True


@pytest.fixture
def wandb(monkeypatch):
  """A fake `wandb`, with the list `runs`."""
  runs = []

  def init(**options):
    runs.append(FakeRun(**options))
    return runs[-1]

  error_type = type('Error', (Exception,), {})
  fake = types.SimpleNamespace(init=init, Error=error_type, runs=runs)
  monkeypatch.setitem(sys.modules, 'wandb', fake)
  return fake


WANDB = LogConfig(tensorboard=False, wandb_project='lab')


def test_wandb_gets_the_config_and_the_numbers(tmp_path, wandb):
  config = {'optimizer.learning_rate': 3e-3}
  with Writers(tmp_path, WANDB, config=config) as writers:
    writers.append([row(20)])
  (run,) = wandb.runs
  assert run.options['project'] == 'lab'
  assert run.options['config'] == config
  assert run.logged == [(20, {'loss_nats': 20.0})]
  assert run.is_finished


def test_wandb_keeps_the_id_of_a_resumed_run(tmp_path, wandb):
  for mark in (None, HistoryMark(0, 0, 0), None):
    Writers(tmp_path, WANDB, resumed=mark).close()
  first, resumed, new = [run.options['id'] for run in wandb.runs]
  assert first == resumed
  assert first != new


def test_an_error_of_wandb_is_one_line(tmp_path, wandb, monkeypatch):
  def refuse(**options):
    raise wandb.Error('api_key not configured\nmore')

  monkeypatch.setattr(wandb, 'init', refuse)
  with pytest.raises(
    ConfigError, match='^log.wandb_project: api_key not configured.*$'
  ):
    Writers(tmp_path, WANDB)


def test_without_wandb_the_error_names_the_extra(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'wandb', None)
  with pytest.raises(
    ConfigError, match=r"^log.wandb_project: got 'lab', .*lmhp\[wandb\]"
  ):
    Writers(tmp_path, WANDB)


def test_a_writer_that_fails_leaves_no_lock(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'wandb', None)
  with pytest.raises(ConfigError):
    Writers(tmp_path, WANDB)
  Writers(tmp_path, LogConfig(tensorboard=False)).close()
