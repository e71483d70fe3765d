"""Spaces: what they name, what exists when, and that JSON keeps all of it."""

import itertools
import json
import math

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from lmhp.errors import ConfigError
from lmhp.sweeping.space import (
  Chain,
  Choice,
  CompiledSpace,
  Fixed,
  Float,
  Int,
  Parameter,
  Point,
  Product,
  Range,
  Subsample,
  When,
  Zip,
  as_space,
  combinators,
  domains,
  from_json,
  grid,
  parameters,
  to_json,
  values_of,
  varied_paths,
  walk,
)

EXAMPLE = {
  'schedule.cooldown_fraction': When(
    'schedule.name', 'wsd_linear', Float(0.05, 0.5)
  ),  # before its parent
  'optimizer.learning_rate': Float(1e-4, 1e-1, log=True),
  'optimizer.weight_decay': Float(1e-4, 1.0, log=True, role='nuisance'),
  'model.n_layers': Int(2, 8),
  'schedule.name': Choice('cosine', 'wsd_linear', 'constant'),
  'optimizer.b2': Fixed(0.95),
  'train.steps': 100,
}
TWO_RATES = Product(
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
  return [p.name for p in parameters(space)]


def first(parameter):
  return (
    parameter.domain.values[0]
    if isinstance(parameter.domain, Choice)
    else parameter.domain.low
  )


# --- parameters and points ------------------------------------------------------------------------------------------


def test_parents_come_before_children_and_fixed_values_are_no_parameters():
  assert names(EXAMPLE) == [
    'schedule.name',
    'schedule.cooldown_fraction',
    'optimizer.learning_rate',
    'optimizer.weight_decay',
    'model.n_layers',
  ]
  assert parameters(EXAMPLE)[1] == Parameter(
    'schedule.cooldown_fraction',
    ('schedule.cooldown_fraction',),
    Float(0.05, 0.5),
    'scientific',
    (('schedule.name', ('wsd_linear',)),),
  )
  assert [p.role for p in parameters(EXAMPLE)].count('nuisance') == 1


def test_a_point_asks_once_for_what_exists_and_sets_what_is_fixed():
  asked = []

  def suggest(parameter):
    asked.append(parameter.name)
    return 'wsd_linear' if parameter.name == 'schedule.name' else parameter.domain.high

  point = walk(EXAMPLE, suggest)
  assert asked == names(EXAMPLE)
  assert point.parameters['schedule.cooldown_fraction'] == 0.5
  assert point.overrides == point.parameters | {
    'optimizer.b2': 0.95,
    'train.steps': 100,
  }
  assert type(point.parameters) is dict and type(point.overrides) is dict
  other = walk(EXAMPLE, first)
  assert (
    'schedule.cooldown_fraction' not in other.parameters
    and 'schedule.cooldown_fraction' not in other.overrides
  )


def test_a_value_outside_its_domain_is_refused():
  with pytest.raises(ValueError, match=r'a: 3 is not in Int\(0, 2\)'):
    walk({'a': Int(0, 2)}, lambda parameter: 3)


def test_one_path_under_two_conditions_is_two_parameters():
  assert names(TWO_RATES) == [
    'optimizer.name',
    'optimizer.learning_rate[optimizer.name=lion]',
    'optimizer.learning_rate[optimizer.name=adamw|sgd]',
  ]
  point = walk(
    TWO_RATES, lambda p: 'sgd' if p.name == 'optimizer.name' else p.domain.high
  )
  assert point.overrides == {'optimizer.name': 'sgd', 'optimizer.learning_rate': 0.1}
  assert names(Product({'a': Int(0, 1)}, When('a', 1, {'b': Int(0, 3)}))) == ['a', 'b']


def test_a_zip_is_one_parameter_of_row_numbers():
  space = Zip(
    {
      'train.batch_size': (8, 16, 32),
      'optimizer.learning_rate': np.array([1e-3, 1.4e-3, 2e-3]),
    }
  )
  paths = ('train.batch_size', 'optimizer.learning_rate')
  assert parameters(space) == (
    Parameter('+'.join(paths), paths, Choice(0, 1, 2), 'scientific'),
  )
  assert walk(space, lambda p: 1).overrides == {
    'train.batch_size': 16,
    'optimizer.learning_rate': 1.4e-3,
  }


def test_a_chain_is_one_choice_more():
  space = Product(
    Chain({'a': Int(0, 1)}, {'a': Int(5, 6), 'b': 7}),
    Chain({'c': 1}, {'c': 2}, role='nuisance'),
  )
  chain, a, other, second = parameters(space)
  assert (chain.name, chain.paths, chain.domain) == ('chain', (), Choice(0, 1))
  assert (a.name, a.condition) == ('a[chain=0]', (('chain', (0,)),))
  assert (other.name, second.name, second.role) == ('a[chain=1]', 'chain2', 'nuisance')
  assert walk(
    space,
    lambda p: p.domain.values[-1] if isinstance(p.domain, Choice) else p.domain.low,
  ).overrides == {'a': 5, 'b': 7, 'c': 2}


def test_conditions_on_zips_ints_and_fixed_values():
  space = Product(
    Zip({'a': (1, 2, 3), 'b': ('x', 'y', 'x')}),
    {'n': Int(2, 5), 'f': Fixed('on')},
    When('b', 'x', {'p': Int(0, 1)}),
    {'q': When('n', (3, 5), Int(0, 1))},
    {'r': When('f', 'on', Int(0, 1))},
  )
  by_name = {p.name: p.condition for p in parameters(space)}
  assert by_name['p'] == (('a+b', (0, 2)),)
  assert by_name['q'] == (('n', (3, 5)),)
  assert by_name['r'] is None


def test_nested_conditions_and_a_child_of_two_parents():
  nested = {
    'a': Choice(1, 2),
    'b': When('a', 1, Choice('u', 'v')),
    'c': When('a', 1, When('b', 'v', Float(0, 1))),
  }
  assert dict((p.name, p.condition) for p in parameters(nested))['c'] == (
    ('a', (1,)),
    ('b', ('v',)),
  )
  twice = Product(
    {'a': Choice(1, 2)},
    When('a', 1, {'b': Choice('u', 'v')}),
    When('a', 2, {'b': Choice('v', 'w')}),
    {'c': When('b', 'v', Int(0, 9))},
  )
  assert names(twice)[-2:] == ['c[b[a=1]=v]', 'c[b[a=2]=v]']
  point = walk(twice, lambda p: {'a': 2, 'b[a=2]': 'v', 'c[b[a=2]=v]': 9}[p.name])
  assert point.overrides == {'a': 2, 'b': 'v', 'c': 9}


def test_links_of_a_chain_may_depend_opposite_ways():
  space = Chain(
    {'a': Choice(1, 2), 'b': When('a', 1, 6)}, {'b': Choice(5, 6), 'a': When('b', 6, 1)}
  )
  assert {tuple(sorted(p.overrides.items())) for p in grid(space)} == {
    (('a', 1), ('b', 6)),
    (('a', 2),),
    (('b', 5),),
  }


# --- against the meaning, spelt out ---------------------------------------------------------------------------------

PATHS = ('a', 'b', 'c', 'd')
LEAVES = st.sampled_from(
  [Choice(1), Choice(1, 2), Choice(2, 3), Int(1, 2), Fixed(1), Fixed(2)]
)


@st.composite
def spaces(draw, depth=2):
  """Small spaces, most of them sound."""
  kind = draw(
    st.sampled_from(
      ['dict', 'zip', 'when', 'chain', 'product'] if depth else ['dict', 'zip']
    )
  )
  if kind == 'dict':
    entry = st.one_of(
      LEAVES,
      st.builds(When, st.sampled_from(PATHS), st.sampled_from([1, 2, (1, 2)]), LEAVES),
    )
    return as_space(
      draw(st.dictionaries(st.sampled_from(PATHS), entry, min_size=1, max_size=3))
    )
  if kind == 'zip':
    columns = st.lists(
      st.lists(st.sampled_from([1, 2, 3]), min_size=2, max_size=2),
      min_size=2,
      max_size=2,
    )
    return Zip(dict(zip(draw(st.permutations(PATHS)), draw(columns))))
  inner = spaces(depth=depth - 1)
  if kind == 'when':
    return When(
      draw(st.sampled_from(PATHS)), draw(st.sampled_from([1, 2])), draw(inner)
    )
  return (Chain if kind == 'chain' else Product)(
    *draw(st.lists(inner, min_size=1, max_size=3))
  )


def meaning(space):
  """All sets of overrides, where every leaf takes each value and acts where its conditions are met; and whether two
  leaves ever set one path at once."""
  leaves, chains = [], []

  def collect(part, path, guards):
    if isinstance(part, domains.Domain):
      values = (
        [part.value]
        if isinstance(part, Fixed)
        else getattr(part, 'values', None) or [1, 2]
      )
      leaves.append(([{path: v} for v in values], guards))
    elif isinstance(part, When):
      collect(part.content, path, [*guards, (part.path, part.values)])
    elif isinstance(part, Zip):
      rows = zip(*(values for _, values in part.columns))
      leaves.append(
        ([dict(zip([p for p, _ in part.columns], row)) for row in rows], guards)
      )
    elif isinstance(part, Chain):
      chains.append(f'#{len(chains)}')
      mine = chains[-1]
      leaves.append(([{mine: i} for i in range(len(part.spaces))], guards))
      for i, link in enumerate(part.spaces):
        collect(link, None, [*guards, (mine, (i,))])
    else:
      for inner in part.parts:
        collect(*(inner[::-1] if isinstance(inner, tuple) else (inner, None)), guards)

  collect(space, None, [])
  out, clash = set(), False
  for drawn in itertools.product(*(values for values, _ in leaves)):
    state = {}
    for _ in leaves:  # long enough for the longest line of ancestors
      acting = [
        values
        for values, (_, guards) in zip(drawn, leaves)
        if all(p in state and state[p] in accepted for p, accepted in guards)
      ]
      state = {k: v for values in acting for k, v in values.items()}
      clash |= sum(map(len, acting)) > len(state)
    out.add(frozenset((k, v) for k, v in state.items() if not k.startswith('#')))
  return out, clash


@settings(max_examples=400, deadline=None)
@given(spaces())
def test_a_grid_holds_what_the_space_means(space):
  try:
    points = grid(space)
  except ConfigError as error:
    assert meaning(space)[1] or 'at the same time' not in str(error)
    return
  assert ({frozenset(p.overrides.items()) for p in points}, False) == meaning(space)
  assert len({frozenset(p.parameters.items()) for p in points}) == len(points)
  assert len(set(names(space))) == len(names(space))
  assert {path for p in points for path in p.overrides} <= varied_paths(space)
  for path in varied_paths(space):
    assert {p.overrides[path] for p in points if path in p.overrides} <= set(
      values_of(space, path)
    )
  assert from_json(json.loads(json.dumps(to_json(space)))) == space


def test_most_of_the_spaces_drawn_are_sound():
  """Else the test above would say little."""
  sound = []

  @settings(max_examples=200, deadline=None, database=None, derandomize=True)
  @given(spaces())
  def draw(space):
    try:
      sound.append(len(CompiledSpace(space).parameters) > 0)
    except ConfigError:
      sound.append(False)

  draw()
  assert sum(sound) > 0.3 * len(sound)


# --- what a path may take -------------------------------------------------------------------------------------------


def test_varied_paths_and_their_values():
  assert varied_paths(EXAMPLE) == set(EXAMPLE)
  assert values_of(EXAMPLE, 'optimizer.learning_rate') == (1e-4, 1e-1)
  assert isinstance(values_of(EXAMPLE, 'optimizer.learning_rate'), Range)
  assert values_of(EXAMPLE, 'model.n_layers') == (2, 3, 4, 5, 6, 7, 8)
  assert values_of(EXAMPLE, 'optimizer.b2') == (0.95,)
  assert values_of(EXAMPLE, 'model.d_model') == () and values_of(
    EXAMPLE, 'model.d_model', 64
  ) == (64,)
  assert values_of(TWO_RATES, 'optimizer.learning_rate') == Range(1e-5, 1e-1)
  assert values_of(EXAMPLE, 'schedule.cooldown_fraction', 0.8) == Range(0.05, 0.8)
  assert values_of(EXAMPLE, 'model.n_layers', 99) == (2, 3, 4, 5, 6, 7, 8)
  mixed = Chain({'x': None}, {'x': Float(1, 2)}, Zip({'x': (1, 5), 'y': (0, 1)}))
  assert values_of(mixed, 'x') == (None, 1.0, 5)
  assert values_of({'train.seed': Int(0, 2**32 - 1)}, 'train.seed') == Range(
    0, 2**32 - 1
  )


# --- values as values -----------------------------------------------------------------------------------------------


def test_spaces_are_hashable_and_say_what_they_are():
  every = Product(
    EXAMPLE,
    Zip({'x': [1, 2], 'y': [None, 'w']}, role='nuisance'),
    Chain({'u': 1}, {'u': Choice((1, 2), (3,))}),
    When('u', ((1, 2), 1), {'v': Int(1, 9, log=True)}),
    Subsample({'w': Float(0, math.inf)}, np.int64(3), seed=2),
  )
  assert hash(every) == hash(Product(every)) and every == Product(every)
  scope = vars(domains) | vars(combinators) | {'inf': math.inf}
  assert eval(repr(every), scope) == every
  text = json.dumps(to_json(every), allow_nan=False)
  assert from_json(json.loads(text)) == every and repr(
    from_json(json.loads(text))
  ) == repr(every)


@pytest.mark.parametrize(
  'make, message',
  [
    (
      lambda: as_space(Float(0, 1)),
      r'space: got Float\(0.0, 1.0\), expected a dict of dotted paths, Product',
    ),
    (lambda: as_space([1]), r'space: got \[1\], expected a dict'),
    (lambda: as_space({1: 2}), 'space: got the key 1, expected a dotted path'),
    (lambda: as_space(When('a', 1, Int(0, 1))), 'without a path of its own'),
    (
      lambda: as_space({'a': Zip({'b': (1, 2)})}),
      'a: got Zip.*expected a value, Float',
    ),
    (lambda: as_space({'a': {'b': 1}}), 'a: got Product.*expected a value, Float'),
    (
      lambda: from_json({'type': 'Nothing'}),
      'space: got JSON that to_json did not write',
    ),
    (
      lambda: from_json({'type': 'Float', 'low': 1}),
      'space: got JSON that to_json did not write',
    ),
  ],
)
def test_what_is_no_space_is_refused(make, message):
  with pytest.raises(ConfigError, match=message) as error:
    make()
  assert '\n' not in str(error.value)


def test_points_are_plain():
  assert Point({'a': 1}, {'a': 1}) == walk({'a': Choice(1)}, first)
