"""Settings and fixtures of all tests: four fake CPU devices, no rank promotion, no network."""

import functools
import os
import signal

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault('LMHP_COMPILE_CACHE', 'off')

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_runs import small, text  # noqa: F401  (fixtures of all tests)

jax.config.update('jax_num_cpu_devices', 4)
jax.config.update('jax_numpy_rank_promotion', 'raise')


def pytest_collection_modifyitems(items):
  """Skips the tests marked `oracle` if torch or transformers is not installed."""
  try:
    import torch  # noqa: F401
    import transformers  # noqa: F401
  except ImportError as missing:
    reason = pytest.mark.skip(
      reason=f'needs the extra oracle (pip install "lmhp[oracle]"): {missing}'
    )
    for item in items:
      if 'oracle' in item.keywords:
        item.add_marker(reason)


@pytest.fixture(autouse=True)
def signals_stay():
  """Restores the signal handlers after each test."""
  before = {
    number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)
  }
  yield
  for number, handler in before.items():
    if handler is not None:  # None: not Python's, which cannot be set again
      signal.signal(number, handler)


TINY = {
  'vocab_size': 31,
  'max_seq_len': 5,
  'd_model': 14,
  'n_layers': 2,
  'n_heads': 8,
  'n_kv_heads': 4,
  'head_dim': 6,
  'd_ff': 20,
  'dtype': 'float32',
}


@pytest.fixture(scope='session')
def tiny():
  """`tiny(**keys)` builds a model whose sizes all differ. Its batch has B=3 and L=5."""
  from lmhp.model.config import ModelConfig

  return lambda **fields: ModelConfig(**TINY | fields)


@pytest.fixture(scope='session')
def fill():
  """`fill(shapes, seed=0, std=0.3)` draws parameters.

  No parameter is neutral, unlike the initial biases and scales.
  """

  def make(shapes, seed=0, std=0.3):
    rng = np.random.default_rng(seed)

    def draw(path, shape):
      gain = float(path[-1].key == 'scale')
      return jnp.asarray(gain + std * rng.standard_normal(shape.shape), jnp.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)

  return make


QUICK = {
  'xla_backend_optimization_level': 0,
  'xla_llvm_disable_expensive_passes': True,
  'xla_cpu_use_fusion_emitters': False,
  'xla_cpu_parallel_codegen_split_count': 1,
}


@pytest.fixture(scope='session')
def jit():
  """`jax.jit` for programs that run once or twice. It compiles in a fifth of the time."""
  quick = functools.partial(jax.jit, compiler_options=QUICK)
  try:
    quick(lambda: jnp.zeros(()))()
  except jax.errors.JaxRuntimeError:  # another XLA, other options
    return jax.jit
  return quick
