"""Parameters of a network: their paths and shapes, their initial values, and their effect."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.model.config import ModelConfig
from lmhp.model.transformer import build
from lmhp.params import list_params, walk_arrays

B, L = 3, 5
# All tokens differ, so that each has its own row of the table.
TOKENS = jnp.arange(B * L).reshape(B, L)


# --- paths and shapes ---------------------------------------------------------------

BLOCK = 'decoder/segment_0/'
PATHS = {
  'gpt2': (
    {
      'position': 'learned',
      'head_dim': None,
      'd_model': 16,
      'n_kv_heads': None,
      'norm_bias': True,
      'qkv_bias': True,
      'attention_output_bias': True,
      'feed_forward_bias': True,
    },
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
    {
      'norm': 'rmsnorm',
      'gated': True,
      'activation': 'silu',
      'tie_embeddings': False,
    },
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
    {
      'norm_placement': 'sandwich',
      'qk_norm': 'head',
      'attention_sinks': True,
      'embedding_norm': True,
      'embedding_dim': 10,
      'position': 't5',
      'head_bias': True,
      'scan_layers': False,
    },
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
def test_paths_and_shapes(tiny, name):
  """Paths are public: checkpoints, masks and adapters name parameters by them."""
  fields, expected = PATHS[name]
  arrays = dict(walk_arrays(build(tiny(**fields)).shapes))
  assert {path: array.shape for path, array in arrays.items()} == expected
  assert {array.dtype for array in arrays.values()} == {jnp.dtype('float32')}


# --- effect -------------------------------------------------------------------------

ALL_BIASES = {
  'norm_bias': True,
  'qkv_bias': True,
  'attention_output_bias': True,
  'feed_forward_bias': True,
  'head_bias': True,
}


@pytest.mark.parametrize(
  'fields',
  [
    {
      **ALL_BIASES,
      'gated': True,
      'qk_norm': 'head',
      'attention_sinks': True,
      'norm_placement': 'sandwich',
      'tie_embeddings': False,
      'embedding_norm': True,
    },
    {
      **ALL_BIASES,
      'position': 'learned',
      'norm_placement': 'post',
      'final_norm': True,
      'embedding_dim': 10,
      'qk_norm': 'full',
    },
    {
      'position': 't5',
      'parallel_residual': True,
      'relative_buckets': 4,
      'relative_max_distance': 8,
    },
  ],
  ids=['sandwich', 'post', 'parallel'],
)
def test_every_parameter_has_a_gradient(jit, tiny, fill, fields):
  cfg = tiny(**fields)
  model = build(cfg)

  def loss(params):
    logits = model.apply(params, TOKENS)
    return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - logits[..., 3])

  gradients = jit(jax.grad(loss))(fill(model.shapes))
  for path, gradient in walk_arrays(gradients):
    # The bias of keys adds the same number to all logits of a query.
    if path.endswith('key/bias') and cfg.qk_norm == 'none':
      continue
    # Rows of unused tokens have no gradient.
    rows = gradient[: B * L] if path == 'embedding/table' else gradient
    assert np.mean(np.abs(rows) > 0) > 0.7, path


# --- initial values -----------------------------------------------------------------


@pytest.mark.parametrize(
  'fields',
  [
    {},
    {'init': 'normal', 'position': 'learned'},
    {'init': 'fan_in', 'position': 'alibi', 'tie_embeddings': False},
    {'tie_embeddings': False, 'position': 't5', 'norm_placement': 'sandwich'},
    {'position': 'none', 'gated': True},
    {'position': 'sinusoidal', 'norm_placement': 'post'},
    {'norm_placement': 'output', 'parallel_residual': True},
  ],
  ids=str,
)
def test_the_initial_loss_is_near_that_of_a_uniform_guess(jit, fields):
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
    params = model.init(key, {'init_scale': 1.0})
    log_p = jax.nn.log_softmax(model.apply(params, jnp.asarray(tokens)))
    chosen = jnp.take_along_axis(log_p, jnp.asarray(targets)[..., None], axis=-1)
    return -jnp.mean(chosen)

  assert float(loss(jax.random.key(0))) == pytest.approx(math.log(512), rel=0.02)


WIDTH, D_FF, N_LAYERS = 96, 200, 8


@pytest.fixture(scope='module', params=['normal', 'gpt2', 'fan_in'])
def initial(request, jit):
  """Config, its function `init`, and the parameters of seed 0 with a scale of 1."""
  cfg = ModelConfig(
    vocab_size=300,
    d_model=WIDTH,
    n_layers=N_LAYERS,
    n_heads=6,
    d_ff=D_FF,
    max_seq_len=64,
    position='learned',
    init=request.param,
    tie_embeddings=False,
    norm_bias=True,
    qkv_bias=True,
    norm_unit_offset=request.param == 'normal',
    dtype='float32',
  )
  init = jit(build(cfg).init)
  return cfg, init, init(jax.random.key(0), {'init_scale': 1.0})


def expected_std(cfg, param):
  """Standard deviation of a weight or table: 0.02, or from its inputs, or from the depth."""
  if cfg.init == 'fan_in' and param.role == 'weight' and param.path != 'output/kernel':
    n_inputs = D_FF if param.path.endswith('down/kernel') else WIDTH
    return n_inputs**-0.5
  writes_residual = ('attention/output/kernel', 'feed_forward/down/kernel')
  if cfg.init == 'gpt2' and param.path.endswith(writes_residual):
    return 0.02 / math.sqrt(2 * N_LAYERS)
  return 0.02


def correlation(a, b):
  return np.corrcoef(np.ravel(a), np.ravel(b))[0, 1]


def drawn_params(params):
  """Pairs of each `Param` with a random initial value, and its array."""
  pairs = zip(list_params(params), dict(walk_arrays(params)).values(), strict=True)
  return [(param, array) for param, array in pairs if param.role in ('weight', 'table')]


def test_biases_start_at_zero_and_scales_at_the_identity(initial):
  cfg, _, params = initial
  for param, (path, array) in zip(
    list_params(params), walk_arrays(params), strict=True
  ):
    if param.role in ('bias', 'scale'):
      is_one = param.role == 'scale' and not cfg.norm_unit_offset
      assert np.all(array == float(is_one)), path


def test_weights_and_tables_have_the_standard_deviation_of_the_config(initial):
  cfg, _, params = initial
  for param, array in drawn_params(params):
    std = expected_std(cfg, param)
    relative_error = 4 / math.sqrt(2 * array.size)
    assert float(jnp.std(array)) == pytest.approx(std, rel=relative_error), param.path
    assert abs(float(jnp.mean(array))) < 4 * std / math.sqrt(array.size), param.path


def test_the_scale_multiplies_the_draws_alone(initial):
  _, init, params = initial
  doubled = dict(walk_arrays(init(jax.random.key(0), {'init_scale': 2.0})))
  is_drawn = {param.path for param, _ in drawn_params(params)}
  for path, array in walk_arrays(params):
    factor = 2 if path in is_drawn else 1
    np.testing.assert_array_equal(doubled[path], factor * array)


def test_seeds_and_layers_are_independent(initial):
  _, init, params = initial
  other = dict(walk_arrays(init(jax.random.key(1), {'init_scale': 1.0})))
  for param, array in drawn_params(params):
    bound = 4 / math.sqrt(array.size)
    assert abs(correlation(array, other[param.path])) < bound, param.path
    if param.is_stacked:
      bound = 5 / math.sqrt(array[0].size)
      assert abs(correlation(array[0], array[1])) < bound, param.path


def test_the_draw_of_a_parameter_depends_on_its_path_alone(jit, tiny):
  def initial_arrays(cfg):
    params = jit(build(cfg).init)(jax.random.key(7), {'init_scale': 1.0})
    return dict(walk_arrays(params))

  a = initial_arrays(tiny())
  b = initial_arrays(
    tiny(qkv_bias=True, position='learned', tie_embeddings=False, gated=True)
  )
  shared = set(a) & set(b)
  assert len(shared) == 10
  assert len(b) > 14
  for path in shared:
    np.testing.assert_array_equal(a[path], b[path])
