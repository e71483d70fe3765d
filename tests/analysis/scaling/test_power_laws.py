"""Power laws: against scipy's linear regression, exact laws, and simulated values."""

import sys

import numpy as np
import pytest
from scipy import stats

from lmhp.analysis.scaling.power_laws import fit_power_law
from lmhp.errors import ConfigError

SIZES = np.array([1e6, 3e6, 2e7, 5e7, 4e8])


def scattered(seed=0, sd=0.2):
  return 0.5 * SIZES**-0.3 * np.exp(sd * np.random.default_rng(seed).standard_normal(5))


def test_it_is_linear_regression_in_logs():
  values = scattered()
  law, oracle = (
    fit_power_law(SIZES, values),
    stats.linregress(np.log(SIZES), np.log(values)),
  )
  t = stats.t.ppf(0.95, 3)
  assert law.exponent == pytest.approx(oracle.slope) and np.log(
    law.coefficient
  ) == pytest.approx(oracle.intercept)
  np.testing.assert_allclose(
    law.intervals['exponent'], oracle.slope + t * oracle.stderr * np.array([-1, 1])
  )
  np.testing.assert_allclose(
    np.log(law.intervals['coefficient']),
    oracle.intercept + t * oracle.intercept_stderr * np.array([-1, 1]),
  )
  np.testing.assert_allclose(
    law.predict([1e7, 1e9]),
    np.exp(oracle.intercept) * np.array([1e7, 1e9]) ** oracle.slope,
  )


def test_the_prediction_interval_is_the_textbooks():
  values, x = scattered(), np.log(SIZES)
  law, oracle = (
    fit_power_law(SIZES, values, confidence=0.8),
    stats.linregress(x, np.log(values)),
  )
  residuals = np.log(values) - oracle.intercept - oracle.slope * x
  s = np.sqrt(np.sum(residuals**2) / 3)
  reach = (
    stats.t.ppf(0.9, 3)
    * s
    * np.sqrt(1 + 1 / 5 + (np.log(1e9) - x.mean()) ** 2 / np.sum((x - x.mean()) ** 2))
  )
  low, high = law.interval(1e9)
  centre = oracle.intercept + oracle.slope * np.log(1e9)
  assert (np.log(low), np.log(high)) == (
    pytest.approx(centre - reach),
    pytest.approx(centre + reach),
  )
  assert law.scatter == pytest.approx(s)


def test_two_variables_are_recovered():
  n, d = (v.ravel() for v in np.meshgrid([1e6, 1e7, 1e8], [1e9, 1e10, 1e11]))
  law = fit_power_law(
    np.column_stack([n, d]), 1.79 * n**-0.713 * d**0.307, names=('N', 'D')
  )
  np.testing.assert_allclose(law.exponents, [-0.713, 0.307], rtol=1e-9)
  assert law.coefficient == pytest.approx(1.79) and set(law.intervals) == {
    'coefficient',
    'N',
    'D',
  }
  assert law.predict([1e9, 2e10]) == pytest.approx(1.79 * 1e9**-0.713 * 2e10**0.307)
  assert law.predict([[1e9, 2e10]] * 4).shape == (4,) and law.interval(
    [[1e9, 2e10]] * 4
  )[0].shape == (4,)
  with pytest.raises(ConfigError, match='got 2 variables'):
    _ = law.exponent


def test_two_variables_against_least_squares():
  rng = np.random.default_rng(0)
  x = np.exp(rng.normal(10, 2, (12, 2)))
  y = 3 * x[:, 0] ** 0.4 * x[:, 1] ** -0.2 * np.exp(0.3 * rng.standard_normal(12))
  law, design = fit_power_law(x, y), np.column_stack([np.ones(12), np.log(x)])
  solved, squares = np.linalg.lstsq(design, np.log(y), rcond=None)[:2]
  errors = np.sqrt(squares[0] / 9 * np.diag(np.linalg.inv(design.T @ design)))
  t = stats.t.ppf(0.95, 9)
  for j, name in enumerate(('coefficient', 'x0', 'x1')):
    ends = np.log(law.intervals[name]) if j == 0 else law.intervals[name]
    np.testing.assert_allclose(
      ends, solved[j] + t * errors[j] * np.array([-1, 1]), rtol=1e-6
    )


def test_intervals_hold():
  rng, sizes, held = np.random.default_rng(0), np.geomspace(1e6, 1e8, 5), []
  for _ in range(1000):
    law = fit_power_law(sizes, 2 * sizes**-0.25 * np.exp(0.1 * rng.standard_normal(5)))
    new = 2 * 1e9**-0.25 * np.exp(0.1 * rng.standard_normal())
    low, high = law.interval(1e9)
    held.append(
      [
        law.intervals['exponent'][0] <= -0.25 <= law.intervals['exponent'][1],
        low <= new <= high,
      ]
    )
  assert np.all(abs(np.mean(held, axis=0) - 0.9) < 0.03)


def test_no_interval_where_nothing_is_left_to_judge_by():
  law = fit_power_law([1.0, 10.0], [5.0, 50.0])
  assert (
    law.exponent == pytest.approx(1)
    and np.isnan(law.scatter)
    and '2 values' in law.reason
  )
  assert (
    np.isnan(law.intervals['exponent']).all()
    and np.isnan(law.interval([1.0, 2.0, 3.0])).all()
  )
  assert law.predict([[1.0], [10.0]]).shape == (2, 1)


def test_bad_values_are_left_out():
  values = np.r_[scattered(), np.nan, -1.0, np.inf]
  law = fit_power_law(np.r_[SIZES, 1e6, 1e6, 1e6], values)
  assert (law.n_runs, law.n_left_out) == (5, 3) and law.exponent == fit_power_law(
    SIZES, values[:5]
  ).exponent


@pytest.mark.parametrize(
  'call, words',
  [
    (lambda: fit_power_law([1, 2], [1]), 'got shapes'),
    (lambda: fit_power_law(['a', 'b'], [1, 2]), 'sizes: expected numbers'),
    (lambda: fit_power_law([1, 2], [1, 2], weights=[1]), 'got shapes'),
    (lambda: fit_power_law([1], [1]), 'got 1 usable'),
    (lambda: fit_power_law([2, 2, 2], [1, 2, 3]), 'sizes: got exponent'),
    (
      lambda: fit_power_law(
        [[1, 2], [2, 4], [4, 8], [8, 16]], [1, 2, 3, 4], names=('N', 'D')
      ),
      'sizes: got N, D',
    ),
    (lambda: fit_power_law([1, 2], [1, 2], names=('N', 'D')), 'names'),
    (lambda: fit_power_law([1, 2, 3], [1, 2, 3], confidence=1), 'confidence'),
    (lambda: fit_power_law([1, 2, 3], [1, 2, 3]).predict([0.0, 1.0]), 'above 0'),
    (
      lambda: fit_power_law([[1, 2], [2, 1], [4, 8]], [1, 2, 3]).predict(
        [1.0, 2.0, 3.0]
      ),
      'x: got',
    ),
  ],
)
def test_mistakes_are_named(call, words):
  with pytest.raises(ConfigError, match=words):
    call()


def test_standard_errors_are_scipys():
  values = scattered()
  law = fit_power_law(SIZES, values)
  oracle = stats.linregress(np.log(SIZES), np.log(values))
  assert law.se['exponent'] == pytest.approx(oracle.stderr)
  # The error of c is c times that of log c.
  assert law.se['coefficient'] == pytest.approx(
    law.coefficient * oracle.intercept_stderr
  )
  design = np.column_stack([np.ones(5), np.log(SIZES)])
  cov = law.scatter**2 * np.linalg.inv(design.T @ design)
  scale = np.array([law.coefficient, 1])
  np.testing.assert_allclose(law.cov, cov * np.outer(scale, scale))


def test_weights_are_inverse_variances():
  rng = np.random.default_rng(0)
  x = np.exp(rng.normal(10, 2, (12, 2)))
  weights = rng.uniform(0.2, 5, 12)
  y = 3 * x[:, 0] ** 0.4 * x[:, 1] ** -0.2 * np.exp(0.3 * rng.standard_normal(12))
  law = fit_power_law(x, y, weights=weights)

  # Oracle: generalized least squares with the covariance diag(1 / weights).
  design = np.column_stack([np.ones(12), np.log(x)])
  precision = np.diag(weights)
  inverse = np.linalg.inv(design.T @ precision @ design)
  solved = inverse @ design.T @ precision @ np.log(y)
  residuals = np.log(y) - design @ solved
  errors = np.sqrt(np.diag(inverse) * (residuals @ precision @ residuals) / 9)
  np.testing.assert_allclose(law.exponents, solved[1:])
  np.testing.assert_allclose([law.se['x0'], law.se['x1']], errors[1:])
  # Only the ratios of weights count.
  other = fit_power_law(x, y, weights=10 * weights)
  np.testing.assert_allclose(other.cov, law.cov)
  np.testing.assert_allclose(other.interval(x[0]), law.interval(x[0]))


def test_a_value_of_weight_0_is_left_out():
  weights = [1, 1, 0, 1, 1]
  law = fit_power_law(SIZES, scattered(), weights=weights)
  kept = [0, 1, 3, 4]
  assert law.exponent == fit_power_law(SIZES[kept], scattered()[kept]).exponent
  assert law.n_left_out == 1


def test_a_known_offset_is_subtracted():
  values = scattered()
  law = fit_power_law(SIZES, 1.6 + values, offset=1.6)
  plain = fit_power_law(SIZES, values)
  np.testing.assert_allclose(law.exponent, plain.exponent)
  np.testing.assert_allclose(law.predict(1e9), 1.6 + plain.predict(1e9))
  low, high = law.interval(1e9)
  assert low < law.predict(1e9) < high
  # A value below the offset has no logarithm.
  assert fit_power_law(SIZES, 1.6 + np.r_[values[:4], -1], offset=1.6).n_left_out == 1


def test_columns_and_data_frames_are_read():
  pd = pytest.importorskip('pandas')
  n, d = (v.ravel() for v in np.meshgrid([1e6, 1e7, 1e8], [1e9, 1e10, 1e11]))
  frame = pd.DataFrame({'N': n, 'D': d, 'lr': 1.79 * n**-0.713 * d**0.307})
  law = fit_power_law(frame[['N', 'D']], frame['lr'])
  assert law.names == ('N', 'D')
  law = fit_power_law(frame[['N']], frame[['lr']])
  assert law.names == ('N',)


def test_a_summary_and_a_frame_have_each_estimate():
  pd = pytest.importorskip('pandas')
  law = fit_power_law(SIZES, scattered())
  frame = law.to_pandas()
  assert isinstance(frame, pd.DataFrame)
  assert frame['name'].tolist() == ['coefficient', 'exponent']
  np.testing.assert_allclose(frame['estimate'], [law.coefficient, law.exponent])
  np.testing.assert_allclose(frame['standard_error'], list(law.se.values()))
  assert tuple(frame[['low', 'high']].iloc[1]) == law.intervals['exponent']
  lines = law.summary().splitlines()
  assert lines[1] == '5 runs, 0 left out, 90% intervals'
  assert lines[-1].split()[:2] == ['exponent', f'{law.exponent:.5g}']


def test_without_pandas_there_is_one_line(monkeypatch):
  # None in sys.modules makes the import fail.
  monkeypatch.setitem(sys.modules, 'pandas', None)
  with pytest.raises(ConfigError, match='pandas: is not installed'):
    fit_power_law(SIZES, scattered()).to_pandas()
