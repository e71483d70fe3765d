"""Sinusoidal embeddings of positions against transformers."""

import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.model.positional import sinusoids


@pytest.mark.oracle
def test_sinusoids_against_transformers(jit):
  from transformers.models.xglm.modeling_xglm import XGLMSinusoidalPositionalEmbedding

  expected = XGLMSinusoidalPositionalEmbedding.get_embedding(40, 14).numpy()
  embeddings = jit(lambda positions: sinusoids(positions, 14))(jnp.arange(40)[None])
  np.testing.assert_allclose(embeddings[0], expected, rtol=0, atol=5e-6)


def test_sinusoids_of_one_wave(jit):
  embeddings = jit(lambda positions: sinusoids(positions, 2))(jnp.arange(3)[None])
  expected = np.stack([np.sin([0, 1, 2]), np.cos([0, 1, 2])], axis=-1)
  np.testing.assert_allclose(embeddings[0], expected, rtol=0, atol=1e-6)
