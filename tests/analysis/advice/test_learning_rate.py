"""Findings about the learning rate, against values by hand."""

import dataclasses
import math

import numpy as np
import planted_studies as planted
import pytest

from lmhp.analysis.advice.learning_rate import (
  initial_loss,
  largest_stable,
  sensitivity,
)
from lmhp.analysis.curves.divergence import find_divergence
from lmhp.analysis.hyperparameters.isolations import isolation
from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.table import Runs

RATE = planted.LEARNING_RATE


def with_initial_loss(runs, loss):
  curve = {'step': np.array([1.0, 10.0]), 'loss_nats': np.array([loss, 4.0])}
  return dataclasses.replace(runs, curves={int(n): curve for n in runs.number})


def three_rates():
  return Runs(
    's',
    {'lr': Axis('lr', low=0.1, high=0.3)},
    {'lr': np.array([0.1, 0.2, 0.3])},
    np.array([4.5, 4.0, 9.0]),
  )


def test_initial_loss_is_that_of_the_first_step():
  assert initial_loss(with_initial_loss(three_rates(), 7.0)) == 7.0


def test_initial_loss_is_unknown_without_curves():
  assert math.isnan(initial_loss(three_rates()))


def test_sensitivity_is_the_mean_excess_loss_capped_at_the_initial_loss():
  # Wortsman et al. 2023: the mean of min(loss, initial) - best = (0.5 + 0 + 3) / 3.
  runs = with_initial_loss(three_rates(), 7.0)
  (finding,) = sensitivity(runs, isolation(runs, 'lr'))
  assert finding.kind == 'learning_rate_sensitivity'
  assert finding.numbers['nats'] == pytest.approx(3.5 / 3)
  assert finding.numbers['lowest_rate'] == 0.1
  assert finding.numbers['highest_rate'] == 0.3


def test_sensitivity_needs_curves():
  runs = planted.study(planted.one_effect, 0)
  assert sensitivity(runs, isolation(runs, RATE)) == []


def test_largest_stable_rate_is_below_all_diverged_ones():
  runs = planted.study(planted.diverging, 0)
  rates = runs.values[RATE]
  smallest_diverged = rates[runs.status == 'diverged'].min()
  (finding,) = largest_stable(runs, find_divergence(runs))
  assert finding.kind == 'largest_stable_learning_rate'
  assert finding.numbers['smallest_diverged'] == smallest_diverged
  below = rates[(runs.status == 'complete') & (rates < smallest_diverged)]
  assert finding.numbers['largest_stable'] == below.max()


@pytest.mark.parametrize(
  'optimizer, edge',
  [
    # (2 + 2b) / (1 - b) / rate for Adam, (2 + 2b) / rate for heavy-ball momentum.
    ({'optimizer.name': 'adamw', 'optimizer.b1': 0.9}, 38),
    ({'optimizer.name': 'momentum', 'optimizer.momentum': 0.5}, 3),
  ],
)
def test_edge_of_stability_of_the_optimizer_is_in_the_evidence(optimizer, edge):
  runs = planted.with_base_config(planted.study(planted.diverging, 0), optimizer)
  (finding,) = largest_stable(runs, find_divergence(runs))
  sharpness = edge / finding.numbers['largest_stable']
  assert f'{sharpness:,.0f}'[:3] in finding.evidence


def test_no_largest_stable_rate_without_divergence():
  runs = planted.study(planted.one_effect, 0)
  assert largest_stable(runs, find_divergence(runs)) == []
