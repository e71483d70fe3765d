"""Evaluation: the scores of a model on the validation split.

Dimension key: B sequences of a batch, L tokens of a sequence, T = B L tokens of a batch,
D d_model, V vocabulary, R members of a population.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from lmhp.data.batches import evaluation_batches
from lmhp.data.dataset import Dataset
from lmhp.data.stream import TrainStream
from lmhp.model.batch import Batch
from lmhp.model.transformer import Model
from lmhp.statistics.intervals import standard_error
from lmhp.training.chunks import Hypers
from lmhp.training.config import RunConfig
from lmhp.training.loss import token_losses
from lmhp.typing import PyTree

SCORES = (
  'loss_nats',
  'loss_nats_standard_error',
  'bits_per_byte',
  'perplexity',
  'accuracy',
  'tokens',
  'sequences',
)
"""Names of the scores of an evaluation. See `summarize`."""

SMALLEST_EVALUATION_BATCH = 32
"""Smallest number of sequences of an evaluation batch if `evaluate.batch_size` is None."""

LARGEST_LOG_PERPLEXITY = 700.0
"""Largest loss in nats whose exponential is computed. A larger loss has the perplexity exp(700),
because float64 overflows near exp(710)."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ScoreInputs:
  """Data from which a score is computed.

  Attributes:
    batch: Batch of the validation split.
    bytes_V: Number of UTF-8 bytes of each token, (V,) int32. All 0 if not known.
  """

  batch: Batch
  bytes_V: PyTree


def make_score(model: Model) -> Callable[[PyTree, Hypers, ScoreInputs], dict]:
  """Returns the function that scores a batch.

  Args:
    model: Network.

  Returns:
    `score(params, hypers, inputs)`. It returns sums over the targets of each sequence, as a dict
    of (B,) float32: `nll` (minus the log probability, in nats), `tokens` (number of targets),
    `correct` (number of targets whose logit is the largest) and `bytes` (UTF-8 bytes). Targets
    of weight 0, such as padding, do not count.
  """

  def score(
    params: PyTree, hypers: Hypers, inputs: ScoreInputs
  ) -> dict[str, jax.Array]:
    # Compute the logits of all tokens.
    batch = inputs.batch
    targets_BL, weights_BL = batch.targets_and_weights()
    x_BLD, _, _ = model.features(params, hypers['model'], batch)
    x_TD = x_BLD.reshape(-1, x_BLD.shape[-1])
    logits_TV = model.logits(params, hypers['model'], x_TD)

    # Score each token.
    targets_T = targets_BL.reshape(-1)
    nll_T = token_losses(logits_TV, targets_T).nll
    is_correct_T = jnp.argmax(logits_TV, axis=-1) == targets_T

    # Sum over the tokens of each sequence. Padding has weight 0.
    def sum_per_sequence(x: jax.Array) -> jax.Array:
      x_BL = x.reshape(targets_BL.shape)
      return jnp.sum(x_BL * weights_BL, axis=-1)

    return {
      'nll': sum_per_sequence(nll_T),
      'tokens': jnp.sum(weights_BL, axis=-1),
      'correct': sum_per_sequence(is_correct_T.astype(jnp.float32)),
      'bytes': sum_per_sequence(inputs.bytes_V[targets_BL].astype(jnp.float32)),
    }

  return score


def evaluate(
  score: Callable[[Batch], Mapping[str, jax.typing.ArrayLike]],
  batches: Iterable[Batch],
) -> dict[str, float]:
  """Returns the scores of all batches together.

  Args:
    score: Function that returns the sums of `make_score` for a batch.
    batches: Batches of the validation split. A sequence of weight 0 is padding.

  Returns:
    Scores, as `summarize` returns them.
  """
  return summarize(join_sums([score(batch) for batch in batches]))


def join_sums(
  sums_by_batch: Sequence[Mapping[str, jax.typing.ArrayLike]],
) -> dict[str, npt.NDArray[np.float64]]:
  """Joins the sums over the sequences of several batches.

  Args:
    sums_by_batch: Sums of `make_score` for each batch, {name: (B,)}, or {name: (R, B)} for
      the R members of a population.

  Returns:
    {name: (sequences,)}, or {name: (R, sequences)}.
  """
  joined = {}
  for name in sums_by_batch[0]:
    parts = [np.asarray(sums[name], np.float64) for sums in sums_by_batch]
    joined[name] = np.concatenate(parts, axis=-1)
  return joined


def validation_batches(
  cfg: RunConfig, dataset: Dataset, stream: TrainStream, final: bool
) -> Iterator[Batch]:
  """Returns the batches of an evaluation.

  Args:
    cfg: Completed config.
    dataset: Dataset of `cfg.data`.
    stream: Stream of the training batches. Validation batches have the same objective, such
      as span corruption.
    final: If True, the batches have `evaluate.final_sequences`, else `evaluate.sequences`.
  """
  default_batch_size = max(SMALLEST_EVALUATION_BATCH, cfg.train.batch_size)
  return evaluation_batches(
    dataset.validation,
    cfg.train.seq_len,
    cfg.evaluate.batch_size or default_batch_size,
    limit=cfg.evaluate.final_sequences if final else cfg.evaluate.sequences,
    end_of_text=stream.end_of_text,
    transform=stream.evaluation_transform,
  )


def summarize(sums: Mapping[str, npt.NDArray[np.float64]]) -> dict[str, float]:
  """Returns the scores of a split from the sums over its sequences.

  Args:
    sums: Sums of `make_score`, {name: (sequences,) float64}.

  Returns:
    `loss_nats`: Mean cross-entropy per token.
    `loss_nats_standard_error`: Standard error of the loss, over sequences.
    `bits_per_byte`: Cross-entropy per byte of text. NaN if the bytes are not known.
    `perplexity`: Exponential of the loss.
    `accuracy`: Fraction of the targets whose logit is the largest.
    `tokens` and `sequences`: Numbers of tokens and of sequences that were scored.
  """
  # Each token has the same weight, so a long sequence counts more than a short one.
  tokens = float(sums['tokens'].sum())
  nll = sums['nll'].sum()
  loss = float(nll / tokens)
  # The standard error is over sequences, because tokens of one sequence are correlated.
  per_sequence = sums['nll'] / np.maximum(sums['tokens'], 1.0)
  # The bytes are 0 if they are not known.
  n_bytes = sums['bytes'].sum() or math.nan
  return {
    'loss_nats': loss,
    'loss_nats_standard_error': standard_error(per_sequence, sums['tokens']),
    'bits_per_byte': float(nll / math.log(2) / n_bytes),
    'perplexity': math.exp(min(loss, LARGEST_LOG_PERPLEXITY)),
    'accuracy': float(sums['correct'].sum() / tokens),
    'tokens': int(tokens),
    'sequences': int(np.count_nonzero(sums['tokens'])),
  }
