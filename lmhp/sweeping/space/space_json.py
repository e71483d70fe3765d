"""Spaces as JSON: a study stores the space that it searches."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import math

from lmhp.errors import ConfigError
from lmhp.sections import assign
from lmhp.sweeping.space.combinators import (
  Chain,
  Product,
  Space,
  SpaceLike,
  Subsample,
  When,
  Zip,
  as_space,
)
from lmhp.sweeping.space.domains import Choice, Domain, Fixed
from lmhp.sweeping.space.intervals import Float, Int
from lmhp.typing import JSON

_CLASSES = (Float, Int, Choice, Fixed, Product, Zip, Chain, When, Subsample)
_CLASS_OF_NAME = {cls.__name__: cls for cls in _CLASSES}


def to_json(space: SpaceLike) -> dict[str, JSON]:
  """Returns a space as JSON. `from_json` makes an equal space from it.

  >>> to_json(Zip({'train.batch_size': (8, 16)}))
  {'type': 'Zip', 'columns': [['train.batch_size', [8, 16]]], 'role': 'scientific'}
  """
  return _encode_object(as_space(space))


def from_json(obj: object) -> Space:
  """Returns the space that `to_json` wrote.

  Raises:
    ConfigError: If the JSON was not written by `to_json`.

  >>> from_json(to_json({'model.n_layers': Int(2, 8)}))
  Product({'model.n_layers': Int(2, 8)})
  """
  try:
    return as_space(_decode(obj))
  except (KeyError, TypeError, AttributeError) as error:
    raise ConfigError(
      f'space: got JSON that to_json did not write ({error!r})'
    ) from None


def _encode_object(value: Domain | Space) -> dict[str, JSON]:
  name = type(value).__name__
  fields = dataclasses.fields(_CLASS_OF_NAME[name])
  return {'type': name, **{f.name: _encode(getattr(value, f.name)) for f in fields}}


def _encode(value: object) -> JSON:
  if isinstance(value, (Domain, Space)):
    return _encode_object(value)
  if isinstance(value, tuple):
    return [_encode(item) for item in value]
  if isinstance(value, float) and not math.isfinite(value):
    # JSON has no infinity. The string 'inf' alone could also be a value of a Choice.
    return {'float': str(value)}
  if value is None or isinstance(value, (bool, int, float, str)):
    return value
  raise TypeError(f'{value!r} cannot be written as JSON')


def _decode(value: object) -> object:
  if isinstance(value, list):
    return tuple(_decode(item) for item in value)
  if not isinstance(value, Mapping):
    return value
  if 'float' in value:
    return float(value['float'])  # 'inf', '-inf' or 'nan'

  # Some constructors do not take the fields as their arguments, so the fields are set directly.
  cls = _CLASS_OF_NAME[value['type']]
  decoded = object.__new__(cls)
  assign(decoded, **{f.name: _decode(value[f.name]) for f in dataclasses.fields(cls)})
  return decoded
