"""Compiled spaces: names, conditions and points of parameters."""

import numpy as np
import pytest

from lmhp.sweeping.search.grid import grid
from lmhp.sweeping.space import (
  Chain,
  Choice,
  Fixed,
  Float,
  Int,
  Parameter,
  Point,
  Product,
  When,
  Zip,
  draw_point,
  parameters,
)

SPACE = {
  # The parent of the condition comes later.
  'schedule.cooldown_fraction': When('schedule.name', 'wsd_linear', Float(0.05, 0.5)),
  'optimizer.learning_rate': Float(1e-4, 1e-1, log=True),
  'optimizer.weight_decay': Float(1e-4, 1.0, log=True, role='nuisance'),
  'model.n_layers': Int(2, 8),
  'schedule.name': Choice('cosine', 'wsd_linear', 'constant'),
  'optimizer.b2': Fixed(0.95),
  'train.steps': 100,
}
LEARNING_RATE_OF_EACH_OPTIMIZER = Product(
  {'optimizer.name': Choice('adamw', 'lion', 'sgd')},
  When(
    'optimizer.name', 'lion', {'optimizer.learning_rate': Float(1e-5, 1e-2, log=True)}
  ),
  When(
    'optimizer.name',
    ('adamw', 'sgd'),
    {'optimizer.learning_rate': Float(1e-4, 1e-1, log=True)},
  ),
)


def names(space):
  return [parameter.name for parameter in parameters(space)]


def conditions(space):
  return {parameter.name: parameter.condition for parameter in parameters(space)}


def first_value(parameter):
  domain = parameter.domain
  return domain.values[0] if isinstance(domain, Choice) else domain.low


def last_value(parameter):
  domain = parameter.domain
  return domain.values[-1] if isinstance(domain, Choice) else domain.high


# --- parameters -----------------------------------------------------------------------


def test_parents_come_before_children():
  assert names(SPACE) == [
    'schedule.name',
    'schedule.cooldown_fraction',
    'optimizer.learning_rate',
    'optimizer.weight_decay',
    'model.n_layers',
  ]


def test_a_parameter_has_the_domain_role_and_condition_of_its_entry():
  by_name = {parameter.name: parameter for parameter in parameters(SPACE)}
  assert by_name['schedule.cooldown_fraction'] == Parameter(
    name='schedule.cooldown_fraction',
    paths=('schedule.cooldown_fraction',),
    domain=Float(0.05, 0.5),
    role='scientific',
    condition=(('schedule.name', ('wsd_linear',)),),
  )
  assert by_name['optimizer.weight_decay'].role == 'nuisance'


def test_fixed_values_are_no_parameters():
  assert not {'optimizer.b2', 'train.steps'} & set(names(SPACE))


def test_one_path_under_two_conditions_is_two_parameters():
  assert names(LEARNING_RATE_OF_EACH_OPTIMIZER) == [
    'optimizer.name',
    'optimizer.learning_rate[optimizer.name=lion]',
    'optimizer.learning_rate[optimizer.name=adamw|sgd]',
  ]
  point = draw_point(LEARNING_RATE_OF_EACH_OPTIMIZER, last_value)
  assert point.overrides == {'optimizer.name': 'sgd', 'optimizer.learning_rate': 0.1}


def test_one_path_under_one_condition_keeps_its_name():
  space = Product({'a': Int(0, 1)}, When('a', 1, {'b': Int(0, 3)}))
  assert names(space) == ['a', 'b']


def test_a_zip_is_one_parameter_of_row_numbers():
  rates = np.array([1e-3, 1.4e-3, 2e-3])
  space = Zip({'train.batch_size': (8, 16, 32), 'optimizer.learning_rate': rates})
  paths = ('train.batch_size', 'optimizer.learning_rate')
  assert parameters(space) == (
    Parameter('+'.join(paths), paths, Choice(0, 1, 2), 'scientific'),
  )
  assert draw_point(space, lambda parameter: 1).overrides == {
    'train.batch_size': 16,
    'optimizer.learning_rate': 1.4e-3,
  }


def test_a_chain_is_one_more_choice():
  space = Product(
    Chain({'a': Int(0, 1)}, {'a': Int(5, 6), 'b': 7}),
    Chain({'c': 1}, {'c': 2}, role='nuisance'),
  )
  chain, first_a, second_a, second_chain = parameters(space)
  assert chain == Parameter('chain', (), Choice(0, 1), 'scientific')
  assert first_a.name == 'a[chain=0]'
  assert first_a.condition == (('chain', (0,)),)
  assert second_a.name == 'a[chain=1]'
  assert second_chain.name == 'chain2'
  assert second_chain.role == 'nuisance'
  assert draw_point(space, last_value).overrides == {'a': 6, 'b': 7, 'c': 2}


# --- conditions -----------------------------------------------------------------------


def test_a_condition_on_a_zip_accepts_rows():
  space = Product(
    Zip({'a': (1, 2, 3), 'b': ('x', 'y', 'x')}), When('b', 'x', {'c': Int(0, 1)})
  )
  assert conditions(space)['c'] == (('a+b', (0, 2)),)


def test_a_condition_on_an_int_accepts_numbers():
  space = {'n': Int(2, 5), 'c': When('n', (3, 5), Int(0, 1))}
  assert conditions(space)['c'] == (('n', (3, 5)),)


def test_a_condition_on_a_fixed_value_always_holds():
  space = {'f': Fixed('on'), 'c': When('f', 'on', Int(0, 1))}
  assert conditions(space)['c'] is None


def test_nested_conditions_all_hold():
  space = {
    'a': Choice(1, 2),
    'b': When('a', 1, Choice('u', 'v')),
    'c': When('a', 1, When('b', 'v', Float(0, 1))),
  }
  assert conditions(space)['c'] == (('a', (1,)), ('b', ('v',)))


def test_a_child_of_two_parents_is_two_parameters():
  space = Product(
    {'a': Choice(1, 2)},
    When('a', 1, {'b': Choice('u', 'v')}),
    When('a', 2, {'b': Choice('v', 'w')}),
    {'c': When('b', 'v', Int(0, 9))},
  )
  assert names(space)[-2:] == ['c[b[a=1]=v]', 'c[b[a=2]=v]']
  values = {'a': 2, 'b[a=2]': 'v', 'c[b[a=2]=v]': 9}
  point = draw_point(space, lambda parameter: values[parameter.name])
  assert point.overrides == {'a': 2, 'b': 'v', 'c': 9}


def test_spaces_of_a_chain_may_depend_in_opposite_directions():
  space = Chain(
    {'a': Choice(1, 2), 'b': When('a', 1, 6)}, {'b': Choice(5, 6), 'a': When('b', 6, 1)}
  )
  points = {tuple(sorted(point.overrides.items())) for point in grid(space, n_levels=5)}
  assert points == {(('a', 1), ('b', 6)), (('a', 2),), (('b', 5),)}


# --- points ---------------------------------------------------------------------------


def test_suggest_is_called_once_for_each_parameter_that_exists():
  called = []

  def suggest(parameter):
    called.append(parameter.name)
    is_schedule = parameter.name == 'schedule.name'
    return 'wsd_linear' if is_schedule else parameter.domain.high

  point = draw_point(SPACE, suggest)
  assert called == names(SPACE)
  assert point.parameters['schedule.cooldown_fraction'] == 0.5
  assert point.overrides == {
    **point.parameters,
    'optimizer.b2': 0.95,
    'train.steps': 100,
  }


def test_a_parameter_whose_condition_fails_is_in_no_point():
  point = draw_point(SPACE, first_value)
  assert point.parameters['schedule.name'] == 'cosine'
  assert 'schedule.cooldown_fraction' not in point.parameters
  assert 'schedule.cooldown_fraction' not in point.overrides


def test_a_value_outside_its_domain_is_refused():
  with pytest.raises(ValueError, match=r'a: 3 is not in Int\(0, 2\)'):
    draw_point({'a': Int(0, 2)}, lambda parameter: 3)


def test_points_are_equal_by_value():
  assert draw_point({'a': Choice(1)}, first_value) == Point({'a': 1}, {'a': 1})
