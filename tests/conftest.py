"""What every test shares: four fake CPU devices, rank promotion raises, no compile cache, no network."""

import os

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault('LMHP_COMPILE_CACHE', 'off')

import jax
import pytest

jax.config.update('jax_num_cpu_devices', 4)
jax.config.update('jax_numpy_rank_promotion', 'raise')


def pytest_collection_modifyitems(items):
  """Skips the oracle's tests, with the reason, where the oracle is not installed."""
  try:
    import torch  # noqa: F401
    import transformers  # noqa: F401
  except ImportError as missing:
    reason = pytest.mark.skip(reason=f'needs the extra oracle (pip install "lmhp[oracle]"): {missing}')
    for item in items:
      if 'oracle' in item.keywords:
        item.add_marker(reason)
