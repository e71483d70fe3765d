"""Scores of the validation split: nats per token, bits per byte, perplexity, accuracy, with a standard error."""

from __future__ import annotations

import math
from typing import Any, Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np

from lmhp.model.transformer import Model
from lmhp.statistics.intervals import standard_error
from lmhp.training.loss import token_losses

SCORES = (
  'loss_nats',
  'loss_nats_standard_error',
  'bits_per_byte',
  'perplexity',
  'accuracy',
  'tokens',
  'sequences',
)
"""What an evaluation gives."""


def make_score(model: Model) -> Callable[..., dict]:
  """`score(params, hypers, batch, bytes_V) -> dict` of sums for each sequence, each (B,) float32.

  The sums: `nll` nats, `tokens`, `correct` next tokens whose logit is the largest, `bytes` of the targets.
  """

  def score(params: Any, hypers: dict, batch: Any, bytes_V: jax.Array) -> dict:
    shape = batch.targets.shape
    x_BLD, _, _ = model.features(params, hypers['model'], batch)
    logits_TV = model.logits(
      params, hypers['model'], x_BLD.reshape(-1, x_BLD.shape[-1])
    )
    targets_T, weights_BL = batch.targets.reshape(-1), batch.weights
    nll_BL = token_losses(logits_TV, targets_T).nll.reshape(shape)
    correct_BL = (jnp.argmax(logits_TV, axis=-1) == targets_T).reshape(shape)
    total = lambda x_BL: jnp.sum(x_BL * weights_BL, axis=-1)
    return {
      'nll': total(nll_BL),
      'tokens': jnp.sum(weights_BL, axis=-1),
      'correct': total(correct_BL.astype(jnp.float32)),
      'bytes': total(bytes_V[batch.targets].astype(jnp.float32)),
    }

  return score


def evaluate(
  score: Callable[..., dict],
  params: Any,
  hypers: dict,
  batches: Iterable[Any],
  bytes_V: jax.Array,
) -> dict:
  """Scores batches and sums up.

  Args:
    score: what `make_score` made, compiled.
    params: parameters.
    hypers: traced numbers.
    batches: of the validation split; a sequence of weight 0 is padding.
    bytes_V: (V,) int32, UTF-8 bytes of each token; all 0 where that is not known, and bits per byte are NaN.

  Returns:
    `loss_nats` per token and its `loss_nats_standard_error` over sequences, `bits_per_byte`, `perplexity`, `accuracy`,
    `tokens`, `sequences`.
  """
  sums = [score(params, hypers, batch, bytes_V) for batch in batches]
  return summarize(
    {
      name: np.concatenate([np.asarray(s[name], np.float64) for s in sums])
      for name in sums[0]
    }
  )


def summarize(sums: dict[str, np.ndarray]) -> dict:
  """The scores that `evaluate` gives, from sums for each sequence, {name: (sequences,) float64}."""
  tokens = float(sums['tokens'].sum())
  loss = float(sums['nll'].sum() / tokens)
  per_sequence = sums['nll'] / np.maximum(sums['tokens'], 1.0)
  return {
    'loss_nats': loss,
    'loss_nats_standard_error': standard_error(per_sequence, sums['tokens']),
    'bits_per_byte': float(
      sums['nll'].sum() / math.log(2) / (sums['bytes'].sum() or math.nan)
    ),
    'perplexity': math.exp(min(loss, 700.0)),
    'accuracy': float(sums['correct'].sum() / tokens),
    'tokens': int(tokens),
    'sequences': int(np.count_nonzero(sums['tokens'])),
  }
