"""A report as data: what JSON can hold, what a table refuses, numbers as they are read."""

import base64
import json

import numpy as np
import pytest

from lmhp.analysis.findings import Finding
from lmhp.analysis.report import numbers
from lmhp.analysis.report.document import PACKED_FROM, Column, Table, plain


def test_plain_is_strict_json():
  value = {
    'a': np.float32(1.5),
    3: [np.nan, np.inf, -np.inf],
    'b': np.bool_(True),
    'c': {2, 1},
    'd': object,
    'e': np.arange(4).reshape(2, 2),
    'f': Finding('k', 'note', 't'),
    'g': None,
    'h': np.array(['x']),
  }
  found = json.loads(json.dumps(plain(value), allow_nan=False))
  assert (
    found['a'] == 1.5
    and found['3'] == [None] * 3
    and found['b'] is True
    and found['c'] == [1, 2]
  )
  assert (
    found['e'] == [[0, 1], [2, 3]]
    and found['f']['level'] == 'note'
    and found['h'] == ['x']
  )


@pytest.mark.parametrize(
  'values, dtype',
  [
    (np.linspace(0, 1, PACKED_FROM), '<f4'),
    (np.arange(PACKED_FROM) % 100, '<i1'),
    (np.arange(PACKED_FROM), '<i2'),
    (np.arange(PACKED_FROM) * 1000, '<i4'),
    (np.arange(PACKED_FROM) * 2**33, '<f8'),
  ],
)
def test_long_arrays_are_packed_as_plotly_reads_them(values, dtype):
  packed = plain(values, packed=True)
  read = np.frombuffer(base64.b64decode(packed['bdata']), dtype)
  assert packed['dtype'] == dtype[1:]
  np.testing.assert_allclose(read, values, rtol=1e-7)


def test_packed_keeps_gaps_and_short_arrays_stay_digits():
  values = np.r_[np.ones(PACKED_FROM), np.nan]
  read = np.frombuffer(base64.b64decode(plain(values, packed=True)['bdata']), '<f4')
  assert np.isnan(read[-1]) and np.isfinite(read[:-1]).all()
  assert plain(np.array([1.0, np.nan]), packed=True) == [1.0, None]


def test_a_table_says_which_row_does_not_fit():
  with pytest.raises(ValueError, match="table 't': got a row of 1 values, expected 2"):
    Table('t', '', ['a', 'b'], [(1, 2), (3,)])
  with pytest.raises(ValueError, match="kind 'date'"):
    Column('a', kind='date')


@pytest.mark.parametrize(
  'value, text',
  [
    (0, '0'),
    (1234.5, '1,234'),
    (0.00012345, '0.000123'),
    (-2.5, '-2.500'),
    (1e12, '1e12'),
    (np.float32(3), '3'),
    (np.nan, '–'),
    (None, '–'),
    (np.inf, '–'),
  ],
)
def test_number(value, text):
  assert numbers.number(value) == text


def test_column_is_alike_and_tells_its_values_apart():
  rng = np.random.default_rng(0)
  values = np.round(3 + rng.random(30), 3)
  shown = numbers.column(values)
  assert len({len(text) for text in shown}) == 1
  np.testing.assert_allclose([float(text) for text in shown], values, atol=5e-4)
  assert numbers.column([]) == [] and numbers.column([None, np.nan]) == ['–', '–']
