"""Divergence: Wilson's interval against SciPy, planted cuts, and the level of the test."""

import itertools

import numpy as np
import pytest
from scipy import stats

from lmhp.analysis.curves.divergence import find_divergence
from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.table import CONFIRM, SEARCH, Runs


def runs_of(values, diverged, log=(), **columns):
  axes = {
    name: Axis(name, is_choice=column.dtype == object, log=name in log)
    for name, column in values.items()
  }
  status = np.where(diverged, 'diverged', 'complete')
  columns = {'status': status, **columns}
  return Runs('a study', axes, values, np.ones(len(diverged)), **columns)


def uniform_columns(rng, n, n_axes=3):
  return {f'axis_{i}': rng.uniform(size=n) for i in range(n_axes)}


# --- fraction -----------------------------------------------------------------------


def test_the_fraction_has_wilsons_interval():
  divergence = find_divergence(runs_of({'lr': np.arange(10.0)}, np.arange(10) < 3))
  expected = stats.binomtest(3, 10).proportion_ci(0.9, method='wilson')
  assert divergence.fraction == 0.3
  assert (divergence.low, divergence.high) == pytest.approx(expected)


def test_no_runs_have_no_fraction():
  divergence = find_divergence(runs_of({'lr': np.zeros(0)}, np.zeros(0, bool)))
  assert divergence.n_runs == 0
  assert divergence.cuts == ()
  unknown = (
    divergence.fraction,
    divergence.low,
    divergence.high,
    divergence.largest_stable,
  )
  assert np.isnan(unknown).all()


def test_only_runs_of_the_search_that_started_are_judged():
  status = np.array(['complete', 'pruned', 'diverged', 'failed', 'waiting', 'diverged'])
  cohort = np.array([SEARCH] * 5 + [CONFIRM])
  runs = runs_of(
    {'lr': np.arange(1.0, 7)}, np.zeros(6, bool), status=status, cohort=cohort
  )
  divergence = find_divergence(runs)
  assert divergence.n_runs == 3
  assert divergence.n_diverged == 1


# --- learning rate ------------------------------------------------------------------


def test_without_divergence_all_rates_are_stable():
  rates = 10.0 ** np.arange(-5.0, 0)
  divergence = find_divergence(runs_of({'lr': rates}, np.zeros(5, bool)))
  assert divergence.fraction == 0
  assert divergence.largest_stable == rates[-1]
  assert np.isnan(divergence.smallest_diverged)
  assert divergence.cuts == ()


def test_if_all_diverge_no_rate_is_stable():
  rates = 10.0 ** np.arange(-5.0, 0)
  divergence = find_divergence(runs_of({'lr': rates}, np.ones(5, bool)))
  assert divergence.fraction == 1
  assert np.isnan(divergence.largest_stable)
  assert divergence.smallest_diverged == rates[0]
  assert divergence.cuts == ()


def test_largest_stable_rate_has_less_than_a_tenth_diverged():
  # 1 of 20 diverges at 1e-4, 6 of 20 at 1e-2, and none at 1e-1.
  rates = np.repeat(10.0 ** np.arange(-5.0, 0), 20)
  diverged = np.zeros(100, bool)
  diverged[[25, 60, 61, 62, 63, 64, 65]] = True
  name = 'optimizer.learning_rate'
  divergence = find_divergence(runs_of({name: rates}, diverged, log=(name,)))
  assert divergence.learning_rate == name
  assert divergence.largest_stable == pytest.approx(1e-3)
  assert divergence.smallest_diverged == pytest.approx(1e-4)


def test_a_lucky_run_at_a_large_rate_makes_it_not_stable():
  rates = np.linspace(1, 100, 100)
  diverged = rates > 70
  diverged[-1] = False
  divergence = find_divergence(runs_of({'lr': rates}, diverged))
  assert divergence.largest_stable == 70
  assert divergence.smallest_diverged == 71


# --- cuts ---------------------------------------------------------------------------


@pytest.mark.parametrize('side', ['above', 'below'])
def test_planted_threshold_is_found(side):
  missed = 0
  for seed in range(60):
    rng = np.random.default_rng(seed)
    values = uniform_columns(rng, 32)
    is_unstable = (values['axis_1'] > 0.6) == (side == 'above')
    diverged = rng.random(32) < np.where(is_unstable, 0.9, 0.05)
    cut = find_divergence(runs_of(values, diverged), permutations=199).cuts[0]
    missed += not (
      cut.axis == 'axis_1'
      and cut.side == side
      and cut.significant
      and 0.4 < cut.threshold < 0.8
      and cut.n_diverged / cut.n_runs > cut.other_diverged / cut.other_runs
    )
  assert missed <= 3


def test_threshold_is_halfway_on_the_scale_of_the_axis():
  rates = np.repeat([1e-4, 1e-3, 1e-2, 1e-1], 5)
  runs = runs_of({'lr': rates}, rates > 5e-3, log=('lr',))
  (cut,) = find_divergence(runs).cuts
  assert cut.threshold == pytest.approx(10**-2.5)
  assert cut.side == 'above'


def test_cut_counts_the_runs_on_both_sides():
  rates = np.repeat([1e-4, 1e-3, 1e-2, 1e-1], 5)
  (cut,) = find_divergence(runs_of({'lr': rates}, rates > 5e-3)).cuts
  assert (cut.n_runs, cut.n_diverged) == (10, 10)
  assert (cut.other_runs, cut.other_diverged) == (10, 0)


def test_a_choice_that_diverges_is_a_cut():
  words = np.array(['sgd', 'adam'] * 10, object)
  (cut,) = find_divergence(runs_of({'optimizer.name': words}, words == 'sgd')).cuts
  assert cut.side == 'at'
  assert cut.threshold == 'sgd'
  assert (cut.n_runs, cut.n_diverged) == (10, 10)
  assert cut.significant


def test_cut_of_a_conditional_axis_counts_the_runs_that_have_it():
  rng = np.random.default_rng(0)
  momentum = np.where(np.arange(40) < 20, rng.uniform(size=40), np.nan)
  diverged = np.nan_to_num(momentum) > 0.5
  runs = runs_of({'momentum': momentum, 'constant': np.ones(40)}, diverged)
  (cut,) = find_divergence(runs).cuts
  assert cut.axis == 'momentum'
  assert cut.significant
  assert cut.n_runs + cut.other_runs == 20


def test_equal_seeds_give_equal_results():
  rng = np.random.default_rng(0)
  runs = runs_of(uniform_columns(rng, 20), rng.random(20) < 0.5)
  # Python 3.13 compares each field, and NaN differs from NaN.
  assert repr(find_divergence(runs)) == repr(find_divergence(runs))


@pytest.mark.parametrize('fraction', [0.1, 0.5])
def test_chance_is_significant_at_the_level(fraction):
  n_false = 0
  for seed in range(300):
    rng = np.random.default_rng(seed)
    values = uniform_columns(rng, 24, n_axes=4)
    values['word'] = np.array(rng.choice(['a', 'b', 'c'], 24), object)
    runs = runs_of(values, rng.random(24) < fraction)
    divergence = find_divergence(runs, permutations=99, seed=seed)
    n_false += any(cut.significant for cut in divergence.cuts)
  assert n_false <= stats.binom.ppf(0.999, 300, 0.05)


def test_seeds_of_a_point_are_permuted_together():
  n_false = 0
  points = np.repeat(np.arange(10), 4)
  for seed in range(300):
    rng = np.random.default_rng(seed)
    values = {name: column[points] for name, column in uniform_columns(rng, 10).items()}
    # All seeds of a point diverge, or none.
    diverged = (rng.random(10) < 0.4)[points]
    runs = runs_of(values, diverged, point=points)
    divergence = find_divergence(runs, permutations=99, seed=seed)
    n_false += any(cut.significant for cut in divergence.cuts)
  assert n_false <= stats.binom.ppf(0.999, 300, 0.05)


def test_p_value_is_that_of_all_permutations():
  diverged = np.array([0, 0, 0, 1, 0, 1, 1, 1], bool)

  def best_ratio(labels):
    """Returns the largest log likelihood ratio over thresholds, by SciPy."""
    ratios = []
    for cut in range(1, 8):
      below = labels[:cut].sum()
      above = labels[cut:].sum()
      table = np.array([[below, cut - below], [above, 8 - cut - above]])
      result = stats.chi2_contingency(table, correction=False, lambda_='log-likelihood')
      ratios.append(result[0])
    return max(ratios)

  permutations = [
    np.isin(np.arange(8), chosen) for chosen in itertools.combinations(range(8), 4)
  ]
  own = best_ratio(diverged)
  exact = np.mean([best_ratio(labels) >= own - 1e-9 for labels in permutations])
  runs = runs_of({'x': np.arange(8.0)}, diverged)
  (cut,) = find_divergence(runs, permutations=20_000).cuts
  assert cut.p_value == pytest.approx(exact, abs=0.015)
