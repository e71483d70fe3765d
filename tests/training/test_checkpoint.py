"""Checkpoints: bits come back, on other devices too, after any kill -9, and mistakes are named in one line.

Run as a script, this file is the victim: a process whose children save states and are killed.
"""

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
from lmhp.errors import ConfigError
from lmhp.training import checkpoint
from lmhp.training.checkpoint import MARK, UNFINISHED, Checkpoints
from lmhp.training.config import CheckpointConfig


def make_state(step):
  """A state that every step has another of, with each type of leaf a run has."""
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
  """Each leaf's bytes, type and shape; nothing in common with the checksum that the code keeps."""
  data = lambda x: (
    jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
  )
  leaves, tree = jax.tree.flatten(state)
  return [(str(x.dtype), x.shape, np.asarray(data(x)).tobytes()) for x in leaves], tree


def names(directory):
  return sorted(os.listdir(directory))


def save_all(directory, steps, cfg=CheckpointConfig(), losses=None):
  with Checkpoints(directory, cfg) as checkpoints:
    for step in steps:
      checkpoints.save(
        step,
        make_state(step),
        {'seen': step},
        {'eval_loss_nats': losses[step]} if losses else None,
      )


def test_bits_come_back_with_what_came_along(tmp_path):
  extra = {'seen': 3, 'best': None, 'nested': {'words': ['a', 'b'], 'number': 0.1}}
  with Checkpoints(tmp_path / 'deep' / 'c') as checkpoints:
    assert checkpoints.latest() is None and checkpoints.steps() == []
    checkpoints.save(3, make_state(3), extra, wait=True)
    state, back = checkpoints.restore(3, abstract_of(make_state(0)))
  assert bits_of(state) == bits_of(make_state(3))
  assert back == {**extra, 'step': 3}


def test_buffers_may_be_donated_at_once(tmp_path):
  twice = jax.jit(lambda x: x * 2 + 1, donate_argnums=0)
  with Checkpoints(tmp_path) as checkpoints:
    for step in range(1, 5):
      x = jax.block_until_ready(jnp.full((512, 601), step, jnp.float32))
      checkpoints.save(step, {'x': x})
      for _ in range(20):
        x = twice(x)
      x.block_until_ready()
      state, _ = checkpoints.restore(
        step, {'x': jax.ShapeDtypeStruct((512, 601), jnp.float32)}
      )
      np.testing.assert_array_equal(state['x'], step)


def test_keeps_the_last_and_the_best(tmp_path):
  losses = {1: 3.0, 2: 1.0, 3: float('nan'), 4: 2.0, 5: 2.5, 6: 2.4}
  save_all(tmp_path, losses, CheckpointConfig(keep_last=2, keep_best=1), losses)
  assert names(tmp_path) == ['2', '5', '6']
  save_all(
    tmp_path, [7, 8], CheckpointConfig(keep_last=1, keep_best=2), {7: 1.5, 8: 9.0}
  )
  assert names(tmp_path) == ['2', '7', '8']
  nan = float('nan')
  save_all(
    tmp_path / 'diverged',
    [1, 2, 3],
    CheckpointConfig(keep_last=1, keep_best=2),
    {1: nan, 2: 1.0, 3: nan},
  )
  assert names(tmp_path / 'diverged') == ['2', '3']


def test_a_step_that_is_there_stays(tmp_path):
  save_all(tmp_path, [4])
  before = (tmp_path / '4' / MARK).stat().st_mtime_ns
  save_all(tmp_path, [4])
  assert (tmp_path / '4' / MARK).stat().st_mtime_ns == before


def test_paths(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  save_all('relative', [1])
  assert Checkpoints(tmp_path / 'relative').latest() == 1
  monkeypatch.setenv('HOME', str(tmp_path))
  assert Checkpoints('~/relative').steps() == [1]
  assert str(Checkpoints('gs://bucket/run').directory) == 'gs://bucket/run'


@pytest.mark.parametrize('count', [1, 2])
def test_other_devices(tmp_path, count):
  def sharding(n):
    mesh = jax.make_mesh(
      (n,), ('x',), devices=jax.devices()[:n], axis_types=(jax.sharding.AxisType.Auto,)
    )
    return NamedSharding(mesh, PartitionSpec('x'))

  x = jnp.arange(8 * 3, dtype=jnp.bfloat16).reshape(8, 3)
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, {'x': jax.device_put(x, sharding(4))}, wait=True)
    state, _ = checkpoints.restore(1, abstract_of({'x': x}, sharding(count)))
  assert state['x'].sharding == sharding(count)
  np.testing.assert_array_equal(state['x'], x)


def test_another_state_is_named_leaf_by_leaf(tmp_path):
  save_all(tmp_path, [1])
  wanted = make_state(1)
  wanted['params']['kernel'] = jnp.zeros((56, 311))
  wanted['params']['half'] = wanted['params']['half'].astype(jnp.float32)
  wanted['momentum'] = jnp.zeros(3)
  del wanted['key']
  with pytest.raises(ConfigError) as error:
    Checkpoints(tmp_path).restore(1, abstract_of(wanted))
  message = str(error.value)
  assert '\n' not in message and str(tmp_path / '1') in message
  assert 'params/kernel is float32[56,310] there and float32[56,311] here' in message
  assert (
    'params/half is bfloat16[8,20] there and float32[8,20] here' in message
  )  # orbax would cast, silently
  assert 'momentum is only here' in message and 'key is only there' in message


def test_no_such_step(tmp_path):
  save_all(tmp_path, [1, 2])
  with pytest.raises(
    ConfigError, match=r'no complete checkpoint; complete steps: \[1, 2\]'
  ):
    Checkpoints(tmp_path).restore(3, abstract_of(make_state(0)))


def largest_file(step):
  return max(
    (p for p in (step / 'state').rglob('*') if p.is_file()),
    key=lambda p: p.stat().st_size,
  )


def flip(step):
  path = largest_file(step)
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 4  # this flip orbax reads without a word
  path.write_bytes(data)


DAMAGES = {
  'flipped bit': flip,
  'cut short': lambda step: os.truncate(largest_file(step), 100),
  'file gone': lambda step: largest_file(step).unlink(),
  'metadata gone': lambda step: (step / '_CHECKPOINT_METADATA').unlink(),
  'metadata garbled': lambda step: (step / '_CHECKPOINT_METADATA').write_text('{"a'),
}


# When a read fails, orbax abandons its other reads, and Python says so of whichever it collects first.
abandoned_reads = pytest.mark.filterwarnings(
  'ignore::pytest.PytestUnraisableExceptionWarning'
)


@abandoned_reads
@pytest.mark.parametrize('damage', DAMAGES)
def test_a_damaged_step_gives_way_to_the_one_before(tmp_path, damage, caplog):
  save_all(tmp_path, [1, 2])
  DAMAGES[damage](tmp_path / '2')
  with Checkpoints(tmp_path) as checkpoints, caplog.at_level(logging.WARNING, 'lmhp'):
    state, extra = checkpoints.restore(2, abstract_of(make_state(0)))
    assert extra['step'] == 1 and bits_of(state) == bits_of(make_state(1))
    records = [r for r in caplog.records if r.name.startswith('lmhp')]
    assert len(records) == 1 and f'{tmp_path}/2: damaged' in records[0].getMessage()
    assert (
      checkpoints.steps() == [1] and (tmp_path / '2').exists()
    )  # it is never for us to delete what may be of use
    checkpoints.save(2, make_state(2), {}, wait=True)
    state, extra = checkpoints.restore(2, abstract_of(make_state(0)))
    assert extra['step'] == 2 and bits_of(state) == bits_of(make_state(2))


@abandoned_reads
def test_nothing_can_be_read(tmp_path):
  save_all(tmp_path, [1])
  flip(tmp_path / '1')
  with pytest.raises(ConfigError, match='no checkpoint up to step 1 can be read'):
    Checkpoints(tmp_path).restore(1, abstract_of(make_state(0)))


def test_only_a_save_sweeps(tmp_path):
  save_all(tmp_path, [1, 2])
  (tmp_path / '1' / MARK).unlink()
  (tmp_path / f'3{UNFINISHED}' / 'state').mkdir(parents=True)
  (tmp_path / 'notes.txt').write_text('mine')
  with Checkpoints(tmp_path) as checkpoints:
    assert checkpoints.steps() == [2]
    assert len(names(tmp_path)) == 4
    checkpoints.save(4, make_state(4))
  assert names(tmp_path) == ['2', '4', 'notes.txt']


def test_due(tmp_path, monkeypatch):
  now = [100.0]
  monkeypatch.setattr(time, 'monotonic', lambda: now[0])
  by_steps = Checkpoints(tmp_path, CheckpointConfig(every_steps=10, every_seconds=None))
  assert [s for s in range(0, 31, 4) if by_steps.due(s)] == [12, 16, 20, 24, 28]
  by_steps.save(12, make_state(12), wait=True)
  assert [s for s in range(12, 31, 4) if by_steps.due(s)] == [20, 24, 28]
  by_time = Checkpoints(tmp_path, CheckpointConfig(every_seconds=60.0))
  assert not by_time.due(5)
  now[0] = 160.0
  assert by_time.due(5)
  assert not Checkpoints(tmp_path, CheckpointConfig(enabled=False, every_steps=1)).due(
    5
  )


def test_extra_must_be_json(tmp_path):
  with Checkpoints(tmp_path) as checkpoints, pytest.raises(TypeError, match='JSON'):
    checkpoints.save(1, make_state(1), {'array': np.zeros(3)})
  assert not names(tmp_path)


def test_a_full_disk_is_one_line_and_leaves_what_was_saved(tmp_path, monkeypatch):
  save_all(tmp_path, [1])

  class Full:
    def result(self):
      raise ValueError('RESOURCE_EXHAUSTED: No space left on device\nmore')

  with Checkpoints(tmp_path) as checkpoints:
    monkeypatch.setattr(
      checkpoint.ocp, 'save_checkpointables_async', lambda *_, **__: Full()
    )
    with pytest.raises(
      ConfigError,
      match='step 2 could not be saved: RESOURCE_EXHAUSTED: No space left on device$',
    ):
      checkpoints.save(2, make_state(2), wait=True)
    assert checkpoints.steps() == [1]


# --- kill -9 --------------------------------------------------------------------------------------------------------


def test_any_kill_leaves_a_whole_step(tmp_path):
  root = str(pathlib.Path(lmhp.__file__).parents[1])
  done = subprocess.run(
    [sys.executable, __file__, str(tmp_path / 'c')],
    env={**os.environ, 'PYTHONPATH': root},
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  # The kills did land inside: some left a step half written, some left one half deleted.
  counts = dict(word.split('=') for word in done.stdout.splitlines()[-1].split())
  assert int(counts['half_written']) >= 2 and int(counts['half_deleted']) >= 3, (
    done.stdout
  )
  assert all(name.isdecimal() for name in names(tmp_path / 'c'))


def victim(directory, kill, pipe):
  """Checks the bits of every step it finds, then saves one step after the other."""
  if kill == 'removing':
    left = [None]  # files that a deletion may still remove, its mark being the first

    def hook(event, arguments):
      if event != 'os.remove':
        return
      if left[0] is None and str(arguments[0]).endswith('/' + MARK):
        left[0] = random.randint(0, 9)
      elif left[0]:
        left[0] -= 1
      if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
  with Checkpoints(
    directory, CheckpointConfig(keep_last=2, keep_best=1)
  ) as checkpoints:
    for step in checkpoints.steps():
      state, extra = checkpoints.restore(step, abstract_of(make_state(0)))
      assert extra == {'seen': step, 'step': step} and bits_of(state) == bits_of(
        make_state(step)
      )
    first = (checkpoints.latest() or 0) + 1
    for step in range(first, first + 4):
      checkpoints.save(
        step, make_state(step), {'seen': step}, {'eval_loss_nats': random.random()}
      )
      os.write(pipe, b'saving')


def torment(directory):
  """Forks victims and kills them: anywhere, inside a save, inside a deletion. The last one is left alone."""
  random.seed(0)
  half_written = half_deleted = latest = 0
  for kill in ['anywhere', 'saving', 'removing'] * 7 + ['never']:
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
      random.seed(os.getpid())
      code = 1
      try:
        victim(directory, kill, writing)
        code = 0
      except BaseException:
        traceback.print_exc()
      finally:
        os._exit(code)
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
    assert status in ((0,) if kill == 'never' else (0, -signal.SIGKILL)), (kill, status)
    found = Checkpoints(directory).latest() or 0
    assert found >= latest, (kill, found, latest)
    latest = found
    for path in pathlib.Path(directory).glob('*'):
      half_written += path.name.endswith(UNFINISHED)
      half_deleted += path.name.isdecimal() and not (path / MARK).exists()
  print(f'half_written={half_written} half_deleted={half_deleted} latest={latest}')


if __name__ == '__main__':
  torment(sys.argv[1])
