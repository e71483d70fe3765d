"""Registries: named entries, from lmhp itself and from outside.

A registry is a mapping from name to entry, such as all optimizers. Entries are added by `register`
alone. lmhp registers its own entries when its modules are imported. A plugin or an experiment file
registers more, in the same way.

An installed package lists a plugin module under the entry-point group `lmhp.plugins`. The
module registers its entries when it is imported. An experiment file may also import such a
module, or register entries itself. A study stores the import names of the modules, so that
a resumed sweep, a Ray worker and a report import them too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
import importlib
import importlib.metadata
import sys
from typing import Any, Generic, TypeVar

from lmhp.errors import ConfigError

GROUP = 'lmhp.plugins'
"""Entry-point group under which an installed package lists its plugin modules."""

EXPERIMENT_MODULE = 'lmhp_experiment'
"""Name of the module that an experiment file becomes. It cannot be imported by name."""

LOCAL_MODULES: set[str] = set()
"""Names of modules that an experiment file imports from its folder.

They cannot be imported by name without the experiment file, which registers their entries.
"""

T = TypeVar('T')
_PACKAGE = 'lmhp'
_all: list[Registry] = []
"""All registries, in the order in which they were made."""


class Registry(Mapping[str, T], Generic[T]):
  """Entries of one kind by name, in the order in which they were registered.

  Args:
    kind: Word for one entry in error messages, such as "optimizer".
  """

  def __init__(self, kind: str) -> None:
    self.kind = kind
    self._entries: dict[str, T] = {}
    self._modules: dict[str, str] = {}
    _all.append(self)

  def register(self, name: str, entry: T) -> T:
    """Adds an entry. The module that added it may register the same name again.

    Args:
      name: Name of the entry, the value of a config key.
      entry: The entry.

    Returns:
      The entry.

    Raises:
      ConfigError: If another module has registered this name.
    """
    module = _calling_module()
    # A module that is reloaded may replace its own entries, but not those of others.
    if self._modules.get(name, module) != module:
      raise ConfigError(
        f'{self.kind} {name!r}: {module} registers this name, but {self._modules[name]} '
        'has registered it already; expected another name'
      )
    self._entries[name] = entry
    self._modules[name] = module
    return entry

  def module_of(self, name: str) -> str:
    """Returns the name of the module that registered an entry."""
    return self._modules[name]

  def __getitem__(self, name: str) -> T:
    return self._entries[name]

  def __iter__(self) -> Iterator[str]:
    return iter(self._entries)

  def __len__(self) -> int:
    return len(self._entries)


def _calling_module() -> str:
  """Returns the name of the module that registers an entry.

  Functions such as `register_optimizer` are skipped: their caller registers the entry.
  """
  # Frame 0 is this function, and frame 1 is `Registry.register`.
  frame = sys._getframe(2)
  while frame.f_code.co_name.startswith('register_') and frame.f_back is not None:
    frame = frame.f_back
  return frame.f_globals['__name__']


def import_object(entry: Any) -> Any:
  """Returns the object at an import path, or the argument itself if it is not a string.

  Some files that register entries must not import jax. Their entries hold import paths of
  classes and functions that need jax.

  Args:
    entry: Object, or its import path, such as `package.module:Class`.
  """
  if not isinstance(entry, str):
    return entry
  module, _, name = entry.partition(':')
  return getattr(importlib.import_module(module), name)


# --- plugins ------------------------------------------------------------------------

_installed_are_loaded = False


def load_installed_plugins() -> None:
  """Imports the modules that installed packages list under `lmhp.plugins`, once.

  Raises:
    ConfigError: If an import fails.
  """
  global _installed_are_loaded
  if _installed_are_loaded:
    return
  _installed_are_loaded = True
  for entry_point in importlib.metadata.entry_points(group=GROUP):
    try:
      entry_point.load()
    except Exception as error:
      raise ConfigError(
        f'plugin {entry_point.name!r} ({entry_point.value}) cannot be imported: '
        f'{type(error).__name__}: {error}'
      ) from error


def importable_plugin_modules() -> tuple[str, ...]:
  """Returns the import names of all modules outside lmhp that registered an entry.

  An experiment file and the files beside it are left out, because they cannot be imported by
  name.
  """
  modules = {}
  for registry in _all:
    modules |= dict.fromkeys(registry.module_of(name) for name in registry)
  return tuple(
    module
    for module in modules
    if module.split('.')[0] not in (_PACKAGE, EXPERIMENT_MODULE)
    and module not in LOCAL_MODULES
  )


def load_plugin_modules(names: Iterable[str], source: str) -> None:
  """Imports modules that register entries.

  Args:
    names: Import names.
    source: Study or run that stored the names, for the error message.

  Raises:
    ConfigError: If a module cannot be imported.
  """
  for name in names:
    try:
      importlib.import_module(name)
    except Exception as error:
      raise ConfigError(
        f'plugins: {source} uses the module {name!r}, which cannot be imported here '
        f'({type(error).__name__}: {error})'
      ) from error
