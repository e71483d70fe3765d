"""Numbers as text."""

import math

import pytest

from lmhp.statistics.number_format import (
  format_bytes,
  format_long_duration,
  format_number,
  format_value,
  format_with_unit,
)


@pytest.mark.parametrize(
  'value,text',
  [
    (0.0, '0'),
    (12.0, '12'),
    (1228800.0, '1,228,800'),
    (1.84595, '1.846'),
    (12345.67, '12,346'),
    (-0.5142, '-0.514'),
    (0.5, '0.5'),
    (0.00031234, '0.000312'),
    (0.0001, '0.0001'),
    (1.5e-7, '1.5e-7'),
    (123456.7, '1.23e5'),
    (2e15, '2e15'),
    (None, '–'),
    (math.nan, '–'),
    (math.inf, '–'),
  ],
)
def test_format_number(value, text):
  assert format_number(value) == text


def test_texts_for_numbers_that_are_not_known_and_for_infinity():
  assert format_number(None, missing='unknown') == 'unknown'
  assert format_number(math.inf, infinite='no bound') == 'no bound'
  assert format_number(-math.inf, infinite='no bound') == 'no bound'


@pytest.mark.parametrize(
  'value,digits,text',
  [
    (1.84595, 2, '1.8'),
    (12345.67, 2, '12,346'),
    (0.98765, 4, '0.988'),
    (0.98765, 2, '0.99'),
    (123456.7, 2, '1.2e5'),
    (123456.7, 1, '1e5'),
    (1234567.0, 2, '1,234,567'),
  ],
)
def test_digits(value, digits, text):
  assert format_number(value, digits) == text


@pytest.mark.parametrize(
  'value,text', [(0.25, '0.25'), (3, '3'), (True, 'True'), ('cosine', 'cosine')]
)
def test_format_value(value, text):
  assert format_value(value) == text


def test_a_small_number_has_no_exponent_after_rounding():
  assert 'e' not in format_number(0.00010000001)


@pytest.mark.parametrize(
  'value,text',
  [
    (0, '0'),
    (999, '999'),
    (1000, '1 k'),
    (1_720_576, '1.72 M'),
    (3.0e15, '3 P'),
    (0.5, '0.5'),
    (12.5, '12.5'),
  ],
)
def test_format_with_unit(value, text):
  assert format_with_unit(value) == text


@pytest.mark.parametrize(
  'n_bytes,text',
  [
    (0, '0 B'),
    (13 / 9, '1.44 B'),
    (1023, '1,023 B'),
    (1024, '1 KiB'),
    (1536, '1.5 KiB'),
    (2**40, '1 TiB'),
  ],
)
def test_format_bytes(n_bytes, text):
  assert format_bytes(n_bytes) == text


@pytest.mark.parametrize(
  'seconds,text',
  [
    (0.5, '0.5 seconds'),
    (90, '90 seconds'),
    (600, '10 minutes'),
    (3600, '60 minutes'),
    (7200, '2 hours'),
    (3 * 86400, '3 days'),
    (3 * 365.25 * 86400, '3 years'),
  ],
)
def test_format_long_duration(seconds, text):
  assert format_long_duration(seconds) == text
