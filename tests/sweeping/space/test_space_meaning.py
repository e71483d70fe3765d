"""The grid of a random space compared with all combinations of its values, by brute force."""

import itertools
import json

from hypothesis import given, settings, strategies as st

from lmhp.errors import ConfigError
from lmhp.sweeping.search.grid import grid
from lmhp.sweeping.space import (
  Chain,
  Choice,
  CompiledSpace,
  Domain,
  Fixed,
  Int,
  Product,
  When,
  Zip,
  as_space,
  from_json,
  parameters,
  paths_of,
  to_json,
  values_of,
)

PATHS = ('a', 'b', 'c', 'd')
DOMAINS = st.sampled_from(
  [Choice(1), Choice(1, 2), Choice(2, 3), Int(1, 2), Fixed(1), Fixed(2)]
)
ITEMS = st.one_of(
  DOMAINS,
  st.builds(When, st.sampled_from(PATHS), st.sampled_from([1, 2, (1, 2)]), DOMAINS),
)


@st.composite
def spaces(draw, depth=2):
  """Small spaces, most of them valid."""
  leaf_kinds = ['dict', 'zip']
  kinds = [*leaf_kinds, 'when', 'chain', 'product'] if depth else leaf_kinds
  kind = draw(st.sampled_from(kinds))
  if kind == 'dict':
    items = st.dictionaries(st.sampled_from(PATHS), ITEMS, min_size=1, max_size=3)
    return as_space(draw(items))
  if kind == 'zip':
    column = st.lists(st.sampled_from([1, 2, 3]), min_size=2, max_size=2)
    first, second, *_ = draw(st.permutations(PATHS))
    return Zip({first: draw(column), second: draw(column)})
  inner = spaces(depth=depth - 1)
  if kind == 'when':
    parent = draw(st.sampled_from(PATHS))
    return When(parent, draw(st.sampled_from([1, 2])), draw(inner))
  combine = Chain if kind == 'chain' else Product
  return combine(*draw(st.lists(inner, min_size=1, max_size=3)))


class Meaning:
  """All points of a space, from all combinations of all values.

  Attributes:
    entries: ([settings of each value], [(parent, accepted values)]) of each domain.
  """

  def __init__(self, space):
    self.entries = []
    self.n_chains = 0
    self._collect(space, None, [])

  def _collect(self, part, path, conditions):
    if isinstance(part, Domain):
      if isinstance(part, Fixed):
        values = [part.value]
      else:
        values = part.values if isinstance(part, Choice) else [1, 2]
      self.entries.append(([{path: value} for value in values], conditions))
    elif isinstance(part, When):
      inner = [*conditions, (part.path, part.values)]
      self._collect(part.content, path, inner)
    elif isinstance(part, Zip):
      names = [name for name, _ in part.columns]
      rows = zip(*(values for _, values in part.columns), strict=True)
      settings_of_row = [dict(zip(names, row, strict=True)) for row in rows]
      self.entries.append((settings_of_row, conditions))
    elif isinstance(part, Chain):
      chain = f'#{self.n_chains}'
      self.n_chains += 1
      choices = [{chain: i} for i in range(len(part.spaces))]
      self.entries.append((choices, conditions))
      for i, space in enumerate(part.spaces):
        self._collect(space, None, [*conditions, (chain, (i,))])
    else:
      for item in part.parts:
        inner_path, inner = item if isinstance(item, tuple) else (None, item)
        self._collect(inner, inner_path, conditions)

  def points(self):
    """Returns the overrides of all points, and True if two domains ever set one path."""
    points = set()
    overlaps = False
    for drawn in itertools.product(*(values for values, _ in self.entries)):
      # Repeated often enough for the longest line of ancestors.
      state = {}
      for _ in self.entries:
        active = self._active(drawn, state)
        state = {path: v for one in active for path, v in one.items()}
        overlaps |= sum(len(one) for one in active) > len(state)
      is_path = [(path, v) for path, v in state.items() if not path.startswith('#')]
      points.add(frozenset(is_path))
    return points, overlaps

  def _active(self, drawn, state):
    """Returns the settings of the domains whose conditions hold."""
    active = []
    for one, (_, conditions) in zip(drawn, self.entries, strict=True):
      if all(path in state and state[path] in values for path, values in conditions):
        active.append(one)
    return active


@settings(max_examples=400, deadline=None)
@given(spaces())
def test_a_grid_has_all_points_of_its_space(space):
  try:
    points = grid(space, n_levels=5)
  except ConfigError as error:
    _, overlaps = Meaning(space).points()
    assert overlaps or 'at the same time' not in str(error)
    return
  overrides = {frozenset(point.overrides.items()) for point in points}
  assert (overrides, False) == Meaning(space).points()


@settings(max_examples=200, deadline=None)
@given(spaces())
def test_points_names_and_json_of_a_space_agree(space):
  try:
    points = grid(space, n_levels=5)
  except ConfigError:
    return
  names = [parameter.name for parameter in parameters(space)]
  assert len(set(names)) == len(names)
  assert len({frozenset(point.parameters.items()) for point in points}) == len(points)
  assert {path for point in points for path in point.overrides} <= paths_of(space)
  for path in paths_of(space):
    taken = {point.overrides[path] for point in points if path in point.overrides}
    assert taken <= set(values_of(space, path))
  assert from_json(json.loads(json.dumps(to_json(space)))) == space


def test_at_least_a_third_of_the_drawn_spaces_are_valid():
  valid = []

  @settings(max_examples=200, deadline=None, database=None, derandomize=True)
  @given(spaces())
  def draw(space):
    try:
      valid.append(len(CompiledSpace(space).parameters) > 0)
    except ConfigError:
      valid.append(False)

  draw()
  assert sum(valid) > 0.3 * len(valid)
