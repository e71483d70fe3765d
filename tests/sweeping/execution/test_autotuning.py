"""The method of packs: it is chosen once, stored, fits the memory, and needs few programs."""

import dataclasses
import math

from etils import epath
from hypothesis import given, strategies as st
import jax
import jax.numpy as jnp
import pytest

from lmhp.sweeping.execution import autotuning, method_measurement, pack_widths
from lmhp.sweeping.execution.autotuning import Autotuner, Measurements
from lmhp.sweeping.execution.pack_widths import WIDTHS, allowed_widths, cut_into_packs
from lmhp.sweeping.store.json_records import read_record
from lmhp.sweeping.tasks.function_task import FunctionTask
from lmhp.training.population import METHODS, Population

STATE_BYTES = 4096
"""Size of a member's state."""


class FewDevices:
  """The module jax on a machine with n devices."""

  def __init__(self, n):
    self.n = n

  def __getattr__(self, name):
    return getattr(jax, name)

  def devices(self):
    return jax.devices()[: self.n]


@pytest.fixture
def task():
  """A quick task. Each member's state has `STATE_BYTES` bytes."""

  def init(hypers):
    return jax.random.normal(jax.random.key(hypers['seed']), (STATE_BYTES // 4,))

  def step(w, hypers, i):
    return w * (1 - hypers['rate']), {'loss': jnp.sum(w**2)}

  return FunctionTask(init, step, {'rate': 0.1, 'seed': 0}, steps=10)


def replace_jax(monkeypatch, replacement):
  for module in (autotuning, method_measurement, pack_widths):
    monkeypatch.setattr(module, 'jax', replacement)


@pytest.fixture
def one_device(monkeypatch):
  replace_jax(monkeypatch, FewDevices(1))


@pytest.fixture
def choose(task, tmp_path):
  """`choose(n, steps, **options)`: the method for n trials of the task."""

  def make(n=8, steps=1.0, data_per_trial=False, **options):
    jobs = [task.job({'seed': i}) for i in range(n)]
    autotuner = Autotuner(task, epath.Path(tmp_path), **options)
    return autotuner.method_of(jobs, data_per_trial, steps)

  return make


@pytest.fixture
def widths_that_ran(monkeypatch):
  """The widths of the populations that were run."""
  widths = set()
  run = Population.run

  def noted_run(self, *arguments, **options):
    widths.add(self.width)
    return run(self, *arguments, **options)

  monkeypatch.setattr(Population, 'run', noted_run)
  return widths


def bytes_of(task, method, width, devices=()):
  """Returns the bytes of the compiled chunk of a population, by its own analysis."""
  jobs = [task.job({'seed': i}) for i in range(width)]
  population = Population(
    task.programs(jobs[0]), [job.hypers for job in jobs], method, devices=devices
  )
  return population.chunk_bytes(())


# --- the method -----------------------------------------------------------------------


def test_a_short_study_measures_one_method(choose, one_device):
  method = choose(steps=0.0)
  assert list(method.member_step_seconds) == ['loop']
  assert method.method == 'loop'


def test_a_long_study_uses_the_fastest_of_all_methods(choose, one_device):
  method = choose(steps=1e15)
  assert set(method.member_step_seconds) == set(METHODS)
  assert method.method == min(METHODS, key=method.member_step_seconds.get)
  assert all(0 < seconds < 1 for seconds in method.member_step_seconds.values())


def test_a_study_is_long_if_it_lasts_60_times_the_first_compilation(
  choose, one_device, monkeypatch
):
  class FixedMeasurement:
    """A step takes a second, and a compilation 5 seconds. So 300 steps are long."""

    def __init__(self, task, jobs, *, data_per_trial, method, max_width):
      del task, jobs, data_per_trial
      self.max_pack_width = max_width
      self.bytes_per_member = 1.0
      self.compile_seconds = 5.0
      self.member_step_seconds = {'loop': 1.0, 'vmap': 0.5, 'map': 2.0}[method]

  monkeypatch.setattr(autotuning, 'MethodMeasurement', FixedMeasurement)
  assert list(choose(steps=299.0).member_step_seconds) == ['loop']
  # With `vmap`, 301 steps last 151 seconds, which is too short for a third method.
  method = choose(steps=301.0, data_per_trial=True)
  assert list(method.member_step_seconds) == ['loop', 'vmap']
  assert method.method == 'vmap'


@pytest.mark.parametrize('method', METHODS)
def test_a_requested_method_is_used(choose, one_device, method):
  chosen = choose(steps=1e15, method=method)
  assert chosen.method == method
  assert list(chosen.member_step_seconds) == [method]
  assert chosen.max_pack_width == 256


def test_several_devices_do_not_use_the_loop(choose):
  assert set(choose(steps=1e15).member_step_seconds) == {'vmap', 'map'}


# --- autotune.json --------------------------------------------------------------------


def test_a_method_is_stored_and_is_not_measured_again(
  choose, one_device, tmp_path, monkeypatch
):
  first = choose(n=8)
  stored = read_record(Measurements, tmp_path / 'autotune.json')
  assert list(stored.methods.values()) == [first]
  # A second measurement would raise an error.
  monkeypatch.setattr(autotuning, 'MethodMeasurement', None)
  assert choose(n=200, steps=1e15, method='map') == first
  assert choose(max_pack_width=2) == dataclasses.replace(first, max_pack_width=2)


def test_data_of_each_trial_is_measured_apart(choose, one_device, monkeypatch):
  choose()
  monkeypatch.setattr(autotuning, 'MethodMeasurement', None)
  with pytest.raises(TypeError):
    choose(data_per_trial=True)


def test_a_measurement_that_fails_stores_nothing(
  choose, one_device, tmp_path, monkeypatch
):
  with monkeypatch.context() as patch:
    patch.setattr(autotuning, 'MethodMeasurement', None)
    with pytest.raises(TypeError):
      choose()
  assert not (tmp_path / 'autotune.json').exists()


def test_a_metric_of_a_structure_is_measured_once(task, tmp_path, monkeypatch):
  measured = []

  def measure(name, job):
    del job
    measured.append(name)
    return 0.25

  monkeypatch.setattr(task, 'measure', measure, raising=False)
  for _ in range(2):
    autotuner = Autotuner(task, epath.Path(tmp_path))
    assert autotuner.measured('latency_seconds', task.job({})) == 0.25
  assert measured == ['latency_seconds']


# --- the width ------------------------------------------------------------------------


@pytest.mark.parametrize(
  'n, requested, measured, largest',
  [
    (1, None, 1, 256),
    (9, None, 16, 256),
    (300, None, 256, 256),
    (9, 5, 4, 4),
    (3, 100, 4, 64),
    (64, 1, 1, 1),
  ],
)
def test_a_pack_is_no_wider_than_requested_and_measured_as_wide_as_its_trials(
  choose, one_device, widths_that_ran, n, requested, measured, largest
):
  method = choose(n=n, method='vmap', max_pack_width=requested)
  assert method.max_pack_width == largest
  assert widths_that_ran == {measured}


def test_the_loop_may_have_any_width(choose, one_device):
  assert choose(n=11, method='loop').max_pack_width == 256
  narrower = choose(n=11, method='loop', data_per_trial=True, max_pack_width=7)
  assert narrower.max_pack_width == 7


@pytest.mark.parametrize('method', ['vmap', 'map'])
@pytest.mark.parametrize('width', [1, 8, 32])
def test_the_width_is_the_largest_whose_program_fits_the_memory(
  choose, task, one_device, widths_that_ran, monkeypatch, method, width
):
  fitting = bytes_of(task, method, width)
  assert fitting >= width * STATE_BYTES
  assert bytes_of(task, method, 2 * width) > fitting

  def limit_bytes(n_devices):
    del n_devices
    return fitting + STATE_BYTES // 2

  monkeypatch.setattr(method_measurement, 'memory_limit_bytes', limit_bytes)
  chosen = choose(n=64, method=method)
  assert chosen.max_pack_width == width
  assert chosen.bytes_per_member == fitting / width
  # A program that does not fit is never run.
  assert widths_that_ran == {width}


def test_a_loop_has_as_many_members_as_fit_the_memory(
  choose, task, one_device, monkeypatch
):
  one = bytes_of(task, 'loop', 1)
  monkeypatch.setattr(
    method_measurement, 'memory_limit_bytes', lambda n_devices: 3.5 * one
  )
  assert choose(n=64, method='loop').max_pack_width == 3


def test_a_pack_has_one_member_if_the_memory_is_full(choose, one_device, monkeypatch):
  monkeypatch.setattr(method_measurement, 'memory_limit_bytes', lambda n_devices: 0.0)
  assert choose(n=64, method='vmap').max_pack_width == 1
  assert choose(n=64, method='loop', data_per_trial=True).max_pack_width == 1


@pytest.mark.parametrize('method', ['vmap', 'map'])
def test_the_memory_of_a_pack_is_that_of_all_devices(task, method):
  assert bytes_of(task, method, 8, jax.devices()[:4]) >= 8 * STATE_BYTES


def test_the_memory_limit_is_a_fraction_of_the_free_memory_of_the_devices(monkeypatch):
  class Device:
    platform = 'gpu'

    def memory_stats(self):
      return {'bytes_limit': 1000, 'bytes_in_use': 200}

  four_devices = FewDevices(1)
  four_devices.devices = lambda: [Device()] * 4
  replace_jax(monkeypatch, four_devices)
  assert pack_widths.memory_limit_bytes(1, fraction=0.5) == 400
  assert pack_widths.memory_limit_bytes(4, fraction=0.5) == 1600


@pytest.mark.parametrize(
  'n_devices, n, requested, expected',
  [
    (3, 5, None, 192),
    (3, 5, 2, 3),
    (3, 1, 17, 12),
    (4, 5, None, 256),
    (4, 5, 2, 4),
    (4, 1, 17, 16),
  ],
)
def test_all_devices_share_a_pack_equally(
  choose, monkeypatch, n_devices, n, requested, expected
):
  replace_jax(monkeypatch, FewDevices(n_devices))
  method = choose(n=n, method='vmap', max_pack_width=requested)
  assert method.max_pack_width == expected
  packs = cut_into_packs(23, 'vmap', method.max_pack_width, n_devices)
  assert all(width % n_devices == 0 for _, width in packs)


@given(st.integers(1, 2000), st.integers(0, 8), st.integers(1, 9))
def test_trials_are_cut_into_packs_of_few_widths(n, index, n_devices):
  widest = allowed_widths(n_devices)[: index + 1][-1]
  packs = cut_into_packs(n, 'vmap', widest, n_devices)
  assert sum(n_trials for n_trials, _ in packs) == n
  assert all(0 < n_trials <= width for n_trials, width in packs)
  assert all(pack == (widest, widest) for pack in packs[:-1])
  n_last, width = packs[-1]
  assert width <= widest
  assert width % n_devices == 0
  assert width // n_devices in WIDTHS
  # Less than half of a pack is padding.
  assert width == n_devices or width < 2 * n_last


@given(st.integers(1, 2000), st.integers(1, 300))
def test_a_loop_is_cut_without_padding(n, widest):
  packs = cut_into_packs(n, 'loop', widest)
  assert all(n_trials == width <= widest for n_trials, width in packs)
  assert sum(n_trials for n_trials, _ in packs) == n
  assert len(packs) == math.ceil(n / widest)


def test_allowed_widths_of_one_and_of_many_devices():
  assert allowed_widths() == WIDTHS
  assert allowed_widths(300) == (300,)
