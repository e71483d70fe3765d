"""What a study says of its batch size and of its learning rate, against laws that are known."""

import dataclasses
import math

import numpy as np
import planted_studies as planted
import pytest

from lmhp.analysis.advice.batch_size import batch_findings, batches
from lmhp.analysis.advice.learning_rate import initial_loss, rate_findings
from lmhp.analysis.curves.divergence import find_divergence
from lmhp.analysis.hyperparameters.isolations import isolation
from lmhp.analysis.runs.table import Axis, Runs

RATE = 'optimizer.learning_rate'


def of_batches(critical=64.0, fewest=1000.0, sizes=(8, 16, 32, 64, 128, 256)):
  """Runs whose loss falls with the log of their steps, each as many as the law says that its batch needs."""
  curves, ends = {}, []
  for i, size in enumerate(sizes):
    steps = np.linspace(1, 3000 + 30_000 / size, 400)
    loss = 5 - 0.3 * np.log(1 + steps / (fewest * (1 + critical / size)))
    curves[i] = {
      'step': steps,
      'loss_nats': np.full(400, np.nan),
      'eval_loss_nats': loss,
    }
    ends.append(loss[-1])
  return Runs(
    's',
    {
      'train.batch_size': Axis(
        'train.batch_size', low=min(sizes), high=max(sizes), log=True
      )
    },
    {'train.batch_size': np.array(sizes, float)},
    np.array(ends),
    objective_name='eval_loss_nats',
    curves=curves,
  )


def test_the_critical_batch_size_is_that_of_the_law():
  found = batches(of_batches())
  assert found.critical.batch_size == pytest.approx(64, rel=0.02)
  np.testing.assert_allclose(
    found.steps / found.steps.min(), (1 + 64 / found.sizes) / (1 + 64 / 256), rtol=0.02
  )
  (one,) = batch_findings(found)
  assert one.kind == 'critical_batch_size' and one.numbers[
    'sequences'
  ] == pytest.approx(64, rel=0.02)


def test_two_batch_sizes_say_nothing():
  found = batches(of_batches(sizes=(8, 16)))
  assert found.critical is None and batch_findings(found) == []


def with_norms(scale_tokens=4096.0, batch=16, length=64, rows=200):
  """A run whose squared gradient norms are those of a noise scale: |G|^2 (1 + B_noise / B)."""
  rng, tokens = np.random.default_rng(0), batch * length
  jitter = 1 + 0.02 * rng.standard_normal((2, rows))
  curve = {
    'step': np.arange(1.0, rows + 1),
    'loss_nats': np.linspace(5, 3, rows),
    'grad_norm': np.sqrt((1 + scale_tokens / tokens) * jitter[0]),
    'microbatch_grad_norm': np.sqrt((1 + scale_tokens / (tokens / 2)) * jitter[1]),
  }
  config = {
    'train.batch_size': batch,
    'train.seq_len': length,
    'train.grad_accumulation_steps': 1,
  }
  return Runs(
    's',
    {},
    {},
    np.array([3.0]),
    objective_name='eval_loss_nats',
    curves={0: curve},
    configs={0: config},
  )


@pytest.mark.parametrize('batch, words', [(16, 'larger batch'), (256, 'smaller batch')])
def test_the_noise_scale_is_beside_the_batch(batch, words):
  found = batches(with_norms(batch=batch))
  assert (
    len(found.scales) == len(found.middles) == 4 and found.batch_tokens == 64 * batch
  )
  (one,) = batch_findings(found)
  assert (
    one.numbers['tokens'] == pytest.approx(4096, rel=0.35 if batch == 256 else 0.1)
    and words in one.title
  )
  assert one.numbers['low'] < 4096 < one.numbers['high']


def test_runs_without_norms_say_nothing():
  runs = with_norms()
  bare = dataclasses.replace(
    runs,
    curves={
      0: {k: v for k, v in runs.curves[0].items() if k != 'microbatch_grad_norm'}
    },
  )
  assert batches(bare).run == -1 and batch_findings(batches(bare)) == []


# --- learning rates -------------------------------------------------------------------------------------------------


def with_curves(runs, initial):
  curve = {'step': np.array([1.0, 10.0]), 'loss_nats': np.array([initial, 4.0])}
  return dataclasses.replace(runs, curves={int(n): curve for n in runs.number})


def test_the_sensitivity_of_the_paper():
  runs = Runs(
    's',
    {'lr': Axis('lr', low=0.1, high=0.3)},
    {'lr': np.array([0.1, 0.2, 0.3])},
    np.array([4.5, 4.0, 9.0]),
  )
  runs = with_curves(runs, 7.0)
  assert initial_loss(runs) == 7.0
  (one,) = rate_findings(runs, isolation(runs, 'lr'), find_divergence(runs))
  assert one.numbers['nats'] == pytest.approx(3.5 / 3)


def test_the_largest_stable_rate_is_said_with_the_edge():
  runs = planted.study(planted.diverging, 0)
  base = {'optimizer.name': 'adamw', 'optimizer.b1': 0.9}
  runs = dataclasses.replace(runs, about={**runs.about, 'base': base})
  (one,) = rate_findings(runs, None, find_divergence(runs))
  rates = runs.values[RATE]
  assert one.numbers['smallest_diverged'] == rates[runs.status == 'diverged'].min()
  assert (
    one.numbers['largest_stable']
    == rates[
      (runs.status == 'complete') & (rates < one.numbers['smallest_diverged'])
    ].max()
  )
  assert f'{38 / one.numbers["largest_stable"]:,.0f}'[:3] in one.evidence
  momentum = {
    'optimizer.name': 'momentum',
    'optimizer.b1': 0.9,
    'optimizer.momentum': 0.5,
  }
  runs = dataclasses.replace(runs, about={**runs.about, 'base': momentum})
  (one,) = rate_findings(runs, None, find_divergence(runs))
  assert f'{3 / one.numbers["largest_stable"]:,.0f}'[:3] in one.evidence


def test_nothing_is_said_without_curves_or_divergence():
  runs = planted.study(planted.useless, 0)
  assert (
    math.isnan(initial_loss(runs))
    and rate_findings(runs, isolation(runs, RATE), find_divergence(runs)) == []
  )
