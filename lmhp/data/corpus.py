"""The built-in corpus: installed English documentation, so that a first run downloads nothing.

The corpus consists of the docstrings of the Python standard library and of the packages that lmhp
uses, the Python language reference of `help()`, and the .rst and .md files beside them.
Everything is read as text, and nothing is imported. The corpus depends on the installed
versions, so every result contains its sha256.
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
"""Version of the rules of this file. Increased if they change the corpus."""

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
# Nodes that may have a docstring.
_SCOPES = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def write_corpus(cache: epath.Path) -> epath.Path:
  """Writes the corpus as a .jsonl file, one document per line in the field `text`.

  A file that was written with the same versions is reused.

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

  Due to this order, every part of the list is a random sample of the corpus.
  """
  unique = set()
  for root in _roots():
    unique.update(_documents_under(root))
  return sorted(unique, key=lambda text: hashlib.sha256(text.encode()).digest())


def _versions_hash() -> str:
  """Returns a hash of the versions of Python, the packages and the rules of this file."""
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
  if path.suffix == '.py':
    yield from _python_documents(path)
  elif path.suffix in ('.rst', '.md'):
    yield from _documentation(path)


def _documentation(path: pathlib.Path) -> Iterator[str]:
  """Yields the text of a documentation file, except for licences and other encodings."""
  if path.stem.upper().startswith(('LICENSE', 'COPYING')):
    return
  with contextlib.suppress(UnicodeDecodeError):
    yield path.read_text('utf-8')


def _python_documents(path: pathlib.Path) -> Iterator[str]:
  """Yields the docstrings of a Python file, and the topics of `pydoc_data.topics`."""
  if path.name.startswith('test_') or path.name.endswith('_test.py'):
    return
  source = path.read_bytes()
  # Skip files without a docstring before the slow step of parsing them.
  if b'"""' not in source and b"'''" not in source and path.name != 'topics.py':
    return
  try:
    with warnings.catch_warnings():
      # Invalid escapes in other people's code.
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
  body: list[ast.AST] = list(getattr(node, 'body', ()))
  if isinstance(node, _SCOPES) and body and isinstance(body[0], ast.Expr):
    text = _string_of(body[0].value)
    if text is not None and _is_utf8(text):
      yield inspect.cleandoc(text)
  for field in ('orelse', 'handlers', 'finalbody'):
    body += getattr(node, field, ())
  for child in body:
    if hasattr(child, 'body'):
      yield from _docstrings(child)


def _help_topics(tree: ast.Module) -> Iterator[str]:
  """Yields the language reference that `help()` prints, from a dict of strings."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Dict):
      for value in node.values:
        text = _string_of(value)
        if text is not None:
          yield inspect.cleandoc(text)


def _string_of(node: ast.AST) -> str | None:
  """Returns the value of a string literal. None for other nodes."""
  if isinstance(node, ast.Constant) and isinstance(node.value, str):
    return node.value
  return None


def _is_utf8(text: str) -> bool:
  """Returns False for a text with lone surrogates, which UTF-8 cannot encode."""
  try:
    text.encode()
  except UnicodeEncodeError:
    return False
  return True
