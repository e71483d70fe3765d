"""Cross-entropy over logits, with label smoothing and z-loss."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp


class TokenLosses(NamedTuple):
  """What each token's logits cost; each (T,) float32, in nats.

  Attributes:
    nll: minus the log probability of the target.
    uniform: minus the mean log probability over the vocabulary.
    log_z: log of the softmax denominator.
  """

  nll: jax.Array
  uniform: jax.Array
  log_z: jax.Array


def token_losses(logits_TV: jax.Array, targets_T: jax.Array) -> TokenLosses:
  """Per-token terms of the loss.

  Args:
    logits_TV: (T, V) float32.
    targets_T: (T,) int32.
  """
  log_z_T = jax.nn.logsumexp(logits_TV, axis=-1)
  is_target_TV = targets_T[:, None] == jnp.arange(logits_TV.shape[-1])[None]
  target_T = jnp.sum(
    jnp.where(is_target_TV, logits_TV, 0.0), axis=-1
  )  # its gradient needs no scatter
  return TokenLosses(
    log_z_T - target_T, log_z_T - jnp.mean(logits_TV, axis=-1), log_z_T
  )


def objective(
  terms: TokenLosses, label_smoothing: jax.Array, z_loss: jax.Array
) -> jax.Array:
  """What is minimized for each token: `(1 - s) nll + s uniform + z log_z^2`.

  Args:
    terms: each (T,).
    label_smoothing: s, share of the target spread over the vocabulary.
    z_loss: z, factor on the squared log of the softmax denominator.

  Returns:
    (T,) float32, nats.

  Source: arXiv:1512.00567 section 7; arXiv:2204.02311 section 5.
  """
  smoothed = (1 - label_smoothing) * terms.nll + label_smoothing * terms.uniform
  return smoothed + z_loss * jnp.square(terms.log_z)
