"""Registries store the module that registered each entry."""

import types

import pytest

from lmhp import registry
from lmhp.errors import ConfigError


@pytest.fixture
def toys(monkeypatch):
  """An empty registry, which only this test sees."""
  monkeypatch.setattr(registry, '_all', [])
  return registry.Registry('toy')


def register_toy(toys, name):
  """Registers an entry, as the function that lmhp offers for each registry does."""
  return toys.register(name, name.upper())


def module_that_registers(toys, module_name, name):
  """Registers an entry from the top level of another module."""
  module = types.ModuleType(module_name)
  module.__dict__.update(toys=toys, register_toy=register_toy)
  exec(f'register_toy(toys, {name!r})', module.__dict__)


def test_an_entry_belongs_to_the_module_that_calls_a_register_function(toys):
  module_that_registers(toys, 'some_plugin', 'bear')
  assert toys.module_of('bear') == 'some_plugin'
  assert registry.importable_plugin_modules() == ('some_plugin',)


def test_two_modules_cannot_register_one_name(toys):
  module_that_registers(toys, 'first_plugin', 'bear')
  module_that_registers(toys, 'first_plugin', 'bear')
  with pytest.raises(ConfigError, match='first_plugin'):
    module_that_registers(toys, 'second_plugin', 'bear')
