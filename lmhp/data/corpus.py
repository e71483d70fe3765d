"""The built-in corpus: English documentation of installed packages. Nothing is downloaded.

The corpus consists of the docstrings of the Python standard library and of the packages that lmhp
uses, the Python language reference of `help()`, and the .rst and .md files beside them.
Everything is read as text, and nothing is imported. The corpus depends on the installed
versions, so every result file contains the sha256 of the corpus.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
import contextlib
import hashlib
import importlib.metadata
import importlib.util
import inspect
import json
import os
import pathlib
import platform
import sysconfig
import warnings

from etils import epath

from lmhp.files import write_atomic

VERSION = 1
"""Version of the rules by which this file selects text. Increase it if a rule changes."""

PACKAGES = {
  'absl': 'absl-py',
  'etils': 'etils',
  'flax': 'flax',
  'jax': 'jax',
  'ml_collections': 'ml-collections',
  'numpy': 'numpy',
  'optax': 'optax',
  'orbax': 'orbax-checkpoint',
  'pyarrow': 'pyarrow',
  'rich': 'rich',
  'scipy': 'scipy',
  'tokenizers': 'tokenizers',
}
"""Packages of the corpus: {name in Python: name of the distribution}."""

MIN_CHARACTERS = 80
"""Shorter documents are left out."""

# Tests, and packages that are installed below the folder of the standard library.
_SKIPPED_FOLDERS = frozenset(
  {
    'test',
    'tests',
    'testing',
    'idle_test',
    'site-packages',
    'dist-packages',
    '__pycache__',
  }
)
# Nodes of a syntax tree that may have a docstring.
_SCOPES = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def write_corpus(cache: epath.Path) -> epath.Path:
  """Writes the corpus as a .jsonl file, one document per line in the field `text`.

  A file that was written with the same versions of Python and the packages is reused.

  Args:
    cache: Cache directory.

  Returns:
    The path of the file.
  """
  path = cache / 'corpus' / f'docstrings-{_versions_hash()}.jsonl'
  if not path.exists():
    lines = [json.dumps({'text': text}, ensure_ascii=False) for text in documents()]
    write_atomic(path, ''.join(line + '\n' for line in lines).encode())
  return path


def documents() -> list[str]:
  """Returns the documents without duplicates, in the order of their sha256.

  The order is as good as random, so every part of the list is a random sample of the corpus.
  """
  unique: set[str] = set().union(*map(_documents_under, _roots()))
  return sorted(unique, key=lambda text: hashlib.sha256(text.encode()).digest())


def _versions_hash() -> str:
  """Returns a hash of the versions of Python, of the packages and of the rules (`VERSION`)."""
  versions = [f'rules {VERSION}', f'python {platform.python_version()}']
  for name in PACKAGES.values():
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      versions.append(f'{name} {importlib.metadata.version(name)}')
  return hashlib.sha256('\n'.join(versions).encode()).hexdigest()[:16]


def _roots() -> Iterator[pathlib.Path]:
  """Yields the folders of the standard library and of each installed package."""
  yield pathlib.Path(sysconfig.get_paths()['stdlib'])
  for name in PACKAGES:
    spec = importlib.util.find_spec(name)
    if spec is not None:
      for location in spec.submodule_search_locations or ():
        yield pathlib.Path(location)


def _documents_under(root: pathlib.Path) -> Iterator[str]:
  """Yields the documents of all files below a folder, in order of path."""
  for folder, subfolders, names in os.walk(root):
    # `os.walk` visits the folders that are left in this list.
    subfolders[:] = sorted(name for name in subfolders if name not in _SKIPPED_FOLDERS)
    for name in sorted(names):
      for text in _documents_of(pathlib.Path(folder, name)):
        if len(text) >= MIN_CHARACTERS:
          yield text


def _documents_of(path: pathlib.Path) -> Iterator[str]:
  """Yields the documents of a file. Licences and files that are not in UTF-8 are skipped."""
  is_licence = path.stem.upper().startswith(('LICENSE', 'COPYING'))
  if path.suffix == '.py':
    yield from _python_documents(path)
  elif path.suffix in ('.rst', '.md') and not is_licence:
    with contextlib.suppress(UnicodeDecodeError):
      yield path.read_text('utf-8')


def _python_documents(path: pathlib.Path) -> Iterator[str]:
  """Yields the docstrings of a Python file, and the topics of `pydoc_data.topics`."""
  is_test = path.name.startswith('test_') or path.name.endswith('_test.py')
  source = path.read_bytes()
  # Parsing is slow, so skip files that cannot have a docstring. `pydoc_data/topics.py` is
  # kept: its texts are not docstrings.
  has_docstring = b'"""' in source or b"'''" in source
  if is_test or not has_docstring and path.name != 'topics.py':
    return
  try:
    with warnings.catch_warnings():
      # Python warns about invalid escapes in the strings of some packages.
      warnings.simplefilter('ignore')
      tree = ast.parse(source)
  except (SyntaxError, ValueError):
    return
  if path.parts[-2:] == ('pydoc_data', 'topics.py'):
    yield from _help_topics(tree)
  yield from _docstrings(tree)


def _docstrings(node: ast.AST) -> Iterator[str]:
  """Yields the docstrings below a node, in order.

  Only statements are searched. Most nodes are expressions, which have no docstrings.
  """
  # The docstring of this node, and then those of its classes and functions, also in
  # branches of `if` and `try`.
  text = ast.get_docstring(node) if isinstance(node, _SCOPES) else None
  if text is not None:
    # Skip a docstring that UTF-8 cannot encode, because it has a lone surrogate.
    with contextlib.suppress(UnicodeEncodeError):
      text.encode()
      yield text
  for field in ('body', 'orelse', 'handlers', 'finalbody'):
    for child in getattr(node, field, ()):
      if hasattr(child, 'body'):
        yield from _docstrings(child)


def _help_topics(tree: ast.Module) -> Iterator[str]:
  """Yields the language reference that `help()` prints. It is a dict of strings in the file."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Dict):
      for value in node.values:
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
          yield inspect.cleandoc(value.value)
