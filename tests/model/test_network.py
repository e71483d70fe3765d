"""Dependence of features on tokens: causality, windows, documents, prefixes and encoders.

The gradient of a feature with respect to a row of the embedding is not zero if, and only if,
the token of that row reaches the feature.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.model.batch import Batch
from lmhp.model.config import POSITIONS
from lmhp.model.transformer import build

B, L, M, D = 3, 5, 7, 14
WINDOWS = {
  'global': {},
  'local': {'attention_pattern': ('local',), 'sliding_window': 2},
  'alternating': {
    'attention_pattern': ('local', 'global'),
    'sliding_window': 2,
    'no_position_every': 2,
  },
}
DOCUMENTS = np.array([[1, 1, 1, 1, 1], [1, 1, 2, 2, 2], [1, 2, 2, 3, 3]])
POSITIONS_IN_DOCUMENT = np.array([[0, 1, 2, 3, 4], [0, 1, 0, 1, 2], [0, 0, 1, 0, 1]])
# All tokens differ, so that each has its own row of the table.
TOKENS = jnp.arange(B * L).reshape(B, L)
FIRST_ENCODER_TOKEN = 20
RELATIVE = {'relative_buckets': 8, 'relative_max_distance': 9}


def influence(jit, model, params, *batches):
  """Largest gradient of each token's features for each row of the table, (B L, V)."""
  weights_D = np.random.default_rng(1).standard_normal((1, 1, D)).astype(np.float32)

  def weighted_features(table_VX, batch):
    with_table = {**params, 'embedding': {'table': table_VX}}
    x_BLD = model.features(with_table, {}, batch).x_BLD
    return jnp.sum(x_BLD * weights_D, axis=-1).reshape(-1)

  def gradients(table_VX):
    jacobians = [jax.jacrev(weighted_features)(table_VX, batch) for batch in batches]
    return [jnp.max(jnp.abs(jacobian), axis=-1) for jacobian in jacobians]

  return [np.asarray(g) for g in jit(gradients)(params['embedding']['table'])]


def assert_reaches(gradients, expected):
  """Checks that gradients are zero where nothing is expected, and above noise elsewhere."""
  np.testing.assert_array_equal(gradients > 1e-5, expected)
  assert not np.any(gradients[~expected])


def reached_tokens(cfg, documents=None):
  """(B L, B L) bool, True if a token reaches a feature through the layers of a decoder."""
  i, j = np.indices((L, L))
  reached = np.zeros((B, L, B, L), bool)
  for b in range(B):
    through = np.eye(L, dtype=bool)
    for window in cfg.windows:
      mask = (j <= i) & (i - j < (window or L))
      if documents is not None:
        mask &= documents[b][:, None] == documents[b][None, :]
      through = (mask | np.eye(L, dtype=bool)) @ through
    reached[b, :, b, :] = through
  return reached.reshape(B * L, B * L)


# --- decoders -----------------------------------------------------------------------


@pytest.mark.parametrize('windows', WINDOWS)
@pytest.mark.parametrize('position', POSITIONS)
def test_a_decoder_is_causal_within_windows_and_documents(
  jit, tiny, fill, position, windows
):
  cfg = tiny(position=position, **WINDOWS[windows])
  model = build(cfg)
  one_document = Batch(TOKENS)
  packed = Batch(
    TOKENS,
    positions=jnp.asarray(POSITIONS_IN_DOCUMENT),
    segments=jnp.asarray(DOCUMENTS),
  )
  gradients = influence(jit, model, fill(model.shapes), one_document, packed)
  assert_reaches(gradients[0][:, : B * L], reached_tokens(cfg))
  assert_reaches(gradients[1][:, : B * L], reached_tokens(cfg, DOCUMENTS))


@pytest.mark.parametrize('position', ['learned', 'rotary', 'alibi', 't5'])
def test_packed_documents_have_the_features_of_single_documents(
  jit, tiny, fill, position
):
  model = build(
    tiny(position=position, attention_pattern=('global', 'local'), sliding_window=2)
  )
  params = fill(model.shapes)
  row = 2
  bounds = ((0, 1), (1, 3), (3, 5))
  packed_batch = Batch(
    TOKENS,
    positions=jnp.asarray(POSITIONS_IN_DOCUMENT),
    segments=jnp.asarray(DOCUMENTS),
  )

  @jit
  def packed_and_single(params):
    packed = model.features(params, {}, packed_batch).x_BLD[row]
    documents = [Batch(TOKENS[row : row + 1, start:end]) for start, end in bounds]
    single = [model.features(params, {}, batch).x_BLD[0] for batch in documents]
    return packed, jnp.concatenate(single)

  packed, single = packed_and_single(params)
  tolerance = 2e-6 * float(jnp.max(jnp.abs(single)))
  np.testing.assert_allclose(packed, single, rtol=0, atol=tolerance)


@pytest.mark.parametrize('position', ['t5', 'rotary', 'learned', 'alibi', 'none'])
def test_tokens_attend_to_the_prefix_in_both_directions(jit, tiny, fill, position):
  model = build(tiny(prefix_lm=True, position=position, **RELATIVE))
  tokens = jnp.arange(L)[None]
  lengths = (1, 3, 5)
  batches = [Batch(tokens, prefix_lengths=jnp.asarray([length])) for length in lengths]
  *gradients, without_prefix = influence(
    jit, model, fill(model.shapes), *batches, Batch(tokens)
  )
  i, j = np.indices((L, L))
  for length, gradient in zip(lengths, gradients, strict=True):
    assert_reaches(gradient[:, :L], (j <= i) | (j < length))
  assert_reaches(without_prefix[:, :L], j <= i)


# --- encoders -----------------------------------------------------------------------


@pytest.mark.parametrize('position', ['learned', 'rotary', 'alibi', 't5', 'none'])
@pytest.mark.parametrize('window', [None, 2])
def test_an_encoder_attends_in_both_directions(jit, tiny, fill, position, window):
  cfg = tiny(
    architecture='encoder',
    position=position,
    n_layers=1,
    sliding_window=window,
    relative_buckets=8,
    attention_pattern=('local' if window else 'global',),
  )
  model = build(cfg)
  (gradients,) = influence(jit, model, fill(model.shapes), Batch(TOKENS))
  i, j = np.indices((L, L))
  in_window = np.abs(i - j) < (window or L)
  assert_reaches(gradients[:, : B * L], np.kron(np.eye(B, dtype=bool), in_window))


def test_tokens_without_types_have_type_0(jit, tiny, fill):
  model = build(tiny(architecture='encoder', token_types=3))
  params = fill(model.shapes)
  zeros = jnp.zeros((B, L), jnp.int32)

  @jit
  def features(types):
    batch = Batch(TOKENS, token_types=types)
    return model.features(params, {}, batch).x_BLD

  np.testing.assert_array_equal(features(None), features(zeros))
  assert np.abs(features(zeros) - features(zeros + 2)).max() > 1e-2


@pytest.mark.parametrize('position', ['t5', 'rotary', 'learned', 'alibi'])
def test_a_decoder_attends_to_its_earlier_tokens_and_to_the_encoder(
  jit, tiny, fill, position
):
  # The encoder and the decoder have no token in common.
  cfg = tiny(
    architecture='encoder_decoder',
    n_encoder_layers=3,
    max_seq_len=M,
    vocab_size=40,
    position=position,
    **RELATIVE,
  )
  model = build(cfg)
  tokens = jnp.arange(L)[None]
  encoder_tokens = FIRST_ENCODER_TOKEN + jnp.arange(M)[None]
  n_real = 4
  weights = jnp.asarray(np.arange(M) < n_real, jnp.float32)[None]
  full, padded = influence(
    jit,
    model,
    fill(model.shapes),
    Batch(tokens, encoder_tokens=encoder_tokens),
    Batch(tokens, encoder_tokens=encoder_tokens, encoder_weights=weights),
  )
  encoder_rows = slice(FIRST_ENCODER_TOKEN, FIRST_ENCODER_TOKEN + M)
  assert_reaches(full[:, :L], np.tri(L, dtype=bool))
  assert_reaches(full[:, encoder_rows], np.ones((L, M), bool))
  is_real = np.broadcast_to(np.arange(M) < n_real, (L, M))
  assert_reaches(padded[:, encoder_rows], is_real)


# --- precision ----------------------------------------------------------------------


def test_bfloat16_leaves_parameters_and_the_residual_stream_in_float32(tiny):
  model = build(tiny(dtype='bfloat16'))
  assert model.shapes == build(tiny()).shapes
  features = jax.eval_shape(
    lambda params: model.features(
      params, {}, Batch(TOKENS), cache=model.init_cache(B, L)
    ),
    model.shapes,
  )
  assert features.x_BLD.dtype == jnp.float32
  assert features.cache.segments['segment_0'].mixer[0].dtype == jnp.bfloat16


def test_bfloat16_rounds_the_logits(jit, tiny, fill):
  full = build(tiny())
  params = fill(full.shapes)
  exact = jit(full.apply)(params, TOKENS)
  rounded = jit(build(tiny(dtype='bfloat16')).apply)(params, TOKENS)
  assert rounded.dtype == jnp.float32
  largest_error = float(jnp.max(jnp.abs(rounded - exact)) / jnp.max(jnp.abs(exact)))
  assert 1e-4 < largest_error < 0.03


@pytest.mark.parametrize(
  'fields, prevents',
  [
    # XLA cannot merge what a loop computes again. It removes the loop of a single layer.
    ({'n_layers': 3}, False),
    ({'n_layers': 1}, True),
    ({'n_layers': 2, 'mixer_pattern': ('mingru', 'attention')}, True),
    ({'n_layers': 3, 'scan_layers': False}, True),
  ],
  ids=str,
)
def test_what_is_computed_again_is_not_merged(tiny, fields, prevents):
  model = build(tiny(remat='full', **fields))
  text = str(jax.make_jaxpr(lambda params: model.apply(params, TOKENS))(model.shapes))
  assert ('prevent_cse=True' in text) == prevents
