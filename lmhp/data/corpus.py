"""The embedded corpus: English prose that is already installed, so that the first run downloads nothing.

It is the docstrings of the Python standard library and of the packages that lmhp stands on, the language reference that
Python keeps for `help()`, and the text files beside them; all of it read as source text, none of it imported. The text
varies with the installed versions: its sha256 goes with every result.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import inspect
import json
import os
import pathlib
import platform
import sysconfig
from typing import Iterator
import warnings

from etils import epath

VERSION = 1
"""Changes when the same packages would give another text."""

PACKAGES = (
  'absl',
  'etils',
  'flax',
  'jax',
  'ml_collections',
  'numpy',
  'optax',
  'orbax',
  'pyarrow',
  'rich',
  'scipy',
  'tokenizers',
)
DISTRIBUTIONS = (
  'absl-py',
  'etils',
  'flax',
  'jax',
  'ml-collections',
  'numpy',
  'optax',
  'orbax-checkpoint',
  'pyarrow',
  'rich',
  'scipy',
  'tokenizers',
)
SHORTEST = 80
"""Documents of fewer characters say nothing that a language model could learn."""

_SKIPPED = frozenset(
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
_SCOPES = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def docstrings(cache_dir: epath.Path) -> epath.Path:
  """The corpus as a .jsonl file, one document a line in the field `text`; made once for the installed versions.

  Args:
    cache_dir: where the file is kept.
  """
  path = cache_dir / 'corpus' / f'docstrings-{_installed()}.jsonl'
  if not path.exists():
    lines = ''.join(
      json.dumps({'text': text}, ensure_ascii=False) + '\n' for text in documents()
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.parent / f'.{path.name}.{os.getpid()}'
    unfinished.write_bytes(lines.encode())
    unfinished.replace(path)
  return path


def documents() -> list[str]:
  """Every document of the corpus once, in the order of their sha256: any part of the list is a fair sample of all."""
  found = {text for root in _roots() for text in _documents_under(root)}
  return sorted(found, key=lambda text: hashlib.sha256(text.encode()).digest())


def _installed() -> str:
  """A name for what the text depends on: versions of Python and of the packages, and of this file's rules."""
  versions = [f'rules {VERSION}', f'python {platform.python_version()}']
  for name in DISTRIBUTIONS:
    try:
      versions.append(f'{name} {importlib.metadata.version(name)}')
    except importlib.metadata.PackageNotFoundError:
      pass
  return hashlib.sha256('\n'.join(versions).encode()).hexdigest()[:16]


def _roots() -> Iterator[pathlib.Path]:
  """The folders to read: the standard library, then each package that is installed."""
  yield pathlib.Path(sysconfig.get_paths()['stdlib'])
  for name in PACKAGES:
    spec = importlib.util.find_spec(name)
    yield from map(pathlib.Path, (spec and spec.submodule_search_locations) or ())


def _documents_under(root: pathlib.Path) -> Iterator[str]:
  for folder, folders, names in os.walk(root):
    folders[:] = sorted(name for name in folders if name not in _SKIPPED)
    for name in sorted(names):
      path = pathlib.Path(folder, name)
      texts = (
        _python(path)
        if path.suffix == '.py'
        else [_prose(path)]
        if path.suffix in ('.rst', '.md')
        else ()
      )
      yield from (text for text in texts if len(text) >= SHORTEST)


def _prose(path: pathlib.Path) -> str:
  """A documentation file, or '' where it is a licence or not text."""
  if path.stem.upper().startswith(('LICENSE', 'COPYING')):
    return ''
  try:
    return path.read_text('utf-8')
  except UnicodeDecodeError:
    return ''


def _python(path: pathlib.Path) -> Iterator[str]:
  """The docstrings of a Python file; of the standard library's help topics, each topic."""
  if path.name.startswith('test_') or path.name.endswith('_test.py'):
    return
  source = path.read_bytes()
  if b'"""' not in source and b"'''" not in source and path.name != 'topics.py':
    return
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')  # of other people's escapes
      tree = ast.parse(source)
  except (SyntaxError, ValueError):
    return
  if path.parts[-2:] == ('pydoc_data', 'topics.py'):
    yield from _topics(tree)
  yield from _docstrings(tree)


def _docstrings(node: ast.AST) -> Iterator[str]:
  """The docstrings below a node, in order. Statements are followed and expressions are not, which is most of them."""
  body = list(getattr(node, 'body', ()))
  if (
    isinstance(node, _SCOPES)
    and body
    and isinstance(body[0], ast.Expr)
    and isinstance(body[0].value, ast.Constant)
  ):
    text = body[0].value.value
    if isinstance(text, str) and _is_unicode(text):
      yield inspect.cleandoc(text)
  for field in ('orelse', 'handlers', 'finalbody'):
    body += getattr(node, field, ())
  for child in body:
    if hasattr(child, 'body'):
      yield from _docstrings(child)


def _topics(tree: ast.Module) -> Iterator[str]:
  """The texts of `pydoc_data.topics`, the language reference as `help()` shows it: one dict of strings."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Dict):
      yield from (
        inspect.cleandoc(value.value)
        for value in node.values
        if isinstance(value, ast.Constant)
      )


def _is_unicode(text: str) -> bool:
  """Whether the text can be written as UTF-8: a lone surrogate cannot."""
  try:
    text.encode()
  except UnicodeEncodeError:
    return False
  return True
