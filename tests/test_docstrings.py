"""The examples in docstrings give what they say."""

import doctest
import importlib
import pkgutil

import pytest

import lmhp

MODULES = [m.name for m in pkgutil.walk_packages(lmhp.__path__, 'lmhp.') if not m.ispkg]


@pytest.mark.parametrize('name', MODULES)
def test_examples(name):
  assert doctest.testmod(importlib.import_module(name)).failed == 0
