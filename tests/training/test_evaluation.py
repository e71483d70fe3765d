"""Scores of a split against float64, whatever the batches."""

import math

import jax
import numpy as np
import pytest

from lmhp.model.batch import Batch
from lmhp.model.transformer import build
from lmhp.training.evaluation import ScoreInputs, evaluate, make_score, summarize

V, L = 31, 5
BYTES = np.arange(V, dtype=np.int32) % 4
HYPERS = {'model': {}}


def sequences(n, rng):
  """Batch of n sequences whose tokens count here and there, the last sequence not at all."""
  weights = (rng.random((n, L)) < 0.7).astype(np.float32)
  weights[-1] = 0
  return Batch(rng.integers(0, V, (n, L)), rng.integers(0, V, (n, L)), weights)


@pytest.fixture(scope='module')
def scored(jit, tiny, fill):
  """The model's logits in float64, its batches, and the compiled score."""
  model = build(tiny())
  params, batches = (
    fill(model.shapes),
    [sequences(7, np.random.default_rng(seed)) for seed in range(3)],
  )
  forward = jit(lambda params, tokens: model.apply(params, tokens))
  logits = [np.asarray(forward(params, batch.tokens), np.float64) for batch in batches]
  return params, batches, logits, jit(make_score(model))


def scores_of(score, params, batches):
  """The scores of batches, as the loop computes them."""
  return evaluate(
    lambda batch: score(params, HYPERS, ScoreInputs(batch, BYTES)), batches
  )


def test_scores_against_float64(scored):
  params, batches, logits, score = scored
  got = scores_of(score, params, batches)
  nll = correct = tokens = size = 0.0
  per_sequence = []
  for batch, x in zip(batches, logits):
    log_p = x - np.log(np.exp(x).sum(-1, keepdims=True))
    for b, t in np.ndindex(batch.tokens.shape):
      weight, target = float(batch.weights[b, t]), batch.targets[b, t]
      nll -= weight * log_p[b, t, target]
      correct += weight * (np.argmax(x[b, t]) == target)
      tokens, size = tokens + weight, size + weight * BYTES[target]
    losses = -np.take_along_axis(log_p, batch.targets[..., None], -1)[..., 0]
    per_sequence += [
      (w.sum(), (w * l).sum()) for w, l in zip(batch.weights, losses) if w.sum()
    ]
  assert got['tokens'] == tokens and got['sequences'] == len(per_sequence) == 18
  assert got['loss_nats'] == pytest.approx(nll / tokens, rel=1e-6)
  assert got['accuracy'] == pytest.approx(correct / tokens)
  assert got['perplexity'] == pytest.approx(math.exp(nll / tokens), rel=1e-5)
  assert got['bits_per_byte'] == pytest.approx(nll / math.log(2) / size, rel=1e-6)
  # the error of a ratio of sums, from leaving out one sequence at a time
  counts, sums = np.array(per_sequence).T
  left_out = (sums.sum() - sums) / (counts.sum() - counts)
  jackknife = math.sqrt(17 / 18 * np.sum((left_out - left_out.mean()) ** 2))
  assert got['loss_nats_standard_error'] == pytest.approx(jackknife, rel=0.05)


def test_how_sequences_are_batched_does_not_matter(scored):
  """The same sequences two at a time, filled up with padding that would score badly if it counted."""
  params, batches, _, score = scored
  whole = [
    np.concatenate([getattr(b, name) for b in batches])
    for name in ('tokens', 'targets', 'weights')
  ]
  padded = [np.concatenate([x, np.zeros((4, L), x.dtype)]) for x in whole]
  pairs = [Batch(*(x[i : i + 5] for x in padded)) for i in range(0, 25, 5)]
  a = scores_of(score, params, batches)
  b = scores_of(score, params, pairs)
  assert {k: pytest.approx(v, rel=1e-6) for k, v in a.items()} == b


def test_dropout_is_off(jit, tiny, fill):
  """The program of a model with dropout scores as one without."""
  dropped, plain = (
    build(tiny(embedding_dropout=0.5, attention_dropout=0.5, residual_dropout=0.5)),
    build(tiny()),
  )
  params, batch = fill(plain.shapes), sequences(3, np.random.default_rng(0))
  rates = {
    'model': {
      f'{where}_dropout': np.float32(0.5)
      for where in ('embedding', 'attention', 'residual')
    }
  }
  jax.tree.map(
    np.testing.assert_array_equal,
    jit(make_score(dropped))(params, rates, ScoreInputs(batch, BYTES)),
    jit(make_score(plain))(params, HYPERS, ScoreInputs(batch, BYTES)),
  )


def test_a_lost_model_has_a_finite_perplexity():
  """Perplexity stops at e^700: what follows is as bad, and json has no infinity."""
  sums = {
    'nll': np.array([1e6, 1e6]),
    'tokens': np.ones(2),
    'correct': np.zeros(2),
    'bytes': np.ones(2),
  }
  got = summarize(sums)
  assert (
    got['loss_nats'] == 1e6
    and got['perplexity'] == math.exp(700)
    and got['accuracy'] == 0
  )
