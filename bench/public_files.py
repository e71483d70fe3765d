"""Reads files of a clone at a commit, without a checkout and without running its code."""

from __future__ import annotations

from collections.abc import Sequence
import io
import json
from pathlib import Path
import pickle
import subprocess
from typing import Any

import pandas as pd


class Repository:
  """The files of a clone at one commit, from a bare git directory or from a work tree.

  Args:
    directory: Directory of all clones.
    name: OWNER/NAME of the repository.
    commit: Commit to read. A work tree is read through its git directory if it has one.
  """

  def __init__(self, directory: Path, name: str, commit: str):
    clone = directory / name.replace('/', '+')
    bare = clone / 'repo'
    self.git_directory = bare if (bare / 'HEAD').is_file() else clone / '.git'
    self.work_tree = clone
    self.commit = commit
    if not clone.is_dir():
      raise FileNotFoundError(f'{clone}: no clone of {name}')

  def paths(self, folder: str, suffix: str = '') -> list[str]:
    """Returns the paths of the files below a folder that end in a suffix, sorted."""
    if self.git_directory.is_dir():
      listing = self._git(
        'ls-tree', '-r', '--name-only', '-z', self.commit, '--', folder
      )
      paths = listing.decode().split('\0')
    else:
      files = (self.work_tree / folder).rglob('*')
      paths = [file.relative_to(self.work_tree).as_posix() for file in files]
    return sorted(path for path in paths if path and path.endswith(suffix))

  def read(self, path: str) -> bytes:
    """Returns the content of a file."""
    return self.read_all([path])[path]

  def read_all(self, paths: Sequence[str]) -> dict[str, bytes]:
    """Returns {path: content} of many files, read by one process."""
    if not self.git_directory.is_dir():
      return {path: (self.work_tree / path).read_bytes() for path in paths}
    names = ''.join(f'{self.commit}:{path}\n' for path in paths)
    stream = io.BytesIO(self._git('cat-file', '--batch', stdin=names.encode()))
    contents = {}
    for path in paths:
      header = stream.readline().decode().split()
      if header[-1] == 'missing':
        raise FileNotFoundError(f'{self.work_tree.name}@{self.commit}: no {path}')
      contents[path] = stream.read(int(header[-1]))
      stream.read(1)
    return contents

  def csv(self, path: str) -> pd.DataFrame:
    """Returns a table in a .csv file."""
    return pd.read_csv(io.BytesIO(self.read(path)))

  def json(self, path: str) -> Any:
    """Returns the content of a .json file."""
    return json.loads(self.read(path))

  def _git(self, *arguments: str, stdin: bytes | None = None) -> bytes:
    command = ['git', '--git-dir', str(self.git_directory), *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, check=True).stdout


class TableUnpickler(pickle.Unpickler):
  """An unpickler that builds DataFrames and arrays, and nothing else."""

  ALLOWED = frozenset(
    """builtins.slice numpy.dtype numpy.ndarray
    numpy.core.multiarray._reconstruct numpy.core.multiarray.scalar
    numpy.core.numeric._frombuffer pandas._libs.internals._unpickle_block
    pandas.core.frame.DataFrame pandas.core.series.Series
    pandas.core.indexes.base.Index pandas.core.indexes.base._new_Index
    pandas.core.indexes.range.RangeIndex
    pandas.core.internals.managers.BlockManager
    pandas.core.internals.managers.SingleBlockManager""".split()
  )

  def find_class(self, module_name: str, global_name: str) -> Any:
    if f'{module_name}.{global_name}' not in self.ALLOWED:
      raise pickle.UnpicklingError(f'{module_name}.{global_name} is not allowed')
    return super().find_class(
      module_name.replace('numpy.core', 'numpy._core'), global_name
    )
