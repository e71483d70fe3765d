"""A parameter tree with every size different, and two stacked layers."""

import jax.numpy as jnp
import numpy as np
import pytest

# N=2 D=14 H=8 K=6 F=20 V=31 L=5
SHAPES = {
  'embedding': {'table': (31, 14)},
  'positional': {'table': (5, 14)},
  'decoder': {
    'segment_0': {
      'attention': {'query': {'kernel': (2, 14, 8, 6), 'bias': (2, 8, 6)}},
      'attention_input_norm': {'scale': (2, 14)},
      'feed_forward': {'down': {'kernel': (2, 20, 14)}},
    }
  },
  'final_norm': {'scale': (14,)},
  'output': {'kernel': (14, 31)},
}


@pytest.fixture
def tree():
  """Returns `tree(seed)`, which makes parameters of standard normal numbers."""

  def make(seed=0):
    rng = np.random.default_rng(seed)

    def fill(shapes):
      if isinstance(shapes, dict):
        return {name: fill(shape) for name, shape in shapes.items()}
      return jnp.asarray(rng.standard_normal(shapes), jnp.float32)

    return fill(SHAPES)

  return make
