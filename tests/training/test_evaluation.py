"""Scores of the validation split against float64, whatever the batches are."""

import dataclasses
import math

import jax
import numpy as np
import pytest

from lmhp.model.batch import Batch
from lmhp.model.transformer import build
from lmhp.training.evaluation import ScoreInputs, evaluate, make_score, summarize

V = 31
L = 5
BYTES = np.arange(V, dtype=np.int32) % 4
HYPERS = {'model': {}}


def random_batch(n, rng):
  """A batch of n sequences. Some tokens have weight 0, and so has the last sequence."""
  weights = (rng.random((n, L)) < 0.7).astype(np.float32)
  weights[-1] = 0
  return Batch(rng.integers(0, V, (n, L)), rng.integers(0, V, (n, L)), weights)


@dataclasses.dataclass
class Setup:
  """A model, three batches of 7 sequences, and the compiled score."""

  params: dict
  batches: list
  logits: list
  score: object

  def scores(self, batches):
    def score(batch):
      return self.score(self.params, HYPERS, ScoreInputs(batch, BYTES))

    return evaluate(score, batches)


@pytest.fixture(scope='module')
def setup(jit, tiny, fill):
  model = build(tiny())
  params = fill(model.shapes)
  batches = [random_batch(7, np.random.default_rng(seed)) for seed in range(3)]
  apply = jit(model.apply)
  logits = [np.asarray(apply(params, batch.tokens), np.float64) for batch in batches]
  return Setup(params, batches, logits, jit(make_score(model)))


@pytest.fixture(scope='module')
def expected(setup):
  """Sums over all tokens, and (tokens, nll) of each sequence with a token, in float64."""
  totals = {'nll': 0.0, 'correct': 0.0, 'tokens': 0.0, 'bytes': 0.0}
  sequences = []
  for batch, logits in zip(setup.batches, setup.logits):
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    nll = -np.take_along_axis(log_p, batch.targets[..., None], -1)[..., 0]
    is_correct = np.argmax(logits, -1) == batch.targets
    totals['nll'] += np.sum(batch.weights * nll)
    totals['correct'] += np.sum(batch.weights * is_correct)
    totals['tokens'] += np.sum(batch.weights)
    totals['bytes'] += np.sum(batch.weights * BYTES[batch.targets])
    for weights, losses in zip(batch.weights, nll):
      if weights.sum():
        sequences.append((weights.sum(), (weights * losses).sum()))
  return totals, np.array(sequences)


def test_scores_against_float64(setup, expected):
  totals, sequences = expected
  scores = setup.scores(setup.batches)
  loss = totals['nll'] / totals['tokens']
  bits_per_byte = totals['nll'] / math.log(2) / totals['bytes']
  assert scores['tokens'] == totals['tokens']
  assert scores['sequences'] == len(sequences) == 18
  assert scores['loss_nats'] == pytest.approx(loss, rel=1e-6)
  assert scores['accuracy'] == pytest.approx(totals['correct'] / totals['tokens'])
  assert scores['perplexity'] == pytest.approx(math.exp(loss), rel=1e-5)
  assert scores['bits_per_byte'] == pytest.approx(bits_per_byte, rel=1e-6)


def test_the_standard_error_is_near_the_jackknife(setup, expected):
  """The jackknife error of a ratio of sums leaves out one sequence at a time."""
  _, sequences = expected
  tokens, nll = sequences.T
  n = len(sequences)
  left_out = (nll.sum() - nll) / (tokens.sum() - tokens)
  jackknife = math.sqrt((n - 1) / n * np.sum((left_out - left_out.mean()) ** 2))
  error = setup.scores(setup.batches)['loss_nats_standard_error']
  assert error == pytest.approx(jackknife, rel=0.05)


def test_scores_do_not_depend_on_the_batches(setup):
  """The same sequences, five at a time, with padding that would score if it counted."""
  arrays = []
  for name in ('tokens', 'targets', 'weights'):
    whole = np.concatenate([getattr(batch, name) for batch in setup.batches])
    arrays.append(np.concatenate([whole, np.zeros((4, L), whole.dtype)]))
  batches = [Batch(*(x[i : i + 5] for x in arrays)) for i in range(0, 25, 5)]
  scores = setup.scores(setup.batches)
  assert setup.scores(batches) == {
    k: pytest.approx(v, rel=1e-6) for k, v in scores.items()
  }


def test_dropout_is_off(jit, tiny, fill):
  """A model with dropout scores as one without."""
  names = ('embedding_dropout', 'attention_dropout', 'residual_dropout')
  with_dropout = build(tiny(**dict.fromkeys(names, 0.5)))
  without = build(tiny())
  params = fill(without.shapes)
  inputs = ScoreInputs(random_batch(3, np.random.default_rng(0)), BYTES)
  rates = {'model': dict.fromkeys(names, np.float32(0.5))}
  got = jit(make_score(with_dropout))(params, rates, inputs)
  expected = jit(make_score(without))(params, HYPERS, inputs)
  jax.tree.map(np.testing.assert_array_equal, got, expected)


def sums(nll, n_bytes):
  return {
    'nll': np.array([nll, nll]),
    'tokens': np.ones(2),
    'correct': np.zeros(2),
    'bytes': np.full(2, n_bytes),
  }


def test_a_large_loss_has_a_finite_perplexity():
  scores = summarize(sums(nll=1e6, n_bytes=1.0))
  assert scores['loss_nats'] == 1e6
  assert scores['perplexity'] == math.exp(700)
  assert scores['accuracy'] == 0


def test_without_the_bytes_of_tokens_bits_per_byte_are_nan():
  assert math.isnan(summarize(sums(nll=2.0, n_bytes=0.0))['bits_per_byte'])
