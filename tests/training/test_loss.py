"""The loss against torch, and its terms against float64."""

import jax
import numpy as np
import pytest

from lmhp.training.loss import objective, token_losses

T = 15
V = 31
LOGITS = np.random.default_rng(0).standard_normal((T, V)).astype(np.float32) * 4
TARGETS = np.random.default_rng(1).integers(0, V, T)


def test_terms_against_float64(jit):
  terms = jit(token_losses)(LOGITS, TARGETS)
  logits = LOGITS.astype(np.float64)
  log_z = np.log(np.exp(logits).sum(axis=-1))
  log_p = logits - log_z[:, None]
  nll = -log_p[np.arange(T), TARGETS]
  np.testing.assert_allclose(terms.nll, nll, rtol=2e-6, atol=2e-6)
  np.testing.assert_allclose(terms.uniform, -log_p.mean(axis=-1), rtol=2e-6)
  np.testing.assert_allclose(terms.log_z, log_z, rtol=2e-6)


def test_large_logits_do_not_overflow(jit):
  terms = jit(token_losses)(LOGITS * 1e4, TARGETS)
  assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(terms))
  # The softmax is one-hot, so the loss is the distance from the largest logit.
  nll = np.max(LOGITS, axis=-1) * 1e4 - LOGITS[np.arange(T), TARGETS] * 1e4
  np.testing.assert_allclose(terms.nll, nll, rtol=1e-5)


@pytest.mark.oracle
@pytest.mark.parametrize(
  'smoothing, z', [(0.0, 0.0), (0.1, 0.0), (0.9, 0.0), (0.0, 0.3), (0.2, 1e-2)]
)
def test_objective_and_its_gradient_against_torch(jit, smoothing, z):
  """torch spreads `label_smoothing` over the vocabulary, the target included.

  PaLM adds z times log Z squared.
  """
  import torch

  logits = torch.tensor(LOGITS, requires_grad=True)
  expected = torch.nn.functional.cross_entropy(
    logits, torch.as_tensor(TARGETS), label_smoothing=smoothing
  )
  expected = expected + z * torch.logsumexp(logits, -1).square().mean()
  expected.backward()

  def mean_objective(x):
    return objective(token_losses(x, TARGETS), smoothing, z).mean()

  value, gradient = jit(jax.value_and_grad(mean_objective))(LOGITS)
  assert float(value) == pytest.approx(expected.item(), rel=2e-6)
  np.testing.assert_allclose(gradient, logits.grad.numpy(), rtol=2e-5, atol=1e-7)
