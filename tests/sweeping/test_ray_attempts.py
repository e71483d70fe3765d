"""Attempts at a pack, as Ray's workers make them: one at a time, each going on from the one before. Without Ray."""

import os
import pickle
import signal
import sys
import types

from etils import epath
import jax
import jax.numpy as jnp
import pytest

import lmhp
from lmhp.errors import ConfigError
from lmhp.sweeping.execution import ray_attempts, ray_worker
from lmhp.sweeping.execution.job_table import JobTable
from lmhp.sweeping.execution.pack_states import PackStateStore
from lmhp.sweeping.execution.packs import Pack, Stopped, read_result
from lmhp.sweeping.execution.ray_cluster import pack_resources
from lmhp.sweeping.execution.ray_runner import RayRunner
from lmhp.sweeping.execution.stages import StateRef
from lmhp.training.checkpoint import Checkpoints


def init(hypers):
  return jnp.ones((4,)) * hypers['scale']


def step(w, hypers, i):
  loss, grad = jax.value_and_grad(lambda w: jnp.sum(w**2))(w)
  return w - hypers['learning_rate'] * grad, {'loss': loss}


class Board:
  """Where a worker reports; calls `then` once, at the first report."""

  def __init__(self, then=lambda: None):
    self._then, self.steps, self.report = (
      [then],
      [],
      types.SimpleNamespace(remote=self._note),
    )

  def _note(self, name, step, metrics):
    self.steps.append(step)
    if self._then:
      self._then.pop()()


OVERRIDES = {0: {'learning_rate': 1e-3}, 1: {'learning_rate': 2e-3}}


def store(task, workdir):
  return PackStateStore(JobTable(task, OVERRIDES.__getitem__), workdir)


@pytest.fixture
def packed(tmp_path):
  """A study's directory with one pack that is written down, and what a worker is sent of its task."""
  task = lmhp.FunctionTask(init, step, {'learning_rate': 0.1, 'scale': 1.0}, steps=900)
  pack = Pack(
    'p-0', (0, 1), (None, None), 0, 900, method='loop', width=2, keep_states=True
  )
  workdir = epath.Path(tmp_path)
  pack = store(task, workdir).write_spec(pack)
  return workdir, pack, pickle.dumps(ray_worker.WorkerSetup.of(task)), task


def work(packed, board):
  workdir, pack, described, _ = packed
  return ray_worker.run_pack(described, str(workdir), pack, OVERRIDES, board)


def test_an_attempt_that_is_published_is_what_a_local_sweep_leaves(packed, tmp_path):
  workdir, pack, _, task = packed
  result, attempt = work(packed, Board())
  assert (
    result.states is None
    and not (workdir / 'packs' / pack.name / 'result.json').exists()
  )
  ray_attempts.publish(workdir, pack, attempt)
  local = epath.Path(tmp_path / 'local')
  same = store(task, local).write_spec(pack)
  there = store(task, local).run(same.name).run()
  assert (
    read_result(workdir / 'packs' / pack.name).metrics
    == result.metrics
    == there.metrics
  )
  assert (workdir / 'curves' / f'{pack.name}.parquet').exists()
  saved = store(task, workdir)
  for i in range(2):  # a later pack, anywhere, starts from these
    same = lambda a, b: a.tobytes() == b.tobytes()
    assert jax.tree.all(
      jax.tree.map(same, saved.load(StateRef(pack.name, i)), there.states[i])
    )


def test_who_lost_its_pack_ends_before_its_next_chunk(packed):
  workdir = packed[0]
  board = Board(lambda: ray_attempts.claim(workdir, packed[1].name))
  with pytest.raises(ray_worker.Superseded):
    work(packed, board)
  assert len(board.steps) == 1 and not list(
    workdir.glob(f'attempts/*/packs/{packed[1].name}/result.json')
  )


def test_an_attempt_goes_on_from_the_newest_checkpoint(packed):
  workdir = packed[0]
  whole, first = work(packed, Board())
  (workdir / 'attempts' / first).rmtree()
  with pytest.raises(Stopped):  # cancelled as Ray does it: it saves
    work(packed, board := Board(lambda: os.kill(os.getpid(), signal.SIGINT)))
  (old,) = (workdir / 'attempts').iterdir()
  saved = Checkpoints(old / 'packs' / packed[1].name / 'checkpoints').latest()
  assert saved == board.steps[-1] < 900
  (workdir / f'attempts/{packed[1].name}.empty').mkdir()
  again, last = work(packed, board := Board())
  assert again.metrics == whole.metrics and board.steps[0] > saved
  assert [p.name for p in (workdir / 'attempts').iterdir()] == [last]


def test_a_finished_attempt_is_not_trained_again(packed):
  done, _ = work(packed, Board())
  again, _ = work(packed, board := Board())
  assert (
    again.metrics == done.metrics and again.seconds == done.seconds and not board.steps
  )


def test_publishing_goes_on_where_a_driver_was_killed(packed):
  workdir, pack = packed[:2]
  result, attempt = work(packed, Board())
  (workdir / 'curves').mkdir()
  source = workdir / 'attempts' / attempt
  (source / 'curves' / f'{pack.name}.parquet').replace(
    workdir / 'curves' / f'{pack.name}.parquet'
  )
  (source / 'packs' / pack.name / 'checkpoints').rename(
    workdir / 'packs' / pack.name / 'checkpoints'
  )
  ray_attempts.publish(workdir, pack, work(packed, Board())[1])
  assert read_result(workdir / 'packs' / pack.name).metrics == result.metrics
  assert Checkpoints(workdir / 'packs' / pack.name / 'checkpoints').latest() == 900


def test_a_node_that_sees_another_workdir_says_so(packed, tmp_path):
  _, pack, described, _ = packed
  with pytest.raises(
    ConfigError, match='workdir: got .*elsewhere.*all nodes of the cluster share'
  ):
    ray_worker.run_pack(
      described, str(tmp_path / 'elsewhere'), pack, OVERRIDES, Board()
    )


def test_what_a_pack_takes():
  assert pack_resources([{'CPU': 96.0, 'TPU': 4.0}]) == {
    'num_cpus': 1,
    'resources': {'TPU': 1},
  }
  assert pack_resources([{'CPU': 96.0}, {'CPU': 8.0, 'GPU': 2.0}]) == {
    'num_cpus': 1,
    'num_gpus': 1,
  }
  assert pack_resources([{'CPU': 0.0}, {'CPU': 16.0}, {'CPU': 4.0}]) == {'num_cpus': 4}


def test_ray_is_an_extra(monkeypatch):
  monkeypatch.setitem(sys.modules, 'ray', None)
  with pytest.raises(
    ConfigError,
    match=r'--engine: ray needs the extra ray \(pip install "lmhp\[ray\]"\)',
  ):
    RayRunner()
