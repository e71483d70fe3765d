"""Comparisons of two samples and of a choice within blocks, against scipy's tests."""

import numpy as np
import pytest
from scipy import stats

from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.table import Runs
from lmhp.analysis.winner.comparisons import compare_in_blocks, compare_samples
from lmhp.errors import ConfigError


def samples(n_a=7, n_b=5):
  rng = np.random.default_rng(0)
  return 3.0 + 0.1 * rng.standard_normal(n_a), 2.9 + 0.3 * rng.standard_normal(n_b)


def test_two_samples_are_compared_by_welchs_test():
  a, b = samples()
  found = compare_samples(a, b, confidence=0.95)
  oracle = stats.ttest_ind(a, b, equal_var=False)
  assert found.difference == pytest.approx(a.mean() - b.mean())
  assert (found.low, found.high) == pytest.approx(
    tuple(oracle.confidence_interval(0.95))
  )
  assert found.p_value == pytest.approx(oracle.pvalue)
  assert found.freedom == pytest.approx(oracle.df)


def test_pairs_are_compared_by_students_test_of_their_differences():
  a, b = samples(5, 5)
  found = compare_samples(a, b, paired=True)
  oracle = stats.ttest_rel(a, b)
  assert (found.low, found.high) == pytest.approx(
    tuple(oracle.confidence_interval(0.9))
  )
  assert found.p_value == pytest.approx(oracle.pvalue)


def test_what_a_seed_adds_to_both_cancels_in_pairs():
  seeds = np.random.default_rng(1).standard_normal(6)
  noise = 0.01 * np.random.default_rng(2).standard_normal(6)
  a, b = 3 + seeds, 3.1 + seeds + noise
  assert compare_samples(a, b, paired=True).p_value < 1e-4
  assert compare_samples(a, b).p_value > 0.5


@pytest.mark.parametrize(
  'call, words',
  [
    (lambda: compare_samples([1.0], [1.0, 2.0]), 'a: got'),
    (lambda: compare_samples([1.0, 2.0], [1.0, np.nan]), 'b: got'),
    (lambda: compare_samples([1, 2, 3], [1, 2], paired=True), 'got shapes'),
    (lambda: compare_samples([1, 1], [2, 2]), 'do not vary'),
    (lambda: compare_samples([1, 2], [2, 3], paired=True), 'do not vary'),
    (lambda: compare_samples(['x', 'y'], [2, 3]), 'a: expected numbers'),
    (lambda: compare_samples([1, 2], [2, 3], confidence=90), 'confidence'),
  ],
)
def test_mistakes_in_samples_are_named(call, words):
  with pytest.raises(ConfigError, match=words):
    call()


# --- blocks -----------------------------------------------------------------------------


def table(n_blocks=12, levels=('a', 'b', 'c'), seed=0, effect=0.0):
  """Losses of each level in each block. Level i is worse than level 0 by i times the effect."""
  rng = np.random.default_rng(seed)
  losses = rng.normal(size=(n_blocks, 1)) * 10 + rng.normal(
    size=(n_blocks, len(levels))
  )
  losses += effect * np.arange(len(levels))
  rows = [
    (block, level, losses[block, j])
    for block in range(n_blocks)
    for j, level in enumerate(levels)
  ]
  columns = dict(zip(('block', 'level', 'loss'), map(list, zip(*rows))))
  return columns, losses


@pytest.mark.parametrize('decimals', [6, 0])
def test_complete_blocks_are_judged_by_friedmans_test(decimals):
  columns, losses = table(effect=0.5)
  # With no decimals there are ties, which Friedman's test corrects for.
  losses = losses.round(decimals)
  columns['loss'] = losses.ravel().tolist()
  found = compare_in_blocks(columns, 'level', ['block'], 'loss')
  oracle = stats.friedmanchisquare(*losses.T)
  assert found.statistic == pytest.approx(oracle.statistic)
  assert found.p_value == pytest.approx(oracle.pvalue)


def test_incomplete_blocks_are_judged_by_skillings_and_mack():
  # The example of Skillings and Mack 1981 has assembly times of four methods, with gaps:
  # here random numbers, and the statistic by its own formula.
  _, losses = table(9, 'abcd', effect=0.3)
  losses[[0, 2, 5], [1, 3, 0]] = np.nan
  rows = [
    (i, 'abcd'[j], losses[i, j]) for i, j in np.argwhere(np.isfinite(losses)).tolist()
  ]
  columns = dict(zip(('block', 'level', 'loss'), map(list, zip(*rows))))
  adjusted, cov = np.zeros(4), np.zeros((4, 4))
  for row in losses:
    present = np.flatnonzero(np.isfinite(row))
    k = len(present)
    ranks = stats.rankdata(row[present])
    adjusted[present] += np.sqrt(12 / (k + 1)) * (ranks - (k + 1) / 2)
    for i in present:
      for j in present:
        cov[i, j] += k - 1 if i == j else -1
  statistic = adjusted[:3] @ np.linalg.inv(cov[:3, :3]) @ adjusted[:3]
  found = compare_in_blocks(columns, 'level', ['block'], 'loss')
  assert found.statistic == pytest.approx(statistic)
  assert found.p_value == pytest.approx(stats.chi2.sf(statistic, 3))


def test_wins_and_median_excess_are_counted_within_blocks():
  columns = {
    'block': [0, 0, 1, 1, 2, 2, 3],
    'level': ['a', 'b', 'a', 'b', 'a', 'b', 'a'],
    'loss': [1.0, 1.5, 9.0, 8.0, 4.0, 4.0, 0.0],
  }
  found = compare_in_blocks(columns, 'level', ['block'], 'loss')
  by_level = {each.level: each for each in found.levels}
  # Block 3 has one level, and block 2 a tie.
  assert found.n_blocks == 3
  assert (by_level['a'].n_wins, by_level['b'].n_wins) == (1.5, 1.5)
  assert (by_level['a'].median_excess, by_level['b'].median_excess) == (0, 0)
  assert by_level['a'].n_blocks == 3


def test_the_interval_of_the_median_is_between_order_statistics():
  columns, losses = table(20, 'ab', effect=2.0)
  found = compare_in_blocks(columns, 'level', ['block'], 'loss')
  worse = found.levels[1]
  excess = np.sort(losses[:, 1] - losses.min(axis=1))
  # The ranks 6 and 15 of 20: the probability of at most 5 of 20 heads is 2.1%, and of 6 is 5.8%.
  assert (worse.low, worse.high) == (excess[5], excess[14])


def test_pairs_of_levels_have_holms_correction():
  columns, losses = table(15, effect=1.0)
  found = compare_in_blocks(columns, 'level', ['block'], 'loss')
  p_values = [
    stats.wilcoxon(losses[:, j] - losses[:, i]).pvalue for i, j in ((0, 1), (0, 2))
  ]
  third = stats.wilcoxon(losses[:, 2] - losses[:, 1]).pvalue
  ordered = sorted([*p_values, third])
  holm = np.maximum.accumulate([(3 - i) * p for i, p in enumerate(ordered)])
  assert [each.level for each in found.levels] == ['a', 'b', 'c']
  assert np.isnan(found.levels[0].p_holm)
  for level, p in zip(found.levels[1:], p_values):
    assert level.p_holm == pytest.approx(min(1, holm[ordered.index(p)]))


def test_blocks_without_any_effect_are_rarely_significant():
  p_values = [
    compare_in_blocks(table(10, seed=seed)[0], 'level', ['block'], 'loss').p_value
    for seed in range(150)
  ]
  # The standard error of 150 is 2.4%.
  assert 0.03 < np.mean(np.array(p_values) < 0.1) < 0.18


def test_a_difference_between_blocks_has_no_effect():
  columns, _ = table(effect=1.0)
  shifted = dict(columns)
  shifted['loss'] = [
    loss + 100 * block for loss, block in zip(columns['loss'], columns['block'])
  ]
  one = compare_in_blocks(columns, 'level', ['block'], 'loss')
  other = compare_in_blocks(shifted, 'level', ['block'], 'loss')
  assert one.p_value == other.p_value


def test_seeds_are_averaged_and_missing_results_left_out():
  columns = {
    'block': [0, 0, 0, 1, 1, 1],
    'level': ['a', 'a', 'b', 'a', 'b', 'b'],
    'loss': [1.0, 3.0, 2.5, 5.0, 6.0, float('nan')],
  }
  found = compare_in_blocks(columns, 'level', ['block'], 'loss')
  assert found.levels[0].level == 'a' and found.levels[0].n_wins == 2
  assert found.levels[1].median_excess == pytest.approx(0.75)


def test_blocks_with_few_levels_can_be_left_out():
  columns, _ = table(4)
  columns = {name: values[:-1] for name, values in columns.items()}
  assert compare_in_blocks(columns, 'level', ['block'], 'loss').n_blocks == 4
  few = compare_in_blocks(columns, 'level', ['block'], 'loss', min_levels=3)
  assert few.n_blocks == 3


def test_a_table_of_runs_knows_its_objective_and_direction():
  columns, losses = table(effect=1.0)
  axes = {
    name: Axis(name, choices=tuple(set(columns[name]))) for name in ('block', 'level')
  }
  values = {name: np.array(columns[name], object) for name in ('block', 'level')}
  accuracy = -np.array(columns['loss'])
  runs = Runs('a study', axes, values, accuracy, maximize=True)
  found = compare_in_blocks(runs, 'level', ['block'])
  by_loss = compare_in_blocks(columns, 'level', ['block'], 'loss')
  by_accuracy = compare_in_blocks(
    {**columns, 'accuracy': accuracy}, 'level', ['block'], 'accuracy', maximize=True
  )
  # Python 3.13 compares each field, and NaN differs from NaN.
  assert repr(found) == repr(by_loss) == repr(by_accuracy)


def test_a_data_frame_is_read_and_written():
  pd = pytest.importorskip('pandas')
  columns, _ = table(effect=1.0)
  found = compare_in_blocks(pd.DataFrame(columns), 'level', ['block'], 'loss')
  assert repr(found) == repr(compare_in_blocks(columns, 'level', ['block'], 'loss'))
  frame = found.to_pandas()
  assert frame['level'].tolist() == ['a', 'b', 'c']
  assert len(found.summary().splitlines()) == 5


@pytest.mark.parametrize(
  'call, words',
  [
    (lambda: compare_in_blocks(table()[0], 'levle', ['block'], 'loss'), "mean 'level'"),
    (
      lambda: compare_in_blocks(table()[0], 'level', ['block']),
      'objective: is not a column',
    ),
    (
      lambda: compare_in_blocks(table(1, 'a')[0], 'level', ['block'], 'loss'),
      'no block',
    ),
    (
      lambda: compare_in_blocks(
        {**table()[0], 'loss': ['x'] * 36}, 'level', ['block'], 'loss'
      ),
      'loss: expected numbers',
    ),
  ],
)
def test_mistakes_in_blocks_are_named(call, words):
  with pytest.raises(ConfigError, match=words):
    call()
