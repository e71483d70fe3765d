"""Chunks: lengths, losses that are not finite, and the loop of updates."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.training import chunks
from lmhp.training.chunks import (
  ChunkSteps,
  Cooldown,
  chunk_lengths,
  first_nonfinite_step,
  repeat_update,
)

# --- lengths --------------------------------------------------------------------------


def test_without_a_speed_chunks_have_the_largest_length():
  assert list(chunk_lengths(3, 20, max_chunk_steps=7)) == [7, 7, 3]


def test_no_chunk_crosses_a_multiple_of_an_interval():
  lengths = list(chunk_lengths(3, 30, max_chunk_steps=100, every_steps=(10, None, 4)))
  ends = (3 + np.cumsum(lengths)).tolist()
  assert ends == [4, 8, 10, 12, 16, 20, 24, 28, 30]


def test_a_chunk_aims_at_a_duration(monkeypatch):
  monkeypatch.setattr(chunks, 'CHUNK_SECONDS', 2.0)
  speeds = iter([0.0, 3.2, 1e9, 1e-9])
  lengths = chunk_lengths(
    0, 100, max_chunk_steps=10, steps_per_second=lambda: next(speeds)
  )
  assert [next(lengths) for _ in range(4)] == [chunks.FIRST_CHUNK_STEPS, 6, 10, 1]


def test_at_the_last_step_there_is_no_chunk():
  assert list(chunk_lengths(20, 20, max_chunk_steps=7)) == []


# --- losses that are not finite -------------------------------------------------------


@pytest.mark.parametrize(
  'losses, step',
  [
    ([1.0, 2.0], None),
    ([np.nan, 2.0], 11),
    ([1.0, -np.inf], 12),
    ([1.0, np.nan, 3.0, np.inf], 12),
  ],
)
def test_the_first_nonfinite_step_counts_from_the_run(losses, step):
  assert first_nonfinite_step(10, np.array(losses)) == step


# --- cooldowns ------------------------------------------------------------------------


def test_a_cooldown_falls_in_a_line_to_zero_one_step_after_its_end():
  cooldown = Cooldown(first_step=8, n_steps=5)
  steps = jnp.arange(6, 15)
  expected = [1, 1, 1, 0.8, 0.6, 0.4, 0.2, 0, 0]
  np.testing.assert_allclose(cooldown.multiplier(steps), expected, atol=1e-7)


# --- the loop of updates --------------------------------------------------------------


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Counter:
  """A state: the number of updates, and the sum of their losses."""

  step: jax.Array
  total: jax.Array


LOSSES = jnp.array([1.0, 2.0, jnp.nan, 4.0, 5.0, 6.0])


def run(n_steps, first_step=0, state=None, hold=None):
  """The state and the metrics after a chunk over `LOSSES`."""

  def update(state, i):
    loss = LOSSES[first_step + i]
    total = state.total + jnp.nan_to_num(loss, nan=100.0)
    return Counter(state.step + 1, total), {'loss': loss, 'other': loss}

  if state is None:
    state = Counter(jnp.int32(first_step), jnp.float32(0))
  return repeat_update(
    update,
    state,
    ChunkSteps(n_steps, first_step).as_int32(),
    metric_names=['loss'],
    hold_after_nonfinite=hold,
    max_chunk_steps=8,
  )


def test_metrics_beyond_the_chunk_are_zero():
  state, metrics = run(2)
  assert (state.step, state.total) == (2, 3.0)
  assert metrics.keys() == {'loss'}
  assert metrics['loss'].tolist() == [1, 2, 0, 0, 0, 0, 0, 0]


def test_without_holding_updates_go_on_after_a_nonfinite_loss():
  state, _ = run(4)
  assert (state.step, state.total) == (4, 107.0)


def test_a_held_state_is_the_one_before_its_first_nonfinite_loss():
  state, metrics = run(6, hold='loss')
  assert (state.step, state.total) == (2, 3.0)
  assert np.isnan(metrics['loss'][2])
  assert metrics['loss'][5] == 6


def test_a_held_state_is_held_in_the_next_chunk_too():
  held, _ = run(3, hold='loss')
  state, _ = run(3, first_step=3, state=held, hold='loss')
  assert (state.step, state.total) == (2, 3.0)
