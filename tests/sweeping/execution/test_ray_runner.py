"""Sweeps on a Ray cluster have the trials of a local sweep, bit for bit, after any kill."""

import contextlib
import dataclasses
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
from jax.experimental.compilation_cache.compilation_cache import reset_cache
import jax.numpy as jnp
import pytest

import lmhp
from lmhp.errors import ConfigError
from lmhp.sweeping.execution import autotuning, ray_worker
from lmhp.sweeping.execution.pack_states import PackStateStore
from lmhp.sweeping.execution.packs import JobTable, Pack, Stopped
from lmhp.sweeping.execution.ray_runner import RayRunner
from lmhp.sweeping.execution.runner import RunnerContext
from lmhp.sweeping.language_model_checks import checked_language_model
from lmhp.training.checkpoint import Checkpoints

STEPS = 3000
# Ray forks beside the threads of jax, and leaves sockets and files open at its shutdown.
WARNINGS = pytest.mark.filterwarnings(
  'ignore:os.fork', 'ignore::ResourceWarning', 'ignore::DeprecationWarning'
)


@pytest.fixture(scope='module')
def cluster():
  """A cluster of two nodes with one processor each. The driver is on the first."""
  ray = pytest.importorskip(
    'ray', reason='needs the extra ray (pip install "lmhp[ray]")'
  )
  from ray.cluster_utils import Cluster

  old_path = os.environ.get('PYTHONPATH')
  paths = [str(pathlib.Path(lmhp.__file__).parents[1])]
  if old_path is not None:
    paths.append(old_path)
  os.environ['PYTHONPATH'] = os.pathsep.join(paths)
  cluster = Cluster(
    initialize_head=True, head_node_args={'num_cpus': 1, 'include_dashboard': False}
  )
  cluster.second = cluster.add_node(num_cpus=1)
  cluster.wait_for_nodes()
  yield cluster
  ray.shutdown()
  cluster.shutdown()
  if old_path is None:
    os.environ.pop('PYTHONPATH')
  else:
    os.environ['PYTHONPATH'] = old_path


@pytest.fixture(scope='module')
def config(text, tmp_path_factory):
  """`config()`: a language model whose updates take about a millisecond."""
  cache = tmp_path_factory.mktemp('cache')

  def make():
    config = lmhp.default_config()
    config.data.path = (str(text),)
    config.data.tokenizer = 'char'
    config.data.cache_dir = str(cache)
    config.model.d_model = 12
    config.model.n_heads = 2
    config.model.n_layers = 2
    config.model.max_seq_len = 8
    config.model.dtype = 'float32'
    config.train.steps = STEPS
    config.train.batch_size = 3
    config.evaluate.sequences = 5
    config.checkpoint.every_seconds = 0.1
    config.log.every_steps = 100
    return config

  return make


def sweep_config():
  space = {'optimizer.learning_rate': lmhp.Float(1e-4, 1e-1, log=True)}
  return lmhp.SweepConfig(
    space=space,
    search='halton',
    trials=4,
    halving='successive',
    n_calibration_trials=2,
    min_rank_correlation=None,
    execution='loop',
    max_pack_width=1,
    confirm_points=0,
  )


def results_of(study):
  """Returns the results that must not depend on the engine."""
  return [
    (
      trial.number,
      trial.status,
      trial.overrides,
      trial.values,
      dict(trial.scores),
      trial.packs,
      trial.cost.tokens,
    )
    for trial in study.trials
  ]


@pytest.fixture(scope='module')
def compile_cache(tmp_path_factory):
  """Stores compiled programs on the disk, so that workers do not compile them again."""
  old_options = {}
  for name in ray_worker.JAX_OPTIONS:
    if 'cache' in name:
      old_options[name] = getattr(jax.config, name)
  directory = str(tmp_path_factory.mktemp('compiled'))
  for name, value in zip(old_options, (directory, 0.0, 0), strict=True):
    jax.config.update(name, value)
  reset_cache()
  yield
  for name, value in old_options.items():
    jax.config.update(name, value)
  reset_cache()


def run_sweep(config, workdir, **options):
  return lmhp.sweep(
    config, sweep_config(), workdir=workdir, display='none', report=False, **options
  )


@pytest.fixture(scope='module')
def local(config, compile_cache, tmp_path_factory):
  """The sweep in this process."""
  return run_sweep(config(), tmp_path_factory.mktemp('local') / 'w')


def unfinished_attempts(workdir):
  """Returns the saved steps of the attempts at packs that are not done, by directory."""
  workdir = epath.Path(workdir)
  steps = {}
  for path in workdir.glob('attempts/*/packs/*/checkpoints'):
    directory = path.parent
    results = (
      directory / 'result.json',
      workdir / 'packs' / directory.name / 'result.json',
    )
    # Another attempt may rename the directory meanwhile.
    with contextlib.suppress(OSError):
      if not any(result.exists() for result in results):
        steps[path.parents[2].name] = Checkpoints(path).latest()
  return {name: step for name, step in steps.items() if step}


def pack_of(attempt):
  return attempt.rpartition('.')[0]


def wait_for(condition, seconds=120):
  """Returns the value of a condition as soon as it is true."""
  end = time.monotonic() + seconds
  while time.monotonic() < end:
    value = condition()
    if value:
      return value
    time.sleep(0.02)
  raise TimeoutError


def processes_of(node):
  """Returns the process ids of a node: of its raylet, then of its workers."""
  raylet = node.all_processes['raylet'][0].process.pid
  children = pathlib.Path(f'/proc/{raylet}/task/{raylet}/children').read_text()
  return [raylet, *map(int, children.split())]


def send_signal(pids, number):
  """Sends a signal to the processes that still exist."""
  for pid in pids:
    with contextlib.suppress(ProcessLookupError):
      os.kill(pid, number)


@pytest.fixture
def in_thread():
  """`in_thread(function)`: calls a function in a thread. Its error fails the test."""
  threads = []
  errors = []

  def call(function):
    def guarded():
      try:
        function()
      except BaseException as error:
        errors.append(error)

    threads.append(threading.Thread(target=guarded))
    threads[-1].start()

  yield call
  for thread in threads:
    thread.join()
  assert not errors


def test_a_worker_that_reads_another_text_is_an_error(config):
  recipe = checked_language_model(config(), sweep_config()).recipe()
  with pytest.raises(ConfigError, match='^data.path: '):
    recipe(data_sha256='another')


def test_a_worker_that_completes_the_config_differently_is_an_error(config):
  recipe = checked_language_model(config(), sweep_config()).recipe()
  values = {**recipe.keywords['base_values'], 'train.batch_size': 7}
  with pytest.raises(ConfigError, match='^train.batch_size: got 3 on .*expected 7'):
    recipe(base_values=values)


@pytest.mark.ray
@pytest.mark.slow
@WARNINGS
def test_packs_of_a_node_that_dies_continue_on_another_node(
  cluster, config, local, tmp_path, in_thread
):
  workdir = tmp_path / 'w'
  before = {}
  after = {}

  def attempts_while_halted():
    """Returns the attempts if the second node is halted in the middle of a pack.

    If it is not in the middle of a pack, the node continues.
    """
    # With two attempts, one is of the second node.
    if len(unfinished_attempts(workdir)) < 2:
      return None
    pids = processes_of(cluster.second)
    send_signal(pids, signal.SIGSTOP)
    attempts = unfinished_attempts(workdir)
    if len(attempts) == 2:
      return attempts
    send_signal(pids, signal.SIGCONT)
    return None

  def new_attempts():
    packs = [pack_of(name) for name in before]
    return {
      name: step
      for name, step in unfinished_attempts(workdir).items()
      if name not in before and pack_of(name) in packs
    }

  def kill():
    before.update(wait_for(attempts_while_halted))
    _, *workers = processes_of(cluster.second)
    cluster.remove_node(cluster.second, allow_graceful=False)
    # Without this signal, the workers would run on for a while and end the pack.
    send_signal(workers, signal.SIGKILL)
    after.update(wait_for(new_attempts))

  in_thread(kill)
  study = run_sweep(config(), workdir, engine='ray', ray_address=cluster.address)
  cluster.second = cluster.add_node(num_cpus=1)
  assert results_of(study) == results_of(local)

  # The new attempt continues from the saved step of the old one.
  ((new_name, new_step),) = after.items()
  (old_step,) = (
    step for name, step in before.items() if pack_of(name) == pack_of(new_name)
  )
  assert new_step >= old_step
  assert not list(workdir.glob('attempts/*'))


DRIVER = """
import pickle, sys, lmhp
config, sweep, workdir, address = pickle.load(open(sys.argv[1], 'rb'))
lmhp.sweep(
  config, sweep, workdir=workdir, engine='ray', ray_address=address, display='none',
  report=False)
"""


@pytest.mark.ray
@pytest.mark.slow
@WARNINGS
def test_a_driver_that_was_killed_keeps_the_finished_packs(
  cluster, config, local, tmp_path
):
  workdir = tmp_path / 'w'
  arguments = (config().to_dict(), sweep_config(), str(workdir), cluster.address)
  (tmp_path / 'arguments').write_bytes(pickle.dumps(arguments))
  driver = subprocess.Popen(
    [sys.executable, '-c', DRIVER, str(tmp_path / 'arguments')],
    env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
  )
  wait_for(
    lambda: unfinished_attempts(workdir) and list(workdir.glob('packs/*/result.json'))
  )
  driver.send_signal(signal.SIGKILL)
  driver.wait()
  finished = {path: path.read_text() for path in workdir.glob('packs/*/result.json')}
  study = run_sweep(config(), workdir, engine='ray', ray_address=cluster.address)
  assert results_of(study) == results_of(local)
  assert finished
  assert all(path.read_text() == text for path, text in finished.items())


def slow_task(n_updates):
  """Returns a task whose updates take about a millisecond.

  Its functions are local, so a worker receives them by value.
  """

  def init(hypers):
    return jnp.eye(32) * hypers['scale']

  def step(w, hypers, i):
    w = jax.lax.fori_loop(0, 100, lambda _, w: jnp.tanh(w @ w), w) + hypers['scale']
    return w, {'loss': jnp.sum(w * w)}

  return lmhp.FunctionTask(init, step, {'scale': 0.1}, steps=n_updates)


@pytest.mark.ray
@WARNINGS
def test_packs_that_are_stopped_save_their_states_and_continue(cluster, tmp_path):
  task = slow_task(20_000)
  workdir = epath.Path(tmp_path / 'w')
  overrides = {i: {'scale': 0.1 * (i + 1)} for i in range(3)}

  def store(directory):
    return PackStateStore(JobTable(task, overrides.__getitem__), directory)

  local_store = store(epath.Path(tmp_path / 'local'))
  packs = []
  for i in range(3):
    pack = Pack(f'p-{i}', (i,), (None,), 0, 20_000, method='loop', keep_states=True)
    local_store.write_spec(pack)
    packs.append(store(workdir).write_spec(pack))

  reported = []
  progress = types.SimpleNamespace(
    start_pack=lambda pack: None,
    update_pack=lambda pack, step, metrics: reported.append(pack.name),
  )
  context = RunnerContext(
    states=store(workdir),
    progress=progress,
    should_stop=lambda: bool(reported),
  )
  handler = signal.getsignal(signal.SIGTERM)
  with RayRunner(cluster.address) as runner:
    assert signal.getsignal(signal.SIGTERM) is handler
    with pytest.raises(Stopped):
      list(runner.run(context, packs))
    # The task saves once a minute, so these states were saved at the stop.
    saved_steps = unfinished_attempts(workdir)
    assert saved_steps
    assert max(saved_steps.values()) < 20_000
    assert not list(workdir.glob('packs/p-2-*/result.json'))
    context = dataclasses.replace(context, should_stop=lambda: False)
    metrics = {pack.name: result.metrics for pack, result in runner.run(context, packs)}
  expected = {pack.name: local_store.run(pack.name).run().metrics for pack in packs}
  assert metrics == expected


@pytest.mark.ray
@WARNINGS
def test_methods_and_metrics_are_measured_on_workers(cluster, tmp_path, monkeypatch):
  task = slow_task(8)
  with RayRunner(cluster.address) as runner, monkeypatch.context() as patch:
    # A measurement in this process would raise an error.
    patch.setattr(autotuning, 'MethodMeasurement', None)
    autotuner = runner.autotuner(task, epath.Path(tmp_path), 'auto', None)
    method = autotuner.method_of([task.job({})] * 6, False, 1e3)
    # Six trials on two nodes.
    assert method.max_pack_width >= 3
    assert method.member_step_seconds
    with pytest.raises(ConfigError, match='^sweep.objective: got .bogus.'):
      autotuner.measured('bogus', task.job({}))
  stored = json.loads((tmp_path / 'autotune.json').read_text())
  assert list(stored['methods'].values())[0]['method'] == method.method


@pytest.mark.ray
@WARNINGS
def test_resources_that_no_node_has_are_an_error(cluster):
  with pytest.raises(ConfigError, match="^resources: got {'num_gpus': 1}"):
    RayRunner(cluster.address, resources={'num_gpus': 1})
