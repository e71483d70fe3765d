"""Checkpoints: bits come back, on other devices and after any kill.

Run as a script, this file is the process whose children save states and are killed.
"""

import gc
import logging
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
import traceback

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
import numpy as np
import pytest

import lmhp
from lmhp import files
from lmhp.errors import ConfigError
from lmhp.training import checkpoint
from lmhp.training.checkpoint import COMMIT_MARKER, UNFINISHED, Checkpoints
from lmhp.training.config import CheckpointConfig


def make_state(step):
  """A state that is different at each step, with each type of leaf that a run has."""
  rng = np.random.default_rng(step)
  return {
    'step': jnp.int32(step),
    'params': {
      'kernel': jnp.asarray(rng.standard_normal((56, 310)), jnp.float32),
      'half': jnp.asarray(rng.standard_normal((8, 20)), jnp.bfloat16),
      'empty': {},
    },
    'optimizer': (jnp.uint32(step * 7919), None, ()),
    'key': jax.random.key(step),
  }


def abstract_of(state, sharding=None):
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), state
  )


def bits_of(state):
  """Type, shape and bytes of each leaf. It shares no code with the checksum."""
  leaves, structure = jax.tree.flatten(state)
  contents = []
  for x in leaves:
    is_key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    data = jax.random.key_data(x) if is_key else x
    contents.append((str(x.dtype), x.shape, np.asarray(data).tobytes()))
  return contents, structure


def names_in(directory):
  return sorted(os.listdir(directory))


def save_all(directory, steps, cfg=None, losses=None):
  with Checkpoints(directory, cfg) as checkpoints:
    for step in steps:
      metrics = {'eval_loss_nats': losses[step]} if losses else None
      checkpoints.save(step, make_state(step), {'saved': step}, metrics)


# --- saving and restoring -------------------------------------------------------------


def test_state_and_extra_come_back(tmp_path):
  extra = {'count': 3, 'best': None, 'nested': {'words': ['a', 'b'], 'number': 0.1}}
  with Checkpoints(tmp_path / 'deep' / 'c') as checkpoints:
    assert checkpoints.latest() is None
    assert checkpoints.steps() == []
    checkpoints.save(3, make_state(3), extra, wait=True)
    state, restored_extra = checkpoints.restore(3, abstract_of(make_state(0)))
  assert bits_of(state) == bits_of(make_state(3))
  assert restored_extra == {**extra, 'step': 3}


def test_buffers_can_be_donated_at_once(tmp_path):
  twice = jax.jit(lambda x: x * 2 + 1, donate_argnums=0)
  abstract = {'x': jax.ShapeDtypeStruct((512, 601), jnp.float32)}
  with Checkpoints(tmp_path) as checkpoints:
    for step in range(1, 5):
      x = jax.block_until_ready(jnp.full((512, 601), step, jnp.float32))
      checkpoints.save(step, {'x': x})
      for _ in range(20):
        x = twice(x)
      x.block_until_ready()
      state, _ = checkpoints.restore(step, abstract)
      np.testing.assert_array_equal(state['x'], step)


def test_extra_must_be_json(tmp_path):
  with Checkpoints(tmp_path) as checkpoints, pytest.raises(TypeError, match='JSON'):
    checkpoints.save(1, make_state(1), {'array': np.zeros(3)})
  assert not names_in(tmp_path)


def test_a_step_that_exists_stays_as_it_is(tmp_path):
  save_all(tmp_path, [4])
  time_before = (tmp_path / '4' / COMMIT_MARKER).stat().st_mtime_ns
  save_all(tmp_path, [4])
  assert (tmp_path / '4' / COMMIT_MARKER).stat().st_mtime_ns == time_before


def test_relative_home_and_remote_paths(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  save_all('relative', [1])
  assert Checkpoints(tmp_path / 'relative').latest() == 1
  monkeypatch.setenv('HOME', str(tmp_path))
  assert Checkpoints('~/relative').steps() == [1]
  # An installed library stands for that of the object store.
  monkeypatch.setitem(files.STORE_LIBRARIES, 'gs', 'numpy')
  assert str(Checkpoints('gs://bucket/run').directory) == 'gs://bucket/run'


@pytest.mark.parametrize('count', [1, 2])
def test_a_state_of_four_devices_is_restored_on_fewer(tmp_path, count):
  def sharding(n):
    axis_types = (jax.sharding.AxisType.Auto,)
    devices = jax.devices()[:n]
    mesh = jax.make_mesh((n,), ('x',), devices=devices, axis_types=axis_types)
    return NamedSharding(mesh, PartitionSpec('x'))

  x = jnp.arange(8 * 3, dtype=jnp.bfloat16).reshape(8, 3)
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, {'x': jax.device_put(x, sharding(4))}, wait=True)
    state, _ = checkpoints.restore(1, abstract_of({'x': x}, sharding(count)))
  assert state['x'].sharding == sharding(count)
  np.testing.assert_array_equal(state['x'], x)


# --- steps that are kept --------------------------------------------------------------


def test_the_last_and_the_best_steps_are_kept(tmp_path):
  losses = {1: 3.0, 2: 1.0, 3: float('nan'), 4: 2.0, 5: 2.5, 6: 2.4}
  save_all(tmp_path, losses, CheckpointConfig(keep_last=2, keep_best=1), losses)
  assert names_in(tmp_path) == ['2', '5', '6']
  more = {7: 1.5, 8: 9.0}
  save_all(tmp_path, more, CheckpointConfig(keep_last=1, keep_best=2), more)
  assert names_in(tmp_path) == ['2', '7', '8']


def test_a_step_without_a_finite_loss_is_never_the_best(tmp_path):
  losses = {1: float('nan'), 2: 1.0, 3: float('nan')}
  save_all(tmp_path, losses, CheckpointConfig(keep_last=1, keep_best=2), losses)
  assert names_in(tmp_path) == ['2', '3']


def test_only_a_save_removes_unfinished_steps(tmp_path):
  save_all(tmp_path, [1, 2])
  (tmp_path / '1' / COMMIT_MARKER).unlink()
  (tmp_path / f'3{UNFINISHED}' / 'state').mkdir(parents=True)
  (tmp_path / 'notes.txt').write_text('mine')
  with Checkpoints(tmp_path) as checkpoints:
    assert checkpoints.steps() == [2]
    assert len(names_in(tmp_path)) == 4
    checkpoints.save(4, make_state(4))
  assert names_in(tmp_path) == ['2', '4', 'notes.txt']


# --- times of the saves ---------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
  """A clock that only the test moves: a list of one number."""
  now = [100.0]
  monkeypatch.setattr(time, 'monotonic', lambda: now[0])
  return now


def due_steps(checkpoints, steps):
  return [step for step in steps if checkpoints.due(step)]


def test_a_save_is_due_after_a_number_of_steps(tmp_path, clock):
  cfg = CheckpointConfig(every_steps=10, every_seconds=None)
  checkpoints = Checkpoints(tmp_path, cfg)
  assert due_steps(checkpoints, range(0, 31, 4)) == [12, 16, 20, 24, 28]
  checkpoints.save(12, make_state(12), wait=True)
  assert due_steps(checkpoints, range(12, 31, 4)) == [20, 24, 28]


def test_a_save_is_due_after_a_time(tmp_path, clock):
  checkpoints = Checkpoints(tmp_path, CheckpointConfig(every_seconds=60.0))
  assert not checkpoints.due(5)
  clock[0] = 160.0
  assert checkpoints.due(5)


def test_without_checkpoints_no_save_is_due(tmp_path):
  cfg = CheckpointConfig(enabled=False, every_steps=1)
  assert not Checkpoints(tmp_path, cfg).due(5)


# --- mistakes and damage --------------------------------------------------------------


def test_another_state_is_refused_leaf_by_leaf(tmp_path):
  save_all(tmp_path, [1])
  expected = make_state(1)
  expected['params']['kernel'] = jnp.zeros((56, 311))
  # Orbax itself would cast this leaf without a warning.
  expected['params']['half'] = expected['params']['half'].astype(jnp.float32)
  expected['momentum'] = jnp.zeros(3)
  del expected['key']
  with pytest.raises(ConfigError) as error:
    Checkpoints(tmp_path).restore(1, abstract_of(expected))
  message = str(error.value)
  assert message.startswith(str(tmp_path / '1'))
  assert '\n' not in message
  for leaf in (
    'params/kernel is float32[56,310], expected float32[56,311]',
    'params/half is bfloat16[8,20], expected float32[8,20]',
    'momentum is only in this config',
    'key is only in the checkpoint',
  ):
    assert leaf in message


def test_a_step_that_does_not_exist_is_refused_with_those_that_do(tmp_path):
  save_all(tmp_path, [1, 2])
  with pytest.raises(ConfigError, match=r'/3: .*\[1, 2\]'):
    Checkpoints(tmp_path).restore(3, abstract_of(make_state(0)))


def largest_file(step):
  files = [path for path in (step / 'state').rglob('*') if path.is_file()]
  return max(files, key=lambda path: path.stat().st_size)


def flip_a_bit(step):
  """Flips a bit that Orbax does not notice."""
  path = largest_file(step)
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 4
  path.write_bytes(content)


DAMAGES = {
  'flipped bit': flip_a_bit,
  'cut short': lambda step: os.truncate(largest_file(step), 100),
  'missing file': lambda step: largest_file(step).unlink(),
  'missing metadata': lambda step: (step / '_CHECKPOINT_METADATA').unlink(),
  'torn metadata': lambda step: (step / '_CHECKPOINT_METADATA').write_text('{"a'),
}


@pytest.fixture
def collected_garbage():
  """Collects what a test leaves, so that no later test is blamed for it."""
  yield
  gc.collect()


def abandons_reads(test):
  """Allows the abandoned reads that Orbax leaves if a read fails, and collects them."""
  ignores = pytest.mark.filterwarnings(
    'ignore::pytest.PytestUnraisableExceptionWarning'
  )
  return ignores(pytest.mark.usefixtures('collected_garbage')(test))


@abandons_reads
@pytest.mark.parametrize('damage', DAMAGES)
def test_the_step_before_a_damaged_one_is_read(tmp_path, damage, caplog):
  save_all(tmp_path, [1, 2])
  DAMAGES[damage](tmp_path / '2')
  with Checkpoints(tmp_path) as checkpoints, caplog.at_level(logging.WARNING, 'lmhp'):
    state, extra = checkpoints.restore(2, abstract_of(make_state(0)))
    assert extra['step'] == 1
    assert bits_of(state) == bits_of(make_state(1))
    (record,) = [r for r in caplog.records if r.name.startswith('lmhp')]
    assert record.getMessage().startswith(f'{tmp_path}/2: ')


@abandons_reads
@pytest.mark.parametrize('damage', DAMAGES)
def test_a_damaged_step_stays_until_it_is_saved_again(tmp_path, damage):
  save_all(tmp_path, [1, 2])
  DAMAGES[damage](tmp_path / '2')
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.restore(2, abstract_of(make_state(0)))
    assert checkpoints.steps() == [1]
    assert (tmp_path / '2').exists()
    checkpoints.save(2, make_state(2), {}, wait=True)
    state, extra = checkpoints.restore(2, abstract_of(make_state(0)))
  assert extra['step'] == 2
  assert bits_of(state) == bits_of(make_state(2))


@abandons_reads
def test_without_a_readable_step_there_is_one_error(tmp_path):
  save_all(tmp_path, [1])
  flip_a_bit(tmp_path / '1')
  with pytest.raises(ConfigError, match=f'^{tmp_path}: .*step 1.*ValueError'):
    Checkpoints(tmp_path).restore(1, abstract_of(make_state(0)))


def test_a_full_disk_is_one_line_and_leaves_the_steps_before(tmp_path, monkeypatch):
  save_all(tmp_path, [1])

  class FailedSave:
    def result(self):
      raise ValueError('RESOURCE_EXHAUSTED: No space left on device\nmore')

  def fail(*arguments, **options):
    return FailedSave()

  with Checkpoints(tmp_path) as checkpoints:
    monkeypatch.setattr(checkpoint.ocp, 'save_checkpointables_async', fail)
    reason = 'RESOURCE_EXHAUSTED: No space left on device'
    with pytest.raises(ConfigError, match=f'step 2 .*: {reason}$'):
      checkpoints.save(2, make_state(2), wait=True)
    assert checkpoints.steps() == [1]


# --- kill -9 --------------------------------------------------------------------------


@pytest.mark.slow
def test_any_kill_leaves_a_complete_step(tmp_path):
  root = str(pathlib.Path(lmhp.__file__).parents[1])
  process = subprocess.run(
    [sys.executable, __file__, str(tmp_path / 'c')],
    env={**os.environ, 'PYTHONPATH': root},
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert process.returncode == 0, process.stdout + process.stderr
  # Some kills came while a step was written, and some while one was deleted.
  last_line = process.stdout.splitlines()[-1]
  counts = dict(word.split('=') for word in last_line.split())
  assert int(counts['half_written']) >= 2, process.stdout
  assert int(counts['half_deleted']) >= 3, process.stdout
  assert all(name.isdecimal() for name in names_in(tmp_path / 'c'))


def kill_in_a_deletion():
  """Kills this process soon after a deletion has removed its marker."""
  files_left = None

  def hook(event, arguments):
    nonlocal files_left
    if event != 'os.remove':
      return
    if files_left is None and str(arguments[0]).endswith('/' + COMMIT_MARKER):
      files_left = random.randint(0, 9)
    elif files_left:
      files_left -= 1
    if files_left == 0:
      os.kill(os.getpid(), signal.SIGKILL)

  sys.addaudithook(hook)


def save_steps(directory, kill, pipe):
  """Checks the bits of each complete step, then saves four more steps."""
  if kill == 'deleting':
    kill_in_a_deletion()
  cfg = CheckpointConfig(keep_last=2, keep_best=1)
  with Checkpoints(directory, cfg) as checkpoints:
    for step in checkpoints.steps():
      state, extra = checkpoints.restore(step, abstract_of(make_state(0)))
      assert extra == {'saved': step, 'step': step}
      assert bits_of(state) == bits_of(make_state(step))
    first = (checkpoints.latest() or 0) + 1
    for step in range(first, first + 4):
      metrics = {'eval_loss_nats': random.random()}
      checkpoints.save(step, make_state(step), {'saved': step}, metrics)
      os.write(pipe, b'saving')


def fork_and_save(directory, kill, pipe):
  """Forks a child that runs `save_steps`. Returns its process id."""
  pid = os.fork()
  if pid:
    return pid
  random.seed(os.getpid())
  code = 1
  try:
    save_steps(directory, kill, pipe)
    code = 0
  except BaseException:
    traceback.print_exc()
  finally:
    os._exit(code)


def kill_many(directory):
  """Forks and kills children: anywhere, in a save, in a deletion. The last one lives."""
  random.seed(0)
  half_written = 0
  half_deleted = 0
  latest = 0
  for kill in ['anywhere', 'saving', 'deleting'] * 7 + ['never']:
    reading, writing = os.pipe()
    pid = fork_and_save(directory, kill, writing)
    os.close(writing)
    if kill == 'saving':
      for _ in range(random.randint(1, 3)):
        os.read(reading, 6)
      time.sleep(random.uniform(0, 0.05))
    if kill == 'anywhere':
      time.sleep(random.uniform(0, 0.8))
    if kill in ('anywhere', 'saving'):
      os.kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(reading)
    allowed = (0,) if kill == 'never' else (0, -signal.SIGKILL)
    assert status in allowed, (kill, status)

    # No kill takes a complete step away.
    step = Checkpoints(directory).latest() or 0
    assert step >= latest, (kill, step, latest)
    latest = step
    for path in pathlib.Path(directory).glob('*'):
      half_written += path.name.endswith(UNFINISHED)
      is_step = path.name.isdecimal()
      half_deleted += is_step and not (path / COMMIT_MARKER).exists()
  print(f'half_written={half_written} half_deleted={half_deleted} latest={latest}')


if __name__ == '__main__':
  kill_many(sys.argv[1])
