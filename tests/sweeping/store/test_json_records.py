"""Dataclasses as JSON: what is written is read back, and everything unknown is refused."""

from collections.abc import Mapping
import dataclasses
import json
import math

from hypothesis import given, strategies as st
import pytest

from lmhp.errors import ConfigError
from lmhp.sweeping.store.json_records import from_json, raw_json, to_json


@dataclasses.dataclass(frozen=True)
class Part:
  name: str
  size: int | None = None


@dataclasses.dataclass(frozen=True)
class Whole:
  part: Part
  text: Mapping[str, object] = raw_json()
  flag: bool = False
  loss: float = 0.0
  parts: tuple[Part | None, ...] = ()
  losses: Mapping[int, float] = dataclasses.field(default_factory=dict)
  values: Mapping[str, object] = dataclasses.field(default_factory=dict)


FLOATS = st.floats(allow_nan=False) | st.just(math.inf)
PARTS = st.builds(Part, st.text(), st.none() | st.integers())
VALUES = st.recursive(
  st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False),
  lambda inner: st.lists(inner, max_size=3).map(tuple),
  max_leaves=5,
)
WHOLES = st.builds(
  Whole,
  part=PARTS,
  text=st.fixed_dictionaries({'a': st.lists(st.text())}),
  flag=st.booleans(),
  loss=FLOATS,
  parts=st.lists(st.none() | PARTS, max_size=3).map(tuple),
  losses=st.dictionaries(st.integers(), FLOATS, max_size=3),
  values=st.dictionaries(st.text(), VALUES, max_size=3),
)


@given(WHOLES)
def test_what_is_written_is_read_back_through_strict_json(whole):
  text = json.dumps(to_json(whole), allow_nan=False)
  assert from_json(Whole, json.loads(text), 'whole') == whole


def test_nan_is_read_back():
  obj = to_json(Whole(Part('a'), {}, loss=math.nan))
  assert obj['loss'] == 'nan'
  assert math.isnan(from_json(Whole, obj, 'whole').loss)


def test_fields_that_equal_their_default_are_left_out():
  assert to_json(Whole(Part('a'), {}, values={})) == {'part': {'name': 'a'}, 'text': {}}


@pytest.mark.parametrize(
  ('obj', 'path'),
  [
    ({'part': {'name': 'a', 'newer': 1}, 'text': {}}, 'whole.part.newer'),
    ({'part': {}, 'text': {}}, 'whole.part.name'),
    ({'part': 3, 'text': {}}, 'whole.part'),
    ({'part': {'name': 3}, 'text': {}}, 'whole.part.name'),
    ({'part': {'name': 'a', 'size': True}, 'text': {}}, 'whole.part.size'),
    ({'part': {'name': 'a'}, 'text': {}, 'loss': 'x'}, 'whole.loss'),
    ({'part': {'name': 'a'}, 'text': {}, 'parts': {}}, 'whole.parts'),
    ({'part': {'name': 'a'}, 'text': {}, 'losses': []}, 'whole.losses'),
    ({'part': {'name': 'a'}, 'text': {}, 'losses': {'x': 1.0}}, 'whole.losses'),
    ([], 'whole'),
  ],
)
def test_wrong_json_is_one_line_with_its_path(obj, path):
  with pytest.raises(ConfigError) as error:
    from_json(Whole, obj, 'whole')
  message = str(error.value)
  assert message.startswith(f'{path}: ')
  assert '\n' not in message
