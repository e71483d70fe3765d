"""Law 1: keys are declared once, checked, and split into structure and traced numbers."""

import dataclasses
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest

from lmhp import hypers
from lmhp.declarations import declared, static, traced
from lmhp.errors import ConfigError, suggest
from lmhp.hypers import TRACED, flatten, split
from lmhp.sections import Section, assign, section, wrong


@section('soup')
class Soup(Section):
  """A section with a key of each type."""

  name: str = static('leek', 'which', choices=('leek', 'tomato', 'miso'))
  bowls: int = static(2, 'how many', low=1, high=9)
  depth: int | None = static(None, 'None is twice the bowls')
  sizes: tuple[int, ...] = static((1, 2), 'of the bowls', low=1)
  kinds: tuple[str, ...] = static(('big',), 'words', choices=('big', 'small'))
  hot: bool = static(True, 'or cold')
  salt: float = traced(0.5, 'grams', low=0.0, high=1.0, open_high=True)
  clip: float = traced(1.0, 'norm', low=0.0, open_low=True, neutral=math.inf)
  drop: float = traced(
    0.0,
    'rate',
    low=0.0,
    high=1.0,
    open_high=True,
    neutral=0.0,
    static_when_neutral=True,
  )
  shape: str = traced('flat', 'traced choice', choices=('flat', 'round'))
  seed: int = traced(0, 'draws', unit='seed', low=0, high=2**32 - 1)
  turns: int = traced(3, 'whole and traced')
  weights: tuple[float, ...] = traced((1.0, 2.0), 'of the sources', low=0.0)
  maybe: float | None = traced(None, 'filled in')

  def resolve(self):
    assign(
      self,
      depth=self.depth or 2 * self.bowls,
      maybe=0.25 if self.maybe is None else self.maybe,
    )
    if self.bowls == 7:
      raise wrong(self, 'bowls', 'any number but seven')


@dataclasses.dataclass(frozen=True)
class Meal:
  """Two sections, and a value that is no section."""

  soup: Soup = Soup()


def test_sections_are_frozen_and_take_keywords_alone():
  with pytest.raises(dataclasses.FrozenInstanceError):
    Soup().salt = 0.1
  with pytest.raises(TypeError):
    Soup('leek')
  assert Soup(salt=0.1) == Soup(salt=0.1) != Soup(salt=0.2)
  assert Soup.SECTION == 'soup' and Soup().depth == 4 and Soup(depth=5).depth == 5


def test_replacing_resolves_again():
  assert dataclasses.replace(Soup(), bowls=3, depth=None).depth == 6
  with pytest.raises(
    ConfigError, match='soup.bowls: got 7, expected any number but seven'
  ):
    dataclasses.replace(Soup(), bowls=7)


@pytest.mark.parametrize(
  'field, given, taken',
  [
    ('bowls', 3.0, 3),
    ('bowls', np.int64(3), 3),
    ('bowls', np.float32(3), 3),
    ('salt', 0, 0.0),
    ('salt', np.float64(0.25), 0.25),
    ('sizes', [3, 4], (3, 4)),
    ('sizes', 3, (3,)),
    ('sizes', [3.0], (3,)),
    ('kinds', 'small', ('small',)),
    ('weights', [1, 2], (1.0, 2.0)),
    ('depth', None, 4),
    ('clip', math.inf, math.inf),
    ('hot', np.bool_(False), False),
    ('sizes', (), ()),
  ],
)
def test_convertible_types_are_accepted(field, given, taken):
  value = getattr(Soup(**{field: given}), field)
  assert value == taken and type(value) is type(taken)
  if isinstance(taken, tuple):
    assert [type(v) for v in value] == [type(v) for v in taken]


@pytest.mark.parametrize(
  'field, given, message',
  [
    ('bowls', 0, 'expected at least 1 and at most 9'),
    ('bowls', 10, 'expected at least 1 and at most 9'),
    ('bowls', 2.5, 'expected a whole number'),
    ('bowls', '3', "got '3', expected a whole number"),
    ('bowls', True, 'got True, expected a whole number'),
    ('bowls', None, 'got None, expected a whole number'),
    ('depth', 'x', 'expected a whole number or None'),
    ('hot', 1, 'expected True or False'),
    ('salt', 1.0, 'expected at least 0.0 and below 1.0'),
    ('salt', -0.1, 'at least 0.0'),
    ('salt', math.nan, 'got nan'),
    ('salt', math.inf, 'got inf'),
    ('clip', 0.0, r'above 0.0 \(inf switches it off\)'),
    ('clip', -math.inf, 'got -inf'),
    ('maybe', math.inf, 'expected a finite number'),
    ('maybe', False, 'expected a number or None'),
    ('name', 'tomatos', "expected one of leek, tomato, miso; did you mean 'tomato'"),
    ('name', 3, 'expected a word'),
    ('sizes', (1, 'a'), 'expected a tuple of whole numbers'),
    ('sizes', (1, 0), 'at least 1'),
    ('kinds', ('big', 'bigg'), 'expected one of big, small'),
    ('weights', (1.0, math.nan), 'at least 0.0'),
    ('shape', 'rund', "did you mean 'round'"),
    ('seed', -1, 'at least 0'),
    ('seed', 2**32, 'at most 4294967295'),
  ],
)
def test_a_wrong_value_is_one_line_that_names_the_path(field, given, message):
  with pytest.raises(ConfigError, match=message) as error:
    Soup(**{field: given})
  assert str(error.value).startswith(f'soup.{field}: got ') and '\n' not in str(
    error.value
  )


@pytest.mark.parametrize(
  'field', ['salt', 'clip', 'maybe', 'weights', 'bowls', 'turns', 'depth', 'sizes']
)
@pytest.mark.parametrize(
  'given',
  [10**400, -(10**400), 10**5000],
  ids=['large', 'negative', 'too long to write'],
)
def test_an_int_that_no_float_holds_is_a_wrong_value(field, given):
  with pytest.raises(
    ConfigError,
    match=rf'^soup\.{field}: got .+, expected a number of size at most 1\.8e\+308$',
  ):
    Soup(**{field: given})


def test_suggest():
  assert (
    suggest('lerning_rate', ['learning_rate', 'steps'])
    == "; did you mean 'learning_rate'?"
  )
  assert suggest('xyz', ['learning_rate']) == '' == suggest('x', [])


# --- the split ----------------------------------------------------------------------


def test_split_takes_numbers_out():
  structure, numbers = split(Soup(salt=0.25, shape='round', seed=2**32 - 1))
  assert numbers == {
    'salt': 0.25,
    'clip': 1.0,
    'shape': 1,
    'seed': 2**32 - 1,
    'turns': 3,
    'maybe': 0.25,
    'weights': pytest.approx([1.0, 2.0]),
  }
  types = {k: v.dtype.name for k, v in numbers.items()}
  assert types == {
    'salt': 'float32',
    'clip': 'float32',
    'shape': 'int32',
    'seed': 'uint32',
    'turns': 'int32',
    'maybe': 'float32',
    'weights': 'float32',
  }
  assert (
    structure.salt is structure.weights is TRACED
    and structure.bowls == 2
    and structure.depth == 4
  )
  assert structure.drop == 0.0, (
    'neutral dropout is structure: the program leaves it out'
  )


def test_structures_are_equal_if_and_only_if_programs_are():
  base = split(Soup())[0]
  assert (
    base == split(Soup(salt=0.1, clip=math.inf, seed=7, shape='round', maybe=3.0))[0]
  )
  assert hash(base) == hash(split(Soup(salt=0.1))[0])
  assert base != split(Soup(bowls=3))[0]
  assert base != split(Soup(drop=0.1))[0]
  assert (
    split(Soup(drop=0.1))[0]
    == split(Soup(drop=0.2))[0]
    == split(Soup(), present=['soup.drop'])[0]
  )
  assert split(Soup(), present=['soup.drop'])[1]['drop'] == 0.0


def test_split_of_a_dataclass_of_sections():
  structure, numbers = split(Meal(Soup(salt=0.1)))
  assert set(numbers) == {'soup'} and numbers['soup']['salt'] == np.float32(0.1)
  assert structure.soup.salt is TRACED
  assert hash(structure) == hash(split(Meal())[0])
  assert structure != split(Meal(Soup(bowls=3)))[0]
  assert flatten(Meal())['soup.salt'] == 0.5


def test_a_traced_number_cannot_be_read_from_the_structure():
  structure, _ = split(Soup())
  for use in (
    lambda: structure.salt + 1,
    lambda: structure.salt > 0,
    lambda: bool(structure.salt),
    lambda: float(structure.salt),
  ):
    with pytest.raises(TypeError):
      use()
  assert repr(TRACED) == 'TRACED' and pickle.loads(pickle.dumps(structure)) == structure
  assert pickle.loads(pickle.dumps(TRACED)) is TRACED


def test_declarations_are_read_in_order():
  fields = declared(Soup)
  assert list(fields)[:2] == ['name', 'bowls'] and len(fields) == 14
  assert (
    fields['salt'].traced
    and not fields['bowls'].traced
    and fields['seed'].unit == 'seed'
  )


def test_every_key_is_described():
  """Each key has a text of one line, traced words have choices, and each bound is on the right
  side of the default.
  """
  import typing

  from lmhp.training.config import RunConfig

  for cls in typing.get_type_hints(RunConfig).values():
    fields = declared(cls)
    assert set(fields) == {f.name for f in dataclasses.fields(cls)}, cls
    for name, declaration in fields.items():
      assert declaration.doc and '\n' not in declaration.doc, (cls, name)
      assert not (declaration.static_when_neutral and declaration.neutral is None), (
        cls,
        name,
      )
      assert all(alias not in fields for alias in declaration.aliases), (cls, name)
    cls()  # the defaults are allowed


def test_no_jax_is_imported():
  code = 'import lmhp.hypers, lmhp.statistics, sys; sys.exit("jax" in sys.modules)'
  assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0
  assert 'jax' not in vars(hypers)
