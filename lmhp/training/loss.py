"""Losses: cross-entropy with label smoothing and z-loss, for tokens and for batches.

Dimension key: B batch, L sequence, D d_model, V vocabulary, T tokens of a batch or a part of it.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from lmhp.model.batch import Array, Batch
from lmhp.model.transformer import Model
from lmhp.training.chunks import Hypers
from lmhp.training.config import TrainConfig
from lmhp.typing import PyTree


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TokenLosses:
  """Terms of the loss of each token, in nats.

  Attributes:
    nll: Minus the log probability of the target, (T,) float32.
    uniform: Minus the log probability, averaged over the vocabulary, (T,) float32.
    log_z: Log of the softmax denominator, (T,) float32.
  """

  nll: jax.Array
  uniform: jax.Array
  log_z: jax.Array


def token_losses(logits_TV: jax.Array, targets_T: Array) -> TokenLosses:
  """Returns the terms of the loss of each token.

  Args:
    logits_TV: Logits, (T, V) float32.
    targets_T: Target tokens, (T,) int32.
  """
  # -log p(target) = log Z - logit of the target. Label smoothing uses the mean of -log p over
  # the vocabulary, which is log Z - mean logit.
  log_z_T = jax.nn.logsumexp(logits_TV, axis=-1)

  # A masked sum selects the logit of the target. Its gradient needs no scatter.
  is_target_TV = targets_T[:, None] == jnp.arange(logits_TV.shape[-1])[None]
  target_logit_T = jnp.sum(jnp.where(is_target_TV, logits_TV, 0.0), axis=-1)

  return TokenLosses(
    nll=log_z_T - target_logit_T,
    uniform=log_z_T - jnp.mean(logits_TV, axis=-1),
    log_z=log_z_T,
  )


def objective(
  terms: TokenLosses, label_smoothing: jax.Array, z_loss: jax.Array
) -> jax.Array:
  """Returns the value that training minimizes for each token.

      (1 - s) nll + s uniform + z log_z^2

  Args:
    terms: Terms of the loss, each (T,).
    label_smoothing: s, the fraction of each target spread over the vocabulary.
    z_loss: z, the factor on the squared log of the softmax denominator.

  Returns:
    (T,) float32, in nats.

  Source: arXiv:1512.00567 section 7; arXiv:2204.02311 section 5.
  """
  smoothed = (1 - label_smoothing) * terms.nll + label_smoothing * terms.uniform
  return smoothed + z_loss * jnp.square(terms.log_z)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BatchLoss:
  """Loss of a batch. Sums over the tokens use the token weights of the batch.

  Attributes:
    objective: Sum of the objective over the tokens, with the auxiliary loss, float32, in nats.
    nll: Sum of the cross-entropy over the tokens, float32, in nats.
    aux: Auxiliary outputs of the layers, such as the loads of experts, by segment (consecutive
      layers of one kind). Empty if the layers have none.
  """

  objective: jax.Array
  nll: jax.Array
  aux: PyTree


def batch_loss(
  model: Model,
  train: TrainConfig,
  params: PyTree,
  hypers: Hypers,
  batch: Batch,
  key: jax.Array | None = None,
) -> BatchLoss:
  """Returns the loss of a batch.

  The auxiliary loss of the network is a mean over tokens. To add it to the sum over tokens, it
  is multiplied by the sum of the token weights.

  Args:
    model: Network.
    train: Section `train`, whose traced numbers are not read. If `loss_chunks` is above 1, the
      logits and the loss are computed in that many parts of the tokens, one after the other.
    params: All parameters.
    hypers: Traced numbers of all sections.
    batch: Batch of (B, L) tokens, targets and weights.
    key: PRNG key of dropout. None means no dropout.
  """
  targets_BL, weights_BL = batch.targets_and_weights()
  x_BLD, aux, _ = model.features(params, hypers['model'], batch, key)

  def head_loss(
    x_TD: jax.Array, targets_T: Array, weights_T: Array
  ) -> tuple[jax.Array, jax.Array]:
    terms = token_losses(model.logits(params, hypers['model'], x_TD), targets_T)
    numbers = hypers['train']
    objective_T = objective(terms, numbers['label_smoothing'], numbers['z_loss'])
    return jnp.sum(objective_T * weights_T), jnp.sum(terms.nll * weights_T)

  # Logits and loss of a token do not depend on other tokens, so flatten B and L to one axis.
  tokens = (
    x_BLD.reshape(-1, x_BLD.shape[-1]),
    targets_BL.reshape(-1),
    weights_BL.reshape(-1),
  )
  # Scale the mean auxiliary loss to a sum over the tokens.
  auxiliary = 0.0
  if aux:
    auxiliary = jnp.sum(weights_BL) * model.auxiliary_loss(aux, hypers['model'])

  if train.loss_chunks == 1:
    objective_sum, nll_sum = head_loss(*tokens)
  else:
    # The backward pass computes the logits of each part again and keeps none of them.
    parts = jax.tree.map(
      lambda x: x.reshape(train.loss_chunks, -1, *x.shape[1:]), tokens
    )
    sums = jax.lax.map(lambda part: jax.checkpoint(head_loss)(*part), parts)
    objective_sum, nll_sum = (jnp.sum(x) for x in sums)
  return BatchLoss(objective=objective_sum + auxiliary, nll=nll_sum, aux=aux)
