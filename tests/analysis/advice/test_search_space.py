"""Findings about the search space: planted situations are found, and proposals are possible."""

import dataclasses

import numpy as np
import planted_studies as planted
import pytest

from lmhp.analysis.advice import search_space
from lmhp.analysis.analysis import Analysis
from lmhp.analysis.curves.divergence import find_divergence
from lmhp.analysis.findings import ProposedRange
from lmhp.analysis.hyperparameters.effects import Effect
from lmhp.analysis.hyperparameters.interactions import Interaction
from lmhp.analysis.hyperparameters.optimum import Optimum
from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.table import Runs
from lmhp.analysis.winner.winner import expected_loss_of_best

RATE = planted.LEARNING_RATE
RATE_AXIS = planted.AXES[RATE]


def findings(law, kind):
  analysis = Analysis(planted.study(law, 0))
  return [finding for finding in analysis.findings if finding.kind == kind]


# --- optimum at a bound -------------------------------------------------------------


def test_optimum_beyond_the_bound_is_found():
  (finding,) = findings(planted.at_bound, 'optimum_at_bound')
  assert finding.axes == (RATE,)
  assert finding.numbers['bound'] == 1e-2


def test_proposed_range_contains_the_planted_optimum():
  (finding,) = findings(planted.at_bound, 'optimum_at_bound')
  proposal = finding.proposal[RATE]
  assert proposal.log
  assert proposal.low == pytest.approx(1e-3)
  assert proposal.high == pytest.approx(0.1)
  # The law has its optimum a factor of 3 above the old bound.
  assert proposal.low < 3e-2 < proposal.high


def test_interaction_is_no_optimum_at_a_bound():
  assert findings(planted.interacting, 'optimum_at_bound') == []


@pytest.mark.parametrize(
  'name, low, high, side, expected',
  [
    ('optimizer.learning_rate', 1e-4, 1e-2, 'high', (1e-3, 0.1)),
    # b2 must be below 1, so the new end is halfway between the old one and 1.
    ('optimizer.b2', 0.9, 0.98, 'high', (0.94, 0.99)),
    ('schedule.warmup_fraction', 0.1, 0.5, 'low', (0.0, 0.3)),
  ],
)
def test_shifted_range_stays_within_the_bounds_of_the_key(
  name, low, high, side, expected
):
  axis = Axis(name, low=low, high=high, log=name == RATE)
  shifted = search_space.shifted_range(axis, side)
  assert (shifted.low, shifted.high) == pytest.approx(expected)


def test_range_at_the_bound_of_its_key_is_not_shifted():
  axis = Axis('model.residual_dropout', low=0.0, high=0.4)
  assert search_space.shifted_range(axis, 'low') is None


def test_shifted_range_of_integers_has_integers():
  axis = Axis('model.n_layers', low=2, high=8, is_integer=True)
  shifted = search_space.shifted_range(axis, 'high')
  assert (shifted.low, shifted.high) == (5, 11)
  assert isinstance(shifted.low, int)


def test_number_of_layers_is_not_shifted_below_1():
  axis = Axis('model.n_layers', low=1, high=4, is_integer=True)
  assert search_space.shifted_range(axis, 'low') is None


# --- space too wide -----------------------------------------------------------------


def narrow_valley(units, rng):
  return 3.0 + 20 * (units[RATE] - 0.5) ** 2


def wide_valley(units, rng):
  """1% of 3 nats is reached at 0.32 of the range from the optimum."""
  return 3.0 + 0.3 * (units[RATE] - 0.5) ** 2


def test_narrow_valley_makes_the_space_too_wide():
  (finding,) = findings(narrow_valley, 'space_too_wide')
  proposal = finding.proposal[RATE]
  low, high = RATE_AXIS.to_unit([proposal.low, proposal.high])
  assert low < 0.5 < high
  assert high - low <= search_space.MAX_USEFUL + 0.01


def test_wide_valley_does_not():
  assert findings(wide_valley, 'significant_effect')
  assert findings(wide_valley, 'space_too_wide') == []


def simple_study():
  """Nine runs whose loss rises with x, and an optimum of x at 0.5."""
  axis = Axis('x', low=0, high=1)
  x = np.linspace(0, 1, 9)
  runs = Runs('s', {'x': axis}, {'x': x}, x)
  optimum = Optimum(
    value=0.5,
    low=0.45,
    high=0.55,
    basin=(0.45, 0.55),
    n_runs=9,
  )
  effect = Effect('x', 1e-4, 1e-4, 0.5, 1.0, 0.5, 2.0)
  winner = expected_loss_of_best(runs.losses)
  return runs, [effect], {'x': optimum}, winner


def test_useful_range_is_the_interval_of_the_optimum_and_its_basin():
  runs, effects, optima, winner = simple_study()
  in_the_middle = dataclasses.replace(winner, point=4)
  (finding,) = search_space.space_too_wide(
    runs, effects, optima, None, in_the_middle, []
  )
  assert finding.proposal == {'x': ProposedRange(0.45, 0.55)}


def test_space_is_not_narrowed_if_runs_are_compared_at_a_rung():
  runs, effects, optima, winner = simple_study()
  in_the_middle = dataclasses.replace(winner, point=4)
  assert (
    search_space.space_too_wide(runs, effects, optima, 100, in_the_middle, []) == []
  )


def test_space_is_not_narrowed_to_leave_out_the_winner():
  runs, effects, optima, winner = simple_study()
  assert runs.values['x'][winner.point] == 0
  assert search_space.space_too_wide(runs, effects, optima, None, winner, []) == []


# --- divergence ---------------------------------------------------------------------


def test_diverged_trials_are_counted():
  (finding,) = findings(planted.diverging, 'many_diverged')
  runs = planted.study(planted.diverging, 0)
  assert finding.numbers['diverged'] == np.sum(runs.status == 'diverged')
  assert finding.axes == (RATE,)


def test_proposed_range_ends_at_the_planted_edge():
  (finding,) = findings(planted.diverging, 'many_diverged')
  edge = float(RATE_AXIS.from_unit(0.7))
  assert finding.proposal[RATE].high == pytest.approx(edge, rel=0.3)
  assert finding.proposal[RATE].low == 1e-4


def test_few_diverged_trials_are_no_finding():
  status = np.where(np.arange(48) < 3, 'diverged', 'complete')
  runs = Runs('s', {}, {}, np.ones(48), status=status)
  assert search_space.many_diverged(runs, find_divergence(runs)) == []


def test_range_of_an_axis_whose_best_value_moves_is_kept():
  runs, effects, optima, winner = simple_study()
  in_the_middle = dataclasses.replace(winner, point=4)
  moves = Interaction(('x', 'width'), p_value=1e-6, p_holm=1e-6)
  assert (
    search_space.space_too_wide(runs, effects, optima, None, in_the_middle, [moves])
    == []
  )
