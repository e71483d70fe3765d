"""Encoders: sight of both sides, segments, shared layers, runs of unlike layers, and the same verbs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lmhp
from lmhp.model.batch import Batch
from lmhp.model.config import ModelConfig
from lmhp.model.transformer import build
from lmhp.params import walk_arrays

B, L = 3, 5
TOKENS = jnp.arange(B * L).reshape(B, L)


@pytest.mark.parametrize('position', ['learned', 'rotary', 'alibi', 't5', 'none'])
@pytest.mark.parametrize('window', [None, 2])
def test_a_token_sees_both_sides_as_far_as_its_window(
  jit, tiny, fill, position, window
):
  cfg = tiny(
    architecture='encoder',
    position=position,
    n_layers=1,
    sliding_window=window,
    relative_buckets=8,
    attention_pattern=('local' if window else 'global',),
  )
  model = build(cfg)
  params = fill(model.shapes)

  def features(table):
    x_BLD = model.features(
      {**params, 'embedding': {'table': table}}, {}, Batch(TOKENS)
    )[0]
    return jnp.sum(x_BLD, axis=-1).reshape(-1)

  reached = (
    np.abs(jit(jax.jacrev(features))(params['embedding']['table'])[:, : B * L]).max(-1)
    > 1e-6
  )
  i, j = np.indices((L, L))
  np.testing.assert_array_equal(
    reached, np.kron(np.eye(B, dtype=bool), abs(i - j) < (window or L))
  )


def test_token_types_add_their_row_and_the_first_by_default(jit, tiny, fill):
  cfg = tiny(architecture='encoder', token_types=3)
  model = build(cfg)
  params = fill(model.shapes)
  features = jit(
    lambda types: model.features(params, {}, Batch(TOKENS, token_types=types))[0]
  )
  zeros = jnp.zeros((B, L), jnp.int32)
  np.testing.assert_array_equal(
    features(zeros), jit(lambda: model.features(params, {}, Batch(TOKENS))[0])()
  )
  assert np.abs(features(zeros) - features(zeros + 2)).max() > 1e-2


@pytest.mark.parametrize('scan', [True, False])
def test_shared_layers_are_one_layer_many_times(jit, tiny, fill, scan):
  make = lambda share: build(
    tiny(architecture='encoder', n_layers=3, share_layers=share, scan_layers=scan)
  )
  shared, apart = make(True), make(False)
  params = fill(shared.shapes)
  assert all(
    leaf.ndim == dict(walk_arrays(apart.shapes))[path].ndim - 1
    for path, leaf in walk_arrays(params)
    if path.startswith('encoder/')
  )
  stacked = {
    **params,
    'encoder': jax.tree.map(lambda x: jnp.stack([x] * 3), params['encoder']),
  }
  out = [
    jit(model.apply)(p, TOKENS) for model, p in ((shared, params), (apart, stacked))
  ]
  np.testing.assert_allclose(*out, rtol=0, atol=1e-6)


def test_a_first_layer_without_norm_is_a_segment_of_its_own(jit, tiny, fill):
  cfg = tiny(n_layers=4, first_attention_norm=False)
  model = build(cfg)
  assert cfg.segments == ((0, 1), (1, 3))
  names = {path: array.shape for path, array in walk_arrays(model.shapes)}
  assert names['decoder/segment_1/attention_input_norm/scale'] == (3, 14)
  assert 'decoder/segment_0/attention_input_norm/scale' not in names
  params = fill(model.shapes)
  full = jit(lambda: model.features(params, {}, Batch(TOKENS))[0])()
  cached = jit(
    lambda: model.features(params, {}, Batch(TOKENS), cache=model.init_cache(B, L))[0]
  )()
  np.testing.assert_allclose(cached, full, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
  'fields, words',
  [
    (
      dict(embedding_projection='sum'),
      "model.embedding_projection: got 'sum', expected tokens",
    ),
    (
      dict(share_layers=True, first_attention_norm=False),
      'model.share_layers: got True, expected False',
    ),
    (
      dict(first_attention_norm=False, norm_placement='post'),
      'model.first_attention_norm: got False, expected True',
    ),
    (
      dict(architecture='encoder', position='t5', relative_buckets=6),
      'model.relative_buckets: got 6, expected a multiple',
    ),
  ],
)
def test_what_does_not_fit(fields, words):
  with pytest.raises(lmhp.ConfigError, match=words):
    ModelConfig(vocab_size=31, **fields)


# --- the verbs --------------------------------------------------------------------------------------------------------


def bert(**train):
  config = lmhp.default_config()
  config.model.update(
    dict(
      architecture='encoder',
      position='learned',
      token_types=2,
      head_transform=True,
      head_bias=True,
      norm_bias=True,
      norm_placement='post',
      embedding_norm=True,
      d_model=24,
      n_layers=2,
      n_heads=4,
      d_ff=48,
      max_seq_len=24,
    )
  )
  config.data.objective = 'masked'
  config.train.update(dict(steps=6, batch_size=4) | train)
  config.evaluate.update(dict(sequences=8, final_sequences=8))
  return config


def test_an_encoder_trains_packs_resumes_and_counts(tmp_path):
  alone = lmhp.train(bert(), workdir=tmp_path / 'alone', display='none')
  assert (
    alone.evaluations['eval_loss_nats'][-1] < alone.evaluations['eval_loss_nats'][0]
  )
  assert lmhp.count(bert())['total'] == sum(
    x.size for x in jax.tree.leaves(alone.params)
  )
  space = {
    'data.mask_fraction': lmhp.Choice(0.15, 0.4),
    'optimizer.learning_rate': lmhp.Choice(1e-3, 3e-3),
  }
  found = lmhp.sweep(
    bert(),
    lmhp.SweepConfig(space=space, search='grid', confirm_points=0),
    workdir=tmp_path / 'sweep',
    display='none',
    report=False,
  )
  values = {tuple(t.parameters.values()): t.values[0] for t in found.trials}
  assert len(set(values.values())) == 4
  base = lmhp.train(
    bert(),
    workdir=tmp_path / 'one',
    display='none',
    overrides={'data.mask_fraction': 0.4, 'optimizer.learning_rate': 3e-3},
  )
  key = next(k for k in values if set(k) == {0.4, 3e-3})
  np.testing.assert_allclose(
    values[key], base.evaluations['eval_loss_nats'][-1], rtol=1e-5
  )


def test_an_encoder_does_not_generate_and_needs_the_masked_objective(tmp_path):
  lmhp.train(bert(), workdir=tmp_path / 'run', display='none')
  with pytest.raises(lmhp.ConfigError, match='model.architecture=encoder'):
    lmhp.generate(tmp_path / 'run', 'The ')
  for overrides, word in (
    ({'data.objective': 'causal'}, 'masked'),
    ({'model.architecture': 'decoder'}, 'causal'),
  ):
    with pytest.raises(
      lmhp.ConfigError,
      match=f'data.objective: got .*, expected {word} if model.architecture',
    ):
      lmhp.train(bert(), display='none', overrides=overrides)
