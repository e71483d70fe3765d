"""Tests that each public function of `lmhp.analysis` has an example in its docstring."""

import doctest

import pytest

from lmhp import analysis


@pytest.mark.parametrize('name', analysis.__all__)
def test_a_public_function_has_an_example(name):
  tests = doctest.DocTestFinder().find(getattr(analysis, name), name)
  assert sum(len(test.examples) for test in tests) > 0
