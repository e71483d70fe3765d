"""Attention masks against masks that numpy computes from their definitions."""

import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.model.attention.masks import TokenPositions, attention_masks
from lmhp.model.batch import Batch

B, L = 3, 5
TOKENS = jnp.zeros((B, L), jnp.int32)
QUERY, KEY = np.indices((L, L))
LOCAL = {'attention_pattern': ('local',)}


def masks_of(cfg, batch=None, positions_BL=None):
  """Returns the masks of a whole sequence, (B, L, L) or (1, L, L) numpy arrays."""
  positions_BL = np.arange(L)[None] if positions_BL is None else positions_BL
  positions = TokenPositions(jnp.asarray(positions_BL), start=0, n_keys=L)
  masks = attention_masks(cfg, batch or Batch(TOKENS), positions)
  return np.asarray(masks.global_BLM[:, 0]), np.asarray(masks.local_BLM[:, 0])


def test_a_decoder_attends_to_earlier_tokens(tiny):
  global_mask, local_mask = masks_of(tiny())
  np.testing.assert_array_equal(global_mask[0], KEY <= QUERY)
  np.testing.assert_array_equal(local_mask[0], KEY <= QUERY)


def test_an_encoder_attends_to_all_tokens(tiny):
  global_mask, _ = masks_of(tiny(architecture='encoder'))
  assert global_mask.all()


@pytest.mark.parametrize('window', [1, 2, 9])
def test_a_window_of_a_decoder(tiny, window):
  global_mask, local_mask = masks_of(tiny(sliding_window=window, **LOCAL))
  expected = (KEY <= QUERY) & (QUERY - KEY < window)
  np.testing.assert_array_equal(global_mask[0], KEY <= QUERY)
  np.testing.assert_array_equal(local_mask[0], expected)


def test_a_window_of_an_encoder_is_on_both_sides(tiny):
  cfg = tiny(architecture='encoder', sliding_window=2, **LOCAL)
  np.testing.assert_array_equal(masks_of(cfg)[1][0], abs(QUERY - KEY) < 2)


def test_chunks(tiny):
  _, local_mask = masks_of(tiny(attention_chunk=2, **LOCAL))
  expected = (KEY <= QUERY) & (QUERY // 2 == KEY // 2)
  np.testing.assert_array_equal(local_mask[0], expected)


def test_chunks_count_positions_within_the_document(tiny):
  """The second document starts at token 3, and its chunks start there too."""
  positions_BL = np.array([[0, 1, 2, 0, 1]])
  segments = jnp.asarray([[1, 1, 1, 2, 2]])
  _, local_mask = masks_of(
    tiny(attention_chunk=2, **LOCAL), Batch(TOKENS[:1], segments=segments), positions_BL
  )
  attended = [np.flatnonzero(row).tolist() for row in local_mask[0]]
  assert attended == [[0], [0, 1], [2], [3], [3, 4]]


def test_a_prefix_attends_in_both_directions(tiny):
  lengths = np.array([1, 3, 5])
  batch = Batch(TOKENS, prefix_lengths=jnp.asarray(lengths))
  global_mask, local_mask = masks_of(tiny(prefix_lm=True, sliding_window=2), batch)
  in_prefix = KEY < lengths[:, None, None]
  np.testing.assert_array_equal(global_mask, in_prefix | (KEY <= QUERY))
  in_window = abs(QUERY - KEY) < 2
  np.testing.assert_array_equal(local_mask, (in_prefix | (KEY <= QUERY)) & in_window)


def test_local_attention_to_a_prefix_stays_within_the_chunk(tiny):
  lengths = np.array([1, 3, 5])
  batch = Batch(TOKENS, prefix_lengths=jnp.asarray(lengths))
  cfg = tiny(prefix_lm=True, attention_chunk=2, **LOCAL)
  in_prefix = KEY < lengths[:, None, None]
  same_chunk = QUERY // 2 == KEY // 2
  expected = (in_prefix | (KEY <= QUERY)) & same_chunk
  np.testing.assert_array_equal(masks_of(cfg, batch)[1], expected)


def test_tokens_attend_within_their_document(tiny):
  segments = np.array([[1, 1, 1, 1, 1], [1, 1, 2, 2, 2], [1, 2, 2, 3, 3]])
  batch = Batch(TOKENS, segments=jnp.asarray(segments))
  global_mask, local_mask = masks_of(tiny(sliding_window=2), batch)
  same = segments[:, :, None] == segments[:, None, :]
  np.testing.assert_array_equal(global_mask, same & (KEY <= QUERY))
  np.testing.assert_array_equal(local_mask, same & (KEY <= QUERY) & (QUERY - KEY < 2))


@pytest.mark.parametrize('fields', [{'sliding_window': 2}, {'attention_chunk': 2}])
def test_new_tokens_have_the_rows_of_the_whole_mask(tiny, fields):
  """Two new tokens after three in a cache with room for eight."""
  cfg = tiny(**LOCAL, **fields)
  positions = TokenPositions(jnp.asarray([[3, 4]]), start=jnp.int32(3), n_keys=8)
  masks = attention_masks(cfg, Batch(TOKENS[:1, :2]), positions)
  whole_global, whole_local = masks_of(cfg)
  np.testing.assert_array_equal(masks.global_BLM[0, 0, :, :L], whole_global[0, 3:])
  np.testing.assert_array_equal(masks.local_BLM[0, 0, :, :L], whole_local[0, 3:])
  assert not masks.global_BLM[0, 0, :, L:].any()
