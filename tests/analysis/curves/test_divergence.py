"""What diverged and where: Wilson's interval against scipy's, planted thresholds, and the test's level."""

import numpy as np
import pytest
from scipy import stats

from lmhp.analysis.curves.divergence import find_divergence
from lmhp.analysis.runs.table import Axis, Runs
from lmhp.errors import ConfigError


def runs_of(values, bad, log=(), **columns):
  axes = {
    name: Axis(name, 'number' if column.dtype != object else 'choice', log=name in log)
    for name, column in values.items()
  }
  status = np.where(bad, 'diverged', 'complete')
  return Runs(
    'a study', axes, values, np.ones(len(bad)), **{'status': status, **columns}
  )


def space(rng, n, axes=3):
  return {f'axis_{i}': rng.uniform(size=n) for i in range(axes)}


def test_nothing_has_no_share():
  found = find_divergence(runs_of({'lr': np.zeros(0)}, np.zeros(0, bool)))
  assert (
    found.runs == 0
    and np.isnan([found.share, found.low, found.high, found.largest_stable]).all()
  )
  assert found.cuts == ()


def test_none_and_all_diverged():
  rates = 10.0 ** np.arange(-5.0, 0)
  calm, wild = (
    find_divergence(runs_of({'lr': rates}, np.full(5, bad))) for bad in (False, True)
  )
  assert (
    calm.share == 0
    and calm.largest_stable == rates[-1]
    and np.isnan(calm.smallest_diverged)
    and calm.cuts == ()
  )
  assert (
    wild.share == 1
    and np.isnan(wild.largest_stable)
    and wild.smallest_diverged == rates[0]
    and wild.cuts == ()
  )


def test_limits_of_the_learning_rate():
  rates = np.repeat(10.0 ** np.arange(-5.0, 0), 20)
  bad = np.zeros(100, bool)
  bad[[25, 60, 61, 62, 63, 64, 65]] = (
    True  # 1 of 20 at 1e-4, 6 of 20 at 1e-2, none at 1e-1
  )
  found = find_divergence(
    runs_of({'optimizer.learning_rate': rates}, bad, log=('optimizer.learning_rate',))
  )
  assert found.rate == 'optimizer.learning_rate'
  assert found.largest_stable == pytest.approx(
    1e-3
  ) and found.smallest_diverged == pytest.approx(1e-4)


def test_lucky_runs_far_up_make_no_rate_stable():
  rates = np.linspace(1, 100, 100)
  bad = rates > 70
  bad[-1] = False
  found = find_divergence(runs_of({'lr': rates}, bad))
  assert found.largest_stable == 70 and found.smallest_diverged == 71


def test_what_was_confirmed_failed_or_waits_is_left_out_and_stopped_ones_did_not_diverge():
  status = np.array(['complete', 'pruned', 'diverged', 'failed', 'waiting', 'diverged'])
  cohort = np.array(['search'] * 5 + ['confirm'])
  found = find_divergence(
    runs_of({'lr': np.arange(1.0, 7)}, np.zeros(6, bool), status=status, cohort=cohort)
  )
  assert (found.runs, found.diverged, found.stopped) == (3, 1, 1)


@pytest.mark.parametrize('side', ['above', 'below'])
def test_the_planted_threshold_is_found(side):
  missed = 0
  for seed in range(100):
    rng = np.random.default_rng(seed)
    values = space(rng, 32)
    chance = np.where((values['axis_1'] > 0.6) == (side == 'above'), 0.9, 0.05)
    found = find_divergence(runs_of(values, rng.random(32) < chance), permutations=199)
    cut = found.cuts[0]
    missed += not (
      cut.axis == 'axis_1'
      and cut.side == side
      and cut.shown
      and 0.4 < cut.threshold < 0.8
      and cut.diverged / cut.runs > cut.other_diverged / cut.other_runs
    )
  assert missed <= 5


def test_the_threshold_lies_halfway_on_the_axiss_scale_and_counts_are_right():
  rates = np.repeat([1e-4, 1e-3, 1e-2, 1e-1], 5)
  found = find_divergence(runs_of({'lr': rates}, rates > 5e-3, log=('lr',))).cuts[0]
  assert found.threshold == pytest.approx(10**-2.5) and found.side == 'above'
  assert (found.runs, found.diverged, found.other_runs, found.other_diverged) == (
    10,
    10,
    10,
    0,
  )


def test_a_choice_that_diverges_is_named():
  words = np.array(['sgd', 'adam'] * 10, object)
  cut = find_divergence(runs_of({'optimizer.name': words}, words == 'sgd')).cuts[0]
  assert (cut.side, cut.threshold, cut.runs, cut.diverged, cut.shown) == (
    'at',
    'sgd',
    10,
    10,
    True,
  )


@pytest.mark.parametrize('share', [0.1, 0.3, 0.5])
def test_chance_is_called_chance(share):
  false = 0
  for seed in range(600):
    rng = np.random.default_rng(seed)
    values = space(rng, 24, axes=4) | {
      'word': np.array(rng.choice(['a', 'b', 'c'], 24), object)
    }
    found = find_divergence(
      runs_of(values, rng.random(24) < share), permutations=99, seed=seed
    )
    false += any(cut.shown for cut in found.cuts)
  assert false <= stats.binom.ppf(0.999, 600, 0.05)


def test_seeds_of_one_point_are_dealt_together():
  false, points = 0, np.repeat(np.arange(10), 4)
  for seed in range(400):
    rng = np.random.default_rng(seed)
    values = {name: column[points] for name, column in space(rng, 10).items()}
    bad = (rng.random(10) < 0.4)[points]  # all seeds of a point, or none
    false += any(
      c.shown
      for c in find_divergence(
        runs_of(values, bad, point=points), permutations=99, seed=seed
      ).cuts
    )
  assert false <= stats.binom.ppf(0.999, 400, 0.05)


def test_the_p_value_is_the_exact_one_where_all_deals_can_be_listed():
  import itertools

  values = np.arange(8.0)
  bad = np.array([0, 0, 0, 1, 0, 1, 1, 1], bool)

  def best(labels):
    """The largest log likelihood ratio over thresholds, by scipy."""
    ratio = []
    for cut in range(1, 8):
      table = [
        [labels[:cut].sum(), cut - labels[:cut].sum()],
        [labels[cut:].sum(), 8 - cut - labels[cut:].sum()],
      ]
      ratio.append(
        stats.chi2_contingency(
          np.array(table), correction=False, lambda_='log-likelihood'
        )[0]
      )
    return max(ratio)

  deals = [
    np.isin(np.arange(8), chosen) for chosen in itertools.combinations(range(8), 4)
  ]
  exact = np.mean([best(labels) >= best(bad) - 1e-9 for labels in deals])
  found = (
    find_divergence(runs_of({'x': values}, bad), permutations=20_000).cuts[0].p_value
  )
  assert found == pytest.approx(exact, abs=0.015)


def test_conditional_axes_and_repeats():
  rng = np.random.default_rng(0)
  momentum = np.where(np.arange(40) < 20, rng.uniform(size=40), np.nan)
  study = runs_of(
    {'momentum': momentum, 'same': np.ones(40)}, np.nan_to_num(momentum) > 0.5
  )
  found = find_divergence(study)
  assert [cut.axis for cut in found.cuts] == ['momentum'] and found.cuts[0].shown
  assert found.cuts[0].runs + found.cuts[0].other_runs == 20
  assert found == find_divergence(study)


def test_the_axis_must_be_there_and_a_number():
  study = runs_of(
    {'lr': np.ones(3), 'word': np.array(['a', 'b', 'a'], object)}, np.zeros(3, bool)
  )
  for name in ('rate', 'word'):
    with pytest.raises(ConfigError):
      find_divergence(study, name)
  assert find_divergence(study, 'lr').rate == 'lr'
