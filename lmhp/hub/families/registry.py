"""The registry of checkpoint families, by model_type.

A new family is one file in this folder, which calls `register_family`, and one line in
`__init__.py`, which imports the file. A family from outside lmhp calls `register_family` in
an experiment file or in a plugin.
"""

from __future__ import annotations

from lmhp.hub.families.family import CheckpointFamily
from lmhp.registry import Registry, load_installed_plugins

FAMILIES: Registry[CheckpointFamily] = Registry('checkpoint family')
"""{model_type of Hugging Face transformers: family}."""


def register_family(family: CheckpointFamily) -> CheckpointFamily:
  """Adds a family, so that its config.json and its checkpoints can be read and written.

  Args:
    family: The family. Its `model_type` is its name.

  Returns:
    The family.

  Raises:
    ConfigError: If another module has registered this model_type.
  """
  return FAMILIES.register(family.model_type, family)


def model_types() -> list[str]:
  """Returns the model types of all families, including those of plugins.

  The families of lmhp come first. Within each group the order is alphabetical.
  """
  load_installed_plugins()

  def position(name: str) -> tuple[bool, str]:
    is_outside = FAMILIES.module_of(name).split('.')[0] != 'lmhp'
    return is_outside, name.upper()

  return sorted(FAMILIES, key=position)
