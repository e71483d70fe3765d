"""Packs on a Ray cluster: the trials of a local sweep, bit for bit, whoever dies meanwhile; and attempts, without Ray."""

import contextlib
import json
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import threading
import time
import types

from etils import epath
import jax
import jax.numpy as jnp
import pytest
from small_runs import text  # noqa: F401

import lmhp
from lmhp.hypers import ConfigError
from lmhp.sweeping import choices, ray_worker
from lmhp.sweeping.packs import Pack, Stopped, read_result
from lmhp.sweeping.plan import language_model
from lmhp.sweeping.ray_runner import pack_resources
from lmhp.sweeping.runners import RUNNERS
from lmhp.sweeping.states import States
from lmhp.training.checkpoint import Checkpoints

STEPS = 3000
# Ray's own: forks beside jax's threads, sockets and files that its shutdown leaves to the collector
WARNINGS = pytest.mark.filterwarnings('ignore:os.fork', 'ignore::ResourceWarning', 'ignore::DeprecationWarning')


# --- attempts, without Ray --------------------------------------------------------------------------------------------


def init(hypers):
  return jnp.ones((4,)) * hypers['scale']


def step(w, hypers, i):
  loss, grad = jax.value_and_grad(lambda w: jnp.sum(w**2))(w)
  return w - hypers['learning_rate'] * grad, {'loss': loss}


class Board:
  """Where a worker reports; calls `then` once, at the first report."""

  def __init__(self, then=lambda: None):
    self._then, self.steps, self.note = [then], [], types.SimpleNamespace(remote=self._note)

  def _note(self, name, step, metrics):
    self.steps.append(step)
    if self._then:
      self._then.pop()()


@pytest.fixture
def packed(tmp_path):
  """A study's directory with one pack that is written down, and what a worker is sent of its task."""
  task = lmhp.FunctionTask(init, step, {'learning_rate': 0.1, 'scale': 1.0}, steps=900)
  pack = Pack('p-0', (0, 1), (None, None), 0, 900, method='loop', width=2, keep=True)
  workdir = epath.Path(tmp_path)
  States(task, workdir).describe(pack, [{'learning_rate': 1e-3}, {'learning_rate': 2e-3}])
  return workdir, pack, pickle.dumps(ray_worker.describe(task)), task


def work(packed, board):
  workdir, pack, described, _ = packed
  return ray_worker.run_pack(described, {}, str(workdir), pack, board)


def test_an_attempt_that_is_published_is_what_a_local_sweep_leaves(packed, tmp_path):
  workdir, pack, _, task = packed
  result, attempt = work(packed, Board())
  assert result.states is None and not (workdir / 'packs/p-0/result.json').exists()
  ray_worker.publish(workdir, pack, attempt)
  local = epath.Path(tmp_path / 'local')
  States(task, local).describe(pack, [{'learning_rate': 1e-3}, {'learning_rate': 2e-3}])
  there = States(task, local).run('p-0').run()
  assert read_result(workdir / 'packs/p-0').metrics == result.metrics == there.metrics
  assert (workdir / 'curves/p-0.parquet').exists()
  saved = States(task, workdir)
  for i in range(2):  # a later pack, anywhere, starts from these
    assert jax.tree.all(jax.tree.map(lambda a, b: a.tobytes() == b.tobytes(), saved.of(('p-0', i)), there.states[i]))


def test_who_lost_its_pack_ends_before_its_next_chunk(packed):
  workdir = packed[0]
  board = Board(lambda: ray_worker.claim(workdir, 'p-0'))
  with pytest.raises(ray_worker.Superseded):
    work(packed, board)
  assert len(board.steps) == 1 and not list(workdir.glob('attempts/*/packs/p-0/result.json'))


def test_an_attempt_goes_on_from_the_newest_checkpoint(packed):
  workdir = packed[0]
  whole, first = work(packed, Board())
  (workdir / 'attempts' / first).rmtree()
  with pytest.raises(Stopped):  # cancelled as Ray does it: it saves
    work(packed, board := Board(lambda: os.kill(os.getpid(), signal.SIGINT)))
  (old,) = (workdir / 'attempts').iterdir()
  saved = Checkpoints(old / 'packs/p-0/checkpoints').latest()
  assert saved == board.steps[-1] < 900
  (workdir / 'attempts/p-0.empty').mkdir()
  again, last = work(packed, board := Board())
  assert again.metrics == whole.metrics and board.steps[0] > saved
  assert [p.name for p in (workdir / 'attempts').iterdir()] == [last]


def test_a_finished_attempt_is_not_trained_again(packed):
  done, _ = work(packed, Board())
  again, _ = work(packed, board := Board())
  assert again.metrics == done.metrics and again.seconds == done.seconds and not board.steps


def test_publishing_goes_on_where_a_driver_was_killed(packed):
  workdir, pack = packed[:2]
  result, attempt = work(packed, Board())
  (workdir / 'curves').mkdir()
  source = workdir / 'attempts' / attempt
  (source / 'curves/p-0.parquet').replace(workdir / 'curves/p-0.parquet')
  (source / 'packs/p-0/checkpoints').rename(workdir / 'packs/p-0/checkpoints')
  ray_worker.publish(workdir, pack, work(packed, Board())[1])
  assert read_result(workdir / 'packs/p-0').metrics == result.metrics
  assert Checkpoints(workdir / 'packs/p-0/checkpoints').latest() == 900


def test_a_node_that_sees_another_workdir_says_so(packed, tmp_path):
  _, pack, described, _ = packed
  with pytest.raises(ConfigError, match="workdir: got .*elsewhere.*all nodes of the cluster share"):
    ray_worker.run_pack(described, {}, str(tmp_path / 'elsewhere'), pack, Board())


def test_a_node_with_another_text_says_so(config):
  described = ray_worker.describe(language_model(config(), sweep()))
  with pytest.raises(ConfigError, match='^data.path: another text'):
    ray_worker._made(pickle.dumps({**described, 'data_sha256': 'of another'}))
  described['base'] = {**described['base'], 'train': {**described['base']['train'], 'batch_size': 7}}
  with pytest.raises(ConfigError, match='^train.batch_size: got 3 on .*expected 7'):
    ray_worker._made(pickle.dumps(described))


def test_what_a_pack_takes():
  assert pack_resources([{'CPU': 96.0, 'TPU': 4.0}]) == {'num_cpus': 1, 'resources': {'TPU': 1}}
  assert pack_resources([{'CPU': 96.0}, {'CPU': 8.0, 'GPU': 2.0}]) == {'num_cpus': 1, 'num_gpus': 1}
  assert pack_resources([{'CPU': 0.0}, {'CPU': 16.0}, {'CPU': 4.0}]) == {'num_cpus': 4}


def test_ray_is_an_extra(monkeypatch):
  monkeypatch.setitem(sys.modules, 'ray', None)
  with pytest.raises(ConfigError, match=r'--engine: ray needs the extra ray \(pip install "lmhp\[ray\]"\)'):
    RUNNERS['ray'](None)


# --- on a cluster -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def cluster():
  """Two nodes of one processor each; the driver is not on the second."""
  pytest.importorskip('ray', reason='needs the extra ray (pip install "lmhp[ray]")')
  from ray.cluster_utils import Cluster
  kept = os.environ.get('PYTHONPATH')
  os.environ['PYTHONPATH'] = os.pathsep.join([str(pathlib.Path(lmhp.__file__).parents[1]), *([kept] if kept else [])])
  cluster = Cluster(initialize_head=True, head_node_args={'num_cpus': 1, 'include_dashboard': False})
  cluster.second = cluster.add_node(num_cpus=1)
  cluster.wait_for_nodes()
  yield cluster
  cluster.shutdown()
  os.environ.pop('PYTHONPATH') if kept is None else os.environ.update(PYTHONPATH=kept)


@pytest.fixture(scope='module')
def config(text, tmp_path_factory):
  """`config()`: a language model of which an update takes a millisecond."""
  cache = tmp_path_factory.mktemp('cache')

  def make():
    config = lmhp.default_config()
    config.data.path, config.data.tokenizer, config.data.cache_dir = (str(text),), 'char', str(cache)
    config.model.d_model, config.model.n_heads, config.model.n_layers, config.model.max_seq_len = 12, 2, 2, 8
    config.model.dtype = 'float32'
    config.train.steps, config.train.batch_size, config.evaluate.sequences = STEPS, 3, 5
    config.checkpoint.every_seconds, config.log.every_steps = 0.1, 100
    return config

  return make


def sweep():
  space = {'optimizer.learning_rate': lmhp.Float(1e-4, 1e-1, log=True)}
  return lmhp.SweepConfig(space=space, search='halton', trials=4, halving='successive', calibration=2, pack='loop',
                          max_width=1, confirm_best=0)


def condition(found):
  """What must not depend on the engine."""
  return [(t.number, t.status, t.overrides, t.values, dict(t.scores), t.about['packs'], t.about['tokens'])
          for t in found.trials]


@pytest.fixture(scope='module')
def local(config, tmp_path_factory):
  """The sweep in this process."""
  return lmhp.sweep(config(), sweep(), workdir=tmp_path_factory.mktemp('local') / 'w', display='none')


def attempts(workdir):
  """The attempts that have saved a state: {directory: step}."""
  found = {}
  for path in epath.Path(workdir).glob('attempts/*/packs/*/checkpoints'):
    with contextlib.suppress(OSError):  # it may be renamed meanwhile
      found[path.parents[2].name] = Checkpoints(path).latest()
  return {name: step for name, step in found.items() if step}


def eventually(condition, seconds=120):
  """What a condition gives once it is true."""
  end = time.monotonic() + seconds
  while time.monotonic() < end:
    if found := condition():
      return found
    time.sleep(0.02)
  raise TimeoutError


@pytest.fixture
def aside():
  """Calls a function beside the test, and raises what it raised."""
  threads, errors = [], []

  def call(function):
    def guarded():
      try:
        function()
      except BaseException as error:  # noqa: BLE001: shown below
        errors.append(error)

    threads.append(threading.Thread(target=guarded))
    threads[-1].start()

  yield call
  for thread in threads:
    thread.join()
  assert not errors


@pytest.mark.ray
@pytest.mark.slow
@WARNINGS
def test_a_node_that_dies_costs_work_and_nothing_else(cluster, config, local, tmp_path, aside):
  before = {}

  def kill():
    both = lambda: found if len(found := attempts(tmp_path / 'w')) == 2 else None  # one of them on the second node
    before.update(eventually(both))
    cluster.remove_node(cluster.second, allow_graceful=False)

  aside(kill)
  found = lmhp.sweep(config(), sweep(), workdir=tmp_path / 'w', engine='ray', address=cluster.address, display='none')
  assert len(before) == 2
  assert condition(found) == condition(local)
  assert not list((tmp_path / 'w').glob('attempts/*'))
  cluster.second = cluster.add_node(num_cpus=1)


DRIVER = '''
import pickle, sys, lmhp
config, sweep, workdir, address = pickle.load(open(sys.argv[1], 'rb'))
lmhp.sweep(config, sweep, workdir=workdir, engine='ray', address=address, display='none')
'''


@pytest.mark.ray
@pytest.mark.slow
@WARNINGS
def test_a_driver_that_is_killed_finds_what_workers_did(cluster, config, local, tmp_path):
  workdir, order = tmp_path / 'w', tmp_path / 'order'
  order.write_bytes(pickle.dumps((config().to_dict(), sweep(), str(workdir), cluster.address)))
  driver = subprocess.Popen([sys.executable, '-c', DRIVER, str(order)], env={**os.environ, 'JAX_PLATFORMS': 'cpu'})
  eventually(lambda: attempts(workdir) and list(workdir.glob('packs/*/result.json')))
  driver.send_signal(signal.SIGKILL)
  driver.wait()
  kept = {path: path.read_text() for path in workdir.glob('packs/*/result.json')}
  found = lmhp.sweep(config(), sweep(), workdir=workdir, engine='ray', address=cluster.address, display='none')
  assert condition(found) == condition(local)
  assert kept and all(path.read_text() == written for path, written in kept.items())


def slow_task(n):
  """A function's trials of `n` updates, each of about a millisecond; made here, so that a worker gets them by value."""
  def init(hypers):
    return jnp.eye(32) * hypers['scale']

  def step(w, hypers, i):
    w = jax.lax.fori_loop(0, 100, lambda _, w: jnp.tanh(w @ w), w) + hypers['scale']
    return w, {'loss': jnp.sum(w * w)}

  return lmhp.FunctionTask(init, step, {'scale': 0.1}, steps=n)


@pytest.mark.ray
@WARNINGS
def test_a_signal_leaves_a_sweep_that_continues(cluster, tmp_path, aside):
  space = {'scale': lmhp.Float(0.01, 1.0, log=True)}
  searched = lmhp.SweepConfig(space=space, search='halton', trials=3, objective=('loss',), pack='loop', max_width=1,
                              confirm_best=0)

  def interrupt():  # once two packs are at work, and the third waits
    eventually(lambda: len(list((tmp_path / 'w').glob('attempts/*'))) == 2)
    time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)

  aside(interrupt)
  go = lambda **where: lmhp.sweep(slow_task(6000), searched, display='none', **where)
  stopped = go(workdir=tmp_path / 'w', engine='ray', address=cluster.address)
  assert stopped.signal == signal.SIGTERM and not list((tmp_path / 'w').glob('packs/*/result.json'))
  assert len(attempts(tmp_path / 'w')) == 2  # their task saves once a minute: they were told
  found = go(workdir=tmp_path / 'w', engine='ray', address=cluster.address)
  assert condition(found) == condition(go(workdir=tmp_path / 'local'))


@pytest.mark.ray
@WARNINGS
def test_choices_are_measured_on_workers(cluster, tmp_path, monkeypatch):
  task = slow_task(8)
  with RUNNERS['ray'](cluster.address) as runner, monkeypatch.context() as patch:
    patch.setattr(choices, '_Trial', None)  # nothing is measured here
    found = runner.choices(epath.Path(tmp_path), task, 'auto', None)
    choice = found.of([task.job({})] * 6, False, 1e3)
    assert choice.max_width >= 3 and choice.member_step_seconds  # six trials on two nodes
    with pytest.raises(ConfigError, match='^sweep.objective: .bogus. is no metric of this task'):
      found.value('bogus', task.job({}))
  stored = json.loads((tmp_path / 'choices.json').read_text())
  assert list(stored['choices'].values())[0]['method'] == choice.method


@pytest.mark.ray
@WARNINGS
def test_a_cluster_that_does_not_have_what_a_pack_takes(cluster):
  from lmhp.sweeping.ray_runner import RayRunner
  with pytest.raises(ConfigError, match="^resources: got {'num_gpus': 1}"):
    RayRunner(cluster.address, {'num_gpus': 1})
