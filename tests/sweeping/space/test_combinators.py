"""Combinators: values of the user become spaces, and spaces become text and JSON."""

import json
import math

import numpy as np
import pytest

from lmhp.errors import ConfigError
from lmhp.sweeping import space as space_package
from lmhp.sweeping.space import (
  Chain,
  Choice,
  Fixed,
  Float,
  Int,
  Product,
  Subsample,
  When,
  Zip,
  as_space,
  from_json,
  to_json,
)

EVERY_COMBINATOR = Product(
  {
    'schedule.cooldown_fraction': When('schedule.name', 'wsd_linear', Float(0.05, 0.5)),
    'optimizer.weight_decay': Float(1e-4, 1.0, log=True, role='nuisance'),
    'schedule.name': Choice('cosine', 'wsd_linear', 'constant'),
    'optimizer.b2': Fixed(0.95),
    'train.steps': 100,
  },
  Zip({'x': [1, 2], 'y': [None, 'w']}, role='nuisance'),
  Chain({'u': 1}, {'u': Choice((1, 2), (3,))}),
  When('u', ((1, 2), 1), {'v': Int(1, 9, log=True)}),
  Subsample({'w': Float(0, math.inf)}, np.int64(3), seed=2),
)


def test_equal_spaces_have_equal_hashes():
  same = Product(EVERY_COMBINATOR)
  assert same == EVERY_COMBINATOR
  assert hash(same) == hash(EVERY_COMBINATOR)


def test_the_repr_of_a_space_makes_an_equal_one():
  names = {**vars(space_package), 'inf': math.inf}
  assert eval(repr(EVERY_COMBINATOR), names) == EVERY_COMBINATOR


def test_a_space_survives_strict_json():
  text = json.dumps(to_json(EVERY_COMBINATOR), allow_nan=False)
  read = from_json(json.loads(text))
  assert read == EVERY_COMBINATOR
  assert repr(read) == repr(EVERY_COMBINATOR)


@pytest.mark.parametrize(
  'value',
  [Float(0, 1), [1], {1: 2}, When('a', 1, Int(0, 1))],
  ids=['domain', 'list', 'key that is no text', 'When without a path'],
)
def test_a_value_that_is_no_space_is_refused(value):
  with pytest.raises(ConfigError, match='^space: got ') as error:
    as_space(value)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('value', [Zip({'b': (1, 2)}), {'b': 1}], ids=repr)
def test_a_space_under_a_path_is_refused(value):
  with pytest.raises(ConfigError, match='^a: got .*expected a value, ') as error:
    as_space({'a': value})
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('obj', [{'type': 'Nothing'}, {'type': 'Float', 'low': 1}, 3])
def test_other_json_is_refused(obj):
  with pytest.raises(ConfigError, match='^space: got '):
    from_json(obj)
