"""Each dotted path of a key that stands in the code of lmhp is a key."""

import ast
import pathlib
import re

import lmhp
from lmhp.config_keys import SECTIONS, keys
from lmhp.sweeping.config import sweep_keys

PACKAGE = pathlib.Path(lmhp.__file__).parent
FILES = ('train.bin', 'model.safetensors')
SKIPPED = ('renamed_keys.py', 'hub/families/')
"""Old names of keys, and tensors of checkpoints."""

PATH = re.compile(rf'({"|".join([*SECTIONS, "sweep"])})\.[a-z_0-9]+')


def paths_in(source):
  """Returns the string literals of a module that look like the path of a key."""
  literals = set()
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
      if PATH.fullmatch(node.value):
        literals.add(node.value)
  return literals


def test_paths_are_found_in_code_and_not_in_docstrings():
  source = '"""Reads data.path."""\nKEYS = ("data.path", f"model.{x}", "dataset.path")'
  assert paths_in(source) == {'data.path'}


def test_literal_paths_are_keys():
  known = [*keys(), *sweep_keys(), *FILES]
  unknown = {}
  for module in PACKAGE.rglob('*.py'):
    name = str(module.relative_to(PACKAGE))
    if name.startswith(SKIPPED):
      continue
    for literal in paths_in(module.read_text()):
      # A literal may be the beginning of several keys.
      if not any(path.startswith(literal) for path in known):
        unknown[name] = literal
  assert not unknown
