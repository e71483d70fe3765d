"""TensorBoard and Weights & Biases beside `metrics.jsonl`: the same numbers, no step twice after a resume."""

import struct
import sys
import types

import pytest

from lmhp.errors import ConfigError
from lmhp.training.history import LogConfig, read
from lmhp.training.writers import Writers, _absent


def events(directory):
  """What TensorBoard shows: files in order of name; a session that starts at a step hides what is at or after it."""
  from tensorboardX.proto.event_pb2 import Event

  shown = {}
  for path in sorted(directory.glob('events.out.tfevents.*')):
    data, at = path.read_bytes(), 0
    while at < len(data):
      (size,) = struct.unpack_from('<Q', data, at)
      event = Event.FromString(data[at + 12 : at + 12 + size])
      at += size + 16
      if event.session_log.status == event.session_log.START:
        shown = {k: v for k, v in shown.items() if k[1] < event.step}
      for value in event.summary.value:
        assert (value.tag, event.step) not in shown
        shown[value.tag, event.step] = value.simple_value
  return shown


def row(step, factor=1.0):
  return {
    'step': step,
    'loss_nats': factor * step,
    'word': 'x',
    'none': None,
    'list': [1],
  }


def test_tensorboard_holds_the_numbers_once(tmp_path):
  with Writers(tmp_path, LogConfig()) as writers:
    writers.append(
      [row(0), row(10), {'step': 10, 'eval_loss_nats': 2.5}, row(20), row(30)]
    )
    writers.sync()
  with Writers(tmp_path, LogConfig(), step=10) as writers:
    writers.append([row(20, 2.0), {'step': 25, 'loss_nats': float('nan')}])
  assert events(tmp_path) == {
    ('loss_nats', 0): 0.0,
    ('loss_nats', 10): 10.0,
    ('eval_loss_nats', 10): 2.5,
    ('loss_nats', 20): 40.0,
  }
  assert read(tmp_path)['step'].tolist() == [0, 10, 10, 20, 25]


def test_a_new_run_in_an_old_directory_starts_empty(tmp_path):
  with Writers(tmp_path, LogConfig()) as writers:
    writers.append([row(0), row(10)])
  with Writers(tmp_path, LogConfig()) as writers:
    writers.append([row(0, 1.0)])
  assert events(tmp_path) == {('loss_nats', 0): 0.0}
  assert read(tmp_path)['step'].tolist() == [0]


def test_tensorboard_off(tmp_path):
  with Writers(tmp_path, LogConfig(tensorboard=False)) as writers:
    writers.append([row(1)])
  assert [p.name for p in tmp_path.iterdir()] == ['metrics.jsonl']


def test_a_module_is_hidden_from_one_import_alone(tmp_path, monkeypatch):
  (tmp_path / 'heavy_module.py').write_text('x = 1')
  monkeypatch.syspath_prepend(tmp_path)
  with _absent('heavy_module'), pytest.raises(ImportError):
    import heavy_module
  import heavy_module

  with _absent('heavy_module'):  # what is loaded already costs nothing
    assert sys.modules['heavy_module'] is heavy_module


class FakeRun:
  def __init__(self, **about):
    self.about, self.logged, self.finished = about, [], False

  def log(self, numbers, step):
    self.logged.append((step, numbers))

  def finish(self):
    self.finished = True


@pytest.fixture
def wandb(monkeypatch):
  runs = []
  fake = types.SimpleNamespace(
    init=lambda **about: runs.append(FakeRun(**about)) or runs[-1],
    errors=types.SimpleNamespace(Error=type('Error', (Exception,), {})),
    runs=runs,
  )
  monkeypatch.setitem(sys.modules, 'wandb', fake)
  return fake


def test_wandb_resumes_the_same_run(tmp_path, wandb):
  cfg = LogConfig(tensorboard=False, wandb_project='lab')
  for step in (None, 10, None):
    with Writers(
      tmp_path, cfg, step=step, config={'optimizer.learning_rate': 3e-3}
    ) as writers:
      writers.append([row(20)])
  first, resumed, anew = wandb.runs
  assert first.about['project'] == 'lab' and first.about['config'] == {
    'optimizer.learning_rate': 3e-3
  }
  assert first.about['id'] == resumed.about['id'] != anew.about['id']
  assert first.logged == [(20, {'loss_nats': 20.0})] and first.finished


def test_wandb_absent_or_unwilling_is_one_line(tmp_path, wandb, monkeypatch):
  cfg = LogConfig(tensorboard=False, wandb_project='lab')

  def refuse(**about):
    raise wandb.errors.Error('api_key not configured\nmore')

  monkeypatch.setattr(wandb, 'init', refuse)
  with pytest.raises(
    ConfigError, match='log.wandb_project: api_key not configured .WANDB_MODE=offline'
  ):
    Writers(tmp_path, cfg)
  monkeypatch.setitem(sys.modules, 'wandb', None)
  with pytest.raises(
    ConfigError,
    match=r'log.wandb_project: got .lab., which needs: pip install "lmhp\[wandb\]"',
  ):
    Writers(tmp_path, cfg)
  Writers(
    tmp_path, LogConfig(tensorboard=False)
  ).close()  # the failures left no lock behind
