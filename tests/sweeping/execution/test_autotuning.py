"""How packs run: chosen once, written down, within the memory, and cut so that few programs serve all."""

import dataclasses
import json
import math

from etils import epath
from hypothesis import given
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import pytest

from lmhp.sweeping.execution import autotuning as choices
from lmhp.sweeping.execution import method_trial, pack_widths
from lmhp.sweeping.execution.autotuning import Autotuner, Measurements
from lmhp.sweeping.execution.pack_widths import WIDTHS, allowed_widths, cut_into_packs
from lmhp.sweeping.store.json_records import from_json
from lmhp.sweeping.tasks.function_task import FunctionTask
from lmhp.training.population import METHODS, Population

SIZE = 4096  # of a member's state, bytes


class SomeDevices:
  """jax on a machine with n devices."""

  def __init__(self, n):
    self.n = n

  def __getattr__(self, name):
    return getattr(jax, name)

  def devices(self):
    return jax.devices()[: self.n]


@pytest.fixture
def task():
  """A quick one: each member's state is of `SIZE` bytes."""

  def init(hypers):
    return jax.random.normal(jax.random.key(hypers['seed']), (SIZE // 4,))

  def step(w, hypers, i):
    return w * (1 - hypers['rate']), {'loss': jnp.sum(w**2)}

  return FunctionTask(init, step, {'rate': 0.1, 'seed': 0}, steps=10)


def fake_devices(monkeypatch, fake):
  for module in (choices, method_trial, pack_widths):
    monkeypatch.setattr(module, 'jax', fake)


@pytest.fixture
def one_device(monkeypatch):
  fake_devices(monkeypatch, SomeDevices(1))


@pytest.fixture
def choose(task, tmp_path):
  """`choose(n, steps, **options)`: the choice for n trials of the task."""

  def make(n=8, steps=1.0, own=False, **options):
    jobs = [task.job({'seed': i}) for i in range(n)]
    return Autotuner(task, epath.Path(tmp_path), **options).method_of(jobs, own, steps)

  return make


@pytest.fixture
def ran(monkeypatch):
  """The widths that were run."""
  seen, run = set(), Population.run
  monkeypatch.setattr(
    Population, 'run', lambda self, *a, **k: seen.add(self.width) or run(self, *a, **k)
  )
  return seen


def bytes_of(task, method, width, devices=()):
  """What the compiled chunk of so many members takes by its own analysis, temporaries and results."""
  jobs = [task.job({'seed': i}) for i in range(width)]
  population = Population(
    task.member(jobs[0]), [job.hypers for job in jobs], method, devices=devices
  )
  return population.chunk_bytes(())


# --- the method -------------------------------------------------------------------------------------------------------


def test_a_short_study_measures_one_method(choose, one_device):
  choice = choose(steps=0.0)
  assert (
    list(choice.member_step_seconds) == ['loop'] == [choice.method]
    and 'short' in choice.reason
  )


def test_a_long_study_takes_the_quickest_of_all(choose, one_device):
  choice = choose(steps=1e15)
  assert set(choice.member_step_seconds) == set(METHODS)
  assert (
    choice.method == min(METHODS, key=choice.member_step_seconds.get)
    and 'fastest' in choice.reason
  )
  assert all(0 < s < 1 for s in choice.member_step_seconds.values())


def test_a_study_is_short_by_what_another_compile_costs(
  choose, one_device, monkeypatch
):
  """By a clock of its own: a step takes a second, the first compile 5 seconds; 60 times that is 300 steps."""

  class Tried:
    def __init__(self, task, jobs, *, data_per_trial, method, max_width):
      self.max_pack_width = max_width
      self.bytes_per_member = 1.0
      self.compile_seconds = 5.0
      self.member_step_seconds = {'loop': 1.0, 'vmap': 0.5, 'map': 2.0}[method]

  monkeypatch.setattr(choices, 'MethodTrial', Tried)
  assert list(choose(steps=299.0).member_step_seconds) == ['loop']
  choice = choose(
    steps=301.0, own=True
  )  # vmap's half a second leaves 151 seconds: too few for a third
  assert (
    list(choice.member_step_seconds) == ['loop', 'vmap'] and choice.method == 'vmap'
  )


@pytest.mark.parametrize('method', METHODS)
def test_a_method_that_is_asked_for_is_taken(choose, one_device, method):
  choice = choose(steps=1e15, method=method)
  assert (choice.method, list(choice.member_step_seconds), choice.max_pack_width) == (
    method,
    [method],
    256,
  )


def test_several_devices_take_no_loop(choose):
  assert set(choose(steps=1e15).member_step_seconds) == {'vmap', 'map'}


# --- written down -----------------------------------------------------------------------------------------------------


def test_a_choice_is_on_the_disk_before_it_is_used_and_kept(
  choose, one_device, tmp_path, monkeypatch
):
  first = choose(n=8)
  content = json.loads((tmp_path / 'autotune.json').read_text())
  stored = from_json(Measurements, content, 'autotune.json')
  assert list(stored.methods.values()) == [first]
  monkeypatch.setattr(choices, 'MethodTrial', None)  # measuring again would fail
  assert choose(n=200, steps=1e15, method='map') == first
  assert choose(max_pack_width=2) == dataclasses.replace(
    first, max_pack_width=2
  )  # less may be asked for later
  with pytest.raises(TypeError):
    choose(own=True)  # another program


def test_nothing_is_chosen_where_measuring_died(
  choose, one_device, tmp_path, monkeypatch
):
  with monkeypatch.context() as patch:
    patch.setattr(choices, 'MethodTrial', None)
    with pytest.raises(TypeError):
      choose()
  assert not (tmp_path / 'autotune.json').exists()


def test_a_metric_of_a_structure_is_measured_once(task, tmp_path, monkeypatch):
  measured = []
  monkeypatch.setattr(
    task, 'measure', lambda name, job: measured.append(name) or 0.25, raising=False
  )
  for _ in range(2):
    assert (
      Autotuner(task, epath.Path(tmp_path)).measured('latency_seconds', task.job({}))
      == 0.25
    )
  assert measured == ['latency_seconds']


# --- the width --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
  'n, asked, measured, most',
  [
    (1, None, 1, 256),
    (9, None, 16, 256),
    (300, None, 256, 256),
    (9, 5, 4, 4),
    (3, 100, 4, 64),
    (64, 1, 1, 1),
  ],
)
def test_packs_are_no_wider_than_asked_and_measured_as_wide_as_the_trials(
  choose, one_device, ran, n, asked, measured, most
):
  """Widths are of the list, whatever is asked for; a study that grows may come to fill what fits."""
  assert choose(
    n=n, method='vmap', max_pack_width=asked
  ).max_pack_width == most and ran == {measured}


def test_the_loop_has_no_list_of_widths(choose, one_device):
  assert (
    choose(n=11, method='loop').max_pack_width == 256
    and choose(n=11, method='loop', own=True, max_pack_width=7).max_pack_width == 7
  )


@pytest.mark.parametrize('method', ['vmap', 'map'])
@pytest.mark.parametrize('fits', [1, 8, 32])
def test_the_largest_width_whose_program_fits_the_memory(
  choose, task, one_device, ran, monkeypatch, method, fits
):
  needed = {w: bytes_of(task, method, w) for w in (fits, 2 * fits)}
  assert needed[fits] >= fits * SIZE and needed[2 * fits] > needed[fits]
  monkeypatch.setattr(
    method_trial, 'memory_limit_bytes', lambda n_devices: needed[fits] + SIZE // 2
  )
  choice = choose(n=64, method=method)
  assert choice.max_pack_width == fits and ran == {
    fits
  }  # a program that does not fit is never run
  assert choice.bytes_per_member == needed[fits] / fits


def test_a_loop_has_as_many_members_as_fit(choose, task, one_device, monkeypatch):
  one = bytes_of(task, 'loop', 1)
  monkeypatch.setattr(method_trial, 'memory_limit_bytes', lambda n_devices: 3.5 * one)
  assert choose(n=64, method='loop').max_pack_width == 3


def test_without_memory_there_is_still_one(choose, one_device, monkeypatch):
  monkeypatch.setattr(method_trial, 'memory_limit_bytes', lambda n_devices: 0.0)
  assert (
    choose(n=64, method='vmap').max_pack_width == 1
    and choose(n=64, method='loop', own=True).max_pack_width == 1
  )


def test_memory_is_counted_on_all_devices(task):
  """A member's state takes its bytes wherever it lies."""
  for method in ('vmap', 'map'):
    assert bytes_of(task, method, 8, jax.devices()[:4]) >= 8 * SIZE


def test_a_share_of_what_the_devices_have_free(monkeypatch):
  class Device:
    platform = 'gpu'
    memory_stats = staticmethod(lambda: {'bytes_limit': 1000, 'bytes_in_use': 200})

  fake = SomeDevices(1)
  fake.devices = lambda: [Device()] * 4
  fake_devices(monkeypatch, fake)
  assert (
    pack_widths.memory_limit_bytes(1, fraction=0.5) == 400
    and pack_widths.memory_limit_bytes(4, fraction=0.5) == 1600
  )


@pytest.mark.parametrize('n_devices', [3, 4])
def test_widths_that_all_devices_can_share(choose, monkeypatch, n_devices):
  fake_devices(monkeypatch, SomeDevices(n_devices))
  for n, asked in ((5, None), (5, 2), (1, 17)):
    choice = choose(n=n, method='vmap', max_pack_width=asked)
    assert (
      choice.max_pack_width
      == {
        None: max(allowed_widths(n_devices)),
        2: n_devices,
        17: max(w for w in (3, 4, 6, 8, 12, 16) if w % n_devices == 0),
      }[asked]
    )
    assert all(
      width % n_devices == 0
      for _, width in cut_into_packs(23, 'vmap', choice.max_pack_width, n_devices)
    )


@given(st.integers(1, 2000), st.integers(0, 8), st.integers(1, 9))
def test_trials_are_cut_into_packs_of_few_widths(n, place, n_devices):
  widest = allowed_widths(n_devices)[: place + 1][-1]
  packs = cut_into_packs(n, 'vmap', widest, n_devices)
  assert sum(trials for trials, _ in packs) == n and all(
    0 < trials <= width for trials, width in packs
  )
  assert all(pack == (widest, widest) for pack in packs[:-1])
  last, width = packs[-1]
  assert width % n_devices == 0 and width <= widest and width // n_devices in WIDTHS
  assert width == n_devices or width < 2 * last  # less than half is padding


@given(st.integers(1, 2000), st.integers(1, 300))
def test_a_loop_is_cut_without_padding(n, widest):
  packs = cut_into_packs(n, 'loop', widest)
  assert (
    all(trials == width <= widest for trials, width in packs)
    and sum(t for t, _ in packs) == n
  )
  assert len(packs) == math.ceil(n / widest)


def test_one_device_has_the_list_itself():
  assert allowed_widths() == WIDTHS and allowed_widths(300) == (300,)
