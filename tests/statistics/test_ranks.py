"""Spearman's correlation, against scipy."""

from hypothesis import given, strategies as st
import numpy as np
import pytest
from scipy import stats

from lmhp.statistics.ranks import spearman


@given(
  st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 5) | st.just(np.inf)),
    min_size=2,
    max_size=20,
  )
)
def test_spearman_equals_that_of_scipy(pairs):
  a, b = np.array(pairs, float).T
  if len(set(a)) == 1 or len(set(b)) == 1:
    assert np.isnan(spearman(a, b))  # scipy warns
  else:
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b)[0], abs=1e-12)
    assert spearman(a, -b) == -spearman(a, b)
    assert abs(spearman(a, b)) <= 1


def test_spearman_depends_on_ranks_alone():
  a = np.random.default_rng(0).standard_normal(50)
  assert spearman(a, np.exp(3 * a)) == 1.0
  assert spearman(a, -(a**3)) == -1.0


def test_infinities_have_the_first_and_last_ranks():
  assert spearman([-np.inf, 0.0, np.inf], [1.0, 2.0, 3.0]) == 1.0


def test_a_correlation_of_one_half_is_exact():
  assert spearman([1.0, 2.0, 3.0], [10.0, 30.0, 20.0]) == 0.5


@pytest.mark.parametrize(
  'a,b', [([1.0, 2.0, np.nan], [1.0, 2.0, 3.0]), ([], []), ([1.0], [2.0])]
)
def test_no_correlation_of_nan_or_of_too_few(a, b):
  assert np.isnan(spearman(a, b))


def test_lists_of_different_lengths_are_an_error():
  with pytest.raises(ValueError, match=r'\(2,\).*\(1,\)'):
    spearman([1.0, 2.0], [1.0])
