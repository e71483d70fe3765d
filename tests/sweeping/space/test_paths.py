"""Paths of a space, and the values that they can take."""

from lmhp.sweeping.space import (
  Chain,
  Choice,
  Fixed,
  Float,
  Int,
  Product,
  Range,
  When,
  Zip,
  paths_of,
  values_of,
)

SPACE = {
  'schedule.cooldown_fraction': When('schedule.name', 'wsd_linear', Float(0.05, 0.5)),
  'optimizer.learning_rate': Float(1e-4, 1e-1, log=True),
  'model.n_layers': Int(2, 8),
  'schedule.name': Choice('cosine', 'wsd_linear', 'constant'),
  'optimizer.b2': Fixed(0.95),
}


def test_paths_are_those_with_drawn_and_with_fixed_values():
  assert paths_of(SPACE) == set(SPACE)


def test_listed_values():
  assert values_of(SPACE, 'model.n_layers') == (2, 3, 4, 5, 6, 7, 8)
  assert values_of(SPACE, 'optimizer.b2') == (0.95,)
  assert values_of(SPACE, 'schedule.name') == ('cosine', 'wsd_linear', 'constant')


def test_values_of_an_interval_are_a_range():
  values = values_of(SPACE, 'optimizer.learning_rate')
  assert isinstance(values, Range)
  assert values == (1e-4, 1e-1)
  many = values_of({'train.seed': Int(0, 2**32 - 1)}, 'train.seed')
  assert many == Range(0, 2**32 - 1)


def test_a_path_outside_the_space_takes_the_default_alone():
  assert values_of(SPACE, 'model.d_model') == ()
  assert values_of(SPACE, 'model.d_model', 64) == (64,)


def test_the_default_counts_if_each_entry_of_the_path_has_a_condition():
  assert values_of(SPACE, 'schedule.cooldown_fraction', 0.8) == Range(0.05, 0.8)
  assert values_of(SPACE, 'model.n_layers', 99) == (2, 3, 4, 5, 6, 7, 8)


def test_ranges_of_several_entries_are_joined():
  space = Product(
    {'optimizer.name': Choice('adamw', 'lion')},
    When('optimizer.name', 'lion', {'optimizer.learning_rate': Float(1e-5, 1e-2)}),
    When('optimizer.name', 'adamw', {'optimizer.learning_rate': Float(1e-4, 1e-1)}),
  )
  assert values_of(space, 'optimizer.learning_rate') == Range(1e-5, 1e-1)


def test_values_that_are_no_numbers_stand_beside_a_range():
  space = Chain({'x': None}, {'x': Float(1, 2)}, Zip({'x': (1, 5), 'y': (0, 1)}))
  assert values_of(space, 'x') == (None, 1.0, 5)
