"""The programs of these tests run once: compiled without optimization, which halves the time of them all."""

import jax
import pytest


@pytest.fixture(autouse=True, scope='module')
def unoptimized():
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)
