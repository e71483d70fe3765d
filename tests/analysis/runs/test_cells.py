"""Cells and columns of text."""

import math

import pytest

from lmhp.analysis.runs.cells import parse_column, parse_number, split_spread


@pytest.mark.parametrize(
  'text, expected',
  [
    ('3', 3),
    ('-3', -3),
    ('3e-4', 3e-4),
    ('1E6', 1e6),
    ('.5', 0.5),
    ('1,000', 1000),
    ('1,234,567.5', 1234567.5),
    ('1_000', 1000),
    ('1.4B', 1.4e9),
    ('124m', 124e6),
    ('10k', 1e4),
    ('2T', 2e12),
    ('88%', 88),
    ('$3.50', 3.5),
    ('inf', math.inf),
    ('-Infinity', -math.inf),
    (' 7 ', 7),
  ],
)
def test_numbers_as_people_write_them(text, expected):
  assert parse_number(text) == expected


@pytest.mark.parametrize(
  'text',
  ['', 'adam', '1,00', '1.2.3', '3 layers', '2026-11-30', '1:15', '0x10', 'B', 'e5'],
)
def test_texts_that_are_no_numbers(text):
  assert parse_number(text) is None


def test_nan_is_a_number():
  assert math.isnan(parse_number('NaN'))


def test_whole_numbers_stay_whole():
  assert type(parse_number('3')) is int
  assert type(parse_number('3.0')) is float


def test_decimal_comma():
  assert parse_number('0,003', decimal_comma=True) == 0.003
  assert parse_column(['0,1', '3e-4', ''], decimal_comma=True) == [0.1, 3e-4, None]


@pytest.mark.parametrize('word', ['', '-', 'n/a', 'NA', 'none', 'null', '?'])
def test_missing_words_among_numbers(word):
  assert parse_column(['1', '2', '3', word]) == [1, 2, 3, None]


def test_none_is_a_choice_among_words():
  assert parse_column(['rope', 'none', 'alibi']) == ['rope', 'none', 'alibi']


def test_a_word_among_numbers_stays():
  assert parse_column(['3.1', '3.2', 'diverged', '3.3']) == [3.1, 3.2, 'diverged', 3.3]


def test_numbers_among_words_are_words():
  assert parse_column(['m1', 'm2', '3']) == ['m1', 'm2', '3']


def test_flags_and_json():
  assert parse_column(['True', 'FALSE', '']) == [True, False, None]
  assert parse_column(['[0.9, 0.95]', '[0.9, 0.99]']) == [(0.9, 0.95), (0.9, 0.99)]
  assert parse_column(["{'lr': 0.1}", '{"lr": 0.2}']) == [{'lr': 0.1}, {'lr': 0.2}]
  assert parse_column(['[not json', 'x']) == ['[not json', 'x']


def test_means_with_spreads():
  assert split_spread(['3.28 ± 0.01', '', '3.3+/-0.02']) == (
    ['3.28', '', '3.3'],
    ['0.01', '', '0.02'],
  )
  assert split_spread(['3.28 ± 0.01', '3.3']) is None
  assert split_spread(['', '']) is None
