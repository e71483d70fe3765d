"""Type aliases that several folders share. This file imports no jax."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import os
from typing import Any, TypeAlias

PyTree: TypeAlias = Any
"""A nested structure of arrays, or of their shapes and dtypes, as `jax.tree` handles it."""

JSON: TypeAlias = (
  'None | bool | int | float | str | Sequence[JSON] | Mapping[str, JSON]'
)
"""A value that a JSON file can hold."""

PathLike: TypeAlias = 'str | os.PathLike[str]'
"""A local path, or a URL in an object store, such as `gs://bucket/run`."""

Number: TypeAlias = int | float
"""A Python number."""
