"""Tests of a report as data, and of its numbers as text."""

import base64
import json

import numpy as np
import pytest

from lmhp.analysis.findings import Finding
from lmhp.analysis.phrases import number
from lmhp.analysis.report.document import (
  PACKED_FROM,
  Column,
  Table,
  aligned_texts,
  to_strict_json,
)


def test_any_value_becomes_strict_json():
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
  restored = json.loads(json.dumps(to_strict_json(value), allow_nan=False))
  assert restored.pop('f')['level'] == 'note'
  assert isinstance(restored.pop('d'), str)
  assert restored == {
    'a': 1.5,
    '3': [None] * 3,
    'b': True,
    'c': [1, 2],
    'e': [[0, 1], [2, 3]],
    'g': None,
    'h': ['x'],
  }


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
  packed = to_strict_json(values, packed=True)
  read = np.frombuffer(base64.b64decode(packed['bdata']), dtype)
  assert packed['dtype'] == dtype[1:]
  np.testing.assert_allclose(read, values, rtol=1e-7)


def test_packed_keeps_gaps_and_short_arrays_stay_digits():
  values = np.r_[np.ones(PACKED_FROM), np.nan]
  read = np.frombuffer(
    base64.b64decode(to_strict_json(values, packed=True)['bdata']), '<f4'
  )
  assert np.isnan(read[-1]) and np.isfinite(read[:-1]).all()
  assert to_strict_json(np.array([1.0, np.nan]), packed=True) == [1.0, None]


def test_a_row_that_does_not_fit_its_table_is_refused():
  columns = [Column('a'), Column('b')]
  with pytest.raises(ValueError, match="'t'"):
    Table('t', '', columns, [(1, 2), (3,)])


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
  assert number(value) == text


def test_numbers_of_a_column_have_equal_length_and_keep_their_differences():
  rng = np.random.default_rng(0)
  values = np.round(3 + rng.random(30), 3)
  texts = aligned_texts(values)
  assert len({len(text) for text in texts}) == 1
  np.testing.assert_allclose([float(text) for text in texts], values, atol=5e-4)


@pytest.mark.parametrize('values, texts', [([], []), ([None, np.nan], ['–', '–'])])
def test_a_column_may_have_no_numbers(values, texts):
  assert aligned_texts(values) == texts
