"""Attempts of Ray's workers at a pack, one after the other and without Ray."""

import os
import pickle
import signal
import sys
import types

from etils import epath
import jax
import jax.numpy as jnp
import pytest
from small_runs import bits

import lmhp
from lmhp.errors import ConfigError
from lmhp.sweeping.execution import ray_attempts, ray_worker
from lmhp.sweeping.execution.pack_states import PackStateStore
from lmhp.sweeping.execution.packs import (
  JobTable,
  Pack,
  Stopped,
  directory_of,
  read_result,
)
from lmhp.sweeping.execution.ray_cluster import pack_resources
from lmhp.sweeping.execution.ray_runner import RayRunner
from lmhp.sweeping.execution.stages import StateRef
from lmhp.training.checkpoint import Checkpoints

OVERRIDES = {0: {'learning_rate': 1e-3}, 1: {'learning_rate': 2e-3}}


def init(hypers):
  return jnp.ones((4,)) * hypers['scale']


def step(w, hypers, i):
  loss, grad = jax.value_and_grad(lambda w: jnp.sum(w**2))(w)
  return w - hypers['learning_rate'] * grad, {'loss': loss}


class Reports:
  """Receives the reports of a worker. Calls `at_first` at the first one.

  Attributes:
    steps: Steps of the reports.
    report: `report.remote(name, step, metrics)`.
  """

  def __init__(self, at_first=None):
    self._at_first = at_first
    self.steps = []
    self.report = types.SimpleNamespace(remote=self._note)

  def _note(self, name, step, metrics):
    del name, metrics
    self.steps.append(step)
    if self._at_first is not None and len(self.steps) == 1:
      self._at_first()


def store(task, workdir):
  return PackStateStore(JobTable(task, OVERRIDES.__getitem__), epath.Path(workdir))


class StoredPack:
  """A pack that is described in the directory of a study.

  Attributes:
    workdir: Directory of the study.
    task: Its task.
    pack: The pack.
    directory: Directory of the pack.
    recipe: The pickled recipe of a worker.
  """

  def __init__(self, workdir):
    base = {'learning_rate': 0.1, 'scale': 1.0}
    self.workdir = epath.Path(workdir)
    self.task = lmhp.FunctionTask(init, step, base, steps=900)
    pack = Pack(
      'p-0', (0, 1), (None, None), 0, 900, method='loop', width=2, keep_states=True
    )
    self.pack = store(self.task, workdir).write_spec(pack)
    self.directory = directory_of(self.workdir, self.pack.name)
    self.recipe = pickle.dumps(ray_worker.worker_recipe(self.task))

  def attempts(self):
    return list((self.workdir / 'attempts').iterdir())

  def run(self, reports=None, workdir=None):
    """Runs the pack as a worker does. Returns its result and the name of the attempt."""
    return ray_worker.run_pack(
      self.recipe,
      str(workdir or self.workdir),
      self.pack,
      OVERRIDES,
      reports or Reports(),
    )


@pytest.fixture
def stored(tmp_path):
  return StoredPack(tmp_path)


def test_the_result_of_an_attempt_is_not_in_the_study_before_it_is_published(stored):
  result, _ = stored.run()
  assert result.states is None
  assert read_result(stored.directory) is None


def test_a_published_attempt_equals_a_pack_of_a_local_sweep(stored, tmp_path):
  result, attempt = stored.run()
  ray_attempts.publish(stored.workdir, stored.pack, attempt)
  local_states = store(stored.task, tmp_path / 'local')
  local = local_states.run(local_states.write_spec(stored.pack).name).run()

  assert read_result(stored.directory).metrics == result.metrics == local.metrics
  assert (stored.workdir / 'curves' / f'{stored.pack.name}.parquet').exists()
  # A later pack starts from these states, on any node.
  states = store(stored.task, stored.workdir)
  for i in range(2):
    assert bits(states.load(StateRef(stored.pack.name, i))) == bits(local.states[i])


def test_a_worker_that_has_lost_its_directory_stops_before_its_next_chunk(stored):
  name = stored.pack.name
  reports = Reports(lambda: ray_attempts.claim(stored.workdir, name))
  with pytest.raises(ray_worker.Superseded):
    stored.run(reports)
  assert len(reports.steps) == 1
  assert not list(stored.workdir.glob(f'attempts/*/packs/{name}/result.json'))


def test_an_attempt_continues_from_the_newest_checkpoint(stored):
  expected, first = stored.run()
  (stored.workdir / 'attempts' / first).rmtree()
  # Ray cancels a function by this signal, and the worker saves its states.
  reports = Reports(lambda: os.kill(os.getpid(), signal.SIGINT))
  with pytest.raises(Stopped):
    stored.run(reports)
  (earlier,) = stored.attempts()
  checkpoints = Checkpoints(directory_of(earlier, stored.pack.name) / 'checkpoints')
  saved_step = checkpoints.latest()
  assert saved_step == reports.steps[-1] < 900

  # An attempt that has saved nothing is not continued.
  (stored.workdir / f'attempts/{stored.pack.name}.empty').mkdir()
  reports = Reports()
  result, last = stored.run(reports)
  assert result.metrics == expected.metrics
  assert reports.steps[0] > saved_step
  assert [path.name for path in stored.attempts()] == [last]


def test_a_finished_attempt_is_not_trained_again(stored):
  first, _ = stored.run()
  reports = Reports()
  second, _ = stored.run(reports)
  assert second.metrics == first.metrics
  assert second.seconds == first.seconds
  assert not reports.steps


def test_publishing_continues_after_a_driver_was_killed(stored):
  result, attempt = stored.run()
  source = stored.workdir / 'attempts' / attempt
  curves = f'curves/{stored.pack.name}.parquet'
  (stored.workdir / 'curves').mkdir()
  (source / curves).replace(stored.workdir / curves)
  source_directory = directory_of(source, stored.pack.name)
  (source_directory / 'checkpoints').rename(stored.directory / 'checkpoints')

  _, attempt = stored.run()
  ray_attempts.publish(stored.workdir, stored.pack, attempt)
  assert read_result(stored.directory).metrics == result.metrics
  assert Checkpoints(stored.directory / 'checkpoints').latest() == 900


def test_a_node_that_does_not_see_the_study_is_an_error(stored, tmp_path):
  with pytest.raises(ConfigError, match='^workdir: got .*elsewhere'):
    stored.run(workdir=tmp_path / 'elsewhere')


@pytest.mark.parametrize(
  'nodes, expected',
  [
    ([{'CPU': 96.0, 'TPU': 4.0}], {'num_cpus': 1, 'resources': {'TPU': 1}}),
    ([{'CPU': 96.0}, {'CPU': 8.0, 'GPU': 2.0}], {'num_cpus': 1, 'num_gpus': 1}),
    ([{'CPU': 0.0}, {'CPU': 16.0}, {'CPU': 4.0}], {'num_cpus': 4}),
  ],
)
def test_a_pack_takes_an_accelerator_or_the_processors_of_the_smallest_node(
  nodes, expected
):
  assert pack_resources(nodes) == expected


def test_ray_is_an_optional_package(monkeypatch):
  monkeypatch.setitem(sys.modules, 'ray', None)
  with pytest.raises(ConfigError, match=r'^--engine: ray .*lmhp\[ray\]'):
    RayRunner()
