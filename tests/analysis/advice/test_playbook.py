"""Each planted situation is found, what is proposed is right, and healthy studies are left alone."""

import dataclasses
import math

import numpy as np
import planted_studies as planted
import pytest

from lmhp.analysis.advice import effects as effect_findings
from lmhp.analysis.advice import playbook
from lmhp.analysis.analysis import analyze, sentences
from lmhp.analysis.curves.divergence import find_divergence
from lmhp.analysis.findings import Finding
from lmhp.analysis.hyperparameters.effects import Effect
from lmhp.analysis.hyperparameters.optimum import Optimum
from lmhp.analysis.runs.table import Axis, Runs
from lmhp.analysis.winner.winner import expected_loss_of_best

RATE = 'optimizer.learning_rate'


def found(law, seed=0, **options):
  return analyze(planted.study(law, seed, **options), pictures=False)


def of_kind(analysis, kind):
  return [f for f in analysis.findings if f.kind == kind]


def test_an_optimum_at_the_bound_is_found_and_the_space_moved():
  (one,) = of_kind(found(planted.at_bound), 'optimum_at_bound')
  assert one.axes == (RATE,) and '0.01' in one.title
  proposal = one.proposal[RATE]
  assert (
    proposal['log']
    and proposal['low'] == pytest.approx(1e-3)
    and proposal['high'] == pytest.approx(0.1)
  )
  low, high = Axis('', low=proposal['low'], high=proposal['high'], log=True).unit(
    [1e-2, 3e-2]
  )
  assert (
    0 < low < high < 1
  )  # the true optimum, a factor of 3 above the old bound, lies in what is proposed


def test_a_useless_parameter_is_named_with_a_bound_on_its_worth():
  analysis = found(planted.useless)
  names = {f.axes[0] for f in of_kind(analysis, 'no_effect')}
  assert names and RATE not in names
  assert [f.axes for f in of_kind(analysis, 'matters')] == [(RATE,)]
  assert all(
    0 <= f.numbers['worth_at_most'] < 0.02 for f in of_kind(analysis, 'no_effect')
  )


def test_an_interaction_is_found_between_the_right_two():
  (one,) = of_kind(found(planted.interacting), 'interaction')
  assert set(one.axes) == {RATE, 'model.n_layers'} and 'falls' in one.title
  assert not of_kind(found(planted.interacting), 'optimum_at_bound')


def test_divergence_is_found_where_it_is():
  analysis = found(planted.diverging)
  (one,) = of_kind(analysis, 'infeasible_share')
  runs = planted.study(planted.diverging, 0)
  assert one.numbers['diverged'] == np.sum(runs.status == 'diverged') and one.axes == (
    RATE,
  )
  edge = Axis('', low=1e-4, high=1e-2, log=True).from_unit(0.7)
  assert (
    one.proposal[RATE]['high'] == pytest.approx(edge, rel=0.3)
    and one.proposal[RATE]['low'] == 1e-4
  )


def test_noise_alone_says_so_and_claims_nothing():
  for seed in range(6):
    analysis = found(planted.nothing, seed, noise='tails' if seed % 2 else 'normal')
    kinds = {f.kind for f in analysis.findings}
    assert analysis.answer.kind == 'no_difference_shown', seed
    assert kinds <= {'no_difference_shown', 'winner_within_noise'}, seed
    assert (
      'No difference shown' in sentences(analysis)[1]
      and 'equal steps' in sentences(analysis)[0]
    )


def test_an_unfair_early_stop_is_found():
  assert of_kind(found(planted.unfair_stop), 'unfair_early_stop')
  assert not of_kind(found(planted.useless), 'unfair_early_stop')


def test_a_narrow_valley_makes_the_space_too_wide():
  narrow = lambda places, rng: 3.0 + 20 * (places[RATE] - 0.5) ** 2
  (one,) = of_kind(found(narrow), 'space_too_wide')
  low, high = Axis('', low=1e-4, high=1e-2, log=True).unit(
    [one.proposal[RATE][k] for k in ('low', 'high')]
  )
  assert low < 0.5 < high and high - low <= playbook.WIDE + 0.01
  wide = lambda places, rng: (
    3.0 + 0.3 * (places[RATE] - 0.5) ** 2
  )  # 1% of 3 nats is +-0.32 of the range
  analysis = found(wide)
  assert of_kind(analysis, 'matters') and not of_kind(analysis, 'space_too_wide')


def test_the_space_is_not_narrowed_by_what_short_runs_say():
  axis = Axis('x', low=0, high=1)
  runs = Runs('s', {'x': axis}, {'x': np.linspace(0, 1, 9)}, np.linspace(0, 1, 9))
  effect, won = (
    Effect('x', 1e-4, 1e-4, 0.5, 1.0, 0.5, 2.0),
    expected_loss_of_best(runs.losses),
  )
  optimum = {
    'x': Optimum(
      value=0.5,
      low=0.45,
      high=0.55,
      basin_low=(0.05,) * 3,
      basin_high=(0.05,) * 3,
      used=9,
    )
  }
  assert playbook.space_too_wide(runs, [effect], optimum, 100, won) == []
  (one,) = playbook.space_too_wide(
    runs, [effect], optimum, None, dataclasses.replace(won, point=4)
  )
  assert one.proposal == {'x': {'low': 0.45, 'high': 0.55, 'log': False}}
  assert (
    playbook.space_too_wide(runs, [effect], optimum, None, won) == []
  )  # the winner, at 0, would be left out


@pytest.mark.parametrize(
  'name, low, high, side, proposal',
  [
    ('optimizer.learning_rate', 1e-4, 1e-2, 'high', (1e-3, 0.1)),
    ('optimizer.b2', 0.9, 0.98, 'high', (0.94, 0.9999)),
    ('model.residual_dropout', 0.0, 0.4, 'low', None),
    ('schedule.warmup_fraction', 0.1, 0.5, 'low', (0.0, 0.3)),
  ],
)
def test_what_is_proposed_stays_possible(name, low, high, side, proposal):
  axis = Axis(name, low=low, high=high, log=name.endswith('rate'))
  moved = playbook.moved(axis, side)
  assert (
    (moved is None)
    if proposal is None
    else (moved['low'], moved['high']) == pytest.approx(proposal, rel=0.02)
  )


def test_whole_numbers_stay_whole():
  moved = playbook.moved(Axis('model.n_layers', low=2, high=8, whole=True), 'high')
  assert (moved['low'], moved['high']) == (5, 11) and isinstance(moved['low'], int)
  assert (
    playbook.moved(Axis('model.n_layers', low=1, high=4, whole=True), 'low') is None
  )


def test_structure_at_one_learning_rate_is_warned_of():
  runs = planted.study(planted.useless, 0)
  axes = {name: axis for name, axis in runs.axes.items() if name != RATE}
  fixed = dataclasses.replace(
    runs, axes=axes, values={name: runs.values[name] for name in axes}
  )
  (one,) = playbook.nuisance_fixed(fixed)
  assert 'model.n_layers' in one.axes and one.proposal[RATE] == {
    'low': 1e-4,
    'high': 1e-2,
    'log': True,
  }
  assert playbook.nuisance_fixed(runs) == []
  only_decay = {'optimizer.weight_decay': runs.axes['optimizer.weight_decay']}
  assert playbook.nuisance_fixed(dataclasses.replace(fixed, axes=only_decay)) == []


def test_few_trials_are_counted_by_dimension():
  runs = planted.study(planted.useless, 0, points=20)
  (one,) = playbook.too_few_trials(runs)
  assert one.numbers == {'points': 20, 'dimensions': 4, 'wanted': 40}
  assert playbook.too_few_trials(planted.study(planted.useless, 0, points=40)) == []


def test_what_the_noise_does_not_tell_apart_is_counted():
  losses = np.array([3.0, 3.01, 3.5, 3.02, 3.03, 3.52])
  runs = Runs(
    's', {}, {}, losses, point=np.array([0, 1, 2, 0, 1, 2]), objective_name='loss_nats'
  )
  won = expected_loss_of_best(losses, runs.point)
  (one,) = playbook.within_noise(runs, won)
  assert one.numbers['points'] == 1 and one.runs == (0, 1)
  assert won.noise == pytest.approx(np.sqrt(np.mean([0.0002, 0.0002, 0.0002])))


def test_few_divergences_are_no_finding():
  status = np.where(np.arange(48) < 3, 'diverged', 'complete')
  runs = Runs('s', {}, {}, np.ones(48), status=status)
  assert playbook.infeasible(runs, find_divergence(runs)) == []


def test_amounts_that_differ_are_warned_of_unless_meant():
  runs = planted.study(planted.useless, 0)
  spans = {'steps': (10.0, 20.0)}
  assert playbook.unequal_amounts(runs, '', spans, False)
  assert not playbook.unequal_amounts(runs, '', spans, True)
  meant = dataclasses.replace(runs, about={**runs.about, 'match_budget': 'flops'})
  assert not playbook.unequal_amounts(meant, '', spans, False)


def test_of_two_proposals_for_one_axis_the_first_counts():
  first = Finding('a', 'warning', '', proposal={'x': {'low': 1, 'high': 2}})
  second = Finding(
    'b', 'advice', '', proposal={'x': {'low': 3, 'high': 4}, 'y': {'low': 0, 'high': 1}}
  )
  assert playbook.next_space([first, second]) == {
    'x': {'low': 1, 'high': 2},
    'y': {'low': 0, 'high': 1},
  }


def test_useless_is_said_only_beside_something_that_matters():
  weak = Effect('x', 0.4, 0.4, 1.0, 0.0, 0.0, 0.001)
  runs = planted.study(planted.useless, 0)
  assert effect_findings.useless(runs, [weak]) == []
  strong = Effect('y', 1e-4, 1e-4, 1.0, 0.1, 0.05, 0.2)
  assert [f.axes for f in effect_findings.useless(runs, [strong, weak])] == [('x',)]
  unsure = dataclasses.replace(weak, range_high=0.08)
  assert effect_findings.useless(runs, [strong, unsure]) == []
  assert (
    effect_findings.useless(
      runs, [strong, dataclasses.replace(weak, range_high=math.nan)]
    )
    == []
  )
