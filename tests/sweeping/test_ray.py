"""Packs on a Ray cluster: the trials of a local sweep, bit for bit, whoever dies meanwhile."""

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
from lmhp.sweeping.budget import checked_language_model
from lmhp.sweeping.execution import autotuning as choices
from lmhp.sweeping.execution import ray_worker
from lmhp.sweeping.execution.job_table import JobTable
from lmhp.sweeping.execution.pack_states import PackStateStore
from lmhp.sweeping.execution.packs import Pack, Stopped
from lmhp.sweeping.execution.ray_runner import RayRunner
from lmhp.sweeping.execution.runner import RunnerContext
from lmhp.training.checkpoint import Checkpoints

STEPS = 3000
# Ray's own: forks beside jax's threads, sockets and files that its shutdown leaves to the collector
WARNINGS = pytest.mark.filterwarnings(
  'ignore:os.fork', 'ignore::ResourceWarning', 'ignore::DeprecationWarning'
)


@pytest.fixture(scope='module')
def cluster():
  """Two nodes of one processor each; the driver is not on the second."""
  ray = pytest.importorskip(
    'ray', reason='needs the extra ray (pip install "lmhp[ray]")'
  )
  from ray.cluster_utils import Cluster

  kept = os.environ.get('PYTHONPATH')
  os.environ['PYTHONPATH'] = os.pathsep.join(
    [str(pathlib.Path(lmhp.__file__).parents[1]), *([kept] if kept else [])]
  )
  cluster = Cluster(
    initialize_head=True, head_node_args={'num_cpus': 1, 'include_dashboard': False}
  )
  cluster.second = cluster.add_node(num_cpus=1)
  cluster.wait_for_nodes()
  yield cluster
  ray.shutdown()
  cluster.shutdown()
  os.environ.pop('PYTHONPATH') if kept is None else os.environ.update(PYTHONPATH=kept)


@pytest.fixture(scope='module')
def config(text, tmp_path_factory):
  """`config()`: a language model of which an update takes a millisecond."""
  cache = tmp_path_factory.mktemp('cache')

  def make():
    config = lmhp.default_config()
    config.data.path, config.data.tokenizer, config.data.cache_dir = (
      (str(text),),
      'char',
      str(cache),
    )
    (
      config.model.d_model,
      config.model.n_heads,
      config.model.n_layers,
      config.model.max_seq_len,
    ) = 12, 2, 2, 8
    config.model.dtype = 'float32'
    config.train.steps, config.train.batch_size, config.evaluate.sequences = STEPS, 3, 5
    config.checkpoint.every_seconds, config.log.every_steps = 0.1, 100
    return config

  return make


def sweep():
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


def condition(found):
  """What must not depend on the engine."""
  return [
    (
      t.number,
      t.status,
      t.overrides,
      t.values,
      dict(t.scores),
      t.packs,
      t.cost.tokens,
    )
    for t in found.trials
  ]


@pytest.fixture(scope='module')
def compiled(tmp_path_factory):
  """Programs are kept on the disk, so that workers need not compile what another has; they are told where."""
  kept = {
    name: getattr(jax.config, name)
    for name in ray_worker.JAX_OPTIONS
    if 'cache' in name
  }
  for name, value in zip(kept, (str(tmp_path_factory.mktemp('compiled')), 0.0, 0)):
    jax.config.update(name, value)
  reset_cache()
  yield
  for name, value in kept.items():
    jax.config.update(name, value)
  reset_cache()


@pytest.fixture(scope='module')
def local(config, compiled, tmp_path_factory):
  """The sweep in this process."""
  return lmhp.sweep(
    config(),
    sweep(),
    workdir=tmp_path_factory.mktemp('local') / 'w',
    display='none',
    report=False,
  )


def attempts(workdir):
  """The attempts at packs that are not done, of those that have saved a state: {directory's name: step}."""
  found, workdir = {}, epath.Path(workdir)
  for path in workdir.glob('attempts/*/packs/*/checkpoints'):
    done = (
      path.parent / 'result.json',
      workdir / 'packs' / path.parent.name / 'result.json',
    )
    with contextlib.suppress(OSError):  # it may be renamed meanwhile
      found[path.parents[2].name] = (
        0 if any(p.exists() for p in done) else Checkpoints(path).latest()
      )
  return {name: step for name, step in found.items() if step}


def pack_of(attempt):
  return attempt.rpartition('.')[0]


def eventually(condition, seconds=120):
  """What a condition gives once it is true."""
  end = time.monotonic() + seconds
  while time.monotonic() < end:
    if found := condition():
      return found
    time.sleep(0.02)
  raise TimeoutError


def processes(node):
  """Of a node: its raylet, and after it the workers."""
  raylet = node.all_processes['raylet'][0].process.pid
  return [
    raylet,
    *map(
      int, pathlib.Path(f'/proc/{raylet}/task/{raylet}/children').read_text().split()
    ),
  ]


def tell(pids, number):
  """Sends a signal to those that are there."""
  for pid in pids:
    with contextlib.suppress(ProcessLookupError):
      os.kill(pid, number)


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


def test_a_node_with_another_text_says_so(config):
  recipe = checked_language_model(config(), sweep()).recipe()
  with pytest.raises(ConfigError, match='^data.path: '):
    dataclasses.replace(recipe, data_sha256='another').make_task()
  values = {**recipe.base_values, 'train.batch_size': 7}
  with pytest.raises(ConfigError, match='^train.batch_size: got 3 on .*expected 7'):
    dataclasses.replace(recipe, base_values=values).make_task()


@pytest.mark.ray
@pytest.mark.slow
@WARNINGS
def test_a_node_that_dies_costs_work_and_nothing_else(
  cluster, config, local, tmp_path, aside
):
  before, after = {}, {}

  def halted():
    """The attempts, the second node halted, where it is in the midst of a pack; else it goes on."""
    if len(attempts(tmp_path / 'w')) < 2:  # with two, one of them is the second node's
      return None
    pids = processes(cluster.second)
    tell(pids, signal.SIGSTOP)
    if len(found := attempts(tmp_path / 'w')) == 2:
      return found
    tell(pids, signal.SIGCONT)
    return None

  def kill():
    before.update(eventually(halted))
    _, *workers = processes(cluster.second)
    cluster.remove_node(cluster.second, allow_graceful=False)
    tell(workers, signal.SIGKILL)  # they would live on for a while, and end the pack
    packs = [pack_of(name) for name in before]
    again = lambda: {
      n: at
      for n, at in attempts(tmp_path / 'w').items()
      if n not in before and pack_of(n) in packs
    }
    after.update(eventually(again))

  aside(kill)
  found = lmhp.sweep(
    config(),
    sweep(),
    workdir=tmp_path / 'w',
    engine='ray',
    ray_address=cluster.address,
    display='none',
    report=False,
  )
  cluster.second = cluster.add_node(num_cpus=1)
  assert condition(found) == condition(local)
  ((name, at),) = after.items()
  (step,) = (step for other, step in before.items() if pack_of(other) == pack_of(name))
  assert at >= step  # it went on from there
  assert not list((tmp_path / 'w').glob('attempts/*'))


DRIVER = """
import pickle, sys, lmhp
config, sweep, workdir, address = pickle.load(open(sys.argv[1], 'rb'))
lmhp.sweep(config, sweep, workdir=workdir, engine='ray', ray_address=address, display='none', report=False)
"""


@pytest.mark.ray
@pytest.mark.slow
@WARNINGS
def test_a_driver_that_is_killed_finds_what_workers_did(
  cluster, config, local, tmp_path
):
  workdir, order = tmp_path / 'w', tmp_path / 'order'
  order.write_bytes(
    pickle.dumps((config().to_dict(), sweep(), str(workdir), cluster.address))
  )
  driver = subprocess.Popen(
    [sys.executable, '-c', DRIVER, str(order)],
    env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
  )
  eventually(lambda: attempts(workdir) and list(workdir.glob('packs/*/result.json')))
  driver.send_signal(signal.SIGKILL)
  driver.wait()
  kept = {path: path.read_text() for path in workdir.glob('packs/*/result.json')}
  found = lmhp.sweep(
    config(),
    sweep(),
    workdir=workdir,
    engine='ray',
    ray_address=cluster.address,
    display='none',
    report=False,
  )
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
def test_packs_that_are_told_to_stop_save_and_go_on_later(cluster, tmp_path):
  task, workdir, shown = slow_task(6000), epath.Path(tmp_path / 'w'), []
  values = {i: {'scale': 0.1 * (i + 1)} for i in range(3)}

  def store(directory):
    return PackStateStore(JobTable(task, values.__getitem__), directory)

  plain = [
    Pack(f'p-{i}', (i,), (None,), 0, 6000, method='loop', keep_states=True)
    for i in range(3)
  ]
  for where in (tmp_path / 'local', workdir):
    packs = [store(epath.Path(where)).write_spec(pack) for pack in plain]
  show = types.SimpleNamespace(
    pack=lambda pack: None, step=lambda pack, step, metrics: shown.append(pack.name)
  )
  context = RunnerContext(
    task=task,
    workdir=workdir,
    states=store(workdir),
    progress=show,
    should_stop=lambda: bool(shown),
  )
  handler = signal.getsignal(signal.SIGTERM)
  with RayRunner(cluster.address) as runner:
    assert signal.getsignal(signal.SIGTERM) is handler
    with pytest.raises(Stopped):
      list(runner.run(context, packs))
    saved = attempts(workdir)  # their task saves once a minute: they were told
    assert (
      saved
      and max(saved.values()) < 6000
      and not list(workdir.glob('packs/p-2-*/result.json'))
    )
    context = dataclasses.replace(context, should_stop=lambda: False)
    found = {pack.name: result for pack, result in runner.run(context, packs)}
  local = store(epath.Path(tmp_path / 'local'))
  assert {n: r.metrics for n, r in found.items()} == {
    p.name: local.run(p.name).run().metrics for p in packs
  }


@pytest.mark.ray
@WARNINGS
def test_choices_are_measured_on_workers(cluster, tmp_path, monkeypatch):
  task = slow_task(8)
  with (
    RayRunner(cluster.address) as runner,
    monkeypatch.context() as patch,
  ):
    patch.setattr(choices, 'MethodTrial', None)  # nothing is measured here
    found = runner.autotuner(task, epath.Path(tmp_path), 'auto', None)
    choice = found.method_of([task.job({})] * 6, False, 1e3)
    assert (
      choice.max_pack_width >= 3 and choice.member_step_seconds
    )  # six trials on two nodes
    with pytest.raises(ConfigError, match='^sweep.objective: got .bogus.'):
      found.measured('bogus', task.job({}))
  stored = json.loads((tmp_path / 'autotune.json').read_text())
  assert list(stored['methods'].values())[0]['method'] == choice.method


@pytest.mark.ray
@WARNINGS
def test_a_cluster_that_does_not_have_what_a_pack_takes(cluster):
  with pytest.raises(ConfigError, match="^resources: got {'num_gpus': 1}"):
    RayRunner(cluster.address, resources={'num_gpus': 1})
