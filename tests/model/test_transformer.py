"""Properties of the whole network: who sees whom, scan and remat, the cache, documents, paths, init."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.model.batch import Batch
from lmhp.model.config import POSITIONS, REMAT_POLICIES, ModelConfig
from lmhp.model.transformer import build
from lmhp.params import list_params, walk_arrays

B, L, D = 3, 5, 14
WINDOWS = {
  'global': {},
  'local': dict(attention_pattern=('local',), sliding_window=2),
  'alternating': dict(
    attention_pattern=('local', 'global'), sliding_window=2, no_position_every=2
  ),
}
DOCUMENTS = np.array([[1, 1, 1, 1, 1], [1, 1, 2, 2, 2], [1, 2, 2, 3, 3]])
PLACES = np.array([[0, 1, 2, 3, 4], [0, 1, 0, 1, 2], [0, 0, 1, 0, 1]])
TOKENS = jnp.arange(B * L).reshape(
  B, L
)  # all different, so that each has a row of the table to itself


def reach(cfg, documents=None):
  """(B L, B L) bool: which token's embedding reaches which token's features, through all layers."""
  i, j = np.indices((L, L))
  out = np.zeros((B, L, B, L), bool)
  for b in range(B):
    through = np.eye(L, dtype=bool)
    for window in cfg.windows:
      sees = (j <= i) & (i - j < (window or L))
      if documents is not None:
        sees &= documents[b][:, None] == documents[b][None, :]
      through = (sees | np.eye(L, dtype=bool)) @ through
    out[b, :, b, :] = through
  return out.reshape(B * L, B * L)


@pytest.mark.parametrize('windows', WINDOWS)
@pytest.mark.parametrize('position', POSITIONS)
def test_causality_by_gradient(jit, tiny, fill, position, windows):
  """A token's features depend on exactly the tokens that the masks let through: gradients are zero, or are not."""
  cfg = tiny(position=position, **WINDOWS[windows])
  model = build(cfg)
  params = fill(model.shapes)
  weights_D = jnp.asarray(
    np.random.default_rng(1).standard_normal((1, 1, D)), jnp.float32
  )

  def influence(table_VX, batch):
    features = lambda t: model.features(
      {**params, 'embedding': {'table': t}}, {}, batch
    )[0]
    jacobian = jax.jacrev(
      lambda t: jnp.sum(features(t) * weights_D, axis=-1).reshape(-1)
    )(table_VX)
    return jnp.max(jnp.abs(jacobian[:, : B * L]), axis=-1)

  batches = [
    Batch(TOKENS),
    Batch(TOKENS, positions=jnp.asarray(PLACES), segments=jnp.asarray(DOCUMENTS)),
  ]
  alone, packed = jit(lambda table: [influence(table, batch) for batch in batches])(
    params['embedding']['table']
  )
  np.testing.assert_array_equal(alone > 1e-5, reach(cfg))
  np.testing.assert_array_equal(packed > 1e-5, reach(cfg, DOCUMENTS))
  assert not np.any(np.where(reach(cfg), 0, alone)) and not np.any(
    np.where(reach(cfg, DOCUMENTS), 0, packed)
  )


CACHES = {
  **{position: dict(position=position) for position in POSITIONS},
  'windowed': dict(attention_pattern=('local',), sliding_window=2, n_kv_heads=1),
  'alternating': dict(
    WINDOWS['alternating'],
    n_kv_heads=None,
    rotary_base_local=50.0,
    attention_sinks=True,
  ),
  'post': dict(
    position='alibi',
    norm_placement='post',
    qk_norm='l2',
    attention_pattern=('global', 'local'),
    sliding_window=3,
  ),
}


@pytest.mark.parametrize('name', CACHES)
def test_decoding_with_a_cache_equals_the_full_pass(jit, tiny, fill, name):
  """Two tokens at once, then one by one; the cache is longer than what is in it."""
  cfg = tiny(**CACHES[name])
  model = build(cfg)
  params = fill(model.shapes)

  @jit
  def both(params):
    full = model.features(params, {}, Batch(TOKENS))[0]
    start, _, cache = model.features(
      params, {}, Batch(TOKENS[:, :2]), cache=model.init_cache(B, L + 2)
    )

    def step(cache, token_B):
      x_B1D, _, cache = model.features(params, {}, Batch(token_B[:, None]), cache=cache)
      return cache, x_B1D[:, 0]

    cache, rest = jax.lax.scan(step, cache, TOKENS[:, 2:].T)
    return (
      full,
      jnp.concatenate([start, jnp.swapaxes(rest, 0, 1)], axis=1),
      cache.length,
    )

  full, decoded, length = both(params)
  assert length == L
  np.testing.assert_allclose(
    decoded, full, rtol=0, atol=2e-6 * float(jnp.max(jnp.abs(full)))
  )


@pytest.mark.parametrize('position', ['learned', 'rotary', 'alibi', 't5'])
def test_packed_documents_are_as_documents_alone(jit, tiny, fill, position):
  model = build(
    tiny(position=position, attention_pattern=('global', 'local'), sliding_window=2)
  )
  params, row = fill(model.shapes), 2
  pieces = [TOKENS[row : row + 1, start:end] for start, end in ((0, 1), (1, 3), (3, 5))]

  @jit
  def both(params):
    packed = model.features(
      params,
      {},
      Batch(TOKENS, positions=jnp.asarray(PLACES), segments=jnp.asarray(DOCUMENTS)),
    )[0][row]
    return packed, jnp.concatenate(
      [model.features(params, {}, Batch(piece))[0][0] for piece in pieces]
    )

  packed, alone = both(params)
  np.testing.assert_allclose(
    packed, alone, rtol=0, atol=2e-6 * float(jnp.max(jnp.abs(alone)))
  )


def loss_and_gradients(jit, cfg, params):
  model = build(cfg)

  def loss(params):
    logits = model.apply(params, TOKENS)
    return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - logits[..., 3])

  return jit(jax.value_and_grad(loss))(params)


@pytest.mark.parametrize(
  'way',
  [
    dict(scan_layers=False),
    *(dict(remat=policy) for policy in REMAT_POLICIES[1:]),
    dict(remat='full', scan_layers=False),
  ],
  ids=str,
)
def test_unrolled_and_remat_equal_plain(jit, tiny, plain, way):
  """Every way to compute gives the same loss and the same gradients, from the same parameters."""
  fields, params, expected = plain
  cfg = tiny(**fields, **way)
  assert build(cfg).shapes == jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params
  )
  got = loss_and_gradients(jit, cfg, params)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-6), got, expected
  )


@pytest.fixture(scope='module')
def plain(jit, tiny, fill):
  """Three layers that see different things; parameters, loss and gradients of the scanned program."""
  fields = dict(
    n_layers=3,
    no_position_every=2,
    attention_pattern=('local', 'global'),
    sliding_window=2,
    position='t5',
    gated=True,
  )
  params = fill(build(tiny(**fields)).shapes)
  return fields, params, loss_and_gradients(jit, tiny(**fields), params)


@pytest.mark.parametrize('position', ['rotary', 'alibi', 't5'])
def test_every_second_layer_knows_no_positions(jit, tiny, fill, position):
  """With a first layer that adds nothing, the second is the only layer of a model without positions."""
  two, one = (
    build(tiny(position=position, no_position_every=2)),
    build(tiny(position='none', n_layers=1)),
  )
  params = fill(two.shapes)
  layers = params['decoder']['segment_0']
  for part, name in (('attention', 'output'), ('feed_forward', 'down')):
    layers[part][name]['kernel'] = layers[part][name]['kernel'].at[0].set(0)
  second = {**params, 'decoder': {'segment_0': jax.tree.map(lambda x: x[1:], layers)}}
  np.testing.assert_allclose(
    jit(two.apply)(params, TOKENS), jit(one.apply)(second, TOKENS), rtol=0, atol=1e-5
  )


def test_the_scanned_program_does_not_grow_with_depth(tiny):
  """One traced block serves all layers, also where they see different things; unrolled, each has its own."""

  def equations(n_layers, **fields):
    model = build(
      tiny(
        n_layers=n_layers,
        attention_pattern=('local', 'global'),
        sliding_window=2,
        **fields,
      )
    )
    loss = lambda params: jnp.sum(model.apply(params, TOKENS))
    return len(str(jax.make_jaxpr(jax.grad(loss))(model.shapes)).splitlines())

  assert equations(24) <= 1.02 * equations(2)


def test_no_parameter_is_without_effect(jit, tiny, fill):
  """Each number of each leaf has a gradient: rows of tables that no token uses aside."""
  every = dict(
    norm_bias=True,
    qkv_bias=True,
    attention_output_bias=True,
    feed_forward_bias=True,
    head_bias=True,
  )
  configs = [
    tiny(
      **every,
      gated=True,
      qk_norm='head',
      attention_sinks=True,
      norm_placement='sandwich',
      tie_embeddings=False,
      embedding_norm=True,
    ),
    tiny(
      **every,
      position='learned',
      norm_placement='post',
      final_norm=True,
      embedding_dim=10,
      qk_norm='full',
    ),
    tiny(
      position='t5', parallel_residual=True, relative_buckets=4, relative_max_distance=8
    ),
  ]
  for cfg in configs:
    _, gradients = loss_and_gradients(jit, cfg, fill(build(cfg).shapes))
    for path, gradient in walk_arrays(gradients):
      rows = gradient[: B * L] if path == 'embedding/table' else gradient
      if path.endswith('key/bias') and cfg.qk_norm == 'none':
        continue  # adds the same to all logits of a query
      assert np.mean(np.abs(rows) > 0) > 0.7, (path, cfg)


# --- init -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
  'fields',
  [
    dict(),
    dict(init='normal', position='learned'),
    dict(init='fan_in', position='alibi', tie_embeddings=False),
    dict(tie_embeddings=False, position='t5', norm_placement='sandwich'),
    dict(position='none', gated=True),
    dict(position='sinusoidal', norm_placement='post'),
    dict(norm_placement='output', parallel_residual=True),
  ],
  ids=str,
)
def test_loss_at_init_is_near_that_of_a_uniform_guess(jit, fields):
  cfg = ModelConfig(
    vocab_size=512,
    d_model=64,
    n_layers=3,
    n_heads=4,
    max_seq_len=32,
    dtype='float32',
    **fields,
  )
  model = build(cfg)
  tokens, targets = np.random.default_rng(0).integers(0, 512, (2, 4, 32))

  @jit
  def loss(key):
    log_p = jax.nn.log_softmax(
      model.apply(model.init(key, {'init_scale': 1.0}), jnp.asarray(tokens))
    )
    return -jnp.mean(
      jnp.take_along_axis(log_p, jnp.asarray(targets)[..., None], axis=-1)
    )

  assert float(loss(jax.random.key(0))) == pytest.approx(math.log(512), rel=0.02)


@pytest.mark.parametrize('init', ['normal', 'gpt2', 'fan_in'])
def test_initial_parameters(jit, init):
  """Standard deviations by role, as GPT-2's and the config say; the scale multiplies draws alone."""
  cfg = ModelConfig(
    vocab_size=300,
    d_model=96,
    n_layers=8,
    n_heads=6,
    d_ff=200,
    max_seq_len=64,
    position='learned',
    init=init,
    tie_embeddings=False,
    norm_bias=True,
    qkv_bias=True,
    norm_unit_offset=init == 'normal',
    dtype='float32',
  )
  model = build(cfg)
  make = jit(model.init)
  draws = ((0, 1), (0, 2), (1, 1))
  params, doubled, other = (
    make(jax.random.key(seed), {'init_scale': scale}) for seed, scale in draws
  )
  fan_in = {
    'query': 96,
    'key': 96,
    'value': 96,
    'attention/output': 96,
    'up': 96,
    'down': 200,
  }
  for leaf, (path, array), (_, twice), (_, else_) in zip(
    list_params(params), walk_arrays(params), walk_arrays(doubled), walk_arrays(other)
  ):
    if leaf.role in ('bias', 'scale'):
      constant = 1.0 if leaf.role == 'scale' and init != 'normal' else 0.0
      assert np.all(array == constant) and np.all(twice == constant), path
      continue
    std = 0.02
    if (
      init == 'fan_in' and leaf.role == 'weight' and path != 'output/kernel'
    ):  # the head starts small
      std = (
        next(
          n for name, n in fan_in.items() if path.removesuffix('/kernel').endswith(name)
        )
        ** -0.5
      )
    if init == 'gpt2' and path.endswith(
      ('attention/output/kernel', 'feed_forward/down/kernel')
    ):
      std /= 4  # sqrt(2 * 8 layers)
    assert float(jnp.std(array)) == pytest.approx(
      std, rel=4 / math.sqrt(2 * array.size)
    ), path
    assert abs(float(jnp.mean(array))) < 4 * std / math.sqrt(array.size), path
    np.testing.assert_array_equal(twice, 2 * array)
    assert abs(np.corrcoef(np.ravel(array), np.ravel(else_))[0, 1]) < 4 / math.sqrt(
      array.size
    ), path
    if array.ndim > 2:  # layers are drawn apart
      assert abs(
        np.corrcoef(np.ravel(array[0]), np.ravel(array[1]))[0, 1]
      ) < 5 / math.sqrt(array[0].size), path


def test_a_parameter_is_drawn_by_its_name(jit, tiny):
  """What else a model has changes no draw: two models share the parameters that they both have."""
  a, b = (
    dict(walk_arrays(jit(build(cfg).init)(jax.random.key(7), {'init_scale': 1.0})))
    for cfg in (
      tiny(),
      tiny(qkv_bias=True, position='learned', tie_embeddings=False, gated=True),
    )
  )
  shared = set(a) & set(b)
  assert len(shared) == 10 and len(b) > 14
  for path in shared:
    np.testing.assert_array_equal(a[path], b[path])


# --- shapes and names -----------------------------------------------------------------------------------------------

BLOCK = 'decoder/segment_0/'
PATHS = {
  'gpt2': (
    dict(
      position='learned',
      head_dim=None,
      d_model=16,
      n_kv_heads=None,
      norm_bias=True,
      qkv_bias=True,
      attention_output_bias=True,
      feed_forward_bias=True,
    ),
    {
      'embedding/table': (31, 16),
      'positional/table': (5, 16),
      BLOCK + 'attention/query/kernel': (2, 16, 8, 2),
      BLOCK + 'attention/query/bias': (2, 8, 2),
      BLOCK + 'attention/key/kernel': (2, 16, 8, 2),
      BLOCK + 'attention/key/bias': (2, 8, 2),
      BLOCK + 'attention/value/kernel': (2, 16, 8, 2),
      BLOCK + 'attention/value/bias': (2, 8, 2),
      BLOCK + 'attention/output/kernel': (2, 8, 2, 16),
      BLOCK + 'attention/output/bias': (2, 16),
      BLOCK + 'attention_input_norm/scale': (2, 16),
      BLOCK + 'attention_input_norm/bias': (2, 16),
      BLOCK + 'feed_forward_input_norm/scale': (2, 16),
      BLOCK + 'feed_forward_input_norm/bias': (2, 16),
      BLOCK + 'feed_forward/up/kernel': (2, 16, 20),
      BLOCK + 'feed_forward/up/bias': (2, 20),
      BLOCK + 'feed_forward/down/kernel': (2, 20, 16),
      BLOCK + 'feed_forward/down/bias': (2, 16),
      'final_norm/scale': (16,),
      'final_norm/bias': (16,),
    },
  ),
  'llama': (
    dict(norm='rmsnorm', gated=True, activation='silu', tie_embeddings=False),
    {
      'embedding/table': (31, 14),
      'output/kernel': (14, 31),
      BLOCK + 'attention/query/kernel': (2, 14, 8, 6),
      BLOCK + 'attention/key/kernel': (2, 14, 4, 6),
      BLOCK + 'attention/value/kernel': (2, 14, 4, 6),
      BLOCK + 'attention/output/kernel': (2, 8, 6, 14),
      BLOCK + 'attention_input_norm/scale': (2, 14),
      BLOCK + 'feed_forward_input_norm/scale': (2, 14),
      BLOCK + 'feed_forward/gate/kernel': (2, 14, 20),
      BLOCK + 'feed_forward/up/kernel': (2, 14, 20),
      BLOCK + 'feed_forward/down/kernel': (2, 20, 14),
      'final_norm/scale': (14,),
    },
  ),
  'everything else': (
    dict(
      norm_placement='sandwich',
      qk_norm='head',
      attention_sinks=True,
      embedding_norm=True,
      embedding_dim=10,
      position='t5',
      head_bias=True,
      scan_layers=False,
    ),
    {
      'embedding/table': (31, 10),
      'embedding/project/kernel': (10, 14),
      'embedding_norm/scale': (14,),
      'decoder/relative_bias/table': (32, 8),
      BLOCK + 'attention/query/kernel': (2, 14, 8, 6),
      BLOCK + 'attention/key/kernel': (2, 14, 4, 6),
      BLOCK + 'attention/value/kernel': (2, 14, 4, 6),
      BLOCK + 'attention/output/kernel': (2, 8, 6, 14),
      BLOCK + 'attention/query_norm/scale': (2, 6),
      BLOCK + 'attention/key_norm/scale': (2, 6),
      BLOCK + 'attention/sinks': (2, 8),
      BLOCK + 'attention_input_norm/scale': (2, 14),
      BLOCK + 'attention_output_norm/scale': (2, 14),
      BLOCK + 'feed_forward_input_norm/scale': (2, 14),
      BLOCK + 'feed_forward_output_norm/scale': (2, 14),
      BLOCK + 'feed_forward/up/kernel': (2, 14, 20),
      BLOCK + 'feed_forward/down/kernel': (2, 20, 14),
      'final_norm/scale': (14,),
      'output/project/kernel': (14, 10),
      'output/bias': (31,),
    },
  ),
}


@pytest.mark.parametrize('name', PATHS)
def test_paths_are_public(tiny, name):
  """Checkpoints, masks and adapters name parameters by path: a path that changes breaks its users."""
  fields, expected = PATHS[name]
  shapes = dict(walk_arrays(build(tiny(**fields)).shapes))
  assert {path: s.shape for path, s in shapes.items()} == expected
  assert {s.dtype for s in shapes.values()} == {jnp.dtype('float32')}


def test_the_compute_dtype_leaves_parameters_and_stream_in_float32(jit, tiny, fill):
  """In bfloat16 the products are rounded, and nothing else."""
  half, full = build(tiny(dtype='bfloat16')), build(tiny())
  params = fill(half.shapes)
  assert half.shapes == full.shapes
  x, _, cache = jax.eval_shape(
    lambda p: half.features(p, {}, Batch(TOKENS), cache=half.init_cache(B, L)), params
  )
  assert (
    x.dtype == jnp.float32
    and cache.segments['segment_0'].mixer[0].dtype == jnp.bfloat16
  )
  rounded, exact = (jit(model.apply)(params, TOKENS) for model in (half, full))
  assert rounded.dtype == jnp.float32
  assert (
    1e-4 < float(jnp.max(jnp.abs(rounded - exact)) / jnp.max(jnp.abs(exact))) < 0.03
  )


def test_init_cache(tiny):
  cache = build(tiny()).init_cache(B, 7)
  keys_and_values = cache.segments['segment_0'].mixer
  assert [x.shape for x in keys_and_values] == [(2, B, 7, 4, 6)] * 2
  assert cache.length == 0
  assert not any(np.any(x) for x in keys_and_values)
