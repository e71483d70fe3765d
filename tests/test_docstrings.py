"""Examples in docstrings give the documented results, and certain functions have examples."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import lmhp
import lmhp.analysis
import lmhp.sweeping.space

MODULES = [
  module.name
  for module in pkgutil.walk_packages(lmhp.__path__, 'lmhp.')
  if not module.ispkg
]
PACKAGES = ('lmhp.counting', 'lmhp.optim')
"""Packages whose public functions all have examples."""

EXPORTS = (lmhp.analysis, lmhp.sweeping.space)
"""Packages whose exported functions all have examples."""

NEEDS_EXTRA = {'lmhp.sweeping.search.cma_es': 'cmaes'}
"""{module that imports a package of an extra at its head: that package}."""


@pytest.mark.parametrize('name', MODULES)
def test_examples_give_the_documented_results(name):
  if name in NEEDS_EXTRA:
    pytest.importorskip(NEEDS_EXTRA[name], reason='needs the extra cmaes')
  module = importlib.import_module(name)
  results = doctest.testmod(module)
  assert results.failed == 0
  # Every example of a function that the module defines is run.
  n_examples = 0
  for function in functions_of(module):
    n_examples += len(doctest.DocTestParser().get_examples(function.__doc__ or ''))
  assert results.attempted >= n_examples


def functions_of(module):
  """Returns the public functions that a module defines."""
  return [
    function
    for name, function in inspect.getmembers(module, inspect.isfunction)
    if not name.startswith('_') and function.__module__ == module.__name__
  ]


def documented_functions():
  """Returns all functions that need an example, by full name."""
  functions = []
  for name in MODULES:
    if name.startswith(tuple(f'{package}.' for package in PACKAGES)):
      functions += functions_of(importlib.import_module(name))
  for package in EXPORTS:
    exported = [getattr(package, name) for name in package.__all__]
    functions += [item for item in exported if inspect.isfunction(item)]
  return {f'{f.__module__}.{f.__name__}': f for f in functions}


DOCUMENTED_FUNCTIONS = documented_functions()


@pytest.mark.parametrize('name', sorted(DOCUMENTED_FUNCTIONS))
def test_public_function_has_an_example(name):
  function = DOCUMENTED_FUNCTIONS[name]
  assert doctest.DocTestParser().get_examples(function.__doc__ or '')


def test_packages_with_examples_have_functions():
  assert len(DOCUMENTED_FUNCTIONS) > 40
